/* What lies between the products of a quantized decoder, row by row in one pass each, where the graph has three to six:

metroline::AddNormQuantize    sum = x + delta * delta_scale; levels of RMSNorm(sum) * gain by one fixed scale
metroline::SwiGLU             gate * sigmoid(gate) * up                    (Shazeer 2020, arXiv:2002.05202)
metroline::QuantizeRows       levels of x with one scale for each row, its largest magnitude / 127
metroline::SwiGLUQuantize     both

Levels are uint8 around 128. A row's result does not depend on the other rows. */
#include <math.h>
#include <stdlib.h>

#include "operators.h"
#include "vectors.h"

enum { WORTH_SHARING = 8192 }; /* numbers: below, waking a thread costs more than it saves */

typedef struct {
    const Api *api;
    float epsilon;
} Kernel;

typedef struct {
    int64_t width, scales; /* `scales`: 1, one for each row; 0, one for all */
    float epsilon, inverse;
    const float *x, *delta, *delta_scale, *gain, *gate, *up;
    float *sum, *out, *scale;
    uint8_t *levels;
} Step;

INLINE void to_levels(Floats x, uint8_t *levels) {
    int32_t rounded[LANES];
    *(Ints *)rounded = nearest(x);
    for (int64_t i = 0; i < LANES; i++) levels[i] = (uint8_t)(rounded[i] + 128);
}

EACH_PROCESSOR static void add_norm_quantize(void *data, size_t row) {
    const Step *step = data;
    const int64_t width = step->width, from = (int64_t)row * width;
    const float *x = step->x + from, *delta = step->delta + from, factor = step->delta_scale[(int64_t)row * step->scales];
    float *to = step->sum + from;
    Floats squares = {};
    for (int64_t i = 0; i < width; i += LANES) {
        const Floats each = LOAD(x + i) + LOAD(delta + i) * factor;
        STORE(to + i, each);
        squares += each * each;
    }
    const float norm = 1.0f / sqrtf(sum(squares) / (float)width + step->epsilon) * step->inverse;
    for (int64_t i = 0; i < width; i += LANES)
        to_levels(LOAD(to + i) * LOAD(step->gain + i) * norm, step->levels + from + i);
}

INLINE Floats gated(Floats gate, Floats up) {
    const Ints negative = gate < 0;
    const Floats power = exponential(-larger(gate, -gate));
    const Floats top = (Floats)(((Ints)power & negative) | ((Ints)((Floats){} + 1.0f) & ~negative));
    return gate * top / (1.0f + power) * up;
}

EACH_PROCESSOR static void swiglu(void *data, size_t row) {
    const Step *step = data;
    const int64_t from = (int64_t)row * step->width;
    for (int64_t i = from; i < from + step->width; i += LANES)
        STORE(step->out + i, gated(LOAD(step->gate + i), LOAD(step->up + i)));
}

INLINE void quantize_row(const Step *step, const float *x, size_t row) {
    Floats most = {};
    for (int64_t i = 0; i < step->width; i += LANES) most = larger(most, larger(LOAD(x + i), -LOAD(x + i)));
    const float scale = largest_of(most) * (1.0f / 127), inverse = scale > 0 ? 1.0f / scale : 0;
    uint8_t *levels = step->levels + (int64_t)row * step->width;
    step->scale[row] = scale;
    for (int64_t i = 0; i < step->width; i += LANES) to_levels(LOAD(x + i) * inverse, levels + i);
}

EACH_PROCESSOR static void quantize_rows(void *data, size_t row) {
    const Step *step = data;
    quantize_row(step, step->x + (int64_t)row * step->width, row);
}

EACH_PROCESSOR static void swiglu_quantize(void *data, size_t row) {
    const Step *step = data;
    const int64_t from = (int64_t)row * step->width;
    float few[4096], *out = step->width <= 4096 ? few : malloc((size_t)step->width * sizeof *out);
    for (int64_t i = 0; i < step->width; i += LANES)
        STORE(out + i, gated(LOAD(step->gate + from + i), LOAD(step->up + from + i)));
    quantize_row(step, out, row);
    if (out != few) free(out);
}

static Status *share(const Api *api, const Context *context, void (*part)(void *, size_t), const Tensor *x, Step *step) {
    const size_t rows = (size_t)(x->count / step->width);
    if (x->count >= WORTH_SHARING) return PARALLEL_FOR(api)(context, part, rows, 0, step);
    for (size_t i = 0; i < rows; i++) part(step, i);
    return NULL;
}

/* The first input, which says how many rows of which width there are. */
static Status *rows_of(const Api *api, const Context *context, Tensor *x, Step *step) {
    TRY(input(api, context, 0, x));
    step->width = x->rank > 0 ? x->sizes[x->rank - 1] : 0;
    if (step->width < LANES || step->width % LANES)
        return refuse(api, "metroline: rows of a width that is no multiple of 16");
    return NULL;
}

