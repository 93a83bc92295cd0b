#include "memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail.h"
#include "shelves.h"

enum { ALIGNMENT = 64, ALIGNED_FROM = 512, LARGE_PAGE = 2 << 20, LARGE_FROM = 2 * LARGE_PAGE };

static memory_figures figures;
static uint64_t until_failure, failures_left;

static void memory_start(void) {
    figures.budget = (size_t)sysconf(_SC_PHYS_PAGES) / 4 * 3 * (size_t)sysconf(_SC_PAGESIZE);
    /* Large buffers come and go at every step of a training. Kept in the heap they are recycled; as separate
     * mappings each would be zeroed page by page by the kernel at every use. */
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

static bool fails_now(void) {
    if (failures_left == 0) return false;
    if (until_failure > 1) {
        until_failure--;
        return false;
    }
    failures_left--;
    return true;
}

static enum { GIVEN, BY_TEST, BY_BUDGET, BY_SYSTEM } refusal; /* of the last request */

static bool is_beyond_budget(size_t bytes) { return bytes > figures.budget || figures.live > figures.budget - bytes; }

/* Only the main thread asks for memory. */
enum { UNIT = 64 };
static shelves kept = {.unit = UNIT, .units = 64, .most = (size_t)4 << 20};

/* Large ones in pages of 2 MB, if the system has them to spare: the processor knows the places of a few thousand pages, and images
 * that are picked from all over a data set lie in more of the usual size. */
static void *from_system(size_t bytes) {
    void *memory;
    if (bytes < ALIGNED_FROM) return malloc(bytes);
    if (posix_memalign(&memory, bytes < LARGE_FROM ? ALIGNMENT : LARGE_PAGE, bytes) != 0) return NULL;
    if (bytes >= LARGE_FROM) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static void *take(size_t units) {
    void *memory = shelves_take(&kept, units);
    return memory != NULL ? memory : from_system(units * UNIT);
}

static void give_back(void *memory, size_t units) {
#ifdef __SANITIZE_ADDRESS__
    if (malloc_usable_size(memory) != units * UNIT) abort(); /* the size that it was asked for with */
#endif
    if (!shelves_keep(&kept, memory, units)) free(memory);
}

static size_t units_of(size_t bytes) { return bytes == 0 ? 1 : (bytes + UNIT - 1) / UNIT; }

void *memory_request(size_t bytes) {
    if (figures.budget == 0) memory_start();
    refusal = fails_now() ? BY_TEST : is_beyond_budget(bytes) ? BY_BUDGET : GIVEN;
    if (refusal != GIVEN) return NULL;
    void *memory = take(units_of(bytes));
    if (memory == NULL) {
        refusal = BY_SYSTEM;
        return NULL;
    }
    figures.live += bytes;
    figures.requested += bytes;
    if (figures.live > figures.peak) figures.peak = figures.live;
    return memory;
}

void memory_refused(size_t bytes, const char *what) {
    if (refusal == BY_TEST) fail(ERROR_MEMORY, "out of memory (as asked for by a test): %zu bytes for %s", bytes, what);
    if (refusal == BY_SYSTEM) fail(ERROR_MEMORY, "out of memory: the system refuses %zu bytes for %s", bytes, what);
    fail(ERROR_MEMORY, "out of memory: %zu bytes for %s are beyond the budget of %zu bytes, of which %zu are in use "
         "(plumb.memory_budget sets it)", bytes, what, figures.budget, figures.live);
}

void *memory_allocate(size_t bytes, const char *what) {
    void *memory = memory_request(bytes);
    if (memory == NULL) memory_refused(bytes, what);
    return memory;
}

void memory_release(void *memory, size_t bytes) {
    if (memory == NULL) return;
    figures.live -= bytes;
    give_back(memory, units_of(bytes));
}

/* The size stands before the memory, in a block of its own so that the memory stays aligned. */
static void scoped_release(void *object) { memory_release(object, *(size_t *)object); }

void *memory_scoped(size_t bytes, const char *what) {
    scope_reserve();
    size_t *block = memory_allocate(ALIGNMENT + bytes, what);
    *block = ALIGNMENT + bytes;
    scope_add(block, scoped_release);
    return (char *)block + ALIGNMENT;
}

memory_figures memory_status(void) {
    if (figures.budget == 0) memory_start();
    return figures;
}

void memory_reset_peak(void) { figures.peak = figures.live; }

void memory_set_budget(size_t bytes) { figures.budget = bytes > 0 ? bytes : 1; }

uint64_t memory_fail_at(uint64_t nth, uint64_t times) {
    uint64_t left = failures_left;
    until_failure = nth;
    failures_left = times;
    return left;
}
