/* refusal.c - the rows of refusals. */
#include "gateway/observe/refusal.h"

#define ROW(reason, word, status, retry_after_s, detail)                                                     \
    [reason] = { word, { detail, sizeof detail - 1 }, status, retry_after_s },

const mg_refusal_row mg_refusals[] = { MG_REFUSALS(ROW) };
