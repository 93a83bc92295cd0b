/* What gradient.c, compile.c, vmap.c and variable.c share. */
#ifndef PLUMB_TRANSFORM_H
#define PLUMB_TRANSFORM_H

#include "tensor.h"

/* What must be undone when a traced or compiled function ends, also by an error: a to-be-closed value on the stack. */
typedef struct {
    int level;      /* of the trace to end; 0: none */
    int *under_way; /* how many compilations or mappings are under way: one less; or NULL */
} cleanup;

cleanup *push_cleanup(lua_State *L);
/* body(L), whose cleanup is closed when it fails: coroutine.resume leaves what is to be closed open in a coroutine that
 * died, a protected call does not. */
int call_closing(lua_State *L, lua_CFunction body);

/* A class of userdata with methods and __gc; `call` may be NULL. */
void class_register(lua_State *L, const char *name, const documented_function *methods, lua_CFunction collect,
                    lua_CFunction call);

#define VARIABLE "plumb.Variable"
node **variable_test(lua_State *L, int index); /* or NULL */
node **variable_check(lua_State *L, int index);

/* Variables that get a new value along with the gradient under way: pushes their table (or nil) and returns how many; their
 * pending values; with the table on top of the stack and the values computed, sets them. */
int deferred_push(lua_State *L);
void deferred_nodes(lua_State *L, node **nodes);
void deferred_set(lua_State *L);
void deferred_forget(lua_State *L);

void gradient_register(lua_State *L); /* each adds its functions to the table on top of the stack */
void compile_register(lua_State *L);
void variable_register(lua_State *L);
void vmap_register(lua_State *L);

#endif
