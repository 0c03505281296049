/* The work of CachedAttention (`attention.c`) on one row and key head; compiled for each level of processors. */
#include <math.h>
#include <stdlib.h>

#include "rows.h"
#include "vectors.h"

enum { KEYS = 2 * LANES }; /* of a tile of scores, ROWS by KEYS, that fits the registers */
enum { PARTS = 4 };        /* registers of each row's means */

INLINE int64_t up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

/* Turn pairs (i, i + half) of one head by the angles of its position (RoPE, Su et al. 2021, arXiv:2104.09864). */
INLINE void turn(const Attention *step, const float *from, float *to, int64_t position) {
    memcpy(to, from, (size_t)step->width * sizeof *to);
    const float *cosine = step->cosine + position * step->half, *sine = step->sine + position * step->half;
    for (int64_t i = 0; i < step->half; i++) {
        to[i] = from[i] * cosine[i] - from[i + step->half] * sine[i];
        to[i + step->half] = from[i + step->half] * cosine[i] + from[i] * sine[i];
    }
}

INLINE void quantize(const float *from, const float *scale, int8_t *to, int64_t width) {
    for (int64_t i = 0; i < width; i++) {
        const float level = rintf(from[i] * (1.0f / scale[i]));
        const float below = level < 127 ? level : 127; /* so that what is no number becomes 127 */
        to[i] = (int8_t)(below > -128 ? below : -128);
    }
}

/* Scores of `rows` queries against cached rows as they lie, [length, width]: for one new token. */
INLINE void score_rows(const float *query, const int8_t *key, float *scores, int64_t length, int64_t room, int64_t rows,
                       int64_t width) {
    for (int64_t t = 0; t < length; t++) {
        float wide[MOST_WIDTH];
        widen(key + t * width, wide, width);
        for (int64_t r = 0; r < rows; r++) {
            Floats total = LOAD(wide) * LOAD(query + r * width);
            for (int64_t i = LANES; i < width; i += LANES) total += LOAD(wide + i) * LOAD(query + r * width + i);
            scores[r * room + t] = sum(total);
        }
    }
}

/* The same against widened columns, [width, room]: many queries read them. */
INLINE void score_columns(const float *query, const float *columns, float *scores, int64_t length, int64_t room,
                          int64_t rows, int64_t width) {
    for (int64_t t = 0; t < length; t += KEYS) {
        Floats total[ROWS][2];
        for (int64_t r = 0; r < rows; r++) total[r][0] = total[r][1] = (Floats){};
        for (int64_t i = 0; i < width; i++) {
            const Floats left = LOAD(columns + i * room + t), right = LOAD(columns + i * room + t + LANES);
            for (int64_t r = 0; r < rows; r++) {
                total[r][0] += left * query[r * width + i];
                total[r][1] += right * query[r * width + i];
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            STORE(scores + r * room + t, total[r][0]);
            STORE(scores + r * room + t + LANES, total[r][1]);
        }
    }
}

/* Scores of one row, of which the first `length` count, to weights; those up to `room` become 0. Returns 1 / sum. */
INLINE float soften(float *scores, int64_t length, int64_t room) {
    const int64_t whole = up(length, LANES);
    for (int64_t t = length; t < whole; t++) scores[t] = -1e30f;
    Floats most = LOAD(scores), total = {};
    for (int64_t t = LANES; t < whole; t += LANES) most = larger(most, LOAD(scores + t));
    const float largest = largest_of(most);
    for (int64_t t = 0; t < whole; t += LANES) {
        const Floats weight = exponential(LOAD(scores + t) - largest);
        STORE(scores + t, weight);
        total += weight;
    }
    for (int64_t t = length; t < room; t++) scores[t] = 0;
    return 1.0f / sum(total);
}

/* Means of cached values [length, width] by the rows' weights, times inverse[row]. */
INLINE void mix(const int8_t *value, const float *weights, const float *inverse, const float *scale, float *const *out,
                int64_t length, int64_t room, int64_t rows, int64_t width) {
    const int64_t most = LANES == 16 || rows <= 3 ? PARTS : PARTS / 2; /* of 32 or 16 registers */
    for (int64_t from = 0; from < width; from += most * LANES) {
        const int64_t parts = (width - from < most * LANES ? width - from : most * LANES) / LANES;
        Floats mean[MOST_GROUP][PARTS];
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = 0; p < parts; p++) mean[r][p] = (Floats){};
        for (int64_t t = 0; t < length; t++) {
            float wide[PARTS * LANES];
            widen(value + t * width + from, wide, parts * LANES);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t p = 0; p < parts; p++) mean[r][p] += LOAD(wide + p * LANES) * weights[r * room + t];
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = 0; p < parts; p++) {
                const int64_t at = from + p * LANES;
                STORE(out[r] + at, mean[r][p] * LOAD(scale + at) * inverse[r]);
            }
    }
}

