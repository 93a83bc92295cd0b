/* t[i], t[{...}] and t[i] = v.
 *
 *   t[i]            element or slice i of the first axis (from 1; -1 is the last)
 *   t[index]        with an int64 tensor: the named slices of the first axis
 *   t[{i, j}]       one entry per axis: an integer picks, {first, last} or {first, last, step} takes a range, {} all
 *
 * Assignment gives the handle t a new value; whoever else holds the old one keeps it. */
#include "tensor.h"

/* Where each axis of the result starts, in which steps, how far, and which axes are dropped. */
typedef struct {
    node **slot;
    node *tensor, *index, *value;
    double number;
    int64_t start[MAX_RANK], step[MAX_RANK];
    shape taken;     /* the region's shape with all axes */
    bool dropped[MAX_RANK];
} region;

static void whole_region(region *r, node *t) {
    *r = (region){.tensor = t, .taken = t->shape};
    for (int axis = 0; axis < t->shape.rank; axis++) r->step[axis] = 1;
}

static int64_t place_in_axis(lua_State *L, const node *t, int axis, int64_t i) {
    int64_t size = t->shape.size[axis], place = i < 0 ? i + size : i - 1;
    if (i == 0 || place < 0 || place >= size)
        core_error(L, "index %I is not in 1 .. %I along axis %d of shape %s", (LUAI_UACINT)i, (LUAI_UACINT)size,
                   axis + 1, shape_format(t->shape).text);
    return place;
}

static void pick(lua_State *L, region *r, int axis, int64_t i) {
    r->start[axis] = place_in_axis(L, r->tensor, axis, i);
    r->taken.size[axis] = 1;
    r->dropped[axis] = true;
}

/* The table on top of the stack: {}, {first}, {first, last} or {first, last, step}. */
static void take_range(lua_State *L, region *r, int axis) {
    int64_t size = r->tensor->shape.size[axis], bounds[3] = {1, size, 1};
    int count = (int)lua_rawlen(L, -1);
    if (count == 0) return;
    for (int k = 0; k < 3 && k < count; k++) {
        int is_integer;
        lua_rawgeti(L, -1, k + 1);
        bounds[k] = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer) core_error(L, "a range is {first, last, step} in integers, not %s", luaL_typename(L, -1));
        lua_pop(L, 1);
    }
    r->start[axis] = place_in_axis(L, r->tensor, axis, bounds[0]);
    int64_t last = place_in_axis(L, r->tensor, axis, bounds[1]);
    if (bounds[2] < 1) core_error(L, "the step of a range must be at least 1, not %I", (LUAI_UACINT)bounds[2]);
    r->step[axis] = bounds[2];
    r->taken.size[axis] = last < r->start[axis] ? 0 : (last - r->start[axis]) / bounds[2] + 1;
}

/* Reads the key at stack index 2. */
static void read_region(lua_State *L, region *r) {
    node *t = tensor_check(L, 1);
    whole_region(r, t);
    if (t->shape.rank == 0) core_error(L, "a single number cannot be indexed");
    if (lua_isinteger(L, 2) || lua_type(L, 2) == LUA_TNUMBER) {
        int is_integer;
        lua_Integer i = lua_tointegerx(L, 2, &is_integer);
        if (!is_integer) core_error(L, "an index must be an integer, not %f", lua_tonumber(L, 2));
        pick(L, r, 0, i);
        return;
    }
    int count = (int)lua_rawlen(L, 2);
    if (count > t->shape.rank)
        core_error(L, "%d indices for the %d axes of shape %s", count, t->shape.rank, shape_format(t->shape).text);
    for (int axis = 0; axis < count; axis++) {
        lua_rawgeti(L, 2, axis + 1);
        if (lua_istable(L, -1)) take_range(L, r, axis);
        else if (lua_isinteger(L, -1)) pick(L, r, axis, lua_tointeger(L, -1));
        else core_error(L, "an index must be an integer or a range, not %s", luaL_typename(L, -1));
        lua_pop(L, 1);
    }
}

static shape remaining_shape(const region *r) {
    shape s = {.rank = 0};
    for (int axis = 0; axis < r->taken.rank; axis++)
        if (!r->dropped[axis]) s.size[s.rank++] = r->taken.size[axis];
    return s;
}

static void get_body(void *context) {
    region *r = context;
    node *result = r->index != NULL ? op_index_select(r->tensor, 0, r->index)
                                    : op_reshape(op_slice(r->tensor, r->start, r->step, r->taken), remaining_shape(r));
    *r->slot = node_retain(result);
}

static int index_get(lua_State *L) {
    region r;
    if (lua_type(L, 2) == LUA_TSTRING) { /* a method */
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
            return core_error(L, "a tensor has no method '%s'", lua_tostring(L, 2));
        return 1;
    }
    node *t = tensor_check(L, 1);
    if (tensor_test(L, 2) != NULL) {
        whole_region(&r, t);
        r.index = tensor_test(L, 2);
        if (t->shape.rank == 0) return core_error(L, "a single number cannot be indexed");
    } else {
        if (!lua_istable(L, 2) && lua_type(L, 2) != LUA_TNUMBER)
            return core_error(L, "a tensor cannot be indexed with %s", luaL_typename(L, 2));
        /* one past the end is nil, which is how ipairs finds it */
        if (t->shape.rank > 0 && lua_isinteger(L, 2) && lua_tointeger(L, 2) == t->shape.size[0] + 1) return 0;
        read_region(L, &r);
    }
    r.slot = tensor_push_slot(L);
    core_run(L, get_body, &r);
    tensor_filled(L, r.slot);
    return 1;
}

/* where(inside the region, the value put there, t) */
static void set_body(void *context) {
    region *r = context;
    node *t = r->tensor, *value = r->value;
    if (value == NULL) value = op_full((shape){.rank = 0}, t->type, r->number);
    value = op_reshape(op_expand(op_cast(value, t->type), remaining_shape(r)), r->taken);
    node *inside = op_pad(op_full(r->taken, t->type, 1), r->start, r->step, t->shape);
    node *result = op_where(inside, op_pad(value, r->start, r->step, t->shape), t);
    *r->slot = node_retain(op_cast(result, t->type)); /* uint8 is computed as int64 */
}

static int index_set(lua_State *L) {
    region r;
    node **handle = luaL_checkudata(L, 1, TENSOR);
    if (!lua_istable(L, 2) && lua_type(L, 2) != LUA_TNUMBER)
        return core_error(L, "a tensor has no field %s to assign to", luaL_tolstring(L, 2, NULL));
    read_region(L, &r);
    r.value = tensor_test(L, 3);
    if (r.value == NULL && lua_type(L, 3) != LUA_TNUMBER)
        return core_error(L, "a tensor's elements are numbers, not %s", luaL_typename(L, 3));
    r.number = lua_tonumber(L, 3);
    r.slot = tensor_push_slot(L);
    core_run(L, set_body, &r);
    tensor_filled(L, r.slot);
    node *old = *handle;
    *handle = *r.slot;
    *r.slot = old;
    return 0;
}

void index_register(lua_State *L) {
    lua_getfield(L, -1, "Tensor");
    lua_getfield(L, -2, "methods");
    lua_pushcclosure(L, index_get, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, index_set);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);
}
