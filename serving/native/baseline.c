/* The rows' work on any processor: SSE2, NEON. */
#define LANES 4
#define ROWS_OF_LEVEL rows_baseline
#include "level.h"
