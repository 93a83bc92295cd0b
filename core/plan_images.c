/* Images, which are bytes, stay as they are on their way into products of matrices: these divide the other side instead, and find
 * those that a batch picks where they lie. */
#include "kernel_split.h"
#include "operators.h"
#include "plan_internal.h"

typedef bool visitor(plan_graph *g, item *reader, int input, int number);

/* Calls visit for each input through which an item is read, or a view of it, until that is false. */
static bool each_reader(plan_graph *g, int of, visitor *visit, int number) {
    for (int k = of + 1; k < g->item_count; k++) {
        item *reader = &g->items[k];
        for (int input = 0, count = reader->input_count; reader->live && input < count; input++) {
            if (g->inputs[reader->input_begin + input] != of) continue;
            if (!(reader->op->kind == VIEW ? each_reader(g, k, visit, number) : visit(g, reader, input, number))) return false;
        }
    }
    return true;
}

static bool add_input(plan_graph *g, item *reader, int input, int number) {
    (void)input;
    memcpy(g->inputs + g->input_count, g->inputs + reader->input_begin, (size_t)reader->input_count * sizeof *g->inputs);
    reader->input_begin = g->input_count;
    g->inputs[g->input_count + reader->input_count++] = number;
    g->input_count += reader->input_count;
    return true;
}

static bool is_output(const plan_graph *g, const item *i) {
    for (int o = 0; o < g->output_count; o++)
        if (viewed(g, &g->items[g->outputs[o]]) == i) return true;
    return false;
}

/* --- bytes instead of numbers ------------------------------------------------------------------------------------------- */

static const operator images_operator = {.name = "images", .kind = VIEW, .view = operator_view_same};

/* Can it be a product of these images with numbers, and not with images, perhaps themselves? */
static bool multiplies_images(plan_graph *g, item *product, int input, int number) {
    (void)number;
    if (!is_matrix_product(product) || product->shape.rank != 2) return false;
    const item *x = item_input(g, product, 0), *other = viewed(g, item_input(g, product, 1 - input));
    return other->type == FLOAT32 && other != viewed(g, item_input(g, product, input)) &&
           kernel_split_pays(product->shape.size[0], product->shape.size[1], x->shape.size[1]);
}

/* Images in float32 are bytes divided by a number: now no more than a view of the bytes, and the products take the number. */
void plan_take_images(plan_graph *g, item *i) {
    if (!is_called(i, "div") || i->type != FLOAT32 || item_input(g, i, 0)->type != UINT8) return;
    const item *bytes = item_input(g, i, 0), *divisor = viewed(g, item_input(g, i, 1));
    if (shape_elements(divisor->shape) != 1 || divisor->type != FLOAT32 || !shape_equal(bytes->shape, i->shape)) return;
    if (is_output(g, i) || !each_reader(g, number_of(g, i), multiplies_images, 0)) return;
    each_reader(g, number_of(g, i), add_input, number_of(g, divisor));
    i->op = &images_operator;
    i->input_count = 1;
    i->type = UINT8;
    i->root = bytes->root;
    operator_view_same(NULL, &bytes->look, &i->look);
}

/* --- images where they lie ---------------------------------------------------------------------------------------------- */

static const operator chosen_operator = {.name = "chosen", .kind = VIEW, .view = operator_view_same};

/* Does a product take pixels of all images, in order, that are `batch`? */
static bool takes_batch(plan_graph *g, item *reader, int input, int batch) {
    if (!is_matrix_product(reader) || reader->input_count != MATMUL_DIVISOR + 1) return false;
    const item *in = item_input(g, reader, input), *all = &g->items[batch];
    const int64_t count = all->shape.size[0], pixels = count > 0 ? shape_elements(all->shape) / count : 0;
    const int axis = in->look.strides[0] == pixels ? 0 : 1, other = 1 - axis;
    return in->type == UINT8 && in->root == batch && in->look.strides[axis] == pixels && in->look.strides[other] == 1 && pixels > 1 &&
           in->shape.size[axis] == count && in->look.offset + in->shape.size[other] <= pixels;
}

/* A batch of a data set that only such products read: it is now a view of the first of all images, and the products take the index,
 * which was checked before. */
static void take_chosen(plan_graph *g, item *batch) {
    const int number = number_of(g, batch);
    if (!batch->live || !is_called(batch, "index_select") || batch->type != UINT8 || batch->call->attributes[0] != 0) return;
    if (is_output(g, batch) || !each_reader(g, number, takes_batch, number)) return;
    const item *all = item_input(g, batch, 0);
    each_reader(g, number, add_input, g->inputs[batch->input_begin + 1]);
    batch->op = &chosen_operator;
    batch->input_count = 1;
    for (int k = number; k < g->item_count; k++) {
        if (g->items[k].root != number) continue;
        g->items[k].root = all->root;
        g->items[k].look.offset += all->look.offset;
    }
}

void plan_take_chosen(plan_graph *g) {
    for (int k = 0; k < g->item_count; k++) take_chosen(g, &g->items[k]);
}
