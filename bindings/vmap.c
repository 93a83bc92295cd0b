/* Mapping a Lua function over an axis of its arguments: it runs once, on tensors without values and without that axis,
 * and its graph is rebuilt for all values (core/vmap.h). lua/plumb/transform.lua has the name that users call. */
#include "transform.h"

enum { MAX_MAPPED_ARGUMENTS = 32, MAX_MAPPED_RESULTS = 64, AXES = 2, CHUNK = 3, FIRST_ARGUMENT = 4 };

typedef struct {
    int count;            /* mapped arguments */
    int64_t size;         /* of the axis that goes */
    int64_t chunk;        /* values at a time */
    node *arguments[MAX_MAPPED_ARGUMENTS];
    int axes[MAX_MAPPED_ARGUMENTS];             /* from 0 */
    int places[MAX_MAPPED_ARGUMENTS];           /* among all arguments, from 1 */
    node **placeholders[MAX_MAPPED_ARGUMENTS];  /* slots: what f gets */
    node **values[MAX_MAPPED_ARGUMENTS];        /* slots: what takes their place; f may assign to the caller's handles */
    int result_count;
    node *results[MAX_MAPPED_RESULTS];
    node **out[MAX_MAPPED_RESULTS];             /* slots */
} map;

/* --- arguments ------------------------------------------------------------------------------------------------------- */

/* The axis of argument number k (from 1) as in_axes says it: nil (all 1), one number for all, or a list. 0: not mapped. */
static lua_Integer asked_axis(lua_State *L, int k) {
    lua_Integer axis = 1;
    if (lua_istable(L, AXES)) {
        lua_rawgeti(L, AXES, k);
        if (!lua_isinteger(L, -1))
            core_error(L, "vmap: in_axes[%d] must be an axis (from 1), or 0 for an argument that is not mapped, not %s", k,
                       luaL_tolstring(L, -1, NULL));
        axis = lua_tointeger(L, -1);
        lua_pop(L, 1);
    } else if (!lua_isnil(L, AXES)) {
        if (!lua_isinteger(L, AXES))
            core_error(L, "vmap: in_axes must be an axis or a list of axes, not %s", luaL_typename(L, AXES));
        axis = lua_tointeger(L, AXES);
    }
    return axis;
}

/* Numbers are not mapped, nor what stands for one in a function that is compiled. */
static bool is_number(const node *n) { return n == NULL || (n->weak && n->shape.rank == 0); }

static void add_argument(lua_State *L, map *m, int k, node *n, lua_Integer asked) {
    lua_Integer axis = asked < 0 ? asked + n->shape.rank : asked - 1;
    if (axis < 0 || axis >= n->shape.rank)
        core_error(L, "vmap: argument %d has shape %s and no axis %I (0 in in_axes leaves it as it is)", k,
                   shape_format(n->shape).text, (LUAI_UACINT)asked);
    if (m->count == MAX_MAPPED_ARGUMENTS) core_error(L, "vmap: at most %d arguments are mapped", MAX_MAPPED_ARGUMENTS);
    int64_t size = n->shape.size[axis];
    if (m->count > 0 && size != m->size)
        core_error(L, "vmap: arguments %d and %d are mapped over axes of different sizes, %I and %I", m->places[0], k,
                   (LUAI_UACINT)m->size, (LUAI_UACINT)size);
    m->size = size;
    m->axes[m->count] = (int)axis;
    m->places[m->count] = k;
    m->arguments[m->count++] = n;
}

static void read_arguments(lua_State *L, map *m) {
    int given = lua_gettop(L) - FIRST_ARGUMENT + 1;
    if (lua_istable(L, AXES) && (int)lua_rawlen(L, AXES) != given)
        core_error(L, "vmap: in_axes has %d entries for %d arguments", (int)lua_rawlen(L, AXES), given);
    for (int k = 1; k <= given; k++) {
        node *n = tensor_test(L, FIRST_ARGUMENT - 1 + k);
        lua_Integer axis = asked_axis(L, k);
        if (axis != 0 && !is_number(n)) add_argument(L, m, k, n, axis);
    }
    if (m->count == 0) core_error(L, "vmap: there is no tensor to map over among the %d arguments", given);
}

/* --- the mapping ----------------------------------------------------------------------------------------------------- */

static void evaluate_arguments(void *context) {
    map *m = context;
    evaluate(m->arguments, m->count);
}

static node *axis_first(node *x, int axis) {
    int axes[MAX_RANK] = {axis};
    for (int i = 1; i < x->shape.rank; i++) axes[i] = i <= axis ? i - 1 : i;
    return op_permute(x, axes);
}

