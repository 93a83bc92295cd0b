#include "tensor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "allocate.h"
#include "interrupt.h"

int compiling, mapping;

static const char DOCUMENTATION[] = "plumb.documentation"; /* key in the registry of a table {function = text} */

/* --- errors ----------------------------------------------------------------------------------------------------------- */

/* The position of the innermost Lua function that is not part of plumb's library; nothing where there is none, as when the
 * prompt shows a value. */
static void push_user_position(lua_State *L) {
    lua_Debug info;
    for (int level = 1; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "Sl", &info);
        if (info.currentline <= 0 || strstr(info.source, "/lua/plumb/") != NULL) continue;
        lua_pushfstring(L, "%s:%d: ", info.short_src, info.currentline);
        return;
    }
    lua_pushliteral(L, "");
}

int core_error(lua_State *L, const char *format, ...) {
    va_list arguments;
    push_user_position(L);
    va_start(arguments, format);
    lua_pushvfstring(L, format, arguments);
    va_end(arguments);
    lua_concat(L, 2);
    return lua_error(L);
}

void core_run(lua_State *L, void (*body)(void *context), void *context) {
    failure report;
    if (guard_run(body, context, &report)) return;
    if (report.kind == ERROR_MEMORY) {
        lua_gc(L, LUA_GCCOLLECT);
        plan_clear_cache();
        if (guard_run(body, context, &report)) return;
    }
    if (report.kind == ERROR_INTERRUPT && interrupt_waits(L)) {
        interrupt_clear();
        core_run(L, body, context);
        interrupt_request();
        return;
    }
    if (report.kind == ERROR_INTERRUPT) interrupt_raise(L);
    core_error(L, "%s", report.message);
}

/* --- userdata ---------------------------------------------------------------------------------------------------------- */

/* Lua sees a tensor as a few bytes, so its collector must be told of the memory behind it: a young collection for every
 * few megabytes taken, and a full one when what is held has doubled since the last. */
static void pace_collector(lua_State *L) {
    static const size_t YOUNG_BYTES = (size_t)16 << 20, SLACK_BYTES = (size_t)128 << 20;
    static size_t requested_then, live_then;
    memory_figures now = memory_status();
    if (now.requested - requested_then < YOUNG_BYTES) return;
    requested_then = now.requested;
    if (now.live < 2 * live_then + SLACK_BYTES) {
        allocate_collect_young(L, YOUNG_BYTES);
        return;
    }
    lua_gc(L, LUA_GCCOLLECT);
    live_then = memory_status().live;
}

node **tensor_push_slot(lua_State *L) {
    pace_collector(L);
    node **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_setmetatable(L, TENSOR);
    return slot;
}

typedef struct {
    node **nodes;
    int count;
} evaluation;

static void evaluate_body(void *context) {
    evaluation *e = context;
    evaluate(e->nodes, e->count);
}

/* A running sum in a user's loop is computed along the way instead of growing without end, and so is a graph since whose
 * last evaluation much memory has been taken: its pending nodes may hold it. */
enum { MAX_PENDING_DEPTH = 1000 };
static const size_t MAX_PENDING_BYTES = (size_t)512 << 20;

void tensor_filled(lua_State *L, node **slot) {
    node *n = *slot;
    size_t live = memory_status().live, then = plan_status().live_after_run;
    n->exposed = true;
    if (deferring() || node_has_value(n)) return;
    if (n->depth < MAX_PENDING_DEPTH && live < then + MAX_PENDING_BYTES) return;
    core_run(L, evaluate_body, &(evaluation){slot, 1});
}

node *tensor_test(lua_State *L, int index) {
    node **slot = luaL_testudata(L, index, TENSOR);
    return slot != NULL ? *slot : NULL;
}

node *tensor_check(lua_State *L, int index) {
    node *n = tensor_test(L, index);
    if (n == NULL) core_error(L, "argument %d must be a tensor, not %s", index, luaL_typename(L, index));
    return n;
}

node **tensor_slot(lua_State *L, int index) {
    node **slot = luaL_testudata(L, index, TENSOR);
    if (slot != NULL && *slot == NULL) return NULL;
    if (slot != NULL && !node_has_value(*slot)) core_run(L, evaluate_body, &(evaluation){slot, 1});
    return slot;
}

