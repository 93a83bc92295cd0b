/* Numbers lie in order along k, or across it, in lines that begin far apart. SIDE or DEPTH lines at a time go into tiles, from
 * where they begin to where they end: their beginnings are looked up once. */
#include "kernel_split_pack.h"

#ifdef PLUMB_HAS_TILES
#include <immintrin.h>
#include <string.h>

#define T float
#define INTEGER int32_t
#define TYPED(name) name##_float32
#define VECTOR_BYTES 64
#include "kernel_vector.inc"

/* --- a row of a tile --------------------------------------------------------------------------------------------------- */

/* The upper half of a float32 is a bfloat16: x cut off. */
static inline PLACES cut_off(VECTOR x) { return (PLACES)x & (int32_t)0xffff0000; }

/* The upper halves of two numbers in each 32 bits, by one instruction: bytes 2 and 3 of each lower one take the place of 0 and 1;
 * the mask leaves the other bytes as they are, whatever stands for them here. */
static inline __m512i upper_halves(VECTOR lower, VECTOR upper) {
    const __m512i to_lower = _mm512_set4_epi32(0x8f8e0f0e, 0x8b8a0b0a, 0x87860706, 0x83820302);
    return _mm512_mask_shuffle_epi8((__m512i)upper, 0x3333333333333333, (__m512i)lower, to_lower);
}

/* A pair of numbers in each column of 32 bits, in the row of a tile of each part. What a part leaves is exact. Parts are rounded,
 * halves away from zero, where products of the smallest are left out, which then are of either sign; but the last part is what is
 * left, 8 bits at most. */
INLINED void store_parts(VECTOR lower, VECTOR upper, content_kind content, char *row, __m512i *largest) {
    *largest = _mm512_max_epu16(*largest, _mm512_and_si512(upper_halves(lower, upper), _mm512_set1_epi16(0x7fff)));
#pragma GCC unroll 3
    for (int part = 0; part < PARTS; part++, row += TILE_BYTES) {
        const int32_t half = content == NUMBERS && part < PARTS - 1 ? 0x8000 : 0;
        const VECTOR of_lower = (VECTOR)((PLACES)lower + half), of_upper = (VECTOR)((PLACES)upper + half);
        _mm512_store_si512(row, upper_halves(of_lower, of_upper));
        lower -= (VECTOR)cut_off(of_lower);
        upper -= (VECTOR)cut_off(of_upper);
    }
}

/* The first `count` bits, of at most 32. */
static inline uint32_t first_bits(int64_t count) { return count >= 32 ? UINT32_MAX : count > 0 ? (1u << count) - 1 : 0; }

/* --- a tile ------------------------------------------------------------------------------------------------------------ */

/* Lines of which a tile is made: those of the lower halves of its 32 bits, and of the upper. In order along k these are the same,
 * SIDE numbers further on; in order across k they are the next SIDE lines. Some may not be there. */
typedef struct {
    const char *of[2][SIDE];
    int count[2];
} lines;

/* What of them goes into a tile: numbers `at` bytes from where lines begin, where so many are left. If it is whole, no line is
 * missing and no number. */
typedef struct {
    content_kind content;
    bool whole;
    int64_t at, left[2];
    float factor;
} taken;

INLINED VECTOR take(const lines *l, const taken *t, int half, int i) {
    const __mmask16 mask = (__mmask16)(t->whole ? 0xffff : i < l->count[half] ? first_bits(t->left[half]) : 0);
    const char *from = l->of[half][i] + t->at;
    if (t->content == IMAGES) return (VECTOR)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, from)));
    const __m512 x = _mm512_maskz_loadu_ps(mask, from);
    return (VECTOR)(t->content == NUMBERS ? x : _mm512_mul_ps(x, _mm512_set1_ps(t->factor)));
}

INLINED void store_row(VECTOR lower, VECTOR upper, content_kind content, char *row, __m512i *largest) {
    if (content == IMAGES) _mm512_store_si512(row, upper_halves(lower, upper));
    else store_parts(lower, upper, content, row, largest);
}

/* Rows of a tile of each part from lines. */
INLINED void pack_rows(const lines *l, const taken *t, char *tile, __m512i *largest) {
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) store_row(take(l, t, 0, i), take(l, t, 1, i), t->content, tile + i * ROW_BYTES, largest);
}

INLINED void take_turned(const lines *l, const taken *t, int half, VECTOR *turned) {
    VECTOR rows[SIDE];
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++) rows[i] = take(l, t, half, i);
    transpose_float32(rows);
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++) turned[i] = rows[i];
}

/* Columns of it. */
INLINED void pack_columns(const lines *l, const taken *t, char *tile, __m512i *largest) {
    VECTOR lower[SIDE], upper[SIDE];
    take_turned(l, t, 0, lower);
    take_turned(l, t, 1, upper);
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) store_row(lower[i], upper[i], t->content, tile + i * ROW_BYTES, largest);
}

