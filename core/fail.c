#include "fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct guard {
    jmp_buf environment;
    struct guard *outer;
    size_t scope_begin; /* the scope entries from here on belong to this guard */
    failure *report;
} guard;

typedef struct {
    void *object;
    void (*release)(void *object);
} scope_entry;

static guard *innermost;
static scope_entry *entries;
static size_t entry_count, entry_capacity;

static void scope_unwind(size_t begin) {
    while (entry_count > begin) {
        entry_count--;
        entries[entry_count].release(entries[entry_count].object);
    }
}

_Noreturn void fail(error_kind kind, const char *format, ...) {
    guard *here = innermost;
    va_list arguments;
    va_start(arguments, format);
    if (here == NULL) { /* a bug in the bindings: nobody is there to report to */
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        abort();
    }
    here->report->kind = kind;
    vsnprintf(here->report->message, sizeof here->report->message, format, arguments);
    va_end(arguments);
    longjmp(here->environment, 1);
}

bool guard_run(void (*body)(void *context), void *context, failure *out) {
    guard here = {.outer = innermost, .scope_begin = entry_count, .report = out};
    out->kind = ERROR_NONE;
    out->message[0] = '\0';
    innermost = &here;
    if (setjmp(here.environment) == 0) body(context);
    innermost = here.outer;
    scope_unwind(here.scope_begin);
    return out->kind == ERROR_NONE;
}

void scope_reserve(void) {
    if (entry_count < entry_capacity) return;
    size_t capacity = entry_capacity == 0 ? 256 : 2 * entry_capacity;
    scope_entry *grown = realloc(entries, capacity * sizeof *entries);
    if (grown == NULL) fail(ERROR_MEMORY, "out of memory: a graph of %zu nodes", entry_count);
    entries = grown;
    entry_capacity = capacity;
}

void scope_add(void *object, void (*release)(void *object)) {
    entries[entry_count++] = (scope_entry){object, release};
}

/* --- interrupts --- */

static const int64_t PATIENCE = 100000000; /* nanoseconds */
static atomic_llong requested_at;          /* by the clock below; 0: not requested */

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + 1;
}

void interrupt_request(void) {
    if (!interrupt_requested()) atomic_store(&requested_at, nanoseconds());
}

void interrupt_clear(void) { atomic_store(&requested_at, 0); }

bool interrupt_requested(void) { return atomic_load_explicit(&requested_at, memory_order_relaxed) != 0; }

bool interrupt_overdue(void) {
    int64_t then = atomic_load_explicit(&requested_at, memory_order_relaxed);
    return then != 0 && nanoseconds() - then > PATIENCE;
}

void interrupt_check(void) {
    if (interrupt_overdue()) fail(ERROR_INTERRUPT, "interrupted!");
}
