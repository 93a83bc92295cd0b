/* Products of float32 matrices by the tile registers of AMX. These multiply bfloat16, of 8 significant bits, 16 times as fast as
 * vector registers multiply float32, and add in float32. A float32 is the sum of three such numbers, x = x1 + x2 + x3, and
 *   x y = x1 y1 + (x1 y2 + x2 y1) + (x2 y2 + x1 y3 + x3 y1) + (x2 y3 + x3 y2 + x3 y3),
 * of which the last three are left out: they are below 2^-23 |x y|, of either sign, and less than what rounding costs a sum of
 * float32's own products (Henry, Tang and Heinecke 2019, Leveraging the bfloat16 artificial intelligence datatype for
 * higher-precision computations).
 *
 * Where one side is images, bytes, these have one part, and three products are all: the other side is divided by their divisor
 * instead. Those of a batch are read where they lie in the data set, and fetched from there while others are multiplied.
 *
 * Each thread computes a part of the result in memory of its own: it packs a block of one side (kernel_split_pack.c), which stays
 * in its second-level cache, and the other side group by group. Each number of the result is one sum in a fixed order, whatever the
 * threads.
 *
 * In the gradient of weights k is the batch, and each thread has written the rows of a part of it. Where the weights are few, two
 * halves of k make a result each, which are added then: nobody packs what others have written, and nothing is packed twice. */
#include "kernel_split.h"

#include "kernel_split_pack.h"

#ifdef PLUMB_HAS_TILES
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool.h"

enum {
    SLICE = 25,                      /* steps of DEPTH, at most, of which the sums stay in tiles: 150 KB of a group */
    BLOCK_BYTES = 200 * STEP_BYTES,  /* 1.2 MB of one side, which leaves room for the group in a second-level cache of 2 MB */
    ROOM_BYTES = 2 << 20,            /* for a block and a group: one large page */
    LONG = 384,                      /* k of two halves */
    SMALL = 100000,                  /* numbers of their result */
    CHUNK = 1500000,                 /* multiplications that are worth another thread's attention */
    MOST_CHUNKS = 64,
    RETURNED = 4,                    /* lines of weights in a step */
    NO_MEMORY = 0xffff               /* larger than any number */
};

typedef struct {
    int64_t steps, slice; /* of DEPTH: all, and those of a slice */
    side rows, columns;   /* of x, and of y */
    int64_t row_chunks, column_chunks, halves; /* halves: of k, 1 or 2 */
    bool block_is_rows; /* of each part */
    float *out, *second_half; /* (m, n); second_half: what that of k makes */
    int64_t out_stride;
    uint32_t largest[2][MOST_CHUNKS]; /* the upper halves of the largest |numbers| of rows and of columns */
} split;

static int64_t groups_of(int64_t count) { return (count + GROUP - 1) / GROUP; }

/* --- multiplying ------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

static void take_tiles(void) {
    tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shapes.row_bytes[tile] = ROW_BYTES, shapes.rows[tile] = SIDE;
    _tile_loadconfig(&shapes);
}

/* The instructions read and write memory behind the compiler's back. */
#define SETTLE_MEMORY() __asm__ volatile("" ::: "memory")

/* Sums are in tiles 0 to 3, of two tiles of rows, where the result is `tall`, by two of columns, where it is `wide`; x is in 4 and
 * 5, y in 6 and 7. */
#define EACH_SUM(operation)                                      \
    do {                                                         \
        operation(0, out, stride);                               \
        if (f.wide) operation(1, out + SIDE, stride);            \
        if (f.tall) operation(2, below, stride);                 \
        if (f.tall && f.wide) operation(3, below + SIDE, stride);\
    } while (0)
#define LOAD_TILES(first, second, both, side, parts, part)                                \
    do {                                                                                   \
        _tile_loadd(first, (side) + (part) * TILE_BYTES, ROW_BYTES);                        \
        if (both) _tile_loadd(second, (side) + ((parts) + (part)) * TILE_BYTES, ROW_BYTES); \
    } while (0)

/* What is known when the compiler unrolls. */
typedef struct {
    bool tall, wide;
    int x_parts, y_parts;
} form;

