/* The first half of planning: a graph's nodes become items, equal ones are merged, trivial arithmetic goes, dead items
 * are left out, layouts are found (with copies where a kernel needs them) and elementwise items are grouped. */
#include <string.h>

#include "fail.h"
#include "kernels.h"
#include "memory.h"
#include "operators.h"
#include "plan_blocks.h"
#include "pool.h"

/* --- memory: everything is sized by the node and edge counts at the start ---------------------------------------- */

static void graph_release(void *object) {
    plan_graph *g = object;
    size_t items = (size_t)g->item_capacity, inputs = (size_t)g->input_capacity, outputs = (size_t)g->output_count;
    memory_release(g->items, items * sizeof *g->items);
    memory_release(g->inputs, inputs * sizeof *g->inputs);
    memory_release(g->members, items * sizeof *g->members);
    memory_release(g->units, items * sizeof *g->units);
    memory_release(g->schedule, items * sizeof *g->schedule);
    memory_release(g->outputs, outputs * sizeof *g->outputs);
    memory_release(g->donors, outputs * sizeof *g->donors);
    memory_release(g, sizeof *g);
}

static plan_graph *graph_new(int nodes, int edges, int outputs) {
    static const char *what = "a plan";
    scope_reserve();
    plan_graph *g = memory_allocate(sizeof *g, what);
    memset(g, 0, sizeof *g);
    scope_add(g, graph_release);
    /* every edge and every output may ask for a copy, which is an item with one input, every node for scratch, and twice for
     * another list of its inputs and one more */
    g->item_capacity = 2 * nodes + edges + outputs;
    g->input_capacity = 4 * edges + 2 * nodes + g->item_capacity;
    g->output_count = outputs;
    g->rooms = -1;
    size_t items = (size_t)g->item_capacity;
    g->items = memory_allocate(items * sizeof *g->items, what);
    g->inputs = memory_allocate((size_t)g->input_capacity * sizeof *g->inputs, what);
    g->members = memory_allocate(items * sizeof *g->members, what);
    g->units = memory_allocate(items * sizeof *g->units, what);
    g->schedule = memory_allocate(items * sizeof *g->schedule, what);
    g->outputs = memory_allocate((size_t)outputs * sizeof *g->outputs, what);
    g->donors = memory_allocate((size_t)outputs * sizeof *g->donors, what);
    return g;
}

static item *item_add(plan_graph *g, const operator *op, dtype type, shape s) {
    item *i = &g->items[g->item_count++];
    *i = (item){.op = op, .type = type, .shape = s, .input_begin = g->input_count, .unit = -1, .leaf = -1, .copy = -1,
                .scratch = -1, .overwritten_at = -1, .root = g->item_count - 1, .storage = -1};
    i->look.type = type;
    i->look.shape = s;
    shape_strides(s, i->look.strides);
    return i;
}

/* --- import: simplification and common subexpressions --------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t word) { return (hash ^ word) * 0x9E3779B97F4A7C15u; }

static uint64_t item_hash(const plan_graph *g, const item *i) {
    uint64_t hash = mix((uint64_t)(uintptr_t)i->op, (uint64_t)i->type << 8 | (uint64_t)i->shape.rank);
    for (int k = 0; k < i->shape.rank; k++) hash = mix(hash, (uint64_t)i->shape.size[k]);
    for (int k = 0; k < i->call->attribute_count; k++) hash = mix(hash, (uint64_t)i->call->attributes[k]);
    for (int k = 0; k < i->input_count; k++) hash = mix(hash, (uint64_t)g->inputs[i->input_begin + k]);
    return hash ^ hash >> 29;
}

static bool same_item(const plan_graph *g, const item *a, const item *b) {
    return a->op == b->op && a->type == b->type && shape_equal(a->shape, b->shape) &&
           a->input_count == b->input_count && a->call->attribute_count == b->call->attribute_count &&
           memcmp(a->call->attributes, b->call->attributes, (size_t)a->call->attribute_count * sizeof(int64_t)) == 0 &&
           memcmp(g->inputs + a->input_begin, g->inputs + b->input_begin, (size_t)a->input_count * sizeof(int)) == 0;
}

/* The earlier item that the newest one repeats, or itself. */
static int find_equal(const plan_graph *g, int *table, size_t table_size) {
    const item *newest = &g->items[g->item_count - 1];
    size_t at = item_hash(g, newest) & (table_size - 1);
    while (table[at] != 0) {
        if (same_item(g, &g->items[table[at] - 1], newest)) return table[at] - 1;
        at = (at + 1) & (table_size - 1);
    }
    table[at] = g->item_count;
    return g->item_count - 1;
}

