/* metroline::CachedAttention: grouped-query attention with RoPE over a key/value cache in 8 bits.

Stands in for com.microsoft::GroupQueryAttention, whose kernel for such a cache takes each query head by itself, and for
the float32 nodes around it that prompts need (`pipelines/exporting/quantize/cache.py`; the graph holds both). Here all
query heads that share a key head go through its cache together, so each byte is read and widened once; the channels'
scales are multiplied into queries and results, not into the cache. Sums are float32, each in an order that depends on
its own row alone: a row gives the same bits alone and among others, a prompt whole and in chunks of two tokens or more. */
#include <stdlib.h>
#include <string.h>

#include "operators.h"
#include "rows.h"

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LENGTHS, TOTAL, COS, SIN, KEY_SCALE, VALUE_SCALE, NEW, INPUTS };
enum { OUT, PRESENT_KEY, PRESENT_VALUE, OUTPUTS };
enum { WORTH_SHARING = 100000 }; /* products: below, waking a thread costs more than it saves */

typedef struct {
    const Api *api;
    int64_t heads, kv_heads;
    float scale;
} Kernel;

static Status *compute(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor in[NEW]; /* which is there for the function: here the queries' shape says it */
    for (size_t i = 0; i < NEW; i++) TRY(input(api, context, i, &in[i]));
    const int64_t *sizes = in[PAST_KEY].sizes; /* [batch, kv_heads, capacity, width] */
    const int64_t batch = sizes[0], width = sizes[3], group = kernel->heads / kernel->kv_heads;
    const int64_t queries = kernel->heads * width, keys = kernel->kv_heads * width, new = in[QUERY].sizes[1];
    const int64_t packed = in[KEY].data ? 0 : 2 * keys, half = in[COS].data ? in[COS].sizes[1] : 0;
    bool taken = in[QUERY].rank == 3 && in[PAST_KEY].rank == 4 && sizes[1] == kernel->kv_heads && new > 0 &&
                 width % MULTIPLE == 0 && width <= MOST_WIDTH && 2 * half <= width;
    taken = taken && in[QUERY].count == batch * new * (queries + packed) && in[LENGTHS].count == batch &&
            in[PAST_VALUE].count == in[PAST_KEY].count && in[TOTAL].count == 1 && in[COS].count == in[SIN].count &&
            in[KEY_SCALE].count == keys && in[VALUE_SCALE].count == keys;
    if (!packed) taken = taken && in[KEY].count == batch * new * keys && in[VALUE].count == batch * new * keys;
    if (!taken) return refuse(api, "metroline::CachedAttention: sizes that it does not take");
    const float *first = in[QUERY].data;
    const int64_t end = *(const int32_t *)in[TOTAL].data;
    Attention step = {
        .heads = kernel->heads, .kv_heads = kernel->kv_heads, .group = group, .width = width, .capacity = sizes[2],
        .new = new, .start = end - new, .room = (end + TILE - 1) / TILE * TILE, .half = half, .scale = kernel->scale,
        .tiles = new == 1 ? 1 : (new * group + ROWS - 1) / ROWS,
        .query_stride = queries + packed, .key_stride = packed ? queries + packed : keys, .query = first,
        .key = packed ? first + queries : in[KEY].data, .value = packed ? first + queries + keys : in[VALUE].data,
        .cosine = in[COS].data, .sine = in[SIN].data, .lengths = in[LENGTHS].data,
        .key_scale = in[KEY_SCALE].data, .value_scale = in[VALUE_SCALE].data,
    };
    bool fits = step.start >= 0 && end <= step.capacity && (!half || end <= in[COS].sizes[0]);
    int64_t seen = 0; /* cached rows */
    for (int64_t b = 0; b < batch; b++) {
        fits &= step.lengths[b] >= 0 && step.lengths[b] < end;
        seen += new == 1 ? step.lengths[b] + 1 : end;
    }
    if (!fits) return refuse(api, "metroline::CachedAttention: a row does not fit its cache");
    const int64_t shape[] = {batch, new, queries};
    TRY(output(api, context, OUT, shape, 3, (void **)&step.out));
    TRY(output(api, context, PRESENT_KEY, sizes, 4, (void **)&step.present_key));
    TRY(output(api, context, PRESENT_VALUE, sizes, 4, (void **)&step.present_value));
    const size_t heads = (size_t)(batch * kernel->kv_heads), bytes = heads * (size_t)(step.capacity * width);
    if (!bytes) return NULL; /* no rows */
    if (step.present_key != in[PAST_KEY].data) memcpy(step.present_key, in[PAST_KEY].data, bytes);
    if (step.present_value != in[PAST_VALUE].data) memcpy(step.present_value, in[PAST_VALUE].data, bytes);
    if (new > 1) {
        step.columns = malloc(heads * (size_t)(width * step.room) * sizeof *step.columns);
        if (!step.columns) return refuse(api, OUT_OF_MEMORY);
    }
    const bool large = (seen + 8 * batch * new) * keys >= WORTH_SHARING, many = seen * new * queries >= WORTH_SHARING;
    Status *status = share(api, context, rows()->remember, heads, large, &step);
    if (!status) status = share(api, context, rows()->answer, heads * (size_t)step.tiles, many, &step);
    free(step.columns);
    return !status && step.starved ? refuse(api, OUT_OF_MEMORY) : status;
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel found = {.api = api};
    (void)self;
    TRY(ATTRIBUTE_INT(api)(info, "num_heads", &found.heads));
    TRY(ATTRIBUTE_INT(api)(info, "kv_num_heads", &found.kv_heads));
    TRY(ATTRIBUTE_FLOAT(api)(info, "scale", &found.scale));
    if (found.kv_heads < 1 || found.kv_heads > INT16_MAX || found.heads < 1 || found.heads % found.kv_heads ||
        found.heads / found.kv_heads > MOST_GROUP)
        return refuse(api, "metroline::CachedAttention: numbers of heads that it does not take");
    return keep(api, &found, sizeof found, made);
}

static const int types[] = {
    [QUERY] = FLOAT32, [KEY] = FLOAT32, [VALUE] = FLOAT32, [PAST_KEY] = INT8, [PAST_VALUE] = INT8, [LENGTHS] = INT32,
    [TOTAL] = INT32, [COS] = FLOAT32, [SIN] = FLOAT32, [KEY_SCALE] = FLOAT32, [VALUE_SCALE] = FLOAT32, [NEW] = INT64,
};
static const char *name(const Operator *self) { return (void)self, "CachedAttention"; }
static size_t inputs(const Operator *self) { return (void)self, (size_t)INPUTS; }
static size_t outputs(const Operator *self) { return (void)self, (size_t)OUTPUTS; }
static int input_type(const Operator *self, size_t index) { return (void)self, types[index]; }
static int output_type(const Operator *self, size_t index) { return (void)self, (int)(index == OUT ? FLOAT32 : INT8); }
static int input_kind(const Operator *self, size_t index) {
    (void)self; /* packed queries hold keys and values; learned positions turn nothing */
    return index == KEY || index == VALUE || index == COS || index == SIN ? OPTIONAL : REQUIRED;
}

const Operator cached_attention_operator = {
    COMMON, .name = name, .input_type = input_type, .inputs = inputs, .output_type = output_type, .outputs = outputs,
    .input_kind = input_kind, .create2 = create, .compute2 = compute,
};
