/* What lies between the products of a quantized decoder, row by row in one pass each, where the graph has three to six:

metroline::AddNormQuantize    sum = x + delta * delta_scale; levels of RMSNorm(sum) * gain by one fixed scale
metroline::SwiGLU             gate * sigmoid(gate) * up, which lie side by side (Shazeer 2020, arXiv:2002.05202)
metroline::QuantizeRows       levels of x with one scale for each row, its largest magnitude / 127
metroline::SwiGLUQuantize     both

Levels are uint8 around 128. A row's result does not depend on the other rows. */
#include <string.h>

#include "operators.h"
#include "rows.h"

enum { WORTH_SHARING = 8192 }; /* numbers: below, waking a thread costs more than it saves */

typedef struct {
    const Api *api;
    float epsilon;
} Kernel;

/* Do all rows of x, which has the width of what is put out. */
static Status *each_row(const Api *api, const Context *context, void (*part)(void *, size_t), const Tensor *x, Pointwise *step) {
    TRY(share(api, context, part, (size_t)(x->count / step->width), x->count >= WORTH_SHARING, step));
    return step->starved ? refuse(api, OUT_OF_MEMORY) : NULL;
}

/* The first input, whose rows hold so many `parts` side by side: `x` and the step get the width of one. */
static Status *rows_of(const Api *api, const Context *context, int64_t parts, Tensor *x, Pointwise *step) {
    TRY(input(api, context, 0, x));
    const int64_t whole = x->rank > 0 ? x->sizes[x->rank - 1] : 0;
    if (whole < MULTIPLE || whole % (parts * MULTIPLE))
        return refuse(api, "metroline: rows of a width that is no multiple of 16");
    step->x = x->data;
    step->width = x->sizes[x->rank - 1] = whole / parts;
    x->count /= parts;
    return NULL;
}

/* Another input, which must have so many numbers. */
static Status *like(const Api *api, const Context *context, size_t index, int64_t count, const float **data) {
    Tensor other;
    TRY(input(api, context, index, &other));
    *data = other.data;
    return other.count == count ? NULL : refuse(api, "metroline: inputs whose sizes do not go together");
}

/* The operators that quantize rows, each with a scale of its own. */
static Status *with_scales(void *data, Context *context, void (*part)(void *, size_t), int64_t parts) {
    const Api *api = ((const Kernel *)data)->api;
    Tensor x;
    Pointwise step = {.width = 0};
    TRY(rows_of(api, context, parts, &x, &step));
    int64_t scales[MOST_RANK];
    memcpy(scales, x.sizes, sizeof scales);
    scales[x.rank - 1] = 1;
    TRY(output(api, context, 0, x.sizes, x.rank, (void **)&step.levels));
    TRY(output(api, context, 1, scales, x.rank, (void **)&step.scale));
    return each_row(api, context, part, &x, &step);
}

static Status *compute_add_norm_quantize(void *data, Context *context) {
    const Kernel *kernel = data;
    const Api *api = kernel->api;
    Tensor x, factor;
    Pointwise step = {.epsilon = kernel->epsilon};
    const float *scale;
    TRY(rows_of(api, context, 1, &x, &step));
    TRY(like(api, context, 1, x.count, &step.delta));
    TRY(input(api, context, 2, &factor));
    step.scales = factor.count != 1;
    step.delta_scale = factor.data;
    if (step.scales && factor.count != x.count / step.width)
        return refuse(api, "metroline::AddNormQuantize: delta_scale is neither one number nor one for each row");
    TRY(like(api, context, 3, step.width, &step.gain));
    TRY(like(api, context, 4, 1, &scale));
    step.inverse = 1.0f / *scale;
    TRY(output(api, context, 0, x.sizes, x.rank, (void **)&step.levels));
    TRY(output(api, context, 1, x.sizes, x.rank, (void **)&step.sum));
    return each_row(api, context, rows()->add_norm_quantize, &x, &step);
}

static Status *compute_quantize_rows(void *data, Context *context) {
    return with_scales(data, context, rows()->quantize_rows, 1);
}

static Status *compute_swiglu_quantize(void *data, Context *context) {
    return with_scales(data, context, rows()->swiglu_quantize, 2);
}

static Status *compute_swiglu(void *data, Context *context) {
    const Api *api = ((const Kernel *)data)->api;
    Tensor both;
    Pointwise step = {.width = 0};
    TRY(rows_of(api, context, 2, &both, &step));
    TRY(output(api, context, 0, both.sizes, both.rank, (void **)&step.out));
    return each_row(api, context, rows()->swiglu, &both, &step);
}

static Status *create(const Operator *self, const Api *api, const Info *info, void **made) {
    Kernel found = {.api = api};
    if (self == &add_norm_quantize_operator) TRY(ATTRIBUTE_FLOAT(api)(info, "epsilon", &found.epsilon));
    return keep(api, &found, sizeof found, made);
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
OPERATOR(swiglu, "SwiGLU", 1, 1, floats, compute_swiglu);
OPERATOR(swiglu_quantize, "SwiGLUQuantize", 1, 2, levels_and_floats, compute_swiglu_quantize);
