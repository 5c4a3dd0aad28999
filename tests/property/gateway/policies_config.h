/* policies_config.h - random configurations: two services with every policy on or off, limiters of every
 * kind, three routes. Part of policies_world.h, whose run it fills in. */
#ifndef TEST_POLICIES_CONFIG_H
#define TEST_POLICIES_CONFIG_H

#define WEB_LIMITS                                                                                           \
    "listeners: { web: { bind: \"10.0.0.1:80\", head_timeout: 3s, body_timeout: 4s, idle_timeout: 5s } }\n"

static const char plugin_text[] =
    "local plugin = { name = 'p', version = '1.0.0', body = { request = 'buffer(1MiB)', response = "
    "'buffer(1MiB)' } }\n"
    "function plugin.new() return function(ctx, next)\n"
    "  local todo = ctx.request:header('x-do') or ''\n"
    "  local id = ctx.request:header('x-id')\n"
    "  local turn\n"
    "  if todo:find('a', 1, true) then ctx:sleep(0.07) end\n"
    "  if todo:find('q', 1, true) then ctx.request:body() end\n"
    "  if todo:find('l', 1, true) then turn = ctx.limit:reserve('l5', 'k') end\n"
    "  if todo:find('e', 1, true) then error('as told') end\n"
    "  if todo:find('r', 1, true) then return ctx:respond(299, 'r' .. id, { ['x-id'] = id }) end\n"
    "  next(ctx)\n"
    "  if todo:find('z', 1, true) then ctx:sleep(0.09) end\n"
    "  if todo:find('b', 1, true) then ctx.response:body() end\n"
    "  if turn and todo:find('s', 1, true) then turn:commit() end\n"
    "end end\n"
    "return plugin\n";

static const char *any(run *r, const char *const *words, size_t count)
{
    return words[below(r, count)];
}

