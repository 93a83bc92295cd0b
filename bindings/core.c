/* The module plumb.core: everything that lua/plumb builds on. */
#include "files.h"
#include "kernel_lapack.h"
#include "process.h"
#include "tensor.h"
#include "transform.h"

static int threads(lua_State *L) {
    if (!lua_isnoneornil(L, 1)) {
        lua_Integer count = luaL_checkinteger(L, 1);
        if (count < 1 || count > 256) return core_error(L, "threads: from 1 to 256, not %I", (LUAI_UACINT)count);
        pool_set_threads((int)count);
    }
    lua_pushinteger(L, pool_threads());
    return 1;
}

static void set_figure(lua_State *L, const char *name, size_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

/* memory() -> {live=, peak=, budget=, workspace=, plans_made=, plans_reused=}, in bytes */
static int memory(lua_State *L) {
    memory_figures m = memory_status();
    plan_figures p = plan_status();
    lua_createtable(L, 0, 6);
    set_figure(L, "live", m.live);
    set_figure(L, "peak", m.peak);
    set_figure(L, "budget", m.budget);
    set_figure(L, "workspace", p.scratch_bytes);
    set_figure(L, "plans_made", (size_t)p.plans_made);
    set_figure(L, "plans_reused", (size_t)p.plans_reused);
    return 1;
}

static int memory_budget(lua_State *L) {
    lua_Integer bytes = luaL_checkinteger(L, 1);
    if (bytes < 1) return core_error(L, "memory_budget: a positive number of bytes, not %I", (LUAI_UACINT)bytes);
    memory_set_budget((size_t)bytes);
    return 0;
}

static int memory_reset(lua_State *L) {
    (void)L;
    memory_reset_peak();
    return 0;
}

/* memory_fail(n, times): for tests, `times` requests for memory fail in a row, the nth from now on being the first;
 * memory_fail() switches this off. Returns how many failures of the last call are still to come. */
static int memory_fail(lua_State *L) {
    lua_Integer nth = luaL_optinteger(L, 1, 1), times = luaL_optinteger(L, 2, lua_isnone(L, 1) ? 0 : 1);
    lua_pushinteger(L, (lua_Integer)memory_fail_at((uint64_t)nth, (uint64_t)times));
    return 1;
}

static int cpu_kernel(lua_State *L) {
    lua_pushstring(L, kernel_matmul_name());
    return 1;
}

/* Gives cached plans and the workspace back. */
static int clear_cache(lua_State *L) {
    (void)L;
    plan_clear_cache();
    return 0;
}

static const documented_function documented[] = {
    {"threads", threads,
     "threads(count) -> the number of threads: sets it, from 1 to 256, when it is given. Results are the same bits for any "
     "number; the default is one per processor, or PLUMB_THREADS."},
    {"memory", memory,
     "memory() -> {live =, peak =, budget =, workspace =, plans_made =, plans_reused =}: the bytes that tensors hold, the most "
     "they held at once, and the most they may; the bytes of the workspace; how often a plan was made or found again."},
    {"memory_budget", memory_budget,
     "memory_budget(bytes): the most that tensors may hold; beyond it is an error. The default is three quarters of the "
     "machine's memory."},
    {"cpu_kernel", cpu_kernel, "cpu_kernel() -> the processor's units that the kernels use, such as \"AVX-512\" or \"AVX-512, AMX\"."},
    {NULL, NULL, NULL}};

int luaopen_plumb_core(lua_State *L);

int luaopen_plumb_core(lua_State *L) {
    static const luaL_Reg functions[] = {{"memory_reset_peak", memory_reset}, {"memory_fail", memory_fail},
                                         {"clear_cache", clear_cache}, {NULL, NULL}};
    kernel_lapack_start();
    luaL_newlib(L, functions);
    documented_register(L, documented);
    tensor_register(L);
    create_register(L);
    operators_register(L);
    index_register(L);
    gradient_register(L);
    compile_register(L);
    variable_register(L);
    loader_register(L);
    vmap_register(L);
    files_register(L);
    process_register(L);
    return 1;
}
