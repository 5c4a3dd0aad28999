/* config_guard.c - what guards the calls to a service: breaker, retries, health, ejection, adaptive limit and
 * throttle. A block that is absent is off, an empty one is on with its defaults. */
#include "config/config_build.h"

/* --- profiles: defaults that depend on what is written --- */

static void complete_breaker(mg_building *b, mg_node *breaker)
{
    enum { RUN_BY_DEFAULT = 5 };
    const mg_str profile = mg_read_str(breaker, "profile");

    if (mg_str_eq_c(profile, "hystrix")) {
        mg_preset_int(b, breaker, "max_concurrent", 100);
        mg_preset_text(b, breaker, "error_rate", "50%");
        mg_preset_text(b, breaker, "open_for", "30s");
    } else if (mg_str_eq_c(profile, "gobreaker")) {
        mg_preset_text(b, breaker, "mode", "consecutive");
        mg_preset_int(b, breaker, "consecutive_failures", 6);
        mg_preset_text(b, breaker, "open_for", "60s");
        mg_preset_text(b, breaker, "open_max", "60s");
    }
    if (profile.p) {
        mg_preset_int(b, breaker, "open_backoff", 1);
        mg_preset_int(b, breaker, "probes", 1);
    }
    if (mg_str_eq_c(mg_read_str(breaker, "mode"), "consecutive"))
        mg_preset_int(b, breaker, "consecutive_failures", RUN_BY_DEFAULT);
}

void mg_build_complete_guards(mg_building *b, mg_node *root)
{
    const mg_node *services = mg_node_get(root, "services");

    for (const mg_node *it = mg_node_children(services); it; it = it->next) {
        mg_node *breaker = mg_node_get(it, "breaker");
        if (mg_node_is(breaker, MG_NODE_MAP))
            complete_breaker(b, breaker);
    }
}

/* --- sets of outcomes --- */

/* "503", 503 or "5xx": from..to, both included. */
static bool status_range(const mg_node *node, unsigned *from, unsigned *to)
{
    const mg_str text = node->text;
    int64_t code = node->kind == MG_NODE_INT ? node->integer : 0;
    uint64_t read;

    if (node->kind == MG_NODE_STRING && text.n == 3 && mg_str_u64(text, &read))
        code = (int64_t)read;
    if (node->kind == MG_NODE_STRING && text.n == 3 && text.p[0] >= '1' && text.p[0] <= '5' &&
        text.p[1] == 'x' && text.p[2] == 'x') {
        *from = (unsigned)(text.p[0] - '0') * 100;
        *to = *from + 99;
        return true;
    }
    *from = *to = code >= 100 && code <= 599 ? (unsigned)code : 0;
    return *from > 0;
}

static void refuse_outcome(mg_building *b, const mg_node *item, const char *what, const char *hint)
{
    mg_text shown = { 0 };

    mg_node_to_json(item, &shown);
    mg_finding_hint(
        mg_node_error(b->report, item, "not-allowed", "%.60s %s", item->substituted ? "***" : shown.p, what),
        "%s", hint);
    mg_text_fini(&shown);
}

static void take_failures(mg_building *b, mg_config_breaker *breaker, const mg_node *list)
{
    unsigned from, to;

    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING) && !mg_node_is(it, MG_NODE_INT))
            continue;
        if (it->kind == MG_NODE_STRING && mg_str_eq_c(it->text, "transport_error"))
            breaker->fail_transport = true;
        else if (it->kind == MG_NODE_STRING && mg_str_eq_c(it->text, "timeout"))
            breaker->fail_timeout = true;
        else if (!status_range(it, &from, &to))
            refuse_outcome(b, it, "is nothing that a call can end with",
                           "write a status (503), a class of them (5xx), transport_error or timeout");
        else
            for (unsigned status = from; status <= to; status++)
                mg_status_set_add(&breaker->failure, status);
    }
}

static void take_retry_on(mg_building *b, mg_retry_conf *conf, const mg_node *list)
{
    unsigned from, to;

    conf->on_connect_error = conf->on_reset = false;
    conf->on_status_count = 0;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING) && !mg_node_is(it, MG_NODE_INT))
            continue;
        if (it->kind == MG_NODE_STRING && mg_str_eq_c(it->text, "connect_error"))
            conf->on_connect_error = true;
        else if (it->kind == MG_NODE_STRING && mg_str_eq_c(it->text, "reset"))
            conf->on_reset = true;
        else if (!status_range(it, &from, &to) || from != to || from < 400)
            refuse_outcome(b, it, "is nothing to retry on",
                           "write connect_error, reset, or single statuses from 400 to 599");
        else if (conf->on_status_count == MG_RETRY_STATUSES)
            refuse_outcome(b, it, "is one status too many", "name at most 16 statuses");
        else
            conf->on_status[conf->on_status_count++] = (uint16_t)from;
    }
}