INLINED void multiply_tiles(form f) {
    _tile_dpbf16ps(0, 4, 6);
    if (f.wide) _tile_dpbf16ps(1, 4, 7);
    if (f.tall) _tile_dpbf16ps(2, 5, 6);
    if (f.tall && f.wide) _tile_dpbf16ps(3, 5, 7);
}

INLINED void fetch_tiles(const char *tiles, int begin, int end) {
    __asm__("" : "+r"(tiles)); /* or GCC computes all addresses beforehand, and keeps them in memory */
#pragma GCC unroll 48
    for (int row = begin * SIDE; row < end * SIDE; row++) __builtin_prefetch(tiles + row * ROW_BYTES);
}

/* The sums of one step: the products of parts, in an order in which few of them need to be loaded again. Meanwhile the next
 * step's are fetched, but no second tile of which there is nothing: its lines would take time, too. */
INLINED void multiply_step(const char *x, const char *y, const char *next_x, const char *next_y, form f) {
    static const struct { int x, y; } pairs[] = {{0, 0}, {0, 1}, {0, 2}, {2, 0}, {1, 0}, {1, 1}};
    const int count = f.x_parts == f.y_parts ? 6 : 3;
    const int x_tiles = (f.tall ? 2 : 1) * f.x_parts, y_tiles = (f.wide ? 2 : 1) * f.y_parts;
    int x_loaded = -1, y_loaded = -1, done = 0;
#pragma GCC unroll 6
    for (int k = 0; k < 6; k++) {
        if (pairs[k].x >= f.x_parts || pairs[k].y >= f.y_parts) continue;
        if (pairs[k].x != x_loaded) LOAD_TILES(4, 5, f.tall, x, f.x_parts, pairs[k].x);
        if (pairs[k].y != y_loaded) LOAD_TILES(6, 7, f.wide, y, f.y_parts, pairs[k].y);
        x_loaded = pairs[k].x;
        y_loaded = pairs[k].y;
        fetch_tiles(next_x, x_tiles * done / count, x_tiles * (done + 1) / count);
        fetch_tiles(next_y, y_tiles * done / count, y_tiles * (done + 1) / count);
        multiply_tiles(f);
        done++;
    }
}

/* Images that are packed next, far apart in memory: line by line of all of them, a few lines in each step. */
typedef struct {
    const char *images;           /* where image 0 would lie */
    const int64_t *chosen;        /* [count] */
    int64_t apart, bytes, place;  /* from image to image, of an image, and the line that is due */
    int count, image, each;       /* image: of which it is due; each: lines in a step */
} fetching;

/* Lines of weights that this thread changes next, and which others have read: taken back meanwhile, `each` of them in a step. */
typedef struct {
    const char *line, *end;
    int each;
} returning;

/* Where products go: rows of numbers, up to GROUP by GROUP. */
typedef struct {
    float *out;
    int64_t stride, rows, columns;
} result;

/* Packed numbers to be multiplied, and those that come after them. */
typedef struct {
    const char *x, *y, *next_x, *next_y;
    int x_parts, y_parts;
    int64_t steps;
    fetching *fetched;
    returning *returned;
    result to;
} factors;

INLINED void fetch_some(fetching *f) {
    for (int k = 0; k < f->each && f->place < f->bytes; k++) {
        __builtin_prefetch(f->images + f->chosen[f->image] * f->apart + f->place);
        if (++f->image == f->count) f->image = 0, f->place += CACHE_LINE;
    }
}

INLINED void take_back(returning *r) {
    for (int k = 0; k < r->each && r->line < r->end; k++, r->line += CACHE_LINE) __builtin_prefetch(r->line, 1);
}

/* Where results go is in memory, or others have read it: its lines are asked for before, to be written, those of `each` rows in a
 * step. */
INLINED void fetch_results(const result *to, int64_t row, int64_t each) {
    const int64_t bytes = to->columns * (int64_t)sizeof(float), end = smaller(row + each, to->rows);
    for (; row < end; row++) {
        const char *line = (const char *)(to->out + row * to->stride);
        for (int64_t at = 0; at < bytes; at += CACHE_LINE) __builtin_prefetch(line + at, 1);
        __builtin_prefetch(line + bytes - 1, 1);
    }
}

/* out (up to GROUP by GROUP) = or, with add, += the products of the steps. Once a tile has not been stored for some ten steps, the
 * next store takes 240 ns; one for nothing in each step takes none. */
