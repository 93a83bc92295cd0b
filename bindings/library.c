#include "library.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "interrupt.h"

/* What is known to be smaller than this is left to the standard functions, which take some milliseconds for it at most. */
enum { LONG_LIST = 100000 /* elements */, LONG_TEXT = 1 << 20 /* bytes */, PIECE = 1 << 20 /* bytes between two looks */ };

static lua_CFunction standard_load, standard_rep, standard_concat, standard_sort, standard_len, standard_offset;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- load ---- */

/* A reader of the text in upvalue 1, from the position in upvalue 2 on. */
static int next_piece(lua_State *L) {
    size_t length;
    const char *text = lua_tolstring(L, lua_upvalueindex(1), &length);
    const size_t position = (size_t)lua_tointeger(L, lua_upvalueindex(2)), count = smaller(length - position, PIECE);
    interrupt_poll(L);
    lua_pushinteger(L, (lua_Integer)(position + count));
    lua_replace(L, lua_upvalueindex(2));
    lua_pushlstring(L, text + position, count);
    return 1;
}

/* load(chunk, name, mode, env): a long text is read in pieces. */
static int load(lua_State *L) {
    if (lua_type(L, 1) == LUA_TSTRING && lua_rawlen(L, 1) > LONG_TEXT) {
        if (lua_gettop(L) < 2) lua_settop(L, 2);
        if (lua_isnil(L, 2)) {
            lua_pushvalue(L, 1); /* the name of a text is the text itself */
            lua_replace(L, 2);
        }
        lua_pushvalue(L, 1);
        lua_pushinteger(L, 0);
        lua_pushcclosure(L, next_piece, 2);
        lua_replace(L, 1);
    }
    const int results = standard_load(L);
    if (results == 2 && lua_isnil(L, -2)) interrupt_pass_on(L); /* out of the reader, be it the user's own */
    return results;
}

/* ---- string.rep ---- */

/* text, separator, text, ... to a length of `total`: what stands there already is copied, up to a piece at a time. */
static void fill(lua_State *L, char *to, size_t total, const char *text, size_t length, const char *separator, size_t between) {
    const size_t period = length + between;
    size_t filled = smaller(period, total);
    memcpy(to, text, length);
    memcpy(to + length, separator, filled - length);
    for (size_t step; filled < total; filled += step) {
        const size_t whole_periods = filled < PIECE ? filled : period < PIECE ? PIECE / period * period : period;
        step = smaller(whole_periods, total - filled);
        memcpy(to + filled, to, step);
        interrupt_poll(L);
    }
}

/* string.rep(text, n, separator) */
static int rep(lua_State *L) {
    size_t length, between;
    const char *text = luaL_checklstring(L, 1, &length);
    const lua_Integer n = luaL_checkinteger(L, 2);
    const char *separator = luaL_optlstring(L, 3, "", &between);
    const size_t period = length + between;
    if (n < 2 || period < 1 || period > INT_MAX / (size_t)n || period * (size_t)n < LONG_TEXT) return standard_rep(L);
    const size_t total = period * (size_t)n - between;
    luaL_Buffer made;
    fill(L, luaL_buffinitsize(L, &made, total), total, text, length, separator, between);
    luaL_pushresultsize(&made, total);
    return 1;
}

/* ---- table.concat ---- */

/* The standard error for the element at index i, of which nothing can be made. */
static int refuse_to_concat(lua_State *L, lua_Integer i) {
    lua_settop(L, 1);
    lua_pushliteral(L, "");
    lua_pushinteger(L, i);
    lua_pushinteger(L, i);
    return standard_concat(L);
}

/* table.concat(list, separator, first, last) */
static int concat(lua_State *L) {
    if (!lua_istable(L, 1)) return standard_concat(L);
    size_t between;
    const lua_Integer length = luaL_len(L, 1);
    const char *separator = luaL_optlstring(L, 2, "", &between);
    const lua_Integer first = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, length);
    if (last < first || (lua_Unsigned)last - (lua_Unsigned)first < LONG_LIST) return standard_concat(L);
    luaL_Buffer made;
    luaL_buffinit(L, &made);
    for (lua_Integer i = first;; i++) {
        if (i % 1024 == 0) interrupt_poll(L);
        if (lua_geti(L, 1, i), !lua_isstring(L, -1)) return refuse_to_concat(L, i);
        luaL_addvalue(&made);
        if (i == last) break;
        luaL_addlstring(&made, separator, between);
    }
    luaL_pushresult(&made);
    return 1;
}

/* ---- table.sort ---- */

