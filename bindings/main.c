/* main.c: the interpreter's command line.
 *
 * plumb takes the options of the standalone lua 5.4 and treats a program that does not use plumb as lua would. What it
 * adds is ready before the first chunk runs: `require "plumb"` works from any working directory. */
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "allocate.h"
#include "interrupt.h"
#include "library.h"
#include "match.h"
#include "repl.h"

#ifndef PLUMB_VERSION
#define PLUMB_VERSION "0.1.0"
#endif

#define BANNER "plumb " PLUMB_VERSION "  (Lua " LUA_VERSION_MAJOR "." LUA_VERSION_MINOR ")"

int luaopen_plumb_core(lua_State *L);

typedef struct {
    bool interactive;        /* -i */
    bool version;            /* -v */
    bool execute;            /* -e */
    bool ignore_environment; /* -E */
    int script;              /* index in argv of the script; argc when there is none */
    const char *bad;         /* the option that could not be understood, or NULL */
} Options;

static const char *program = "plumb";

/* ---- options ---- */

/* Reads the options without acting on them, so that a wrong one is reported before anything has run. */
static Options parse_options(int argc, char **argv) {
    Options options = {.script = argc};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (option[0] != '-' || option[1] == '\0') {
            options.script = i;
            return options;
        }
        if (strcmp(option, "--") == 0) {
            options.script = i + 1;
            return options;
        }
        const bool takes_value = option[1] == 'e' || option[1] == 'l';
        bool known = takes_value || option[2] == '\0';
        switch (option[1]) {
        case 'i': options.interactive = true; break;
        case 'v': options.version = true; break;
        case 'E': options.ignore_environment = true; break;
        case 'W': break;
        case 'e': options.execute = true; break;
        case 'l': break;
        default: known = false;
        }
        if (takes_value && option[2] == '\0') {
            i++;
            known = i < argc && argv[i][0] != '-';
        }
        if (!known) {
            options.bad = option;
            return options;
        }
    }
    return options;
}

static void print_usage(const char *bad) {
    if (bad[1] == 'e' || bad[1] == 'l')
        fprintf(stderr, "%s: option '%s' needs a value\n", program, bad);
    else
        fprintf(stderr, "%s: unrecognized option '%s'\n", program, bad);
    fprintf(stderr,
            "usage: %s [options] [script [arguments]]\n"
            "  -e CODE    run CODE\n"
            "  -l NAME    require module NAME and keep it in the global NAME\n"
            "  -l G=NAME  require module NAME and keep it in the global G\n"
            "  -i         open the prompt after the script\n"
            "  -v         print the versions of plumb and Lua\n"
            "  -E         ignore LUA_INIT, LUA_PATH and LUA_CPATH\n"
            "  -W         show warnings\n"
            "  --         the options end here\n"
            "  -          the options end here and the script is standard input\n"
            "Without a script, plumb runs standard input, or opens the prompt when that is a terminal.\n",
            program);
}

static void print_line(const char *line) {
    printf("%s\n", line);
    fflush(stdout);
}

/* ---- running chunks ---- */

/* `status` is the result of loading a chunk, which is on top of the stack, below its error message if there is one. */
static int run_chunk(lua_State *L, int status) {
    if (status == LUA_OK)
        status = repl_call(L, 0, 0);
    return repl_report(L, program, status);
}

static int run_string(lua_State *L, const char *code, const char *name) {
    return run_chunk(L, luaL_loadbuffer(L, code, strlen(code), name));
}

/* Runs a file, or standard input where `file` is NULL. */
static int run_file(lua_State *L, const char *file) {
    return run_chunk(L, luaL_loadfile(L, file));
}

/* `specification` is NAME or G=NAME. */
static int require_global(lua_State *L, const char *specification) {
    const char *equals = strchr(specification, '=');
    const char *module = equals != NULL ? equals + 1 : specification;
    const size_t length = equals != NULL ? (size_t)(equals - specification) : strlen(specification);
    lua_pushglobaltable(L);
    lua_pushlstring(L, specification, length);
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    int status = repl_call(L, 1, 1);
    if (status == LUA_OK)
        lua_settable(L, -3);
    else
        repl_report(L, program, status);
    lua_settop(L, 0);
    return status;
}

