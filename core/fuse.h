/* Fused chains of elementwise operators: one pass over the data in blocks that stay in the first-level cache. Within
 * a block every step is a loop of its own over registers (blocks of numbers), so nothing is written to memory but
 * what is wanted afterwards. */
#ifndef PLUMB_FUSE_H
#define PLUMB_FUSE_H

#include "operator.h"

/* A place that a step reads or writes: a register, or the block of operand number -(place + 1). */
typedef int fused_place;
static inline fused_place fused_operand(int operand_number) { return -(operand_number + 1); }

enum { FUSED_BLOCK_BYTES = 4096, FUSED_MAX_STEPS = 32, FUSED_MAX_REGISTERS = 4 * FUSED_MAX_STEPS };

typedef struct {
    elementwise_kernel *kernel; /* NULL: a copy of the first input */
    double p, q;
    int input_count;
    fused_place result, inputs[3];
} fused_step;

typedef enum {
    LOAD_DIRECT,   /* row-major: steps read it where it lies */
    LOAD_REPEATED, /* row-major and then again from the start, where some block ends: likewise */
    LOAD_ONCE,     /* in a register from the start: rows much shorter than a block, or a number that not all steps take as a column */
    LOAD_GENERAL,  /* any strides: gathered block by block */
    LOAD_BYTES,    /* row-major uint8, converted block by block */
    LOAD_DIRECT_BYTES, /* row-major uint8, for a step that converts it */
    LOAD_COLUMN    /* a number for each row, or for all, for steps that go by rows */
} fused_load;

typedef struct {
    dtype type;
    int64_t count;      /* elements */
    int64_t block;      /* elements in a block */
    int step_count;
    int operand_count;
    bool from_afar;     /* operands have left the caches by then */
    fused_step steps[2 * FUSED_MAX_STEPS]; /* the work, then delayed stores */
    fused_load loads[FUSED_MAX_REGISTERS]; /* by operand */
    int64_t periods[FUSED_MAX_REGISTERS];  /* by operand: elements of a repeated one; 1: a number */
    int registers[FUSED_MAX_REGISTERS];    /* by operand: where a loaded one goes */
} fused;

/* How each operand (all of one shape) is to be loaded, and the block that suits them. Those that are to be gathered get
 * the shape with the fewest axes that says where their elements lie. */
void fused_choose_loads(fused *f, operand *operands);
/* A step that divides bytes, and is the only one to read them, takes them as they are if the divisor is a single number. */
void fused_divide_bytes(fused *f, fused_step *step);
/* Products that the next step adds to something, or subtracts, and nobody else reads, are computed in that step. */
void fused_join_products(fused *f);
/* A step that adds a column to something, multiplies by it or chooses by it, and alone reads it, takes its numbers one by one. So
 * do all steps that read a single number, if each of them can: it then needs no room in the cache. */
void fused_take_columns(fused *f, const operand *operands);
void fused_run(const fused *f, const operand *operands);

#endif
