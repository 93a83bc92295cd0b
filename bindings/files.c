/* files.c: reading data files that may be damaged, and writing files that must not be.
 *
 * A file that is open is owned by a userdata in a to-be-closed slot of the Lua stack, so it is closed (and a
 * half-written file removed) at the moment an error passes through, whoever raises it. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "../core/array.h"
#include "tensor.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files.bytes and files.from_bytes copy elements as they are");

#define SOURCE_TYPE "plumb.files.source"
#define DRAFT_TYPE "plumb.files.draft"
#define LISTING_TYPE "plumb.files.Listing"

enum {
    CHUNK_BYTES = 1 << 16,
    DEFLATE_RATIO = 1032,    /* deflate turns one byte into at most this many (zlib's technical notes) */
    COUNT_BEYOND = 16 << 20, /* an oversized stream is counted this far, for the message */
    NAME_ATTEMPTS = 1000
};

/* Paths go to the system as C strings: a path with a zero byte would silently name another file. */
static const char *check_path(lua_State *L, int index) {
    size_t length;
    const char *path = luaL_checklstring(L, index, &length);
    luaL_argcheck(L, length > 0, index, "the path is empty");
    luaL_argcheck(L, strlen(path) == length, index, "the path contains a zero byte");
    return path;
}

/* bytes of `s` with elements of `width` bytes; false when the number is beyond any memory */
static bool shape_bytes(const shape *s, size_t width, uint64_t *bytes) {
    *bytes = width;
    for (int axis = 0; axis < s->rank; axis++)
        if (__builtin_mul_overflow(*bytes, (uint64_t)s->size[axis], bytes)) return false;
    return *bytes <= INT64_MAX / 2;
}

/* ---- a file that is read, gzipped or plain ---- */

typedef struct {
    const char *path; /* kept alive by the argument on the stack */
    gzFile stream;    /* reads plain files as they are */
    int descriptor;   /* until the stream owns it; else -1 */
    bool gzipped;
    uint64_t file_bytes;
    uint32_t noted;    /* the last four bytes: what gzip says of the inflated data's length */
    uint64_t position; /* in the inflated data */
} Source;

static int source_close(lua_State *L) {
    Source *source = luaL_checkudata(L, 1, SOURCE_TYPE);
    if (source->stream != NULL) gzclose_r(source->stream);
    if (source->descriptor >= 0) close(source->descriptor);
    source->stream = NULL;
    source->descriptor = -1;
    return 0;
}

/* Pushes a source for the file, to be closed when the calling C function returns or raises. */
static Source *source_open(lua_State *L, const char *path) {
    Source *source = lua_newuserdatauv(L, sizeof *source, 0);
    *source = (Source){.path = path, .descriptor = -1};
    luaL_setmetatable(L, SOURCE_TYPE);
    lua_toclose(L, -1);

    source->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make us wait */
    struct stat status;
    if (source->descriptor < 0 || fstat(source->descriptor, &status) != 0)
        luaL_error(L, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode)) luaL_error(L, "cannot read %s: it is not a regular file", path);
    source->file_bytes = (uint64_t)status.st_size;
    unsigned char end[4] = {0};
    if (pread(source->descriptor, end, sizeof end, status.st_size - (off_t)sizeof end) == (ssize_t)sizeof end)
        source->noted = end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;

    source->stream = gzdopen(source->descriptor, "rb");
    if (source->stream == NULL) luaL_error(L, "cannot read %s: out of memory", path);
    source->descriptor = -1;
    gzbuffer(source->stream, CHUNK_BYTES);
    source->gzipped = !gzdirect(source->stream);
    return source;
}

static void source_raise(lua_State *L, Source *source) {
    int code;
    const char *message = gzerror(source->stream, &code);
    if (code == Z_ERRNO) luaL_error(L, "cannot read %s: %s", source->path, strerror(errno));
    const char *reason = strrchr(message, ':'); /* zlib puts "<fd:3>: " before its own words */
    luaL_error(L, "%s: the gzip data is damaged after %I inflated bytes (%s)", source->path,
               (lua_Integer)source->position, reason != NULL && reason[1] == ' ' ? reason + 2 : message);
}

