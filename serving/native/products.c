/* metroline::PackedMatMul: levels of activations by weights in 8 bits, one scale for each output.

    out[m, n] = (sum over k of (levels[m, k] - 128) * weights[k, n]) * (scale * columns[n])

Stands in for com.microsoft::MatMulIntegerToFloat. Levels are uint8; weights int8 [N / 16, K / 4, 16, 4], the order in
which the kernels read them, so that nothing is packed when a graph is loaded (`pipelines/exporting/quantize/packed.py`);
`offsets` [N] int32 is what 128 adds to each sum, subtracted. Sums are of integers, whose order changes no bit: a row
gives the same bits alone and among others, on any processor. */
#include <string.h>

#include "operators.h"
#include "rows.h"

enum { LEVELS, WEIGHTS, SCALE, COLUMNS, OFFSETS, INPUTS };
enum { WORTH_SHARING = 1 << 17 }; /* products of up to 16 rows: below, waking a thread costs more than it saves */
enum { BYTES_OF_PART = 1 << 16 }; /* of weights: they stay in a core's cache for all rows */

Status *read_product(const Api *api, Context *context, Product *step, bool *worth) {
    Tensor in[INPUTS];
    for (size_t i = 0; i < INPUTS; i++) TRY(input(api, context, i, &in[i]));
    const int64_t *sizes = in[WEIGHTS].sizes, blocks = sizes[0], width = 4 * sizes[1], outputs = BLOCK * blocks;
    const size_t rank = in[LEVELS].rank;
    const bool taken = in[WEIGHTS].rank == 4 && sizes[2] == BLOCK && sizes[3] == 4 && width > 0 && rank > 0 &&
                       in[LEVELS].sizes[rank - 1] == width && in[SCALE].count == 1 && in[COLUMNS].count == outputs &&
                       in[OFFSETS].count == outputs;
    if (!taken) return refuse(api, "metroline::PackedMatMul: sizes that it does not take");
    const int64_t part = BYTES_OF_PART / (width * BLOCK) / 4 * 4; /* blocks, four of which are done at once */
    *step = (Product){
        .rows = in[LEVELS].count / width, .width = width, .outputs = outputs, .chunk = part ? part : 4,
        .scale = *(const float *)in[SCALE].data, .levels = in[LEVELS].data, .weights = in[WEIGHTS].data,
        .columns = in[COLUMNS].data, .offsets = in[OFFSETS].data,
    };
    in[LEVELS].sizes[rank - 1] = outputs;
    *worth = in[WEIGHTS].count * (1 + step->rows / 16) >= WORTH_SHARING;
    return output(api, context, 0, in[LEVELS].sizes, rank, (void **)&step->out);
}

Status *share_product(const Api *api, const Context *context, Product *step, bool worth) {
    const int64_t blocks = step->outputs / BLOCK;
    return share(api, context, rows()->product, (size_t)((blocks + step->chunk - 1) / step->chunk), worth, step);
}

static Status *compute(void *data, Context *context) {
    const Api *api = *(const Api *const *)data;
    Product step;
    bool worth;
    TRY(read_product(api, context, &step, &worth));
    return step.rows ? share_product(api, context, &step, worth) : NULL;
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    (void)self, (void)info;
    return keep(api, &api, sizeof api, made);
}

static const int types[] = {
    [LEVELS] = UINT8, [WEIGHTS] = INT8, [SCALE] = FLOAT32, [COLUMNS] = FLOAT32, [OFFSETS] = INT32,
};
static const char *name(const Operator *self) { return (void)self, "PackedMatMul"; }
static size_t inputs(const Operator *self) { return (void)self, (size_t)INPUTS; }
static size_t one_output(const Operator *self) { return (void)self, (size_t)1; }
static int input_type(const Operator *self, size_t index) { return (void)self, types[index]; }
static int output_type(const Operator *self, size_t index) { return (void)self, (void)index, (int)FLOAT32; }

const Operator packed_matmul_operator = {
    COMMON, .name = name, .input_type = input_type, .inputs = inputs, .output_type = output_type,
    .outputs = one_output, .input_kind = required, .create2 = create, .compute2 = compute,
};
