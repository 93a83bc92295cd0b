/* process.c: running other programs without a shell.
 *
 * A child is described by one userdata (Child) that owns the process, its pipes and its collected output from before
 * the child exists. Whatever raises afterwards, the collector kills and reaps the process and closes the pipes. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_TYPE "plumb.process.child"

enum {
    POLL_SLICE_MS = 100,          /* how often the exit status, the clock and Ctrl-C are looked at */
    READ_BYTES = 1 << 16,
    MAX_OUTPUT_BYTES = 1 << 30    /* per stream; a program that writes more is killed */
};
static const double GRACE_SECONDS = 0.5; /* from SIGTERM to SIGKILL, and from the child's exit to the end of reading */

extern char **environ;

/* Bytes that grow through Lua's allocator, so they are counted where all of the interpreter's memory is. */
typedef struct {
    char *data;
    size_t length, capacity;
} Buffer;

typedef struct {
    pid_t pid;                            /* 0 when there is nothing to reap */
    int stdin_fd, stdout_fd, stderr_fd;   /* our ends of the pipes; -1 when closed */
    Buffer stdout_bytes, stderr_bytes;
    int status;                           /* as waitpid gives it; valid once pid is 0 again */
    lua_Alloc allocate;
    void *allocate_context;
} Child;

typedef struct {
    const char *stdin_data;
    size_t stdin_length;
    const char *cwd;
    double timeout;   /* seconds; HUGE_VAL for none */
} Request;

typedef enum { ENDED, TIMED_OUT, INTERRUPTED, OUT_OF_MEMORY, TOO_MUCH_OUTPUT } Outcome;

/* ---- small tools ---- */

static double monotonic_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_seconds(double seconds)
{
    struct timespec pause = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - floor(seconds)))};
    nanosleep(&pause, NULL); /* waking early is harmless: every caller loops on a condition */
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int buffer_reserve(Child *child, Buffer *buffer, size_t extra)
{
    if (buffer->capacity - buffer->length >= extra)
        return 1;
    size_t capacity = buffer->capacity ? 2 * buffer->capacity : READ_BYTES;
    while (capacity - buffer->length < extra)
        capacity *= 2;
    char *data = child->allocate(child->allocate_context, buffer->data, buffer->capacity, capacity);
    if (data == NULL)
        return 0;
    buffer->data = data;
    buffer->capacity = capacity;
    return 1;
}

static void buffer_free(Child *child, Buffer *buffer)
{
    if (buffer->data != NULL)
        child->allocate(child->allocate_context, buffer->data, buffer->capacity, 0);
    *buffer = (Buffer){0};
}

/* ---- the child's life ---- */

/* True when the child is gone (or was never there); never waits. */
static int child_reap(Child *child)
{
    if (child->pid == 0)
        return 1;
    int status = 0;
    pid_t found;
    do
        found = waitpid(child->pid, &status, WNOHANG);
    while (found < 0 && errno == EINTR);
    if (found == 0)
        return 0;
    child->status = found > 0 ? status : 0;
    child->pid = 0;
    return 1;
}

/* Ends the child and what it started: it leads a process group of its own. */
static void child_kill(Child *child)
{
    if (child_reap(child))
        return;
    pid_t group = child->pid;
    kill(-group, SIGTERM);
    double deadline = monotonic_seconds() + GRACE_SECONDS;
    while (!child_reap(child) && monotonic_seconds() < deadline)
        sleep_seconds(0.005);
    kill(-group, SIGKILL);
    while (!child_reap(child))
        sleep_seconds(0.001);
}

static int child_collect(lua_State *L)
{
    Child *child = lua_touserdata(L, 1);
    close_fd(&child->stdin_fd);
    close_fd(&child->stdout_fd);
    close_fd(&child->stderr_fd);
    child_kill(child);
    buffer_free(child, &child->stdout_bytes);
    buffer_free(child, &child->stderr_bytes);
    return 0;
}

