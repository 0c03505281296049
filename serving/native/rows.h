/* What operators hand to the part of them that is compiled for each level of processors: the work on single rows. */
#ifndef METROLINE_ROWS_H
#define METROLINE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MULTIPLE = 16 }; /* what widths are a multiple of */
enum { MOST_GROUP = 16, MOST_WIDTH = 256 };
enum { BLOCK = 16, MOST_BLOCK = 256 }; /* outputs that packed weights hold side by side; inputs that share a scale */
enum { RANKS = 8 }; /* what ranks of adapters are a multiple of */
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

typedef struct {
    int64_t rows, width, outputs, chunk; /* `chunk`: blocks of outputs in a part */
    float scale;
    const uint8_t *levels;
    const int8_t *weights; /* [outputs / BLOCK, width / 4, BLOCK, 4] */
    const float *columns;
    const int32_t *offsets;
    float *out;
} Product;

typedef struct {
    int64_t rows, width, outputs, block, bits, chunk; /* `block`: inputs that share a scale; `chunk`: as above */
    const float *x;
    const uint8_t *weights; /* [outputs / BLOCK, width / block, block * bits / 32, BLOCK, 4] */
    const uint16_t *scales; /* [outputs / BLOCK, width / block, BLOCK] */
    const uint8_t *zeros;   /* the same; in 4 bits half as many blocks */
    int8_t *levels;         /* of the rows */
    float *row_scales, *row_sums, *out; /* [rows, width / block]; [rows, outputs] */
} Blocks;

typedef struct {
    int64_t first, rows, adapter; /* of the rows in `order` that one adapter's weights are read for together */
} Together;

typedef struct {
    int64_t width, outputs, rank, layers, at, size; /* `at`: of the node's part in an adapter's `size` numbers */
    int64_t chunk;                                  /* blocks of outputs in a part */
    float scale;
    const uint8_t *levels; /* or, where there are none, x */
    const float *x, *plain;
    const int32_t *layer_of; /* [outputs / BLOCK] */
    const uint16_t *bank;    /* [adapters, size]; at `at`: [width / BLOCK, layers * rank, BLOCK], then
                                [outputs / BLOCK, rank, BLOCK] */
    const int64_t *order;    /* rows with an adapter, those of one adapter side by side */
    const Together *together;
    int64_t groups;
    float *inner, *out; /* [rows, layers * rank]; [rows, outputs] */
    bool starved;       /* a part of the work found no memory */
} LowRank;

typedef struct {
    Product product;
    LowRank adapters;
} AdaptedProduct;

/* Each does one of so many independent parts; the first argument is the Attention, Pointwise and so on of all. */
typedef struct {
    void (*remember)(void *, size_t), (*answer)(void *, size_t); /* parts: rows x key heads; tiles of queries */
    void (*add_norm_quantize)(void *, size_t), (*swiglu)(void *, size_t), (*quantize_rows)(void *, size_t),
        (*swiglu_quantize)(void *, size_t), (*quantize_blocks)(void *, size_t); /* parts: rows */
    void (*product)(void *, size_t), (*block_product)(void *, size_t); /* parts: chunks of outputs */
    void (*low_rank_inner)(void *, size_t), (*low_rank_outer)(void *, size_t); /* parts: groups; chunks of outputs */
    void (*adapted_product)(void *, size_t); /* parts: chunks of outputs, of an AdaptedProduct */
} Rows;

extern const Rows rows_baseline, rows_avx2, rows_avx512, rows_vnni, rows_amx;

/* Whether this process may use the matrix unit, for which Linux wants to be asked. */
bool amx(void);

/* Those that this processor runs fastest. */
static inline const Rows *rows(void) {
#ifdef ONLY /* one level on purpose: tests */
    (void)amx();
    return &ONLY;
#elif defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return !__builtin_cpu_supports("avx512vnni") ? &rows_avx512 : amx() ? &rows_amx : &rows_vnni;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &rows_avx2;
#endif
    return &rows_baseline;
}

#endif