static bool constant_is(const item *i, double value) { return i->is_constant && i->constant == value; }

/* x * 1, x / 1, x + 0, x - 0 and identity are their first input (the constant may stand on either side of * and +):
 * what gradient rules leave behind. -1 where nothing is that simple. */
static int simplify(const plan_graph *g, const item *i) {
    const item *x = i->input_count > 0 ? item_input(g, i, 0) : NULL, *y = i->input_count > 1 ? item_input(g, i, 1) : NULL;
    const char *name = i->op->name;
    if (strcmp(name, "identity") == 0) return number_of(g, x);
    if (y == NULL || i->input_count != 2 || !is_elementwise(i)) return -1;
    bool times = strcmp(name, "mul") == 0, plus = strcmp(name, "add") == 0;
    if ((times || strcmp(name, "div") == 0) && constant_is(y, 1)) return number_of(g, x);
    if ((plus || strcmp(name, "sub") == 0) && constant_is(y, 0)) return number_of(g, x);
    if ((times && constant_is(x, 1)) || (plus && constant_is(x, 0))) return number_of(g, y);
    return -1;
}

static void note_constant(const plan_graph *g, item *i) {
    if (strcmp(i->op->name, "full") == 0) i->is_constant = true, i->constant = attribute_to_number(i->call->attributes[0]);
    else if (i->op->kind == VIEW) {
        i->is_constant = item_input(g, i, 0)->is_constant;
        i->constant = item_input(g, i, 0)->constant;
    }
}

static void import_leaf(plan_graph *g, const node *n) {
    item *leaf = item_add(g, NULL, n->type, n->shape);
    leaf->leaf = g->leaf_count++;
    if (node_has_value(n)) memcpy(leaf->look.strides, n->value.strides, sizeof leaf->look.strides);
    else memcpy(leaf->look.strides, n->attributes, (size_t)n->shape.rank * sizeof(int64_t));
}

/* Open addressing over item numbers + 1, for find_equal. */
typedef struct {
    int *slots;
    size_t size;
} item_table;

/* The item for a node whose inputs are these items; it may be an older one that is equal. */
static int import_node(plan_graph *g, node *n, const int *inputs, item_table table) {
    item *i = item_add(g, n->op, n->type, n->shape);
    int input_mark = g->input_count;
    i->input_count = n->input_count;
    for (int input = 0; input < n->input_count; input++) g->inputs[g->input_count++] = inputs[input];
    i->call = n; /* its attributes; replaced by a skeleton once the item is known to stay */
    i->run = n->op->run;
    int simpler = simplify(g, i), chosen = simpler >= 0 ? simpler : find_equal(g, table.slots, table.size);
    if (chosen == number_of(g, i)) {
        note_constant(g, i);
        return chosen;
    }
    g->item_count--;
    g->input_count = input_mark;
    return chosen;
}

/* canonical[k]: the item that stands for node k of the order. */
static void import_nodes(plan_graph *g, const node_list *order, int *canonical, item_table table) {
    int inputs_capacity = 0;
    for (int k = 0; k < order->count; k++)
        if (order->nodes[k]->input_count > inputs_capacity) inputs_capacity = order->nodes[k]->input_count;
    int *inputs = memory_scoped((size_t)inputs_capacity * sizeof *inputs, "a plan");
    for (int k = 0; k < order->count; k++) {
        node *n = order->nodes[k];
        if (node_is_leaf(n)) {
            canonical[k] = g->item_count;
            import_leaf(g, n);
            continue;
        }
        for (int input = 0; input < n->input_count; input++) inputs[input] = canonical[n->inputs[input]->number];
        canonical[k] = import_node(g, n, inputs, table);
    }
}