/* Reads until `bytes` are there or the data end, and returns how many were read. Reaching the end checks gzip's
 * length and CRC; damaged data raise. */
static size_t source_read(lua_State *L, Source *source, void *to, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        unsigned part = bytes - done < (1u << 30) ? (unsigned)(bytes - done) : 1u << 30;
        int got = gzread(source->stream, (char *)to + done, part);
        if (got > 0) {
            done += (size_t)got;
            source->position += (uint64_t)got;
            continue;
        }
        int code;
        gzerror(source->stream, &code);
        if (got < 0 || code != Z_OK) source_raise(L, source); /* a cut-off stream ends with 0 and Z_BUF_ERROR */
        break;
    }
    return done;
}

/* ---- IDX: 0, 0, element type, rank, sizes as big-endian uint32, then the elements, big-endian and row-major ---- */

typedef struct {
    unsigned char code;
    unsigned char width; /* bytes in the file */
    dtype type;          /* in memory */
    const char *name;
} IdxType;

static const IdxType idx_types[] = {
    {0x08, 1, UINT8, "uint8"}, {0x09, 1, INT64, "int8"},      {0x0B, 2, INT64, "int16"},
    {0x0C, 4, INT64, "int32"}, {0x0D, 4, FLOAT32, "float32"}, {0x0E, 8, FLOAT64, "float64"},
};

typedef struct {
    const IdxType *type;
    shape shape;
    uint64_t header_bytes, data_bytes;
} IdxHeader;

static uint64_t big_endian(const unsigned char *bytes, int width) {
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value = value << 8 | bytes[i];
    return value;
}

static IdxHeader idx_read_header(lua_State *L, Source *source) {
    unsigned char bytes[4 * MAX_RANK];
    IdxHeader header = {0};
    size_t got = source_read(L, source, bytes, 4);
    if (got < 4) luaL_error(L, "%s: not an IDX file: it holds %d bytes, fewer than any header", source->path, (int)got);
    for (size_t i = 0; i < sizeof idx_types / sizeof *idx_types; i++)
        if (idx_types[i].code == bytes[2]) header.type = &idx_types[i];
    if (bytes[0] != 0 || bytes[1] != 0 || header.type == NULL) {
        char found[16];
        snprintf(found, sizeof found, "%02x %02x %02x %02x", bytes[0], bytes[1], bytes[2], bytes[3]);
        luaL_error(L, "%s: not an IDX file: it begins with %s; expected 00 00, an element type of 08, 09, 0b, 0c, 0d "
                   "or 0e, and the number of axes", source->path, found);
    }
    int rank = bytes[3];
    if (rank < 1 || rank > MAX_RANK)
        luaL_error(L, "%s: the header says %d axes; expected 1 to %d", source->path, rank, MAX_RANK);
    if ((got = source_read(L, source, bytes, 4 * (size_t)rank)) < 4 * (size_t)rank)
        luaL_error(L, "%s: truncated: found %d bytes, but a header with %d axes takes %d", source->path, (int)got + 4,
                   rank, 4 + 4 * rank);
    header.shape.rank = rank;
    for (int axis = 0; axis < rank; axis++) header.shape.size[axis] = (int64_t)big_endian(bytes + 4 * axis, 4);
    header.header_bytes = 4 + 4 * (uint64_t)rank;
    if (!shape_bytes(&header.shape, header.type->width, &header.data_bytes))
        luaL_error(L, "%s: the header says shape %s, more than any memory holds", source->path,
                   shape_format(header.shape).text);
    return header;
}

static void idx_raise_size(lua_State *L, const Source *source, const IdxHeader *header, uint64_t found, bool at_least) {
    uint64_t expected = header->header_bytes + header->data_bytes;
    luaL_error(L, "%s: %s: found %s%I bytes%s, but its header (%s, shape %s) says %I", source->path,
               found < expected ? "truncated" : "oversized", at_least ? "more than " : "", (lua_Integer)found,
               source->gzipped ? " after inflating" : "", header->type->name, shape_format(header->shape).text,
               (lua_Integer)expected);
}

