/* child.c: starting and ending another program. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

static const double GRACE_SECONDS = 0.5; /* from SIGTERM to SIGKILL */

extern char **environ;

void child_init(Child *child)
{
    *child = (Child){0};
    for (int i = 0; i < CHILD_MAX_PIPES; i++)
        child->fd[i] = -1;
}

void child_close(Child *child, int pipe)
{
    if (child->fd[pipe] >= 0)
        close(child->fd[pipe]);
    child->fd[pipe] = -1;
}

/* ---- ending ---- */

bool child_reap(Child *child)
{
    if (child->pid == 0)
        return true;
    int status = 0;
    pid_t found;
    do
        found = waitpid(child->pid, &status, WNOHANG);
    while (found < 0 && errno == EINTR);
    if (found == 0)
        return false;
    child->status = found > 0 ? status : 0;
    child->pid = 0;
    return true;
}

void child_kill(Child *child)
{
    if (child_reap(child))
        return;
    pid_t group = child->pid;
    kill(-group, SIGTERM);
    double deadline = process_seconds() + GRACE_SECONDS;
    while (!child_reap(child) && process_seconds() < deadline)
        process_sleep(0.005);
    kill(-group, SIGKILL);
    while (!child_reap(child))
        process_sleep(0.001);
}

void child_end(Child *child)
{
    for (int i = 0; i < CHILD_MAX_PIPES; i++)
        child_close(child, i);
    child_kill(child);
}

/* ---- starting ---- */

typedef int Pipes[CHILD_MAX_PIPES][2]; /* pairs {read, write}; -1 where there is none */

/* Does the child read from this pipe, rather than write to it? */
static bool child_reads(int pipe) { return pipe == CHILD_STDIN || pipe == CHILD_REQUEST; }

/* The pipes get numbers so high that placing them in the child as 0, 1, ... overwrites none. */
static int open_pipes(Pipes pipes, int count)
{
    for (int i = 0; i < count; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) < 0)
            return errno;
        for (int end = 0; end < 2; end++) {
            if (pipes[i][end] >= count)
                continue;
            int low = pipes[i][end];
            pipes[i][end] = fcntl(low, F_DUPFD_CLOEXEC, count);
            int failure = pipes[i][end] < 0 ? errno : 0;
            close(low);
            if (failure)
                return failure;
        }
    }
    return 0;
}

static int add_file_actions(posix_spawn_file_actions_t *actions, Pipes pipes, int count, const char *cwd)
{
    int failure = 0;
    for (int i = 0; i < count && !failure; i++)
        failure = posix_spawn_file_actions_adddup2(actions, pipes[i][child_reads(i) ? 0 : 1], i);
#if defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    /* Lua's io.open does not mark its files close-on-exec. */
    if (!failure)
        failure = posix_spawn_file_actions_addclosefrom_np(actions, count);
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

static int spawn_with_pipes(Child *child, char **argv, const char *cwd, Pipes pipes, int count)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure)
        return failure;
    failure = posix_spawnattr_init(&attributes);
    if (!failure) {
        failure = add_file_actions(&actions, pipes, count, cwd);
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

int child_start(Child *child, char **argv, const char *cwd, int count)
{
    Pipes pipes = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    prepare_signals();
    int failure = open_pipes(pipes, count);
    if (!failure)
        failure = spawn_with_pipes(child, argv, cwd, pipes, count);
    for (int i = 0; i < count; i++) {
        int theirs = pipes[i][child_reads(i) ? 0 : 1];
        if (theirs >= 0)
            close(theirs);
        child->fd[i] = pipes[i][child_reads(i) ? 1 : 0];
        if (!failure && fcntl(child->fd[i], F_SETFL, O_NONBLOCK) < 0)
            failure = errno;
    }
    return failure;
}
