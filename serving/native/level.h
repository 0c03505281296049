/* One level of processors: LANES float32 fill one register, ROWS_OF_LEVEL is what it is called. */
#include "attention_rows.h"
#include "pointwise_rows.h"
#include "products_rows.h"

#include "blocks_rows.h" /* on what is in products_rows.h, like the other */
#ifdef MATRIX_UNIT
#include "tiles_rows.h"
#else
#define product_in_tiles product
#endif
#include "low_rank_rows.h"

const Rows ROWS_OF_LEVEL = {
    .remember = remember, .answer = answer, .add_norm_quantize = add_norm_quantize, .swiglu = swiglu,
    .quantize_rows = quantize_rows, .swiglu_quantize = swiglu_quantize,
    .quantize_blocks = quantize_blocks, .product = product_in_tiles, .block_product = block_product,
    .low_rank_inner = low_rank_inner, .low_rank_outer = low_rank_outer, .adapted_product = adapted_product,
};
