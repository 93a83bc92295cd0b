/* process.h: running other programs (gnuplot above all) without a shell, and a few facts about the terminal.
 *
 * Lua sees this as require("plumb.core").process; each function is documented above its C body in process.c. */
#ifndef PLUMB_PROCESS_H
#define PLUMB_PROCESS_H

#include <lua.h>

/* Adds the field `process` (a table of functions) to the table on top of the stack, which stays there. */
void process_register(lua_State *L);

#endif
