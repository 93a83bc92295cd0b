/* interrupt.h: Ctrl-C ends what runs, wherever it is, and leaves everything intact.
 *
 * SIGINT raises the error "interrupted!" at the next instruction of the coroutine that runs; computations of the core
 * stop before they have changed anything (fail.h), and so do pattern matching (match.h), large calls of Lua's own library
 * (library.h) and the making of long strings (allocate.h). What would catch errors (pcall, xpcall, coroutine.resume, load)
 * lets this one through, up to interrupt_end. Closing values (__close) and finalizers run undisturbed. */
#ifndef PLUMB_INTERRUPT_H
#define PLUMB_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

#include <lua.h>

/* Puts the functions of the standard library that catch errors or switch coroutines in order, once they are opened. */
void interrupt_open(lua_State *L);
/* Adds `interrupted` and `attempt` to the table on top of the stack. */
void interrupt_register(lua_State *L);

/* Between these two Ctrl-C is caught, and L runs; they nest. interrupt_end forgets an interrupt that came too late. */
typedef struct {
    lua_State *running;
    struct sigaction action;
} interrupt_state;
void interrupt_begin(lua_State *L, interrupt_state *before);
void interrupt_end(lua_State *L, const interrupt_state *before);

/* The coroutine that runs between them; NULL outside. */
lua_State *interrupt_running(void);

/* At the prompt Ctrl-C never ends the process; outside of it a second one ends a program that does not react. */
void interrupt_at_prompt(bool on);

/* Has an interrupt been asked for or raised since interrupt_begin? */
bool interrupt_came(void);
/* Has an interrupt stopped something of the library, and nothing else since? */
bool interrupt_postponed(void);
/* Is the error value on top of the stack due to an interrupt? Then it is replaced by the message that tells so. */
bool interrupt_caused(lua_State *L);
/* For what has caught an error, whose value is on top of the stack: raises it again when it is due to an interrupt. */
void interrupt_pass_on(lua_State *L);
/* Raises the error when Ctrl-C was pressed. For loops in C that may take long. */
void interrupt_poll(lua_State *L);
/* Would interrupt_poll raise it? For what has no lua_State at hand and fails in its own way instead. */
bool interrupt_due(void);
int interrupt_raise(lua_State *L);
/* Does a finalizer run, in which it would be lost? Then it is raised afterwards. */
bool interrupt_waits(lua_State *L);
/* Sets the hook that raises it, when Ctrl-C was pressed: for what may have replaced that hook. */
void interrupt_arm(lua_State *L);

#endif
