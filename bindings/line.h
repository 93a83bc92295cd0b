/* line.h: one line from the user, edited with readline on a terminal, and the history of what was typed. */
#ifndef PLUMB_LINE_H
#define PLUMB_LINE_H

#include <stdbool.h>

#include <lua.h>

typedef enum { INPUT_LINE, INPUT_INTERRUPTED, INPUT_END } input;

/* Decides between terminal and plain input; on a terminal the history is read. Ctrl-C must be caught (interrupt.h). */
void line_open(void);
void line_close(void);

/* Shows the prompt `text` and waits for a line, which is then in *line until the next call. */
input line_read(const char *text, const char **line);

/* Tab completes with the function below the prompt's (see prompt/complete.lua), called as function(before, line, first,
 * last): the lines of the statement so far, the current line, and the place in it (from 1) of the word before the
 * cursor. It returns a list of words to stand there and a text to come behind a word that is the only one. */
typedef struct {
    lua_State *L;
    int function;       /* stack index of the function, 0 for none */
    const char *before;
} completion;
void line_complete_with(completion how);

/* A statement, of one line or several, becomes the last entry of the history and of its file. */
void line_remember(const char *statement);

#endif
