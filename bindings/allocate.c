#include "allocate.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lauxlib.h>

#include "interrupt.h"
#include "library.h"
#include "shelves.h"

/* Blocks from LARGE on are cleared early, a PIECE between two looks at Ctrl-C. */
enum { LARGE = 64 << 20, PIECE = 64 << 20 /* bytes */ };

static struct {
    size_t bytes, limit; /* beyond the limit memory is collected in steps */
    bool in_steps;
    int young;           /* collections that tensors have asked for since then */
} heap = {.limit = (size_t)256 << 20 /* marking so much may take a tenth of a second */};

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif

/* Has the system clear the block's pages now, in huge pages where it has them (a quarter of the time); false when Ctrl-C
 * was pressed meanwhile. A system that can't do so clears them later. */
static bool clear_pages(char *block, size_t size) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)block + size;
    uintptr_t at = (uintptr_t)block / page * page;
    madvise((void *)at, end - at, MADV_HUGEPAGE);
    for (; at < end; at += PIECE) {
        if (interrupt_due()) return false;
        if (madvise((void *)at, end - at < PIECE ? end - at : PIECE, MADV_POPULATE_WRITE) != 0) break;
    }
    return true;
}

/* A hook, for which the allocator asks as a signal would: there the collector can be spoken to. */
static void collect_in_steps(lua_State *L, lua_Debug *event) {
    (void)event;
    lua_sethook(L, NULL, 0, 0);
    interrupt_arm(L);
    if (lua_gc(L, LUA_GCINC, 0, 0, 0) >= 0) heap.in_steps = true, heap.young = 0; /* not within a finalizer */
}

static void ask_for_steps(void) {
    lua_State *L = interrupt_running();
    if (L == NULL || lua_gethook(L) != NULL) return;
    lua_sethook(L, collect_in_steps, LUA_MASKCOUNT, 1);
    interrupt_arm(L); /* the signal may have come between the two */
}

/* In steps what was just made lives to the end of a whole cycle, which takes long beside much else. Where tensors come and go
 * generations are better, until there is twice as much. */
void allocate_collect_young(lua_State *L, size_t bytes) {
    enum { FEW = 8 };
    lua_gc(L, LUA_GCSTEP, heap.in_steps ? (int)(bytes >> 10) : 0);
    if (!heap.in_steps || ++heap.young < FEW || lua_gc(L, LUA_GCGEN, 0, 0) < 0) return;
    heap.in_steps = false;
    heap.limit = 2 * heap.bytes;
}

enum { UNIT = 16, UNITS = 8 };
static shelves kept = {.unit = UNIT, .units = UNITS, .most = 1 << 20};

static void *take(size_t size) {
    const size_t units = (size + UNIT - 1) / UNIT;
    if (units > UNITS) return malloc(size);
    void *block = shelves_take(&kept, units);
    return block != NULL ? block : malloc(units * UNIT);
}

/* Blocks that are older than this allocator, or have been made smaller, may have less room than the units that they take. */
static void give_back(void *block, size_t size) {
    const bool is_small = block != NULL && size <= UNITS * UNIT;
    if (!is_small || !shelves_keep(&kept, block, malloc_usable_size(block) / UNIT)) free(block);
}

/* A lua_Alloc. That there is no memory left is what Lua understands; interrupt_caused tells the user why. Blocks that grow
 * are left to the system: their owners look at Ctrl-C themselves, and may never use all of them. */
static void *allocate(void *unused, void *block, size_t old_size, size_t size) {
    (void)unused;
    if (block == NULL) old_size = 0; /* it tells the kind of value */
    if (size == 0) {
        give_back(block, old_size);
        heap.bytes -= old_size;
        return NULL;
    }
    void *made = block == NULL ? take(size) : realloc(block, size);
    if (made != NULL && block == NULL && size >= LARGE && !clear_pages(made, size)) {
        free(made);
        return NULL;
    }
    if (made == NULL) return NULL;
    heap.bytes += size - old_size;
    if (heap.bytes > heap.limit && !heap.in_steps) ask_for_steps();
    return made;
}

static lua_CFunction standard_collectgarbage;

/* To the end of the cycle that is under way, and through a whole one. */
static int collect(lua_State *L) {
    for (int cycle = 0; cycle < 2; cycle++)
        for (int ended = 0; ended == 0; ended = lua_gc(L, LUA_GCSTEP, 0)) interrupt_poll(L);
    lua_pushinteger(L, 0);
    return 1;
}

/* Does the collector work in steps? It tells by what it was when it is told to; within a finalizer it does not listen. */
static bool works_in_steps(lua_State *L) {
    const int before = lua_gc(L, LUA_GCINC, 0, 0, 0);
    if (before == LUA_GCGEN) lua_gc(L, LUA_GCGEN, 0, 0);
    return before == LUA_GCINC;
}

/* collectgarbage(option, ...): a full collection of much memory looks at Ctrl-C. Who chooses a mode has chosen it for good. */
static int collectgarbage(lua_State *L) {
    const char *option = luaL_optstring(L, 1, "collect");
    if (strcmp(option, "collect") == 0 && heap.in_steps && works_in_steps(L)) return collect(L);
    if (strcmp(option, "generational") == 0 || strcmp(option, "incremental") == 0) heap.in_steps = false, heap.limit = SIZE_MAX;
    return standard_collectgarbage(L);
}

void allocate_open(lua_State *L) {
    /* Freed small blocks would wait for each other's neighbours to be joined, all at once: a third of a second for ten million. */
    mallopt(M_MXFAST, 0);
    heap.bytes = (size_t)lua_gc(L, LUA_GCCOUNT) << 10;
    lua_setallocf(L, allocate, NULL);
    lua_pushglobaltable(L);
    standard_collectgarbage = library_replace(L, "collectgarbage", collectgarbage);
    lua_pop(L, 1);
}