/* `rows` queries of one row and key head; `lengths` [rows] are what each may look at. */
INLINE void attend(const Attention *step, size_t index, const float *query, const int64_t *lengths, float *const *out,
                   float *scores, int64_t rows, int64_t width) {
    const int8_t *keys = step->present_key + (int64_t)index * step->capacity * width;
    const int8_t *values = step->present_value + (int64_t)index * step->capacity * width;
    const int64_t length = lengths[rows - 1], room = step->room;
    if (step->columns)
        score_columns(query, step->columns + (int64_t)index * width * room, scores, length, room, rows, width);
    else
        score_rows(query, keys, scores, length, room, rows, width);
    float inverse[MOST_GROUP];
    for (int64_t r = 0; r < rows; r++) inverse[r] = soften(scores + r * room, lengths[r], up(length, LANES));
    mix(values, scores, inverse, step->value_scale + (int64_t)index % step->kv_heads * width, out, length, room, rows,
        width);
}

/* Write the new keys and values of one row and head into the cache. `index` counts rows and heads. */
static void remember(void *data, size_t index) {
    const Attention *step = data;
    const int64_t width = step->width, row = (int64_t)index / step->kv_heads, head = (int64_t)index % step->kv_heads;
    int8_t *keys = step->present_key + (int64_t)index * step->capacity * width;
    int8_t *values = step->present_value + (int64_t)index * step->capacity * width;
    for (int64_t i = 0; i < step->new; i++) {
        const int64_t position = step->new == 1 ? step->lengths[row] : step->start + i;
        const int64_t from = (row * step->new + i) * step->key_stride + head * width;
        float turned[MOST_WIDTH];
        turn(step, step->key + from, turned, position);
        quantize(turned, step->key_scale + head * width, keys + position * width, width);
        quantize(step->value + from, step->value_scale + head * width, values + position * width, width);
    }
    if (step->columns) {
        float *columns = step->columns + (int64_t)index * width * step->room;
        for (int64_t t = 0; t < step->start + step->new; t++)
            for (int64_t i = 0; i < width; i++) columns[i * step->room + t] = keys[t * width + i];
    }
}

/* A tile of queries: ROWS (new token, query head) pairs of one row and key head, or all heads of one new token. */
static void answer(void *data, size_t tile) {
    const Attention *step = data;
    const int64_t width = step->width, group = step->group, most = step->new == 1 ? group : ROWS;
    const size_t index = tile / (size_t)step->tiles;
    const int64_t row = (int64_t)index / step->kv_heads, head = (int64_t)index % step->kv_heads;
    const int64_t first = (int64_t)tile % step->tiles * most, left = step->new * group - first;
    const int64_t rows = left < most ? left : most;
    float query[MOST_GROUP * MOST_WIDTH], few[8192], *out[MOST_GROUP];
    float *scores = rows * step->room <= 8192 ? few : malloc((size_t)(rows * step->room) * sizeof *scores);
    if (!scores) {
        __atomic_store_n(&((Attention *)data)->starved, true, __ATOMIC_RELAXED);
        return;
    }
    int64_t lengths[MOST_GROUP];
    for (int64_t r = 0; r < rows; r++) {
        const int64_t token = (first + r) / group, which = head * group + (first + r) % group;
        const int64_t position = step->new == 1 ? step->lengths[row] : step->start + token;
        const float *scale = step->key_scale + head * width;
        lengths[r] = position + 1;
        out[r] = step->out + ((row * step->new + token) * step->heads + which) * width;
        const int64_t from = (row * step->new + token) * step->query_stride + which * width;
        turn(step, step->query + from, query + r * width, position);
        for (int64_t i = 0; i < width; i++) query[r * width + i] *= scale[i] * step->scale;
    }
    if (width == 64 && rows == 3)
        attend(step, index, query, lengths, out, scores, 3, 64);
    else if (width == 64 && rows == ROWS)
        attend(step, index, query, lengths, out, scores, ROWS, 64);
    else
        attend(step, index, query, lengths, out, scores, rows, width);
    if (scores != few) free(scores);
}
