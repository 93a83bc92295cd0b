/* process.h: running other programs (gnuplot above all) without a shell, workers of plumb's own, and a few facts about
 * the terminal.
 *
 * Lua sees this as require("plumb.core").process; each function is documented above its C body in process.c,
 * worker.c and terminal.c. */
#ifndef PLUMB_PROCESS_H
#define PLUMB_PROCESS_H

#include <lua.h>

/* Adds the field `process` (a table of functions) to the table on top of the stack, which stays there. */
void process_register(lua_State *L);

/* Adds the functions of worker.c to the table on top of the stack. */
void worker_register(lua_State *L);

/* Adds the functions of terminal.c to the table on top of the stack. */
void terminal_register(lua_State *L);

/* Seconds of a clock that never goes back. */
double process_seconds(void);

/* Sleeps, maybe less: every caller loops on a condition. */
void process_sleep(double seconds);

/* The list of strings at `index` as a NULL-terminated argv, pushed as a userdata. The strings stay in the table. */
char **process_check_argv(lua_State *L, int index, const char *who);

#endif