static int run_init(lua_State *L) {
    const char *name = "=LUA_INIT_" LUA_VERSION_MAJOR "_" LUA_VERSION_MINOR;
    const char *init = getenv(name + 1);
    if (init == NULL) {
        name = "=LUA_INIT";
        init = getenv(name + 1);
    }
    if (init == NULL)
        return LUA_OK;
    return init[0] == '@' ? run_file(L, init + 1) : run_string(L, init, name);
}

/* Acts on -e, -l and -W in the order given, up to the first error. */
static int run_options(lua_State *L, char **argv, int end) {
    for (int i = 1; i < end; i++) {
        const char letter = argv[i][1];
        int status = LUA_OK;
        if (letter == 'W')
            lua_warning(L, "@on", 0);
        if (letter != 'e' && letter != 'l')
            continue;
        const char *value = argv[i][2] != '\0' ? argv[i] + 2 : argv[++i];
        status = letter == 'e' ? run_string(L, value, "=(command line)") : require_global(L, value);
        if (status != LUA_OK)
            return status;
    }
    return LUA_OK;
}

/* The global `arg`: the script at 0, its arguments from 1, and what stood before it at negative indices. */
static void create_arg_table(lua_State *L, int argc, char **argv, int script) {
    if (script == argc)
        script = 0;
    lua_createtable(L, argc - script, script + 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - script);
    }
    lua_setglobal(L, "arg");
}

/* The script's arguments come from the global `arg`, which an earlier chunk may have changed. */
static int push_arguments(lua_State *L) {
    if (lua_getglobal(L, "arg") != LUA_TTABLE)
        luaL_error(L, "'arg' is not a table");
    const lua_Integer count = luaL_len(L, -1);
    if (count >= INT_MAX)
        luaL_error(L, "too many arguments to the script");
    luaL_checkstack(L, (int)count + 3, "too many arguments to the script");
    const int table = lua_gettop(L);
    for (lua_Integer i = 1; i <= count; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return (int)count;
}

static int run_script(lua_State *L, char **argv, int script) {
    const char *file = argv[script];
    if (strcmp(file, "-") == 0 && strcmp(argv[script - 1], "--") != 0)
        file = NULL;
    int status = luaL_loadfile(L, file);
    if (status == LUA_OK) {
        const int arguments = push_arguments(L);
        status = repl_call(L, arguments, LUA_MULTRET);
    }
    status = repl_report(L, program, status);
    lua_settop(L, 0);
    return status;
}

/* ---- where plumb's library and Debian's Lua modules are ---- */

/* Writes the folder of the running executable; false where the system can't tell. */
static bool executable_folder(char *folder, size_t size) {
    const ssize_t length = readlink("/proc/self/exe", folder, size - 1);
    if (length <= 0)
        return false;
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    return true;
}

/* Puts `<folder>/?.lua;<folder>/?/init.lua` before the templates in package.path, where folder is `lua` beside the
 * executable (a checkout) or `../share/plumb/lua` (installed). */
static void prepend_library(lua_State *L) {
    char folder[PATH_MAX];
    if (!executable_folder(folder, sizeof folder))
        return;
    const char *library = lua_pushfstring(L, "%s/lua", folder);
    if (access(lua_pushfstring(L, "%s/plumb/init.lua", library), R_OK) != 0) {
        char *slash = strrchr(folder, '/');
        if (slash != NULL)
            *slash = '\0';
        library = lua_pushfstring(L, "%s/share/plumb/lua", folder);
    }
    if (strpbrk(library, ";?") != NULL)
        fprintf(stderr, "%s: Lua can't search a folder with ';' or '?' in its name; move plumb out of %s\n", program,
                folder);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", library, library, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_settop(L, 0);
}

/* Appends `templates` to package[field] unless its first template is already there. */
static void append_templates(lua_State *L, const char *field, const char *templates) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, field);
    const char *path = lua_tostring(L, -1);
    lua_pushlstring(L, templates, strcspn(templates, ";"));
    if (strstr(path, lua_tostring(L, -1)) == NULL) {
        lua_pushfstring(L, "%s;%s", path, templates);
        lua_setfield(L, -4, field);
    }
    lua_settop(L, 0);
}

static bool environment_sets(const char *name, const char *versioned_name) {
    return getenv(name) != NULL || getenv(versioned_name) != NULL;
}