/* --- the breaker --- */

/* `less` and `more` are keys of one map, both durations; the first may not be the longer. */
static void check_order(mg_building *b, const mg_node *map, const char *less, const char *more)
{
    const uint64_t less_ms = mg_read_ms(map, less), more_ms = mg_read_ms(map, more);

    if (more_ms > 0 && less_ms > more_ms)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(map, less), "out-of-range",
                                      "%s is longer than %s (%.*s)", less, more,
                                      MG_STR_ARGS(mg_read_str(map, more))),
                        "raise %s with it", more);
}

static void check_breaker(mg_building *b, const mg_breaker_conf *conf, const mg_node *node)
{
    check_order(b, node, "open_for", "open_max");
    if (conf->window_ms >= 1000 && conf->buckets >= 2 && conf->window_ms % conf->buckets)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "buckets"), "not-allowed",
                                      "%u buckets do not divide the window (%.*s) into whole milliseconds",
                                      conf->buckets, MG_STR_ARGS(mg_read_str(node, "window"))),
                        "write a number from 2 to 60 that divides it, such as 10");
    if (conf->mode == MG_BREAKER_CONSECUTIVE && conf->consecutive_failures == 0 &&
        mg_node_is(mg_node_get(node, "consecutive_failures"), MG_NODE_INT))
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "consecutive_failures"), "out-of-range",
                                      "0 is off, and in mode consecutive nothing else would ever open it"),
                        "write a number from 1, or another mode");
}

static void take_breaker(mg_building *b, mg_config_breaker *breaker, const mg_node *node)
{
    static const char *const pers[] = { "service", "route", NULL };
    mg_breaker_conf *conf = &breaker->conf;

    conf->mode = (mg_breaker_mode)mg_read_word(node, "mode", mg_breaker_mode_words);
    conf->consecutive_failures = mg_read_u32(node, "consecutive_failures");
    conf->window_ms = mg_read_ms(node, "window");
    conf->buckets = mg_read_u32(node, "buckets");
    conf->window_calls = mg_read_u32(node, "window_calls");
    conf->min_calls = mg_read_u32(node, "min_requests");
    conf->failure_bp = mg_read_share(node, "error_rate");
    conf->slow_call_ms = mg_read_ms(node, "slow_call");
    conf->slow_bp = mg_read_share(node, "slow_rate");
    conf->open_ms = mg_read_ms(node, "open_for");
    conf->open_max_ms = mg_read_ms(node, "open_max");
    conf->open_backoff_milli = mg_number_milli(mg_node_get(node, "open_backoff"));
    conf->open_jitter_bp = mg_read_share(node, "open_jitter");
    conf->half_open_probes = mg_read_u32(node, "probes");
    conf->half_open_max_ms = mg_read_ms(node, "half_open_max");
    check_breaker(b, conf, node);
    take_failures(b, breaker, mg_node_get(node, "failure"));
    breaker->max_concurrent = mg_read_u32(node, "max_concurrent");
    breaker->per_route = mg_read_word(node, "per", pers) == 1;
    breaker->detect = mg_read_str(node, "detector").p != NULL;
    breaker->detector = (mg_detector_kind)mg_read_word(node, "detector", mg_detector_kind_words);
}

/* --- the others --- */

static void take_retry(mg_building *b, mg_config_retry *retry, const mg_node *node)
{
    mg_retry_conf *conf = &retry->conf;

    conf->attempts = mg_read_u32(node, "attempts");
    take_retry_on(b, conf, mg_node_get(node, "on"));
    conf->backoff_ms = mg_read_ms(node, "backoff");
    conf->backoff_max_ms = mg_read_ms(node, "backoff_max");
    check_order(b, node, "backoff", "backoff_max");
    conf->budget_milli = mg_read_parts(b, node, "budget", 10);
    conf->min_per_second = mg_read_u32(node, "min_per_second");
    retry->per_try_timeout_ms = mg_read_ms(node, "per_try_timeout");
    if (mg_node_get(node, "budget") && mg_read_share(node, "budget") == 0 && conf->min_per_second == 0 &&
        conf->attempts > 1)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "budget"), "not-allowed",
                                      "a budget of 0%% and min_per_second: 0 allow no retry at all"),
                        "raise one of them, or leave retry out");
}

static void take_health(mg_building *b, mg_config_health *health, const mg_node *node)
{
    static const char *const of_answers[] = { "unhealthy_after", "healthy_after", NULL };

    health->asks = mg_node_digest(node, of_answers);
    health->path = mg_keep_str(b, mg_read_str(node, "path"));
    health->interval_ms = mg_read_ms(node, "interval");
    health->timeout_ms = mg_read_ms(node, "timeout");
    health->conf.unhealthy_after = mg_read_u32(node, "unhealthy_after");
    health->conf.healthy_after = mg_read_u32(node, "healthy_after");
}