INLINED void pack_tile(const lines *l, taken t, bool as_columns, char *tile, __m512i *largest) {
    const taken all = {t.content, true, t.at, {SIDE, SIDE}, t.factor};
    const bool whole = l->count[0] == SIDE && l->count[1] == SIDE && t.left[0] >= SIDE && t.left[1] >= SIDE;
    if (whole && as_columns) pack_columns(l, &all, tile, largest);
    else if (whole) pack_rows(l, &all, tile, largest);
    else if (as_columns) pack_columns(l, &t, tile, largest);
    else pack_rows(l, &t, tile, largest);
}

/* --- a side ------------------------------------------------------------------------------------------------------------ */

static int up_to_side(int64_t count) { return (int)(count < 0 ? 0 : smaller(count, SIDE)); }

/* In order along k: SIDE lines make the tiles of all steps. */
INLINED void pack_along(const side *s, content_kind content, int64_t first, int64_t count, int64_t begin, int64_t end, char *packed,
                        __m512i *largest) {
    const float factor = 1 / s->divisor;
    const int64_t bytes = bytes_of(content), tile_bytes = parts_of(content) * TILE_BYTES;
    const int64_t group_bytes = (end - begin) * 2 * tile_bytes;
    for (int64_t i = 0; i < count; i += SIDE) {
        char *tile = packed + i / GROUP * group_bytes + i % GROUP / SIDE * tile_bytes;
        lines l = {.count = {up_to_side(count - i), up_to_side(count - i)}};
        for (int j = 0; j < SIDE; j++) {
            const int64_t line = first + i + (j < l.count[0] ? j : 0);
            l.of[0][j] = s->data + (s->chosen != NULL ? s->chosen[line] - 1 : line) * s->stride * bytes;
            l.of[1][j] = l.of[0][j] + SIDE * bytes;
        }
        for (int64_t k = begin * DEPTH; k < end * DEPTH; k += DEPTH, tile += 2 * tile_bytes)
            pack_tile(&l, (taken){content, false, k * bytes, {s->depth - k, s->depth - k - SIDE}, factor}, !s->pairs_across, tile,
                      largest);
    }
}

/* The DEPTH lines from k on, where they hold number `first`; those that are not there, anywhere. */
static void find_lines(const side *s, int64_t first, int64_t k, lines *l) {
    const int64_t apart = s->step * bytes_of(s->content), count = smaller(s->depth - k, DEPTH);
    const char *data = s->data + first * bytes_of(s->content), *line = data + k * apart;
    const char **of = &l->of[0][0];
    l->count[0] = up_to_side(count);
    l->count[1] = up_to_side(count - SIDE);
    if (s->chosen == NULL)
        for (int i = 0; i < DEPTH; i++) of[i] = i < count ? line + i * apart : data;
    else
        for (int i = 0; i < DEPTH; i++) of[i] = i < count ? data + (s->chosen[k + i] - 1) * apart : data;
}

/* In order across k: DEPTH lines make the tiles of a step. Meanwhile the next ones are fetched, as the processor does not guess
 * where they are. */
INLINED void pack_across(const side *s, content_kind content, int64_t first, int64_t count, int64_t begin, int64_t end, char *packed,
                         __m512i *largest) {
    const float factor = 1 / s->divisor;
    const int64_t bytes = bytes_of(content), tile_bytes = parts_of(content) * TILE_BYTES;
    const int64_t group_bytes = (end - begin) * 2 * tile_bytes;
    lines found[2];
    find_lines(s, first, begin * DEPTH, &found[begin % 2]);
    for (int64_t step = begin; step < end; step++, packed += 2 * tile_bytes) {
        const lines *here = &found[step % 2], *next = &found[1 - step % 2];
        find_lines(s, first, (step + 1) * DEPTH, &found[1 - step % 2]);
        for (int64_t i = 0; i < count; i += SIDE) {
            char *tile = packed + i / GROUP * group_bytes + i % GROUP / SIDE * tile_bytes;
            for (int j = 0; j < SIDE && i * bytes % CACHE_LINE == 0; j++) {
                __builtin_prefetch(next->of[0][j] + i * bytes);
                __builtin_prefetch(next->of[1][j] + i * bytes);
            }
            pack_tile(here, (taken){content, false, i * bytes, {count - i, count - i}, factor}, s->pairs_across, tile, largest);
        }
    }
}

INLINED void pack_content(const side *s, content_kind content, int64_t first, int64_t count, int64_t begin, int64_t end,
                          char *packed, __m512i *largest) {
    if (s->step == 1) pack_along(s, content, first, count, begin, end, packed, largest);
    else pack_across(s, content, first, count, begin, end, packed, largest);
}

void split_pack(const side *s, int64_t first, int64_t count, int64_t begin, int64_t end, char *packed, uint32_t *largest) {
    __m512i most = _mm512_setzero_si512();
    if (s->content == IMAGES) pack_content(s, IMAGES, first, count, begin, end, packed, &most);
    else if (s->content == DIVIDED) pack_content(s, DIVIDED, first, count, begin, end, packed, &most);
    else pack_content(s, NUMBERS, first, count, begin, end, packed, &most);
    most = _mm512_max_epu16(most, _mm512_srli_epi32(most, 16));
    const uint32_t here = _mm512_reduce_max_epu32(_mm512_and_si512(most, _mm512_set1_epi32(0xffff)));
    if (here > *largest) *largest = here;
}

#endif
