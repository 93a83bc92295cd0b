#include "plan_blocks.h"

#include <stdatomic.h>
#include <string.h>

#include "memory.h"
#include "operators.h"
#include "plan_cutting.h"
#include "pool.h"

/* Of an array for all blocks, where the first one's part begins, and how far behind it the next one's, in elements. */
typedef struct {
    int64_t first, next;
} placing;

/* --- the graph of a block --------------------------------------------------------------------------------------------------- */

/* The graph with blocks while it grows. By node number of the one without: */
typedef struct {
    const cutting *c;
    node **outer;    /* what stands for it; NULL: not yet */
    placing *places; /* of what is wanted and cut, in its blocks' results */
    int *axes;       /* room for those of any node's inputs, */
    node **inputs;   /* and for those inputs; or for one node of each that there is */
} growing_graph;

/* What a block reads from outside. */
typedef struct {
    int number, axis;
    node *leaf; /* of the blocks' plan */
    bool apart, rotated; /* rotated: it lies columnwise */
    node *value;
} block_input;

typedef struct {
    const cutting *c;
    int stage;
    node **inner; /* by node number: what blocks compute */
    block_input *inputs;
    int input_count;
} block_graph;

static shape block_shape(const cutting *c, shape s, int axis) {
    if (axis >= 0) s.size[axis] /= c->blocks;
    return s;
}

static node *rotated(node *x) {
    int axes[MAX_RANK] = {x->shape.rank - 1};
    for (int k = 1; k < x->shape.rank; k++) axes[k] = k - 1;
    return op_permute(x, axes);
}

static shape rotated_shape(shape s) {
    shape r = s;
    for (int k = 0; k < s.rank; k++) r.size[k] = s.size[(k + s.rank - 1) % s.rank];
    return r;
}

static node *rotated_back(node *x) {
    int axes[MAX_RANK];
    for (int k = 0; k < x->shape.rank; k++) axes[k] = (k + 1) % x->shape.rank;
    return op_permute(x, axes);
}

/* Values with few columns are handed in with these one behind the other, as they mostly lie already. */
static node *block_argument(block_graph *b, node *n, int axis) {
    int64_t strides[MAX_RANK];
    for (int k = 0; k < b->input_count; k++)
        if (b->inputs[k].number == n->number && b->inputs[k].axis == axis) return b->inputs[k].value;
    block_input *in = &b->inputs[b->input_count++];
    *in = (block_input){.number = n->number, .axis = axis};
    in->apart = b->c->computed[n->number] && b->c->apart[n->number] && axis >= 0;
    shape s = n->shape, lies = in->apart ? block_shape(b->c, s, axis) : s;
    in->rotated = (in->apart || axis == WHOLE) && plan_is_thin(lies);
    if (in->rotated) lies = rotated_shape(lies);
    shape_strides(lies, strides);
    in->leaf = op_argument(n->type, in->apart || axis == WHOLE ? lies : block_shape(b->c, s, axis), strides);
    in->value = in->rotated ? rotated_back(in->leaf) : in->leaf;
    return in->value;
}

/* The axis along which a view's input is cut when the view is cut along this one; false where the input cannot be. */
static bool axis_below(const node *n, int axis, int *below) {
    shape in = n->inputs[0]->shape;
    *below = axis;
    if (axis == WHOLE || op_is(n, "identity") || op_is(n, "detach")) return true;
    if (op_is(n, "permute")) *below = (int)n->attributes[axis];
    else if (op_is(n, "reshape")) *below = operator_reshape_axis(n->shape, axis, in);
    else if (!op_is(n, "expand")) return false;
    else if ((*below = axis - (n->shape.rank - in.rank)) < 0 || in.size[*below] == 1) {
        *below = WHOLE;
        return true;
    }
    return *below >= 0;
}

/* A block of n, which others have computed. Views are taken within the block. */
static node *block_of(block_graph *b, node *n, int axis, int depth) {
    enum { DEEPEST = 16 };
    int below;
    shape s = block_shape(b->c, n->shape, axis);
    if (node_is_leaf(n) || b->c->computed[n->number] || depth == DEEPEST) return block_argument(b, n, axis);
    if (op_is(n, "full")) return node_new(n->op, n->type, s, 0, NULL, n->attribute_count, n->attributes);
    if (n->op->kind != VIEW || !axis_below(n, axis, &below)) return block_argument(b, n, axis);
    if (below >= 0 && n->inputs[0]->shape.size[below] % b->c->blocks != 0) return block_argument(b, n, axis);
    node *in = block_of(b, n->inputs[0], below, depth + 1);
    return node_new(n->op, n->type, s, 1, &in, n->attribute_count, n->attributes);
}

