/* allocate.h: the memory of Lua's values, in a form that Ctrl-C can stop.
 *
 * A fresh block of a gigabyte costs up to a second before anything stands in it: the system clears each page when it is
 * first touched, and Lua touches the pages of a long string in one copy that nothing can stop. And with ten million tables
 * alive the generational collector, which small programs are fastest with, marks for most of a second at a time; from some
 * size on, memory is collected in steps instead. */
#ifndef PLUMB_ALLOCATE_H
#define PLUMB_ALLOCATE_H

#include <stddef.h>

#include <lua.h>

/* Takes the place of L's allocator, which has to be luaL_newstate's, and of collectgarbage. */
void allocate_open(lua_State *L);

/* For the owner of tensors, after `bytes` of them have been taken: a collection of what is young, as far as there is one. */
void allocate_collect_young(lua_State *L, size_t bytes);

#endif
