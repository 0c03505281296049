/* Adapters of a row's own: y + (x A) B with the two matrices of the adapter that its sequence names (LoRA, Hu et al.
2021, arXiv:2106.09685), for many adapters over one base.

metroline::LowRank               adds it to y
metroline::PackedMatMulLowRank   PackedMatMul and that in one, x being the levels times their scale

`bank` [adapters + 1, size] bfloat16 holds an adapter's matrices for all nodes, one after another, as
`pipelines/exporting/adapters/bank.py` lays them out; `adapter` [batch] int32 names one for each sequence, 0: none. A row
without an adapter is not touched, and costs nothing. A row's result does not depend on the other rows. The bank belongs
to who runs the graph: another adapter can be put into it between two runs. */
#include <stdlib.h>
#include <string.h>

#include "operators.h"
#include "rows.h"

enum { WORTH_SHARING = 1 << 17 }; /* products: below, waking a thread costs more than it saves */
enum { MOST_TOGETHER = 64 };      /* rows of a group, so that the rows of one adapter are shared by threads too */
enum { BLOCKS_OF_PART = 16 };     /* of LowRank alone */
enum { LAYER_OF, BANK, ADAPTER, INPUTS };

typedef struct {
    const Api *api;
    int64_t at, rank, layers;
} Kernel;

static bool any(const Tensor *adapter) {
    for (int64_t i = 0; i < adapter->count; i++)
        if (((const int32_t *)adapter->data)[i]) return true;
    return false;
}

/* The inputs from `first` on; only the last one where no row has an adapter. */
static Status *read_adapters(const Kernel *kernel, const Context *context, size_t first, LowRank *step, Tensor *adapter) {
    const Api *api = kernel->api;
    Tensor layer_of, bank;
    TRY(input(api, context, first + ADAPTER, adapter));
    if (!any(adapter)) return NULL;
    TRY(input(api, context, first + LAYER_OF, &layer_of));
    TRY(input(api, context, first + BANK, &bank));
    step->rank = kernel->rank, step->layers = kernel->layers, step->at = kernel->at;
    step->layer_of = layer_of.data, step->bank = bank.data, step->size = bank.rank == 2 ? bank.sizes[1] : 0;
    const int64_t end = step->at + step->rank * (step->layers * step->width + step->outputs);
    bool taken = step->width > 0 && step->width % BLOCK == 0 && step->outputs % BLOCK == 0 && end <= step->size &&
                 layer_of.count == step->outputs / BLOCK && adapter->rank == 1;
    for (int64_t i = 0; i < layer_of.count && taken; i++)
        taken = step->layer_of[i] >= 0 && step->layer_of[i] < step->layers;
    for (int64_t i = 0; i < adapter->count && taken; i++) {
        const int32_t each = ((const int32_t *)adapter->data)[i];
        taken = each >= 0 && each < bank.sizes[0];
    }
    return taken ? NULL : refuse(api, "metroline::LowRank: sizes or adapters that it does not take");
}

/* Put the rows of one adapter side by side, in groups; of `rows` rows, `rows / adapter->count` belong to a sequence. */
static void arrange(const Tensor *adapter, int64_t rows, LowRank *step, int64_t *order, Together *together) {
    const int64_t sequences = adapter->count, each = rows / sequences;
    const int32_t *ids = adapter->data;
    int64_t count = 0, groups = 0;
    for (int64_t s = 0; s < sequences; s++) {
        bool before = !ids[s];
        for (int64_t other = 0; other < s && !before; other++) before = ids[other] == ids[s];
        if (before) continue;
        int64_t start = count;
        for (int64_t other = s; other < sequences; other++) {
            if (ids[other] != ids[s]) continue;
            for (int64_t i = 0; i < each; i++) order[count++] = other * each + i;
        }
        for (; start < count; start += MOST_TOGETHER)
            together[groups++] = (Together){start, count - start < MOST_TOGETHER ? count - start : MOST_TOGETHER, ids[s]};
    }
    step->order = order, step->together = together, step->groups = groups;
}

