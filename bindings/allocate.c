#include "allocate.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "interrupt.h"

/* From LARGE on the C library maps each block on its own (its threshold never rises above 32 MiB), so that advice about
 * the pages of one block is about no other. PIECE is cleared between two looks at Ctrl-C. */
enum { LARGE = 64 << 20, PIECE = 64 << 20 /* bytes */ };

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14 */
#endif

/* Has the system clear the block's pages now, in huge pages where it has them (a quarter of the time); false when Ctrl-C
 * was pressed meanwhile. A system that can't do so clears them later. */
static bool clear_pages(char *block, size_t size) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)block + size;
    uintptr_t at = (uintptr_t)block / page * page;
    madvise((void *)at, end - at, MADV_HUGEPAGE);
    for (; at < end; at += PIECE) {
        if (interrupt_due()) return false;
        if (madvise((void *)at, end - at < PIECE ? end - at : PIECE, MADV_POPULATE_WRITE) != 0) break;
    }
    return true;
}

/* A lua_Alloc. That there is no memory left is what Lua understands; interrupt_caused tells the user why. Blocks that grow
 * are left to the system: their owners look at Ctrl-C themselves, and may never use all of them. */
static void *allocate(void *unused, void *block, size_t old_size, size_t size) {
    (void)unused;
    (void)old_size;
    if (size == 0) {
        free(block);
        return NULL;
    }
    void *made = realloc(block, size);
    if (made != NULL && block == NULL && size >= LARGE && !clear_pages(made, size)) {
        free(made);
        return NULL;
    }
    return made;
}

void allocate_open(lua_State *L) { lua_setallocf(L, allocate, NULL); }
