/* The rows' work on x86-64 with the matrix unit, AMX, and all that such processors have besides. */
#ifdef __x86_64__
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8,avx2,fma")
#endif
#define LANES 16
#define VNNI
#define MATRIX_UNIT
#define ROWS_OF_LEVEL rows_amx
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
