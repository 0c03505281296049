/* The rows' work on x86-64 with AVX-512. */
#ifdef __x86_64__
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#endif
#define LANES 16
#define ROWS_OF_LEVEL rows_avx512
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
