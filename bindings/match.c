#include "match.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "fail.h"
#include "interrupt.h"
#include "library.h"

/* Lua's matcher may take years for one call, and nothing in it can be interrupted. But it reads the pattern anew at each
 * step. So a match that may take long is given a pattern of its own, a string that nobody else shares, and match_stop
 * overwrites that with "[[[...": the next step finds a malformed pattern and raises an error in the ordinary way.
 *
 * Lua shares strings of up to 40 bytes. A longer one is made by a first item that changes nothing: a set that holds no
 * character, any number of times. */
static const char NOTHING[] = "[^\0-\377\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1]*";

static lua_CFunction standard_find, standard_match, standard_gsub, standard_gmatch, standard_iterate;

/* ---- the match that runs ---- */

static char *volatile pattern; /* NULL: none */
static volatile size_t pattern_length;
static int depth;                  /* of the calls of run_stoppable that have not returned */
static const char patterns_key;    /* its address is the key in the registry of a table {pattern by depth} */

void match_stop(void) {
    char *p = pattern;
    for (size_t i = 0; p != NULL && i < pattern_length; i++) p[i] = '[';
}

void match_forget(void) {
    pattern = NULL;
    depth = 0;
}

/* Calls a standard function whose pattern, of our own making, is the string at `index`. Calls nest: the function that
 * gsub calls may match, too. */
static int run_stoppable(lua_State *L, int index, lua_CFunction standard) {
    char *const outer_pattern = pattern;
    const size_t outer_length = pattern_length;
    size_t length;
    const char *own = lua_tolstring(L, index, &length);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &patterns_key); /* lives on there until an error has been caught: see match_forget */
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, ++depth);
    lua_pop(L, 1);
    pattern = NULL;
    pattern_length = length;
    pattern = (char *)own;
    interrupt_poll(L);
    const int results = standard(L);
    pattern = NULL;
    pattern_length = outer_length;
    pattern = outer_pattern;
    if (depth > 0) depth--;
    return results;
}

/* ---- which matches may take long ---- */

/* Backtracking tries at most n ways to split a text of n characters for each repetition, 2 for each optional item, and
 * n places to begin at. */
static bool may_take_long(const char *text_pattern, size_t length, size_t subject) {
    enum { FEW_STEPS = 22 }; /* as a power of 2, like the rest */
    const int ways = 64 - __builtin_clzll((unsigned long long)subject | 1);
    int steps = ways;
    for (size_t i = 0; i < length && steps <= FEW_STEPS; i++) {
        switch (text_pattern[i]) {
        case '*': case '+': case '-': steps += ways; break;
        case '?': steps += 1; break;
        case '%': steps += i + 1 < length && text_pattern[i + 1] == 'b' ? ways : 0; break;
        default: break;
        }
    }
    return steps > FEW_STEPS;
}

/* Replaces the pattern, argument 2, by one of its own when the match may take long; false where that needs no care. */
static bool own_pattern(lua_State *L, bool has_anchor) {
    size_t length, subject;
    if (!lua_isstring(L, 1) || !lua_isstring(L, 2)) return false; /* the standard function says what is wrong */
    lua_tolstring(L, 1, &subject);
    const char *text = lua_tolstring(L, 2, &length);
    if (!may_take_long(text, length, subject)) return false;
    const size_t anchor = has_anchor && text[0] == '^';
    luaL_Buffer made;
    luaL_buffinit(L, &made);
    luaL_addlstring(&made, text, anchor);
    luaL_addlstring(&made, NOTHING, sizeof NOTHING - 1);
    luaL_addlstring(&made, text + anchor, length - anchor);
    luaL_pushresult(&made);
    lua_replace(L, 2);
    return true;
}

static int stoppable(lua_State *L, lua_CFunction standard) {
    return own_pattern(L, true) ? run_stoppable(L, 2, standard) : standard(L);
}

/* ---- the functions ---- */

static int find(lua_State *L) {
    return lua_toboolean(L, 4) ? standard_find(L) : stoppable(L, standard_find);
}

static int match(lua_State *L) { return stoppable(L, standard_match); }
static int gsub(lua_State *L) { return stoppable(L, standard_gsub); }

/* The iterator of gmatch has the subject, the pattern and its state as upvalues; ours has the same. */
static int iterate(lua_State *L) {
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(2));
    return run_stoppable(L, 1, standard_iterate);
}

static int gmatch(lua_State *L) {
    const bool owned = own_pattern(L, false);
    const int results = standard_gmatch(L);
    if (!owned) return results;
    const int iterator = lua_gettop(L);
    standard_iterate = lua_tocfunction(L, iterator);
    for (int i = 1; i <= 3; i++) lua_getupvalue(L, iterator, i);
    lua_pushcclosure(L, iterate, 3);
    return 1;
}

void match_open(lua_State *L) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &patterns_key);
    lua_getglobal(L, "string");
    standard_find = library_replace(L, "find", find);
    standard_match = library_replace(L, "match", match);
    standard_gsub = library_replace(L, "gsub", gsub);
    standard_gmatch = library_replace(L, "gmatch", gmatch);
    lua_pop(L, 1);
}
