#include "plan_blocks.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "fail.h"
#include "kernel_split.h"
#include "memory.h"
#include "operators.h"
#include "pool.h"

/* Sizes are in elements of float32 that one step of a fused pass computes: about a tenth of a nanosecond each. */
enum {
    ENOUGH = 130000,     /* work that is worth another thread's attention for the whole of it */
    BLOCK_WORK = 250000, /* of a block, where there are more than two */
    FEWEST_ROWS = 64,    /* in a block, so that vectors are full, but */
    FEWEST_LONG = 8,     /* where a row by itself is */
    LONG = 2000,         /* that much work */
    LARGE = 4000000,     /* work of a kernel for which threads are best asked by itself */
    SUM_WORK = 80,       /* that there must be for each number that a block hands over to be summed */
    MOST_SUMS = 200000,  /* of those, in all blocks: they stay in caches, and are little memory */
    ROW_WORK = 4,        /* and for each number of rows that are handed over */
    RETURNED = 5,        /* as often where they are returned, since blocks' rows must be joined for that */
    MOST_BLOCKS = 8,
    MOST_STAGES = 4,
    MOST_SIZES = 6       /* of batches that are tried */
};

/* Of an array for all blocks, where the first one's part begins, and how far behind it the next one's, in elements. */
typedef struct {
    int64_t first, next;
} placing;

/* What is found about a graph when rows are cut into blocks. By node number: */
typedef struct {
    const node_list *order;
    int64_t rows, blocks;
    double limit;   /* work of a kernel that blocks leave to all threads */
    int *axis;      /* along which it is cut, WHOLE or SUMMED */
    int *stage;     /* sums of one stage are complete before the next begins */
    bool *computed; /* by blocks; what is cut, but not so, is there before: a batch, or what a large kernel makes of one */
    bool *wanted;   /* of what blocks compute: outside of its stage's blocks */
    bool *returned; /* of what is wanted: by the graph's user, as one array */
    bool *apart;    /* of what is wanted: only by other stages' blocks, so that its own never become neighbours */
    placing *places; /* of what is wanted and cut, in its blocks' results */
    int stage_count;
} cutting;

static bool is_batch(const cutting *c, const node *n) {
    bool source = node_is_leaf(n) || n->op->kind == KERNEL;
    return source && n->shape.rank > 0 && n->shape.size[0] == c->rows;
}

static int larger(int a, int b) { return a > b ? a : b; }

/* How n's inputs are cut where sums are complete. */
static void axes_of_inputs(const cutting *c, const node *n, int *axes) {
    bool sums = n->input_count > 0;
    for (int i = 0; i < n->input_count; i++) {
        axes[i] = c->axis[n->inputs[i]->number];
        sums = sums && axes[i] == SUMMED && c->stage[n->inputs[i]->number] == c->stage[n->inputs[0]->number];
    }
    for (int i = 0; !sums && i < n->input_count; i++)
        if (axes[i] == SUMMED) axes[i] = WHOLE;
}

static bool any_computed(const cutting *c, const node *n) {
    for (int i = 0; i < n->input_count; i++)
        if (c->computed[n->inputs[i]->number]) return true;
    return false;
}

/* n's axis, with what its rule asks for in axes. */
static int apply_rule(const cutting *c, const node *n, int *axes) {
    bool any = false;
    axes_of_inputs(c, n, axes);
    for (int i = 0; i < n->input_count; i++) any = any || axes[i] != WHOLE;
    if (!any) return WHOLE;
    int axis = n->op->cut != NULL ? n->op->cut(n, axes) : n->op->kind == ELEMENTWISE ? operator_cut_together(n, axes) : WHOLE;
    return axis >= 0 && n->shape.size[axis] % c->blocks != 0 ? WHOLE : axis;
}

static int stage_of(const cutting *c, const node *n, const int *axes, bool computed) {
    int stage = 0;
    for (int i = 0; i < n->input_count; i++) {
        const int in = n->inputs[i]->number;
        bool complete = c->computed[in] && (!computed || axes[i] != c->axis[in]);
        stage = larger(stage, c->stage[in] + (complete ? 1 : 0));
    }
    return stage;
}

