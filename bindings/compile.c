/* Compiled functions: a Lua function runs once on arguments without values, its graph is planned, and from then on the
 * plan runs; variables (variable.c) hold the state that it updates. lua/plumb/transform.lua has the names that users call. */
#include <stdlib.h>
#include <string.h>

#include "transform.h"

#define COMPILED "plumb.Compiled"

/* --- compile ---------------------------------------------------------------------------------------------------------------- */

enum { MAX_COMPILED_ARGUMENTS = 32, MAX_COMPILED_RESULTS = 64, MAX_VARIANTS = 16, COMPILED_FUNCTION = 1 };

typedef struct {
    bool number, variable;
    dtype type;
    shape shape;
    int64_t strides[MAX_RANK];
} signature_entry;

/* One plan, for one kind of arguments. */
typedef struct variant {
    size_t references;
    struct variant *next;
    int argument_count, result_count, variable_count, leaf_count;
    signature_entry signature[MAX_COMPILED_ARGUMENTS];
    plan *plan;
    array *leaves;       /* [leaf_count]: captured ones are owned, those of arguments filled in at each call */
    int *leaf_arguments; /* [leaf_count]: the argument, or -1 for a captured tensor */
} variant;

typedef struct {
    variant *first;
} compiled;

static void variant_release(void *object) {
    variant *v = object;
    if (--v->references > 0) return;
    for (int k = 0; v->leaves != NULL && v->leaf_arguments != NULL && k < v->leaf_count; k++)
        if (v->leaf_arguments[k] < 0) array_release(&v->leaves[k]);
    memory_release(v->leaves, (size_t)v->leaf_count * sizeof *v->leaves);
    memory_release(v->leaf_arguments, (size_t)v->leaf_count * sizeof *v->leaf_arguments);
    plan_release(v->plan);
    memory_release(v, sizeof *v);
}

static int compiled_collect(lua_State *L) {
    compiled *c = luaL_checkudata(L, 1, COMPILED);
    while (c->first != NULL) {
        variant *v = c->first;
        c->first = v->next;
        variant_release(v);
    }
    return 0;
}

static int compiled_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    compiled *c = lua_newuserdatauv(L, sizeof *c, 1);
    c->first = NULL;
    luaL_setmetatable(L, COMPILED);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, COMPILED_FUNCTION);
    return 1;
}

/* The arguments of one call, evaluated: the arrays belong to what is on the Lua stack. */
typedef struct {
    int count, variable_count;
    signature_entry signature[MAX_COMPILED_ARGUMENTS];
    node **handles[MAX_COMPILED_ARGUMENTS];
    double numbers[MAX_COMPILED_ARGUMENTS];
} call_arguments;

static void read_call(lua_State *L, call_arguments *c) {
    c->count = lua_gettop(L) - 1;
    c->variable_count = 0;
    if (c->count > MAX_COMPILED_ARGUMENTS)
        core_error(L, "compile: a compiled function takes at most %d arguments, not %d", MAX_COMPILED_ARGUMENTS, c->count);
    for (int i = 0; i < c->count; i++) {
        signature_entry *entry = &c->signature[i];
        int index = i + 2;
        *entry = (signature_entry){.number = lua_type(L, index) == LUA_TNUMBER, .type = FLOAT64};
        c->handles[i] = NULL;
        if (entry->number) {
            c->numbers[i] = lua_tonumber(L, index);
            continue;
        }
        c->handles[i] = variable_test(L, index);
        entry->variable = c->handles[i] != NULL;
        for (int other = 0; entry->variable && other < i; other++)
            if (c->handles[other] == c->handles[i])
                core_error(L, "compile: arguments %d and %d are the same variable", other + 1, i + 1);
        c->variable_count += entry->variable;
        if (!entry->variable) c->handles[i] = tensor_slot(L, index);
        if (c->handles[i] == NULL)
            core_error(L, "compile: argument %d of a compiled function must be a tensor, a number or a variable, not %s",
                       i + 1, luaL_typename(L, index));
        const array *value = &(*c->handles[i])->value;
        entry->type = value->type;
        entry->shape = value->shape;
        memcpy(entry->strides, value->strides, sizeof entry->strides);
    }
}

