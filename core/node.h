/* The lazy graph. A tensor is a node: an operator applied to other nodes, with shape and dtype known at once and the
 * value computed when somebody looks. Nodes are immutable and counted; a graph without cycles is all there is. */
#ifndef PLUMB_NODE_H
#define PLUMB_NODE_H

#include "array.h"

typedef struct node node;
typedef struct operator operator;

struct node {
    size_t references;
    union {
        const operator *op; /* NULL for a node that was born with its value */
        node *next_doomed;  /* once the last reference is gone */
    };
    dtype type;
    shape shape;
    uint64_t traces; /* bit k: depends on an argument of the gradient trace of level k + 1 */
    int depth;       /* the longest chain of pending nodes below, this one included; 0: has a value */
    int input_count;
    int attribute_count;
    node **inputs;       /* [input_count], NULL once the value is there and nobody differentiates */
    int64_t *attributes; /* [attribute_count], what the operator needs beside its inputs */
    array value;         /* value.storage == NULL while pending */
    bool weak;           /* a number from a script: takes the dtype of what it meets */
    bool exposed;        /* a user has held it: worth keeping when it is computed on the way */
    bool passed;         /* it has been computed on the way, and was not kept */
    uint64_t mark;       /* the last traversal that came here, and the number it gave */
    int number;
};

/* A pending node, owned by the innermost scope (fail.h). Inputs are retained, attributes copied. */
node *node_new(const operator *op, dtype type, shape s, int input_count, node *const *inputs, int attribute_count,
               const int64_t *attributes);
/* A node that has a value, owned by the innermost scope: one that shares an array (and takes a reference of its own),
 * or one with a new array, for the caller to fill. */
node *node_constant(array value);
node *node_with_array(dtype type, shape s);
/* The same operator, shape and attributes without the inputs: what a kernel has to know when it runs. */
node *node_skeleton(const node *n);
node *node_retain(node *n); /* returns n */
void node_release(node *n); /* NULL is ignored */

static inline bool node_has_value(const node *n) { return n->value.storage != NULL; }
/* Gives a pending node its value (taking over the reference) and lets go of its inputs, unless a trace needs them.
 * Cannot fail for as many nodes as node_reserve_values was called for. */
void node_reserve_values(int count);
void node_set_value(node *n, array value);

/* Gradient traces. Between begin and end, nodes that depend on the trace's arguments keep their inputs even when
 * they are evaluated. Traces nest; ending one also ends those inside it. */
enum { MAX_TRACES = 64 };
int trace_begin(void);                    /* the new level, from 1; fails beyond MAX_TRACES */
void trace_argument(node *n, int level);  /* n is what the trace of this level differentiates by */
void trace_end(int level);
int trace_level(void);                    /* of the innermost one; 0: none */

/* Nodes from `roots` down to those with a value (and below them where a trace keeps their inputs, if
 * `through_values`), inputs before users; each node's `number` is its place in the list. */
typedef struct {
    node **nodes;
    int count;
    int capacity;
} node_list;

node_list *node_list_new(void); /* owned by the scope */
void node_list_push(node_list *list, node *n);
void node_sort(node_list *out, node *const *roots, int root_count, bool through_values);
bool node_in_last_sort(const node *n); /* did the last node_sort reach n? */

/* Gives back the memory that traversals keep for the next one. Not while one is under way. */
void node_clear_lists(void);

/* Attributes that are real numbers travel as the bits of a double. */
static inline int64_t attribute_from_number(double number) {
    union { double number; int64_t bits; } u = {.number = number};
    return u.bits;
}
static inline double attribute_to_number(int64_t bits) {
    union { int64_t bits; double number; } u = {.bits = bits};
    return u.number;
}

#endif
