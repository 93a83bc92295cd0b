/* Convolutions with stride 1 are computed directly (kernel_conv.inc, expanded for each type), others by products with
 * pieces of columns (kernel_columns.c). Work is cut by samples, so that every sample's planes stay in a core's cache. */
#include "kernel_conv.h"

#include <string.h>

#include "kernel_columns.h"
#include "kernel_winograd.h"
#include "pool.h"

#ifdef __AVX512F__
enum { VECTOR_BYTES = 64, FILTERS = 8, VECTORS = 3, PANELS = 2, COLUMNS = 9, RUNS = 2 }; /* 32 registers */
#define MOST_RUN 7
#else
enum { VECTOR_BYTES = 32, FILTERS = 4, VECTORS = 3, PANELS = 2, COLUMNS = 6, RUNS = 2 }; /* 16 */
#define MOST_RUN 3
#endif
enum { SLACK = 3 * VECTOR_BYTES, MAX_CHUNKS = 32, MAX_SUMS = 16, SAMPLES_PER_SUM = 16, LINE = 1024 };

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Padded images (height, width) as one line: see kernel_conv.inc. Counted in elements. */
typedef struct {
    int64_t height, width, taps;
    int64_t row, rows;        /* between rows, and rows between images */
    int64_t origin;           /* where an image's first element lies */
    int64_t images, length;   /* images in the line, and what a result has to cover */
    int64_t plane, line;      /* between the lines of two channels, and of two results */
    const int64_t *offsets;   /* [taps] the taps' shifts */
} frame;

/* One of: y = x correlated with the packed weights; or the sums of products of x and y, by tap. */
typedef struct {
    dtype type;
    int64_t groups, channels, filters, result[2];
    int64_t items, chunks;    /* samples, or samples times groups, in this many chunks */
    int64_t room;             /* bytes of scratch for a chunk */
    int64_t run;              /* vectors run over filters, for so many places in a row of the result; 0: over places */
    int64_t block, group_weights; /* filters in a block of packed weights, and elements of a group's */
    frame frame;
    int64_t g_panel, sum_panel; /* elements between panels, of LANES filters each, of the gradient and of the sums */
    int64_t sum_bytes;        /* of a chunk's sums */
    const char *x, *packed;
    char *y, *rooms, *sums;
} correlation;

/* Of the block of packed weights that begins with filter `first`. With vectors over filters the last one may be half as wide. */
static int64_t block_width(const correlation *k, int64_t first) {
    return k->run > 0 && k->filters - first <= k->block / 2 ? k->block / 2 : k->block;
}

#define T float
#define INTEGER int32_t
#define TYPED(name) name##_float32
#include "kernel_conv.inc"
#undef T
#undef INTEGER
#undef TYPED
#define T double
#define INTEGER int64_t
#define TYPED(name) name##_float64
#include "kernel_conv.inc"
#undef T
#undef TYPED

static frame frame_of(const convolution *c, int64_t images, int64_t *offsets) {
    frame f = {.height = c->size[0], .width = c->size[1], .taps = c->kernel[0] * c->kernel[1], .images = images};
    f.row = larger(f.width + c->padding[1], c->result[1]);
    f.rows = larger(f.height + c->padding[0], c->result[0]);
    f.origin = c->padding[0] * f.row + c->padding[1];
    f.length = images > 1 ? images * f.rows * f.row : (c->result[0] - 1) * f.row + c->result[1];
    f.line = round_up(f.length, VECTOR_BYTES) + VECTOR_BYTES;
    int64_t last_shift = (c->kernel[0] - 1) * c->dilation[0] * f.row + (c->kernel[1] - 1) * c->dilation[1];
    int64_t end = f.origin + ((images - 1) * f.rows + f.height) * f.row;
    f.plane = round_up(larger(f.length + last_shift, end), VECTOR_BYTES) + VECTOR_BYTES;
    for (int64_t tap = 0; offsets != NULL && tap < f.taps; tap++)
        offsets[tap] = tap / c->kernel[1] * c->dilation[0] * f.row + tap % c->kernel[1] * c->dilation[1];
    f.offsets = offsets;
    return f;
}

/* The convolution of g that is c's adjoint in x, its weights turned round. */
static convolution adjoint_of(const convolution *c) {
    convolution a = *c;
    a.channels = c->filters;
    a.filters = c->channels;
    for (int i = 0; i < 2; i++) {
        a.size[i] = c->result[i];
        a.result[i] = c->size[i];
        a.padding[i] = c->dilation[i] * (c->kernel[i] - 1) - c->padding[i];
    }
    return a;
}