static Child *child_new(lua_State *L)
{
    Child *child = lua_newuserdatauv(L, sizeof *child, 0);
    *child = (Child){.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    child->allocate = lua_getallocf(L, &child->allocate_context);
    luaL_setmetatable(L, CHILD_TYPE);
    return child;
}

/* Three pipes as pairs {read, write}, numbered above 2 so that placing them in the child as 0, 1, 2 overwrites none. */
static int open_pipes(int pipes[3][2])
{
    for (int i = 0; i < 3; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            return errno;
        for (int end = 0; end < 2; end++) {
            if (pipes[i][end] > 2)
                continue;
            int low = pipes[i][end];
            pipes[i][end] = fcntl(low, F_DUPFD_CLOEXEC, 3);
            int failure = pipes[i][end] < 0 ? errno : 0;
            close(low);
            if (failure)
                return failure;
        }
    }
    return 0;
}

static int add_file_actions(posix_spawn_file_actions_t *actions, int pipes[3][2], const char *cwd)
{
    int failure = posix_spawn_file_actions_adddup2(actions, pipes[0][0], 0);
    if (!failure)
        failure = posix_spawn_file_actions_adddup2(actions, pipes[1][1], 1);
    if (!failure)
        failure = posix_spawn_file_actions_adddup2(actions, pipes[2][1], 2);
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    /* Lua's io.open does not mark its files close-on-exec. */
    if (!failure)
        failure = posix_spawn_file_actions_addclosefrom_np(actions, 3);
#endif
#endif
    if (!failure && cwd != NULL)
        failure = posix_spawn_file_actions_addchdir_np(actions, cwd);
    return failure;
}

/* The child gets default signal actions, an empty mask, and its own process group. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setpgroup(attributes, 0);
    return posix_spawnattr_setflags(attributes,
                                    POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
}

static int spawn_with_pipes(Child *child, char **argv, const char *cwd, int pipes[3][2])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure)
        return failure;
    failure = posix_spawnattr_init(&attributes);
    if (!failure) {
        failure = add_file_actions(&actions, pipes, cwd);
        if (!failure)
            failure = set_attributes(&attributes);
        pid_t pid;
        if (!failure)
            failure = posix_spawnp(&pid, argv[0], &actions, &attributes, argv, environ);
        if (!failure)
            child->pid = pid;
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failure;
}

/* Starts argv[0], found along PATH. Returns 0 or an errno; on success the child holds our ends of its pipes. */
static int child_start(Child *child, char **argv, const char *cwd)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    int failure = open_pipes(pipes);
    if (!failure)
        failure = spawn_with_pipes(child, argv, cwd, pipes);
    close_fd(&pipes[0][0]);
    close_fd(&pipes[1][1]);
    close_fd(&pipes[2][1]);
    child->stdin_fd = pipes[0][1];
    child->stdout_fd = pipes[1][0];
    child->stderr_fd = pipes[2][0];
    int ours[3] = {child->stdin_fd, child->stdout_fd, child->stderr_fd};
    for (int i = 0; i < 3 && !failure; i++)
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) < 0)
            failure = errno;
    return failure;
}

/* ---- talking with it ---- */

/* Reads what is there. At the end of the stream, or when it breaks, the descriptor closes. */
static Outcome drain(Child *child, int *fd, Buffer *buffer)
{
    if (!buffer_reserve(child, buffer, READ_BYTES))
        return OUT_OF_MEMORY;
    ssize_t count = read(*fd, buffer->data + buffer->length, READ_BYTES);
    if (count > 0)
        buffer->length += (size_t)count;
    else if (count == 0 || (errno != EINTR && errno != EAGAIN))
        close_fd(fd);
    return buffer->length > MAX_OUTPUT_BYTES ? TOO_MUCH_OUTPUT : ENDED;
}

/* Writes what the pipe takes; closes it after the last byte, or when the child reads no more. */
static void feed(Child *child, Request *request)
{
    if (request->stdin_length > 0) {
        ssize_t count = write(child->stdin_fd, request->stdin_data, request->stdin_length);
        if (count < 0) {
            if (errno != EINTR && errno != EAGAIN)
                close_fd(&child->stdin_fd);
            return;
        }
        request->stdin_data += count;
        request->stdin_length -= (size_t)count;
    }
    if (request->stdin_length == 0)
        close_fd(&child->stdin_fd);
}

