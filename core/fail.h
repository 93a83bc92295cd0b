/* The core's one error path. `fail` never returns: it unwinds to the nearest guard, which frees what the
 * guarded body had built so far. Kernels never fail: what can go wrong is checked before they start. */
#ifndef PLUMB_FAIL_H
#define PLUMB_FAIL_H

#include <stdbool.h>

typedef enum {
    ERROR_NONE,
    ERROR_ARGUMENT, /* a value that the operator cannot take */
    ERROR_SHAPE,    /* shapes that do not fit together */
    ERROR_DTYPE,    /* element types that do not fit together */
    ERROR_MEMORY,   /* the budget or the machine's memory is used up */
    ERROR_STATE,    /* an operation that is not possible now */
    ERROR_INTERRUPT /* somebody asked for an end (interrupt_request) */
} error_kind;

typedef struct {
    error_kind kind;
    char message[1024];
} failure;

/* Unwinds to the nearest guard with a message made as by printf. */
_Noreturn void fail(error_kind kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Runs body(context). Returns true when it ran to its end; otherwise fills `out` and returns false.
 * Either way everything that was scoped (scope.h) while it ran is released. Guards nest. */
bool guard_run(void (*body)(void *context), void *context, failure *out);

/* Objects that were made inside a guard and are not yet owned by anything else. `scope_reserve` makes room for
 * one more before the object exists, so `scope_add` cannot fail. */
void scope_reserve(void);
void scope_add(void *object, void (*release)(void *object));

/* Stopping a long computation from outside. A request stands until it is cleared; what has gone on for a tenth of a
 * second since is overdue. Whoever computes for long asks now and then, by any thread, and where nothing has been
 * changed yet stops by interrupt_check, which fails with ERROR_INTERRUPT when the computation is overdue. */
void interrupt_request(void); /* may be called by a signal handler */
void interrupt_clear(void);
bool interrupt_requested(void);
bool interrupt_overdue(void);
void interrupt_check(void);

#endif
