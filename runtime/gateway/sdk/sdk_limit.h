/* sdk_limit.h - what Lua sees of a limiter's answer, whoever asked. Any thread. */
#ifndef MG_GATEWAY_SDK_SDK_LIMIT_H
#define MG_GATEWAY_SDK_SDK_LIMIT_H

#include "moongate.h"
#include "policy/limiter.h"

void mg_sdk_limit_view(mg_limit_view *view, const mg_limiter *limiter, const mg_limiter_answer *answer);

#endif
