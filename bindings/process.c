/* process.c: running other programs to their end.
 *
 * A conversation with a program is one userdata that owns the process, its pipes and its collected output from before
 * the process exists. Whatever raises afterwards, the collector kills and reaps the process and closes the pipes. */
#include "process.h"

#include <errno.h>
#include <lauxlib.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "fail.h"
#include "interrupt.h"

#define CONVERSATION_TYPE "plumb.process.conversation"

enum {
    POLL_SLICE_MS = 100,          /* how often the exit status, the clock and Ctrl-C are looked at */
    READ_BYTES = 1 << 16,
    MAX_OUTPUT_BYTES = 1 << 30    /* per stream; a program that writes more is killed */
};
static const double GRACE_SECONDS = 0.5; /* from the child's exit to the end of reading */

/* Bytes that grow through Lua's allocator, so they are counted where all of the interpreter's memory is. */
typedef struct {
    char *data;
    size_t length, capacity;
} Buffer;

typedef struct {
    Child child;
    Buffer stdout_bytes, stderr_bytes;
    lua_Alloc allocate;
    void *allocate_context;
} Conversation;

typedef struct {
    const char *stdin_data;
    size_t stdin_length;
    const char *cwd;
    double timeout;   /* seconds; HUGE_VAL for none */
} Request;

typedef enum { ENDED, TIMED_OUT, INTERRUPTED, OUT_OF_MEMORY, TOO_MUCH_OUTPUT } Outcome;

/* ---- small tools ---- */

double process_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void process_sleep(double seconds)
{
    struct timespec pause = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - floor(seconds)))};
    nanosleep(&pause, NULL); /* waking early is harmless: every caller loops on a condition */
}

static int buffer_reserve(Conversation *talk, Buffer *buffer, size_t extra)
{
    if (buffer->capacity - buffer->length >= extra)
        return 1;
    size_t capacity = buffer->capacity ? 2 * buffer->capacity : READ_BYTES;
    while (capacity - buffer->length < extra)
        capacity *= 2;
    char *data = talk->allocate(talk->allocate_context, buffer->data, buffer->capacity, capacity);
    if (data == NULL)
        return 0;
    buffer->data = data;
    buffer->capacity = capacity;
    return 1;
}

static void buffer_free(Conversation *talk, Buffer *buffer)
{
    if (buffer->data != NULL)
        talk->allocate(talk->allocate_context, buffer->data, buffer->capacity, 0);
    *buffer = (Buffer){0};
}

static int conversation_collect(lua_State *L)
{
    Conversation *talk = lua_touserdata(L, 1);
    child_end(&talk->child);
    buffer_free(talk, &talk->stdout_bytes);
    buffer_free(talk, &talk->stderr_bytes);
    return 0;
}

static Conversation *conversation_new(lua_State *L)
{
    Conversation *talk = lua_newuserdatauv(L, sizeof *talk, 0);
    *talk = (Conversation){0};
    child_init(&talk->child);
    talk->allocate = lua_getallocf(L, &talk->allocate_context);
    luaL_setmetatable(L, CONVERSATION_TYPE);
    return talk;
}

/* ---- talking with it ---- */

/* Reads what is there. At the end of the stream, or when it breaks, the descriptor closes. */
static Outcome drain(Conversation *talk, int pipe, Buffer *buffer)
{
    if (!buffer_reserve(talk, buffer, READ_BYTES))
        return OUT_OF_MEMORY;
    ssize_t count = read(talk->child.fd[pipe], buffer->data + buffer->length, READ_BYTES);
    if (count > 0)
        buffer->length += (size_t)count;
    else if (count == 0 || (errno != EINTR && errno != EAGAIN))
        child_close(&talk->child, pipe);
    return buffer->length > MAX_OUTPUT_BYTES ? TOO_MUCH_OUTPUT : ENDED;
}

/* Writes what the pipe takes; closes it after the last byte, or when the child reads no more. */
static void feed(Child *child, Request *request)
{
    if (request->stdin_length > 0) {
        ssize_t count = write(child->fd[CHILD_STDIN], request->stdin_data, request->stdin_length);
        if (count < 0) {
            if (errno != EINTR && errno != EAGAIN)
                child_close(child, CHILD_STDIN);
            return;
        }
        request->stdin_data += count;
        request->stdin_length -= (size_t)count;
    }
    if (request->stdin_length == 0)
        child_close(child, CHILD_STDIN);
}

static int still_talks(const Child *child)
{
    return child->fd[CHILD_STDOUT] >= 0 || child->fd[CHILD_STDERR] >= 0;
}

