/* Variables: state that changes from step to step. Nothing else refers to a variable's array, so a compiled step may write
 * the new value over the old; a tensor that was taken out of it keeps the old array alive and unchanged. */
#include "transform.h"

/* The registry's table of what the gradient under way will set: variable -> tensor. */
#define DEFERRED "plumb.deferred"

node **variable_test(lua_State *L, int index) {
    node **variable = luaL_testudata(L, index, VARIABLE);
    if (variable != NULL && *variable == NULL) core_error(L, "this variable has been collected");
    return variable;
}

node **variable_check(lua_State *L, int index) {
    node **variable = variable_test(L, index);
    if (variable == NULL) luaL_checkudata(L, index, VARIABLE);
    return variable;
}

typedef struct {
    node **slot;
    const array *value;
} sharing;

static void share_body(void *context) {
    sharing *s = context;
    *s->slot = node_retain(node_constant(*s->value));
}

/* Nodes are never shared with a variable, only arrays: the array's count then tells whether anyone else sees it. */
static int variable_new(lua_State *L) {
    const array *value = tensor_value(L, 1);
    node **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_setmetatable(L, VARIABLE);
    core_run(L, share_body, &(sharing){slot, value});
    return 1;
}

/* What the variable at `index` is to become by the gradient under way, or NULL. */
static node *deferred_value(lua_State *L, int index) {
    if (trace_level() == 0 || lua_getfield(L, LUA_REGISTRYINDEX, DEFERRED) != LUA_TTABLE) return NULL;
    lua_pushvalue(L, index);
    lua_rawget(L, -2);
    return tensor_test(L, -1);
}

static int variable_get(lua_State *L) {
    node **variable = variable_check(L, 1), *deferred = deferred_value(L, 1), **slot = tensor_push_slot(L);
    if (deferred != NULL) *slot = node_retain(deferred);
    else core_run(L, share_body, &(sharing){slot, &(*variable)->value});
    return 1;
}

static void check_fits(lua_State *L, node *const *variable, const node *n) {
    if (n->type == (*variable)->type && shape_equal(n->shape, (*variable)->shape)) return;
    core_error(L, "a variable of %s and shape %s cannot become %s of shape %s", dtype_name((*variable)->type),
               shape_format((*variable)->shape).text, dtype_name(n->type), shape_format(n->shape).text);
}

/* variable:set(tensor) or variable:set(tensor, another, tensor, ...): all of them, or with an error none. */
static int variable_set(lua_State *L) {
    int count = lua_gettop(L);
    luaL_checkstack(L, count / 2 + 8, NULL);
    for (int k = 1; k == 1 || k < count; k += 2) check_fits(L, variable_check(L, k), tensor_check(L, k + 1));
    for (int k = 1; k < count; k += 2) {
        const array *value = tensor_value(L, k + 1);
        core_run(L, share_body, &(sharing){tensor_push_slot(L), value});
    }
    for (int k = 1; k < count; k += 2) { /* from here on nothing fails */
        node **variable = lua_touserdata(L, k), **slot = lua_touserdata(L, count + (k + 1) / 2), *old = *variable;
        *variable = *slot;
        *slot = NULL;
        node_release(old);
        int top = lua_gettop(L);
        if (deferred_value(L, k) != NULL) { /* what is set now is newer */
            lua_pushvalue(L, k);
            lua_pushnil(L);
            lua_rawset(L, -4);
        }
        lua_settop(L, top);
    }
    return 0;
}

static int variable_collect(lua_State *L) {
    node **variable = luaL_checkudata(L, 1, VARIABLE);
    node_release(*variable);
    *variable = NULL;
    return 0;
}

/* --- what a gradient sets ----------------------------------------------------------------------------------------------------
 * A value that is made inside a function under differentiation is best computed in the same run as its gradient. It waits
 * in the table until then; when the function fails, the variable keeps what it had. */

/* variable:defer(tensor) -> true, or false when no gradient is under way. Until its end get gives this tensor. */
static int variable_defer(lua_State *L) {
    node *value = tensor_check(L, 2);
    check_fits(L, variable_check(L, 1), value);
    bool under_way = trace_level() > 0 && !deferring();
    if (under_way) {
        luaL_getsubtable(L, LUA_REGISTRYINDEX, DEFERRED);
        lua_pushvalue(L, 1);
        *tensor_push_slot(L) = node_retain(value); /* a handle of its own, which nobody assigns to */
        lua_rawset(L, -3);
    }
    lua_pushboolean(L, under_way);
    return 1;
}

int deferred_push(lua_State *L) {
    int count = 0;
    if (lua_getfield(L, LUA_REGISTRYINDEX, DEFERRED) != LUA_TTABLE) return 0;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) count++;
    return count;
}

void deferred_nodes(lua_State *L, node **nodes) {
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) *nodes++ = tensor_test(L, -1);
}

/* First everything that can fail, then the exchange. */
void deferred_set(lua_State *L) {
    for (lua_pushnil(L); lua_next(L, -2) != 0;) {
        const array *value = tensor_value(L, -1);
        node **slot = tensor_push_slot(L);
        core_run(L, share_body, &(sharing){slot, value});
        lua_pushvalue(L, -3);
        lua_insert(L, -2);
        lua_rawset(L, -5);
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        node **variable = lua_touserdata(L, -2), **slot = lua_touserdata(L, -1), *old = *variable;
        *variable = *slot;
        *slot = NULL;
        node_release(old);
    }
}

void deferred_forget(lua_State *L) {
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, DEFERRED);
}

void variable_register(lua_State *L) {
    static const documented_function methods[] = {
        {"get", variable_get, "variable:get() -> the tensor in it."},
        {"set", variable_set, "variable:set(tensor): another tensor, of the same dtype and shape."},
        {"defer", variable_defer,
         "variable:defer(tensor) -> boolean: false when no gradient is under way; else true, and until its end get gives this "
         "tensor."},
        {NULL, NULL, NULL}};
    lua_pushcfunction(L, variable_new);
    lua_setfield(L, -2, "variable");
    class_register(L, VARIABLE, methods, variable_collect, NULL);
}
