/* The functions of library.h for files. */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "interrupt.h"
#include "library.h"

/* Texts that are known to be shorter than LONG_TEXT are left to the standard functions. */
enum { LONG_TEXT = 1 << 20, PIECE = 1 << 20 /* bytes between two looks */, FIRST_PIECE = 4096 /* most files are small */,
       WRITTEN = 1 << 16 /* bytes between two looks: a terminal may be slow */ };

static lua_CFunction standard_read, standard_write, standard_lines;                 /* of a file */
static lua_CFunction standard_io_read, standard_io_write, standard_io_lines;        /* of io */
static lua_CFunction standard_input, standard_output, standard_print;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Puts the default file, which is what standard_input or standard_output returns, before the arguments, as in a call of its
 * method. Where it is closed it does nothing, and the standard function says so. */
static bool insert_default(lua_State *L, lua_CFunction standard) {
    lua_pushcfunction(L, standard);
    lua_call(L, 0, 1);
    const luaL_Stream *file = luaL_testudata(L, -1, LUA_FILEHANDLE);
    if (file == NULL || file->closef == NULL) return lua_pop(L, 1), false;
    lua_insert(L, 1);
    return true;
}

/* ---- reading ---- */

typedef struct {
    char format; /* 'l' or 'L': a line; 'a': all that there is, up to `most` bytes; 'n': a number or a few bytes */
    size_t most;
} request;

/* What the format at `index` (none is "l") asks for; false where the standard function is to say that it is none. */
static bool request_of(lua_State *L, int index, request *asked) {
    *asked = (request){'l', SIZE_MAX};
    switch (lua_type(L, index)) {
    case LUA_TNONE: return true;
    case LUA_TNUMBER: {
        int is_integer;
        const lua_Integer most = lua_tointegerx(L, index, &is_integer);
        *asked = (request){most > LONG_TEXT ? 'a' : 'n', (size_t)most};
        return is_integer;
    }
    case LUA_TSTRING: break;
    default: return false;
    }
    const char *format = lua_tostring(L, index);
    asked->format = format[*format == '*'];
    if (asked->format == 'n') asked->most = 0;
    return asked->format != '\0' && strchr("lLan", asked->format) != NULL;
}

/* Are the values from `first` on formats, of which one asks for what may be long? */
static bool may_be_long(lua_State *L, int first) {
    bool any_long = lua_gettop(L) < first;
    for (int i = first; i <= lua_gettop(L); i++) {
        request asked;
        if (!request_of(L, i, &asked)) return false;
        any_long = any_long || asked.format != 'n';
    }
    return any_long;
}

/* Pushes what was read, or says false when that is nothing, because the file is at its end. */
static bool read_bytes(lua_State *L, FILE *file, size_t most) {
    size_t got = 0, wanted, count, size = FIRST_PIECE;
    luaL_Buffer made;
    luaL_buffinit(L, &made);
    do {
        wanted = smaller(most - got, size);
        count = fread(luaL_prepbuffsize(&made, wanted), 1, wanted, file);
        luaL_addsize(&made, count);
        got += count;
        size = smaller(2 * size, PIECE);
        interrupt_poll(L);
    } while (got < most && count == wanted);
    luaL_pushresult(&made);
    if (got > 0 || most == SIZE_MAX) return true;
    lua_pop(L, 1);
    return false;
}

/* No other thread reads a file of Lua's, so that its lock isn't needed. */
static bool read_line(lua_State *L, FILE *file, bool with_end) {
    int c = 0;
    luaL_Buffer made;
    luaL_buffinit(L, &made);
    do {
        size_t count = 0;
        char *piece = luaL_prepbuffer(&made);
        while (count < LUAL_BUFFERSIZE && (c = getc_unlocked(file)) != EOF && c != '\n') piece[count++] = (char)c;
        luaL_addsize(&made, count);
        interrupt_poll(L);
    } while (c != EOF && c != '\n');
    if (with_end && c == '\n') luaL_addchar(&made, '\n');
    luaL_pushresult(&made);
    if (c == '\n' || lua_rawlen(L, -1) > 0) return true;
    lua_pop(L, 1);
    return false;
}

/* Pushes what was read, or nil and says false. The file is the first value on the stack. */
static bool read_asked(lua_State *L, FILE *file, int format) {
    request asked;
    request_of(L, format, &asked);
    /* It would forget the end of the file, and ask a terminal once more. */
    if (asked.format == 'n' && (!feof(file) || asked.most > LONG_TEXT)) {
        lua_pushcfunction(L, standard_read);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, format);
        lua_call(L, 2, 1);
        return !lua_isnil(L, -1);
    }
    if (asked.format == 'a' && read_bytes(L, file, asked.most)) return true;
    if ((asked.format == 'l' || asked.format == 'L') && read_line(L, file, asked.format == 'L')) return true;
    lua_pushnil(L);
    return false;
}

/* Pushes the results of file:read(format, ...) and returns how many they are. On the stack are the file and the formats;
 * nothing is read after a format for which there is nothing. */
static int read_each(lua_State *L, FILE *file) {
    const int top = lua_gettop(L), last = top > 2 ? top : 2;
    bool got = true;
    luaL_checkstack(L, last + LUA_MINSTACK, "too many arguments");
    clearerr(file);
    for (int i = 2; i <= last && got && !ferror(file); i++) got = read_asked(L, file, i);
    return ferror(file) ? luaL_fileresult(L, 0, NULL) : lua_gettop(L) - top;
}

/* file:read(format, ...) */
static int read_file(lua_State *L) {
    const luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
    if (file == NULL || file->closef == NULL || !may_be_long(L, 2)) return standard_read(L);
    return read_each(L, file->f);
}