static bool same_signature(const variant *v, const call_arguments *c) {
    if (v->argument_count != c->count) return false;
    for (int i = 0; i < c->count; i++) {
        const signature_entry *a = &v->signature[i], *b = &c->signature[i];
        if (a->number != b->number || a->variable != b->variable || a->type != b->type || !shape_equal(a->shape, b->shape))
            return false;
        if (memcmp(a->strides, b->strides, (size_t)a->shape.rank * sizeof a->strides[0]) != 0) return false;
    }
    return true;
}

typedef struct {
    const call_arguments *call;
    node **argument_slots[MAX_COMPILED_ARGUMENTS];
    node *results[MAX_COMPILED_RESULTS];
    int result_count;
    variant *made;
} tracing;

static void arguments_body(void *context) {
    tracing *t = context;
    for (int i = 0; i < t->call->count; i++) {
        const signature_entry *entry = &t->call->signature[i];
        if (*t->argument_slots[i] != NULL) continue; /* made before memory ran out: core_run tries twice */
        node *n = op_argument(entry->type, entry->shape, entry->strides);
        n->weak = entry->number;
        *t->argument_slots[i] = node_retain(n);
    }
}

static int argument_number(const tracing *t, const node *n) {
    for (int i = 0; i < t->call->count; i++)
        if (*t->argument_slots[i] == n) return i;
    return -1;
}

static void plan_body(void *context) {
    tracing *t = context;
    node_list *order = node_list_new();
    int donors[MAX_COMPILED_RESULTS], leaf_count = 0, variable = 0;
    node_sort(order, t->results, t->result_count, false);
    for (int k = 0; k < order->count; k++) leaf_count += node_is_leaf(order->nodes[k]);
    for (int o = 0; o < t->result_count; o++) donors[o] = -1;
    scope_reserve();
    variant *v = memory_allocate(sizeof *v, "a compiled function");
    *v = (variant){.references = 1, .argument_count = t->call->count, .result_count = t->result_count, .leaf_count = leaf_count,
                   .variable_count = t->call->variable_count};
    scope_add(v, variant_release);
    memcpy(v->signature, t->call->signature, sizeof v->signature);
    v->leaves = memory_allocate((size_t)leaf_count * sizeof *v->leaves, "a compiled function");
    v->leaf_arguments = memory_allocate((size_t)leaf_count * sizeof *v->leaf_arguments, "a compiled function");
    for (int leaf = 0; leaf < leaf_count; leaf++) v->leaf_arguments[leaf] = 0; /* owns nothing yet */
    for (int k = 0, leaf = 0; k < order->count; k++) {
        if (!node_is_leaf(order->nodes[k])) continue;
        int from = argument_number(t, order->nodes[k]);
        if (from < 0 && !node_has_value(order->nodes[k]))
            fail(ERROR_STATE, "compile: the function uses a tensor that was left over from the compilation of another");
        if (from < 0) v->leaves[leaf] = array_retain(order->nodes[k]->value);
        v->leaf_arguments[leaf++] = from;
    }
    for (int i = 0; i < t->call->count; i++) { /* the k-th variable's new value may take the place of its old one */
        if (!t->call->signature[i].variable) continue;
        for (int leaf = 0; leaf < leaf_count; leaf++)
            if (v->leaf_arguments[leaf] == i) donors[variable] = leaf;
        variable++;
    }
    v->plan = plan_retain(plan_build(order, t->results, t->result_count, donors));
    t->made = v;
    v->references++; /* the scope gives its own back */
}

