/* repl.c: calls under Ctrl-C, and the prompt. What the prompt says and shows is decided in lua/plumb/prompt; here is what
 * reads statements, runs them, and goes on whatever happens. Without that library the prompt is one for plain Lua. */
#include "repl.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "interrupt.h"
#include "line.h"

static const char LIBRARY[] = "plumb.prompt"; /* its key in the registry, where it stands while the prompt is open */

/* ---- calls ---- */

/* Pushes the function `name` of the prompt's library; pushes nothing and returns false where there is none. */
static bool push_library(lua_State *L, const char *name) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, LIBRARY) == LUA_TTABLE) {
        lua_pushstring(L, name);
        lua_rawget(L, -2);
        lua_remove(L, -2);
        if (lua_isfunction(L, -1))
            return true;
    }
    lua_pop(L, 1);
    return false;
}

/* Turns an error value into a message with a traceback; a value that knows how to print itself gets none. At the prompt the
 * library explains the error, unless that fails, too. */
static int add_traceback(lua_State *L) {
    interrupt_caused(L);
    const char *message = lua_tostring(L, 1);
    bool prints_itself = false;
    if (message == NULL) {
        prints_itself = luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING;
        message = prints_itself ? lua_tostring(L, -1)
                                : lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    const int place = lua_gettop(L);
    if (push_library(L, "explain")) {
        lua_pushstring(L, message);
        if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING)
            return 1;
    }
    lua_settop(L, place);
    if (!prints_itself)
        luaL_traceback(L, L, message, 1);
    return 1;
}

/* `late`: is the call done, but was something of the library in it stopped by Ctrl-C? */
static int call(lua_State *L, int arguments, int results, bool *late) {
    const int base = lua_gettop(L) - arguments;
    interrupt_state before;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    interrupt_begin(L, &before);
    const int status = lua_pcall(L, arguments, results, base);
    if (status == LUA_ERRMEM) interrupt_caused(L); /* Lua calls no message handler when memory can't be had */
    *late = status == LUA_OK && interrupt_postponed();
    interrupt_end(L, &before);
    lua_remove(L, base);
    return status;
}

int repl_call(lua_State *L, int arguments, int results) {
    const int base = lua_gettop(L) - arguments - 1;
    bool late;
    const int status = call(L, arguments, results, &late);
    if (!late) return status;
    lua_settop(L, base);
    lua_pushliteral(L, "interrupted!");
    return LUA_ERRRUN;
}

int repl_report(lua_State *L, const char *program, int status) {
    if (status == LUA_OK)
        return status;
    const char *message = lua_tostring(L, -1);
    fflush(stdout);
    if (program != NULL)
        fprintf(stderr, "%s: ", program);
    fprintf(stderr, "%s\n", message != NULL ? message : "(error without a message)");
    fflush(stderr);
    lua_pop(L, 1);
    return status;
}

/* ---- reading a statement ---- */

static int prompt_text(lua_State *L) {
    lua_pushglobaltable(L);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TNIL)
        return 0;
    luaL_tolstring(L, -1, NULL);
    return 1;
}

/* Pushes the text of the global `name`, or `standard` where it is not set or fails to give a text. */
static const char *push_prompt(lua_State *L, const char *name, const char *standard) {
    lua_pushcfunction(L, prompt_text);
    lua_pushstring(L, name);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || !lua_isstring(L, -1)) {
        lua_pop(L, 1);
        lua_pushstring(L, standard);
    }
    return lua_tostring(L, -1);
}

/* Did loading fail only because the text stops too early? The message is on top of the stack. */
static bool is_incomplete(lua_State *L, int status) {
    static const char mark[] = "<eof>";
    size_t length;
    const char *message = lua_tolstring(L, -1, &length);
    const size_t mark_length = sizeof mark - 1;
    return status == LUA_ERRSYNTAX && length >= mark_length && strcmp(message + length - mark_length, mark) == 0;
}

enum { TEXT = 1, NAME = 2, COMPLETER = 3 }; /* places on the stack of read_statement */

/* Compiles the text, first as an expression whose values are wanted, then as statements. Pushes the function or the error
 * message; `incomplete` tells whether more lines could complete it. */
static int compile(lua_State *L, bool *incomplete) {
    size_t length;
    const int top = lua_gettop(L);
    const char *text = lua_tolstring(L, TEXT, &length), *name = lua_tostring(L, NAME);
    const char *expression = text[0] == '=' ? text + 1 : text; /* "=x", Lua 5.1's way to print x */
    /* With a variable to be closed the call is no tail call, so an error still knows the statement's line. */
    const char *with_return = lua_pushfstring(L, "local _RESULT <close> = nil return %s", expression);
    int status = luaL_loadbuffer(L, with_return, strlen(with_return), name);
    lua_remove(L, top + 1);
    *incomplete = is_incomplete(L, status);
    if (status == LUA_OK || *incomplete)
        return status;
    lua_settop(L, top);
    status = luaL_loadbuffer(L, text, length, name);
    *incomplete = is_incomplete(L, status);
    return status;
}

/* A line that begins with `?` asks the library. Pushes a function that answers. */
static bool compile_question(lua_State *L) {
    const char *text = lua_tostring(L, TEXT);
    if (text[strspn(text, " \t")] != '?' || !push_library(L, "question"))
        return false;
    lua_pushvalue(L, TEXT);
    lua_call(L, 1, 1);
    return true;
}

