#include "interrupt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "fail.h"
#include "library.h"
#include "match.h"

/* What has become of the last interrupt. While it is still asked for, interrupt_requested() of the core is true. */
typedef enum {
    NONE,
    RAISED,   /* its error is on its way up */
    POSTPONED /* `attempt` has caught it, and it is raised again as soon as control is back in the user's own code */
} phase;

static struct {
    lua_State *volatile running; /* the coroutine that runs; NULL while none does */
    bool at_prompt;
    phase phase;
    int depth; /* of the user's function that is waited for, when it is postponed */
    int lines; /* begun in the user's code since then */
} state;

enum { EVERYWHERE = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, AT_STATEMENTS = LUA_MASKCALL | LUA_MASKLINE };

/* ---- raising ---- */

static int call_with_handler(lua_State *L);
enum { HANDLER = 2 }; /* its place among the values of call_with_handler */

static int same_message(lua_State *L) { return lua_gettop(L) > 0; }

/* xpcall's handlers are called for errors within themselves too, so that one that runs for ever could not be ended. */
static void forget_handlers(lua_State *L) {
    lua_Debug info;
    for (int level = 0; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "f", &info);
        const bool found = lua_tocfunction(L, -1) == call_with_handler;
        lua_pop(L, 1);
        if (!found) continue;
        lua_pushcfunction(L, same_message);
        if (lua_setlocal(L, &info, HANDLER) == NULL) lua_pop(L, 1);
    }
}

int interrupt_raise(lua_State *L) {
    forget_handlers(L);
    interrupt_clear();
    state.phase = RAISED;
    return luaL_error(L, "interrupted!");
}

/* An error in a finalizer would only be a warning: there the interrupt waits. */
bool interrupt_waits(lua_State *L) {
    lua_Debug info;
    for (int level = 0; lua_getstack(L, level, &info); level++)
        if (lua_getinfo(L, "n", &info) && info.name != NULL && strcmp(info.name, "__gc") == 0) return true;
    return false;
}

lua_State *interrupt_running(void) { return state.running; }

bool interrupt_due(void) {
    return interrupt_requested() && state.running != NULL && !interrupt_waits(state.running);
}

void interrupt_poll(lua_State *L) {
    if (interrupt_requested() && !interrupt_waits(L)) interrupt_raise(L);
}

bool interrupt_postponed(void) { return state.phase == POSTPONED; }

bool interrupt_came(void) { return interrupt_requested() || state.phase != NONE; }

bool interrupt_caused(lua_State *L) {
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const bool tells = message != NULL && strstr(message, "interrupted!") != NULL;
    if (interrupt_requested()) { /* what failed was made to fail, or had no time to be interrupted */
        interrupt_clear();
        state.phase = RAISED;
    } else if (state.phase != RAISED || (message != NULL && !tells)) {
        return false;
    }
    if (!tells) {
        luaL_where(L, 1);
        lua_pushliteral(L, "interrupted!");
        lua_concat(L, 2);
        lua_replace(L, -2);
    }
    return true;
}

/* ---- where it may be raised ---- */

static int attempt(lua_State *L);

/* Is this call one of a Lua function? Then `library` tells whether that is plumb's. */
static bool is_lua(lua_State *L, lua_Debug *info, bool *library) {
    lua_getinfo(L, "S", info);
    *library = strstr(info->source, "/lua/plumb/") != NULL;
    return *info->what != 'C';
}

/* Is the innermost Lua function from `level` up one of plumb's library? */
static bool in_library(lua_State *L, int level) {
    lua_Debug info;
    bool library;
    for (; lua_getstack(L, level, &info); level++)
        if (is_lua(L, &info, &library)) return library;
    return false;
}

/* The number of calls that are under way. */
static int depth_of(lua_State *L) {
    lua_Debug info;
    int low = -1, high = 1;
    while (lua_getstack(L, high, &info)) low = high, high *= 2;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        *(lua_getstack(L, middle, &info) ? &low : &high) = middle;
    }
    return high;
}

static bool inside_attempt(lua_State *L) {
    lua_Debug info;
    for (int level = 0; lua_getstack(L, level, &info); level++) {
        lua_getinfo(L, "f", &info);
        const bool found = lua_tocfunction(L, -1) == attempt;
        lua_pop(L, 1);
        if (found) return true;
    }
    return false;
}