static void check_results(lua_State *L, tracing *t, int first) {
    t->result_count = lua_gettop(L) - first + 1;
    if (t->result_count < t->call->variable_count)
        core_error(L, "compile: the function returned %d values, but it must first return a new value for each of its %d variables",
                   t->result_count, t->call->variable_count);
    if (t->result_count > MAX_COMPILED_RESULTS)
        core_error(L, "compile: at most %d results, not %d", MAX_COMPILED_RESULTS, t->result_count);
    for (int o = 0, i = -1; o < t->result_count; o++) {
        t->results[o] = tensor_test(L, first + o);
        if (t->results[o] == NULL)
            core_error(L, "compile: result %d is %s; a compiled function returns tensors", o + 1, luaL_typename(L, first + o));
        if (o >= t->call->variable_count) continue;
        do i++;
        while (!t->call->signature[i].variable);
        if (t->results[o]->type != t->call->signature[i].type || !shape_equal(t->results[o]->shape, t->call->signature[i].shape))
            core_error(L, "compile: result %d (%s of shape %s) is the new value of argument %d (%s of shape %s)", o + 1,
                       dtype_name(t->results[o]->type), shape_format(t->results[o]->shape).text, i + 1,
                       dtype_name(t->call->signature[i].type), shape_format(t->call->signature[i].shape).text);
    }
}

/* Runs the Lua function once, on arguments without values, and adds the plan of what it returns. */
static variant *add_variant(lua_State *L, compiled *c, const call_arguments *call) {
    tracing t = {.call = call};
    int top = lua_gettop(L);
    luaL_checkstack(L, 2 * call->count + 10, NULL);
    for (int i = 0; i < call->count; i++) t.argument_slots[i] = tensor_push_slot(L);
    core_run(L, arguments_body, &t);
    cleanup *undo = push_cleanup(L);
    undo->under_way = &compiling;
    compiling++;
    int first = lua_gettop(L) + 1;
    lua_getiuservalue(L, 1, COMPILED_FUNCTION);
    for (int i = 0; i < call->count; i++) /* handles of its own, which f may assign to */
        *tensor_push_slot(L) = node_retain(*t.argument_slots[i]);
    lua_call(L, call->count, LUA_MULTRET);
    check_results(L, &t, first);
    core_run(L, plan_body, &t);
    t.made->next = c->first;
    c->first = t.made;
    lua_settop(L, top);
    return t.made;
}

/* The variant for these arguments; `call` is read anew when it had to be made, since the function that was traced may
 * have assigned to what it was called with. */
static variant *find_variant(lua_State *L, compiled *c, call_arguments *call) {
    int count = 0;
    for (variant **link = &c->first, *v; (v = *link) != NULL; link = &v->next) {
        if (same_signature(v, call)) { /* the last one used comes first */
            *link = v->next;
            v->next = c->first;
            return c->first = v;
        }
        if (++count < MAX_VARIANTS || v->next != NULL) continue;
        *link = NULL;
        variant_release(v);
        break;
    }
    variant *made = add_variant(L, c, call);
    read_call(L, call);
    if (!same_signature(made, call))
        core_error(L, "compile: the function changed the kind of its own arguments while it was compiled");
    return made;
}

/* --- calling what was compiled ------------------------------------------------------------------------------------------------ */

typedef struct {
    variant *variant;
    const call_arguments *call;
    node **slots[MAX_COMPILED_RESULTS];
} running;

