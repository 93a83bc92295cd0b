#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"

enum { MAX_THREADS = 256, MAX_CHUNKS = 64, SPINS = 2000 };

/* Every thread has its share of a job's chunks, one behind the other: of the same arrays, from job to job, about the same part,
 * which is still in its processor's cache. Who has finished takes from the shares of others. All that a thread needs to know of a
 * job stands beside its share, in one line of a cache. A share is given another job only while no chunk is unfinished: who takes
 * one, however late, takes one of the job that is there. */
static struct share {
    _Alignas(64) atomic_long left; /* chunks that nobody has taken: the last ones before `end` */
    atomic_long unfinished;
    int64_t end;
    void (*task)(void *context, int64_t chunk);
    void *context;
    atomic_bool asleep; /* must its thread be woken? */
} shares[MAX_THREADS];
static atomic_int share_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int threads_wanted;          /* this one included; 0: not asked yet */
static int helpers;                 /* started threads */
static pid_t owner;                 /* threads do not survive a fork */
static bool ends_early;             /* changed only while no job runs */

/* Waiting is a short spin, since the next job of a training step is often microseconds away. */
static inline void relax(int spins) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
    if (spins % SPINS == SPINS - 1) sched_yield();
}

void pool_end_early(bool on) { ends_early = on; }

bool pool_ends(void) { return ends_early && interrupt_overdue(); }

static _Thread_local bool within_task;
static _Thread_local int own_number; /* 0: the main thread's */

int64_t pool_take_room(atomic_bool *taken, int64_t count) {
    int64_t number = own_number % count;
    while (atomic_exchange(&taken[number], true)) {
        number = (number + 1) % count;
        if (number == 0) sched_yield(); /* more threads than rooms */
    }
    return number;
}

static void run_chunk(struct share *s, int64_t chunk) {
    if (!pool_ends()) s->task(s->context, chunk);
    atomic_fetch_sub_explicit(&s->unfinished, 1, memory_order_release);
}

static void run_chunks(struct share *s) {
    long left = atomic_load_explicit(&s->left, memory_order_acquire);
    while (left > 0)
        if (atomic_compare_exchange_weak(&s->left, &left, left - 1)) {
            run_chunk(s, s->end - left);
            left = atomic_load_explicit(&s->left, memory_order_acquire);
        }
}

/* Its own share's first. */
static void run_shares(void) {
    within_task = true;
    const int count = atomic_load_explicit(&share_count, memory_order_relaxed);
    for (int k = 0; k < count; k++) run_chunks(&shares[(own_number + k) % count]);
    within_task = false;
}

static bool has_chunks(const struct share *s) { return atomic_load_explicit(&s->left, memory_order_acquire) > 0; }

/* For a while: before its end the share is marked, so that a job that comes just then is not missed. */
static bool spin_for_chunks(struct share *own) {
    enum { MARKED = SPINS / 10 };
    for (int spin = 0; spin < SPINS; spin++) {
        if (has_chunks(own)) return true;
        if (spin == SPINS - MARKED) atomic_store(&own->asleep, true);
        relax(spin);
    }
    return false;
}

static void *helper_main(void *number) {
    own_number = (int)(intptr_t)number;
    struct share *own = &shares[own_number];
    for (;;) {
        if (!spin_for_chunks(own)) {
            pthread_mutex_lock(&lock);
            while (!has_chunks(own)) pthread_cond_wait(&wake, &lock);
            pthread_mutex_unlock(&lock);
        }
        if (atomic_load_explicit(&own->asleep, memory_order_relaxed)) atomic_store_explicit(&own->asleep, false, memory_order_relaxed);
        run_shares();
    }
    return NULL;
}

/* A thread that nobody waits for; signals stay with the main thread. */
static bool start_thread(void *(*run)(void *), void *argument) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) pthread_detach(thread);
    return started;
}

/* Starts the missing helpers. Fewer threads than wanted is no failure. */
static void start_helpers(int wanted) {
    if (owner != getpid()) {
        owner = getpid(), helpers = 0;
        pthread_mutex_init(&lock, NULL); /* one of them may have held it */
        pthread_cond_init(&wake, NULL);
        for (int k = 0; k < MAX_THREADS; k++) atomic_store(&shares[k].asleep, false);
    }
    while (helpers < wanted && start_thread(helper_main, (void *)(intptr_t)(helpers + 1))) helpers++;
}

int pool_threads(void) {
    if (threads_wanted == 0) {
        const char *asked = getenv("PLUMB_THREADS");
        cpu_set_t set;
        int count = asked != NULL ? atoi(asked) : 0;
        if (count < 1) count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
        pool_set_threads(count);
    }
    return threads_wanted;
}

void pool_set_threads(int count) { threads_wanted = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count; }

int64_t pool_chunks(int64_t work, int64_t grain) {
    int64_t chunks = work / grain;
    return chunks < 1 ? 1 : chunks > MAX_CHUNKS ? MAX_CHUNKS : chunks;
}

