/* metroline::CachedAttention: grouped-query attention with RoPE over a key/value cache in 8 bits.

Stands in for com.microsoft::GroupQueryAttention, whose kernel for such a cache takes each query head by itself, and for
the float32 nodes around it that prompts need (`pipelines/exporting/quantized_cache.py`; the graph holds both). Here all
query heads that share a key head go through its cache together, so each byte is read and widened once; the channels'
scales are multiplied into queries and results, not into the cache. Sums are float32, each in an order that depends on
its own row alone: a row gives the same bits alone and among others, a prompt whole and in chunks of two tokens or more. */
#include <math.h>
#include <stdlib.h>

#include "operators.h"
#include "vectors.h"

enum { QUERY, KEY, VALUE, PAST_KEY, PAST_VALUE, LENGTHS, TOTAL, COS, SIN, KEY_SCALE, VALUE_SCALE, NEW, INPUTS };
enum { OUT, PRESENT_KEY, PRESENT_VALUE, OUTPUTS };
enum { MOST_GROUP = 16, MOST_WIDTH = 256 };
enum { ROWS = 6, KEYS = 2 * LANES }; /* of a tile of scores that fits the registers */
enum { WORTH_SHARING = 100000 };     /* products: below, waking a thread costs more than it saves */

typedef struct {
    const Api *api;
    int64_t heads, kv_heads;
    float scale;
} Kernel;

typedef struct {
    int64_t heads, kv_heads, group, width, capacity, new, start, room, half, tiles, query_stride, key_stride;
    float scale;
    const float *query, *key, *value, *cosine, *sine, *key_scale, *value_scale;
    const int32_t *lengths;
    int8_t *present_key, *present_value;
    float *columns; /* keys of prompts, [batch, kv_heads, width, room] */
    float *out;
} Step;

INLINE int64_t up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

/* Turn pairs (i, i + half) of one head by the angles of its position (RoPE, Su et al. 2021, arXiv:2104.09864). */
INLINE void turn(const Step *step, const float *from, float *to, int64_t position) {
    memcpy(to, from, (size_t)step->width * sizeof *to);
    const float *cosine = step->cosine + position * step->half, *sine = step->sine + position * step->half;
    for (int64_t i = 0; i < step->half; i++) {
        to[i] = from[i] * cosine[i] - from[i + step->half] * sine[i];
        to[i + step->half] = from[i + step->half] * cosine[i] + from[i] * sine[i];
    }
}

INLINE void quantize(const float *from, const float *scale, int8_t *to, int64_t width) {
    for (int64_t i = 0; i < width; i++) {
        const float level = rintf(from[i] * (1.0f / scale[i]));
        to[i] = (int8_t)(level > 127 ? 127 : level < -128 ? -128 : level);
    }
}

/* Scores of `rows` queries against cached rows as they lie, [length, width]: for one new token. */
INLINE void score_rows(const float *query, const int8_t *key, float *scores, int64_t length, int64_t room, int64_t rows,
                       int64_t width) {
    for (int64_t t = 0; t < length; t++) {
        float wide[MOST_WIDTH];
        widen(key + t * width, wide, width);
        for (int64_t r = 0; r < rows; r++) {
            Floats total = LOAD(wide) * LOAD(query + r * width);
            for (int64_t i = LANES; i < width; i += LANES) total += LOAD(wide + i) * LOAD(query + r * width + i);
            scores[r * room + t] = sum(total);
        }
    }
}

/* The same against widened columns, [width, room]: many queries read them. */
INLINE void score_columns(const float *query, const float *columns, float *scores, int64_t length, int64_t room,
                          int64_t rows, int64_t width) {
    for (int64_t t = 0; t < length; t += KEYS) {
        Floats total[ROWS][2];
        for (int64_t r = 0; r < rows; r++) total[r][0] = total[r][1] = (Floats){};
        for (int64_t i = 0; i < width; i++) {
            const Floats left = LOAD(columns + i * room + t), right = LOAD(columns + i * room + t + LANES);
            for (int64_t r = 0; r < rows; r++) {
                total[r][0] += left * query[r * width + i];
                total[r][1] += right * query[r * width + i];
            }
        }
        for (int64_t r = 0; r < rows; r++) {
            STORE(scores + r * room + t, total[r][0]);
            STORE(scores + r * room + t + LANES, total[r][1]);
        }
    }
}