static void run_body(void *context) {
    running *r = context;
    variant *v = r->variant;
    array results[MAX_COMPILED_RESULTS];
    node *nodes[MAX_COMPILED_RESULTS];
    for (int k = 0; k < v->leaf_count; k++) {
        int from = v->leaf_arguments[k];
        if (from < 0) continue;
        if (!r->call->signature[from].number) {
            v->leaves[k] = (*r->call->handles[from])->value;
            continue;
        }
        v->leaves[k] = node_with_array(FLOAT64, (shape){.rank = 0})->value; /* the scope's, until the run is over */
        *(double *)array_data(&v->leaves[k]) = r->call->numbers[from];
    }
    for (int o = 0; o < v->result_count; o++) nodes[o] = node_constant((array){.storage = NULL});
    plan_run(v->plan, v->leaves, results);
    for (int o = 0; o < v->result_count; o++) {
        nodes[o]->value = results[o];
        nodes[o]->type = results[o].type;
        nodes[o]->shape = results[o].shape;
        *r->slots[o] = node_retain(nodes[o]);
    }
}

/* Inside a gradient, a mapping or another compilation the function itself is called: its graph becomes part of the larger one. */
static int call_plainly(lua_State *L) {
    int count = lua_gettop(L) - 1;
    lua_getiuservalue(L, 1, COMPILED_FUNCTION);
    lua_replace(L, 1);
    for (int i = 2; i <= count + 1; i++)
        if (luaL_testudata(L, i, VARIABLE) != NULL)
            return core_error(L, "compile: a compiled function with variables cannot be called inside grad, vmap or compile "
                                 "(of an optimiser use :update there, not :step)");
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

static int call_compiled(lua_State *L) {
    compiled *c = luaL_checkudata(L, 1, COMPILED);
    call_arguments call;
    running r = {.call = &call};
    if (deferring() || trace_level() > 0) return call_plainly(L);
    read_call(L, &call);
    r.variant = find_variant(L, c, &call);
    int result_count = r.variant->result_count, variables = call.variable_count;
    node *updates[MAX_COMPILED_ARGUMENTS] = {NULL}; /* of the variables, which come first */
    luaL_checkstack(L, result_count + 2, NULL);
    for (int o = 0; o < result_count; o++) r.slots[o] = o < variables ? &updates[o] : tensor_push_slot(L);
    core_run(L, run_body, &r);
    for (int i = 0, o = 0; i < call.count; i++) { /* from here on nothing fails */
        if (!call.signature[i].variable) continue;
        node_release(*call.handles[i]); /* now, not when Lua collects */
        *call.handles[i] = updates[o++];
    }
    return result_count - variables;
}

static int compiled_call(lua_State *L) { return call_closing(L, call_compiled); }

/* How each variant of a compiled function runs, as text. */
static int compiled_describe(lua_State *L) {
    const compiled *c = luaL_checkudata(L, 1, COMPILED);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (const variant *v = c->first; v != NULL; v = v->next) {
        char *description = plan_describe(v->plan);
        if (description != NULL) luaL_addstring(&text, description);
        free(description);
    }
    luaL_pushresult(&text);
    return 1;
}

/* plan_times(f, ...) -> text: each plan that ran in f(...), with the shortest time of each kernel call. */
static int plan_times(lua_State *L) {
    plan_timing_begin();
    int status = lua_pcall(L, lua_gettop(L) - 1, 0, 0);
    const char *text = plan_timing_end();
    if (status != LUA_OK) return lua_error(L);
    lua_pushstring(L, text != NULL ? text : "");
    return 1;
}

void class_register(lua_State *L, const char *name, const documented_function *methods, lua_CFunction collect,
                    lua_CFunction call) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    documented_register(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
    if (call != NULL) lua_pushcfunction(L, call), lua_setfield(L, -2, "__call");
    lua_pop(L, 1);
}

static int is_compiling(lua_State *L) {
    lua_pushboolean(L, compiling > 0);
    return 1;
}

void compile_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"compile", compiled_new}, {"plan_times", plan_times},
                                         {"is_compiling", is_compiling}, {NULL, NULL}};
    static const documented_function compiled_methods[] = {
        {"describe", compiled_describe, "compiled:describe() -> text: the kernel calls of each of its plans, one a line."},
        {NULL, NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    class_register(L, COMPILED, compiled_methods, compiled_collect, compiled_call);
}
