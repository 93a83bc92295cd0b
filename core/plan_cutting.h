/* Which batch of a computation is cut into blocks of rows (plan_blocks.h), into how many, and what of the computation blocks do. */
#ifndef PLUMB_PLAN_CUTTING_H
#define PLUMB_PLAN_CUTTING_H

#include "plan_internal.h"

enum { MOST_BLOCKS_ALONE = 160 }; /* no cutting has more */

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
    int stage_count;
} cutting;

/* What pays most of all batches: in most of the computation or else between its large kernels; or NULL. outputs [output_count].
 * axes has room for any node's inputs. Owned by the scope. */
const cutting *cutting_find(const node_list *order, node *const *outputs, int output_count, int *axes);

/* n's axis; sets how its inputs are to be cut for that. */
int cutting_rule(const cutting *c, const node *n, int *axes);

#endif
