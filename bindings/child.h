/* child.h: the life of another program: started without a shell, reaped, ended.
 *
 * A Child belongs to a userdata before it exists; child_end in that userdata's __gc lets go of all there is. */
#ifndef PLUMB_CHILD_H
#define PLUMB_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

/* What the child has as its descriptors 0, 1, ...; a worker of plumb's reads requests and writes replies beside its
 * standard streams. */
enum { CHILD_STDIN, CHILD_STDOUT, CHILD_STDERR, CHILD_REQUEST, CHILD_REPLY, CHILD_MAX_PIPES, CHILD_STANDARD_PIPES = 3 };

typedef struct {
    pid_t pid;                /* 0 when there is nothing to reap */
    int fd[CHILD_MAX_PIPES];  /* our ends of the pipes, which do not block; -1 when closed */
    int status;               /* as waitpid gives it; valid once pid is 0 again */
} Child;

/* A child that has not been started. */
void child_init(Child *child);

/* Starts argv[0], found along PATH, as the leader of a process group, with the first `pipes` of the descriptors above
 * and no others, in the folder `cwd` unless that is NULL. Returns 0 or an errno; child_end is due in both cases. */
int child_start(Child *child, char **argv, const char *cwd, int pipes);

/* True when the child is gone (or was never there); never waits. */
bool child_reap(Child *child);

/* Ends the child and what it started, and waits for that: SIGTERM, half a second later SIGKILL. */
void child_kill(Child *child);

/* Closes one of our ends. */
void child_close(Child *child, int pipe);

/* Closes the pipes and ends the child. */
void child_end(Child *child);

#endif
