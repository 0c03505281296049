/* The rows' work on x86-64 with AVX-512 and its sums of products of bytes, VNNI. */
#ifdef __x86_64__
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")
#endif
#define LANES 16
#define VNNI
#define ROWS_OF_LEVEL rows_vnni
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