/* Some products are faster as a whole than in blocks on any number of threads: more than any limit. */
static double work_of(const node *n) {
    double wide = n->type == FLOAT32 ? 1 : 2, elements = (double)shape_elements(n->shape);
    if (n->op->kind == VIEW) return 0;
    if (!op_is(n, "matmul")) return wide * elements;
    const int64_t k = n->inputs[0]->shape.size[n->inputs[0]->shape.rank - 1];
    if (n->shape.rank == 2 && n->type == FLOAT32 && kernel_split_pays(n->shape.size[0], n->shape.size[1], k)) return INFINITY;
    return wide * elements * (1 + (double)k / 4);
}

static void find_axes(cutting *c, int *axes) {
    c->stage_count = 0;
    for (int k = 0; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        bool leaf = node_is_leaf(n);
        c->axis[k] = leaf ? WHOLE : apply_rule(c, n, axes);
        c->computed[k] = c->axis[k] != WHOLE && (n->op->kind != VIEW || any_computed(c, n)) && /* else it is another look at a batch */
                         work_of(n) < c->limit;
        c->stage[k] = leaf ? 0 : stage_of(c, n, axes, c->computed[k]);
        if (!c->computed[k] && c->axis[k] == SUMMED) c->axis[k] = WHOLE; /* it is complete where blocks read it */
        if (!c->computed[k] && is_batch(c, n)) c->axis[k] = 0;
        if (c->computed[k] && c->stage[k] >= c->stage_count) c->stage_count = c->stage[k] + 1;
    }
}

/* --- what pays ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    double work;
    int others; /* kernels beside fused passes, for which threads are asked once anyway */
    int64_t sums, rows; /* elements of what is wanted outside; returned ones count more */
    dtype type;
    bool mixed; /* dtypes of what is wanted */
} stage_figures;

static void find_wanted(cutting *c, node *const *outputs, int output_count, int *axes) {
    memset(c->wanted, false, (size_t)c->order->count * sizeof *c->wanted);
    memset(c->returned, false, (size_t)c->order->count * sizeof *c->returned);
    memset(c->apart, true, (size_t)c->order->count * sizeof *c->apart);
    for (int k = 0; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        if (node_is_leaf(n)) continue;
        if (c->computed[k]) apply_rule(c, n, axes);
        for (int i = 0; i < n->input_count; i++) {
            int in = n->inputs[i]->number;
            bool here = c->computed[k] && c->stage[in] == c->stage[k] && c->axis[in] == axes[i];
            if (!c->computed[in] || here) continue;
            c->wanted[in] = true;
            if (!c->computed[k] || c->axis[in] < 0 || c->axis[in] != axes[i]) c->apart[in] = false;
        }
    }
    for (int o = 0; o < output_count; o++) {
        int k = outputs[o]->number;
        if (c->computed[k]) c->wanted[k] = c->returned[k] = true, c->apart[k] = false;
    }
}

static stage_figures measure_stage(const cutting *c, int stage) {
    stage_figures f = {.type = FLOAT32};
    bool any = false;
    for (int k = 0; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        if (!c->computed[k] || c->stage[k] != stage) continue;
        f.work += work_of(n);
        f.others += n->op->kind == KERNEL;
        if (!c->wanted[k]) continue;
        f.mixed = f.mixed || (any && n->type != f.type);
        f.type = n->type;
        any = true;
        f.mixed = f.mixed || n->shape.rank == MAX_RANK; /* no room for an axis of blocks */
        if (c->axis[k] == SUMMED) f.sums += shape_elements(n->shape);
        else f.rows += shape_elements(n->shape) * (c->returned[k] ? RETURNED : 1);
    }
    f.mixed = f.mixed || !any || !dtype_is_float(f.type);
    return f;
}

