/* The body of a health check's answer: whatever it says of its load, the endpoint's weight is one that can be
 * balanced by, between nothing and what the configuration gave it. */
#include "gateway/service/probe_try.c"

#include "base/check.h"
#include "policy/health.h"

#include <math.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BASE = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mg_exchange x = { 0 };
    mg_probe_try probe = { .x = &x };
    mg_probe_load load = { 0 };
    double weight = BASE;

    if (size > MG_PROBE_BODY_MAX)
        return 0;
    mg_arena_init(&x.arena, NULL, 0);
    mg_text_add(&probe.body.text, mg_str_make((const char *)data, size));
    if (read_load(&probe, &load))
        (void)mg_health_weight(BASE, load.cpu, load.mem, load.latency_ms, &weight);
    MG_CHECK(isfinite(weight) && weight >= 0 && weight <= BASE);
    mg_gather_fini(&probe.body);
    mg_arena_fini(&x.arena);
    return 0;
}
