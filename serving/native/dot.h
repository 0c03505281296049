/* Sums of four products of bytes, unsigned by any, in each lane of 32 bits: what a level's processors have for it. */
#ifndef METROLINE_DOT_H
#define METROLINE_DOT_H

#include "vectors.h"

INLINE int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

/* The same four bytes in every lane. */
INLINE Ints spread(const void *four) {
    int32_t one;
    memcpy(&one, four, sizeof one);
    return (Ints){} + one;
}

INLINE Floats floats(Ints x) { return __builtin_convertvector(x, Floats); }

#ifdef VNNI
typedef Ints Bytes;
INLINE Bytes unsigned_bytes(Ints x) { return x; }
INLINE Bytes signed_bytes(Ints x) { return x; }

/* Not by the intrinsic, around which GCC 12 moves every sum through memory. */
INLINE Ints dot(Ints sums, Bytes positive, Bytes any) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(positive), "v"(any));
    return sums;
}
#else
/* Not by the older instruction for products of bytes, whose sums of two saturate. */
typedef int16_t Halves __attribute__((vector_size(4 * LANES), aligned(4)));
typedef struct {
    Halves even, odd; /* the bytes of even and of odd places, in 16 bits each */
} Bytes;

INLINE Bytes unsigned_bytes(Ints x) { return (Bytes){(Halves)(x & 0x00ff00ff), (Halves)((x >> 8) & 0x00ff00ff)}; }
INLINE Bytes signed_bytes(Ints x) { return (Bytes){((Halves)x << 8) >> 8, (Halves)x >> 8}; }

/* Sums of two products in each lane of 32 bits. */
INLINE Ints pairs(Halves x, Halves y) {
#if defined(__x86_64__) && LANES == 16
    return (Ints)_mm512_madd_epi16((__m512i)x, (__m512i)y);
#elif defined(__x86_64__) && LANES == 8
    return (Ints)_mm256_madd_epi16((__m256i)x, (__m256i)y);
#elif defined(__x86_64__)
    return (Ints)_mm_madd_epi16((__m128i)x, (__m128i)y);
#else
    Ints sums;
    for (int i = 0; i < LANES; i++) sums[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return sums;
#endif
}

INLINE Ints dot(Ints sums, Bytes positive, Bytes any) {
    return sums + pairs(positive.even, any.even) + pairs(positive.odd, any.odd);
}
#endif

#endif