static bool is_direct(const convolution *c) { return c->stride[0] == 1 && c->stride[1] == 1; }
static bool has_direct_adjoint(const convolution *c) {
    convolution a = adjoint_of(c);
    return is_direct(c) && a.padding[0] >= 0 && a.padding[1] >= 0;
}

/* --- scratch: offsets, packed weights or partial sums, then a room for each chunk ------------------------------------ */

/* The length of the runs with which vectors over filters do best, or 0 where vectors over places are as good: those lose
 * the gaps of the frame `one` and the rest of its last vector, these what runs are longer than rows, and filters that
 * do not fill their vectors. Turning results round is repaid where the sums are long and a block of them stays in the cache. */
static int64_t choose_run(const correlation *k, const frame *one, int64_t lanes) {
    static const int64_t LONG = 64, MOST_PLACES = 2048;
    int64_t best = 0, width = k->result[1];
    double least = 0.97 * (double)round_up(one->length, lanes) * (double)round_up(k->filters, FILTERS);
    if (k->channels * one->taps < LONG || k->result[0] * width > MOST_PLACES) return 0;
    for (int64_t run = MOST_RUN; run >= 3; run--) {
        double slots = (double)(k->result[0] * round_up(width, run)) * (double)round_up(k->filters, lanes);
        if (slots < least) least = slots, best = run;
    }
    return best;
}

static correlation correlation_of(dtype type, const convolution *c, char *scratch) {
    correlation k = {.type = type, .groups = c->groups, .channels = c->channels, .filters = c->filters,
                     .result = {c->result[0], c->result[1]}, .items = c->samples * c->groups};
    int64_t bytes = (int64_t)dtype_bytes(type), lanes = VECTOR_BYTES / bytes;
    k.frame = frame_of(c, 1, (int64_t *)(void *)scratch);
    k.run = choose_run(&k, &k.frame, lanes);
    k.block = k.run > 0 ? PANELS * lanes : FILTERS;
    k.group_weights = round_up(k.filters, k.block) * k.channels * k.frame.taps;
    bool odd = k.run > 0 && k.result[0] * ((k.result[1] + k.run - 1) / k.run) % RUNS != 0;
    if (odd && k.groups == 1) k.frame = frame_of(c, RUNS, (int64_t *)(void *)scratch); /* so that their runs make pairs */
    int64_t results = k.run > 0 ? (k.frame.images * k.result[0] * k.result[1] + MOST_RUN) * k.block : FILTERS * k.frame.line;
    k.chunks = smaller(k.items, MAX_CHUNKS);
    k.room = round_up((k.channels * k.frame.plane + SLACK + results) * bytes, 64);
    k.packed = scratch + round_up(k.frame.taps * 8, 64);
    k.rooms = scratch + round_up(k.frame.taps * 8, 64) + round_up(k.groups * k.group_weights * bytes, 64);
    return k;
}

static correlation weight_sums_of(dtype type, const convolution *c, char *scratch) {
    correlation k = {.type = type, .groups = c->groups, .channels = c->channels, .filters = c->filters,
                     .result = {c->result[0], c->result[1]}, .items = c->samples};
    k.chunks = smaller(larger(c->samples / SAMPLES_PER_SUM, 1), MAX_SUMS);
    frame one = frame_of(c, 1, NULL);
    int64_t images = smaller(LINE / (one.rows * one.row), (c->samples + k.chunks - 1) / k.chunks);
    int64_t bytes = (int64_t)dtype_bytes(type), lanes = VECTOR_BYTES / bytes, panels = (c->filters + lanes - 1) / lanes;
    k.frame = frame_of(c, larger(images, 1), (int64_t *)(void *)scratch);
    k.g_panel = k.frame.images * c->result[0] * c->result[1] * lanes;
    k.sum_panel = c->channels * k.frame.taps * lanes;
    k.sum_bytes = c->groups * panels * k.sum_panel * bytes;
    k.room = round_up((k.channels * k.frame.plane + panels * k.g_panel) * bytes, 64);
    k.sums = scratch + round_up(k.frame.taps * 8, 64);
    k.rooms = k.sums + k.chunks * k.sum_bytes;
    return k;
}

