/* The work of `pointwise.c` on one row; compiled for each level of processors. */
#include <math.h>
#include <stdlib.h>

#include "rows.h"
#include "vectors.h"

INLINE void to_levels(Floats x, uint8_t *levels) {
    int32_t rounded[LANES];
    *(Ints *)rounded = nearest(x);
    for (int64_t i = 0; i < LANES; i++) levels[i] = (uint8_t)(rounded[i] + 128);
}

static void add_norm_quantize(void *data, size_t row) {
    const Pointwise *step = data;
    const int64_t width = step->width, from = (int64_t)row * width;
    const float *x = step->x + from, *delta = step->delta + from, factor = step->delta_scale[(int64_t)row * step->scales];
    float *to = step->sum + from;
    Floats squares = {};
    for (int64_t i = 0; i < width; i += LANES) {
        const Floats each = LOAD(x + i) + LOAD(delta + i) * factor;
        STORE(to + i, each);
        squares += each * each;
    }
    const float norm = 1.0f / sqrtf(sum(squares) / (float)width + step->epsilon) * step->inverse;
    for (int64_t i = 0; i < width; i += LANES)
        to_levels(LOAD(to + i) * LOAD(step->gain + i) * norm, step->levels + from + i);
}

INLINE Floats gated(Floats gate, Floats up) {
    const Ints negative = gate < 0;
    const Floats power = exponential(-larger(gate, -gate));
    const Floats top = (Floats)(((Ints)power & negative) | ((Ints)((Floats){} + 1.0f) & ~negative));
    return gate * top / (1.0f + power) * up;
}

INLINE void gate(const float *x, float *out, int64_t width) {
    for (int64_t i = 0; i < width; i += LANES) STORE(out + i, gated(LOAD(x + i), LOAD(x + width + i)));
}

static void swiglu(void *data, size_t row) {
    const Pointwise *step = data;
    gate(step->x + 2 * (int64_t)row * step->width, step->out + (int64_t)row * step->width, step->width);
}

INLINE void quantize_row(const Pointwise *step, const float *x, size_t row) {
    Floats most = {};
    for (int64_t i = 0; i < step->width; i += LANES) most = larger(most, larger(LOAD(x + i), -LOAD(x + i)));
    const float scale = largest_of(most) * (1.0f / 127), inverse = scale > 0 ? 1.0f / scale : 0;
    uint8_t *levels = step->levels + (int64_t)row * step->width;
    step->scale[row] = scale;
    for (int64_t i = 0; i < step->width; i += LANES) to_levels(LOAD(x + i) * inverse, levels + i);
}

static void quantize_rows(void *data, size_t row) {
    const Pointwise *step = data;
    quantize_row(step, step->x + (int64_t)row * step->width, row);
}

static void swiglu_quantize(void *data, size_t row) {
    const Pointwise *step = data;
    float few[4096], *out = step->width <= 4096 ? few : malloc((size_t)step->width * sizeof *out);
    if (!out) {
        __atomic_store_n(&((Pointwise *)data)->starved, true, __ATOMIC_RELAXED);
        return;
    }
    gate(step->x + 2 * (int64_t)row * step->width, out, step->width);
    quantize_row(step, out, row);
    if (out != few) free(out);
}
