/* Small pieces of memory that were given back, by size: each step of a loop asks for the same ones again, for which the C library
 * takes several times as long. Of one thread. */
#ifndef PLUMB_SHELVES_H
#define PLUMB_SHELVES_H

#include <stdbool.h>
#include <stddef.h>

enum { SHELF_COUNT = 65 };

typedef struct shelved {
    struct shelved *next;
} shelved;

typedef struct {
    size_t unit, units;          /* bytes; pieces of at most so many units are kept, fewer than SHELF_COUNT, */
    size_t most, held;           /* and of all of them about so many bytes; how many are */
    shelved *first[SHELF_COUNT]; /* by units */
} shelves;

/* A piece of so many units, or NULL where there is none. */
static inline void *shelves_take(shelves *s, size_t units) {
    shelved *piece = units <= s->units ? s->first[units] : NULL;
    if (piece == NULL) return NULL;
    s->first[units] = piece->next;
    s->held -= units * s->unit;
    return piece;
}

/* Keeps a piece that has room for so many units, at least one; false where it is to be freed. A sanitizer is to see each piece come
 * and go. */
static inline bool shelves_keep(shelves *s, void *memory, size_t units) {
#ifdef __SANITIZE_ADDRESS__
    return false;
#endif
    if (units > s->units || s->held >= s->most) return false;
    *(shelved *)memory = (shelved){s->first[units]};
    s->first[units] = memory;
    s->held += units * s->unit;
    return true;
}

#endif
