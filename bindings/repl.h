/* repl.h: calling Lua chunks under Ctrl-C, reporting their errors, and the interactive prompt.
 *
 * The command line (main.c) and the prompt (repl.c) run chunks in the same way; only the prompt survives their errors. */
#ifndef PLUMB_REPL_H
#define PLUMB_REPL_H

#include <lua.h>

/* Calls the function below `arguments` values on the stack, like lua_pcall. An error gets a traceback added, and
 * Ctrl-C raises the error "interrupted!" in the running chunk. Returns a Lua status; on error the message is on top. */
int repl_call(lua_State *L, int arguments, int results);

/* Unless `status` is LUA_OK, pops the error message and writes it to standard error, after "program: " where `program`
 * is not NULL. Returns `status`. */
int repl_report(lua_State *L, const char *program, int status);

/* Runs the prompt until the end of input: reads statements, runs them and prints their values; an error is reported
 * and the prompt goes on. On a terminal lines are edited with readline and kept in the history file
 * $XDG_STATE_HOME/plumb/history; otherwise they are read as they come. The fields of `require "plumb"` are offered
 * as globals. The Lua stack is left as it was. */
void repl_run(lua_State *L);

#endif
