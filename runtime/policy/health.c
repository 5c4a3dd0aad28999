/* health.c - probes counted in a row, and the shares of who is slow, loaded or new. */
#include "policy/health.h"

#include "base/check.h"

#include <math.h>

bool mg_health_result(mg_health *health, const mg_health_conf *conf, bool ok)
{
    const mg_health_state said = ok ? MG_HEALTH_UP : MG_HEALTH_DOWN;

    if (health->state == said) {
        health->against = 0;
        return false;
    }
    if (health->state != MG_HEALTH_UNKNOWN &&
        ++health->against < (ok ? conf->healthy_after : conf->unhealthy_after))
        return false;
    health->state = said;
    health->against = 0;
    return true;
}

const char *mg_health_state_name(mg_health_state state)
{
    static const char *const words[] = { MG_HEALTH_STATES(MG_WORD_TEXT) };

    MG_CHECK(state <= MG_HEALTH_DOWN);
    return words[state];
}

uint64_t mg_health_interval_ms(uint64_t interval_ms, double u)
{
    return (uint64_t)((double)interval_ms * (0.9 + 0.2 * u));
}

static bool is_share(double x)
{
    return x >= 0 && x <= 1; /* not NaN either */
}

bool mg_health_weight(double base, double cpu, double mem, double latency_ms, double *weight)
{
    if (!is_share(cpu) || !is_share(mem) || !(latency_ms >= 0) || isinf(latency_ms))
        return false;
    *weight = base * (1 - fmax(cpu, mem)) * exp(-latency_ms / 100);
    return true;
}

void mg_health_normalise(const double *raw, size_t count, uint32_t *weights)
{
    double most = 0;

    for (size_t i = 0; i < count; i++)
        most = fmax(most, raw[i]);
    for (size_t i = 0; i < count; i++) {
        const double share = most > 0 ? floor(100 * raw[i] / most + 0.5) : 0;

        weights[i] = share > 1 ? (uint32_t)share : 1;
    }
}

double mg_health_slow_start(uint64_t age_ms, uint64_t window_ms, double aggression, double least)
{
    const double age = age_ms < 1000 ? 1000 : (double)age_ms;

    if (age >= (double)window_ms)
        return 1;
    return fmax(least,
                aggression == 1 ? age / (double)window_ms : pow(age / (double)window_ms, 1 / aggression));
}

bool mg_health_panic(size_t healthy, size_t total, uint32_t percent)
{
    return healthy * 100 < (uint64_t)percent * total;
}