/* A Lua that was not built by Debian would not find the modules that Debian's packages install (busted, argparse ...). */
static void append_debian_paths(lua_State *L, bool ignore_environment) {
    if (ignore_environment || !environment_sets("LUA_PATH", "LUA_PATH_5_4"))
        append_templates(L, "path", "/usr/share/lua/5.4/?.lua;/usr/share/lua/5.4/?/init.lua");
    if (ignore_environment || !environment_sets("LUA_CPATH", "LUA_CPATH_5_4")) {
#if defined(__x86_64__)
        append_templates(L, "cpath", "/usr/lib/x86_64-linux-gnu/lua/5.4/?.so");
#elif defined(__aarch64__)
        append_templates(L, "cpath", "/usr/lib/aarch64-linux-gnu/lua/5.4/?.so");
#endif
    }
}

static void open_plumb(lua_State *L, bool ignore_environment) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_plumb_core);
    lua_setfield(L, -2, "plumb.core");
    lua_settop(L, 0);
    append_debian_paths(L, ignore_environment);
    prepend_library(L);
}

/* ---- the program ---- */

static void open_state(lua_State *L, int argc, char **argv, const Options *options) {
    if (options->ignore_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    luaL_openlibs(L);
    allocate_open(L);
    interrupt_open(L);
    match_open(L);
    library_open(L);
    open_plumb(L, options->ignore_environment);
    create_arg_table(L, argc, argv, options->script);
    lua_gc(L, LUA_GCGEN, 0, 0);
}

/* Runs in protected mode with argc and argv as arguments; returns true when the program ended well. */
static int protected_main(lua_State *L) {
    const int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    const Options options = parse_options(argc, argv);
    const bool has_script = options.script < argc;
    const bool uses_input = !has_script && !options.execute && !options.version && !options.interactive;
    const bool at_terminal = uses_input && isatty(STDIN_FILENO);
    lua_settop(L, 0);
    if (options.bad != NULL) {
        print_usage(options.bad);
        return 0;
    }
    if (options.version || options.interactive)
        print_line(BANNER);
    if (options.version)
        print_line(LUA_COPYRIGHT);
    open_state(L, argc, argv, &options);
    if (!options.ignore_environment && run_init(L) != LUA_OK)
        return 0;
    if (run_options(L, argv, options.script) != LUA_OK)
        return 0;
    if (has_script && run_script(L, argv, options.script) != LUA_OK)
        return 0;
    if (at_terminal)
        print_line(BANNER);
    if (at_terminal || options.interactive)
        repl_run(L);
    else if (uses_input)
        run_file(L, NULL); /* like lua, an error in it is reported but leaves the exit code 0 */
    lua_pushboolean(L, 1);
    return 1;
}

/* A feature that the compiler was allowed to use (-march) and this processor lacks, or NULL. */
static const char *missing_cpu_feature(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#ifdef __AVX512F__
    if (!__builtin_cpu_supports("avx512f"))
        return "AVX-512";
#endif
#ifdef __AVX2__
    if (!__builtin_cpu_supports("avx2"))
        return "AVX2";
#endif
#ifdef __FMA__
    if (!__builtin_cpu_supports("fma"))
        return "FMA";
#endif
#endif
    return NULL;
}

int main(int argc, char **argv) {
    char *no_arguments[] = {"plumb", NULL};
    if (argc < 1) {
        argc = 1;
        argv = no_arguments;
    }
    if (argv[0][0] != '\0')
        program = argv[0];
    const char *feature = missing_cpu_feature();
    if (feature != NULL) {
        fprintf(stderr,
                "%s: was compiled for processors with %s, which this one lacks; rebuild it here with: make clean all\n",
                program, feature);
        return EXIT_FAILURE;
    }
    signal(SIGXFSZ, SIG_IGN); /* a file that must not grow is a write that fails, as on a full disk */
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        fprintf(stderr, "%s: not enough memory to start Lua\n", program);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, protected_main);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    const int status = repl_report(L, program, lua_pcall(L, 2, 1, 0));
    const bool succeeded = status == LUA_OK && lua_toboolean(L, -1);
    lua_close(L);
    return succeeded ? EXIT_SUCCESS : EXIT_FAILURE;
}
