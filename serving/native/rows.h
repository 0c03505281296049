/* What operators hand to the part of them that is compiled for each level of processors: the work on single rows. */
#ifndef METROLINE_ROWS_H
#define METROLINE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MULTIPLE = 16 }; /* what widths are a multiple of */
enum { MOST_GROUP = 16, MOST_WIDTH = 256 };
enum { ROWS = 6, TILE = 32 }; /* of a tile of scores: its queries; what its keys in memory are a multiple of */

typedef struct {
    int64_t heads, kv_heads, group, width, capacity, new, start, room, half, tiles, query_stride, key_stride;
    float scale;
    const float *query, *key, *value, *cosine, *sine, *key_scale, *value_scale;
    const int32_t *lengths;
    int8_t *present_key, *present_value;
    float *columns; /* keys of prompts, [batch, kv_heads, width, room] */
    float *out;
    bool starved; /* a part of the work found no memory */
} Attention;

typedef struct {
    int64_t width, scales; /* `scales`: 1, one for each row; 0, one for all */
    float epsilon, inverse;
    const float *x, *delta, *delta_scale, *gain;
    float *sum, *out, *scale;
    uint8_t *levels;
    bool starved; /* a row found no memory */
} Pointwise;

/* Each does one of so many independent parts; the first argument is the Attention or Pointwise of all. */
typedef struct {
    void (*remember)(void *, size_t), (*answer)(void *, size_t); /* parts: rows x key heads; tiles of queries */
    void (*add_norm_quantize)(void *, size_t), (*swiglu)(void *, size_t), (*quantize_rows)(void *, size_t),
        (*swiglu_quantize)(void *, size_t); /* parts: rows */
} Rows;

extern const Rows rows_baseline, rows_avx2, rows_avx512;

/* Those that this processor runs fastest. */
static inline const Rows *rows(void) {
#ifdef ONLY /* one level on purpose: tests */
    return &ONLY;
#elif defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &rows_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &rows_avx2;
#endif
    return &rows_baseline;
}

#endif