static void mark_live(plan_graph *g) {
    for (int o = 0; o < g->output_count; o++) g->items[g->outputs[o]].live = true;
    for (int k = g->item_count - 1; k >= 0; k--)
        for (int input = 0; g->items[k].live && input < g->items[k].input_count; input++)
            item_input(g, &g->items[k], input)->live = true;
}

/* --- layouts ---------------------------------------------------------------------------------------------------------- */

static void run_copy(const node *y, const operand *inputs, const operand *out) {
    strided in = {.data = inputs->data};
    (void)y;
    memcpy(in.strides, inputs->strides, sizeof in.strides);
    kernel_copy(out->type, inputs->shape, out->data, in);
}

static const operator copy_operator = {.name = "copy", .kind = KERNEL, .run = run_copy};

/* A row-major copy of an item, made at most once. */
static int copy_of(plan_graph *g, int source) {
    if (g->items[source].copy >= 0) return g->items[source].copy;
    item *copy = item_add(g, &copy_operator, g->items[source].type, g->items[source].shape);
    copy->run = run_copy;
    copy->live = true;
    copy->level = g->items[source].level;
    copy->input_count = 1;
    g->inputs[g->input_count++] = source;
    return g->items[source].copy = number_of(g, copy);
}

/* Memory for a kernel to work in: an item that nobody computes. */
static const operator scratch_operator = {.name = "scratch", .kind = KERNEL};

static void add_scratch(plan_graph *g, item *i) {
    operand *in = memory_scoped((size_t)i->input_count * sizeof *in, "a plan");
    for (int input = 0; input < i->input_count; input++) {
        in[input] = item_input(g, i, input)->look;
        in[input].type = item_input(g, i, input)->type;
        in[input].shape = item_input(g, i, input)->shape;
    }
    size_t bytes = i->op->scratch(i->call, in);
    if (bytes > 0) i->scratch = number_of(g, item_add(g, &scratch_operator, UINT8, (shape){1, {(int64_t)bytes}}));
}

/* All blocks of a plan work in the same rooms, (count, bytes), one for each thread: it mostly takes the same one, which stays in
 * its processor's cache. */
static void add_rooms(plan_graph *g, item *i) {
    int64_t count = blocks_count(i->call), bytes = (int64_t)plan_room(blocks_plan(i->call));
    if (count > pool_threads()) count = pool_threads();
    if (g->rooms < 0) g->rooms = number_of(g, item_add(g, &scratch_operator, UINT8, (shape){2, {count, bytes}}));
    item *rooms = &g->items[g->rooms];
    if (rooms->shape.size[0] < count) rooms->shape.size[0] = count;
    if (rooms->shape.size[1] < bytes) rooms->shape.size[1] = bytes;
    i->scratch = g->rooms;
}

enum { THIN = 32, ENOUGH_ROWS = 64 };

bool plan_is_thin(shape s) {
    int64_t columns = s.rank > 1 ? s.size[s.rank - 1] : 1;
    return columns >= 2 && columns <= THIN && shape_elements(s) >= ENOUGH_ROWS * columns && shape_elements(s) >= 4 * columns * columns;
}

/* The shapes, as rows and columns, whose values lie columnwise: those that products of small matrices give and none of large
 * ones, few columns and many rows, unless outputs have them, which users see. */
enum { MOST_THIN_SHAPES = 16 };

typedef struct {
    struct { int64_t rows, columns; bool row_major; } entries[MOST_THIN_SHAPES];
    int count;
} thin_shapes;

static int64_t columns_of(shape s) { return s.rank > 1 ? s.size[s.rank - 1] : 1; }

static int find_thin(const thin_shapes *thin, shape s) {
    int64_t columns = columns_of(s);
    if (columns < 2 || columns > THIN) return -1;
    for (int k = 0; k < thin->count; k++)
        if (thin->entries[k].columns == columns && thin->entries[k].rows == shape_elements(s) / columns) return k;
    return -1;
}