static bool is_read_within(const cutting *c, int number) {
    for (int k = number + 1; k < c->order->count; k++)
        for (int i = 0; c->computed[k] && c->stage[k] == c->stage[number] && i < c->order->nodes[k]->input_count; i++)
            if (c->order->nodes[k]->inputs[i]->number == number) return true;
    return false;
}

/* A view that is wanted outside only is taken outside: what blocks compute is handed over as it lies. */
static void leave_views(cutting *c, node *const *outputs, int output_count, int *axes) {
    for (int k = c->order->count - 1; k >= 0; k--) {
        bool is_view = c->computed[k] && c->order->nodes[k]->op->kind == VIEW;
        if (!is_view || !c->wanted[k] || c->apart[k] || is_read_within(c, k)) continue;
        c->computed[k] = false;
        c->stage[k]++; /* once its input is complete */
        find_wanted(c, outputs, output_count, axes);
    }
}

/* Stages that do not pay are computed as if nobody had heard of blocks. Returns the work of those that do. */
static double choose_stages(cutting *c, node *const *outputs, int output_count, int *axes) {
    double work = 0;
    find_wanted(c, outputs, output_count, axes);
    leave_views(c, outputs, output_count, axes);
    for (int stage = 0; stage < c->stage_count; stage++) {
        stage_figures f = measure_stage(c, stage);
        double sums = (double)(f.sums * c->blocks);
        bool few_results = sums <= MOST_SUMS && sums * SUM_WORK <= f.work && (double)f.rows * ROW_WORK <= f.work;
        bool pays = !f.mixed && f.others > 0 && f.work >= ENOUGH && few_results;
        if (pays) work += f.work;
        for (int k = 0; !pays && k < c->order->count; k++)
            if (c->stage[k] == stage) c->computed[k] = false;
    }
    if (work > 0) find_wanted(c, outputs, output_count, axes);
    return work;
}

static cutting *cutting_new(const node_list *order, int64_t rows, int64_t blocks, double limit) {
    static const char *what = "a plan";
    size_t count = (size_t)order->count;
    cutting *c = memory_scoped(sizeof *c, what);
    *c = (cutting){.order = order, .rows = rows, .blocks = blocks, .limit = limit};
    c->axis = memory_scoped(count * sizeof *c->axis, what);
    c->stage = memory_scoped(count * sizeof *c->stage, what);
    c->computed = memory_scoped(count * sizeof *c->computed, what);
    c->wanted = memory_scoped(count * sizeof *c->wanted, what);
    c->returned = memory_scoped(count * sizeof *c->returned, what);
    c->apart = memory_scoped(count * sizeof *c->apart, what);
    c->places = memory_scoped(count * sizeof *c->places, what);
    memset(c->computed, 0, count * sizeof *c->computed);
    return c;
}

/* --- the graph of a block --------------------------------------------------------------------------------------------------- */

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
    node *in = block_of(b, n->inputs[0], below, depth + 1);
    return node_new(n->op, n->type, s, 1, &in, n->attribute_count, n->attributes);
}

static bool is_here(const block_graph *b, int number, int axis) {
    return b->c->computed[number] && b->c->stage[number] == b->stage && b->c->axis[number] == axis;
}