static int is_less(lua_State *L) {
    interrupt_poll(L);
    lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
    return 1;
}

/* table.sort(list, comp): without `comp` nothing of it could be interrupted. */
static int sort(lua_State *L) {
    if (lua_istable(L, 1) && lua_isnoneornil(L, 2) && lua_rawlen(L, 1) > LONG_LIST) {
        lua_settop(L, 1);
        lua_pushcfunction(L, is_less);
    }
    return standard_sort(L);
}

/* ---- utf8.len ---- */

/* Where byte `position` of a string, from 1 on, stands: negative ones count from the end. */
static lua_Integer from_start(lua_Integer position, size_t length) {
    return position >= 0 ? position : (lua_Integer)length + position + 1;
}

/* The end of the piece of the text from byte `first` (from 1 on) to `last` at most. No character of valid text reaches across
 * it: the byte after it isn't one that continues a character, or follows as many of those as the longest has. */
static lua_Integer piece_end(const char *text, lua_Integer first, lua_Integer last) {
    enum { LONGEST = 6 }; /* bytes, when lax */
    lua_Integer end = first - 1 + PIECE;
    for (int i = 1; i < LONGEST && end < last && (text[end] & 0xC0) == 0x80; i++) end++;
    return end < last ? end : last;
}

/* utf8.len(text, first, last, lax): the standard function counts the characters of each piece. */
static int count_characters(lua_State *L) {
    if (lua_type(L, 1) != LUA_TSTRING || lua_rawlen(L, 1) <= LONG_TEXT) return standard_len(L);
    size_t length;
    const char *text = lua_tolstring(L, 1, &length);
    lua_Integer first = from_start(luaL_optinteger(L, 2, 1), length), count = 0;
    const lua_Integer last = from_start(luaL_optinteger(L, 3, -1), length);
    if (first < 1 || first > last || last > (lua_Integer)length) return standard_len(L);
    lua_settop(L, 4);
    for (; first <= last; first = lua_tointeger(L, 3) + 1) {
        lua_pushinteger(L, first);
        lua_replace(L, 2);
        lua_pushinteger(L, piece_end(text, first, last));
        lua_replace(L, 3);
        if (standard_len(L) == 2) return 2; /* nil, and where it isn't UTF-8 */
        count += lua_tointeger(L, -1);
        lua_pop(L, 1);
        interrupt_poll(L);
    }
    lua_pushinteger(L, count);
    return 1;
}

/* ---- utf8.offset ---- */

/* utf8.offset(text, n, from): the standard function goes some characters forward or back at a time. What it says of the last ones
 * is what it says of all. */
static int offset(lua_State *L) {
    enum { STEP = 1 << 20 /* characters */ };
    if (lua_type(L, 1) != LUA_TSTRING || lua_rawlen(L, 1) <= LONG_TEXT) return standard_offset(L);
    lua_Integer n = luaL_checkinteger(L, 2), from = luaL_optinteger(L, 3, n > 0 ? 1 : (lua_Integer)lua_rawlen(L, 1) + 1);
    const lua_Integer step = n > 0 ? STEP : -STEP;
    while (n > STEP || n < -STEP) {
        lua_settop(L, 1);
        lua_pushinteger(L, n > 0 ? step + 1 : step); /* the first character is the one at `from` */
        lua_pushinteger(L, from);
        standard_offset(L);
        if (lua_isnil(L, -1)) return 1;
        from = lua_tointeger(L, -1);
        n -= step;
        interrupt_poll(L);
    }
    lua_settop(L, 1);
    lua_pushinteger(L, n);
    lua_pushinteger(L, from);
    return standard_offset(L);
}

/* ---- for the program ---- */

lua_CFunction library_replace(lua_State *L, const char *name, lua_CFunction ours) {
    lua_getfield(L, -1, name);
    lua_CFunction standard = lua_tocfunction(L, -1);
    lua_pop(L, 1);
    lua_pushcfunction(L, ours);
    lua_setfield(L, -2, name);
    return standard;
}

void library_open(lua_State *L) {
    lua_pushglobaltable(L);
    standard_load = library_replace(L, "load", load);
    lua_getglobal(L, "string");
    standard_rep = library_replace(L, "rep", rep);
    lua_getglobal(L, "table");
    standard_concat = library_replace(L, "concat", concat);
    standard_sort = library_replace(L, "sort", sort);
    lua_getglobal(L, "utf8");
    standard_len = library_replace(L, "len", count_characters);
    standard_offset = library_replace(L, "offset", offset);
    lua_pop(L, 4);
    library_files_open(L);
}
