/* The work of `blocks.c`: rows quantized in blocks, and products with some blocks of outputs; compiled for each level
of processors. */
enum { BLOCKS_ROWS = LANES == 16 ? 4 : 2, BLOCKS_WIDE = LANES == 16 ? 2 : 1 };

/* Levels of a row, -127 to 127; each block's scale, and the sum of its levels times that. A byte of 4-bit weights holds
the levels of two neighbours, so for them a block's even levels come first, then the odd ones. */
static void quantize_blocks(void *data, size_t row) {
    const Blocks *step = data;
    const int64_t block = step->block, blocks = step->width / block;
    const float *x = step->x + (int64_t)row * step->width;
    int8_t *levels = step->levels + (int64_t)row * step->width;
    for (int64_t b = (int64_t)row * blocks; b < ((int64_t)row + 1) * blocks; b++, x += block, levels += block) {
        int32_t rounded[MOST_BLOCK];
        Floats most = {};
        for (int64_t i = 0; i < block; i += LANES) most = larger(most, larger(LOAD(x + i), -LOAD(x + i)));
        const float largest = largest_of(most), inverse = largest > 0 ? 127.0f / largest : 0;
        Ints total = {};
        for (int64_t i = 0; i < block; i += LANES) {
            const Ints each = nearest(LOAD(x + i) * inverse);
            *(Ints *)(rounded + i) = each;
            total += each;
        }
        if (step->bits == 4)
            for (int i = 0; i < 32; i++) levels[i] = (int8_t)rounded[i < 16 ? 2 * i : 2 * i - 31];
        else
            for (int64_t i = 0; i < block; i++) levels[i] = (int8_t)rounded[i];
        step->row_scales[b] = largest * (1.0f / 127);
        step->row_sums[b] = sum(floats(total)) * step->row_scales[b];
    }
}

/* bfloat16 is the upper half of float32. */
INLINE Floats from_bfloat16(const uint16_t *from) {
    int32_t wide[LANES];
    for (int i = 0; i < LANES; i++) wide[i] = (int32_t)((uint32_t)from[i] << 16);
    Floats out;
    memcpy(&out, wide, sizeof out);
    return out;
}

/* Zeros of the outputs from `at` on in block k; in 4 bits those of two blocks share a byte. */
INLINE Floats zeros_of(const Blocks *step, int64_t first, int64_t k, int at, const int bits) {
    const int64_t blocks = step->width / step->block, stored = bits == 4 ? (blocks + 1) / 2 : blocks;
    const uint8_t *from = step->zeros + (first * stored + (bits == 4 ? k / 2 : k)) * BLOCK + at;
    Ints wide;
    int32_t each[LANES];
    for (int i = 0; i < LANES; i++) each[i] = from[i];
    memcpy(&wide, each, sizeof wide);
    return floats(bits == 4 ? (wide >> (int)(4 * (k % 2))) & 15 : wide);
}

INLINE void block_tile(const Blocks *step, int64_t row, int64_t first, const int rows, const int wide, const int bits) {
    const int64_t block = bits == 4 ? 32 : step->block, blocks = step->width / block;
    const int64_t lines = block * bits / 32, apart = blocks * lines * 4 * BLOCK;
    const uint8_t *weights = step->weights + first * apart;
    const int8_t *levels = step->levels + row * step->width;
    Floats out[BLOCKS_ROWS][BLOCKS_WIDE][LINES];
    EACH(r, rows) EACH(b, wide) EACH(i, LINES) out[r][b][i] = (Floats){};
    for (int64_t k = 0; k < blocks; k++, levels += block) {
        Ints sums[BLOCKS_ROWS][BLOCKS_WIDE][LINES];
        EACH(r, rows) EACH(b, wide) EACH(i, LINES) sums[r][b][i] = (Ints){};
        _Pragma("GCC unroll 4") for (int64_t line = 0; line < lines; line++, weights += 4 * BLOCK) {
            Bytes even[BLOCKS_WIDE][LINES], odd[BLOCKS_WIDE][LINES];
            EACH(b, wide) {
                EACH(i, LINES) {
                    const Ints each = *(const Ints *)(weights + b * apart + 4 * i * LANES);
                    even[b][i] = unsigned_bytes(bits == 4 ? each & 0x0f0f0f0f : each);
                    if (bits == 4) odd[b][i] = unsigned_bytes((each >> 4) & 0x0f0f0f0f);
                }
                __builtin_prefetch(weights + b * apart + AHEAD);
            }
            EACH(r, rows) {
                const int8_t *own = levels + r * step->width + 4 * line;
                Bytes four = signed_bytes(spread(own));
                EACH(b, wide) EACH(i, LINES) sums[r][b][i] = dot(sums[r][b][i], even[b][i], four);
                if (bits == 8) continue;
                four = signed_bytes(spread(own + block / 2));
                EACH(b, wide) EACH(i, LINES) sums[r][b][i] = dot(sums[r][b][i], odd[b][i], four);
            }
        }
        EACH(b, wide) EACH(i, LINES) {
            const Floats scale = from_bfloat16(step->scales + ((first + b) * blocks + k) * BLOCK + i * LANES);
            const Floats zero = zeros_of(step, first + b, k, i * LANES, bits) * scale;
            EACH(r, rows) {
                out[r][b][i] += floats(sums[r][b][i]) * (scale * step->row_scales[(row + r) * blocks + k]);
                out[r][b][i] -= zero * step->row_sums[(row + r) * blocks + k];
            }
        }
    }
    EACH(r, rows) EACH(b, wide) EACH(i, LINES)
        STORE(step->out + (row + r) * step->outputs + (first + b) * BLOCK + i * LANES, out[r][b][i]);
}

/* One row is read from memory: a block after another, without jumps. */
#define BLOCKS_OF(rows)                                                           \
    case rows:                                                                    \
        for (; rows > 1 && first + BLOCKS_WIDE <= end; first += BLOCKS_WIDE)      \
            block_tile(step, row, first, rows, BLOCKS_WIDE, bits);                \
        for (; first < end; first++) block_tile(step, row, first, rows, 1, bits); \
        break;

INLINE void product_of_bits(const Blocks *step, size_t part, const int bits) {
    const int64_t end = smaller(((int64_t)part + 1) * step->chunk, step->outputs / BLOCK);
    for (int64_t row = 0; row < step->rows; row += BLOCKS_ROWS) {
        int64_t first = (int64_t)part * step->chunk;
        switch (smaller(step->rows - row, BLOCKS_ROWS)) {
            BLOCKS_OF(1)
            BLOCKS_OF(2)
#if LANES == 16
            BLOCKS_OF(3)
            BLOCKS_OF(4)
#endif
        }
    }
}

static void product_of_4_bits(const Blocks *step, size_t part) { product_of_bits(step, part, 4); }
static void product_of_8_bits(const Blocks *step, size_t part) { product_of_bits(step, part, 8); }

static void block_product(void *data, size_t part) {
    const Blocks *step = data;
    (step->bits == 4 ? product_of_4_bits : product_of_8_bits)(step, part);
}
