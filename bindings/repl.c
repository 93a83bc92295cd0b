/* repl.c: calls under Ctrl-C, and the prompt. */
#include "repl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include <lauxlib.h>

enum { HISTORY_LENGTH = 10000 };

typedef enum { INPUT_LINE, INPUT_INTERRUPTED, INPUT_END } Input;

/* What signal handlers and readline's callbacks reach; there is one terminal and so one prompt. */
static struct {
    lua_State *volatile running;        /* where Ctrl-C raises "interrupted!"; NULL while nothing runs */
    volatile sig_atomic_t interrupted;  /* Ctrl-C was pressed and has not been acted upon */
    bool active;                        /* the prompt is open: Ctrl-C must never end the process */
    bool editing;                       /* lines come from readline */
    bool line_ready;                    /* readline's callback was called ... */
    char *line;                         /* ... with this line (malloc'ed), NULL for the end of input */
    size_t capacity;                    /* of `line`, when getline owns it */
    char history_path[PATH_MAX];        /* empty where history is not kept */
} prompt;

/* ---- calls ---- */

static void stop_chunk(lua_State *L, lua_Debug *event) {
    (void)event;
    lua_sethook(L, NULL, 0, 0);
    prompt.interrupted = 0;
    luaL_error(L, "interrupted!");
}

/* Runs as a signal handler: setting a hook is what Lua allows there, and the hook raises the error from safe ground. */
static void on_interrupt(int number) {
    static const char busy[] = "\n(still busy in C code or a coroutine; Ctrl-\\ ends plumb)\n";
    const int saved_errno = errno;
    lua_State *L = prompt.running;
    if (L != NULL && prompt.active && prompt.interrupted) {
        const ssize_t written = write(STDERR_FILENO, busy, sizeof busy - 1);
        (void)written;
    }
    prompt.interrupted = 1;
    if (L != NULL) {
        lua_sethook(L, stop_chunk, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
        if (!prompt.active)
            signal(number, SIG_DFL); /* outside the prompt a second Ctrl-C ends a program that does not react */
    }
    errno = saved_errno;
}

/* The previous disposition of SIGINT goes to `previous`. System calls are not restarted, so a blocked read ends. */
static void catch_interrupts(struct sigaction *previous) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, previous);
}

/* Turns an error value into a message with a traceback; a value that knows how to print itself gets none. */
static int add_traceback(lua_State *L) {
    const char *message = lua_tostring(L, 1);
    if (message == NULL) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
            return 1;
        message = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    luaL_traceback(L, L, message, 1);
    return 1;
}

int repl_call(lua_State *L, int arguments, int results) {
    const int base = lua_gettop(L) - arguments;
    lua_State *const outer = prompt.running;
    struct sigaction previous;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    prompt.interrupted = 0;
    prompt.running = L;
    catch_interrupts(&previous);
    const int status = lua_pcall(L, arguments, results, base);
    sigaction(SIGINT, &previous, NULL);
    prompt.running = outer;
    if (prompt.interrupted) { /* too late for this chunk, and the next one must not pay for it */
        lua_sethook(L, NULL, 0, 0);
        prompt.interrupted = 0;
    }
    lua_remove(L, base);
    return status;
}

int repl_report(lua_State *L, const char *program, int status) {
    if (status == LUA_OK)
        return status;
    const char *message = lua_tostring(L, -1);
    if (program != NULL)
        fprintf(stderr, "%s: ", program);
    fprintf(stderr, "%s\n", message != NULL ? message : "(error without a message)");
    fflush(stderr);
    lua_pop(L, 1);
    return status;
}

/* ---- history ---- */

/* Makes the folders above `path`, readable by the user alone. */
static void make_parent_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* Finds, makes and reads the history file; leaves `prompt.history_path` empty where it can't be written. */
static void open_history(void) {
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char path[PATH_MAX];
    int length = -1;
    if (state != NULL && state[0] == '/')
        length = snprintf(path, sizeof path, "%s/plumb/history", state);
    else if (home != NULL && home[0] == '/')
        length = snprintf(path, sizeof path, "%s/.local/state/plumb/history", home);
    if (length < 0 || (size_t)length >= sizeof path)
        return;
    make_parent_folders(path);
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    struct stat status;
    const bool usable = fstat(file, &status) == 0 && S_ISREG(status.st_mode) && fchmod(file, 0600) == 0;
    close(file);
    if (!usable)
        return;
    /* With time stamps between them, readline keeps entries of several lines whole. */
    history_comment_char = '#';
    history_write_timestamps = 1;
    stifle_history(HISTORY_LENGTH);
    history_truncate_file(path, HISTORY_LENGTH);
    read_history(path);
    memcpy(prompt.history_path, path, sizeof path);
}