/* One round: waits at most a slice, then serves every pipe that is ready. */
static Outcome serve_pipes(Child *child, Request *request)
{
    if (child->stdout_fd < 0 && child->stderr_fd < 0) {
        sleep_seconds(0.001); /* only the exit status is missing; it follows at once */
        return ENDED;
    }
    struct pollfd polled[3] = {
        {.fd = child->stdin_fd, .events = POLLOUT}, /* poll skips the negative ones */
        {.fd = child->stdout_fd, .events = POLLIN},
        {.fd = child->stderr_fd, .events = POLLIN},
    };
    if (poll(polled, 3, POLL_SLICE_MS) <= 0)
        return ENDED;
    Outcome outcome = ENDED;
    if (polled[0].revents)
        feed(child, request);
    if (polled[1].revents)
        outcome = drain(child, &child->stdout_fd, &child->stdout_bytes);
    if (polled[2].revents && outcome == ENDED)
        outcome = drain(child, &child->stderr_fd, &child->stderr_bytes);
    return outcome;
}

static volatile sig_atomic_t interrupt_seen;

static void note_interrupt(int signal_number)
{
    (void)signal_number;
    interrupt_seen = 1;
}

/* Serves the child until it has exited and its output is read. A grandchild may hold the pipes open for ever, so
 * reading ends a moment after the child. Calls nothing that can raise. */
static Outcome converse(Child *child, Request *request)
{
    double deadline = monotonic_seconds() + request->timeout;
    double end_of_reading = HUGE_VAL;
    for (;;) {
        Outcome outcome = serve_pipes(child, request);
        if (outcome != ENDED)
            return outcome;
        double now = monotonic_seconds();
        int open = child->stdout_fd >= 0 || child->stderr_fd >= 0;
        if (child_reap(child)) {
            if (!open || now > end_of_reading)
                return ENDED;
            if (end_of_reading == HUGE_VAL)
                end_of_reading = now + GRACE_SECONDS;
        }
        if (interrupt_seen)
            return INTERRUPTED;
        if (now > deadline)
            return TIMED_OUT;
    }
}

/* converse, with Ctrl-C ending the child instead of waiting for it. The interrupt is then handed to whoever handled it
 * before. */
static Outcome converse_interruptible(Child *child, Request *request)
{
    struct sigaction mine = {.sa_handler = note_interrupt}, before;
    interrupt_seen = 0;
    sigaction(SIGINT, NULL, &before);
    int ignored = before.sa_handler == SIG_IGN;
    if (!ignored)
        sigaction(SIGINT, &mine, NULL);
    Outcome outcome = converse(child, request);
    if (outcome != ENDED)
        child_kill(child);
    if (!ignored) {
        sigaction(SIGINT, &before, NULL);
        if (interrupt_seen)
            raise(SIGINT);
    }
    return outcome;
}

/* ---- Lua's side ---- */

/* The list of strings at `index` as a NULL-terminated argv, pushed as a userdata. The strings stay in the table. */
static char **check_argv(lua_State *L, int index)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Unsigned count = lua_rawlen(L, index);
    luaL_argcheck(L, count >= 1 && count < 4096, index, "expected {program, argument, ...}");
    char **argv = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *argv, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "process.run: argument %I of the program is a %s, expected a string", (lua_Integer)i,
                       luaL_typename(L, -1));
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        if (strlen(text) != length)
            luaL_error(L, "process.run: argument %I of the program holds a zero byte", (lua_Integer)i);
        argv[i] = (char *)text; /* posix_spawnp takes char *const[] but changes nothing */
        lua_pop(L, 1);
    }
    argv[count] = NULL;
    return argv;
}

/* Reads the options into a Request. The strings are left on the stack, so they outlive the call. */
static Request check_options(lua_State *L, int index)
{
    Request request = {.stdin_data = "", .timeout = HUGE_VAL};
    if (lua_isnoneornil(L, index))
        return request;
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 6, "process.run");
    if (lua_getfield(L, index, "stdin") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "process.run: option stdin is a %s, expected a string", luaL_typename(L, -1));
        request.stdin_data = lua_tolstring(L, -1, &request.stdin_length);
    }
    if (lua_getfield(L, index, "cwd") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "process.run: option cwd is a %s, expected a string", luaL_typename(L, -1));
        request.cwd = lua_tostring(L, -1);
    }
    if (lua_getfield(L, index, "timeout") != LUA_TNIL) {
        request.timeout = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(request.timeout > 0))
            luaL_error(L, "process.run: option timeout must be a positive number of seconds");
    }
    return request;
}