INLINED void multiply_steps(const factors *p, float *out, int64_t out_stride, bool add, form f) {
    const size_t stride = (size_t)out_stride * sizeof(float);
    const int64_t each = (p->to.rows + p->steps - 1) / p->steps;
    const char *x = p->x, *y = p->y;
    float *below = out + SIDE * out_stride;
    _Alignas(64) char unused[TILE_BYTES];
    SETTLE_MEMORY();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (add) EACH_SUM(_tile_loadd);
    for (int64_t step = 1; step <= p->steps; step++) {
        const char *next_x = step < p->steps ? x + 2 * f.x_parts * TILE_BYTES : p->next_x;
        const char *next_y = step < p->steps ? y + 2 * f.y_parts * TILE_BYTES : p->next_y;
        multiply_step(x, y, next_x, next_y, f);
        _tile_stored(4, unused, ROW_BYTES);
        fetch_some(p->fetched);
        take_back(p->returned);
        fetch_results(&p->to, (step - 1) * each, each);
        x = next_x;
        y = next_y;
    }
    EACH_SUM(_tile_stored);
    SETTLE_MEMORY();
}

INLINED void multiply_parts(const factors *p, float *out, int64_t out_stride, bool add, bool tall, bool wide, int x_parts,
                            int y_parts) {
    if (tall && wide) multiply_steps(p, out, out_stride, add, (form){true, true, x_parts, y_parts});
    else if (tall) multiply_steps(p, out, out_stride, add, (form){true, false, x_parts, y_parts});
    else if (wide) multiply_steps(p, out, out_stride, add, (form){false, true, x_parts, y_parts});
    else multiply_steps(p, out, out_stride, add, (form){false, false, x_parts, y_parts});
}

static void multiply_whole(const factors *p, float *out, int64_t out_stride, bool add, bool tall, bool wide) {
    if (p->x_parts == 1) multiply_parts(p, out, out_stride, add, tall, wide, 1, PARTS);
    else if (p->y_parts == 1) multiply_parts(p, out, out_stride, add, tall, wide, PARTS, 1);
    else multiply_parts(p, out, out_stride, add, tall, wide, PARTS, PARTS);
}

/* The same for any rows and columns up to GROUP: by way of a whole group, where they do not fill tiles. */
static void multiply_group(const factors *f, bool add) {
    const result to = f->to;
    const bool tall = to.rows > SIDE, wide = to.columns > SIDE;
    if (to.rows % SIDE == 0 && to.columns % SIDE == 0) {
        multiply_whole(f, to.out, to.stride, add, tall, wide);
        return;
    }
    _Alignas(64) float whole[GROUP][GROUP];
    const size_t bytes = (size_t)to.columns * sizeof(float);
    for (int64_t i = 0; add && i < to.rows; i++) memcpy(whole[i], to.out + i * to.stride, bytes);
    multiply_whole(f, &whole[0][0], GROUP, add, tall, wide);
    for (int64_t i = 0; i < to.rows; i++) memcpy(to.out + i * to.stride, whole[i], bytes);
}

/* The part of the result that one thread computes: of one side a block at a time is packed, of the other a group. */
typedef struct {
    const split *whole;
    side block, group;
    bool group_is_rows;
    char *packed_block, *packed_group;
    float *out;
    uint32_t block_largest, group_largest;
    fetching fetched;
    returning returned;
} part;

/* A thread's memory for packed numbers, which it asks for at its first product and keeps; or NULL. */
static char *thread_room(void) {
    static _Thread_local char *room;
    _Static_assert(BLOCK_BYTES + SLICE * STEP_BYTES <= ROOM_BYTES, "a block and a group have room");
    if (room != NULL) return room;
    room = aligned_alloc(ROOM_BYTES, ROOM_BYTES);
    if (room != NULL) madvise(room, ROOM_BYTES, MADV_HUGEPAGE);
    return room;
}

