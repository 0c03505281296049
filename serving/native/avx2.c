/* The rows' work on x86-64 with AVX2. */
#ifdef __x86_64__
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
#define ROWS_OF_LEVEL rows_avx2
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
