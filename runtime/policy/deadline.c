/* deadline.c - the arithmetic of deadlines, and the header that carries one (gRPC over HTTP/2, "Requests").
 */
#include "policy/deadline.h"

#include "base/time.h"

enum { GRPC_DIGITS = 8, GRPC_LARGEST = 99999999 };

void mg_deadline_conf_defaults(mg_deadline_conf *conf)
{
    *conf = (mg_deadline_conf){ .hop_milli = 900, .min_ms = 10 };
}

int64_t mg_deadline_grpc_ms(mg_str value)
{
    uint64_t count;

    if (value.n < 2 || value.n > GRPC_DIGITS + 1 || !mg_str_u64(mg_str_sub(value, 0, value.n - 1), &count))
        return MG_DEADLINE_NONE;
    switch (value.p[value.n - 1]) {
    case 'H': return (int64_t)count * 3600000;
    case 'M': return (int64_t)count * 60000;
    case 'S': return (int64_t)count * 1000;
    case 'm': return (int64_t)count;
    case 'u': return (int64_t)count / 1000;
    case 'n': return (int64_t)count / 1000000;
    default: return MG_DEADLINE_NONE;
    }
}

size_t mg_deadline_grpc_write(char out[12], uint64_t ms)
{
    char digits[20];
    const bool in_seconds = ms > GRPC_LARGEST;
    const size_t n = mg_u64_write(digits, in_seconds ? mg_min_u64(ms / 1000, GRPC_LARGEST) : ms);

    memcpy(out, digits, n);
    out[n] = in_seconds ? 'S' : 'm';
    out[n + 1] = '\0';
    return n + 1;
}

uint64_t mg_deadline_child_ms(const mg_deadline_conf *conf, uint64_t left_ms)
{
    const uint64_t child_ms =
        left_ms / 1000 * conf->hop_milli + left_ms % 1000 * conf->hop_milli / 1000; /* never overflows */

    return child_ms < conf->min_ms ? 0 : child_ms;
}
