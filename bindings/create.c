/* Tensors from nothing: from nested lists, filled, ranges, random. Options and defaults live in lua/plumb/tensor.lua. */
#include <math.h>
#include <string.h>

#include "interrupt.h"
#include "tensor.h"

/* --- nested lists ------------------------------------------------------------------------------------------------------ */

/* The shape that the first elements show; `nested` is on top of the stack. */
static shape shape_of_nested(lua_State *L) {
    shape s = {.rank = 0};
    int top = lua_gettop(L);
    lua_pushvalue(L, -1);
    while (lua_istable(L, -1)) {
        if (s.rank == MAX_RANK) core_error(L, "tensor: lists nested deeper than %d", MAX_RANK);
        s.size[s.rank++] = (int64_t)lua_rawlen(L, -1);
        luaL_checkstack(L, 2, NULL);
        if (lua_rawgeti(L, -1, 1) == LUA_TNIL) break;
    }
    lua_settop(L, top);
    return s;
}

/* Fills *element on from the value on top of the stack, which must have the sizes from `axis` on. */
static void fill_nested(lua_State *L, array *a, int axis, int64_t *element) {
    if (axis < a->shape.rank) {
        if (!lua_istable(L, -1) || (int64_t)lua_rawlen(L, -1) != a->shape.size[axis])
            core_error(L, "tensor: the lists are not all of one size: axis %d has %I elements here and %s elsewhere", axis + 1,
                       (LUAI_UACINT)a->shape.size[axis],
                       lua_istable(L, -1) ? lua_pushfstring(L, "%I", (LUAI_UACINT)lua_rawlen(L, -1))
                                          : luaL_typename(L, -1));
        luaL_checkstack(L, 3, NULL);
        for (int64_t i = 1; i <= a->shape.size[axis]; i++) {
            interrupt_poll(L);
            lua_rawgeti(L, -1, i);
            fill_nested(L, a, axis + 1, element);
            lua_pop(L, 1);
        }
        return;
    }
    int is_number;
    double number = lua_tonumberx(L, -1, &is_number);
    if (lua_isboolean(L, -1)) number = lua_toboolean(L, -1), is_number = 1;
    if (!is_number || lua_type(L, -1) == LUA_TSTRING)
        core_error(L, "tensor: a number was expected, not %s", luaL_typename(L, -1));
    int64_t at = (*element)++;
    if (a->type == FLOAT32) ((float *)array_data(a))[at] = (float)number;
    else if (a->type == FLOAT64) ((double *)array_data(a))[at] = number;
    else if (!lua_isinteger(L, -1) && (number != floor(number) || fabs(number) >= 0x1p63))
        core_error(L, "tensor: %f is not an integer", number);
    else if (a->type == INT64) ((int64_t *)array_data(a))[at] = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : (int64_t)number;
    else if (number < 0 || number > 255) core_error(L, "tensor: %f is not in uint8's range 0 .. 255", number);
    else ((uint8_t *)array_data(a))[at] = (uint8_t)number;
}

/* from_nested(list or number, dtype) */
static int create_nested(lua_State *L) {
    dtype type = check_dtype(L, 2);
    int64_t element = 0;
    lua_settop(L, 1);
    shape s = shape_of_nested(L);
    array *a = tensor_new(L, type, s);
    lua_pushvalue(L, 1);
    fill_nested(L, a, 0, &element);
    lua_pop(L, 1);
    return 1;
}

/* --- sources -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    node **slot;
    dtype type;
    shape shape;
    double first, second;
    int64_t seed, stream;
    node *(*random)(node *key, shape s, dtype type);
} source;

static void full_body(void *context) {
    source *s = context;
    *s->slot = node_retain(op_full(s->shape, s->type, s->first));
}

static shape check_sizes(lua_State *L, int index) {
    shape s = check_shape(L, index);
    for (int axis = 0; axis < s.rank; axis++)
        if (s.size[axis] < 0) core_error(L, "%s is not a shape", shape_format(s).text);
    return s;
}

/* full({shape}, value, dtype) */
static int create_full(lua_State *L) {
    source s = {.shape = check_sizes(L, 1), .first = luaL_checknumber(L, 2), .type = check_dtype(L, 3)};
    s.slot = tensor_push_slot(L);
    core_run(L, full_body, &s);
    tensor_filled(L, s.slot);
    return 1;
}

static void arange_body(void *context) {
    source *s = context;
    *s->slot = node_retain(op_arange(s->type, s->shape.size[0], s->first, s->second));
}

/* arange(count, start, step, dtype) */
static int create_arange(lua_State *L) {
    source s = {.shape = {1, {luaL_checkinteger(L, 1)}}, .first = luaL_checknumber(L, 2),
                .second = luaL_checknumber(L, 3), .type = check_dtype(L, 4)};
    s.slot = tensor_push_slot(L);
    core_run(L, arange_body, &s);
    tensor_filled(L, s.slot);
    return 1;
}

static void random_body(void *context) {
    source *s = context;
    node *key = node_with_array(INT64, (shape){1, {2}});
    int64_t *words = array_data(&key->value);
    words[0] = s->seed, words[1] = s->stream;
    *s->slot = node_retain(s->random(key, s->shape, s->type));
}

/* random(kind, {shape}, dtype, seed, stream) */
static int create_random(lua_State *L) {
    static const char *const kinds[] = {"uniform", "normal", NULL};
    source s = {.random = luaL_checkoption(L, 1, NULL, kinds) == 0 ? op_random_uniform : op_random_normal,
                .shape = check_sizes(L, 2), .type = check_dtype(L, 3), .seed = luaL_checkinteger(L, 4),
                .stream = luaL_checkinteger(L, 5)};
    s.slot = tensor_push_slot(L);
    core_run(L, random_body, &s);
    tensor_filled(L, s.slot);
    return 1;
}

typedef struct {
    rng_key key;
    int64_t count, *out;
} shuffle;

static void permutation_body(void *context) {
    const shuffle *s = context;
    rng_permutation(s->key, 1, s->count, s->out);
}

/* permutation(n, seed, stream): 1 .. n in random order, int64 */
static int create_permutation(lua_State *L) {
    int64_t count = luaL_checkinteger(L, 1);
    rng_key key = {(uint64_t)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3)};
    if (count < 0) return core_error(L, "randperm: %I elements asked for", (LUAI_UACINT)count);
    array *a = tensor_new(L, INT64, (shape){1, {count}});
    core_run(L, permutation_body, &(shuffle){key, count, array_data(a)});
    return 1;
}

void create_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"from_nested", create_nested}, {"full", create_full},
                                         {"arange", create_arange}, {"random", create_random},
                                         {"permutation", create_permutation}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