static void prepare_body(void *context) {
    map *m = context;
    for (int k = 0; k < m->count; k++) {
        shape s = shape_drop_axis(m->arguments[k]->shape, m->axes[k]);
        int64_t strides[MAX_RANK];
        shape_strides(s, strides);
        node *placeholder = op_argument(m->arguments[k]->type, s, strides), *value = axis_first(m->arguments[k], m->axes[k]);
        if (*m->placeholders[k] != NULL) continue; /* made before memory ran out: core_run tries twice */
        *m->placeholders[k] = node_retain(placeholder);
        *m->values[k] = node_retain(value);
    }
}

static node *piece(node *x, int64_t begin, int64_t end) {
    int64_t start[MAX_RANK] = {begin}, step[MAX_RANK];
    shape s = x->shape;
    for (int axis = 0; axis < s.rank; axis++) step[axis] = 1;
    s.size[0] = end - begin;
    return op_slice(x, start, step, s);
}

static void rebuild_body(void *context) {
    map *m = context;
    int64_t chunks = m->size > m->chunk ? (m->size + m->chunk - 1) / m->chunk : 1;
    node *placeholders[MAX_MAPPED_ARGUMENTS], *values[MAX_MAPPED_ARGUMENTS], *mapped[MAX_MAPPED_RESULTS];
    node **parts = memory_scoped((size_t)(chunks * m->result_count) * sizeof *parts, "a function that is mapped");
    for (int64_t c = 0; c < chunks; c++) {
        int64_t begin = pool_begin(m->size, chunks, c), end = pool_begin(m->size, chunks, c + 1);
        for (int k = 0; k < m->count; k++) {
            placeholders[k] = *m->placeholders[k];
            values[k] = piece(*m->values[k], begin, end);
        }
        vmap_rebuild(end - begin, m->count, placeholders, values, m->result_count, m->results, mapped);
        for (int r = 0; r < m->result_count; r++) parts[r * chunks + c] = mapped[r];
    }
    for (int r = 0; r < m->result_count; r++) mapped[r] = op_concat(parts + r * chunks, (int)chunks, 0);
    for (int r = 0; r < m->result_count; r++)
        if (*m->out[r] == NULL) *m->out[r] = node_retain(mapped[r]);
}

/* The table `anchor` keeps the slots; f gets handles of its own, which it may assign to. */
static void call_function(lua_State *L, map *m, int given, int anchor) {
    lua_pushvalue(L, 1);
    for (int k = 1, next = 0; k <= given; k++)
        if (next < m->count && m->places[next] == k) *tensor_push_slot(L) = node_retain(*m->placeholders[next++]);
        else lua_pushvalue(L, FIRST_ARGUMENT - 1 + k);
    lua_call(L, given, LUA_MULTRET);
    m->result_count = lua_gettop(L) - anchor - 1; /* above the table stands the cleanup */
    if (m->result_count == 0) core_error(L, "vmap: the function must return a tensor, not nothing");
    if (m->result_count > MAX_MAPPED_RESULTS)
        core_error(L, "vmap: at most %d results, not %d", MAX_MAPPED_RESULTS, m->result_count);
    for (int r = 0; r < m->result_count; r++) {
        m->results[r] = tensor_test(L, anchor + 2 + r);
        if (m->results[r] == NULL)
            core_error(L, "vmap: result %d is %s; a function that is mapped returns tensors", r + 1,
                       luaL_typename(L, anchor + 2 + r));
    }
}

/* vmap(f, in_axes or nil, chunk_size or nil, x1, x2, ...) -> f's results for all values, along a new first axis */
static int map_function(lua_State *L) {
    map m = {.chunk = luaL_optinteger(L, CHUNK, INT64_MAX)};
    int given = lua_gettop(L) - FIRST_ARGUMENT + 1;
    luaL_checkstack(L, given + MAX_MAPPED_RESULTS + 10, NULL);
    read_arguments(L, &m);
    if (trace_level() == 0 && !deferring()) core_run(L, evaluate_arguments, &m); /* a loop's steps do not pile up */
    lua_createtable(L, 2 * m.count, 0);
    int anchor = lua_gettop(L);
    for (int k = 0; k < m.count; k++) {
        m.placeholders[k] = tensor_push_slot(L);
        lua_rawseti(L, anchor, 2 * k + 1);
        m.values[k] = tensor_push_slot(L);
        lua_rawseti(L, anchor, 2 * k + 2);
    }
    core_run(L, prepare_body, &m);
    cleanup *undo = push_cleanup(L);
    undo->under_way = &mapping;
    mapping++;
    call_function(L, &m, given, anchor);
    for (int r = 0; r < m.result_count; r++) m.out[r] = tensor_push_slot(L);
    core_run(L, rebuild_body, &m);
    for (int r = 0; r < m.result_count; r++) (*m.out[r])->exposed = true;
    return m.result_count;
}

static int vmap(lua_State *L) { return call_closing(L, map_function); }

static int is_mapping(lua_State *L) {
    lua_pushboolean(L, mapping > 0);
    return 1;
}

void vmap_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"vmap", vmap}, {"is_mapping", is_mapping}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