static bool lies_columnwise(const thin_shapes *thin, shape s) {
    int k = find_thin(thin, s);
    return k >= 0 && !thin->entries[k].row_major;
}

static void find_thin_shapes(const plan_graph *g, thin_shapes *thin) {
    thin->count = 0;
    for (int k = 0; k < g->item_count && thin->count < MOST_THIN_SHAPES; k++) {
        const item *i = &g->items[k];
        if (!i->live || !is_matrix_product(i) || !plan_is_thin(i->shape)) continue;
        int64_t columns = columns_of(i->shape), rows = shape_elements(i->shape) / columns;
        int known = find_thin(thin, i->shape);
        if (known < 0) {
            known = thin->count++;
            thin->entries[known].rows = rows, thin->entries[known].columns = columns, thin->entries[known].row_major = false;
        }
        if (columns_of(item_input(g, i, 0)->shape) > THIN) thin->entries[known].row_major = true;
    }
    for (int o = 0; o < g->output_count; o++) {
        int k = find_thin(thin, viewed(g, &g->items[g->outputs[o]])->shape);
        if (k >= 0) thin->entries[k].row_major = true;
    }
}

static void lay_out_view(plan_graph *g, item *i) {
    const item *in = item_input(g, i, 0);
    i->type = in->type; /* bytes where it looks at images */
    if (i->op->view(i->call, &in->look, &i->look)) {
        i->root = in->root;
        return;
    }
    i->op = &copy_operator;
    i->run = run_copy;
    shape_strides(i->shape, i->look.strides);
    i->look.offset = 0;
}

static void lay_out_kernel(plan_graph *g, item *i) {
    if (i->op->scratch != NULL) add_scratch(g, i);
    if (blocks_plan(i->call) != NULL) add_rooms(g, i);
    if (i->op->accepts == NULL) return;
    for (int input = 0; input < i->input_count; input++) {
        const operand *look = &item_input(g, i, input)->look;
        if (i->op->accepts(look)) continue;
        if (i->op->follows != NULL && operand_is_columnwise(look) && i->op->follows(i->call, look))
            operand_columnwise_strides(i->shape, i->look.strides);
        else g->inputs[i->input_begin + input] = copy_of(g, g->inputs[i->input_begin + input]);
    }
}

static bool is_needed(const plan_graph *g, int number) {
    for (int o = 0; o < g->output_count; o++)
        if (g->outputs[o] == number) return true;
    for (int k = 0; k < g->item_count; k++)
        for (int input = 0; g->items[k].live && input < g->items[k].input_count; input++)
            if (g->inputs[g->items[k].input_begin + input] == number) return true;
    return false;
}

/* Elementwise work takes bytes as they are, where they lie in order: a fused pass converts them as it goes. */
static void take_bytes(plan_graph *g, const item *i) {
    for (int input = 0; input < i->input_count; input++) {
        item *in = item_input(g, i, input);
        if (!is_called(in, "cast")) continue;
        const item *bytes = item_input(g, in, 0);
        if (bytes->type != UINT8 || !operand_is_contiguous(&bytes->look)) continue;
        g->inputs[i->input_begin + input] = number_of(g, bytes);
        in->live = is_needed(g, number_of(g, in));
    }
}

static void lay_out(plan_graph *g) {
    int count = g->item_count; /* copies come behind; their layout is plain */
    thin_shapes thin;
    find_thin_shapes(g, &thin);
    for (int k = 0; k < count; k++) {
        item *i = &g->items[k];
        if (!i->live || i->op == NULL) continue;
        if (i->op->kind == VIEW) lay_out_view(g, i);
        if (i->op->kind == KERNEL) lay_out_kernel(g, i);
        if ((is_elementwise(i) || is_matrix_product(i)) && lies_columnwise(&thin, i->shape))
            operand_columnwise_strides(i->shape, i->look.strides);
        else if (is_elementwise(i)) {
            take_bytes(g, i);
            plan_take_images(g, i);
        }
    }
    plan_take_chosen(g);
    /* an output that is a small part of a larger value does not keep that value alive */
    for (int o = 0; o < g->output_count; o++) {
        const item *i = &g->items[g->outputs[o]], *root = &g->items[i->root];
        if (root->leaf < 0 && shape_elements(i->shape) < shape_elements(root->shape))
            g->outputs[o] = copy_of(g, g->outputs[o]);
        g->items[g->outputs[o]].wanted = true;
    }
}