/* The packed group, rows (or columns) first, ... of its side, times the packed groups begin .. end - 1 of the other. */
static void multiply_slice(part *p, int64_t first, int64_t begin, int64_t end, int64_t steps, bool add) {
    const int64_t here = smaller(GROUP, p->group.count - first), bytes = steps * step_bytes(&p->block);
    const int64_t stride = p->whole->out_stride;
    const int group_parts = parts_of(p->group.content), block_parts = parts_of(p->block.content);
    const char *other = p->packed_block, *packed = p->packed_group;
    for (int64_t at = begin * GROUP; at < end * GROUP; at += GROUP, other += bytes) {
        const int64_t there = smaller(GROUP, p->block.count - at);
        if (p->group_is_rows)
            multiply_group(&(factors){packed, other, packed, other + bytes, group_parts, block_parts, steps, &p->fetched, &p->returned,
                                      {p->out + first * stride + at, stride, here, there}}, add);
        else
            multiply_group(&(factors){other, packed, other + bytes, packed, block_parts, group_parts, steps, &p->fetched, &p->returned,
                                      {p->out + at * stride + first, stride, there, here}}, add);
    }
}

/* Whoever multiplies a group `times` so many steps fetches the next group meanwhile, if that is of chosen images. */
static fetching fetching_of(const side *s, int64_t first, int64_t k, int64_t steps, int64_t times) {
    if (s->chosen == NULL || s->step != 1 || first >= s->count) return (fetching){.each = 0};
    fetching f = {.images = s->data - s->stride + k, .chosen = s->chosen + first, .apart = s->stride,
                  .bytes = smaller(steps * DEPTH, s->depth - k) + CACHE_LINE - 1, .count = (int)smaller(GROUP, s->count - first)};
    const int64_t lines = f.count * ((f.bytes + CACHE_LINE - 1) / CACHE_LINE);
    f.each = (int)((lines + times * steps - 1) / (times * steps));
    return f;
}

static void multiply_block(part *p, int64_t begin, int64_t end, int64_t slice, int64_t slice_end, bool add) {
    const int64_t count = smaller(end * GROUP, p->block.count) - begin * GROUP;
    split_pack(&p->block, begin * GROUP, count, slice, slice_end, p->packed_block, &p->block_largest);
    for (int64_t first = 0; first < p->group.count && !pool_ends(); first += GROUP) {
        p->returned.each = first > 0 ? RETURNED : 0; /* others have packed them by then */
        split_pack(&p->group, first, smaller(GROUP, p->group.count - first), slice, slice_end, p->packed_group, &p->group_largest);
        p->fetched = fetching_of(&p->group, first + GROUP, slice * DEPTH, slice_end - slice, end - begin);
        multiply_slice(p, first, begin, end, slice_end - slice, add);
    }
}

/* One of `chunks` parts, each of which begins at a whole number of tiles. */
static int64_t part_begin(const side *s, int64_t chunks, int64_t chunk) {
    return smaller(pool_begin((s->count + SIDE - 1) / SIDE, chunks, chunk) * SIDE, s->count);
}

static side side_part(side s, int64_t begin, int64_t end) {
    if (s.chosen != NULL && s.step == 1) s.chosen += begin;
    else s.data += begin * s.stride * bytes_of(s.content);
    s.count = end - begin;
    return s;
}

/* The groups of one side in a block. */
static int64_t block_groups(const side *s, int64_t slice) { return BLOCK_BYTES / (slice * step_bytes(s)); }

/* What packing a row (or column) takes, in any unit, for each of its parts: within a group, and where it goes through the
 * second-level cache. Pixels of chosen images are AFAR, most of all where a group takes a few of each. */
enum { IN_GROUP = 4, BY_CACHE = 5, AFAR = 8, AFAR_IN_GROUP = 10 };

static int packing_each(const side *s, bool in_group) {
    enum { APART = 2048 }; /* bytes: rows then begin in the same few sets of a cache */
    if (s->chosen != NULL && s->step != 1) return in_group ? AFAR_IN_GROUP : AFAR;
    const bool collides = s->step != 1 && s->step * bytes_of(s->content) % APART == 0;
    return parts_of(s->content) * (in_group && !collides ? IN_GROUP : BY_CACHE);
}

/* What packing takes in all. The group's side is packed anew for each block. */
static int64_t packing_cost(const side *block, const side *group, int64_t slice) {
    const int64_t groups = block_groups(block, slice), blocks = (groups_of(block->count) + groups - 1) / groups;
    return block->count * packing_each(block, false) + blocks * group->count * packing_each(group, true);
}