/* One round: waits at most a slice, then serves every pipe that is ready. */
static Outcome serve_pipes(Conversation *talk, Request *request)
{
    Child *child = &talk->child;
    if (!still_talks(child)) {
        process_sleep(0.001); /* only the exit status is missing; it follows at once */
        return ENDED;
    }
    struct pollfd polled[3] = {
        {.fd = child->fd[CHILD_STDIN], .events = POLLOUT}, /* poll skips the negative ones */
        {.fd = child->fd[CHILD_STDOUT], .events = POLLIN},
        {.fd = child->fd[CHILD_STDERR], .events = POLLIN},
    };
    if (poll(polled, 3, POLL_SLICE_MS) <= 0)
        return ENDED;
    Outcome outcome = ENDED;
    if (polled[0].revents)
        feed(child, request);
    if (polled[1].revents)
        outcome = drain(talk, CHILD_STDOUT, &talk->stdout_bytes);
    if (polled[2].revents && outcome == ENDED)
        outcome = drain(talk, CHILD_STDERR, &talk->stderr_bytes);
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
static Outcome converse(Conversation *talk, Request *request)
{
    double deadline = process_seconds() + request->timeout;
    double end_of_reading = HUGE_VAL;
    for (;;) {
        Outcome outcome = serve_pipes(talk, request);
        if (outcome != ENDED)
            return outcome;
        double now = process_seconds();
        if (child_reap(&talk->child)) {
            if (!still_talks(&talk->child) || now > end_of_reading)
                return ENDED;
            if (end_of_reading == HUGE_VAL)
                end_of_reading = now + GRACE_SECONDS;
        }
        if (interrupt_seen || interrupt_requested()) /* since this began, or while the child was started */
            return INTERRUPTED;
        if (now > deadline)
            return TIMED_OUT;
    }
}

/* converse, with Ctrl-C ending the child instead of waiting for it. The interrupt is then handed to whoever handled it
 * before. */
static Outcome converse_interruptible(Conversation *talk, Request *request)
{
    struct sigaction mine = {.sa_handler = note_interrupt}, before;
    interrupt_seen = 0;
    sigaction(SIGINT, NULL, &before);
    int ignored = before.sa_handler == SIG_IGN;
    if (!ignored)
        sigaction(SIGINT, &mine, NULL);
    Outcome outcome = converse(talk, request);
    if (outcome != ENDED)
        child_kill(&talk->child);
    if (!ignored) {
        sigaction(SIGINT, &before, NULL);
        if (interrupt_seen)
            raise(SIGINT);
    }
    return outcome;
}

/* ---- Lua's side ---- */

char **process_check_argv(lua_State *L, int index, const char *who)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Unsigned count = lua_rawlen(L, index);
    luaL_argcheck(L, count >= 1 && count < 4096, index, "expected {program, argument, ...}");
    char **argv = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *argv, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "%s: argument %I of the program is a %s, expected a string", who, (lua_Integer)i,
                       luaL_typename(L, -1));
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        if (strlen(text) != length)
            luaL_error(L, "%s: argument %I of the program holds a zero byte", who, (lua_Integer)i);
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

static int push_result(lua_State *L, Conversation *talk, Outcome outcome)
{
    if (outcome == OUT_OF_MEMORY)
        return luaL_error(L, "process.run: out of memory while reading the program's output");
    if (outcome == TOO_MUCH_OUTPUT)
        return luaL_error(L, "process.run: the program wrote more than %d bytes and was ended", (int)MAX_OUTPUT_BYTES);
    lua_createtable(L, 0, 6);
    if (WIFSIGNALED(talk->child.status)) {
        lua_pushinteger(L, WTERMSIG(talk->child.status));
        lua_setfield(L, -2, "signal");
    } else {
        lua_pushinteger(L, WEXITSTATUS(talk->child.status));
        lua_setfield(L, -2, "code");
    }
    lua_pushboolean(L, outcome == TIMED_OUT);
    lua_setfield(L, -2, "timed_out");
    lua_pushboolean(L, outcome == INTERRUPTED);
    lua_setfield(L, -2, "interrupted");
    lua_pushlstring(L, talk->stdout_bytes.data ? talk->stdout_bytes.data : "", talk->stdout_bytes.length);
    lua_setfield(L, -2, "stdout");
    lua_pushlstring(L, talk->stderr_bytes.data ? talk->stderr_bytes.data : "", talk->stderr_bytes.length);
    lua_setfield(L, -2, "stderr");
    return 1;
}

/* process.run({program, argument, ...}, {stdin = "", timeout = seconds, cwd = folder})
 *
 * Runs a program to its end, without a shell; it is found along PATH. Returns a table {code = or signal =, timed_out =,
 * interrupted =, stdout =, stderr =}; after the timeout or Ctrl-C the program and what it started in its process group
 * are ended (SIGTERM, then SIGKILL). Returns nil and a message when it can't be started. Raises on wrong arguments. */
static int process_run(lua_State *L)
{
    lua_settop(L, 2);
    char **argv = process_check_argv(L, 1, "process.run");
    Request request = check_options(L, 2);
    Conversation *talk = conversation_new(L);
    int index = lua_gettop(L);
    int error_number = child_start(&talk->child, argv, request.cwd, CHILD_STANDARD_PIPES);
    int results = 2;
    if (error_number) {
        luaL_pushfail(L);
        if (request.cwd != NULL)
            lua_pushfstring(L, "can't start '%s' in folder '%s': %s", argv[0], request.cwd, strerror(error_number));
        else
            lua_pushfstring(L, "can't start '%s': %s", argv[0], strerror(error_number));
    } else {
        Outcome outcome = converse_interruptible(talk, &request);
        results = push_result(L, talk, outcome);
    }
    /* What remains would also go with the collector; a loop of many runs should not wait for it. */
    lua_pushcfunction(L, conversation_collect);
    lua_pushvalue(L, index);
    lua_call(L, 1, 0);
    return results;
}

/* process.time(): seconds of a clock that never goes back; only differences mean anything. */
static int process_time(lua_State *L)
{
    lua_pushnumber(L, process_seconds());
    return 1;
}

void process_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"run", process_run},
        {"time", process_time},
        {NULL, NULL},
    };
    luaL_newmetatable(L, CONVERSATION_TYPE);
    lua_pushcfunction(L, conversation_collect);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    worker_register(L);
    terminal_register(L);
    interrupt_register(L);
    lua_setfield(L, -2, "process");
}