size_t kernel_conv_scratch(dtype type, const convolution *c) {
    convolution adjoint = adjoint_of(c);
    correlation forward = correlation_of(type, c, NULL), backward = correlation_of(type, &adjoint, NULL);
    correlation weights = weight_sums_of(type, c, NULL);
    int64_t most = is_direct(c) ? 0 : (int64_t)kernel_columns_scratch(type, c);
    if (is_direct(c)) most = larger(forward.rooms - (char *)NULL + forward.chunks * forward.room,
                                    weights.rooms - (char *)NULL + weights.chunks * weights.room);
    if (has_direct_adjoint(c)) most = larger(most, backward.rooms - (char *)NULL + backward.chunks * backward.room);
    else most = larger(most, (int64_t)kernel_columns_scratch(type, c));
    if (kernel_winograd_fits(type, c)) most = larger(most, (int64_t)kernel_winograd_scratch(c));
    if (kernel_winograd_fits(type, &adjoint)) most = larger(most, (int64_t)kernel_winograd_scratch(&adjoint));
    return (size_t)most;
}

/* --- the three ------------------------------------------------------------------------------------------------------- */

static void correlate_task(void *context, int64_t chunk) {
    const correlation *k = context;
    int64_t begin = pool_begin(k->items, k->chunks, chunk), end = pool_begin(k->items, k->chunks, chunk + 1);
    char *room = k->rooms + chunk * k->room;
    if (k->type == FLOAT32) correlate_samples_float32(k, begin, end, room);
    else correlate_samples_float64(k, begin, end, room);
}

static void correlate(correlation *k, char *y, const char *x) {
    k->x = x;
    k->y = y;
    pool_run(k->chunks, correlate_task, k);
}

/* w is (groups, filters, channels, taps); for the adjoint the roles of filters and channels change. */
static void pack(const correlation *k, const char *w, bool adjoint) {
    int64_t taps = k->frame.taps, group = k->filters * k->channels * taps;
    int64_t filter = adjoint ? taps : k->channels * taps, channel = adjoint ? k->filters * taps : taps;
    if (k->type == FLOAT32)
        pack_weights_float32(k, (const float *)(const void *)w, group, filter, channel, adjoint, (float *)(void *)k->packed);
    else pack_weights_float64(k, (const double *)(const void *)w, group, filter, channel, adjoint, (double *)(void *)k->packed);
}

void kernel_conv(dtype type, const convolution *c, char *y, const char *x, const char *w, char *scratch) {
    if (kernel_winograd_fits(type, c)) {
        kernel_winograd(c, (float *)(void *)y, (const float *)(const void *)x, (const float *)(const void *)w, false, scratch);
        return;
    }
    if (!is_direct(c)) {
        kernel_columns(type, c, y, x, w, scratch);
        return;
    }
    correlation k = correlation_of(type, c, scratch);
    pack(&k, w, false);
    correlate(&k, y, x);
}

void kernel_conv_input(dtype type, const convolution *c, char *x, const char *g, const char *w, char *scratch) {
    if (!has_direct_adjoint(c)) {
        kernel_columns_input(type, c, x, g, w, scratch);
        return;
    }
    convolution adjoint = adjoint_of(c);
    if (kernel_winograd_fits(type, &adjoint)) {
        kernel_winograd(&adjoint, (float *)(void *)x, (const float *)(const void *)g, (const float *)(const void *)w, true, scratch);
        return;
    }
    correlation k = correlation_of(type, &adjoint, scratch);
    pack(&k, w, true);
    correlate(&k, x, g);
}

static void weight_task(void *context, int64_t chunk) {
    const correlation *k = context;
    int64_t begin = pool_begin(k->items, k->chunks, chunk), end = pool_begin(k->items, k->chunks, chunk + 1);
    char *room = k->rooms + chunk * k->room, *sums = k->sums + chunk * k->sum_bytes;
    if (k->type == FLOAT32) weight_chunk_float32(k, begin, end, room, (float *)(void *)sums);
    else weight_chunk_float64(k, begin, end, room, (double *)(void *)sums);
}

static void row_task(void *context, int64_t panel) {
    const correlation *k = context;
    if (k->type == FLOAT32) weight_rows_float32(k, panel, (float *)(void *)k->packed);
    else weight_rows_float64(k, panel, (double *)(void *)k->packed);
}

void kernel_conv_weight(dtype type, const convolution *c, char *w, const char *x, const char *g, char *scratch) {
    if (!is_direct(c)) {
        kernel_columns_weight(type, c, w, x, g, scratch);
        return;
    }
    if (kernel_winograd_fits(type, c)) {
        kernel_winograd_weight(c, (float *)(void *)w, (const float *)(const void *)x, (const float *)(const void *)g, scratch);
        return;
    }
    correlation k = weight_sums_of(type, c, scratch);
    k.x = x;
    k.y = (char *)g;
    k.packed = w;
    pool_run(k.chunks, weight_task, &k);
    pool_run(k.sum_bytes / (k.sum_panel * (int64_t)dtype_bytes(type)), row_task, &k);
}
