/* The few entries of ONNX Runtime's C interface that the operators beside it need: its wheel brings no header.

OrtApi is a table of function pointers to which releases only append (API version 17, ONNX Runtime 1.17, has all of
these), so an entry is known by its place in it. Specification: onnxruntime_c_api.h of ONNX Runtime. */
#ifndef METROLINE_ONNXRUNTIME_H
#define METROLINE_ONNXRUNTIME_H

#include <stddef.h>
#include <stdint.h>

enum { API_VERSION = 17 };

typedef struct Status Status;   /* NULL: all is well */
typedef struct Options Options; /* of a session */
typedef struct Domain Domain;   /* of operators */
typedef struct Info Info;       /* a node's attributes */
typedef struct Context Context; /* a node's inputs and outputs in one run */
typedef struct Value Value;
typedef struct Shape Shape;
typedef struct Api {
    void (*entry[275])(void);
} Api;
typedef struct ApiBase {
    const Api *(*get)(uint32_t version);
    const char *(*version)(void);
} ApiBase;

#define ENTRY(api, place, result, ...) ((result(*)(__VA_ARGS__))(api)->entry[place])
#define CREATE_STATUS(api) ENTRY(api, 0, Status *, int code, const char *message)
#define CREATE_DOMAIN(api) ENTRY(api, 26, Status *, const char *name, Domain **made)
#define DOMAIN_ADD(api) ENTRY(api, 27, Status *, Domain *, const struct Operator *)
#define ADD_DOMAIN(api) ENTRY(api, 28, Status *, Options *, Domain *)
#define TENSOR_DATA(api) ENTRY(api, 51, Status *, Value *, void **data)
#define DIMENSIONS_COUNT(api) ENTRY(api, 61, Status *, const Shape *, size_t *count)
#define DIMENSIONS(api) ENTRY(api, 62, Status *, const Shape *, int64_t *sizes, size_t count)
#define TENSOR_SHAPE(api) ENTRY(api, 65, Status *, const Value *, Shape **made)
#define ATTRIBUTE_FLOAT(api) ENTRY(api, 85, Status *, const Info *, const char *name, float *value)
#define ATTRIBUTE_INT(api) ENTRY(api, 86, Status *, const Info *, const char *name, int64_t *value)
#define INPUT(api) ENTRY(api, 90, Status *, const Context *, size_t index, const Value **value)
#define OUTPUT(api) ENTRY(api, 91, Status *, Context *, size_t, const int64_t *sizes, size_t count, Value **value)
#define RELEASE_STATUS(api) ENTRY(api, 93, void, Status *)
#define RELEASE_SHAPE(api) ENTRY(api, 99, void, Shape *)
#define PARALLEL_FOR(api) \
    ENTRY(api, 274, Status *, const Context *, void (*)(void *, size_t), size_t total, size_t batches, void *data)

enum { INVALID_ARGUMENT = 2 };                           /* codes of a Status */
enum { FLOAT32 = 1, UINT8 = 2, INT8 = 3, INT32 = 6, INT64 = 7, BFLOAT16 = 16 }; /* types of a tensor's elements */
enum { REQUIRED = 0, OPTIONAL = 1 };

/* OrtCustomOp: what ONNX Runtime asks of an operator. */
typedef struct Operator {
    uint32_t version;
    void *(*create)(const struct Operator *, const Api *, const Info *);
    const char *(*name)(const struct Operator *);
    const char *(*provider)(const struct Operator *);
    int (*input_type)(const struct Operator *, size_t index);
    size_t (*inputs)(const struct Operator *);
    int (*output_type)(const struct Operator *, size_t index);
    size_t (*outputs)(const struct Operator *);
    void (*compute)(void *kernel, Context *);
    void (*destroy)(void *kernel);
    int (*input_kind)(const struct Operator *, size_t index);
    int (*output_kind)(const struct Operator *, size_t index);
    int (*input_memory)(const struct Operator *, size_t index);
    int (*variadic[4])(const struct Operator *);
    Status *(*create2)(const struct Operator *, const Api *, const Info *, void **kernel);
    Status *(*compute2)(void *kernel, Context *);
    Status *(*infer)(const struct Operator *, void *);
    int (*first_version)(const struct Operator *);
    int (*last_version)(const struct Operator *);
} Operator;

#endif
