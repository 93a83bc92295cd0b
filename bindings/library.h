/* library.h: functions of Lua's own library that take long on large arguments, in forms that Ctrl-C can stop: load,
 * string.rep, table.concat, table.sort, utf8.len and utf8.offset; print; read, write and lines of files. They do and say what
 * Lua's manual says of them. */
#ifndef PLUMB_LIBRARY_H
#define PLUMB_LIBRARY_H

#include <lua.h>

/* Replaces them in the global tables. */
void library_open(lua_State *L);
void library_files_open(lua_State *L); /* a part of it: those of files */

/* Replaces the function `name` of the table on top of the stack; returns the one that was there. */
lua_CFunction library_replace(lua_State *L, const char *name, lua_CFunction ours);

#endif