const array *tensor_value(lua_State *L, int index) {
    node **slot = tensor_slot(L, index);
    if (slot == NULL) tensor_check(L, index);
    return &(*slot)->value;
}

typedef struct {
    node **slot;
    dtype type;
    shape shape;
} allocation;

static void allocate_body(void *context) {
    allocation *a = context;
    *a->slot = node_retain(node_with_array(a->type, a->shape));
}

array *tensor_new(lua_State *L, dtype type, shape s) {
    node **slot = tensor_push_slot(L);
    core_run(L, allocate_body, &(allocation){slot, type, s});
    return &(*slot)->value;
}

static int tensor_collect(lua_State *L) {
    node **slot = luaL_checkudata(L, 1, TENSOR);
    node_release(*slot);
    *slot = NULL;
    return 0;
}

/* --- arguments ----------------------------------------------------------------------------------------------------------- */

static int64_t check_size(lua_State *L, int index) {
    int is_integer;
    lua_Integer size = lua_tointegerx(L, index, &is_integer);
    if (!is_integer) core_error(L, "a shape is made of integers, not %s", luaL_tolstring(L, index, NULL));
    return size;
}

shape check_shape(lua_State *L, int index) {
    shape s = {.rank = 0};
    bool table = lua_istable(L, index);
    lua_Integer count = table ? (lua_Integer)lua_rawlen(L, index) : lua_gettop(L) - index + 1;
    if (count > MAX_RANK) core_error(L, "a tensor has at most %d axes, not %I", MAX_RANK, (LUAI_UACINT)count);
    for (int axis = 0; axis < count; axis++) {
        if (table) lua_rawgeti(L, index, axis + 1);
        s.size[s.rank++] = check_size(L, table ? -1 : index + axis);
        if (table) lua_pop(L, 1);
    }
    return s;
}

dtype check_dtype(lua_State *L, int index) {
    dtype type;
    if (lua_type(L, index) != LUA_TSTRING)
        core_error(L, "a dtype is a name such as 'float32', not %s", luaL_typename(L, index));
    if (!dtype_parse(lua_tostring(L, index), &type))
        core_error(L, "there is no dtype '%s' (float32, float64, int64 and uint8 are)", lua_tostring(L, index));
    return type;
}

/* --- looking at tensors -------------------------------------------------------------------------------------------------- */

/* t:shape() -> {3, 4} */
static int tensor_shape(lua_State *L) {
    const node *n = tensor_check(L, 1);
    lua_createtable(L, n->shape.rank, 0);
    for (int axis = 0; axis < n->shape.rank; axis++) {
        lua_pushinteger(L, n->shape.size[axis]);
        lua_rawseti(L, -2, axis + 1);
    }
    return 1;
}

/* t:size(axis) -> 4 */
static int tensor_size(lua_State *L) {
    const node *n = tensor_check(L, 1);
    int is_integer;
    lua_Integer given = lua_tointegerx(L, 2, &is_integer), axis = given < 0 ? given + n->shape.rank + 1 : given;
    if (!is_integer) return core_error(L, "size: the axis must be an integer, not %s", luaL_typename(L, 2));
    if (axis < 1 || axis > n->shape.rank)
        return core_error(L, "size: axis %I is not one of the %d axes of shape %s", (LUAI_UACINT)given, n->shape.rank,
                          shape_format(n->shape).text);
    lua_pushinteger(L, n->shape.size[axis - 1]);
    return 1;
}

static int tensor_length(lua_State *L) {
    const node *n = tensor_check(L, 1);
    if (n->shape.rank == 0) return core_error(L, "a single number has no length");
    lua_pushinteger(L, n->shape.size[0]);
    return 1;
}

static int tensor_rank(lua_State *L) {
    lua_pushinteger(L, tensor_check(L, 1)->shape.rank);
    return 1;
}

static int64_t elements_of(const node *n) {
    int64_t count = 1;
    for (int axis = 0; axis < n->shape.rank; axis++) count *= n->shape.size[axis];
    return count;
}

static int tensor_numel(lua_State *L) {
    lua_pushinteger(L, elements_of(tensor_check(L, 1)));
    return 1;
}