static void push_names(lua_State *L) {
    lua_pushliteral(L, "");
    if (!push_library(L, "next_name"))
        lua_pushliteral(L, "=stdin");
    else
        lua_call(L, 0, 1);
    if (!push_library(L, "complete"))
        lua_pushnil(L);
}

/* Reads lines until they make a statement. Returns its function and text; nil when Ctrl-C dropped it; false at the end of
 * input. A syntax error is raised as an error. */
static int read_statement(lua_State *L) {
    bool incomplete = false;
    int status = LUA_OK;
    const char *line;
    lua_settop(L, 0);
    push_names(L);
    do {
        const char *text = incomplete ? push_prompt(L, "_PROMPT2", ">> ") : push_prompt(L, "_PROMPT", "> ");
        line_complete_with((completion){L, lua_isnil(L, COMPLETER) ? 0 : COMPLETER, lua_tostring(L, TEXT)});
        const input kind = line_read(text, &line);
        line_complete_with((completion){0});
        if (kind == INPUT_INTERRUPTED)
            return 0;
        if (kind == INPUT_END) {
            putchar('\n');
            fflush(stdout);
            if (incomplete)
                break;
            lua_pushboolean(L, 0);
            return 1;
        }
        lua_settop(L, COMPLETER);
        if (incomplete)
            lua_pushfstring(L, "%s\n%s", lua_tostring(L, TEXT), line);
        else
            lua_pushstring(L, line);
        lua_replace(L, TEXT);
        status = !incomplete && compile_question(L) ? LUA_OK : compile(L, &incomplete);
    } while (incomplete);
    line_remember(lua_tostring(L, TEXT));
    lua_settop(L, COMPLETER + 1); /* after the end of input the prompt's text lies above the message */
    if (push_library(L, "begin")) {
        lua_pushvalue(L, TEXT);
        lua_pushvalue(L, NAME);
        lua_call(L, 2, 0);
    }
    if (status != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, TEXT);
    return 2;
}

/* ---- the loop ---- */

static int open_library(lua_State *L) {
    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushstring(L, LIBRARY);
    lua_call(L, 1, 1);
    lua_getfield(L, 1, "open");
    lua_call(L, 0, 0);
    lua_setfield(L, LUA_REGISTRYINDEX, LIBRARY);
    return 0;
}

/* Without its library plumb is still a Lua prompt: one line says why. */
static void load_library(lua_State *L) {
    lua_pushcfunction(L, open_library);
    if (repl_call(L, 0, 0) == LUA_OK)
        return;
    const char *message = lua_tostring(L, -1);
    if (message == NULL)
        message = "no reason given";
    fprintf(stderr, "plumb's library is missing, so this is plain Lua: %.*s\n", (int)strcspn(message, "\n"), message);
    lua_pop(L, 1);
}

/* What the library does when the prompt opens: the user's start-up file, a greeting. */
static void greet(lua_State *L) {
    if (push_library(L, "greet"))
        repl_report(L, NULL, repl_call(L, 0, 0));
}

/* Shows all values above `text`, which is the statement: through the library, or Lua's global print. */
static int show_values(lua_State *L, int text) {
    int count = lua_gettop(L) - text;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, text);
        lua_pushliteral(L, "too many values to print");
        return LUA_ERRRUN;
    }
    if (push_library(L, "show")) {
        lua_insert(L, text);
        return repl_call(L, count + 1, 0);
    }
    if (count == 0)
        return LUA_OK;
    lua_getglobal(L, "print");
    lua_insert(L, text + 1);
    return repl_call(L, count, 0);
}

/* A syntax error, which was raised where nobody calls anybody. */
static int report_syntax(lua_State *L, int status) {
    if (lua_type(L, -1) == LUA_TSTRING && push_library(L, "explain_syntax")) {
        lua_pushvalue(L, -2);
        if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING)
            lua_pop(L, 1);
    }
    return repl_report(L, NULL, status);
}

/* Reads, runs and shows one statement; false at the end of input. */
static bool run_statement(lua_State *L) {
    const int base = lua_gettop(L);
    lua_pushcfunction(L, read_statement);
    int status = lua_pcall(L, 0, 2, 0);
    if (status != LUA_OK) {
        report_syntax(L, status);
    } else if (lua_isfunction(L, -2)) {
        bool late;
        lua_insert(L, -2);
        status = call(L, 0, LUA_MULTRET, &late);
        if (status == LUA_OK)
            status = show_values(L, base + 1);
        repl_report(L, NULL, status);
        if (late) {
            lua_pushcfunction(L, interrupt_raise); /* there is no more of the statement that it could have ended */
            repl_report(L, NULL, repl_call(L, 0, 0));
        }
    }
    const bool ended = status == LUA_OK && lua_gettop(L) > base && lua_isboolean(L, base + 1);
    lua_settop(L, base);
    return !ended;
}

void repl_run(lua_State *L) {
    interrupt_state before;
    interrupt_at_prompt(true);
    interrupt_begin(NULL, &before);
    load_library(L);
    line_open();
    greet(L);
    while (run_statement(L))
        ;
    line_close();
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LIBRARY);
    interrupt_end(L, &before);
    interrupt_at_prompt(false);
}
