/* Lua functions from the operator table: each row's signature says what a call may look like. The grammar of a
 * signature is in core/operator.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor.h"

typedef enum {
    KIND_TENSOR, KIND_NUMBER, KIND_TENSORS, KIND_AXES, KIND_INTEGERS, KIND_SHAPE, KIND_INTEGER, KIND_AXIS,
    KIND_BOOLEAN, KIND_DTYPE
} kind;

static const char *const kind_names[] = {NULL, NULL, "tensors", "axes", "integers", "shape", "integer", "axis",
                                         "boolean", "dtype"};

typedef struct {
    char name[24];
    kind kind;
    bool optional;
    double preset;
} parameter;

typedef struct {
    const operator *op;
    int count;
    parameter parameters[MAX_ARGUMENTS];
} signature;

/* --- signatures -------------------------------------------------------------------------------------------------------- */

/* One "name", "name=0.5" or "name:kind?". */
static parameter parse_parameter(const char *text, size_t length) {
    parameter p = {.kind = KIND_TENSOR};
    size_t name = strcspn(text, ":=,");
    if (name > length) name = length;
    memcpy(p.name, text, name < sizeof p.name ? name : sizeof p.name - 1);
    if (name == length) return p;
    if (text[name] == '=') {
        p.kind = KIND_NUMBER;
        p.optional = true;
        p.preset = strtod(text + name + 1, NULL);
        return p;
    }
    p.optional = text[length - 1] == '?';
    size_t word = length - name - 1 - p.optional;
    for (kind k = KIND_TENSORS; k <= KIND_DTYPE; k++)
        if (strlen(kind_names[k]) == word && strncmp(text + name + 1, kind_names[k], word) == 0) p.kind = k;
    return p;
}

static void parse_signature(const operator *op, signature *out) {
    *out = (signature){.op = op};
    for (const char *at = op->signature; *at != '\0' && out->count < MAX_ARGUMENTS;) {
        size_t length = strcspn(at, ",");
        out->parameters[out->count++] = parse_parameter(at, length);
        at += length;
        at += strspn(at, ", ");
    }
}

/* --- arguments --------------------------------------------------------------------------------------------------------- */

enum { MAX_RESULTS = 4 };

typedef struct {
    const signature *signature;
    argument arguments[MAX_ARGUMENTS];
    bool is_number[MAX_ARGUMENTS]; /* a tensor argument that was given as a number, in .number */
    node **slots[MAX_RESULTS];
} call;

static void bad_argument(lua_State *L, const signature *s, int k, const char *expected, int index) {
    core_error(L, "%s: %s must be %s, not %s (%s(%s))", s->op->name, s->parameters[k].name, expected,
               tensor_test(L, index) != NULL ? "a tensor" : luaL_typename(L, index), s->op->name, s->op->signature);
}

static int64_t read_integer(lua_State *L, const signature *s, int k, int index) {
    int is_integer;
    lua_Integer value = lua_tointegerx(L, index, &is_integer);
    if (!is_integer || lua_type(L, index) != LUA_TNUMBER) bad_argument(L, s, k, "an integer", index);
    return value;
}

static void read_list(lua_State *L, const signature *s, int k, int index, argument *a, bool rest) {
    bool table = lua_istable(L, index);
    a->count = table ? (int)lua_rawlen(L, index) : rest ? lua_gettop(L) - index + 1 : 1;
    if (a->count > MAX_RANK) core_error(L, "%s: a tensor has at most %d axes, not %d", s->op->name, MAX_RANK, a->count);
    for (int i = 0; i < a->count; i++) {
        if (table) lua_rawgeti(L, index, i + 1);
        a->list[i] = read_integer(L, s, k, table ? -1 : index + i);
        if (table) lua_pop(L, 1);
    }
}

/* The nodes stay alive: the table of tensors is on the stack and the array is a userdata on it. */
static void read_tensors(lua_State *L, const signature *s, int k, int index, argument *a) {
    if (!lua_istable(L, index)) bad_argument(L, s, k, "a list of tensors", index);
    a->count = (int)lua_rawlen(L, index);
    a->tensors = lua_newuserdatauv(L, (size_t)a->count * sizeof *a->tensors + 1, 0);
    for (int i = 0; i < a->count; i++) {
        lua_rawgeti(L, index, i + 1);
        a->tensors[i] = tensor_test(L, -1);
        if (a->tensors[i] == NULL) core_error(L, "%s: element %d of the list is not a tensor", s->op->name, i + 1);
        lua_pop(L, 1);
    }
}