/* Reads to the end: is it where the header says? */
static void idx_check_end(lua_State *L, Source *source, const IdxHeader *header) {
    uint64_t expected = header->header_bytes + header->data_bytes;
    unsigned char ignored[CHUNK_BYTES];
    while (source_read(L, source, ignored, sizeof ignored) == sizeof ignored)
        if (source->position > expected + COUNT_BEYOND) idx_raise_size(L, source, header, source->position, true);
    if (source->position != expected) idx_raise_size(L, source, header, source->position, false);
}

/* Before anything is allocated: does the file hold exactly what its header says? The length of gzipped data is known only by
 * inflating them, so they are read twice unless gzip's own note agrees; a small file that promises too much is refused before
 * that. */
static void idx_check_size(lua_State *L, Source *source, const IdxHeader *header) {
    uint64_t expected = header->header_bytes + header->data_bytes;
    if (!source->gzipped) {
        if (source->file_bytes != expected) idx_raise_size(L, source, header, source->file_bytes, false);
        return;
    }
    if (expected / DEFLATE_RATIO > source->file_bytes)
        luaL_error(L, "%s: truncated: its %I bytes of gzip data cannot hold the %I bytes that the header (%s, "
                   "shape %s) says", source->path, (lua_Integer)source->file_bytes, (lua_Integer)expected,
                   header->type->name, shape_format(header->shape).text);
    if (source->noted == (uint32_t)expected) return;
    idx_check_end(L, source, header);
    if (gzseek(source->stream, (z_off_t)header->header_bytes, SEEK_SET) < 0) source_raise(L, source);
    source->position = header->header_bytes;
}

static void idx_decode(const IdxType *type, const unsigned char *from, size_t count, void *to) {
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = big_endian(from + i * type->width, type->width);
        switch (type->code) {
            case 0x09: ((int64_t *)to)[i] = (int8_t)bits; break;
            case 0x0B: ((int64_t *)to)[i] = (int16_t)bits; break;
            case 0x0C: ((int64_t *)to)[i] = (int32_t)bits; break;
            case 0x0D: memcpy((float *)to + i, &(uint32_t){(uint32_t)bits}, sizeof(float)); break;
            default: memcpy((double *)to + i, &bits, sizeof(double));
        }
    }
}

/* files.read_idx(path)
 *
 * The tensor in an IDX file, gzipped or not: uint8 stays uint8; int8, int16 and int32 become int64; float32 and float64
 * stay what they are. Raises an error that names the file where it is not exactly what its header says. */
static int files_read_idx(lua_State *L) {
    Source *source = source_open(L, check_path(L, 1));
    IdxHeader header = idx_read_header(L, source);
    idx_check_size(L, source, &header);

    array *values = tensor_new(L, header.type->type, header.shape);
    char *to = array_data(values);
    size_t left = header.data_bytes, got;
    if (header.type->type == UINT8) {
        left -= source_read(L, source, to, left);
    } else {
        unsigned char chunk[CHUNK_BYTES];
        for (; left > 0; left -= got) {
            size_t part = left < sizeof chunk ? left : sizeof chunk;
            if ((got = source_read(L, source, chunk, part)) < part) break;
            idx_decode(header.type, chunk, got / header.type->width, to);
            to += got / header.type->width * dtype_bytes(header.type->type);
        }
    }
    if (source->gzipped) idx_check_end(L, source, &header);
    else if (left > 0) luaL_error(L, "%s: became shorter while it was read", source->path);
    return 1;
}

/* ---- elements as bytes ---- */

static char *copy_axis(const array *a, int axis, const char *from, char *to) {
    int64_t width = (int64_t)dtype_bytes(a->type);
    if (axis == a->shape.rank) {
        memcpy(to, from, (size_t)width);
        return to + width;
    }
    for (int64_t i = 0; i < a->shape.size[axis]; i++)
        to = copy_axis(a, axis + 1, from + i * a->strides[axis] * width, to);
    return to;
}

