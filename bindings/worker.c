/* worker.c: processes that work for this one beside it, of plumb or of another program, and what such a process needs.
 *
 * The parent's end: process.start_worker and process.start give a userdata that owns the process and its pipes. Nothing
 * here waits but process.wait_for_workers, and that not for long. The worker's end: process.obey. */
#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "process.h"

#define WORKER_TYPE "plumb.process.worker"

enum { READ_BYTES = 1 << 16, MAX_WAIT_MS = 100, READABLE = 3 };

typedef struct {
    Child child;
    int input;    /* the pipe that worker:write writes to */
    bool blocked; /* the last write took less than it was given */
} Worker;

/* What worker:read knows by name. */
static const char *const stream_names[READABLE + 1] = {"stdout", "stderr", "reply", NULL};
static const int streams[READABLE] = {CHILD_STDOUT, CHILD_STDERR, CHILD_REPLY};

static Worker *check_worker(lua_State *L, int index) { return luaL_checkudata(L, index, WORKER_TYPE); }

/* A worker that has not been started, on top of the stack. */
static Worker *new_worker(lua_State *L, int input)
{
    Worker *worker = lua_newuserdatauv(L, sizeof *worker, 0);
    *worker = (Worker){.input = input};
    child_init(&worker->child);
    luaL_setmetatable(L, WORKER_TYPE);
    return worker;
}

/* process.start_worker({argument, ...}) -> worker
 *
 * Starts this program's own executable again, whatever its path holds by now, with these arguments. Its standard input is
 * empty; it reads requests as descriptor 3 and writes replies as descriptor 4. Raises when it can't be started. */
static int start_worker(lua_State *L)
{
    static const char self[] = "/proc/self/exe";
    lua_settop(L, 1);
    char **arguments = process_check_argv(L, 1, "process.start_worker");
    size_t count = lua_rawlen(L, 1);
    char **argv = lua_newuserdatauv(L, (count + 2) * sizeof *argv, 0);
    argv[0] = (char *)self;
    memcpy(argv + 1, arguments, (count + 1) * sizeof *argv);
    Worker *worker = new_worker(L, CHILD_REQUEST);
    int failure = child_start(&worker->child, argv, NULL, CHILD_MAX_PIPES);
    if (failure) {
        child_end(&worker->child);
        return luaL_error(L, "can't start a worker process: %s", strerror(failure));
    }
    child_close(&worker->child, CHILD_STDIN);
    return 1;
}

/* process.start({program, argument, ...}) -> worker, or nil and a message
 *
 * Starts a program, found along PATH, that reads its requests as its standard input. */
static int start_program(lua_State *L)
{
    lua_settop(L, 1);
    char **argv = process_check_argv(L, 1, "process.start");
    Worker *worker = new_worker(L, CHILD_STDIN);
    int failure = child_start(&worker->child, argv, NULL, CHILD_STANDARD_PIPES);
    if (failure) {
        child_end(&worker->child);
        luaL_pushfail(L);
        lua_pushfstring(L, "can't start '%s': %s", argv[0], strerror(failure));
        return 2;
    }
    return 1;
}

/* worker:write(string, first) -> count: how many of the bytes from `first` on the worker's pipe takes now; nil when it
 * reads no more */
static int worker_write(lua_State *L)
{
    Worker *worker = check_worker(L, 1);
    size_t length;
    const char *bytes = luaL_checklstring(L, 2, &length);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, first >= 1 && (size_t)first <= length + 1, 3, "outside of the string");
    int fd = worker->child.fd[worker->input];
    size_t left = length - (size_t)(first - 1);
    ssize_t count = fd < 0 ? -1 : write(fd, bytes + first - 1, left);
    if (count < 0 && fd >= 0 && (errno == EINTR || errno == EAGAIN))
        count = 0;
    if (count < 0) {
        child_close(&worker->child, worker->input);
        luaL_pushfail(L);
        return 1;
    }
    worker->blocked = (size_t)count < left;
    lua_pushinteger(L, count);
    return 1;
}

/* worker:read("stdout" | "stderr" | "reply") -> string: what is there now, maybe nothing; nil after the end */
static int worker_read(lua_State *L)
{
    Worker *worker = check_worker(L, 1);
    int stream = streams[luaL_checkoption(L, 2, NULL, stream_names)];
    int fd = worker->child.fd[stream];
    char bytes[READ_BYTES];
    ssize_t count = fd < 0 ? 0 : read(fd, bytes, sizeof bytes);
    if (fd >= 0 && count < 0 && (errno == EINTR || errno == EAGAIN)) {
        lua_pushliteral(L, "");
    } else if (count <= 0) {
        child_close(&worker->child, stream);
        luaL_pushfail(L);
    } else {
        lua_pushlstring(L, bytes, (size_t)count);
    }
    return 1;
}

/* worker:status() -> nil while it runs, then "code" and its exit code, or "signal" and what ended it */
static int worker_status(lua_State *L)
{
    Worker *worker = check_worker(L, 1);
    if (!child_reap(&worker->child)) {
        luaL_pushfail(L);
        return 1;
    }
    int status = worker->child.status;
    lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "code");
    lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 2;
}

/* worker:pid() -> integer, 0 when the process is gone */
static int worker_pid(lua_State *L)
{
    lua_pushinteger(L, check_worker(L, 1)->child.pid);
    return 1;
}

/* worker:stop(): ends the process and closes the pipes; also done by the collector and at the end of a `<close>` */
static int worker_stop(lua_State *L)
{
    child_end(&check_worker(L, 1)->child);
    return 0;
}

/* worker:leave(): closes the pipes and lets the process go on by itself */
static int worker_leave(lua_State *L)
{
    Worker *worker = check_worker(L, 1);
    worker->child.pid = 0;
    child_end(&worker->child);
    return 0;
}

/* process.wait_for_workers({worker, ...}): until one has something to say, or takes requests again; at most a tenth of a
 * second, so that exit codes and Ctrl-C are noticed */
static int wait_for_workers(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t count = lua_rawlen(L, 1);
    luaL_argcheck(L, count <= 4096, 1, "too many workers");
    struct pollfd *polled = lua_newuserdatauv(L, (READABLE + 1) * count * sizeof *polled + 1, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        const Worker *worker = check_worker(L, -1);
        struct pollfd *of_worker = polled + (READABLE + 1) * i;
        for (int k = 0; k < READABLE; k++)
            of_worker[k] = (struct pollfd){.fd = worker->child.fd[streams[k]], .events = POLLIN};
        of_worker[READABLE] =
            (struct pollfd){.fd = worker->blocked ? worker->child.fd[worker->input] : -1, .events = POLLOUT};
        lua_pop(L, 1);
    }
    poll(polled, (READABLE + 1) * count, MAX_WAIT_MS);
    return 0;
}

/* process.pid() -> integer */
static int own_pid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

/* process.obey(parent): from here on this process is killed when the process `parent`, which started it, ends. Raises when
 * that has happened already. */
static int obey(lua_State *L)
{
    lua_Integer parent = luaL_checkinteger(L, 1);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return luaL_error(L, "can't follow the parent process: %s", strerror(errno));
    if (getppid() != parent)
        return luaL_error(L, "process %I, for which this worker was started, is gone", parent);
    return 0;
}

void worker_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"start_worker", start_worker}, {"start", start_program}, {"wait_for_workers", wait_for_workers},
        {"pid", own_pid},               {"obey", obey},           {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"write", worker_write}, {"read", worker_read}, {"status", worker_status}, {"pid", worker_pid},
        {"stop", worker_stop},   {"leave", worker_leave}, {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, WORKER_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, worker_stop);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, worker_stop);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