/* Each statement goes to the file at once, so that a crash loses none. */
static void remember(const char *statement) {
    if (!prompt.editing || statement[strspn(statement, " \t\n")] == '\0')
        return;
    const HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (last != NULL && strcmp(last->line, statement) == 0)
        return;
    add_history(statement);
    if (prompt.history_path[0] != '\0')
        append_history(1, prompt.history_path);
}

/* ---- reading a line ---- */

static void take_line(char *line) {
    prompt.line = line;
    prompt.line_ready = true;
    rl_callback_handler_remove();
}

/* Waits for a key or a signal. Signals stay blocked between the check and the wait: none is slept through. */
static void wait_for_input(void) {
    sigset_t awaited, before;
    fd_set input;
    int ready = 0;
    FD_ZERO(&input);
    FD_SET(STDIN_FILENO, &input);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGWINCH);
    sigaddset(&awaited, SIGTSTP);
    sigprocmask(SIG_BLOCK, &awaited, &before);
    if (rl_pending_signal() == 0 && !prompt.interrupted)
        ready = pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    const bool stops = rl_pending_signal() == SIGTSTP;
    rl_check_signals(); /* Ctrl-Z stops plumb in here, until the shell continues it on a fresh line */
    if (stops)
        rl_forced_update_display();
    if (ready > 0 && !prompt.interrupted)
        rl_callback_read_char();
}

static Input edit_line(const char *text) {
    prompt.line_ready = false;
    rl_callback_handler_install(text, take_line);
    while (!prompt.line_ready && !prompt.interrupted)
        wait_for_input();
    if (!prompt.line_ready) {
        rl_callback_handler_remove();
        putchar('\n');
        return INPUT_INTERRUPTED;
    }
    return prompt.line != NULL ? INPUT_LINE : INPUT_END;
}

static Input plain_line(const char *text) {
    fputs(text, stdout);
    fflush(stdout);
    clearerr(stdin);
    const ssize_t length = getline(&prompt.line, &prompt.capacity, stdin);
    if (prompt.interrupted) {
        putchar('\n');
        return INPUT_INTERRUPTED;
    }
    if (length < 0)
        return INPUT_END;
    if (prompt.line[length - 1] == '\n')
        prompt.line[length - 1] = '\0';
    return INPUT_LINE;
}

static void free_line(void) {
    free(prompt.line);
    prompt.line = NULL;
    prompt.capacity = 0;
}

/* The line, if there is one, is `prompt.line`. */
static Input read_line(const char *text) {
    free_line();
    prompt.interrupted = 0;
    return prompt.editing ? edit_line(text) : plain_line(text);
}

/* ---- reading a statement ---- */

