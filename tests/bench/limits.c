/* limits.c: what this machine can do at most, as the benchmark's physical limit: prints JSON with the flop/s of OpenBLAS's
 * products of large square matrices on one and on two threads, and the bytes/s that a sum over a large array reads.
 *
 * Each figure is the best of several repeats: other programs can only make it smaller. */
#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 2048, REPEATS = 7, THREADS = 2 };
static const size_t COUNT = (size_t)1 << 25; /* doubles of the array: 256 MB, far more than the caches hold */

void openblas_set_num_threads(int);

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* memory for `bytes`, each page of it touched */
static void *filled(size_t bytes)
{
    double *memory = malloc(bytes);
    if (!memory)
        exit(1);
    for (size_t i = 0; i < bytes / sizeof *memory; i++)
        memory[i] = 1e-3;
    return memory;
}

static double flops(int threads, int doubles)
{
    size_t bytes = (size_t)SIZE * SIZE * (doubles ? sizeof(double) : sizeof(float));
    void *x = filled(bytes), *y = filled(bytes), *z = filled(bytes);
    double best = 1e9;
    openblas_set_num_threads(threads);
    for (int i = 0; i < REPEATS; i++) {
        double start = seconds();
        if (doubles)
            cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIZE, SIZE, SIZE, 1, x, SIZE, y, SIZE, 0, z, SIZE);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIZE, SIZE, SIZE, 1, x, SIZE, y, SIZE, 0, z, SIZE);
        double taken = seconds() - start;
        best = taken < best ? taken : best;
    }
    free(x);
    free(y);
    free(z);
    return 2.0 * SIZE * SIZE * SIZE / best;
}

/* The sum of a part of the array, in eight independent sums so that additions are not what it waits for. */
static void *sum(void *part)
{
    const double *x = part;
    double sums[8] = {0};
    for (size_t i = 0; i < COUNT / THREADS; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += x[i + (size_t)k];
    for (int k = 1; k < 8; k++)
        sums[0] += sums[k];
    return sums[0] > 0 ? part : NULL; /* somebody looks, so it is computed */
}

static double bandwidth(void)
{
    double *x = filled(COUNT * sizeof *x), best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        pthread_t threads[THREADS];
        double start = seconds();
        for (size_t k = 0; k < THREADS; k++)
            if (pthread_create(&threads[k], NULL, sum, x + k * (COUNT / THREADS)))
                exit(1);
        for (size_t k = 0; k < THREADS; k++)
            pthread_join(threads[k], NULL);
        double taken = seconds() - start;
        best = taken < best ? taken : best;
    }
    free(x);
    return (double)COUNT * sizeof *x / best;
}

int main(void)
{
    printf("{\"sgemm_1\": %.4g, \"sgemm\": %.4g, \"dgemm\": %.4g, \"bandwidth\": %.4g}\n", flops(1, 0), flops(THREADS, 0),
           flops(THREADS, 1), bandwidth());
    return 0;
}