/* --- groups ----------------------------------------------------------------------------------------------------------- */

static bool fuse_together(const item *a, const item *b) {
    return is_elementwise(a) && is_elementwise(b) && a->type == b->type && shape_equal(a->shape, b->shape);
}

/* level: the largest number of barriers on a way to an output, a barrier being an edge whose ends cannot be fused.
 * Any way from one item to another of the same level, type and shape crosses no barrier, so that all of these can
 * form one group without a cycle. Counted from the outputs, work is done as late, and so as close to its use, as
 * possible. */
static void find_levels(plan_graph *g) {
    for (int k = g->item_count - 1; k >= 0; k--) {
        const item *i = &g->items[k];
        for (int input = 0; i->live && input < i->input_count; input++) {
            item *in = item_input(g, i, input);
            int level = i->level + (fuse_together(in, i) ? 0 : 1);
            if (in->level < level) in->level = level;
        }
    }
}

static int unit_add(plan_graph *g, bool is_fused) {
    g->units[g->unit_count] = (unit){.fused = is_fused, .position = -1};
    return g->unit_count++;
}

/* Elementwise items join the newest unit of their level, type and shape that has room; as items are in order, so are
 * the parts of a group that is split. */
static void form_units(plan_graph *g) {
    for (int k = 0; k < g->item_count; k++) {
        item *i = &g->items[k];
        if (!i->live || i->op == NULL || i->op->kind == VIEW) continue;
        for (int u = g->unit_count - 1; is_elementwise(i) && u >= 0 && i->unit < 0; u--) {
            const item *first = g->units[u].fused ? &g->items[g->units[u].member_begin] : NULL;
            if (first == NULL || first->level != i->level || !fuse_together(first, i)) continue;
            if (g->units[u].member_count >= FUSED_MAX_STEPS) break;
            i->unit = u;
        }
        if (i->unit < 0) {
            i->unit = unit_add(g, is_elementwise(i));
            g->units[i->unit].member_begin = k; /* for now the first member's number */
        }
        g->units[i->unit].member_count++;
    }
    for (int u = 0; u < g->unit_count; u++) {
        g->units[u].member_begin = g->member_count;
        g->member_count += g->units[u].member_count;
        g->units[u].member_count = 0;
    }
    for (int k = 0; k < g->item_count; k++)
        if (g->items[k].unit >= 0) {
            unit *u = &g->units[g->items[k].unit];
            g->members[u->member_begin + u->member_count++] = k;
        }
}

plan_graph *plan_graph_import(const node_list *order, node *const *outputs, int output_count, const int *donors) {
    int edges = 0;
    size_t table_size = 16;
    for (int k = 0; k < order->count; k++)
        if (!node_is_leaf(order->nodes[k])) edges += order->nodes[k]->input_count;
    while (table_size < 2 * (size_t)order->count) table_size *= 2;
    plan_graph *g = graph_new(order->count, edges, output_count);
    int *item_of = memory_scoped((size_t)order->count * sizeof *item_of, "a plan");
    item_table table = {memory_scoped(table_size * sizeof(int), "a plan"), table_size};
    memset(table.slots, 0, table_size * sizeof(int));
    import_nodes(g, order, item_of, table);
    for (int o = 0; o < output_count; o++) {
        g->outputs[o] = item_of[outputs[o]->number];
        g->donors[o] = donors != NULL ? donors[o] : -1;
    }
    mark_live(g);
    for (int k = 0; k < g->item_count; k++)
        if (g->items[k].op != NULL && g->items[k].live) g->items[k].call = node_skeleton(g->items[k].call);
    find_levels(g);
    lay_out(g);
    form_units(g);
    return g;
}