static bool is_here(const block_graph *b, int number, int axis) {
    return b->c->computed[number] && b->c->stage[number] == b->stage && b->c->axis[number] == axis;
}

static node *rebuild(block_graph *b, const node *n, int *axes, node **inputs) {
    const cutting *c = b->c;
    cutting_rule(c, n, axes);
    for (int i = 0; i < n->input_count; i++) {
        int in = n->inputs[i]->number;
        inputs[i] = is_here(b, in, axes[i]) ? b->inner[in] : block_of(b, n->inputs[i], axes[i], 0);
    }
    shape s = block_shape(c, n->shape, c->axis[n->number]);
    const bool is_outer = op_is(n, "matmul") && s.rank == 2 && inputs[0]->shape.size[1] == 1 && dtype_is_float(n->type);
    if (is_outer) /* a column times a row goes with what follows in one pass; only signs of zeros may be others */
        return op_mul(op_expand(inputs[0], s), op_expand(inputs[1], s));
    return node_new(n->op, n->type, s, n->input_count, inputs, n->attribute_count, n->attributes);
}

static node *in_row(const cutting *c, node *value, int number) {
    if (c->axis[number] >= 0 && c->apart[number] && plan_is_thin(value->shape)) value = rotated(value);
    return op_reshape(value, (shape){1, {shape_elements(value->shape)}});
}

/* What is wanted of a block: all sums in one row, or something that is cut. */
typedef struct {
    node *value;
    bool apart;
    placing place;
} block_result;

static bool is_result(const block_graph *b, int k, bool summed) {
    return b->inner[k] != NULL && b->c->wanted[k] && (b->c->axis[k] == SUMMED) == summed;
}

/* Sums come first. Returns how many there are. */
static int results_of(const block_graph *b, node **sums, block_result *results) {
    int sum_count = 0, count = 0;
    for (int k = 0; k < b->c->order->count; k++)
        if (is_result(b, k, true)) sums[sum_count++] = in_row(b->c, b->inner[k], k);
    if (sum_count > 0) results[count++] = (block_result){.value = op_copy(op_concat(sums, sum_count, 0))};
    for (int k = 0; k < b->c->order->count; k++)
        if (is_result(b, k, false))
            results[count++] = (block_result){.value = op_copy(in_row(b->c, b->inner[k], k)), .apart = b->c->apart[k]};
    return count;
}

/* --- the operator ------------------------------------------------------------------------------------------------------------- */

/* attributes: the plan, how many blocks, and the places of inputs and of results. */
enum { PLAN, BLOCKS, PLACES };

static const operator row_blocks;

plan *blocks_plan(const node *n) { return n->op == &row_blocks ? (plan *)(intptr_t)n->attributes[PLAN] : NULL; }
int64_t blocks_count(const node *n) { return n->attributes[BLOCKS]; }

typedef struct {
    const node *call;
    const operand *inputs, *out;
    atomic_bool taken[MOST_BLOCKS_ALONE]; /* rooms to work in */
} blocks_job;

static void block_task(void *context, int64_t block) {
    blocks_job *job = context;
    const node *y = job->call;
    const operand *rooms = &job->inputs[y->input_count];
    for (int i = 0; i < y->input_count; i++) __builtin_prefetch(&job->inputs[i]); /* another processor has written them */
    int64_t number = pool_take_room(job->taken, rooms->shape.size[0]);
    char *room = rooms->data + number * rooms->shape.size[1], **addresses = (char **)(void *)room;
    const placing *place = (const placing *)(y->attributes + PLACES);
    for (int i = 0; i < y->input_count + blocks_plan(y)->kept_count; i++, place++) {
        const operand *whole = i < y->input_count ? &job->inputs[i] : job->out;
        addresses[i] = whole->data + (place->first + block * place->next) * (int64_t)dtype_bytes(whole->type);
    }
    plan_run_block(blocks_plan(y), room);
    atomic_store(&job->taken[number], false);
}

static void run_blocks(const node *y, const operand *inputs, const operand *out) {
    blocks_job job = {.call = y, .inputs = inputs, .out = out};
    pool_run(blocks_count(y), block_task, &job);
}