static int tensor_dtype(lua_State *L) {
    lua_pushstring(L, dtype_name(tensor_check(L, 1)->type));
    return 1;
}

static void push_element(lua_State *L, const array *a, int64_t element) {
    if (dtype_is_float(a->type)) lua_pushnumber(L, array_number(a, element));
    else lua_pushinteger(L, array_integer(a, element));
}

static int tensor_item(lua_State *L) {
    const node *n = tensor_check(L, 1);
    if (elements_of(n) != 1)
        return core_error(L, "item: a tensor of shape %s is not a single number", shape_format(n->shape).text);
    push_element(L, tensor_value(L, 1), 0);
    return 1;
}

/* Pushes the elements from *element on that fill the axes from `axis` on, as nested lists. */
static void push_nested(lua_State *L, const array *a, int axis, int64_t *element) {
    if (axis == a->shape.rank) {
        push_element(L, a, (*element)++);
        return;
    }
    luaL_checkstack(L, 3, NULL);
    lua_createtable(L, a->shape.size[axis] < INT32_MAX ? (int)a->shape.size[axis] : 0, 0);
    for (int64_t i = 1; i <= a->shape.size[axis]; i++) {
        interrupt_poll(L);
        push_nested(L, a, axis + 1, element);
        lua_rawseti(L, -2, i);
    }
}

static int tensor_tolist(lua_State *L) {
    int64_t element = 0;
    push_nested(L, tensor_value(L, 1), 0, &element);
    return 1;
}

static int tensor_evaluate(lua_State *L) {
    tensor_value(L, 1);
    lua_settop(L, 1);
    return 1;
}

static int tensor_is(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, tensor_test(L, 1) != NULL);
    return 1;
}

/* evaluate(a, b, ...): computes all of them in one run. */
static int evaluate_all(lua_State *L) {
    int count = lua_gettop(L);
    node **nodes = lua_newuserdatauv(L, (size_t)count * sizeof *nodes + 1, 0);
    for (int i = 0; i < count; i++) nodes[i] = tensor_check(L, i + 1);
    core_run(L, evaluate_body, &(evaluation){nodes, count});
    lua_settop(L, count);
    return count;
}

void documented_register(lua_State *L, const documented_function *functions) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, DOCUMENTATION);
    for (const documented_function *f = functions; f->name != NULL; f++) {
        lua_pushcfunction(L, f->function);
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, f->name);
        lua_pushstring(L, f->doc);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

static const documented_function methods[] = {
    {"shape", tensor_shape, "t:shape() -> {3, 4}: the sizes of the axes."},
    {"size", tensor_size, "t:size(axis) -> 4: the size of an axis, counted from 1, or from the end with -1."},
    {"dim", tensor_rank, "t:dim() -> 2: the number of axes."},
    {"numel", tensor_numel, "t:numel() -> 12: the number of elements."},
    {"dtype", tensor_dtype, "t:dtype() -> \"float32\", \"float64\", \"int64\" or \"uint8\": what the elements are."},
    {"item", tensor_item, "t:item() -> the number in a tensor of one element."},
    {"tolist", tensor_tolist, "t:tolist() -> {{1, 2}, {3, 4}}: the elements as nested lists; of a single number, that number."},
    {"evaluate", tensor_evaluate, "t:evaluate() -> t: computes the elements now, instead of when somebody looks."},
    {NULL, NULL, NULL}};

static const documented_function functions[] = {
    {"is_tensor", tensor_is, "is_tensor(value) -> boolean"},
    {"evaluate", evaluate_all, "evaluate(a, b, ...) -> a, b, ...: computes tensors now, all of them in one pass."},
    {NULL, NULL, NULL}};

void tensor_register(lua_State *L) {
    static const luaL_Reg meta[] = {{"__gc", tensor_collect}, {"__len", tensor_length}, {NULL, NULL}};
    luaL_getsubtable(L, LUA_REGISTRYINDEX, DOCUMENTATION);
    lua_setfield(L, -2, "documentation");
    luaL_newmetatable(L, TENSOR);
    luaL_setfuncs(L, meta, 0);
    lua_newtable(L);
    documented_register(L, methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "methods");
    lua_setfield(L, -2, "methods");
    lua_setfield(L, -2, "Tensor");
    documented_register(L, functions);
}
