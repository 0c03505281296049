/* What all operators share: reading tensors, and the parts of `Operator` that are alike. */
#ifndef METROLINE_OPERATORS_H
#define METROLINE_OPERATORS_H

#include <stdbool.h>

#include "onnxruntime.h"
#include "rows.h"

#define TRY(call)                   \
    do {                            \
        Status *failed = (call);    \
        if (failed) return failed;  \
    } while (0)

enum { MOST_RANK = 6 };
#define OUT_OF_MEMORY "metroline: out of memory"

/* An input; one that the node leaves out has no data. */
typedef struct {
    void *data;
    int64_t sizes[MOST_RANK], count;
    size_t rank;
} Tensor;

Status *refuse(const Api *api, const char *message);
Status *input(const Api *api, const Context *context, size_t index, Tensor *tensor);
Status *output(const Api *api, Context *context, size_t index, const int64_t *sizes, size_t rank, void **data);

/* Do all parts of a step, in several threads if the work is worth waking them. */
Status *share(const Api *api, const Context *context, void (*part)(void *, size_t), size_t parts, bool worth, void *step);

/* What PackedMatMul is given, with its output made, and whether its work is worth threads; and that work. */
Status *read_product(const Api *api, Context *context, Product *step, bool *worth);
Status *share_product(const Api *api, const Context *context, Product *step, bool worth);

/* Keep a copy of a node's kernel, for `destroy` to free. */
Status *keep(const Api *api, const void *kernel, size_t size, void **made);

const char *on_cpu(const Operator *self);
void destroy(void *kernel);
int required(const Operator *self, size_t index);
int default_memory(const Operator *self, size_t index);
int one_version(const Operator *self);
int unused(const Operator *self);

#define COMMON                                                                               \
    .version = API_VERSION, .provider = on_cpu, .destroy = destroy, .output_kind = required, \
    .input_memory = default_memory, .variadic = {unused, unused, unused, unused},            \
    .first_version = one_version, .last_version = one_version

extern const Operator cached_attention_operator, add_norm_quantize_operator, quantize_rows_operator, swiglu_operator,
    swiglu_quantize_operator, packed_matmul_operator, packed_matmul_nbits_operator,
    low_rank_operator, packed_matmul_low_rank_operator;

#endif