static const operator row_blocks = {.name = "blocks", .kind = KERNEL, .accepts = operand_is_contiguous, .run = run_blocks};

/* --- the graph around blocks ---------------------------------------------------------------------------------------------------- */

/* Sets where blocks begin in an input of the new graph, and returns that. */
static node *placed_input(const growing_graph *g, const block_input *in, placing *place) {
    node *value = g->outer[in->number];
    if (in->apart) {
        *place = g->places[in->number];
        return value;
    }
    if (in->rotated) value = rotated(value);
    int64_t strides[MAX_RANK];
    shape_strides(value->shape, strides);
    *place = (placing){0, in->axis == WHOLE ? 0 : value->shape.size[in->axis] / g->c->blocks * strides[in->axis]};
    return value;
}

/* Where the results of blocks lie: one behind the other, each of them block by block; and then, block by block, those that are
 * apart: a processor that fetches beyond the end of one then takes what is its own. Returns how many elements there are. */
static int64_t lay_out(const plan *p, int64_t blocks, const bool *apart, placing *places) {
    int64_t end = 0, of_block = 0;
    for (int k = 0; k < p->kept_count; k++) {
        const int64_t size = shape_elements(p->kept[k].shape), line = 64 / (int64_t)dtype_bytes(p->kept[k].type);
        int64_t *to = apart[k] ? &of_block : &end;
        places[k] = (placing){*to, size};
        *to += ((apart[k] ? size : blocks * size) + line - 1) / line * line;
    }
    for (int k = 0; k < p->kept_count; k++)
        if (apart[k]) places[k].first += end, places[k].next = of_block;
    return end + blocks * of_block;
}

/* All results of all blocks. Sets their places. */
static node *blocks_node(const growing_graph *g, const block_graph *b, block_result *results, int result_count) {
    node_list *order = node_list_new();
    size_t most = (size_t)(b->input_count + result_count);
    node **nodes = memory_scoped(most * sizeof *nodes, "a plan");
    bool *apart = memory_scoped((size_t)result_count * sizeof *apart, "a plan");
    int64_t *attributes = memory_scoped((PLACES + 2 * most) * sizeof *attributes, "a plan");
    int count = 0;
    for (int r = 0; r < result_count; r++) nodes[r] = results[r].value, apart[r] = true;
    node_sort(order, nodes, result_count, false);
    plan *p = plan_schedule(plan_graph_import(order, nodes, result_count, NULL));
    for (int k = 0; k < order->count; k++) {
        const block_input *in = b->inputs;
        if (!node_is_leaf(order->nodes[k])) continue;
        while (in->leaf != order->nodes[k]) in++;
        nodes[count] = placed_input(g, in, (placing *)(attributes + PLACES) + count);
        count++;
    }
    placing *places = (placing *)(attributes + PLACES) + count;
    for (int r = 0; r < result_count; r++) apart[plan_kept(p, r)] &= results[r].apart;
    shape s = {1, {lay_out(p, g->c->blocks, apart, places)}};
    for (int r = 0; r < result_count; r++) results[r].place = places[plan_kept(p, r)];
    attributes[PLAN] = (int64_t)(intptr_t)p;
    attributes[BLOCKS] = g->c->blocks;
    return node_new(&row_blocks, results[0].value->type, s, count, nodes, PLACES + 2 * (count + p->kept_count), attributes);
}

static node *elements(node *all, int64_t first, shape s) {
    return op_reshape(op_slice(all, &first, (int64_t[]){1}, (shape){1, {shape_elements(s)}}), s);
}

/* What lies in the blocks' results from `first` on, as the value n that is cut along `axis`: blocks become neighbours there. */
static node *joined(const cutting *c, node *all, int64_t first, const node *n, int axis) {
    shape s = block_shape(c, n->shape, axis), apart = {.rank = s.rank + 1, .size = {c->blocks}};
    int axes[MAX_RANK];
    for (int k = 0; k < s.rank; k++) apart.size[k + 1] = s.size[k];
    for (int k = 0; k < apart.rank; k++) axes[k] = k < axis ? k + 1 : k == axis ? 0 : k;
    return op_reshape(op_permute(elements(all, first, apart), axes), n->shape);
}

