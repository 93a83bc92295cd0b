/* The operator table. A row holds all there is to know of an operator: its name and documentation, how it is called,
 * its kernel, its gradient rule and its test samples. Rows register themselves before main; the Lua functions,
 * methods, argument checks, help() and the value and gradient tests are made by walking the table. */
#ifndef PLUMB_OPERATOR_H
#define PLUMB_OPERATOR_H

#include "node.h"

typedef enum {
    ELEMENTWISE, /* same shape in and out; chains fuse into one pass */
    VIEW,        /* no work: another look at the same numbers */
    KERNEL       /* runs a kernel of its own */
} operator_kind;

enum { MAX_ARGUMENTS = 8 };

/* Instead of an axis, along which a value is cut into blocks: it is not cut; it is the sum over blocks of what each gives. */
enum { WHOLE = -1, SUMMED = -2 };

/* One argument of a call from outside, as the signature asks for it. */
typedef struct {
    bool given;
    node *tensor;         /* name            a tensor, or a number that takes the dtype of the other tensors */
    node **tensors;       /* name:tensors    [count] */
    int count;
    int64_t list[MAX_RANK]; /* name:axes, name:integers, name:shape    [count] */
    double number;        /* name=0.5        a number with a default */
    int64_t integer;      /* name:integer, name:axis (as the user gave it: from 1, or from the end with -1) */
    bool boolean;         /* name:boolean */
    dtype type;           /* name:dtype */
} argument;               /* a `?` behind the kind: may be left out */

/* An operand of a kernel that runs. */
typedef struct {
    char *data;
    dtype type;
    shape shape;
    int64_t strides[MAX_RANK]; /* in elements */
    int64_t offset;            /* used while planning; `data` already includes it when a kernel runs */
} operand;

/* Elementwise kernels: out[i] = f(x[i], y[i], z[i]; p, q) for contiguous blocks. */
typedef void elementwise_kernel(int64_t count, void *out, const void *x, const void *y, const void *z, double p,
                                double q);

struct operator {
    const char *name;
    const char *signature; /* e.g. "x, axes:axes?, keepdim:boolean?"; "" for operators that are not called by name */
    const char *doc;
    const char *samples; /* lines "inputs ; call ; element": see tests/operators_spec.lua */
    operator_kind kind;
    bool differentiable;
    bool checks_values; /* the kernel may fail on the numbers it is given (an index out of range) */
    bool (*accepts)(const operand *input); /* KERNEL: the layouts it takes (NULL: any); the plan copies others first */
    /* KERNEL: does it take an input that lies columnwise as it is, and give a result that does so too? (NULL: no) */
    bool (*follows)(const node *y, const operand *input);
    /* The node for a call from outside; argument k stands at arguments[k]. */
    node *(*build)(const operator *self, const argument *arguments);
    /* Where a call gives several tensors: how many, and number 0 .. results - 1 of them, made from what build made. */
    int results;
    node *(*result)(node *y, int number);
    /* The gradient with respect to input `index`, given the gradient g of the result y; NULL for none. */
    node *(*gradient)(node *y, node *g, int index);
    /* y for `size` values at once: each input that is mapped has them along a new first axis, and so does the result. NULL:
     * one value after another (batch.h). */
    node *(*batch)(node *y, node *const *inputs, const bool *mapped, int64_t size);
    /* What a block of y is made of (plan_blocks.h). axes[i] tells how input i is cut: along which axis, or that it is WHOLE, or
     * for all inputs that they are SUMMED. Returns the same of y; where that is an axis, a block of y comes from the blocks of
     * the inputs that are cut and the others as they are. The rule may cut inputs that are WHOLE. NULL: y needs all. */
    int (*cut)(const node *y, int *axes);
    /* VIEW: fills out->strides and out->offset from `in`; false when the numbers must first be made contiguous. */
    bool (*view)(const node *y, const operand *in, operand *out);
    /* KERNEL: computes `out` from the inputs; it is contiguous, but columnwise where `follows` says so, and perhaps that of
     * a matrix product. */
    void (*run)(const node *y, const operand *inputs, const operand *out);
    /* KERNEL: bytes of memory to work in, which run finds as one more input; NULL for none. y has no inputs then, in
     * holds what they look like. */
    size_t (*scratch)(const node *y, const operand *in);
    /* ELEMENTWISE: by dtype; NULL where the dtype has none. */
    elementwise_kernel *kernels[DTYPE_COUNT];
    const operator *next; /* in the table */
};

bool operand_is_contiguous(const operand *a);
/* Does the last axis come first in memory, and the others follow in their order? So results lie that have few columns and many
 * rows: vectors then run along the rows. */
bool operand_is_columnwise(const operand *a);
void operand_columnwise_strides(shape s, int64_t *strides);
/* The same numbers with the last axis first: what lies columnwise is then row-major. */
void operand_rotate(operand *a);

void operator_register(operator *row);
const operator *operator_first(void); /* then ->next; in alphabetical order */
bool op_is(const node *n, const char *name); /* does this operator stand at the node? */

/* Defines and registers a row: OPERATOR(sum, .signature = ..., ...). The row is called row_sum. OPERATOR_NAMED gives it
 * another name: users find "space.name" in the table `space`, and not among the tensors' methods. */
#define OPERATOR(identifier, ...) OPERATOR_NAMED(identifier, #identifier, __VA_ARGS__)
#define OPERATOR_NAMED(identifier, text, ...)                                           \
    static operator row_##identifier = {.name = text, __VA_ARGS__};                     \
    __attribute__((constructor)) static void register_##identifier(void) {              \
        operator_register(&row_##identifier);                                           \
    }

/* A rule for `view`: the same numbers in the same layout. */
bool operator_view_same(const node *y, const operand *in, operand *out);
/* A rule for `cut`: all inputs are cut along the same axis, and so is y. */
int operator_cut_together(const node *y, int *axes);
/* The axis of `to` that has as many elements before it as `axis` of `from`, where both have the same elements; or WHOLE. */
int operator_reshape_axis(shape from, int axis, shape to);

/* The axis that a user means by 1 .. rank or -rank .. -1, counted from 0. Fails naming the operator. */
int operator_axis(const operator *op, shape s, int64_t axis);

#endif
