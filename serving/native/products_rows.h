/* The work of `products.c` on some blocks of outputs; compiled for each level of processors.

A tile of a few rows and blocks is summed in registers, so that weights are read once for several rows, and levels once
for several blocks. */
#include "dot.h"
#include "rows.h"

enum { TILE_ROWS = LANES == 16 ? 6 : 2, TILE_BLOCKS = LANES == 16 ? 4 : 1, LINES = BLOCK / LANES };
enum { AHEAD = 2048 }; /* bytes of weights that are fetched before they are needed */

#define EACH(variable, count) _Pragma("GCC unroll 8") for (int variable = 0; variable < (count); variable++)

/* The sums of LANES outputs from `at` on of a row, as numbers. */
INLINE void put(const Product *step, int64_t row, int64_t at, Ints sums) {
    STORE(step->out + row * step->outputs + at, floats(sums) * (LOAD(step->columns + at) * step->scale));
}

INLINE void product_tile(const Product *step, int64_t row, int64_t block, const int rows, const int blocks) {
    const int64_t width = step->width, apart = width * BLOCK;
    const uint8_t *levels = step->levels + row * width;
    const int8_t *weights = step->weights + block * apart;
    Ints sums[TILE_ROWS][TILE_BLOCKS][LINES];
    EACH(r, rows) EACH(b, blocks) EACH(i, LINES)
        sums[r][b][i] = *(const Ints *)(step->offsets + (block + b) * BLOCK + i * LANES);
    for (int64_t k = 0; k < width; k += 4, weights += 4 * BLOCK) {
        Bytes quads[TILE_BLOCKS][LINES];
        EACH(b, blocks) {
            EACH(i, LINES) quads[b][i] = signed_bytes(*(const Ints *)(weights + b * apart + 4 * i * LANES));
            __builtin_prefetch(weights + b * apart + AHEAD);
        }
        EACH(r, rows) {
            const Bytes each = unsigned_bytes(spread(levels + r * width + k));
            EACH(b, blocks) EACH(i, LINES) sums[r][b][i] = dot(sums[r][b][i], each, quads[b][i]);
        }
    }
    EACH(r, rows) EACH(b, blocks) EACH(i, LINES) put(step, row + r, (block + b) * BLOCK + i * LANES, sums[r][b][i]);
}

#define PRODUCT_OF(rows)                                                      \
    case rows:                                                                \
        for (; block + TILE_BLOCKS <= end; block += TILE_BLOCKS)              \
            product_tile(step, row, block, rows, TILE_BLOCKS);                \
        for (; block < end; block++) product_tile(step, row, block, rows, 1); \
        break;

static void product(void *data, size_t part) {
    const Product *step = data;
    const int64_t end = smaller(((int64_t)part + 1) * step->chunk, step->outputs / BLOCK);
    for (int64_t row = 0; row < step->rows; row += TILE_ROWS) {
        int64_t block = (int64_t)part * step->chunk;
        switch (smaller(step->rows - row, TILE_ROWS)) {
            PRODUCT_OF(1)
            PRODUCT_OF(2)
#if LANES == 16
            PRODUCT_OF(3)
            PRODUCT_OF(4)
            PRODUCT_OF(5)
            PRODUCT_OF(6)
#endif
        }
    }
}
