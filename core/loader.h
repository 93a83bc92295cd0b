/* One pass over a data set in batches, made one ahead of time: while a batch is used, the next is gathered, converted,
 * augmented and normalised beside it (pool_queue). The batches depend on the settings alone. */
#ifndef PLUMB_LOADER_H
#define PLUMB_LOADER_H

#include "node.h"

typedef struct {
    array x, y;      /* the set, contiguous: x (n, ...) uint8, float32 or float64, y (n, ...) of any type */
    array mean, std; /* float64 (channels), channels being x's second axis; without storage: as they are */
    dtype type;      /* float: of the batches' x; x's own unless that is uint8 */
    int64_t batch;   /* samples in a batch */
    bool drop_last;  /* leave out a last batch that would be shorter */
    bool shuffle;    /* in the order of rng_permutation for (seed, epoch), else as they stand */
    int64_t shift;   /* images (n, channels, h, w) are moved by up to so many pixels both ways, zeros moving in */
    bool flip;       /* half of the images are mirrored left to right */
    uint64_t seed, epoch;
} loader_settings;

typedef struct loader loader;

/* uint8 becomes v / 255; then (v - mean) / std of its channel, where given. Takes references to the arrays; their layouts must
 * be as said above. Owned by the scope; loader_retain to keep it. */
loader *loader_new(const loader_settings *settings);
loader *loader_retain(loader *l);
void loader_release(loader *l);

/* The next batch as nodes (owned by the scope), or false at the end. On failure nothing has changed. What was handed out before
 * is written over only when nobody holds it but `done` (NULL: nothing), nodes that the caller lets go of on success. */
typedef struct {
    node *x, *y;
} loader_batch;
bool loader_next(loader *l, loader_batch done, loader_batch *out);

#endif