static void read_argument(lua_State *L, const signature *s, int k, int index, argument *a, bool *is_number) {
    const parameter *p = &s->parameters[k];
    switch (p->kind) {
        case KIND_TENSOR:
            a->tensor = tensor_test(L, index);
            if (a->tensor != NULL) break;
            *is_number = lua_type(L, index) == LUA_TNUMBER || lua_isboolean(L, index);
            if (!*is_number) bad_argument(L, s, k, "a tensor or a number", index);
            a->number = lua_isboolean(L, index) ? lua_toboolean(L, index) : lua_tonumber(L, index);
            break;
        case KIND_NUMBER:
            if (lua_type(L, index) != LUA_TNUMBER) bad_argument(L, s, k, "a number", index);
            a->number = lua_tonumber(L, index);
            break;
        case KIND_TENSORS: read_tensors(L, s, k, index, a); break;
        case KIND_AXES: read_list(L, s, k, index, a, false); break;
        case KIND_INTEGERS:
        case KIND_SHAPE: read_list(L, s, k, index, a, k == s->count - 1); break;
        case KIND_INTEGER:
        case KIND_AXIS: a->integer = read_integer(L, s, k, index); break;
        case KIND_BOOLEAN:
            if (!lua_isboolean(L, index)) bad_argument(L, s, k, "true or false", index);
            a->boolean = lua_toboolean(L, index);
            break;
        case KIND_DTYPE: a->type = check_dtype(L, index); break;
    }
}

/* reshape() and reshape({}) both mean the shape of a single number. */
static bool takes_rest(const signature *s, int k) {
    return k == s->count - 1 && (s->parameters[k].kind == KIND_SHAPE || s->parameters[k].kind == KIND_INTEGERS);
}

/* Does the last argument, a table, stand where optional parameters begin that are no lists? Then it holds them by name. */
static bool gives_options(lua_State *L, const signature *s, int given) {
    if (given < 1 || given > s->count || !lua_istable(L, given)) return false;
    for (int k = given - 1; k < s->count; k++) {
        kind of = s->parameters[k].kind;
        bool list = of == KIND_TENSORS || of == KIND_AXES || of == KIND_INTEGERS || of == KIND_SHAPE;
        if (list || !s->parameters[k].optional) return false;
    }
    return true;
}

/* Spreads the table of options out behind the arguments before it; absent ones are nil. */
static void spread_options(lua_State *L, const signature *s, int given) {
    lua_pushnil(L);
    while (lua_next(L, given) != 0) {
        bool known = false;
        for (int k = given - 1; k < s->count; k++)
            known = known || (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), s->parameters[k].name) == 0);
        if (!known) core_error(L, "%s: there is no option '%s' (%s(%s))", s->op->name, luaL_tolstring(L, -2, NULL), s->op->name,
                               s->op->signature);
        lua_pop(L, 1);
    }
    for (int k = given - 1; k < s->count; k++) lua_pushstring(L, s->parameters[k].name), lua_rawget(L, given);
    lua_remove(L, given);
}

static void read_arguments(lua_State *L, call *c) {
    const signature *s = c->signature;
    if (gives_options(L, s, lua_gettop(L))) spread_options(L, s, lua_gettop(L));
    int given = lua_gettop(L);
    bool rest = s->count > 0 && takes_rest(s, s->count - 1);
    if (given > s->count && !rest)
        core_error(L, "%s: %d arguments given, at most %d taken (%s(%s))", s->op->name, given, s->count, s->op->name,
                   s->op->signature);
    for (int k = 0; k < s->count; k++) {
        const parameter *p = &s->parameters[k];
        argument *a = &c->arguments[k];
        if (k < given && !lua_isnil(L, k + 1)) {
            a->given = true;
            read_argument(L, s, k, k + 1, a, &c->is_number[k]);
        } else if (p->kind == KIND_NUMBER) {
            a->given = true;
            a->number = p->preset;
        } else if (!p->optional && !takes_rest(s, k)) {
            core_error(L, "%s: %s is missing (%s(%s))", s->op->name, p->name, s->op->name, s->op->signature);
        }
    }
}

/* --- the call ------------------------------------------------------------------------------------------------------------ */

/* May a number that stands beside b better take b's dtype than a's? */
static bool decides_more(const node *b, const node *a) {
    if (a == NULL || a->weak != b->weak) return a == NULL || a->weak;
    return dtype_is_float(b->type) && !dtype_is_float(a->type);
}

