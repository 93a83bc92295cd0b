#include "loader.h"

#include <string.h>

#include "fail.h"
#include "kernels.h"
#include "memory.h"
#include "pool.h"
#include "rng.h"

struct loader {
    size_t references;
    loader_settings set; /* with a reference to each array */
    int64_t samples;     /* in this pass */
    int64_t channels, inner;             /* a sample of x: (channels, inner) */
    size_t sample_bytes, target_bytes;   /* of a sample as it stands in the set */
    int64_t *order;      /* [n], or NULL: as they stand */
    char *moved;         /* [sample_bytes], or NULL: one augmented image before it is converted */
    int64_t first, count; /* the batch under way: its place in the order; count 0: the pass is over */
    array x, y;          /* that batch, written by the job */
    array given_x, given_y; /* the batch handed out last, to be used again when nobody else holds it */
    background_job job;
};

/* --- images that move ---------------------------------------------------------------------------------------------- */

/* The shuffle takes blocks from 0 on of the same stream. */
static const uint64_t AUGMENT_BLOCKS = UINT64_C(1) << 62;

static int64_t drawn_shift(uint32_t word, int64_t shift) {
    return (int64_t)(((uint64_t)word * (uint64_t)(2 * shift + 1)) >> 32) - shift;
}

static void mirror(int64_t count, size_t bytes, char *out, const char *last) {
    for (int64_t i = 0; i < count; i++, out += bytes, last -= bytes) {
        if (bytes == 1) *out = *last;
        else memcpy(out, last, bytes);
    }
}

/* Column j of the row takes column j - right of the (mirrored) one; those from outside are 0. */
static void move_row(int64_t width, size_t bytes, int64_t right, bool mirrored, char *out, const char *in) {
    int64_t begin = right > 0 ? right : 0, end = right < 0 ? width + right : width;
    memset(out, 0, (size_t)begin * bytes);
    memset(out + (size_t)end * bytes, 0, (size_t)(width - end) * bytes);
    char *to = out + (size_t)begin * bytes;
    if (mirrored) mirror(end - begin, bytes, to, in + (size_t)(width - 1 - (begin - right)) * bytes);
    else memcpy(to, in + (size_t)(begin - right) * bytes, (size_t)(end - begin) * bytes);
}

/* The sample's image (channels, h, w), moved and mirrored as (seed, epoch, sample) decide. */
static const char *move_image(const loader *l, int64_t sample, const char *in) {
    uint32_t words[4];
    rng_block((rng_key){l->set.seed, l->set.epoch}, AUGMENT_BLOCKS + (uint64_t)sample, words);
    int64_t down = drawn_shift(words[0], l->set.shift), right = drawn_shift(words[1], l->set.shift);
    bool mirrored = l->set.flip && words[2] >> 31 != 0;
    int64_t height = l->set.x.shape.size[2], width = l->set.x.shape.size[3];
    size_t bytes = dtype_bytes(l->set.x.type), row_bytes = (size_t)width * bytes;
    char *out = l->moved;
    for (int64_t channel = 0; channel < l->channels; channel++, in += (size_t)height * row_bytes)
        for (int64_t i = 0; i < height; i++, out += row_bytes) {
            int64_t from = i - down;
            if (from < 0 || from >= height) memset(out, 0, row_bytes);
            else move_row(width, bytes, right, mirrored, out, in + (size_t)from * row_bytes);
        }
    return l->moved;
}

/* --- numbers ---------------------------------------------------------------------------------------------------------- */

/* v / 255 and (v - mean) / std are computed in the precision of the result, by the same steps as with tensors: the same bits. */
#define NORMALISE(name, OUT)                                                                                      \
    static void name(int64_t count, void *out, const void *in, double mean, double std) {                         \
        const OUT m = (OUT)mean, s = (OUT)std;                                                                    \
        for (int64_t i = 0; i < count; i++) ((OUT *)out)[i] = (((const OUT *)in)[i] - m) / s;                     \
    }
NORMALISE(normalise_float32, float)
NORMALISE(normalise_float64, double)

/* A sample's numbers: from images, or as they are; then each channel normalised where it stands. */
static void convert_sample(const loader *l, char *out, const char *in) {
    bool wide = l->set.type == FLOAT64;
    if (l->set.x.type == UINT8) kernel_from_image(l->set.type, l->channels * l->inner, out, in);
    else memcpy(out, in, l->sample_bytes);
    if (l->set.mean.storage == NULL) return;
    const double *mean = array_data(&l->set.mean), *std = array_data(&l->set.std);
    size_t bytes = (size_t)l->inner * dtype_bytes(l->set.type);
    for (int64_t channel = 0; channel < l->channels; channel++, out += bytes)
        (wide ? normalise_float64 : normalise_float32)(l->inner, out, out, mean[channel], std[channel]);
}

/* The job: fills x and y with the batch under way. Between pool_queue and pool_await nobody else touches them. */
static void fill_batch(void *context) {
    const loader *l = context;
    const char *x = array_data(&l->set.x), *y = array_data(&l->set.y);
    char *out_x = array_data(&l->x), *out_y = array_data(&l->y);
    size_t out_bytes = (size_t)(l->channels * l->inner) * dtype_bytes(l->set.type);
    for (int64_t i = 0; i < l->count; i++, out_x += out_bytes, out_y += l->target_bytes) {
        int64_t sample = l->order != NULL ? l->order[l->first + i] : l->first + i;
        const char *in = x + (size_t)sample * l->sample_bytes;
        convert_sample(l, out_x, l->moved != NULL ? move_image(l, sample, in) : in);
        memcpy(out_y, y + (size_t)sample * l->target_bytes, l->target_bytes);
    }
}

