/* The two sides of a product of split numbers, and how their numbers come to lie in tiles; see kernel_split.c. */
#ifndef PLUMB_KERNEL_SPLIT_PACK_H
#define PLUMB_KERNEL_SPLIT_PACK_H

#include <stdbool.h>
#include <stdint.h>

#if defined __AMX_TILE__ && defined __AMX_BF16__ && defined __AVX512F__ && defined __linux__
#define PLUMB_HAS_TILES
#endif
#define INLINED static inline __attribute__((always_inline))

enum {
    SIDE = 16,                           /* rows of a tile, and columns of 32 bits */
    DEPTH = 2 * SIDE,                    /* k of a tile: two numbers in each column */
    GROUP = 2 * SIDE,                    /* rows, or columns, that are multiplied at a time */
    PARTS = 3,
    ROW_BYTES = 4 * SIDE,                /* of a tile */
    TILE_BYTES = SIDE * ROW_BYTES,
    STEP_BYTES = 2 * PARTS * TILE_BYTES, /* GROUP x DEPTH numbers, packed; those of images take a third */
    CACHE_LINE = 64                      /* bytes */
};

/* Bytes; numbers that meet them, which are divided; or numbers. */
typedef enum { IMAGES, DIVIDED, NUMBERS } content_kind;

typedef struct {
    content_kind content;
    float divisor;
    const char *data;
    const int64_t *chosen; /* which of the images at `data`, counted from 1; NULL: the first ones */
    int64_t count;     /* rows of x, or columns of y */
    int64_t stride;    /* from one to the next */
    int64_t depth;     /* k */
    int64_t step;      /* along it; this or the stride is 1 */
    bool pairs_across; /* tiles hold a row of x in a row, a column of y in a column, with two numbers in 32 bits along k */
} side;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int parts_of(content_kind c) { return c == IMAGES ? 1 : PARTS; }
static inline int64_t bytes_of(content_kind c) { return c == IMAGES ? 1 : (int64_t)sizeof(float); }
static inline int64_t step_bytes(const side *s) { return 2 * parts_of(s->content) * TILE_BYTES; }

/* packed (groups, steps, 2 tiles, parts) = `count` rows (or columns) from `first` on, at the steps begin .. end - 1 of DEPTH, with
 * zeros where a tile is not filled; a second tile of which there is nothing is not written. `largest` becomes the larger of itself
 * and the upper halves of their |numbers|; images' are not counted. */
void split_pack(const side *s, int64_t first, int64_t count, int64_t begin, int64_t end, char *packed, uint32_t *largest);

#endif