/* io.read(format, ...) */
static int read_input(lua_State *L) {
    return may_be_long(L, 1) && insert_default(L, standard_input) ? read_file(L) : standard_io_read(L);
}

/* ---- lines ---- */

/* The iterator. Its upvalues are those of the standard one: the file, the number of formats, whether to close the file at
 * its end, and the formats. */
static int next_line(lua_State *L) {
    luaL_Stream *file = lua_touserdata(L, lua_upvalueindex(1));
    const int formats = (int)lua_tointeger(L, lua_upvalueindex(2));
    if (file->closef == NULL) return luaL_error(L, "file is already closed");
    lua_settop(L, 0);
    luaL_checkstack(L, formats + 1, "too many arguments");
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 0; i < formats; i++) lua_pushvalue(L, lua_upvalueindex(4 + i));
    const int results = read_each(L, file->f);
    if (lua_toboolean(L, -results)) return results;
    if (results > 1) return luaL_error(L, "%s", lua_tostring(L, -results + 1));
    if (lua_toboolean(L, lua_upvalueindex(3))) {
        const lua_CFunction close = file->closef;
        lua_settop(L, 1);
        file->closef = NULL;
        close(L);
    }
    return 0;
}

static int lines(lua_State *L, lua_CFunction standard) {
    const bool ours = may_be_long(L, 2);
    const int results = standard(L);
    if (!ours) return results;
    const int iterator = lua_gettop(L) - results + 1;
    int count = 0;
    luaL_checkstack(L, UCHAR_MAX, "too many arguments"); /* a closure's upvalues */
    while (lua_getupvalue(L, iterator, count + 1) != NULL) count++;
    lua_pushcclosure(L, next_line, count);
    lua_replace(L, iterator);
    return results;
}

static int lines_of_file(lua_State *L) { return lines(L, standard_lines); }  /* file:lines(format, ...) */
static int lines_of_path(lua_State *L) { return lines(L, standard_io_lines); } /* io.lines(path, format, ...) */

/* ---- writing ---- */

static bool is_long(lua_State *L, int index) { return lua_type(L, index) == LUA_TSTRING && lua_rawlen(L, index) > LONG_TEXT; }

/* Is one of the arguments from `first` on a long text? */
static bool writes_much(lua_State *L, int first) {
    for (int i = lua_gettop(L); i >= first; i--)
        if (is_long(L, i)) return true;
    return false;
}

/* Can all of them be written? If not, the standard function writes those before the first that can't and says which that is. */
static bool are_texts(lua_State *L, int first) {
    for (int i = lua_gettop(L); i >= first; i--)
        if (!lua_isstring(L, i)) return false;
    return true;
}

static bool write_text(lua_State *L, FILE *file, const char *text, size_t length) {
    for (size_t at = 0, count; at < length; at += count) {
        count = smaller(length - at, WRITTEN);
        const bool written = fwrite(text + at, 1, count, file) == count;
        interrupt_poll(L);
        if (!written) return false;
    }
    return true;
}

/* file:write(text, ...) */
static int write_file(lua_State *L) {
    if (!writes_much(L, 2) || !are_texts(L, 2)) return standard_write(L);
    const luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
    if (file == NULL || file->closef == NULL) return standard_write(L);
    const int last = lua_gettop(L);
    for (int i = 2; i <= last; i++) {
        if (is_long(L, i)) {
            if (!write_text(L, file->f, lua_tostring(L, i), lua_rawlen(L, i))) return luaL_fileresult(L, 0, NULL);
            continue;
        }
        lua_pushcfunction(L, standard_write);
        lua_pushvalue(L, 1);
        lua_pushvalue(L, i);
        lua_call(L, 2, LUA_MULTRET);
        if (lua_isnil(L, last + 1)) return lua_gettop(L) - last;
        lua_settop(L, last);
    }
    lua_settop(L, 1);
    return 1;
}

/* io.write(text, ...) */
static int write_output(lua_State *L) {
    const bool ours = writes_much(L, 1) && are_texts(L, 1);
    return ours && insert_default(L, standard_output) ? write_file(L) : standard_io_write(L);
}

/* print(value, ...): long texts in pieces. */
static int print(lua_State *L) {
    const int last = lua_gettop(L);
    bool any_long = false;
    for (int i = 1; i <= last; i++) any_long = any_long || (lua_type(L, i) == LUA_TSTRING && lua_rawlen(L, i) > WRITTEN);
    if (!any_long) return standard_print(L);
    for (int i = 1; i <= last; i++) {
        size_t length;
        const char *text = luaL_tolstring(L, i, &length);
        if (i > 1) fputc('\t', stdout);
        write_text(L, stdout, text, length);
        lua_pop(L, 1);
    }
    fputc('\n', stdout);
    fflush(stdout);
    return 0;
}

/* ---- for the program ---- */

static lua_CFunction function_of(lua_State *L, const char *name) {
    lua_getfield(L, -1, name);
    const lua_CFunction function = lua_tocfunction(L, -1);
    lua_pop(L, 1);
    return function;
}

void library_files_open(lua_State *L) {
    lua_pushglobaltable(L);
    standard_print = library_replace(L, "print", print);
    lua_pop(L, 1);
    lua_getglobal(L, "io");
    standard_input = function_of(L, "input");
    standard_output = function_of(L, "output");
    standard_io_read = library_replace(L, "read", read_input);
    standard_io_write = library_replace(L, "write", write_output);
    standard_io_lines = library_replace(L, "lines", lines_of_path);
    luaL_getmetatable(L, LUA_FILEHANDLE);
    lua_getfield(L, -1, "__index");
    standard_read = library_replace(L, "read", read_file);
    standard_write = library_replace(L, "write", write_file);
    standard_lines = library_replace(L, "lines", lines_of_file);
    lua_pop(L, 3);
}
