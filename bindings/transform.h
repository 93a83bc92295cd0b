/* What gradient.c and compile.c share. */
#ifndef PLUMB_TRANSFORM_H
#define PLUMB_TRANSFORM_H

#include "tensor.h"

/* What must be undone when a traced or compiled function ends, also by an error: a to-be-closed value on the stack. */
typedef struct {
    int level;      /* of the trace to end; 0: none */
    bool compiling; /* one compilation less under way */
} cleanup;

cleanup *push_cleanup(lua_State *L);
/* body(L), whose cleanup is closed when it fails: coroutine.resume leaves what is to be closed open in a coroutine that
 * died, a protected call does not. */
int call_closing(lua_State *L, lua_CFunction body);

void gradient_register(lua_State *L); /* each adds its functions to the table on top of the stack */
void compile_register(lua_State *L);

#endif
