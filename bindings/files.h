/* files.h: data files on their way in (IDX, raw bytes) and results on their way out (written whole or not at all).
 *
 * Lua sees this as require("plumb.core").files; each function is documented above its C body in files.c. */
#ifndef PLUMB_FILES_H
#define PLUMB_FILES_H

#include <lua.h>

/* Adds the field `files` (a table of functions) to the table on top of the stack, which stays there. */
void files_register(lua_State *L);

#endif
