#include "plan_cutting.h"

#include <math.h>
#include <string.h>

#include "kernel_split.h"
#include "memory.h"
#include "operators.h"

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
    ALONE_WORK = 120000, /* of a block where nothing is summed, of which there may be more */
    MOST_STAGES = 4,
    MOST_SIZES = 6       /* of batches that are tried */
};

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

int cutting_rule(const cutting *c, const node *n, int *axes) {
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
        c->axis[k] = leaf ? WHOLE : cutting_rule(c, n, axes);
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
        if (c->computed[k]) cutting_rule(c, n, axes);
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

/* The first stage in which node `number` is read; its own, where it must stay: what is not within blocks reads it, or needs all of it. */
static int stage_of_readers(const cutting *c, int number, int *axes) {
    int stage = MOST_STAGES;
    for (int k = number + 1; k < c->order->count; k++) {
        const node *n = c->order->nodes[k];
        for (int i = 0; !node_is_leaf(n) && i < n->input_count; i++) {
            if (n->inputs[i]->number != number) continue;
            if (c->computed[k]) cutting_rule(c, n, axes);
            if (!c->computed[k] || axes[i] != c->axis[number]) return c->stage[number];
            if (c->stage[k] < stage) stage = c->stage[k];
        }
    }
    return stage == MOST_STAGES || c->returned[number] ? c->stage[number] : stage;
}

/* A stage that does not pay: what only later blocks read becomes part of these, whose work is measured after it. The others are
 * computed as if nobody had heard of blocks. */
static void dissolve_stage(cutting *c, int stage, int *axes) {
    for (int k = c->order->count - 1; k >= 0; k--) {
        if (!c->computed[k] || c->stage[k] != stage) continue;
        c->stage[k] = stage_of_readers(c, k, axes);
        c->computed[k] = c->stage[k] > stage;
    }
}

/* Returns the work of the stages that pay. */
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
        else dissolve_stage(c, stage, axes);
        find_wanted(c, outputs, output_count, axes);
    }
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
    memset(c->computed, 0, count * sizeof *c->computed);
    return c;
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

/* Where nothing is summed: blocks of a few rows, or of one, if these are much work. */
static int64_t blocks_alone(int64_t rows, double work) {
    if (work / (double)rows < LONG) return 0;
    int64_t blocks = work < (double)MOST_BLOCKS_ALONE * ALONE_WORK ? (int64_t)(work / ALONE_WORK) : MOST_BLOCKS_ALONE;
    while (blocks > 1 && rows % blocks != 0) blocks--;
    return blocks < 2 ? 0 : blocks;
}

static bool has_sums(const cutting *c) {
    for (int k = 0; k < c->order->count; k++)
        if (c->computed[k] && c->wanted[k] && c->axis[k] == SUMMED) return true;
    return false;
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

/* Sets the work that is done in so many blocks. */
static cutting *try_cutting(const node_list *order, node *const *outputs, int output_count, int *axes, int64_t rows, int64_t blocks,
                            double limit, double *done) {
    cutting *c = cutting_new(order, rows, blocks, limit);
    if (blocks > 0) find_axes(c, axes);
    *done = blocks == 0 || c->stage_count > MOST_STAGES ? 0 : choose_stages(c, outputs, output_count, axes);
    return c;
}

/* What most work is done by, of kernels below the limit; NULL where that is not more than `least`. */
static cutting *best_cutting(const node_list *order, node *const *outputs, int output_count, int *axes, double limit, double least) {
    int64_t sizes[MOST_SIZES];
    double most = least, work = work_below(order, limit, ANY_ROWS);
    cutting *best = NULL;
    if (work < ENOUGH) return NULL;
    int count = find_sizes(order, sizes);
    for (int s = 0; s < count; s++) {
        const double own = work_below(order, limit, sizes[s]);
        const int64_t few = blocks_for(sizes[s], own), many = blocks_alone(sizes[s], own);
        double done = 0;
        cutting *c = few < many ? try_cutting(order, outputs, output_count, axes, sizes[s], many, limit, &done) : NULL;
        if (c == NULL || done == 0 || has_sums(c)) c = try_cutting(order, outputs, output_count, axes, sizes[s], few, limit, &done);
        if (done > most) most = done, best = c;
    }
    return best;
}

const cutting *cutting_find(const node_list *order, node *const *outputs, int output_count, int *axes) {
    const cutting *all = best_cutting(order, outputs, output_count, axes, INFINITY, work_below(order, INFINITY, ANY_ROWS) / 2);
    return all != NULL ? all : best_cutting(order, outputs, output_count, axes, LARGE, 0);
}