/* The optimiser changes weights chunk by chunk, as they lie. */
static returning returning_of(const split *p, int64_t chunk) {
    const int64_t bytes = p->columns.count * p->columns.stride * (int64_t)sizeof(float), chunks = p->row_chunks * p->column_chunks;
    const char *weights = p->columns.data;
    return (returning){.line = weights + pool_begin(bytes, chunks, chunk), .end = weights + pool_begin(bytes, chunks, chunk + 1)};
}

static void part_task(void *context, int64_t chunk) {
    split *whole = context;
    const int64_t half = chunk % whole->halves, i = chunk / whole->halves / whole->column_chunks;
    const int64_t j = chunk / whole->halves % whole->column_chunks;
    const int64_t from = pool_begin(whole->steps, whole->halves, half), to = pool_begin(whole->steps, whole->halves, half + 1);
    const int64_t row = part_begin(&whole->rows, whole->row_chunks, i);
    const int64_t column = part_begin(&whole->columns, whole->column_chunks, j);
    const side rows = side_part(whole->rows, row, part_begin(&whole->rows, whole->row_chunks, i + 1));
    const side columns = side_part(whole->columns, column, part_begin(&whole->columns, whole->column_chunks, j + 1));
    part p = {.whole = whole, .block = columns, .group = rows, .group_is_rows = true, .packed_block = thread_room()};
    if (p.packed_block == NULL) {
        whole->largest[0][chunk] = NO_MEMORY;
        return;
    }
    p.packed_group = p.packed_block + BLOCK_BYTES;
    p.out = (half == 0 ? whole->out : whole->second_half) + row * whole->out_stride + column;
    if (whole->block_is_rows) p.block = rows, p.group = columns, p.group_is_rows = false;
    const int64_t groups = groups_of(p.block.count), block = block_groups(&p.block, whole->slice);
    const bool others_read = whole->row_chunks > 1 && whole->columns.content == DIVIDED && whole->columns.step == 1;
    if (others_read) p.returned = returning_of(whole, chunk);
    take_tiles();
    for (int64_t begin = 0; begin < groups; begin += block)
        for (int64_t slice = from; slice < to && !pool_ends(); slice += whole->slice)
            multiply_block(&p, begin, smaller(begin + block, groups), slice, smaller(slice + whole->slice, to), slice > from);
    _tile_release();
    whole->largest[0][chunk] = p.group_is_rows ? p.group_largest : p.block_largest;
    whole->largest[1][chunk] = p.group_is_rows ? p.block_largest : p.group_largest;
}

/* --- which products ---------------------------------------------------------------------------------------------------- */

bool kernel_split_works(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    static atomic_int answer;                  /* 0: not asked yet */
    enum { YES = 1, NO };
    if (answer == 0) answer = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO;
    return answer == YES;
}

static int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

/* Tiles that are not filled take as long as others, and each number of the three matrices, which is packed or stored, should have
 * enough products. */
bool kernel_split_pays(int64_t m, int64_t n, int64_t k) {
    enum { ENOUGH = 500000, EACH = 24 };
    const int64_t products = m * n * k;
    if (products < ENOUGH || products < EACH * (m * n + n * k + m * k) || !kernel_split_works()) return false;
    return rounded_up(m, SIDE) * rounded_up(n, SIDE) * rounded_up(k, DEPTH) <= products / 3 * 5;
}

/* Parts below 2^-126 count as 0. Where a side's largest number is between these, no more than k 2^-96 is lost so. */
static bool fits(const side *s, const uint32_t *largest) {
    enum { LEAST = (127 - 60) << 7, MOST = (127 + 30) << 7 }; /* 2^-60, 2^30 as bfloat16 */
    uint32_t most = 0;
    for (int64_t chunk = 0; chunk < MOST_CHUNKS; chunk++) most = largest[chunk] > most ? largest[chunk] : most;
    return most != NO_MEMORY && (s->content == IMAGES || (most >= LEAST && most <= MOST));
}

static void add_halves_task(void *context, int64_t chunk) {
    const split *p = context;
    const int64_t count = p->rows.count * p->columns.count, chunks = pool_threads(); /* may count: each number is one sum */
    const int64_t end = pool_begin(count, chunks, chunk + 1);
    for (int64_t i = pool_begin(count, chunks, chunk); i < end; i++) p->out[i] += p->second_half[i];
}