static int push_result(lua_State *L, Child *child, Outcome outcome)
{
    if (outcome == OUT_OF_MEMORY)
        return luaL_error(L, "process.run: out of memory while reading the program's output");
    if (outcome == TOO_MUCH_OUTPUT)
        return luaL_error(L, "process.run: the program wrote more than %d bytes and was ended", (int)MAX_OUTPUT_BYTES);
    lua_createtable(L, 0, 6);
    if (WIFSIGNALED(child->status)) {
        lua_pushinteger(L, WTERMSIG(child->status));
        lua_setfield(L, -2, "signal");
    } else {
        lua_pushinteger(L, WEXITSTATUS(child->status));
        lua_setfield(L, -2, "code");
    }
    lua_pushboolean(L, outcome == TIMED_OUT);
    lua_setfield(L, -2, "timed_out");
    lua_pushboolean(L, outcome == INTERRUPTED);
    lua_setfield(L, -2, "interrupted");
    lua_pushlstring(L, child->stdout_bytes.data ? child->stdout_bytes.data : "", child->stdout_bytes.length);
    lua_setfield(L, -2, "stdout");
    lua_pushlstring(L, child->stderr_bytes.data ? child->stderr_bytes.data : "", child->stderr_bytes.length);
    lua_setfield(L, -2, "stderr");
    return 1;
}

/* A child that stops reading must be an error from write, not the end of this program; and an inherited "ignore" of
 * SIGCHLD would throw exit codes away. */
static void prepare_signals(void)
{
    static int prepared;
    if (prepared)
        return;
    prepared = 1;
    signal(SIGPIPE, SIG_IGN);
    struct sigaction child_action;
    if (sigaction(SIGCHLD, NULL, &child_action) == 0 && child_action.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

/* process.run({program, argument, ...}, {stdin = "", timeout = seconds, cwd = folder})
 *
 * Runs a program to its end, without a shell; it is found along PATH. Returns a table {code = or signal =, timed_out =,
 * interrupted =, stdout =, stderr =}; after the timeout or Ctrl-C the program and what it started in its process group
 * are ended (SIGTERM, then SIGKILL). Returns nil and a message when it can't be started. Raises on wrong arguments. */
static int process_run(lua_State *L)
{
    lua_settop(L, 2);
    char **argv = check_argv(L, 1);
    Request request = check_options(L, 2);
    prepare_signals();
    Child *child = child_new(L);
    int child_index = lua_gettop(L);
    int failure = child_start(child, argv, request.cwd);
    int results = 2;
    if (failure) {
        luaL_pushfail(L);
        if (request.cwd != NULL)
            lua_pushfstring(L, "can't start '%s' in folder '%s': %s", argv[0], request.cwd, strerror(failure));
        else
            lua_pushfstring(L, "can't start '%s': %s", argv[0], strerror(failure));
    } else {
        Outcome outcome = converse_interruptible(child, &request);
        results = push_result(L, child, outcome);
    }
    /* What remains would also go with the collector; a loop of many runs should not wait for it. */
    lua_pushcfunction(L, child_collect);
    lua_pushvalue(L, child_index);
    lua_call(L, 1, 0);
    return results;
}

/* process.isatty(fd): is this descriptor (0, 1, 2, ...) a terminal? */
static int process_isatty(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    lua_pushboolean(L, fd >= 0 && fd <= INT_MAX && isatty((int)fd));
    return 1;
}

/* process.time(): seconds of a clock that never goes back; only differences mean anything. */
static int process_time(lua_State *L)
{
    lua_pushnumber(L, monotonic_seconds());
    return 1;
}

/* process.terminal_width(): columns of the terminal on standard output, or nil when it is none. */
static int process_terminal_width(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        lua_pushinteger(L, size.ws_col);
    else
        lua_pushnil(L);
    return 1;
}

void process_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", process_run},
        {"isatty", process_isatty},
        {"time", process_time},
        {"terminal_width", process_terminal_width},
        {NULL, NULL},
    };
    luaL_newmetatable(L, CHILD_TYPE);
    lua_pushcfunction(L, child_collect);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "process");
}