static void take_eject(mg_building *b, mg_ejection_conf *conf, const mg_node *node)
{
    const mg_node *success_rate = mg_node_get(node, "success_rate");

    conf->consecutive = mg_read_u32(node, "consecutive");
    conf->base_ms = mg_read_ms(node, "base");
    conf->max_ms = mg_read_ms(node, "max");
    check_order(b, node, "base", "max");
    conf->interval_ms = mg_read_ms(node, "interval");
    conf->max_percent = mg_read_parts(b, node, "max_share", 100);
    conf->success_rate = mg_node_is(success_rate, MG_NODE_BOOL) && success_rate->boolean;
}

static void check_adaptive(mg_building *b, const mg_adaptive_conf *conf, const mg_node *node)
{
    const mg_node *initial = mg_node_get(node, "initial"), *min = mg_node_get(node, "min");

    if (mg_node_is(min, MG_NODE_INT) && conf->max >= 1 && conf->min > conf->max)
        mg_finding_hint(mg_node_error(b->report, min, "out-of-range", "min is above max (%.0f)", conf->max),
                        "write min: %.0f or less, or raise max", conf->max);
    else if (mg_node_is(initial, MG_NODE_INT) && !initial->defaulted &&
             (conf->initial < conf->min || (conf->max >= 1 && conf->initial > conf->max)))
        mg_finding_hint(mg_node_error(b->report, initial, "out-of-range",
                                      "initial is not between min and max (%.0f and %.0f)", conf->min,
                                      conf->max),
                        "write a number between them");
}

static void take_adaptive(mg_building *b, mg_adaptive_conf *conf, const mg_node *node)
{
    conf->initial = mg_read_u32(node, "initial");
    conf->min = mg_read_u32(node, "min");
    conf->max = mg_read_u32(node, "max");
    conf->tolerance = mg_read_number(node, "tolerance");
    conf->smoothing = mg_read_number(node, "smoothing");
    conf->long_window = mg_read_u32(node, "long_window");
    conf->probe_after = mg_read_u32(node, "probe_after");
    conf->probe_factor = mg_read_number(node, "probe_factor");
    check_adaptive(b, conf, node);
}

static void take_throttle(mg_building *b, mg_throttle_conf *conf, const mg_node *node)
{
    conf->k = mg_read_number(node, "k");
    conf->min_req = mg_read_u32(node, "min_req");
    conf->cap = mg_read_parts(b, node, "cap", 1) / 10000.0;
}

/* A fixed bound on calls at once under the lowest that the adaptive one may go leaves the latter without a
 * say. */
static void check_bounds(mg_building *b, const mg_config_service *service, const mg_node *node)
{
    const mg_node *fixed = mg_node_get(mg_node_get(node, "breaker"), "max_concurrent");

    if (!service->breaker.on || !service->adaptive.on || service->breaker.max_concurrent == 0 ||
        service->breaker.max_concurrent >= service->adaptive.conf.min)
        return;
    mg_finding_hint(mg_node_error(b->report, fixed, "not-allowed",
                                  "max_concurrent %u is below the adaptive limit's min of %.0f",
                                  service->breaker.max_concurrent, service->adaptive.conf.min),
                    "raise it, lower adaptive.min, or write max_concurrent: 0 and leave it to adaptive");
}

static bool is_on(const mg_node *service, const char *key)
{
    return mg_node_is(mg_node_get(service, key), MG_NODE_MAP);
}

void mg_build_guards(mg_building *b, mg_config_service *service, const mg_node *node)
{
    service->breaker.on = is_on(node, "breaker");
    service->retry.on = is_on(node, "retry");
    service->health.on = is_on(node, "health");
    service->eject.on = is_on(node, "eject");
    service->adaptive.on = is_on(node, "adaptive");
    service->throttle.on = is_on(node, "throttle");
    if (service->breaker.on)
        take_breaker(b, &service->breaker, mg_node_get(node, "breaker"));
    if (service->retry.on)
        take_retry(b, &service->retry, mg_node_get(node, "retry"));
    if (service->health.on)
        take_health(b, &service->health, mg_node_get(node, "health"));
    if (service->eject.on)
        take_eject(b, &service->eject.conf, mg_node_get(node, "eject"));
    if (service->adaptive.on)
        take_adaptive(b, &service->adaptive.conf, mg_node_get(node, "adaptive"));
    service->adaptive.block = mg_node_digest(mg_node_get(node, "adaptive"), NULL);
    if (service->throttle.on)
        take_throttle(b, &service->throttle.conf, mg_node_get(node, "throttle"));
    check_bounds(b, service, node);
}