static node *rebuild(block_graph *b, const node *n, int *axes, node **inputs) {
    const cutting *c = b->c;
    apply_rule(c, n, axes);
    for (int i = 0; i < n->input_count; i++) {
        int in = n->inputs[i]->number;
        inputs[i] = is_here(b, in, axes[i]) ? b->inner[in] : block_of(b, n->inputs[i], axes[i], 0);
    }
    shape s = block_shape(c, n->shape, c->axis[n->number]);
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
    atomic_bool taken[MOST_BLOCKS]; /* rooms to work in */
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
static node *placed_input(const cutting *c, const block_input *in, node *const *outer, placing *place) {
    if (in->apart) {
        *place = c->places[in->number];
        return outer[in->number];
    }
    node *value = in->rotated ? rotated(outer[in->number]) : outer[in->number];
    int64_t strides[MAX_RANK];
    shape_strides(value->shape, strides);
    *place = (placing){0, in->axis == WHOLE ? 0 : value->shape.size[in->axis] / c->blocks * strides[in->axis]};
    return value;
}

/* Where the results of blocks lie: one behind the other, each of them block by block; and then, block by block, those that are
 * apart, since processors fetch ahead what they take to come next. Returns how many elements there are. */
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
static node *blocks_node(const block_graph *b, block_result *results, int result_count, node *const *outer) {
    const cutting *c = b->c;
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
        nodes[count] = placed_input(c, in, outer, (placing *)(attributes + PLACES) + count);
        count++;
    }
    placing *places = (placing *)(attributes + PLACES) + count;
    for (int r = 0; r < result_count; r++) apart[plan_kept(p, r)] &= results[r].apart;
    shape s = {1, {lay_out(p, c->blocks, apart, places)}};
    for (int r = 0; r < result_count; r++) results[r].place = places[plan_kept(p, r)];
    attributes[PLAN] = (int64_t)(intptr_t)p;
    attributes[BLOCKS] = c->blocks;
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

static void place_results(const block_graph *b, const block_result *results, node *all, node **outer) {
    const cutting *c = b->c;
    const shape sums = {2, {c->blocks, results[0].value->shape.size[0]}}; /* if there are any */
    node *total = op_sum(elements(all, 0, sums), 1, false);
    int result = 0;
    int64_t first = 0;
    for (int k = 0; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        if (!is_result(b, k, true)) continue;
        result = 1; /* the first has them all */
        outer[k] = elements(total, first, n->shape);
        first += shape_elements(n->shape);
    }
    for (int k = 0; k < c->order->count; k++) {
        if (!is_result(b, k, false)) continue;
        c->places[k] = results[result++].place;
        outer[k] = c->apart[k] ? all : joined(c, all, c->places[k].first, c->order->nodes[k], c->axis[k]);
        if (c->returned[k]) outer[k] = op_copy(outer[k]); /* it would hold on to all results */
    }
}

static void add_blocks(const cutting *c, int stage, node **outer, int *axes, node **parts) {
    block_graph b = {.c = c, .stage = stage};
    size_t count = (size_t)c->order->count;
    int most = 0;
    bool any = false;
    b.inner = memory_scoped(count * sizeof *b.inner, "a plan");
    memset(b.inner, 0, count * sizeof *b.inner);
    for (int k = 0; k < c->order->count; k++) most += c->order->nodes[k]->input_count;
    b.inputs = memory_scoped((size_t)most * sizeof *b.inputs, "a plan");
    for (int k = 0; k < c->order->count; k++) {
        if (!c->computed[k] || c->stage[k] != stage) continue;
        b.inner[k] = rebuild(&b, c->order->nodes[k], axes, parts);
        any = true;
    }
    if (!any) return;
    block_result *results = memory_scoped((count + 1) * sizeof *results, "a plan");
    const int result_count = results_of(&b, parts, results);
    node *all = blocks_node(&b, results, result_count, outer);
    place_results(&b, results, all, outer);
}

/* n with inputs of the new graph. */
static node *renewed(node *n, node *const *outer, node **inputs) {
    bool changed = false;
    for (int i = 0; !node_is_leaf(n) && i < n->input_count; i++) {
        inputs[i] = outer[n->inputs[i]->number];
        changed = changed || inputs[i] != n->inputs[i];
    }
    if (!changed) return n;
    return node_new(n->op, n->type, n->shape, n->input_count, inputs, n->attribute_count, n->attributes);
}

static void renew_stage(const cutting *c, int stage, node **outer, node **inputs) {
    for (int k = 0; k < c->order->count; k++)
        if (!c->computed[k] && outer[k] == NULL && c->stage[k] <= stage) outer[k] = renewed(c->order->nodes[k], outer, inputs);
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

/* --- which batch ------------------------------------------------------------------------------------------------------------------ */

/* Work of the kernels below the limit: of those with so many rows, or of all. */
enum { ANY_ROWS = -1 };

static double work_below(const node_list *order, double limit, int64_t rows) {
    double work = 0;
    for (int k = 0; k < order->count; k++) {
        const node *n = order->nodes[k];
        bool fits = rows == ANY_ROWS || (n->shape.rank > 0 && n->shape.size[0] == rows);
        if (fits && !node_is_leaf(n) && work_of(n) < limit) work += work_of(n);
    }
    return work;
}

static int64_t blocks_for(int64_t rows, double work) {
    int64_t blocks = 2, fewest = work / (double)rows >= LONG ? FEWEST_LONG : FEWEST_ROWS;
    if (rows % 2 != 0 || rows / 2 < fewest) return 0;
    while (2 * blocks <= MOST_BLOCKS && rows % (2 * blocks) == 0 && rows / (2 * blocks) >= fewest &&
           work / (double)(2 * blocks) >= BLOCK_WORK)
        blocks *= 2;
    return blocks;
}

/* The sizes that batches may have. */
static int find_sizes(const node_list *order, int64_t *sizes) {
    int count = 0;
    for (int k = 0; k < order->count && count < MOST_SIZES; k++) {
        const node *n = order->nodes[k];
        bool known = n->shape.rank == 0 || !(node_is_leaf(n) || op_is(n, "index_select")) || n->shape.size[0] < 2 * FEWEST_LONG;
        for (int s = 0; s < count; s++) known = known || sizes[s] == n->shape.size[0];
        if (!known) sizes[count++] = n->shape.size[0];
    }
    return count;
}

/* What most work is done by, of kernels below the limit; NULL where that is not more than `least`. */
static cutting *best_cutting(const node_list *order, node *const *outputs, int output_count, int *axes, double limit, double least) {
    int64_t sizes[MOST_SIZES];
    double most = least, work = work_below(order, limit, ANY_ROWS);
    cutting *best = NULL;
    if (work < ENOUGH) return NULL;
    int count = find_sizes(order, sizes);
    for (int s = 0; s < count; s++) {
        int64_t blocks = blocks_for(sizes[s], work_below(order, limit, sizes[s]));
        if (blocks == 0) continue;
        cutting *c = cutting_new(order, sizes[s], blocks, limit);
        find_axes(c, axes);
        double done = c->stage_count > MOST_STAGES ? 0 : choose_stages(c, outputs, output_count, axes);
        if (done > most) most = done, best = c;
    }
    return best;
}

/* Most of a computation, or else what stands between its large kernels. */
static const cutting *find_cutting(const node_list *order, node *const *outputs, int output_count, int *axes) {
    const cutting *all = best_cutting(order, outputs, output_count, axes, INFINITY, work_below(order, INFINITY, ANY_ROWS) / 2);
    return all != NULL ? all : best_cutting(order, outputs, output_count, axes, LARGE, 0);
}

const node_list *blocks_form(const node_list *order, node **outputs, int output_count) {
    int inputs = 1;
    for (int k = 0; k < order->count; k++) inputs = larger(inputs, order->nodes[k]->input_count);
    int *axes = memory_scoped((size_t)inputs * sizeof *axes, "a plan");
    const cutting *c = find_cutting(order, outputs, output_count, axes);
    if (c == NULL) return order;
    size_t count = (size_t)order->count, most = count + (size_t)inputs;
    node **outer = memory_scoped(count * sizeof *outer, "a plan"), **parts = memory_scoped(most * sizeof *parts, "a plan");
    memset(outer, 0, count * sizeof *outer);
    for (int stage = 0; stage <= c->stage_count; stage++) {
        renew_stage(c, stage, outer, parts);
        if (stage < c->stage_count) add_blocks(c, stage, outer, axes, parts);
    }
    for (int o = 0; o < output_count; o++) outputs[o] = outer[outputs[o]->number];
    return sorted(order, outputs, output_count);
}