/* files.bytes(tensor) -> string: its elements in row-major order, little-endian */
static int files_bytes(lua_State *L) {
    const array *a = tensor_value(L, 1);
    uint64_t bytes = 0;
    if (!shape_bytes(&a->shape, dtype_bytes(a->type), &bytes))
        return luaL_error(L, "a tensor of shape %s is too large for a string", shape_format(a->shape).text);
    if (bytes == 0) {
        lua_pushliteral(L, "");
    } else if (array_is_contiguous(a)) {
        lua_pushlstring(L, array_data(a), bytes);
    } else {
        luaL_Buffer string;
        char *to = luaL_buffinitsize(L, &string, bytes);
        copy_axis(a, 0, array_data(a), to);
        luaL_pushresultsize(&string, bytes);
    }
    return 1;
}

static shape check_file_shape(lua_State *L, int index) {
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Unsigned rank = lua_rawlen(L, index);
    shape s = {0};
    if (rank > MAX_RANK) luaL_error(L, "a tensor has at most %d axes, not %I", MAX_RANK, (lua_Integer)rank);
    for (s.rank = 0; s.rank < (int)rank; s.rank++) {
        int is_integer;
        lua_rawgeti(L, index, s.rank + 1);
        s.size[s.rank] = lua_tointegerx(L, -1, &is_integer);
        if (lua_type(L, -1) != LUA_TNUMBER || !is_integer || s.size[s.rank] < 0)
            luaL_error(L, "size %d of the shape is %s; expected a whole number from 0", s.rank + 1,
                       luaL_tolstring(L, -1, NULL));
        lua_pop(L, 1);
    }
    return s;
}

/* files.from_bytes(string, dtype, {size, ...}) -> tensor: the inverse of files.bytes; the length must fit exactly */
static int files_from_bytes(lua_State *L) {
    size_t length;
    const char *bytes = luaL_checklstring(L, 1, &length);
    const char *name = luaL_checkstring(L, 2);
    dtype type;
    if (!dtype_parse(name, &type)) return luaL_argerror(L, 2, "expected float32, float64, int64 or uint8");
    shape s = check_file_shape(L, 3);
    uint64_t expected = 0;
    if (!shape_bytes(&s, dtype_bytes(type), &expected) || expected != length)
        return luaL_error(L, "%I bytes do not make a %s tensor of shape %s", (lua_Integer)length, name,
                          shape_format(s).text);
    array *values = tensor_new(L, type, s);
    if (length > 0) memcpy(array_data(values), bytes, length);
    return 1;
}

/* files.crc32({string, ...}) -> integer: the checksum of all of them, one after another, as gzip computes it */
static int files_crc32(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    uLong sum = crc32_z(0, NULL, 0);
    lua_Integer parts = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 1; i <= parts; i++) {
        size_t length;
        if (lua_rawgeti(L, 1, i) != LUA_TSTRING)
            return luaL_error(L, "part %I is a %s, not a string", i, luaL_typename(L, -1));
        const char *bytes = lua_tolstring(L, -1, &length);
        sum = crc32_z(sum, (const Bytef *)bytes, length);
        lua_pop(L, 1);
    }
    lua_pushinteger(L, (lua_Integer)sum);
    return 1;
}

/* ---- a file that is written whole or not at all ---- */

typedef struct {
    int descriptor;           /* -1 when closed */
    bool exists;              /* the temporary file is there */
    char target[PATH_MAX];    /* what is replaced: a symbolic link's own target, not the link */
    char folder[PATH_MAX];
    char temporary[PATH_MAX + 64];
} Draft;

static int draft_discard(lua_State *L) {
    Draft *draft = luaL_checkudata(L, 1, DRAFT_TYPE);
    if (draft->descriptor >= 0) close(draft->descriptor);
    if (draft->exists) unlink(draft->temporary);
    draft->descriptor = -1;
    draft->exists = false;
    return 0;
}

static int write_error(lua_State *L, const char *path, int reason) {
    return luaL_error(L, "cannot write %s: %s", path, strerror(reason));
}

