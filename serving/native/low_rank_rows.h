/* The work of `low_rank.c`: rows by an adapter's two matrices; compiled for each level of processors.

A row's sums are in an order of their own, whatever other rows go with it: weights are read once for two rows, or for
several, but each row has its own accumulators. */
#include <stdlib.h>

enum { OUTER_ROWS = 4 };

/* RANKS sums over the width, of `rows` rows; `weights` [width / BLOCK, layers * rank, BLOCK] from the rank on. */
INLINE void inner_tile(const LowRank *step, const uint16_t *weights, const float *const *x, float *const *out, const int rows) {
    const int64_t apart = step->layers * step->rank * BLOCK;
    Floats sums[2][RANKS];
    EACH(r, rows) EACH(k, RANKS) sums[r][k] = (Floats){};
    for (int64_t at = 0; at < step->width; at += BLOCK, weights += apart)
        for (int i = 0; i < BLOCK; i += LANES) {
            Floats each[2];
            EACH(r, rows) each[r] = LOAD(x[r] + at + i);
            EACH(k, RANKS) {
                const Floats weight = from_bfloat16(weights + k * BLOCK + i);
                EACH(r, rows) sums[r][k] += each[r] * weight;
            }
        }
    EACH(r, rows) EACH(k, RANKS) out[r][k] = sum(sums[r][k]) * step->scale;
}

INLINE void widen_levels(const uint8_t *from, float *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = (float)((int32_t)from[i] - 128);
}

static void low_rank_inner(void *data, size_t part) {
    LowRank *step = data;
    const Together *group = step->together + part;
    const int64_t width = step->width, ranks = step->layers * step->rank;
    const uint16_t *weights = step->bank + group->adapter * step->size + step->at;
    float few[2 * 2048], *room = few;
    if (step->levels && width > 2048) room = malloc(2 * (size_t)width * sizeof *room);
    if (!room) {
        __atomic_store_n(&step->starved, true, __ATOMIC_RELAXED);
        return;
    }
    for (int64_t first = 0; first < group->rows; first += 2) {
        const int rows = group->rows - first > 1 ? 2 : 1;
        const float *x[2];
        float *out[2];
        for (int r = 0; r < rows; r++) {
            const int64_t row = step->order[group->first + first + r];
            if (step->levels) widen_levels(step->levels + row * width, room + r * width, width);
            x[r] = step->levels ? room + r * width : step->x + row * width;
            out[r] = step->inner + row * ranks;
        }
        for (int64_t k = 0; k < ranks; k += RANKS) {
            if (rows == 2)
                inner_tile(step, weights + k * BLOCK, x, out, 2);
            else
                inner_tile(step, weights + k * BLOCK, x, out, 1);
            for (int r = 0; r < rows; r++) out[r] += RANKS;
        }
    }
    if (room != few) free(room);
}

/* Some rows' outputs of one block, added to. */
INLINE void outer_tile(const LowRank *step, const uint16_t *weights, const int64_t *order, int64_t block, const int rows) {
    const int64_t ranks = step->layers * step->rank;
    Floats sums[OUTER_ROWS][LINES];
    const float *inner[OUTER_ROWS];
    EACH(r, rows) inner[r] = step->inner + order[r] * ranks + step->layer_of[block] * step->rank;
    EACH(r, rows) EACH(i, LINES) sums[r][i] = (Floats){};
    for (int64_t k = 0; k < step->rank; k++) EACH(i, LINES) {
        const Floats weight = from_bfloat16(weights + k * BLOCK + i * LANES);
        EACH(r, rows) sums[r][i] += weight * inner[r][k];
    }
    EACH(r, rows) EACH(i, LINES) {
        float *out = step->out + order[r] * step->outputs + block * BLOCK + i * LANES;
        STORE(out, LOAD(out) + sums[r][i]);
    }
}

static void low_rank_outer(void *data, size_t part) {
    const LowRank *step = data;
    const int64_t first = (int64_t)part * step->chunk, end = smaller(first + step->chunk, step->outputs / BLOCK);
    for (const Together *group = step->together; group < step->together + step->groups; group++) {
        const uint16_t *weights = step->bank + group->adapter * step->size + step->at;
        weights += step->width * step->layers * step->rank;
        for (int64_t row = 0; row < group->rows; row += OUTER_ROWS) {
            const int64_t *order = step->order + group->first + row;
            for (int64_t block = first; block < end; block++) {
                const uint16_t *from = weights + block * step->rank * BLOCK;
                switch (smaller(group->rows - row, OUTER_ROWS)) {
                    case 1: outer_tile(step, from, order, block, 1); break;
                    case 2: outer_tile(step, from, order, block, 2); break;
                    case 3: outer_tile(step, from, order, block, 3); break;
                    default: outer_tile(step, from, order, block, 4);
                }
            }
        }
    }
}

static void adapted_product(void *data, size_t part) {
    AdaptedProduct *step = data;
    product_in_tiles(&step->product, part);
    low_rank_outer(&step->adapters, part);
}