#define ANY(r, ...)                                                                                          \
    any(r, (const char *const[]){ __VA_ARGS__ },                                                             \
        sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static void add_endpoints(run *r, mg_text *t, unsigned service)
{
    bool any_host = false;

    mg_text_add_c(t, "endpoints: [");
    for (unsigned h = 0; h < HOSTS_EACH; h++) {
        if (one_in(r, 4) && (any_host || h + 1 < HOSTS_EACH))
            continue;
        mg_text_addf(t, "%s{ url: \"http://%s:9000\", weight: %s }", any_host ? ", " : "",
                     host_ip[service * HOSTS_EACH + h], any_host ? ANY(r, "0", "1", "1", "3") : "1");
        any_host = true;
    }
    mg_text_addf(t,
                 "], balance: %s, bound: %s, maglev_size: 307, slow_start: %s, panic: %s,\n"
                 "    first_byte_timeout: 3s, read_timeout: 3s, tunnel_idle_timeout: 4s, pool: { "
                 "max_connections: %s, queue: %s, "
                 "queue_timeout: %s, connect_timeout: 400ms, idle_timeout: 2s }",
                 ANY(r, "peak_ewma", "round_robin", "least_request", "maglev", "random"),
                 ANY(r, "1.25", "off"), ANY(r, "0s", "2s"), ANY(r, "0%", "50%", "100%"),
                 ANY(r, "0", "0", "1", "2"), ANY(r, "0", "3"), ANY(r, "0s", "1s"));
}

static void add_breaker(run *r, mg_text *t, unsigned service)
{
    static const unsigned most[] = { 0, 1, 2, 5 };
    const unsigned max = most[below(r, 4)];

    if ((r->calm && !one_in(r, 8)) || one_in(r, 3)) {
        r->always_breaker[service] = false;
        r->max_concurrent[service] = UINT32_MAX;
        return;
    }
    r->max_concurrent[service] = max ? (unsigned)mg_max_u64(max, r->max_concurrent[service]) : UINT32_MAX;
    mg_text_addf(t, ",\n    breaker: { %s, min_requests: %s, error_rate: %s, open_for: %s, open_max: 3s, ",
                 ANY(r, "mode: consecutive, consecutive_failures: 2",
                     "mode: time_window, window: 2s, buckets: 2", "mode: count_window, window_calls: 6"),
                 ANY(r, "1", "3", "5"), ANY(r, "20%", "50%", "100%"), ANY(r, "20ms", "500ms", "2s"));
    mg_text_addf(t, "probes: %s, half_open_max: %s, max_concurrent: %u, per: %s%s%s%s }",
                 ANY(r, "1", "2", "3"), ANY(r, "1s", "24h", "24h"), max, ANY(r, "service", "route"),
                 ANY(r, "", ", slow_call: 100ms, slow_rate: 50%"),
                 ANY(r, "", ", detector: robust_z", ", detector: iforest"),
                 ANY(r, "", ", failure: [503, transport_error]", ", failure: [5xx, timeout]"));
}

static void add_retry(run *r, mg_text *t, unsigned service)
{
    static const unsigned budgets[] = { 0, 20, 50, 100 }, floors[] = { 0, 0, 1, 4 };
    const unsigned attempts = 1 + (unsigned)below(r, TRIES), budget = budgets[below(r, 4)],
                   min = floors[below(r, 4)] + !budget;

    if (!r->calm && one_in(r, 4))
        return;
    r->attempts[service] = (unsigned)mg_max_u64(r->attempts[service], attempts);
    r->budget_percent[service] = (unsigned)mg_max_u64(r->budget_percent[service], budget);
    r->min_per_second[service] = (unsigned)mg_max_u64(r->min_per_second[service], min);
    mg_text_addf(t,
                 ",\n    retry: { attempts: %u, on: %s, budget: %u%%, min_per_second: %u, backoff: %s, "
                 "backoff_max: 200ms%s }",
                 attempts,
                 ANY(r, "[connect_error, reset, 502, 503, 504]", "[503, reset]",
                     r->calm ? "[500, 502, 503, 504, reset]" : "[connect_error]", "[500, 503]"),
                 budget, min, ANY(r, "1ms", "50ms"), ANY(r, "", ", per_try_timeout: 300ms"));
}

static void add_service(run *r, mg_text *t, unsigned service)
{
    mg_text_addf(t, "  %s: {\n    ", service_names[service]);
    add_endpoints(r, t, service);
    add_breaker(r, t, service);
    add_retry(r, t, service);
    if (one_in(r, 3))
        mg_text_addf(t,
                     ",\n    health: { path: /health, interval: 700ms, timeout: 300ms, unhealthy_after: %s, "
                     "healthy_after: 1 }",
                     ANY(r, "1", "2"));
    if (!r->calm && !one_in(r, 3))
        mg_text_addf(t, ",\n    eject: { consecutive: %s, base: %s, max: 3s, interval: 1s, max_share: %s }",
                     ANY(r, "1", "2"), ANY(r, "300ms", "2s"), ANY(r, "33%", "100%"));
    if (!r->calm && one_in(r, 3))
        mg_text_addf(t, ",\n    adaptive: { initial: %s, min: 1, max: 8 }", ANY(r, "1", "3"));
    if (!r->calm && one_in(r, 3))
        mg_text_add_c(t, ",\n    throttle: {}");
    mg_text_add_c(t, " }\n");
}

/* A chain names each limiter once: `named` has those that stand in it. */
static const char *limit_items(run *r, unsigned *named, char out[128])
{
    size_t n = 0;

    out[0] = '\0';
    for (int i = 0; i < LIMITS; i++) {
        if (!one_in(r, r->calm ? 60 : 9) || *named >> i & 1)
            continue;
        *named |= 1u << i;
        n += (size_t)snprintf(out + n, 128 - n, "%s{ limit: l%d }", n ? ", " : "", i);
    }
    return out;
}

static void add_limiters(run *r, mg_text *t)
{
    static const char *const keys[] = { "global", "\"header:x-user\"", "ip" };

    mg_text_add_c(t, "limiters:\n");
    mg_text_addf(t, "  l0: { rate: %s, burst: %s, max_wait: %s, key: %s, max_keys: 8 }\n",
                 ANY(r, "5/s", "40/s"), ANY(r, "1", "5"), ANY(r, "0s", "300ms"), any(r, keys, 3));
    mg_text_addf(t, "  l1: { algorithm: leaky, rate: %s, max_wait: 400ms, key: %s, max_keys: 8 }\n",
                 ANY(r, "5/s", "40/s"), any(r, keys, 3));
    mg_text_addf(t, "  l2: { algorithm: %s, quota: %s, window: 1s, key: %s, max_keys: 8, mode: %s }\n",
                 ANY(r, "sliding_window", "fixed_window"), ANY(r, "3", "30"), any(r, keys, 3),
                 ANY(r, "enforce", "shadow"));
    mg_text_addf(t, "  l3: { algorithm: sliding_log, quota: %s, window: 1s, key: %s, max_keys: 8 }\n",
                 ANY(r, "3", "30"), any(r, keys, 3));
    mg_text_addf(
        t, "  l4: { algorithm: concurrency, quota: %s, key: %s, max_keys: 2, overflow_cells: 1, mode: %s }\n",
        ANY(r, "1", "2", "5"), any(r, keys, 3), ANY(r, "enforce", "enforce", "shadow"));
    mg_text_addf(t, "  l5: { algorithm: concurrency, quota: %s, key: global, max_keys: 8 }\n",
                 ANY(r, "1", "3"));
    mg_text_addf(t, "  l6: { rate: 1/s, mode: %s, max_keys: 8 }\n", ANY(r, "shadow", "shadow", "deny"));
}

static void add_route(run *r, mg_text *t, char name)
{
    char first[128], then[128];
    unsigned named = 0;
    const bool chained = one_in(r, 2);

    mg_text_addf(
        t,
        "  - { name: %c, match: { paths: [{ prefix: /%c }] }, timeout: %s, hop_factor: %s, min_budget: %s, ",
        name, name, ANY(r, r->calm ? "5s" : "400ms", "2s", "5s"), ANY(r, "0.5", "0.9", "1"),
        ANY(r, "1ms", "50ms"));
    if (name == 'z')
        mg_text_addf(
            t,
            "backends: [{ service: a, weight: %s, group: old }, { service: b, weight: %s, group: canary }]%s",
            ANY(r, "1", "1", "3"), ANY(r, "0", "1", "2"),
            ANY(r, "", ", sticky: { by: \"header:x-user\" }",
                ", rollout: { to: b, id: r1, steps: [20%, 60%, 100%], interval: 1s, min_requests: 2 }"));
    else
        mg_text_addf(t, "service: %s", ANY(r, "a", "b"));
    limit_items(r, &named, first);
    limit_items(r, &named, then);
    mg_text_addf(t, ", plugins: [%s%s%s%s%s] }\n", first, first[0] && (chained || then[0]) ? ", " : "",
                 chained ? "p" : "", chained && then[0] ? ", " : "", then);
}

/* Its text; it stays until the run ends. */
static const char *new_config(run *r)
{
    mg_text *t = &r->configs[r->config_count++];

    mg_text_add_c(t, WEB_LIMITS QUIET "services:\n");
    for (unsigned s = 0; s < 2; s++)
        add_service(r, t, s);
    add_limiters(r, t);
    mg_text_add_c(t, "plugins: { p: { use: ./plugins/p } }\nroutes:\n");
    for (const char *name = "xyz"; *name; name++)
        add_route(r, t, *name);
    mg_text_add(t, (mg_str){ "", 1 });
    if (getenv("SEED"))
        printf("%s\n", t->p);
    return t->p;
}

#endif