static void stop(lua_State *L, lua_Debug *event);

/* A postponed interrupt waits until control is back in the user's function that called the library (whatever that calls until
 * then, be it other people's code, is a part of it), and lets its statement store its values: until a call or a second line.
 * Another Ctrl-C meanwhile is the same one again, but it still ends what a function of the user's does on the way back. */
static bool may_raise(lua_State *L, const lua_Debug *event) {
    const int level = event->event == LUA_HOOKCALL;
    if (interrupt_requested()) {
        if (state.phase != POSTPONED) return !(in_library(L, 0) && inside_attempt(L));
        if (depth_of(L) - level > state.depth && !in_library(L, level)) return true;
        interrupt_clear();
        lua_sethook(L, stop, AT_STATEMENTS, 0);
    }
    if (state.phase != POSTPONED || (event->event != LUA_HOOKLINE && event->event != LUA_HOOKCALL)) return false;
    if (depth_of(L) - level > state.depth || in_library(L, level)) return false;
    return event->event != LUA_HOOKLINE || state.lines++ > 0;
}

static void postpone(lua_State *L) {
    lua_Debug info;
    bool library;
    int level = 0;
    while (lua_getstack(L, level, &info) && (!is_lua(L, &info, &library) || library)) level++;
    state.phase = POSTPONED;
    state.depth = depth_of(L) - level;
    state.lines = 0;
    lua_sethook(L, stop, AT_STATEMENTS, 0);
}

static void stop(lua_State *L, lua_Debug *event) {
    if (!interrupt_requested() && state.phase != POSTPONED) lua_sethook(L, NULL, 0, 0);
    else if (may_raise(L, event)) {
        lua_sethook(L, NULL, 0, 0);
        interrupt_raise(L);
    }
}

void interrupt_arm(lua_State *L) {
    if (interrupt_requested()) lua_sethook(L, stop, EVERYWHERE, 1);
}

/* Setting a hook is what Lua allows in a signal handler; the hook raises the error from safe ground. */
static void on_signal(int number) {
    static const char busy[] = "\n(in the middle of something that cannot be stopped; Ctrl-\\ ends plumb)\n";
    const int saved_errno = errno;
    lua_State *L = state.running;
    if (state.at_prompt && L != NULL && interrupt_overdue()) {
        const ssize_t written = write(STDERR_FILENO, busy, sizeof busy - 1);
        (void)written;
    }
    interrupt_request();
    match_stop();
    if (L != NULL) {
        lua_sethook(L, stop, EVERYWHERE, 1);
        if (!state.at_prompt) signal(number, SIG_DFL);
    }
    errno = saved_errno;
}

void interrupt_begin(lua_State *L, interrupt_state *before) {
    struct sigaction action = {.sa_handler = on_signal}; /* system calls are not restarted, so a blocked read ends */
    sigemptyset(&action.sa_mask);
    before->running = state.running;
    interrupt_clear();
    state.phase = NONE;
    state.running = L;
    sigaction(SIGINT, &action, &before->action);
}

void interrupt_end(lua_State *L, const interrupt_state *before) {
    sigaction(SIGINT, &before->action, NULL);
    state.running = before->running;
    match_forget();
    if (lua_gethook(L) == stop) lua_sethook(L, NULL, 0, 0);
    interrupt_clear();
    state.phase = NONE;
}

void interrupt_at_prompt(bool on) { state.at_prompt = on; }

/* ---- catching errors ---- */

/* After a call on behalf of L: other coroutines are done. An error that is the interrupt's is raised again. */
static void back_in(lua_State *L, bool failed) {
    if (state.phase == POSTPONED && state.running != L) postpone(L);
    state.running = L;
    interrupt_arm(L);
    if (!failed) return;
    match_forget();
    if (interrupt_caused(L)) lua_error(L);
}

void interrupt_pass_on(lua_State *L) { back_in(L, true); }

/* pcall's results stand from `extra` + 1 on, after a status error the message is on top. */
static int finish_call(lua_State *L, int status, lua_KContext extra) {
    const bool succeeded = status == LUA_OK || status == LUA_YIELD;
    back_in(L, !succeeded);
    if (succeeded) return lua_gettop(L) - (int)extra;
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* pcall(f, ...), as in Lua's manual. */
static int call_protected(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, true);
    lua_insert(L, 1);
    return finish_call(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_call), 0);
}

