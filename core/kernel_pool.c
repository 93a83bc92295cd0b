#include "kernel_pool.h"

#include <math.h>
#include <string.h>

#include "pool.h"

enum { GRAIN = 32768 }; /* elements of x in a chunk */

typedef struct {
    dtype type;
    const pooling *pooling;
    bool put;
    int64_t chunks;
    const char *x, *v;
    char *out;
} pool_job;

static bool is_pairs(const pooling *p) {
    for (int i = 0; i < 2; i++)
        if (p->kernel[i] != 2 || p->stride[i] != 2 || p->padding[i] != 0 || p->dilation[i] != 1 || 2 * p->result[i] > p->size[i])
            return false;
    return true;
}

#ifdef __AVX512F__
enum { VECTOR_BYTES = 64 };
#else
enum { VECTOR_BYTES = 32 };
#endif

#define T float
#define INTEGER int32_t
#define TYPED(name) name##_float32
#include "kernel_pool.inc"
#undef T
#undef INTEGER
#undef TYPED
#define T double
#define INTEGER int64_t
#define TYPED(name) name##_float64
#include "kernel_pool.inc"
#undef T
#undef TYPED

static void pool_task(void *context, int64_t chunk) {
    const pool_job *job = context;
    int64_t begin = pool_begin(job->pooling->planes, job->chunks, chunk);
    int64_t end = pool_begin(job->pooling->planes, job->chunks, chunk + 1);
    if (job->type == FLOAT32) pool_planes_float32(job, begin, end);
    else pool_planes_float64(job, begin, end);
}

static void run(pool_job *job) {
    const pooling *p = job->pooling;
    int64_t chunks = pool_chunks(p->planes * p->size[0] * p->size[1], GRAIN);
    job->chunks = chunks < p->planes ? chunks : p->planes;
    pool_run(job->chunks, pool_task, job);
}

void kernel_max_pick(dtype type, const pooling *p, char *out, const char *x, const char *v) {
    run(&(pool_job){type, p, false, 0, x, v, out});
}

void kernel_max_put(dtype type, const pooling *p, char *out, const char *x, const char *g) {
    run(&(pool_job){type, p, true, 0, x, g, out});
}