static void place_results(growing_graph *g, const block_graph *b, const block_result *results, node *all) {
    const cutting *c = g->c;
    node **outer = g->outer;
    node *total = NULL;
    int result = 0;
    int64_t first = 0;
    for (int k = 0; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        if (!is_result(b, k, true)) continue;
        if (total == NULL) { /* the first result has them all */
            const shape sums = {2, {c->blocks, results[result++].value->shape.size[0]}};
            total = op_sum(elements(all, 0, sums), 1, false);
        }
        outer[k] = elements(total, first, n->shape);
        first += shape_elements(n->shape);
    }
    for (int k = 0; k < c->order->count; k++) {
        if (!is_result(b, k, false)) continue;
        g->places[k] = results[result++].place;
        outer[k] = c->apart[k] ? all : joined(c, all, g->places[k].first, c->order->nodes[k], c->axis[k]);
    }
}

static void add_blocks(growing_graph *g, int stage) {
    const cutting *c = g->c;
    block_graph b = {.c = c, .stage = stage};
    size_t count = (size_t)c->order->count, most = 0;
    bool any = false;
    b.inner = memory_scoped(count * sizeof *b.inner, "a plan");
    memset(b.inner, 0, count * sizeof *b.inner);
    for (int k = 0; k < c->order->count; k++) most += (size_t)c->order->nodes[k]->input_count;
    b.inputs = memory_scoped(most * sizeof *b.inputs, "a plan");
    for (int k = 0; k < c->order->count; k++) {
        if (!c->computed[k] || c->stage[k] != stage) continue;
        b.inner[k] = rebuild(&b, c->order->nodes[k], g->axes, g->inputs);
        any = true;
    }
    if (!any) return;
    block_result *results = memory_scoped((count + 1) * sizeof *results, "a plan");
    const int result_count = results_of(&b, g->inputs, results);
    place_results(g, &b, results, blocks_node(g, &b, results, result_count));
}

/* n with inputs of the graph with blocks. */
static node *renewed(const growing_graph *g, node *n) {
    bool changed = false;
    for (int i = 0; !node_is_leaf(n) && i < n->input_count; i++) {
        g->inputs[i] = g->outer[n->inputs[i]->number];
        changed = changed || g->inputs[i] != n->inputs[i];
    }
    if (!changed) return n;
    return node_new(n->op, n->type, n->shape, n->input_count, g->inputs, n->attribute_count, n->attributes);
}

static void renew_stage(growing_graph *g, int stage) {
    for (int k = 0; k < g->c->order->count; k++)
        if (!g->c->computed[k] && g->outer[k] == NULL && g->c->stage[k] <= stage) g->outer[k] = renewed(g, g->c->order->nodes[k]);
}

/* Leaves as in `before`, then the others. */
static const node_list *sorted(const node_list *before, node *const *outputs, int output_count) {
    node_list *all = node_list_new(), *result = node_list_new();
    node_sort(all, outputs, output_count, false);
    for (int k = 0; k < before->count; k++)
        if (node_is_leaf(before->nodes[k])) node_list_push(result, before->nodes[k]);
    for (int k = 0; k < all->count; k++)
        if (!node_is_leaf(all->nodes[k])) node_list_push(result, all->nodes[k]);
    for (int k = 0; k < result->count; k++) result->nodes[k]->number = k;
    return result;
}

const node_list *blocks_form(const node_list *order, node **outputs, int output_count) {
    static const char *what = "a plan";
    size_t count = (size_t)order->count, inputs = 1;
    for (size_t k = 0; k < count; k++)
        if ((size_t)order->nodes[k]->input_count > inputs) inputs = (size_t)order->nodes[k]->input_count;
    growing_graph g = {.axes = memory_scoped(inputs * sizeof *g.axes, what)};
    g.c = cutting_find(order, outputs, output_count, g.axes);
    if (g.c == NULL) return order;
    g.outer = memory_scoped(count * sizeof *g.outer, what);
    g.places = memory_scoped(count * sizeof *g.places, what);
    g.inputs = memory_scoped((count + inputs) * sizeof *g.inputs, what);
    memset(g.outer, 0, count * sizeof *g.outer);
    for (int stage = 0; stage <= g.c->stage_count; stage++) {
        renew_stage(&g, stage);
        if (stage < g.c->stage_count) add_blocks(&g, stage);
    }
    for (int o = 0; o < output_count; o++) outputs[o] = g.outer[outputs[o]->number];
    return sorted(order, outputs, output_count);
}