static bool in_order(matrix a) { return a.row_stride == 1 || a.column_stride == 1; }

/* What it takes that threads read what others have written, which these then write again, in the unit of packing_cost: for rows (or
 * columns) of k numbers, where there are r by c parts. Before and after, threads work by rows: where the result is cut by columns,
 * half of it is read by others, and half of images that were not there before. Weights, which meet images, were changed by those
 * who now have their columns, or else half of them by others. */
static int64_t exchange_cost(const split *p, int64_t r, int64_t c) {
    enum { EXCHANGED = 12 };
    int64_t read = 0;
    if (c > 1) read += p->rows.count * p->columns.count / p->rows.depth;
    if (c > 1 && p->rows.content == IMAGES && p->rows.chosen == NULL) read += p->rows.count / (int64_t)sizeof(float);
    if (r > 1 && p->columns.content == DIVIDED) read += p->columns.count;
    return read / 2 * EXCHANGED;
}

/* A part of the result for each thread, which packs all rows and columns of its part: such that this takes little in all. A gain of
 * next to nothing is none. */
static void cut_for_threads(split *p, int64_t work) {
    const int64_t most = smaller(smaller(pool_threads(), MOST_CHUNKS), work / CHUNK) / p->halves, chunks = most > 1 ? most : 1;
    for (int64_t r = 1, least = INT64_MAX; r <= chunks; r++) {
        const int64_t c = chunks / r;
        const side rows = side_part(p->rows, part_begin(&p->rows, r, r - 1), p->rows.count); /* of the last, the largest part */
        const side columns = side_part(p->columns, part_begin(&p->columns, c, c - 1), p->columns.count);
        const int64_t by_rows = packing_cost(&rows, &columns, p->slice), by_columns = packing_cost(&columns, &rows, p->slice);
        const int64_t cost = smaller(by_rows, by_columns) + exchange_cost(p, r, c);
        if (r * c != chunks || cost >= least) continue;
        least = cost - cost / 50;
        p->row_chunks = r, p->column_chunks = c;
        p->block_is_rows = by_rows < by_columns - by_columns / 50;
    }
}

static bool has_halves(int64_t m, int64_t n, int64_t k) { return m * n <= SMALL && k >= LONG; }

size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k) {
    return has_halves(m, n, k) ? (size_t)(m * n) * sizeof(float) : 0;
}

bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, images which, char *scratch) {
    if (!in_order(x) || !in_order(y)) return false;
    const content_kind of_x = which.side == NO_IMAGES ? NUMBERS : which.side == X_IMAGES ? IMAGES : DIVIDED;
    const content_kind of_y = which.side == NO_IMAGES ? NUMBERS : which.side == Y_IMAGES ? IMAGES : DIVIDED;
    split p = {.steps = (k + DEPTH - 1) / DEPTH, .out = out, .out_stride = n};
    const int64_t slices = (p.steps + SLICE - 1) / SLICE;
    p.slice = (p.steps + slices - 1) / slices;
    p.rows = (side){of_x, which.divisor, x.data, of_x == IMAGES ? which.chosen : NULL, m, x.row_stride, k, x.column_stride, true};
    p.columns = (side){of_y, which.divisor, y.data, of_y == IMAGES ? which.chosen : NULL, n, y.column_stride, k, y.row_stride, false};
    p.halves = has_halves(m, n, k) && x.column_stride > x.row_stride && y.row_stride > y.column_stride ? 2 : 1;
    p.second_half = (float *)(void *)scratch;
    cut_for_threads(&p, m * n * k);
    pool_run(p.row_chunks * p.column_chunks * p.halves, part_task, &p);
    if (p.halves == 2) pool_run(pool_threads(), add_halves_task, &p);
    return fits(&p.rows, p.largest[0]) && fits(&p.columns, p.largest[1]);
}

#else

bool kernel_split_works(void) { return false; }

bool kernel_split_pays(int64_t m, int64_t n, int64_t k) {
    (void)m, (void)n, (void)k;
    return false;
}

size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k) {
    (void)m, (void)n, (void)k;
    return 0;
}

bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, images which, char *scratch) {
    (void)m, (void)n, (void)k, (void)out, (void)x, (void)y, (void)which, (void)scratch;
    return false;
}

#endif
