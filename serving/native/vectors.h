/* LANES float32 at once, as many as one register holds: with more, GCC passes them through memory, ten times as slow. */
#ifndef METROLINE_VECTORS_H
#define METROLINE_VECTORS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));

#define INLINE static inline __attribute__((always_inline))

#define ROUNDING 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, held in the lowest bits */
#define LOAD(at) (*(const Floats *)(at))
#define STORE(at, value) (*(Floats *)(at) = (value))

/* By a loop: compilers widen it by one instruction, but __builtin_convertvector number by number (GCC 12). */
INLINE void widen(const int8_t *from, float *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

INLINE float sum(Floats x) {
    typedef float Four __attribute__((vector_size(16)));
    Four part[LANES / 4];
    memcpy(part, &x, sizeof x);
    for (int n = LANES / 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++) part[i] += part[i + n];
    return (part[0][0] + part[0][2]) + (part[0][1] + part[0][3]);
}

INLINE Floats larger(Floats x, Floats y) {
    const Ints first = x > y;
    return (Floats)(((Ints)x & first) | ((Ints)y & ~first));
}

INLINE float largest_of(Floats x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* Rounded to integers, halves to even, and kept within -128 to 127. */
INLINE Ints nearest(Floats x) {
    x = -larger(-larger(x, (Floats){} - 128.0f), (Floats){} - 127.0f);
    return (Ints)(x + ROUNDING) - (Ints)((Floats){} + ROUNDING);
}

/* e to the x for x <= 0: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes, expf); error 2e-7, relative. */
INLINE Floats exponential(Floats x) {
    x = larger(x, (Floats){} - 87.0f); /* e^-87 is the smallest that float32 holds whole */
    const Floats shifted = x * 1.44269504f + ROUNDING, n = shifted - ROUNDING;
    const Floats r = x - n * 0.693359375f - n * -2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return y * (Floats)(((Ints)shifted << 23) + (127 << 23));
}

#endif
