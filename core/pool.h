/* The one place with threads. Work is cut into chunks whose size depends on the data alone; partial results are
 * combined by the caller in the order of the chunks, so any number of threads gives the same bits. */
#ifndef PLUMB_POOL_H
#define PLUMB_POOL_H

#include <stdint.h>

/* Runs task(context, chunk) for chunk 0 .. chunks - 1, on all threads, and returns when all are done. A task must not
 * fail, allocate or start another run. */
void pool_run(int64_t chunks, void (*task)(void *context, int64_t chunk), void *context);

/* The number of chunks for `work` units when one chunk should hold at least `grain` of them: at most 64. */
int64_t pool_chunks(int64_t work, int64_t grain);
/* The half-open range of chunk number `chunk` when `count` items are cut into `chunks`. */
static inline int64_t pool_begin(int64_t count, int64_t chunks, int64_t chunk) { return count * chunk / chunks; }

int pool_threads(void);          /* the default is PLUMB_THREADS, else one per processor */
void pool_set_threads(int count); /* from 1 to 256 */

#endif
