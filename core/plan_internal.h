/* What the parts of the planner share: plan_graph.c simplifies and groups, plan_schedule.c orders and places,
 * plan_run.c runs. */
#ifndef PLUMB_PLAN_INTERNAL_H
#define PLUMB_PLAN_INTERNAL_H

#include <string.h>

#include "fuse.h"
#include "operator.h"
#include "plan.h"

/* --- the plan itself ---------------------------------------------------------------------------------------------- */

typedef enum { HOME_LEAF, HOME_SCRATCH, HOME_KEPT } storage_home;

/* Memory for one value: a leaf's, a piece of the shared workspace, or an array of its own that outlives the run. */
typedef struct {
    storage_home home;
    int64_t place; /* leaf number, byte offset in the workspace, or number of the kept array */
} storage;

typedef struct {
    dtype type;
    shape shape;
    int donor; /* the leaf whose memory it may take, or -1 */
} kept_array;

typedef struct {
    const node *call; /* the skeleton that tells the kernel its attributes; NULL for a fused program */
    fused *program;
    void (*run)(const node *y, const operand *inputs, const operand *out);
    int operand_begin, operand_count; /* a kernel's last operand is its result */
    int64_t nanoseconds;              /* of the fastest timed run */
} instruction;

typedef struct {
    int storage;
    operand look;
} plan_output;

struct plan {
    size_t references;
    plan *next_timed;           /* the list of plan_timing_begin */
    int64_t timed_runs, nanoseconds;
    int leaf_count, output_count, storage_count, kept_count, instruction_count, operand_count, skeleton_count, inner_count;
    int stoppable_count; /* the instructions before the first that writes over a leaf's memory */
    size_t scratch_bytes;
    size_t capacity_items, capacity_operands, capacity_outputs; /* what the arrays below have room for */
    storage *storages;        /* [storage_count] */
    kept_array *kept;         /* [kept_count] */
    array *kept_values;       /* [kept_count], filled while running */
    char **bases;             /* [storage_count], likewise */
    instruction *instructions;
    operand *operands;        /* [operand_count], of all instructions */
    int *operand_storages;    /* [operand_count] */
    plan_output *outputs;
    node **skeletons;         /* [skeleton_count], owned */
    plan **inner;             /* [inner_count], owned: of blocks (plan_blocks.h) */
};

/* A plan whose outputs are copies (op_copy) runs on any thread in a room of so many bytes, aligned to 64, which begins with the
 * addresses of its leaves and of its kept arrays. Outputs that are equal are one kept array. */
size_t plan_room(const plan *p);
int plan_kept(const plan *p, int output); /* its number */
void plan_run_block(const plan *p, char *room);

/* --- the graph while it is planned ------------------------------------------------------------------------------- */

typedef struct {
    const operator *op;       /* NULL: a leaf */
    node *call;               /* skeleton (operator items) */
    dtype type;
    shape shape;
    int input_begin, input_count; /* in plan_graph.inputs: numbers of earlier items */
    void (*run)(const node *y, const operand *inputs, const operand *out); /* KERNEL and copies */
    bool live, wanted;        /* reached from the outputs; one of them */
    bool is_constant;         /* every element is `constant` */
    double constant;
    int level;                /* barriers between here and the outputs (see find_levels) */
    int unit;                 /* the unit that computes it; -1 for leaves and views */
    int root;                 /* the item in whose memory it lies */
    int leaf;                 /* number of the leaf, or -1 */
    int copy;                 /* a contiguous copy made for kernels that want one, or -1 */
    int scratch;              /* the item that stands for the memory its kernel works in, or -1 */
    operand look;             /* the layout, with offsets relative to the root */
    int storage;              /* of a root, once placed */
    int64_t storage_offset;   /* of a root, in elements: it may be a part of a concat's result */
    bool stored;              /* an elementwise value that is needed outside its unit */
    bool in_place;            /* it takes the place of an input that nobody reads later */
    int overwritten_at;       /* the last position at which that happened to this root, or -1 */
} item;

typedef struct {
    bool fused;
    int member_begin, member_count; /* in plan_graph.members */
    int position;                   /* in the schedule; -1: not yet */
} unit;

typedef struct {
    item *items;
    int *inputs;
    int *members;
    unit *units;
    int *schedule;  /* unit numbers in order */
    int *outputs;   /* item numbers */
    int *donors;    /* by output */
    int rooms;      /* the scratch that all blocks of rows share, or -1 */
    int item_count, input_count, unit_count, member_count, leaf_count, output_count;
    int item_capacity, input_capacity;
} plan_graph;

/* Has it few columns and many rows? Such results of small matrix products mostly lie columnwise. */
bool plan_is_thin(shape s);

/* Products of matrices that take images as they are (plan_images.c): of an elementwise item whose layout is known, and of all. */
void plan_take_images(plan_graph *g, item *i);
void plan_take_chosen(plan_graph *g);

plan_graph *plan_graph_import(const node_list *order, node *const *outputs, int output_count, const int *donors);
plan *plan_schedule(plan_graph *graph);
static inline item *item_input(const plan_graph *g, const item *i, int k) {
    return &g->items[g->inputs[i->input_begin + k]];
}
static inline int number_of(const plan_graph *g, const item *i) { return (int)(i - g->items); }
/* What i is a view of, or a view of a view; or i. */
static inline const item *viewed(const plan_graph *g, const item *i) {
    while (i->op != NULL && i->op->kind == VIEW) i = item_input(g, i, 0);
    return i;
}
static inline bool is_called(const item *i, const char *name) { return i->op != NULL && strcmp(i->op->name, name) == 0; }
static inline bool is_matrix_product(const item *i) { return is_called(i, "matmul"); }
static inline bool is_elementwise(const item *i) { return i->op != NULL && i->op->kind == ELEMENTWISE; }

#endif
