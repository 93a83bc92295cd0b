#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include <lauxlib.h>

#include "fail.h"

enum { HISTORY_LENGTH = 10000 };

/* What readline's callbacks reach; there is one terminal and so one prompt. */
static struct {
    bool editing;    /* lines come from readline */
    bool ready;      /* readline's callback was called ... */
    char *text;      /* ... with this line (malloc'ed), NULL for the end of input */
    size_t capacity; /* of `text`, when getline owns it */
    completion completion;
    char history_path[PATH_MAX]; /* empty where history is not kept */
} line;

/* ---- history ---- */

/* Makes the folders above `path`, readable by the user alone. */
static void make_parent_folders(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* Finds, makes and reads the history file; leaves `line.history_path` empty where it can't be written. */
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
    memcpy(line.history_path, path, sizeof path);
}

/* Each statement goes to the file at once, so that a crash loses none. */
void line_remember(const char *statement) {
    if (!line.editing || statement[strspn(statement, " \t\n")] == '\0')
        return;
    const HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (last != NULL && strcmp(last->line, statement) == 0)
        return;
    add_history(statement);
    if (line.history_path[0] != '\0')
        append_history(1, line.history_path);
}

/* ---- completion ---- */

void line_complete_with(completion how) { line.completion = how; }

/* The n-th word of the list on top of Lua's stack; readline frees it. */
static char *next_word(const char *text, int state) {
    static int position;
    (void)text;
    position = state == 0 ? 1 : position + 1;
    lua_rawgeti(line.completion.L, -1, position);
    const char *word = lua_type(line.completion.L, -1) == LUA_TSTRING ? lua_tostring(line.completion.L, -1) : NULL;
    char *copy = word != NULL ? strdup(word) : NULL;
    lua_pop(line.completion.L, 1);
    return copy;
}

static int complete_body(lua_State *L) {
    const completion *how = &line.completion;
    lua_pushvalue(L, 1);
    lua_pushstring(L, how->before != NULL ? how->before : "");
    lua_pushstring(L, rl_line_buffer);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_call(L, 4, 2);
    luaL_checktype(L, -2, LUA_TTABLE);
    return 2;
}

/* readline's hook: the words that could stand from byte `begin` to byte `end`. Nothing that Lua raises gets out. */
static char **complete(const char *text, int begin, int end) {
    static char behind[2];
    lua_State *L = line.completion.L;
    rl_attempted_completion_over = 1; /* no file names where Lua has found nothing */
    if (strspn(rl_line_buffer, " \t") >= (size_t)end) {
        rl_insert_text("  ");
        return NULL;
    }
    if (L == NULL || line.completion.function == 0 || !lua_checkstack(L, 8))
        return NULL;
    const int top = lua_gettop(L);
    lua_pushcfunction(L, complete_body);
    lua_pushvalue(L, line.completion.function);
    lua_pushinteger(L, begin + 1);
    lua_pushinteger(L, end);
    char **words = NULL;
    if (lua_pcall(L, 3, 2, 0) == LUA_OK) {
        const char *closing = lua_tostring(L, -1);
        behind[0] = closing != NULL ? closing[0] : '\0';
        lua_pop(L, 1);
        rl_completion_append_character = behind[0];
        words = rl_completion_matches(text, next_word);
    }
    lua_settop(L, top);
    return words;
}

/* ---- reading a line ---- */

static void take_line(char *text) {
    line.text = text;
    line.ready = true;
    rl_callback_handler_remove();
}

/* Waits for a key or a signal. Signals stay blocked between the check and the wait: none is slept through. */
static void wait_for_input(void) {
    sigset_t awaited, before;
    fd_set keys;
    int ready = 0;
    FD_ZERO(&keys);
    FD_SET(STDIN_FILENO, &keys);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGWINCH);
    sigaddset(&awaited, SIGTSTP);
    sigprocmask(SIG_BLOCK, &awaited, &before);
    if (rl_pending_signal() == 0 && !interrupt_requested())
        ready = pselect(STDIN_FILENO + 1, &keys, NULL, NULL, NULL, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    const bool stops = rl_pending_signal() == SIGTSTP;
    rl_check_signals(); /* Ctrl-Z stops plumb in here, until the shell continues it on a fresh line */
    if (stops)
        rl_forced_update_display();
    if (ready > 0 && !interrupt_requested())
        rl_callback_read_char();
}

static input edit_line(const char *text) {
    line.ready = false;
    rl_callback_handler_install(text, take_line);
    while (!line.ready && !interrupt_requested())
        wait_for_input();
    if (!line.ready) {
        rl_callback_handler_remove();
        putchar('\n');
        return INPUT_INTERRUPTED;
    }
    return line.text != NULL ? INPUT_LINE : INPUT_END;
}

static input plain_line(const char *text) {
    fputs(text, stdout);
    fflush(stdout);
    clearerr(stdin);
    const ssize_t length = getline(&line.text, &line.capacity, stdin);
    if (interrupt_requested()) {
        putchar('\n');
        return INPUT_INTERRUPTED;
    }
    if (length < 0)
        return INPUT_END;
    if (line.text[length - 1] == '\n')
        line.text[length - 1] = '\0';
    return INPUT_LINE;
}

static void free_line(void) {
    free(line.text);
    line.text = NULL;
    line.capacity = 0;
}

input line_read(const char *text, const char **result) {
    free_line();
    interrupt_clear();
    const input kind = line.editing ? edit_line(text) : plain_line(text);
    *result = line.text;
    return kind;
}

void line_open(void) {
    line.editing = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (!line.editing)
        return;
    rl_readline_name = "plumb";
    rl_persistent_signal_handlers = 1; /* so that readline sees Ctrl-C and window changes while we wait for keys */
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " \t\n\"'`@$><=;|&{}()[]+-*/%^#~,?\\";
    rl_completer_quote_characters = NULL;
    using_history();
    open_history();
}

void line_close(void) {
    free_line();
    line.completion = (completion){0};
}
