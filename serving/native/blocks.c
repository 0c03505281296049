/* metroline::PackedMatMulNBits: x by weights in 4 or 8 bits, with a scale and a zero for each block of an output's
inputs.

Stands in for com.microsoft::MatMulNBits of accuracy level 4. Weights are in the order in which the kernels read them,
so that nothing is packed when a graph is loaded; scales are bfloat16, half the bytes
(`pipelines/exporting/quantize/packed.py`). Rows are quantized to 8 bits in the same blocks, each by its largest
magnitude: an outlier costs precision in its own block only. Blocks are summed in the order of the inputs: a row gives
the same bits alone and among others. */
#include <stdlib.h>

#include "operators.h"
#include "rows.h"

enum { X, WEIGHTS, SCALES, ZEROS, INPUTS };
enum { WORTH_SHARING = 1 << 16 }; /* bytes of weights times rows: below, waking a thread costs more than it saves */
enum { BYTES_OF_PART = 1 << 15 }; /* of weights: they stay in a core's cache for all rows */
enum { ROWS_WORTH_SHARING = 8 };  /* to quantize */

typedef struct {
    const Api *api;
    int64_t bits, block;
} Kernel;

static Status *compute(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor in[INPUTS];
    for (size_t i = 0; i < INPUTS; i++) TRY(input(api, context, i, &in[i]));
    const int64_t bits = kernel->bits, block = kernel->block, *sizes = in[WEIGHTS].sizes, blocks = sizes[1];
    const int64_t width = block * blocks, outputs = BLOCK * sizes[0];
    const size_t rank = in[X].rank;
    const bool taken = in[WEIGHTS].rank == 5 && sizes[2] == block * bits / 32 && sizes[3] == BLOCK && sizes[4] == 4 &&
                       width > 0 && rank > 0 && in[X].sizes[rank - 1] == width &&
                       in[SCALES].count == outputs * blocks &&
                       in[ZEROS].count == outputs * (bits == 4 ? (blocks + 1) / 2 : blocks);
    if (!taken) return refuse(api, "metroline::PackedMatMulNBits: sizes that it does not take");
    const int64_t part = BYTES_OF_PART / (width * BLOCK * bits / 8) / 2 * 2; /* blocks of outputs, two at once */
    Blocks step = {
        .rows = in[X].count / width, .width = width, .outputs = outputs, .block = block, .bits = bits,
        .chunk = part ? part : 2, .x = in[X].data, .weights = in[WEIGHTS].data, .scales = in[SCALES].data,
        .zeros = in[ZEROS].data,
    };
    in[X].sizes[rank - 1] = outputs;
    TRY(output(api, context, 0, in[X].sizes, rank, (void **)&step.out));
    if (!step.rows || !outputs) return NULL;
    const int64_t count = step.rows * blocks;
    float *room = malloc((size_t)count * 2 * sizeof *room + (size_t)(count * block));
    if (!room) return refuse(api, OUT_OF_MEMORY);
    step.row_scales = room;
    step.row_sums = room + count;
    step.levels = (int8_t *)(room + 2 * count);
    const bool worth = in[WEIGHTS].count * step.rows >= WORTH_SHARING, many = step.rows >= ROWS_WORTH_SHARING;
    Status *status = share(api, context, rows()->quantize_blocks, (size_t)step.rows, many, &step);
    const size_t parts = (size_t)((sizes[0] + step.chunk - 1) / step.chunk);
    if (!status) status = share(api, context, rows()->block_product, parts, worth, &step);
    free(room);
    return status;
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel found = {.api = api};
    (void)self;
    TRY(ATTRIBUTE_INT(api)(info, "bits", &found.bits));
    TRY(ATTRIBUTE_INT(api)(info, "block_size", &found.block));
    const bool eight = found.bits == 8 && found.block > 0 && found.block % MULTIPLE == 0 && found.block <= MOST_BLOCK;
    if (!eight && !(found.bits == 4 && found.block == 32))
        return refuse(api, "metroline::PackedMatMulNBits: bits or a block that it does not take");
    return keep(api, &found, sizeof found, made);
}

static const int types[] = {[X] = FLOAT32, [WEIGHTS] = UINT8, [SCALES] = BFLOAT16, [ZEROS] = UINT8};
static const char *name(const Operator *self) { return (void)self, "PackedMatMulNBits"; }
static size_t inputs(const Operator *self) { return (void)self, (size_t)INPUTS; }
static size_t one_output(const Operator *self) { return (void)self, (size_t)1; }
static int input_type(const Operator *self, size_t index) { return (void)self, types[index]; }
static int output_type(const Operator *self, size_t index) { return (void)self, (void)index, (int)FLOAT32; }

const Operator packed_matmul_nbits_operator = {
    COMMON, .name = name, .input_type = input_type, .inputs = inputs, .output_type = output_type,
    .outputs = one_output, .input_kind = required, .create2 = create, .compute2 = compute,
};
