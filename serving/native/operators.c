/* The library's entry: ONNX Runtime calls RegisterCustomOps when a session's options name this library. */
#include "operators.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "rows.h"

Status *input(const Api *api, const Context *context, size_t index, Tensor *tensor) {
    const Value *value = NULL;
    Shape *shape = NULL;
    *tensor = (Tensor){.count = 0};
    TRY(INPUT(api)(context, index, &value));
    if (!value) return NULL;
    TRY(TENSOR_DATA(api)((Value *)value, &tensor->data));
    TRY(TENSOR_SHAPE(api)(value, &shape));
    Status *status = DIMENSIONS_COUNT(api)(shape, &tensor->rank);
    if (!status && tensor->rank > MOST_RANK) status = refuse(api, "metroline: a tensor of too many dimensions");
    if (!status) status = DIMENSIONS(api)(shape, tensor->sizes, tensor->rank);
    tensor->count = 1;
    for (size_t i = 0; i < tensor->rank && !status; i++) tensor->count *= tensor->sizes[i];
    RELEASE_SHAPE(api)(shape);
    return status;
}

Status *refuse(const Api *api, const char *message) { return CREATE_STATUS(api)(INVALID_ARGUMENT, message); }

Status *output(const Api *api, Context *context, size_t index, const int64_t *sizes, size_t rank, void **data) {
    Value *value = NULL;
    TRY(OUTPUT(api)(context, index, sizes, rank, &value));
    return TENSOR_DATA(api)(value, data);
}

Status *share(const Api *api, const Context *context, void (*part)(void *, size_t), size_t parts, bool worth, void *step) {
    if (worth) return PARALLEL_FOR(api)(context, part, parts, 0, step);
    for (size_t i = 0; i < parts; i++) part(step, i);
    return NULL;
}

Status *keep(const Api *api, const void *kernel, size_t size, void **made) {
    *made = malloc(size);
    if (!*made) return refuse(api, OUT_OF_MEMORY);
    memcpy(*made, kernel, size);
    return NULL;
}

bool amx(void) {
#if defined(__x86_64__) && defined(__linux__)
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM of arch_prctl; the state to permit */
    static int asked, allowed;
    if (!__atomic_load_n(&asked, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&allowed, __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
                                       !syscall(SYS_arch_prctl, REQUEST, TILE_DATA), __ATOMIC_RELAXED);
        __atomic_store_n(&asked, 1, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&allowed, __ATOMIC_RELAXED);
#else
    return false;
#endif
}

const char *on_cpu(const Operator *self) { return (void)self, "CPUExecutionProvider"; }
void destroy(void *kernel) { free(kernel); }
int required(const Operator *self, size_t index) { return (void)self, (void)index, (int)REQUIRED; }
int default_memory(const Operator *self, size_t index) { return (void)self, (void)index, 0; }
int one_version(const Operator *self) { return (void)self, 1; }
int unused(const Operator *self) { return (void)self, 0; }

__attribute__((visibility("default"))) Status *RegisterCustomOps(Options *options, const ApiBase *base) {
    static Domain *domain; /* it belongs to the process: ONNX Runtime keeps pointers into it */
    const Api *api = base->get(API_VERSION);
    if (!api) return refuse(base->get(1), "metroline: ONNX Runtime is older than 1.17");
    if (!domain) {
        Domain *made = NULL;
        const Operator *all[] = {&cached_attention_operator, &add_norm_quantize_operator, &quantize_rows_operator,
                                 &swiglu_operator, &swiglu_quantize_operator, &packed_matmul_operator,
                                 &packed_matmul_nbits_operator, &low_rank_operator, &packed_matmul_low_rank_operator};
        TRY(CREATE_DOMAIN(api)("metroline", &made));
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) TRY(DOMAIN_ADD(api)(made, all[i]));
        domain = made;
    }
    return ADD_DOMAIN(api)(options, domain);
}