/* The inner sums of all rows, then `outer` in chunks. */
static Status *run(const Api *api, const Context *context, const Tensor *adapter, int64_t count, LowRank *step,
                   void (*outer)(void *, size_t), void *data, bool worth) {
    if (count % adapter->count) return refuse(api, "metroline::LowRank: rows that do not go together");
    const int64_t ranks = step->rank * step->layers, blocks = step->outputs / BLOCK;
    char *room = malloc((size_t)count * (sizeof(int64_t) + sizeof(Together) + (size_t)ranks * sizeof(float)));
    if (!room) return refuse(api, OUT_OF_MEMORY);
    Together *together = (Together *)room;
    int64_t *order = (int64_t *)(together + count);
    step->inner = (float *)(order + count);
    arrange(adapter, count, step, order, together);
    const bool large = step->groups > 1 && count * ranks * step->width >= WORTH_SHARING;
    Status *status = share(api, context, rows()->low_rank_inner, (size_t)step->groups, large, step);
    if (!status && !step->starved)
        status = share(api, context, outer, (size_t)((blocks + step->chunk - 1) / step->chunk), worth, data);
    free(room);
    return !status && step->starved ? refuse(api, OUT_OF_MEMORY) : status;
}

static Status *compute_low_rank(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor y, x, adapter;
    TRY(input(api, context, 0, &y));
    TRY(input(api, context, 1, &x));
    if (!y.rank || y.rank != x.rank) return refuse(api, "metroline::LowRank: sizes that it does not take");
    LowRank step = {.width = x.sizes[x.rank - 1], .outputs = y.sizes[y.rank - 1], .scale = 1, .x = x.data,
                    .chunk = BLOCKS_OF_PART};
    TRY(read_adapters(kernel, context, 2, &step, &adapter));
    const int64_t count = step.outputs ? y.count / step.outputs : 0;
    TRY(output(api, context, 0, y.sizes, y.rank, (void **)&step.out));
    if (step.out != (const float *)y.data) memcpy(step.out, y.data, (size_t)y.count * sizeof(float));
    if (!any(&adapter) || !count) return NULL;
    if (x.count != count * step.width) return refuse(api, "metroline::LowRank: rows that do not go together");
    const bool worth = count * step.outputs * step.rank >= WORTH_SHARING;
    return run(api, context, &adapter, count, &step, rows()->low_rank_outer, &step, worth);
}

static Status *compute_product(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    AdaptedProduct step;
    Tensor adapter;
    bool worth;
    TRY(read_product(api, context, &step.product, &worth));
    step.adapters = (LowRank){.width = step.product.width, .outputs = step.product.outputs, .scale = step.product.scale,
                              .levels = step.product.levels, .out = step.product.out, .chunk = step.product.chunk};
    if (!step.product.rows) return NULL;
    TRY(read_adapters(kernel, context, 5, &step.adapters, &adapter));
    if (!any(&adapter)) return share_product(api, context, &step.product, worth);
    return run(api, context, &adapter, step.product.rows, &step.adapters, rows()->adapted_product, &step, worth);
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel found = {.api = api};
    (void)self;
    TRY(ATTRIBUTE_INT(api)(info, "at", &found.at));
    TRY(ATTRIBUTE_INT(api)(info, "rank", &found.rank));
    TRY(ATTRIBUTE_INT(api)(info, "layers", &found.layers));
    if (found.at < 0 || found.rank < RANKS || found.rank % RANKS || found.layers < 1)
        return refuse(api, "metroline::LowRank: a rank or a place that it does not take");
    return keep(api, &found, sizeof found, made);
}

static const int after[] = {[LAYER_OF] = INT32, [BANK] = BFLOAT16, [ADAPTER] = INT32};
static int low_rank_type(const Operator *self, size_t index) {
    return (void)self, index < 2 ? (int)FLOAT32 : after[index - 2];
}
static int product_type(const Operator *self, size_t index) {
    static const int types[] = {UINT8, INT8, FLOAT32, FLOAT32, INT32};
    return (void)self, index < 5 ? types[index] : after[index - 5];
}
static const char *low_rank_name(const Operator *self) { return (void)self, "LowRank"; }
static const char *product_name(const Operator *self) { return (void)self, "PackedMatMulLowRank"; }
static size_t low_rank_inputs(const Operator *self) { return (void)self, (size_t)(2 + INPUTS); }
static size_t product_inputs(const Operator *self) { return (void)self, (size_t)(5 + INPUTS); }
static size_t one_output(const Operator *self) { return (void)self, (size_t)1; }
static int output_type(const Operator *self, size_t index) { return (void)self, (void)index, (int)FLOAT32; }

const Operator low_rank_operator = {
    COMMON, .name = low_rank_name, .input_type = low_rank_type, .inputs = low_rank_inputs, .output_type = output_type,
    .outputs = one_output, .input_kind = required, .create2 = create, .compute2 = compute_low_rank,
};
const Operator packed_matmul_low_rank_operator = {
    COMMON, .name = product_name, .input_type = product_type, .inputs = product_inputs, .output_type = output_type,
    .outputs = one_output, .input_kind = required, .create2 = create, .compute2 = compute_product,
};