/* Scores of one row, of which the first `length` count, to weights; those up to `room` become 0. Returns 1 / sum. */
INLINE float soften(float *scores, int64_t length, int64_t room) {
    const int64_t whole = up(length, LANES);
    for (int64_t t = length; t < whole; t++) scores[t] = -1e30f;
    Floats most = LOAD(scores), total = {};
    for (int64_t t = LANES; t < whole; t += LANES) most = larger(most, LOAD(scores + t));
    const float largest = largest_of(most);
    for (int64_t t = 0; t < whole; t += LANES) {
        const Floats weight = exponential(LOAD(scores + t) - largest);
        STORE(scores + t, weight);
        total += weight;
    }
    for (int64_t t = length; t < room; t++) scores[t] = 0;
    return 1.0f / sum(total);
}

/* Means of cached values [length, width] by the rows' weights, times inverse[row]. */
INLINE void mix(const int8_t *value, const float *weights, const float *inverse, const float *scale, float *const *out,
                int64_t length, int64_t room, int64_t rows, int64_t width) {
    for (int64_t from = 0; from < width; from += 4 * LANES) {
        const int64_t parts = (width - from < 4 * LANES ? width - from : 4 * LANES) / LANES;
        Floats mean[MOST_GROUP][4];
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = 0; p < parts; p++) mean[r][p] = (Floats){};
        for (int64_t t = 0; t < length; t++) {
            float wide[4 * LANES];
            widen(value + t * width + from, wide, parts * LANES);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t p = 0; p < parts; p++) mean[r][p] += LOAD(wide + p * LANES) * weights[r * room + t];
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t p = 0; p < parts; p++) {
                const int64_t at = from + p * LANES;
                STORE(out[r] + at, mean[r][p] * LOAD(scale + at) * inverse[r]);
            }
    }
}

/* `rows` queries of one row and key head; `lengths` [rows] are what each may look at. */
INLINE void attend(const Step *step, size_t index, const float *query, const int64_t *lengths, float *const *out,
                   float *scores, int64_t rows, int64_t width) {
    const int8_t *keys = step->present_key + (int64_t)index * step->capacity * width;
    const int8_t *values = step->present_value + (int64_t)index * step->capacity * width;
    const int64_t length = lengths[rows - 1], room = step->room;
    if (step->columns)
        score_columns(query, step->columns + (int64_t)index * width * room, scores, length, room, rows, width);
    else
        score_rows(query, keys, scores, length, room, rows, width);
    float inverse[MOST_GROUP];
    for (int64_t r = 0; r < rows; r++) inverse[r] = soften(scores + r * room, lengths[r], up(length, LANES));
    mix(values, scores, inverse, step->value_scale + (int64_t)index % step->kv_heads * width, out, length, room, rows,
        width);
}

/* Write the new keys and values of one row and head into the cache. `index` counts rows and heads. */
EACH_PROCESSOR static void remember(void *data, size_t index) {
    const Step *step = data;
    const int64_t width = step->width, row = (int64_t)index / step->kv_heads, head = (int64_t)index % step->kv_heads;
    int8_t *keys = step->present_key + (int64_t)index * step->capacity * width;
    int8_t *values = step->present_value + (int64_t)index * step->capacity * width;
    for (int64_t i = 0; i < step->new; i++) {
        const int64_t position = step->new == 1 ? step->lengths[row] : step->start + i;
        const int64_t from = (row * step->new + i) * step->key_stride + head * width;
        float turned[MOST_WIDTH];
        turn(step, step->key + from, turned, position);
        quantize(turned, step->key_scale + head * width, keys + position * width, width);
        quantize(step->value + from, step->value_scale + head * width, values + position * width, width);
    }
    if (step->columns) {
        float *columns = step->columns + (int64_t)index * width * step->room;
        for (int64_t t = 0; t < step->start + step->new; t++)
            for (int64_t i = 0; i < width; i++) columns[i * step->room + t] = keys[t * width + i];
    }
}

