/* The rows' work on any processor: SSE2, NEON. */
#ifdef __x86_64__
#include <immintrin.h>
#endif
#define LANES 4
#define ROWS_OF_LEVEL rows_baseline
#include "level.h"
