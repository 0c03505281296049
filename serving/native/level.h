/* One level of processors: LANES float32 fill one register, ROWS_OF_LEVEL is what it is called. */
#include "attention_rows.h"
#include "pointwise_rows.h"

const Rows ROWS_OF_LEVEL = {
    .remember = remember, .answer = answer, .add_norm_quantize = add_norm_quantize, .swiglu = swiglu,
    .quantize_rows = quantize_rows, .swiglu_quantize = swiglu_quantize,
};