/* Another input, which must have so many numbers. */
static Status *like(const Api *api, const Context *context, size_t index, int64_t count, const float **data) {
    Tensor other;
    TRY(input(api, context, index, &other));
    *data = other.data;
    return other.count == count ? NULL : refuse(api, "metroline: inputs whose sizes do not go together");
}

static Status *with_scales(const Api *api, Context *context, void (*part)(void *, size_t), const Tensor *x, Step *step) {
    int64_t scales[MOST_RANK];
    memcpy(scales, x->sizes, sizeof scales);
    scales[x->rank - 1] = 1;
    TRY(output(api, context, 0, x->sizes, x->rank, (void **)&step->levels));
    TRY(output(api, context, 1, scales, x->rank, (void **)&step->scale));
    return share(api, context, part, x, step);
}

static Status *compute_add_norm_quantize(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor x, factor;
    Step step = {.epsilon = kernel->epsilon};
    const float *scale;
    TRY(rows_of(api, context, &x, &step));
    TRY(like(api, context, 1, x.count, &step.delta));
    TRY(input(api, context, 2, &factor));
    step.scales = factor.count != 1;
    step.delta_scale = factor.data;
    if (step.scales && factor.count != x.count / step.width)
        return refuse(api, "metroline::AddNormQuantize: delta_scale is neither one number nor one for each row");
    TRY(like(api, context, 3, step.width, &step.gain));
    TRY(like(api, context, 4, 1, &scale));
    step.x = x.data;
    step.inverse = 1.0f / *scale;
    TRY(output(api, context, 0, x.sizes, x.rank, (void **)&step.levels));
    TRY(output(api, context, 1, x.sizes, x.rank, (void **)&step.sum));
    return share(api, context, add_norm_quantize, &x, &step);
}

static Status *compute_quantize_rows(void *data, Context *context) {
    const Api *api = ((const Kernel *)data)->api;
    Tensor x;
    Step step = {.width = 0};
    TRY(rows_of(api, context, &x, &step));
    step.x = x.data;
    return with_scales(api, context, quantize_rows, &x, &step);
}

static Status *compute_swiglu(void *data, Context *context) {
    const Api *api = ((const Kernel *)data)->api;
    Tensor gate;
    Step step = {.width = 0};
    TRY(rows_of(api, context, &gate, &step));
    TRY(like(api, context, 1, gate.count, &step.up));
    step.gate = gate.data;
    TRY(output(api, context, 0, gate.sizes, gate.rank, (void **)&step.out));
    return share(api, context, swiglu, &gate, &step);
}

static Status *compute_swiglu_quantize(void *data, Context *context) {
    const Api *api = ((const Kernel *)data)->api;
    Tensor gate;
    Step step = {.width = 0};
    TRY(rows_of(api, context, &gate, &step));
    TRY(like(api, context, 1, gate.count, &step.up));
    step.gate = gate.data;
    return with_scales(api, context, swiglu_quantize, &gate, &step);
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel *kernel = calloc(1, sizeof *kernel);
    kernel->api = api;
    *made = kernel;
    return self == &add_norm_quantize_operator ? ATTRIBUTE_FLOAT(api)(info, "epsilon", &kernel->epsilon) : NULL;
}

static int floats(const Operator *self, size_t index) { return (void)self, (void)index, (int)FLOAT32; }
static int levels_and_floats(const Operator *self, size_t index) {
    return (void)self, (int)(index ? FLOAT32 : UINT8);
}

#define OPERATOR(variable, text, count_in, count_out, types_out, function)                           \
    static const char *variable##_name(const Operator *self) { return (void)self, text; }           \
    static size_t variable##_inputs(const Operator *self) { return (void)self, (size_t)count_in; }   \
    static size_t variable##_outputs(const Operator *self) { return (void)self, (size_t)count_out; } \
    const Operator variable##_operator = {                                                           \
        COMMON, .name = variable##_name, .inputs = variable##_inputs, .outputs = variable##_outputs, \
        .input_type = floats, .output_type = types_out, .input_kind = required, .create2 = create, \
        .compute2 = function}
OPERATOR(add_norm_quantize, "AddNormQuantize", 5, 2, levels_and_floats, compute_add_norm_quantize);
OPERATOR(quantize_rows, "QuantizeRows", 1, 2, levels_and_floats, compute_quantize_rows);
OPERATOR(swiglu, "SwiGLU", 2, 1, floats, compute_swiglu);
OPERATOR(swiglu_quantize, "SwiGLUQuantize", 2, 2, levels_and_floats, compute_swiglu_quantize);
