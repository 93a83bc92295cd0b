/* terminal.c: what the terminal is and can do. */
#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "process.h"

/* process.isatty(fd): is this descriptor (0, 1, 2, ...) a terminal? */
static int terminal_isatty(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    lua_pushboolean(L, fd >= 0 && fd <= INT_MAX && isatty((int)fd));
    return 1;
}

/* process.terminal_width(): columns of the terminal on standard output, or nil when it is none. */
static int terminal_width(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        lua_pushinteger(L, size.ws_col);
    else
        lua_pushnil(L);
    return 1;
}

/* process.terminal_pixels() -> width, height of the terminal on standard output, and of one row; nil where it does not say */
static int terminal_pixels(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_xpixel == 0 || size.ws_ypixel == 0 || size.ws_row == 0) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushinteger(L, size.ws_xpixel);
    lua_pushinteger(L, size.ws_ypixel);
    lua_pushnumber(L, (lua_Number)size.ws_ypixel / size.ws_row);
    return 3;
}

enum { MAX_ANSWER = 256 };

static bool wait_readable(int fd, double seconds)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, (int)(1000 * seconds)) > 0;
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = write(fd, bytes, length);
        if (count < 0 && errno != EINTR)
            return false;
        if (count > 0) {
            bytes += count;
            length -= (size_t)count;
        }
    }
    return true;
}

/* Reads up to the byte `last`. Returns the answer's length, 0 when it does not come in time. */
static size_t read_answer(char answer[MAX_ANSWER], char last, double seconds)
{
    double deadline = process_seconds() + seconds;
    size_t length = 0;
    while (length < MAX_ANSWER) {
        double left = deadline - process_seconds();
        if (left <= 0 || !wait_readable(STDIN_FILENO, left) || read(STDIN_FILENO, answer + length, 1) != 1)
            return 0;
        if (answer[length++] == last)
            return length;
    }
    return 0;
}

/* process.ask_terminal(question, last, seconds) -> the terminal's answer, which ends with the byte `last`; nil where standard
 * input or output is no terminal, the terminal does not answer, or somebody has typed ahead: those keys belong to whoever
 * reads them next. The answer is not shown. */
static int ask_terminal(lua_State *L)
{
    size_t length, last_length;
    const char *question = luaL_checklstring(L, 1, &length);
    const char *last = luaL_checklstring(L, 2, &last_length);
    double seconds = luaL_checknumber(L, 3);
    luaL_argcheck(L, last_length == 1, 2, "must be one byte");
    luaL_argcheck(L, seconds >= 0 && seconds <= 60, 3, "must be from 0 to 60 seconds");
    struct termios before, quiet;
    luaL_pushfail(L);
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0 || tcgetpgrp(STDIN_FILENO) != getpgrp())
        return 1;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    quiet.c_cc[VMIN] = 1;
    quiet.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &quiet) != 0)
        return 1;
    char answer[MAX_ANSWER];
    size_t count = 0;
    if (!wait_readable(STDIN_FILENO, 0) && write_all(STDOUT_FILENO, question, length))
        count = read_answer(answer, *last, seconds);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    if (count > 0)
        lua_pushlstring(L, answer, count);
    return 1;
}

void terminal_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"isatty", terminal_isatty},         {"terminal_width", terminal_width}, {"terminal_pixels", terminal_pixels},
        {"ask_terminal", ask_terminal},      {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
