/* The one door through which the core takes memory: it counts live and peak bytes, keeps to a budget, and can be
 * told to fail at the n-th request, so that tests can visit every failure. */
#ifndef PLUMB_MEMORY_H
#define PLUMB_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* `bytes` of memory, aligned to 64 bytes from 512 bytes on, not cleared. Fails (fail.h) beyond the budget;
 * `what` names the purpose in the message, e.g. "a node of the graph". Release with the same size. */
void *memory_allocate(size_t bytes, const char *what);
void memory_release(void *memory, size_t bytes);
/* The two halves of memory_allocate, where naming the purpose takes time: NULL for no, then the failure. */
void *memory_request(size_t bytes);
_Noreturn void memory_refused(size_t bytes, const char *what);

/* Working memory of the innermost guard (fail.h), released when that ends. */
void *memory_scoped(size_t bytes, const char *what);

typedef struct {
    size_t live;      /* bytes held now */
    size_t peak;      /* the most bytes held at once since memory_reset_peak */
    size_t budget;    /* the most bytes that may be held */
    size_t requested; /* bytes asked for since the start, for pacing Lua's collector */
} memory_figures;

memory_figures memory_status(void);
void memory_reset_peak(void);
void memory_set_budget(size_t bytes); /* the default is three quarters of the machine's memory */
/* `times` requests in a row fail, the nth from now on being the first; times 0 switches this off. Returns how many
 * failures that were asked for before have not come to pass. */
uint64_t memory_fail_at(uint64_t nth, uint64_t times);

#endif