/* xpcall(f, handler, ...) */
static int call_with_handler(lua_State *L) {
    const int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushboolean(L, true);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* f, handler, true, f, arguments */
    return finish_call(L, lua_pcallk(L, arguments, LUA_MULTRET, HANDLER, 2, finish_call), 2);
}

static lua_CFunction standard_resume, standard_close, standard_execute;

/* ---- coroutines ---- */

static int in_coroutine(lua_State *L, lua_CFunction standard) {
    lua_State *other = lua_tothread(L, 1);
    if (other == NULL) return standard(L);
    state.running = other;
    interrupt_arm(other);
    const int results = standard(L);
    back_in(L, results == 2 && lua_isboolean(L, -2) && !lua_toboolean(L, -2));
    return results;
}

static int resume(lua_State *L) { return in_coroutine(L, standard_resume); }
static int close_coroutine(lua_State *L) { return in_coroutine(L, standard_close); }

/* The function that coroutine.wrap gives: upvalue 1 is the coroutine, as in the standard one, which does the work. */
static lua_CFunction standard_wrap, standard_wrapped;
static const char running_key; /* its address is the key in the registry of state.running, where wrap has changed that */

static int resume_wrapped(lua_State *L) {
    lua_State *other = lua_tothread(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_rawsetp(L, LUA_REGISTRYINDEX, &running_key); /* lives on until an error that it raises has been caught */
    state.running = other;
    interrupt_arm(other);
    const int results = standard_wrapped(L);
    back_in(L, false);
    lua_pushthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &running_key);
    return results;
}

static int wrap(lua_State *L) {
    standard_wrap(L);
    standard_wrapped = lua_tocfunction(L, -1);
    lua_getupvalue(L, -1, 1);
    lua_pushcclosure(L, resume_wrapped, 1);
    return 1;
}

/* os.execute(command): at the prompt a program that Ctrl-C has ended takes the statement with it. While the program runs,
 * the C library ignores the signal here. */
static int execute(lua_State *L) {
    const int results = standard_execute(L);
    const bool ended = results == 3 && lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), "signal") == 0;
    if (state.at_prompt && ended && lua_tointeger(L, -1) == SIGINT) return interrupt_raise(L);
    return results;
}

/* ---- for the library ---- */

/* interrupted(): was Ctrl-C pressed, and is it still to end the user's statement? */
static int interrupted(lua_State *L) {
    lua_pushboolean(L, interrupt_came());
    return 1;
}

static int finish_attempt(lua_State *L, int status, lua_KContext extra) {
    const bool succeeded = status == LUA_OK || status == LUA_YIELD;
    state.running = L;
    if (!succeeded) match_forget();
    if ((!succeeded && interrupt_caused(L)) || interrupt_requested()) {
        interrupt_clear();
        state.phase = POSTPONED;
    }
    if (state.phase == POSTPONED) postpone(L);
    return succeeded ? lua_gettop(L) - (int)extra : (lua_pushboolean(L, false), lua_insert(L, -2), 2);
}

/* attempt(f, ...) -> true, results ... or false, message: pcall for loops of the library. While f runs, Ctrl-C raises
 * its error in the user's functions that f calls and in long computations, but never between two lines of the library:
 * those ask interrupted(). What called the library is interrupted once it has stored what the library returns. */
static int attempt(lua_State *L) {
    luaL_checkany(L, 1);
    lua_pushboolean(L, true);
    lua_insert(L, 1);
    return finish_attempt(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_attempt), 0);
}

void interrupt_register(lua_State *L) {
    static const luaL_Reg functions[] = {{"interrupted", interrupted}, {"attempt", attempt}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}

void interrupt_open(lua_State *L) {
    lua_pushglobaltable(L);
    library_replace(L, "pcall", call_protected);
    library_replace(L, "xpcall", call_with_handler);
    lua_getfield(L, -1, "coroutine");
    standard_resume = library_replace(L, "resume", resume);
    standard_close = library_replace(L, "close", close_coroutine);
    standard_wrap = library_replace(L, "wrap", wrap);
    lua_getglobal(L, "os");
    standard_execute = library_replace(L, "execute", execute);
    lua_pop(L, 3);
}
