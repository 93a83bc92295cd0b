/* Gradients of Lua functions: f runs on traced tensors, and its graph is swept backward (core/grad.h).
 * lua/plumb/transform.lua has the names that users call. */
#include "transform.h"

#define CLEANUP "plumb.Cleanup"

cleanup *push_cleanup(lua_State *L) {
    cleanup *c = lua_newuserdatauv(L, sizeof *c, 0);
    *c = (cleanup){0, NULL};
    luaL_setmetatable(L, CLEANUP);
    lua_toclose(L, -1);
    return c;
}

static int cleanup_close(lua_State *L) {
    cleanup *c = luaL_checkudata(L, 1, CLEANUP);
    if (c->level > 0) trace_end(c->level);
    if (c->level == 1) deferred_forget(L);
    if (c->under_way != NULL) --*c->under_way;
    *c = (cleanup){0, NULL};
    return 0;
}

int call_closing(lua_State *L, lua_CFunction body) {
    bool is_main = lua_pushthread(L);
    lua_pop(L, 1);
    if (is_main) return body(L);
    lua_pushcfunction(L, body);
    lua_insert(L, 1);
    if (lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) != LUA_OK) return lua_error(L);
    return lua_gettop(L);
}

enum { MAX_GRADIENTS = 16, FIRST_ARGUMENT = 4 };

typedef struct {
    int count;
    node *arguments[MAX_GRADIENTS];
    node **slots[MAX_GRADIENTS]; /* the traced copies of the arguments */
    node *result, *seed;
    node **out[MAX_GRADIENTS];   /* the gradients */
    cleanup *cleanup;
} gradient;

static void begin_body(void *context) {
    gradient *g = context;
    if (g->cleanup->level == 0) g->cleanup->level = trace_begin();
    for (int i = 0; i < g->count; i++) {
        node *traced = op_identity(g->arguments[i]);
        trace_argument(traced, g->cleanup->level);
        if (*g->slots[i] == NULL) *g->slots[i] = node_retain(traced);
    }
}

static void sweep_body(void *context) {
    gradient *g = context;
    node *traced[MAX_GRADIENTS], *gradients[MAX_GRADIENTS];
    for (int i = 0; i < g->count; i++) traced[i] = *g->slots[i];
    grad_sweep(g->result, g->seed, g->count, traced, gradients);
    for (int i = 0; i < g->count; i++)
        if (*g->out[i] == NULL) *g->out[i] = node_retain(gradients[i]);
}

typedef struct {
    node **nodes;
    int count;
} evaluation;

static void evaluate_body(void *context) {
    evaluation *e = context;
    evaluate(e->nodes, e->count);
}

/* The result, its gradients and what variables are to become, in one run. */
static void evaluate_results(lua_State *L, const gradient *g) {
    int top = lua_gettop(L), deferred = deferred_push(L), count = 0;
    node **nodes = lua_newuserdatauv(L, (size_t)(1 + g->count + deferred) * sizeof *nodes, 0);
    nodes[count++] = g->result;
    for (int i = 0; i < g->count; i++) nodes[count++] = *g->out[i];
    lua_pushvalue(L, top + 1);
    if (deferred > 0) deferred_nodes(L, nodes + count);
    core_run(L, evaluate_body, &(evaluation){nodes, count + deferred});
    if (deferred > 0) deferred_set(L);
    lua_settop(L, top);
}

/* The arguments of f are evaluated before it is traced, so that a loop's steps do not pile up in one graph. */
static void evaluate_arguments(void *context) {
    gradient *g = context;
    evaluate(g->arguments, g->count);
}

static void read_gradient_arguments(lua_State *L, gradient *g, int arguments) {
    if (g->count < 1 || g->count > MAX_GRADIENTS || g->count > arguments)
        core_error(L, "grad: the function is differentiated by its first %d arguments, but %d were given", g->count,
                   arguments);
    for (int i = 0; i < g->count; i++) {
        g->arguments[i] = tensor_test(L, FIRST_ARGUMENT + i);
        if (g->arguments[i] == NULL || !dtype_is_float(g->arguments[i]->type))
            core_error(L, "grad: argument %d must be a float32 or float64 tensor, not %s", i + 1,
                       g->arguments[i] == NULL ? luaL_typename(L, FIRST_ARGUMENT + i) : dtype_name(g->arguments[i]->type));
    }
}

/* value_and_grad(f, count, seed or nil, x1, x2, ...) -> f(x1, x2, ...), then the gradients of its first result by
 * x1 .. xcount. With a seed: the gradients of the sum of seed * result. */
static int differentiate(lua_State *L) {
    gradient g = {.count = (int)luaL_checkinteger(L, 2), .seed = tensor_test(L, 3)};
    if (g.seed != NULL) { /* f may assign to the handle */
        node *seed = g.seed;
        *tensor_push_slot(L) = node_retain(seed);
        lua_replace(L, 3);
    }
    int arguments = lua_gettop(L) - FIRST_ARGUMENT + 1;
    bool eager = trace_level() == 0 && !deferring();
    read_gradient_arguments(L, &g, arguments);
    if (eager) core_run(L, evaluate_arguments, &g);
    luaL_checkstack(L, arguments + g.count + 8, NULL);
    lua_createtable(L, g.count, 0); /* keeps the traced tensors; f gets handles of its own, which it may assign to */
    int anchor = lua_gettop(L);
    for (int i = 0; i < g.count; i++) {
        g.slots[i] = tensor_push_slot(L);
        lua_rawseti(L, anchor, i + 1);
    }
    g.cleanup = push_cleanup(L);
    int first = lua_gettop(L) + 1;
    core_run(L, begin_body, &g);
    lua_pushvalue(L, 1);
    for (int i = 0; i < g.count; i++) *tensor_push_slot(L) = node_retain(*g.slots[i]);
    for (int i = g.count; i < arguments; i++) lua_pushvalue(L, FIRST_ARGUMENT + i);
    lua_call(L, arguments, LUA_MULTRET);
    int results = lua_gettop(L) - first + 1;
    g.result = results > 0 ? tensor_test(L, first) : NULL;
    if (g.result == NULL)
        return core_error(L, "grad: the function must return a tensor first, not %s",
                          results > 0 ? luaL_typename(L, first) : "nothing");
    luaL_checkstack(L, g.count + 12, NULL);
    for (int i = 0; i < g.count; i++) g.out[i] = tensor_push_slot(L);
    core_run(L, sweep_body, &g);
    if (eager) evaluate_results(L, &g);
    for (int i = 0; i < g.count; i++) (*g.out[i])->exposed = true;
    return results + g.count;
}

static int value_and_grad(lua_State *L) { return call_closing(L, differentiate); }

void gradient_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"value_and_grad", value_and_grad}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, CLEANUP);
    lua_pushcfunction(L, cleanup_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