static void share_out(int64_t chunks, int threads, void (*task)(void *context, int64_t chunk), void *context) {
    const int count = chunks < threads ? (int)chunks : threads;
    bool anyone_sleeps = false;
    atomic_store_explicit(&share_count, count, memory_order_relaxed);
    for (int k = count - 1; k >= 0; k--) {
        struct share *s = &shares[k];
        const int64_t begin = pool_begin(chunks, count, k);
        s->end = pool_begin(chunks, count, k + 1);
        s->task = task, s->context = context;
        atomic_store_explicit(&s->unfinished, s->end - begin, memory_order_relaxed);
        atomic_store_explicit(&s->left, s->end - begin, memory_order_release);
        anyone_sleeps = anyone_sleeps || atomic_load_explicit(&s->asleep, memory_order_relaxed);
    }
    if (!anyone_sleeps) return;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
}

void pool_run(int64_t chunks, void (*task)(void *context, int64_t chunk), void *context) {
    int threads = within_task ? 1 : pool_threads();
    if (chunks <= 1 || threads == 1) {
        for (int64_t chunk = 0; chunk < chunks && !pool_ends(); chunk++) task(context, chunk);
        return;
    }
    start_helpers(threads - 1);
    share_out(chunks, threads, task, context);
    run_shares();
    for (int k = 0; k < share_count; k++)
        for (int spin = 0; atomic_load_explicit(&shares[k].unfinished, memory_order_acquire) > 0; spin = (spin + 1) % SPINS) relax(spin);
}

/* --- jobs beside the runs ------------------------------------------------------------------------------------------ */

enum { WAITING, RUNNING, DONE };

static struct {
    pthread_mutex_t lock; /* of all below, and of every job's stage and next */
    pthread_cond_t queued, done;
    background_job *first, **end;
    bool started; /* is there a thread that takes jobs? */
    long owner;   /* its process */
} jobs;

static void run_job(background_job *entry) {
    entry->task(entry->context);
    pthread_mutex_lock(&jobs.lock);
    entry->stage = DONE;
    pthread_cond_broadcast(&jobs.done);
}

static void *jobs_main(void *unused) {
    pthread_mutex_lock(&jobs.lock);
    for (;;) {
        while (jobs.first == NULL) pthread_cond_wait(&jobs.queued, &jobs.lock);
        background_job *entry = jobs.first;
        jobs.first = entry->next;
        if (jobs.first == NULL) jobs.end = &jobs.first;
        entry->stage = RUNNING;
        pthread_mutex_unlock(&jobs.lock);
        run_job(entry);
    }
    return unused;
}

/* Threads do not survive a fork, and one may have held the lock: the child begins anew. */
static void jobs_prepare(void) {
    if (jobs.owner == getpid()) return;
    pthread_mutex_init(&jobs.lock, NULL);
    pthread_cond_init(&jobs.queued, NULL);
    pthread_cond_init(&jobs.done, NULL);
    jobs.first = NULL, jobs.end = &jobs.first;
    jobs.started = false;
    jobs.owner = getpid();
}

static background_job job_for(void (*task)(void *context), void *context, int stage) {
    jobs_prepare();
    return (background_job){.task = task, .context = context, .stage = stage, .owner = jobs.owner};
}

void pool_queue(background_job *entry, void (*task)(void *context), void *context) {
    *entry = job_for(task, context, WAITING);
    if (pool_threads() == 1) return;
    if (!jobs.started) jobs.started = start_thread(jobs_main, NULL);
    if (!jobs.started) return;
    pthread_mutex_lock(&jobs.lock);
    *jobs.end = entry;
    jobs.end = &entry->next;
    pthread_cond_signal(&jobs.queued);
    pthread_mutex_unlock(&jobs.lock);
}

static void *long_job_main(void *entry) {
    run_job(entry);
    pthread_mutex_unlock(&jobs.lock);
    return NULL;
}

void pool_start_long(background_job *entry, void (*task)(void *context), void *context) {
    *entry = job_for(task, context, RUNNING);
    if (!start_thread(long_job_main, entry)) long_job_main(entry);
}

bool pool_wait(background_job *entry, int milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += milliseconds * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&jobs.lock);
    while (entry->stage != DONE && pthread_cond_timedwait(&jobs.done, &jobs.lock, &until) == 0) continue;
    bool done = entry->stage == DONE;
    pthread_mutex_unlock(&jobs.lock);
    return done;
}

/* Takes the entry out of the queue, if it is there. */
static void jobs_withdraw(background_job *entry) {
    for (background_job **link = &jobs.first; *link != NULL; link = &(*link)->next) {
        if (*link != entry) continue;
        *link = entry->next;
        if (entry->next == NULL) jobs.end = link;
        return;
    }
}

void pool_await(background_job *entry) {
    if (entry->owner != getpid()) { /* queued before a fork, by a thread that is not here */
        if (entry->stage != DONE) entry->task(entry->context);
        entry->stage = DONE;
        return;
    }
    pthread_mutex_lock(&jobs.lock);
    while (entry->stage == RUNNING) pthread_cond_wait(&jobs.done, &jobs.lock);
    bool waiting = entry->stage == WAITING;
    if (waiting) jobs_withdraw(entry);
    entry->stage = DONE;
    pthread_mutex_unlock(&jobs.lock);
    if (waiting) entry->task(entry->context);
}