/* --- a pass ----------------------------------------------------------------------------------------------------------- */

static shape with_rows(shape s, int64_t rows) {
    s.size[0] = rows;
    return s;
}

static int64_t rows_at(const loader *l, int64_t first) {
    int64_t left = l->samples - first;
    return left < l->set.batch ? left : l->set.batch;
}

/* An array for a batch: the one handed out before when nobody holds it but `done`, else a new one of the scope's. Either way
 * the caller has still to retain it. */
static array array_for(const array *given, const node *done, dtype type, shape s) {
    if (given->storage != NULL && shape_equal(given->shape, s)) {
        bool held_by_done = done != NULL && done->references == 1 && done->value.storage == given->storage;
        if (given->storage->references == (held_by_done ? 2 : 1)) return *given;
    }
    return node_with_array(type, s)->value;
}

bool loader_next(loader *l, loader_batch done, loader_batch *out) {
    if (l->count == 0) return false;
    int64_t first = l->first + l->count, count = rows_at(l, first);
    array next_x = {.storage = NULL}, next_y = {.storage = NULL};
    if (count > 0) {
        next_x = array_for(&l->given_x, done.x, l->set.type, with_rows(l->set.x.shape, count));
        next_y = array_for(&l->given_y, done.y, l->set.y.type, with_rows(l->set.y.shape, count));
    }
    *out = (loader_batch){node_constant(l->x), node_constant(l->y)};
    /* from here on nothing fails */
    pool_await(&l->job);
    array_retain(next_x), array_retain(next_y);
    array_release(&l->given_x), array_release(&l->given_y);
    l->given_x = l->x, l->given_y = l->y;
    l->x = next_x, l->y = next_y;
    l->first = first, l->count = count;
    if (count > 0) pool_queue(&l->job, fill_batch, l);
    return true;
}

static void scoped_release(void *object) { loader_release(object); }

loader *loader_retain(loader *l) {
    l->references++;
    return l;
}

void loader_release(loader *l) {
    if (l == NULL || --l->references > 0) return;
    if (l->job.task != NULL) pool_await(&l->job);
    array *arrays[] = {&l->x, &l->y, &l->given_x, &l->given_y, &l->set.mean, &l->set.std};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) array_release(arrays[i]);
    memory_release(l->order, (size_t)l->set.x.shape.size[0] * sizeof *l->order);
    memory_release(l->moved, l->sample_bytes);
    array_release(&l->set.x);
    array_release(&l->set.y);
    memory_release(l, sizeof *l);
}

/* What would make the job read or write beyond its arrays. What a user can get wrong is said better where the user is. */
static void check_settings(const loader_settings *s) {
    const shape *x = &s->x.shape;
    int64_t channels = x->rank > 1 ? x->size[1] : 1;
    bool fits = x->rank > 0 && s->y.shape.rank > 0 && x->size[0] == s->y.shape.size[0] && s->batch > 0 && s->shift >= 0 &&
                array_is_contiguous(&s->x) && array_is_contiguous(&s->y) && dtype_is_float(s->type) &&
                (s->x.type == UINT8 || s->x.type == s->type) && (s->mean.storage == NULL) == (s->std.storage == NULL);
    const array *scales[] = {&s->mean, &s->std};
    for (int i = 0; i < 2 && scales[i]->storage != NULL; i++)
        fits = fits && scales[i]->type == FLOAT64 && shape_elements(scales[i]->shape) == channels &&
               array_is_contiguous(scales[i]);
    if (s->shift > 0 || s->flip)
        fits = fits && x->rank == 4 && (s->shift == 0 || (s->shift < x->size[2] && s->shift < x->size[3]));
    if (!fits) fail(ERROR_ARGUMENT, "loader: the settings do not fit a set with x of shape %s", shape_format(*x).text);
}

loader *loader_new(const loader_settings *settings) {
    check_settings(settings);
    scope_reserve();
    loader *l = memory_allocate(sizeof *l, "a loader");
    *l = (loader){.references = 1, .set = *settings};
    scope_add(l, scoped_release);
    loader_settings *s = &l->set;
    array_retain(s->x), array_retain(s->y), array_retain(s->mean), array_retain(s->std);
    int64_t n = s->x.shape.size[0];
    l->samples = s->drop_last ? n - n % s->batch : n;
    l->channels = s->x.shape.rank > 1 ? s->x.shape.size[1] : 1;
    int64_t elements = n > 0 ? shape_elements(s->x.shape) / n : 0;
    l->inner = l->channels > 0 ? elements / l->channels : 0;
    l->sample_bytes = (size_t)elements * dtype_bytes(s->x.type);
    l->target_bytes = n > 0 ? (size_t)(shape_elements(s->y.shape) / n) * dtype_bytes(s->y.type) : 0;
    if (s->shuffle) {
        l->order = memory_allocate((size_t)n * sizeof *l->order, "the order of a loader's samples");
        rng_permutation((rng_key){s->seed, s->epoch}, 0, n, l->order);
    }
    if (s->shift > 0 || s->flip) l->moved = memory_allocate(l->sample_bytes, "an image of a loader");
    l->count = rows_at(l, 0);
    if (l->count == 0) return l;
    l->x = array_allocate(s->type, with_rows(s->x.shape, l->count));
    l->y = array_allocate(s->y.type, with_rows(s->y.shape, l->count));
    pool_queue(&l->job, fill_batch, l);
    return l;
}