/* A number takes the dtype of the tensors, floats before integers; one with a fraction makes integers float32. */
static node *number_node(double number, const node *like) {
    dtype type = like == NULL ? FLOAT32 : like->type;
    if (!dtype_is_float(type)) type = number == floor(number) && fabs(number) < 0x1p62 ? INT64 : FLOAT32;
    node *n = node_with_array(type, (shape){.rank = 0});
    n->weak = like != NULL && like->weak;
    if (type == FLOAT32) *(float *)array_data(&n->value) = (float)number;
    else if (type == FLOAT64) *(double *)array_data(&n->value) = number;
    else *(int64_t *)array_data(&n->value) = (int64_t)number;
    return n;
}

static void call_body(void *context) {
    call *c = context;
    const node *like = NULL;
    argument arguments[MAX_ARGUMENTS];
    memcpy(arguments, c->arguments, sizeof arguments);
    for (int k = 0; k < c->signature->count; k++)
        if (arguments[k].tensor != NULL && decides_more(arguments[k].tensor, like)) like = arguments[k].tensor;
    for (int k = 0; k < c->signature->count; k++)
        if (c->is_number[k]) arguments[k].tensor = number_node(arguments[k].number, like);
    const operator *op = c->signature->op;
    node *y = op->build(op, arguments), *results[MAX_RESULTS] = {y};
    y->exposed = true; /* several results are parts of one value, which is computed once */
    for (int k = 0; k < op->results; k++) results[k] = op->result(y, k);
    for (int k = 0; k == 0 || k < op->results; k++) *c->slots[k] = node_retain(results[k]);
}

static int call_operator(lua_State *L) {
    call c = {.signature = lua_touserdata(L, lua_upvalueindex(1))};
    int results = c.signature->op->results > 0 ? c.signature->op->results : 1;
    read_arguments(L, &c);
    for (int k = 0; k < results; k++) c.slots[k] = tensor_push_slot(L);
    core_run(L, call_body, &c);
    for (int k = 0; k < results; k++) tensor_filled(L, c.slots[k]);
    return results;
}

/* --- registration ---------------------------------------------------------------------------------------------------------- */

static void push_operator(lua_State *L, const operator *op) {
    signature *s = lua_newuserdatauv(L, sizeof *s, 0);
    parse_signature(op, s);
    lua_pushcclosure(L, call_operator, 1);
}

static void set_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text != NULL ? text : "");
    lua_setfield(L, -2, name);
}

/* The row as a Lua table, for help() and for the tests that walk the table. */
static void push_row(lua_State *L, const operator *op) {
    static const char *const kinds[] = {[ELEMENTWISE] = "elementwise", [VIEW] = "view", [KERNEL] = "kernel"};
    lua_createtable(L, 0, 8);
    set_text(L, "name", op->name);
    set_text(L, "signature", op->signature);
    set_text(L, "doc", op->doc);
    set_text(L, "samples", op->samples);
    set_text(L, "kind", kinds[op->kind]);
    lua_pushboolean(L, op->differentiable);
    lua_setfield(L, -2, "differentiable");
    lua_pushboolean(L, op->kind == ELEMENTWISE && op->kernels[INT64] != NULL);
    lua_setfield(L, -2, "integers");
}

/* Puts the function on top of the stack where users find it: "linalg.eigh" in the library's table linalg, any other in
 * the library and among the tensors' methods: exp(t) and t:exp(). */
static void place_function(lua_State *L, const char *name, int library, int methods) {
    const char *dot = strchr(name, '.');
    if (dot == NULL) {
        lua_pushvalue(L, -1);
        lua_setfield(L, methods, name);
        lua_setfield(L, library, name);
        return;
    }
    lua_pushlstring(L, name, (size_t)(dot - name));
    luaL_getsubtable(L, library, lua_tostring(L, -1));
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, dot + 1);
    lua_pop(L, 3);
}

/* Adds `operators` (name -> row, with the function as row.call where it can be called) and the functions themselves. */
void operators_register(lua_State *L) {
    int library = lua_gettop(L);
    lua_newtable(L);
    lua_getfield(L, library, "methods");
    for (const operator *op = operator_first(); op != NULL; op = op->next) {
        push_row(L, op);
        if (op->build != NULL) {
            push_operator(L, op);
            lua_pushvalue(L, -1);
            lua_setfield(L, -3, "call");
            place_function(L, op->name, library, library + 2);
        }
        lua_setfield(L, library + 1, op->name);
    }
    lua_pop(L, 1);
    lua_setfield(L, library, "operators");
}
