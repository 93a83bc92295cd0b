/* match.h: string.find, match, gmatch and gsub that Ctrl-C can stop. */
#ifndef PLUMB_MATCH_H
#define PLUMB_MATCH_H

#include <lua.h>

/* Replaces the four functions in the global table `string`. */
void match_open(lua_State *L);
/* Makes the match that runs now, if there is one, fail at its next step. For signal handlers. */
void match_stop(void);
/* There is no such match any more: an error has ended it. */
void match_forget(void);

#endif
