/* Tensors as Lua values, and the bridge between the core's errors and Lua's.
 *
 * The core unwinds with longjmp to its guard, Lua with its own to the nearest pcall; neither may cross the other's
 * frames. So nothing inside a guarded body calls Lua, and nothing outside one calls a core function that can fail. */
#ifndef PLUMB_TENSOR_H
#define PLUMB_TENSOR_H

#include <lauxlib.h>
#include <lua.h>

#include "plumb.h"

#define TENSOR "plumb.Tensor"

/* Runs body(context) in a guard. A failure becomes a Lua error that starts with the user's line; when memory ran out,
 * garbage is collected and the body runs once more, so it must not leave anything behind when it fails. */
void core_run(lua_State *L, void (*body)(void *context), void *context);
/* Raises a Lua error that starts with the line outside plumb's own library from which all this was called. */
int core_error(lua_State *L, const char *format, ...);

/* Pushes an empty tensor to be filled by a guarded body: *slot = node_retain(n). */
node **tensor_push_slot(lua_State *L);
/* To be called once the slot is filled: marks the node as seen by the user and bounds chains of pending nodes. */
void tensor_filled(lua_State *L, node **slot);

node *tensor_check(lua_State *L, int index);
node *tensor_test(lua_State *L, int index); /* NULL where there is none */
/* The evaluated array of the tensor at index, owned by that tensor. */
const array *tensor_value(lua_State *L, int index);
node **tensor_slot(lua_State *L, int index); /* where Lua holds it, evaluated; NULL: it is none */
/* Pushes a new tensor with an uninitialised contiguous array, to be filled by the caller before it returns. */
array *tensor_new(lua_State *L, dtype type, shape s);

/* Functions with what help() says of them: "name(arguments) -> results: what it does". */
typedef struct {
    const char *name;
    lua_CFunction function;
    const char *doc;
} documented_function;
/* Adds the functions, up to one without a name, to the table on top of the stack, and their texts to core.documentation. */
void documented_register(lua_State *L, const documented_function *functions);

/* Reads a shape: a table of sizes at `index`, or the numbers from `index` to the top. */
shape check_shape(lua_State *L, int index);
dtype check_dtype(lua_State *L, int index);

/* How many functions are being compiled, and mapped. Meanwhile nothing is computed along the way. */
extern int compiling, mapping;
static inline bool deferring(void) { return compiling > 0 || mapping > 0; }

void tensor_register(lua_State *L);    /* each adds its functions to the table on top of the stack */
void create_register(lua_State *L);
void index_register(lua_State *L);
void operators_register(lua_State *L);
void loader_register(lua_State *L);

#endif