/* Finds what `path` stands for. Returns the old file's access rights for the new one, -1 where there is none. */
static int draft_locate(lua_State *L, Draft *draft, const char *path) {
    struct stat status;
    int mode = -1;
    if (strlen(path) >= PATH_MAX) write_error(L, path, ENAMETOOLONG);
    if (path[strlen(path) - 1] == '/') write_error(L, path, EISDIR);
    if (realpath(path, draft->target) != NULL) {
        if (stat(draft->target, &status) != 0) write_error(L, path, errno);
        if (!S_ISREG(status.st_mode)) luaL_error(L, "cannot write %s: it is not a regular file", path);
        if (access(draft->target, W_OK) != 0) write_error(L, path, errno);
        mode = (int)(status.st_mode & 0777);
    } else {
        if (errno != ENOENT) write_error(L, path, errno);
        memcpy(draft->target, path, strlen(path) + 1);
    }
    const char *slash = strrchr(draft->target, '/');
    size_t length = slash == NULL ? 0 : slash == draft->target ? 1 : (size_t)(slash - draft->target);
    memcpy(draft->folder, draft->target, length);
    if (length == 0) draft->folder[length++] = '.';
    draft->folder[length] = '\0';
    return mode;
}

static void draft_create(lua_State *L, Draft *draft, const char *path) {
    static unsigned serial;
    for (int attempt = 0; attempt < NAME_ATTEMPTS && !draft->exists; attempt++) {
        snprintf(draft->temporary, sizeof draft->temporary, "%s/.plumb-%ld-%u.tmp", draft->folder, (long)getpid(),
                 serial++);
        draft->descriptor = open(draft->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        draft->exists = draft->descriptor >= 0;
        if (!draft->exists && errno != EEXIST) break;
    }
    if (!draft->exists) write_error(L, path, errno);
}

static bool write_all(int descriptor, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = write(descriptor, bytes, length < (1u << 30) ? length : 1u << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return false;
        bytes += done;
        length -= (size_t)done;
    }
    return true;
}

/* The rename is on disk only when its folder is. Some file systems cannot sync folders and need not. */
static bool sync_folder(const char *folder) {
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return errno == EACCES; /* writable but not readable: nothing more can be done */
    bool done = fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
    int reason = errno;
    close(descriptor);
    errno = reason;
    return done;
}

/* files.write_atomically(path, {string, ...})
 *
 * Writes the strings one after another, so that `path` holds either all of them or what it held before, also when
 * the machine stops. A symbolic link is followed, and the old file's access rights are kept. Raises what the system
 * says. */
static int files_write_atomically(lua_State *L) {
    const char *path = check_path(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer parts = (lua_Integer)lua_rawlen(L, 2);
    for (lua_Integer i = 1; i <= parts; i++) {
        if (lua_rawgeti(L, 2, i) != LUA_TSTRING)
            return luaL_error(L, "part %I of %s is a %s, not a string", i, path, luaL_typename(L, -1));
        lua_pop(L, 1);
    }
    Draft *draft = lua_newuserdatauv(L, sizeof *draft, 0);
    draft->descriptor = -1;
    draft->exists = false;
    luaL_setmetatable(L, DRAFT_TYPE);
    lua_toclose(L, -1);

    int mode = draft_locate(L, draft, path);
    draft_create(L, draft, path);
    for (lua_Integer i = 1; i <= parts; i++) {
        size_t length;
        lua_rawgeti(L, 2, i);
        const char *bytes = lua_tolstring(L, -1, &length);
        if (!write_all(draft->descriptor, bytes, length)) return write_error(L, path, errno);
        lua_pop(L, 1);
    }
    if (mode >= 0 && fchmod(draft->descriptor, (mode_t)mode) != 0) return write_error(L, path, errno);
    if (fsync(draft->descriptor) != 0) return write_error(L, path, errno);
    int descriptor = draft->descriptor;
    draft->descriptor = -1;
    if (close(descriptor) != 0) return write_error(L, path, errno);
    if (rename(draft->temporary, draft->target) != 0) return write_error(L, path, errno);
    draft->exists = false;
    return sync_folder(draft->folder) ? 0 : write_error(L, path, errno);
}

/* ---- folders ---- */

static bool is_directory(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* A new folder is on disk only when the one above it is; the path is restored. Best effort: what is written there will tell. */
static void sync_folder_above(char *path) {
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        sync_folder(slash == NULL ? "." : "/");
        return;
    }
    *slash = '\0';
    sync_folder(path);
    *slash = '/';
}

/* files.make_directory(path): makes a folder and those above it, on disk; one that is there already is fine */
static int files_make_directory(lua_State *L) {
    const char *path = check_path(L, 1);
    size_t length = strlen(path);
    char *prefix = memcpy(lua_newuserdatauv(L, length + 1, 0), path, length + 1);
    for (size_t end = 1; end <= length; end++) {
        if (path[end] != '/' && path[end] != '\0') continue;
        prefix[end] = '\0';
        if (mkdir(prefix, 0777) == 0) {
            sync_folder_above(prefix);
        } else {
            int reason = errno;
            if (!is_directory(prefix))
                return luaL_error(L, "cannot make the folder %s: %s: %s", path, prefix,
                                  strerror(reason == EEXIST ? ENOTDIR : reason));
        }
        prefix[end] = path[end];
    }
    return 0;
}

/* files.remove_directory(path): removes a folder and the files in it; it must hold no other folders. One that is not there
 * is fine. */
static int files_remove_directory(lua_State *L) {
    const char *path = check_path(L, 1);
    DIR *folder = opendir(path);
    if (folder == NULL && errno == ENOENT) return 0;
    int reason = folder == NULL ? errno : 0;
    for (const struct dirent *entry; reason == 0 && (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0 && errno != ENOENT) reason = errno;
    }
    if (folder != NULL) closedir(folder);
    if (reason == 0 && rmdir(path) != 0) reason = errno;
    return reason == 0 ? 0 : luaL_error(L, "cannot remove the folder %s: %s", path, strerror(reason));
}

/* files.is_writable_directory(path) -> boolean: files can be made in it */
static int files_is_writable_directory(lua_State *L) {
    const char *path = check_path(L, 1);
    lua_pushboolean(L, is_directory(path) && access(path, W_OK | X_OK) == 0);
    return 1;
}

/* files.exists(path) -> boolean: a file, a folder or anything else, links followed */
static int files_exists(lua_State *L) {
    struct stat status;
    lua_pushboolean(L, stat(check_path(L, 1), &status) == 0);
    return 1;
}

static int listing_close(lua_State *L) {
    DIR **listing = luaL_checkudata(L, 1, LISTING_TYPE);
    if (*listing != NULL) closedir(*listing);
    *listing = NULL;
    return 0;
}

/* files.list(path) -> the names in a folder, in no order, those of folders with a `/` behind them; nil if it can't be read */
static int files_list(lua_State *L) {
    const char *path = check_path(L, 1);
    DIR **listing = lua_newuserdatauv(L, sizeof(DIR *), 0);
    *listing = NULL;
    luaL_setmetatable(L, LISTING_TYPE);
    lua_toclose(L, -1);
    *listing = opendir(path);
    if (*listing == NULL) return 0;
    lua_newtable(L);
    lua_Integer count = 0;
    for (const struct dirent *entry; (entry = readdir(*listing)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        const char *full = lua_pushfstring(L, "%s/%s", path, entry->d_name);
        lua_pushfstring(L, is_directory(full) ? "%s/" : "%s", entry->d_name);
        lua_rawseti(L, -3, ++count);
        lua_pop(L, 1);
    }
    return 1;
}

static void add_owner_type(lua_State *L, const char *name, lua_CFunction release) {
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, release);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

void files_register(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"read_idx", files_read_idx},
        {"bytes", files_bytes},
        {"from_bytes", files_from_bytes},
        {"write_atomically", files_write_atomically},
        {"crc32", files_crc32},
        {"make_directory", files_make_directory},
        {"remove_directory", files_remove_directory},
        {"is_writable_directory", files_is_writable_directory},
        {"exists", files_exists},
        {"list", files_list},
        {NULL, NULL},
    };
    add_owner_type(L, SOURCE_TYPE, source_close);
    add_owner_type(L, DRAFT_TYPE, draft_discard);
    add_owner_type(L, LISTING_TYPE, listing_close);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "files");
}