/* A tile of queries: ROWS (new token, query head) pairs of one row and key head, or all heads of one new token. */
EACH_PROCESSOR static void answer(void *data, size_t tile) {
    const Step *step = data;
    const int64_t width = step->width, group = step->group, most = step->new == 1 ? group : ROWS;
    const size_t index = tile / (size_t)step->tiles;
    const int64_t row = (int64_t)index / step->kv_heads, head = (int64_t)index % step->kv_heads;
    const int64_t first = (int64_t)tile % step->tiles * most, left = step->new * group - first;
    const int64_t rows = left < most ? left : most;
    float query[MOST_GROUP * MOST_WIDTH], few[8192], *out[MOST_GROUP];
    float *scores = rows * step->room <= 8192 ? few : malloc((size_t)(rows * step->room) * sizeof *scores);
    int64_t lengths[MOST_GROUP];
    for (int64_t r = 0; r < rows; r++) {
        const int64_t token = (first + r) / group, which = head * group + (first + r) % group;
        const int64_t position = step->new == 1 ? step->lengths[row] : step->start + token;
        const float *scale = step->key_scale + head * width;
        lengths[r] = position + 1;
        out[r] = step->out + ((row * step->new + token) * step->heads + which) * width;
        const int64_t from = (row * step->new + token) * step->query_stride + which * width;
        turn(step, step->query + from, query + r * width, position);
        for (int64_t i = 0; i < width; i++) query[r * width + i] *= scale[i] * step->scale;
    }
    if (width == 64 && rows == 3)
        attend(step, index, query, lengths, out, scores, 3, 64);
    else if (width == 64 && rows == ROWS)
        attend(step, index, query, lengths, out, scores, ROWS, 64);
    else
        attend(step, index, query, lengths, out, scores, rows, width);
    if (scores != few) free(scores);
}

static Status *share(const Api *api, const Context *context, void (*part)(void *, size_t), size_t parts, int64_t work,
                     Step *step) {
    if (work >= WORTH_SHARING) return PARALLEL_FOR(api)(context, part, parts, 0, step);
    for (size_t i = 0; i < parts; i++) part(step, i);
    return NULL;
}

static Status *compute(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor in[INPUTS];
    for (size_t i = 0; i < INPUTS; i++) TRY(input(api, context, i, &in[i]));
    const int64_t *sizes = in[PAST_KEY].sizes; /* [batch, kv_heads, capacity, width] */
    const int64_t batch = sizes[0], width = sizes[3], group = kernel->heads / kernel->kv_heads;
    const int64_t queries = kernel->heads * width, keys = kernel->kv_heads * width, new = in[QUERY].sizes[1];
    const int64_t packed = in[KEY].data ? 0 : 2 * keys, half = in[COS].data ? in[COS].sizes[1] : 0;
    bool taken = in[QUERY].rank == 3 && in[PAST_KEY].rank == 4 && sizes[1] == kernel->kv_heads && new > 0 &&
                 width % LANES == 0 && width <= MOST_WIDTH && group <= MOST_GROUP && 2 * half <= width;
    taken = taken && in[QUERY].count == batch * new * (queries + packed) && in[LENGTHS].count == batch &&
            in[PAST_VALUE].count == in[PAST_KEY].count && in[TOTAL].count == 1 && in[COS].count == in[SIN].count &&
            in[KEY_SCALE].count == keys && in[VALUE_SCALE].count == keys;
    if (!packed) taken = taken && in[KEY].count == batch * new * keys && in[VALUE].count == batch * new * keys;
    if (!taken) return refuse(api, "metroline::CachedAttention: sizes that it does not take");
    const float *first = in[QUERY].data;
    const int64_t end = *(const int32_t *)in[TOTAL].data;
    Step step = {
        .heads = kernel->heads, .kv_heads = kernel->kv_heads, .group = group, .width = width, .capacity = sizes[2],
        .new = new, .start = end - new, .room = up(end, KEYS), .half = half, .scale = kernel->scale,
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
    if (step.present_key != in[PAST_KEY].data) memcpy(step.present_key, in[PAST_KEY].data, bytes);
    if (step.present_value != in[PAST_VALUE].data) memcpy(step.present_value, in[PAST_VALUE].data, bytes);
    if (new > 1) {
        step.columns = malloc(heads * (size_t)(width * step.room) * sizeof *step.columns);
        if (!step.columns) return refuse(api, "metroline::CachedAttention: out of memory");
    }
    Status *status = share(api, context, remember, heads, (seen + 8 * batch * new) * keys, &step);
    const int64_t products = seen * new * queries;
    if (!status) status = share(api, context, answer, heads * (size_t)step.tiles, products, &step);
    free(step.columns);
    return status;
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel *kernel = calloc(1, sizeof *kernel);
    (void)self;
    *kernel = (Kernel){.api = api};
    *made = kernel;
    TRY(ATTRIBUTE_INT(api)(info, "num_heads", &kernel->heads));
    TRY(ATTRIBUTE_INT(api)(info, "kv_num_heads", &kernel->kv_heads));
    return ATTRIBUTE_FLOAT(api)(info, "scale", &kernel->scale);
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