static int prompt_text(lua_State *L) {
    if (lua_getglobal(L, lua_tostring(L, 1)) == LUA_TNIL)
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

/* Compiles the text at index 1, first as an expression whose values are wanted, then as statements. Pushes the function
 * or the error message; `incomplete` tells whether more lines could complete it. */
static int compile(lua_State *L, bool *incomplete) {
    size_t length;
    const char *text = lua_tolstring(L, 1, &length);
    const char *expression = text[0] == '=' ? text + 1 : text; /* "=x", Lua 5.1's way to print x */
    const char *with_return = lua_pushfstring(L, "return %s", expression);
    int status = luaL_loadbuffer(L, with_return, strlen(with_return), "=stdin");
    lua_remove(L, 2);
    *incomplete = is_incomplete(L, status);
    if (status == LUA_OK || *incomplete)
        return status;
    lua_settop(L, 1);
    status = luaL_loadbuffer(L, text, length, "=stdin");
    *incomplete = is_incomplete(L, status);
    return status;
}

/* Reads lines until they make a statement. Returns its function; nil when Ctrl-C dropped it; false at the end of input.
 * A syntax error is raised as an error. */
static int read_statement(lua_State *L) {
    bool incomplete = false;
    int status = LUA_OK;
    lua_settop(L, 0);
    do {
        const char *text = incomplete ? push_prompt(L, "_PROMPT2", ">> ") : push_prompt(L, "_PROMPT", "> ");
        const Input input = read_line(text);
        if (input == INPUT_INTERRUPTED)
            return 0;
        if (input == INPUT_END) {
            putchar('\n');
            fflush(stdout);
            if (incomplete)
                break;
            lua_pushboolean(L, 0);
            return 1;
        }
        if (incomplete)
            lua_pushfstring(L, "%s\n%s", lua_tostring(L, 1), prompt.line);
        else
            lua_pushstring(L, prompt.line);
        lua_replace(L, 1);
        lua_settop(L, 1);
        status = compile(L, &incomplete);
    } while (incomplete);
    remember(lua_tostring(L, 1));
    if (status == LUA_OK)
        return 1;
    lua_settop(L, 2); /* after the end of input the prompt's text lies above the message */
    return lua_error(L);
}

/* ---- the loop ---- */

/* __index of the globals at the prompt. Upvalues: the module plumb, and the __index that was there before. */
static int find_global(lua_State *L) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    lua_settop(L, 2);
    if (strcmp(name, "plumb") == 0) {
        lua_pushvalue(L, lua_upvalueindex(1));
        return 1;
    }
    lua_pushvalue(L, 2);
    if (lua_gettable(L, lua_upvalueindex(1)) != LUA_TNIL || lua_isnil(L, lua_upvalueindex(2)))
        return 1;
    if (lua_isfunction(L, lua_upvalueindex(2))) {
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_call(L, 2, 1);
    } else {
        lua_pushvalue(L, 2);
        lua_gettable(L, lua_upvalueindex(2));
    }
    return 1;
}

static int offer_globals(lua_State *L) {
    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "plumb");
    lua_call(L, 1, 1);
    if (!lua_istable(L, 1))
        luaL_error(L, "module 'plumb' is a %s value", luaL_typename(L, 1));
    lua_pushglobaltable(L);
    if (!lua_getmetatable(L, 2))
        lua_newtable(L);
    lua_pushvalue(L, 1);
    lua_getfield(L, 3, "__index");
    lua_pushcclosure(L, find_global, 2);
    lua_setfield(L, 3, "__index");
    lua_setmetatable(L, 2);
    return 0;
}

/* Without its library plumb is still a Lua prompt: one line says why. */
static void load_library(lua_State *L) {
    lua_pushcfunction(L, offer_globals);
    if (repl_call(L, 0, 0) == LUA_OK)
        return;
    const char *message = lua_tostring(L, -1);
    if (message == NULL)
        message = "no reason given";
    fprintf(stderr, "plumb's library is missing, so this is plain Lua: %.*s\n", (int)strcspn(message, "\n"), message);
    lua_pop(L, 1);
}

/* Calls the global print with all values above `base`. */
static int print_values(lua_State *L, int base) {
    const int count = lua_gettop(L) - base;
    if (count == 0)
        return LUA_OK;
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, base);
        lua_pushliteral(L, "too many values to print");
        return LUA_ERRRUN;
    }
    lua_getglobal(L, "print");
    lua_insert(L, base + 1);
    return repl_call(L, count, 0);
}

/* Reads, runs and prints one statement; false at the end of input. */
static bool run_statement(lua_State *L) {
    const int base = lua_gettop(L);
    lua_pushcfunction(L, read_statement);
    int status = lua_pcall(L, 0, 1, 0);
    const bool ended = status == LUA_OK && lua_isboolean(L, -1);
    if (status == LUA_OK && lua_isfunction(L, -1)) {
        status = repl_call(L, 0, LUA_MULTRET);
        if (status == LUA_OK)
            status = print_values(L, base);
    }
    repl_report(L, NULL, status);
    lua_settop(L, base);
    return !ended;
}

void repl_run(lua_State *L) {
    struct sigaction previous;
    prompt.editing = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    prompt.active = true;
    catch_interrupts(&previous);
    load_library(L);
    if (prompt.editing) {
        rl_readline_name = "plumb";
        rl_persistent_signal_handlers = 1; /* so that readline sees Ctrl-C and window changes while we wait for keys */
        using_history();
        open_history();
    }
    while (run_statement(L))
        ;
    free_line();
    prompt.active = false;
    sigaction(SIGINT, &previous, NULL);
}
