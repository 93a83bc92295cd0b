/* The one place with threads. Work is cut into chunks whose size depends on the data alone; partial results are
 * combined by the caller in the order of the chunks, so any number of threads gives the same bits. */
#ifndef PLUMB_POOL_H
#define PLUMB_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Runs task(context, chunk) for chunk 0 .. chunks - 1, on all threads, and returns when all are done. A task must not
 * fail or allocate; a run that it starts is its own thread's alone. */
void pool_run(int64_t chunks, void (*task)(void *context, int64_t chunk), void *context);

/* While this is on, an interrupt (fail.h) ends a run early: chunks that nobody has taken are left undone, so the caller
 * must then throw the results away. A chunk that takes long may ask whether this run ends, and leave. */
void pool_end_early(bool on);
bool pool_ends(void);

/* Takes one of `count` rooms that a task works in, its thread's own if that is free, since it is in its processor's cache: the number
 * of one that is not `taken`. Waits while there is none; who is done clears its flag. */
int64_t pool_take_room(atomic_bool *taken, int64_t count);

/* The number of chunks for `work` units when one chunk should hold at least `grain` of them: at most 64. */
int64_t pool_chunks(int64_t work, int64_t grain);
/* The half-open range of chunk number `chunk` when `count` items are cut into `chunks`. */
static inline int64_t pool_begin(int64_t count, int64_t chunks, int64_t chunk) {
    return chunks == 1 ? count * chunk : count * chunk / chunks; /* small kernels ask often, and divisions take time */
}

/* One job beside the runs, for what is needed later: a thread of its own takes such jobs in the order in which they were queued.
 * The task must not fail, allocate or start a run, and must come to the same when it is run twice. Whoever queues a job
 * owns it and what its task uses until pool_await has returned. */
typedef struct background_job {
    void (*task)(void *context);
    void *context;
    struct background_job *next; /* in the queue */
    int stage;
    long owner;            /* the process that queued it */
} background_job;
void pool_queue(background_job *job, void (*task)(void *context), void *context); /* never fails */
/* The same for what takes long and must not hold this thread: it gets one of its own, even where computations use one. */
void pool_start_long(background_job *job, void (*task)(void *context), void *context);
/* Waits for a long job, this much at most. Is it done? */
bool pool_wait(background_job *job, int milliseconds);
/* Returns when the task is done. A job that nobody has taken yet (there is one thread only, or it is busy) is run here. */
void pool_await(background_job *job);

int pool_threads(void);          /* the default is PLUMB_THREADS, else one per processor */
void pool_set_threads(int count); /* from 1 to 256 */

#endif
