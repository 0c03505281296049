/* The work of `products.c` on the matrix unit of x86-64, AMX: a tile of 16 rows by 64 levels times one of 64 levels by
16 outputs, which is how the weights lie in memory (Intel 64 and IA-32 Architectures Software Developer's Manual, 1,
18). */
enum { DEEP = 64 };       /* levels in a tile */
enum { FEWEST_ROWS = 7 }; /* fewer are read from memory as fast without it */

/* GCC 12 does not know that the unit reads and writes memory. */
#define MEMORY() __asm__ volatile("" ::: "memory")

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} Tiles;

/* Tiles 0 to 3 are sums, of `upper` rows and of `lower` ones; 4 and 5 their levels; 6 and 7 weights. */
static void configure(int64_t upper, int64_t lower) {
    Tiles tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        tiles.bytes[i] = 64;
        tiles.rows[i] = (uint8_t)(i > 5 ? 16 : i == 2 || i == 3 || i == 5 ? lower : upper);
    }
    MEMORY();
    _tile_loadconfig(&tiles);
}

static void put_tiles(const Product *step, int64_t row, int64_t block, int64_t rows, const int32_t *sums) {
    const Ints offsets = *(const Ints *)(step->offsets + block * BLOCK);
    for (int64_t r = 0; r < rows; r++) put(step, row + r, block * BLOCK, *(const Ints *)(sums + r * BLOCK) + offsets);
}

#define STORE_TILES()             \
    _tile_stored(0, sums[0], 64); \
    _tile_stored(1, sums[1], 64); \
    _tile_stored(2, sums[2], 64); \
    _tile_stored(3, sums[3], 64); \
    MEMORY()
#define ZERO_TILES() \
    _tile_zero(0);   \
    _tile_zero(1);   \
    _tile_zero(2);   \
    _tile_zero(3)

/* Up to 16 rows, four blocks at once; of the last blocks, those that are missing are the last one again. */
static void few_rows(const Product *step, int64_t row, int64_t rows, int64_t first, int64_t end) {
    const int64_t width = step->width;
    const uint8_t *levels = step->levels + row * width;
    int32_t sums[4][16 * BLOCK] __attribute__((aligned(64)));
    configure(rows, rows);
    for (int64_t block = first; block < end; block += 4) {
        const int8_t *weights[4];
        for (int b = 0; b < 4; b++) weights[b] = step->weights + smaller(block + b, end - 1) * width * BLOCK;
        ZERO_TILES();
        for (int64_t k = 0; k < width; k += DEEP) {
            _tile_loadd(4, levels + k, width);
            _tile_loadd(6, weights[0] + k * BLOCK, 64);
            _tile_dpbusd(0, 4, 6);
            _tile_loadd(7, weights[1] + k * BLOCK, 64);
            _tile_dpbusd(1, 4, 7);
            _tile_loadd(6, weights[2] + k * BLOCK, 64);
            _tile_dpbusd(2, 4, 6);
            _tile_loadd(7, weights[3] + k * BLOCK, 64);
            _tile_dpbusd(3, 4, 7);
        }
        STORE_TILES();
        for (int b = 0; b < smaller(4, end - block); b++) put_tiles(step, row, block + b, rows, sums[b]);
    }
}

/* 16 rows and `lower` more, two blocks at once. */
static void many_rows(const Product *step, int64_t row, int64_t lower, int64_t first, int64_t end) {
    const int64_t width = step->width;
    const uint8_t *levels = step->levels + row * width;
    int32_t sums[4][16 * BLOCK] __attribute__((aligned(64)));
    configure(16, lower);
    for (int64_t block = first; block < end; block += 2) {
        const int64_t second = smaller(block + 1, end - 1);
        const int8_t *left = step->weights + block * width * BLOCK, *right = step->weights + second * width * BLOCK;
        ZERO_TILES();
        for (int64_t k = 0; k < width; k += DEEP) {
            _tile_loadd(4, levels + k, width);
            _tile_loadd(6, left + k * BLOCK, 64);
            _tile_dpbusd(0, 4, 6);
            _tile_loadd(7, right + k * BLOCK, 64);
            _tile_dpbusd(1, 4, 7);
            _tile_loadd(5, levels + 16 * width + k, width);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        STORE_TILES();
        for (int b = 0; b <= second - block; b++) {
            put_tiles(step, row, block + b, 16, sums[b]);
            put_tiles(step, row + 16, block + b, lower, sums[2 + b]);
        }
    }
}

static void product_in_tiles(void *data, size_t part) {
    const Product *step = data;
    if (step->rows < FEWEST_ROWS || step->width % DEEP) {
        product(data, part);
        return;
    }
    const int64_t first = (int64_t)part * step->chunk, end = smaller(first + step->chunk, step->outputs / BLOCK);
    for (int64_t row = 0; row < step->rows; row += 32) {
        const int64_t left = step->rows - row;
        if (left > 16)
            many_rows(step, row, smaller(left - 16, 16), first, end);
        else
            few_rows(step, row, left, first, end);
    }
    _tile_release();
}
