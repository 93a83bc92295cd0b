/* Passes over data sets (core/loader.h) as Lua values. lua/plumb/data/loader.lua checks what users give, and documents it. */
#include "kernels.h"
#include "tensor.h"

#define BATCHES "plumb.Batches"

/* --- layouts ---------------------------------------------------------------------------------------------------------- */

typedef struct {
    node **slot;
    const array *value;
} copying;

static void contiguous_body(void *context) {
    copying *c = context;
    node *copy = node_with_array(c->value->type, c->value->shape);
    strided from = {.data = array_data(c->value)};
    for (int axis = 0; axis < c->value->shape.rank; axis++) from.strides[axis] = c->value->strides[axis];
    kernel_copy(c->value->type, c->value->shape, array_data(&copy->value), from);
    *c->slot = node_retain(copy);
}

/* contiguous(t) -> t, evaluated, or where its numbers do not lie row by row a copy of which they do */
static int contiguous(lua_State *L) {
    const array *value = tensor_value(L, 1);
    lua_settop(L, 1);
    if (array_is_contiguous(value)) return 1;
    copying c = {tensor_push_slot(L), value};
    core_run(L, contiguous_body, &c);
    tensor_filled(L, c.slot);
    return 1;
}

/* --- passes ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    loader_settings settings;
    loader **slot;
} starting;

static void start_body(void *context) {
    starting *s = context;
    *s->slot = loader_retain(loader_new(&s->settings));
}

static int64_t integer_field(lua_State *L, int table, const char *name) {
    int is_integer;
    lua_getfield(L, table, name);
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) core_error(L, "batches: %s must be an integer, not %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
    return value;
}

static bool boolean_field(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* The array of a tensor in the table, which keeps it alive. */
static array array_field(lua_State *L, int table, const char *name, bool needed) {
    array value = {.storage = NULL};
    if (lua_getfield(L, table, name) != LUA_TNIL || needed) value = *tensor_value(L, lua_gettop(L));
    lua_pop(L, 1);
    return value;
}

/* batches({x =, y =, mean =, std =, dtype =, batch =, drop_last =, shuffle =, shift =, flip =, seed =}, epoch) -> a pass, to be
 * called for (x, y), and nil at the end; it may be closed sooner. */
static int batches_new(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    starting s = {.settings = {.epoch = (uint64_t)luaL_checkinteger(L, 2)}};
    s.settings.x = array_field(L, 1, "x", true);
    s.settings.y = array_field(L, 1, "y", true);
    s.settings.mean = array_field(L, 1, "mean", false);
    s.settings.std = array_field(L, 1, "std", false);
    s.settings.batch = integer_field(L, 1, "batch");
    s.settings.shift = integer_field(L, 1, "shift");
    s.settings.seed = (uint64_t)integer_field(L, 1, "seed");
    s.settings.drop_last = boolean_field(L, 1, "drop_last");
    s.settings.shuffle = boolean_field(L, 1, "shuffle");
    s.settings.flip = boolean_field(L, 1, "flip");
    lua_getfield(L, 1, "dtype");
    s.settings.type = check_dtype(L, lua_gettop(L));
    s.slot = lua_newuserdatauv(L, sizeof *s.slot, 0);
    *s.slot = NULL;
    luaL_setmetatable(L, BATCHES);
    core_run(L, start_body, &s);
    return 1;
}

typedef struct {
    loader *loader;
    node **x, **y; /* handles: new ones, or those of the batch before */
    bool more;
} advancing;

static void advance_body(void *context) {
    advancing *a = context;
    loader_batch done = {*a->x, *a->y}, next;
    a->more = loader_next(a->loader, done, &next);
    if (!a->more) return;
    *a->x = node_retain(next.x);
    *a->y = node_retain(next.y);
    node_release(done.x);
    node_release(done.y);
}

/* pass() -> x, y: the next batch. pass(x, y): the same, where x and y are the handles of the batch before; they take the new one,
 * so that its memory can be used again at once. */
static int batches_next(lua_State *L) {
    loader **slot = luaL_checkudata(L, 1, BATCHES);
    if (*slot == NULL) return 0;
    bool again = tensor_test(L, 2) != NULL && tensor_test(L, 3) != NULL && !lua_rawequal(L, 2, 3);
    if (!again) {
        lua_settop(L, 1);
        tensor_push_slot(L);
        tensor_push_slot(L);
    }
    advancing a = {*slot, lua_touserdata(L, 2), lua_touserdata(L, 3), false};
    core_run(L, advance_body, &a);
    if (!a.more) return 0;
    lua_settop(L, 3);
    tensor_filled(L, a.x);
    tensor_filled(L, a.y);
    return 2;
}

static int batches_close(lua_State *L) {
    loader **slot = luaL_checkudata(L, 1, BATCHES);
    loader_release(*slot);
    *slot = NULL;
    return 0;
}

void loader_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"contiguous", contiguous}, {"batches", batches_new}, {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__call", batches_next}, {"__close", batches_close}, {"__gc", batches_close}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, BATCHES);
    luaL_setfuncs(L, meta, 0);
    lua_pop(L, 1);
}
