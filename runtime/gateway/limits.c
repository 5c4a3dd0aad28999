/* limits.c - the limiters of a route that stand before its first plugin: all tested, then all charged
 * (POLICIES 4). */
#include "base/mem.h"
#include "gateway/pipeline.h"

enum { RULES_MAX = 16 };

/* A value of the Cookie field, RFC 6265 4.2.1. */
static mg_str cookie(const mg_exchange *x, mg_str name)
{
    mg_str rest = mg_fields_get(&x->request.fields, MG_NAME_COOKIE), part;

    while (mg_str_cut(&rest, ';', &part)) {
        part = mg_str_trim(part, " \t");
        const size_t eq = mg_str_find(part, '=');
        if (eq != SIZE_MAX && mg_str_eq(mg_str_sub(part, 0, eq), name))
            return mg_str_sub(part, eq + 1, part.n);
    }
    return MG_STR_NONE;
}

static mg_str ip_key(mg_flight *flight, const mg_config_limiter *conf)
{
    char key[MG_LIMITER_IP_KEY_BYTES];
    const size_t n =
        mg_limiter_ip_key(key, flight->client.p, flight->client.n, conf->ipv4_prefix, conf->ipv6_prefix);

    return n ? mg_arena_str(&flight->x->arena, (mg_str){ key, n }) : flight->client;
}

static mg_str key_part(mg_flight *flight, const mg_config_limiter *conf, const mg_config_key_part *part)
{
    const mg_exchange *x = flight->x;
    int at;

    switch (part->kind) {
    case MG_CONFIG_KEY_IP: return ip_key(flight, conf);
    case MG_CONFIG_KEY_HEADER:
        at = mg_fields_find(&x->request.fields, mg_name_find(part->name), part->name, 0);
        return at < 0 ? MG_STR_NONE
                      : (mg_str){ x->request.fields.items[at].value, x->request.fields.items[at].value_n };
    case MG_CONFIG_KEY_COOKIE: return cookie(x, part->name);
    case MG_CONFIG_KEY_CONSUMER:
        return flight->call ? flight->call->consumer : MG_STR_NONE; /* a plugin sets it */
    case MG_CONFIG_KEY_ROUTE: return flight->route->name;
    case MG_CONFIG_KEY_GLOBAL: return MG_STR("*");
    }
    return MG_STR_NONE;
}

typedef enum key_result { KEY_FOUND, KEY_SKIP, KEY_DENY } key_result;

/* The parts with their lengths, so that no two requests share a key by chance. */
static key_result make_key(mg_flight *flight, const mg_config_limiter *conf, mg_str *key)
{
    mg_text text = { 0 };

    for (unsigned i = 0; i < conf->key_parts; i++) {
        mg_str part = key_part(flight, conf, &conf->key[i]);
        if (!part.n && conf->on_missing_key == MG_CONFIG_MISSING_IP)
            part = ip_key(flight, conf);
        if (!part.n) {
            mg_text_fini(&text);
            return conf->on_missing_key == MG_CONFIG_MISSING_SKIP ? KEY_SKIP : KEY_DENY;
        }
        if (conf->key_parts == 1) {
            *key = part;
            return KEY_FOUND;
        }
        mg_text_addf(&text, "%zu:", part.n);
        mg_text_add(&text, part);
    }
    *key = mg_arena_str(&flight->x->arena, mg_text_str(&text));
    mg_text_fini(&text);
    return KEY_FOUND;
}

static void add_headers(mg_flight *flight, const mg_snapshot_limit *rule, const mg_limiter_answer *answer)
{
    mg_exchange *x = flight->x;
    const mg_str name = rule->conf->name;
    char text[MG_LIMITER_HEADER_BYTES];
    size_t n;

    n = mg_limiter_policy_header(text, name.p, name.n, mg_limiter_quota(rule->limiter),
                                 mg_limiter_window_ms(rule->limiter));
    mg_fields_set(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("ratelimit-policy"),
                  mg_arena_str(&x->arena, (mg_str){ text, n }));
    n = mg_limiter_state_header(text, name.p, name.n, answer->remaining, answer->reset_ms,
                                answer->allowed ? 0 : answer->retry_ms);
    mg_fields_set(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("ratelimit"),
                  mg_arena_str(&x->arena, (mg_str){ text, n }));
}

/* RateLimit draft, section 5: which policies were violated. */
static void fill_problem(mg_flight *flight, const mg_snapshot_limit *rule, int retry_s, mg_str *body)
{
    mg_exchange *x = flight->x;
    mg_text text = { 0 };

    mg_problem_fill(x, 429, MG_STR_NONE, MG_STR("Too many requests."), retry_s, body);
    const mg_str rest =
        mg_str_sub(*body, sizeof "{\"type\":\"about:blank\"" - 1, body->n - 2); /* without "}\n" */
    mg_text_add_c(&text, "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\"");
    mg_text_add(&text, rest);
    mg_text_add_c(&text, ",\"violated-policies\":[");
    mg_text_add_json(&text, rule->conf->name);
    mg_text_add_c(&text, "]}\n");
    *body = mg_arena_str(&x->arena, mg_text_str(&text));
    x->response.length = body->n;
    mg_text_fini(&text);
}

static void refuse(mg_flight *flight, const mg_snapshot_limit *rule, const mg_limiter_answer *answer)
{
    const uint64_t retry_s = answer ? mg_limiter_retry_after_s(answer->retry_ms) : 0;

    flight->limiter = rule->conf->name;
    flight->refusing = answer ? rule : NULL;
    flight->refusal = answer ? *answer : (mg_limiter_answer){ 0 };
    flight->error = "rate_limit";
    fill_problem(flight, rule, retry_s ? (int)mg_min_u64(retry_s, 86400 * 31) : -1, &flight->answer);
    mg_pipeline_send(flight);
}

/* What a plugin's own limiter said already has less remaining: the client hears of the tightest rule
 * (POLICIES 4). */
static bool is_looser(const mg_flight *flight)
{
    const mg_fields *fields = &flight->x->response.fields;
    const int at = mg_fields_find(fields, MG_NAME_OTHER, MG_STR("ratelimit"), 0);

    if (at < 0)
        return false;
    const mg_str value = { fields->items[at].value, fields->items[at].value_n };
    const char *r = memmem(value.p, value.n, ";r=", 3);
    uint64_t theirs = 0;
    for (const char *digit = r ? r + 3 : NULL;
         digit && digit < value.p + value.n && *digit >= '0' && *digit <= '9'; digit++)
        theirs = theirs * 10 + (uint64_t)(*digit - '0');
    return r && theirs < flight->refusal.remaining;
}

void mg_limits_describe(mg_flight *flight)
{
    if (flight->refusing && !is_looser(flight))
        add_headers(flight, flight->refusing, &flight->refusal);
}

bool mg_limits_pass(mg_flight *flight)
{
    const mg_snapshot_route *route = flight->route;
    const mg_snapshot_limit *rules[RULES_MAX];
    mg_limiter_ask asks[RULES_MAX];
    mg_limiter_answer answers[RULES_MAX];
    size_t count = 0;

    for (size_t i = 0; i < route->limit_count && count < RULES_MAX; i++) {
        const mg_snapshot_limit *rule = route->limits[i];
        mg_str key = MG_STR_NONE;
        if (rule->conf->mode == MG_CONFIG_DENY) {
            refuse(flight, rule, NULL);
            return false;
        }
        const key_result found = make_key(flight, rule->conf, &key);
        if (found == KEY_SKIP)
            continue;
        if (found == KEY_DENY) {
            refuse(flight, rule, NULL);
            return false;
        }
        if (rule->conf->mode == MG_CONFIG_SHADOW) { /* counts, and never refuses */
            (void)mg_limiter_take(rule->limiter, key.p, key.n, rule->conf->cost,
                                  mg_shared_policy_now(flight->worker->gateway->shared), &answers[count]);
            continue;
        }
        rules[count] = rule;
        asks[count++] = (mg_limiter_ask){ rule->limiter, key.p, key.n, rule->conf->cost };
    }
    const int refused =
        mg_limiter_take_all(asks, count, mg_shared_policy_now(flight->worker->gateway->shared), answers);
    if (refused >= 0) {
        refuse(flight, rules[refused], &answers[refused]);
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if (!flight->refusing || answers[i].remaining < flight->refusal.remaining) {
            flight->refusing = rules[i];
            flight->refusal = answers[i];
        }
    return true;
}

/* ---- the same limiters from inside a chain (moongate.h) ---- */

static const mg_snapshot_limit *limit_named(const mg_flight *flight, mg_str name)
{
    const mg_snapshot *snapshot = flight->view->snapshot;
    const mg_config_limiter *conf = mg_config_limiter_named(snapshot->config, name);

    return conf ? &snapshot->limits[conf->index] : NULL;
}

static bool answer_refused(mg_flight *flight, const mg_snapshot_limit *rule, const mg_limiter_answer *answer)
{
    mg_call *call = flight->call;
    const uint64_t retry_s = answer ? mg_limiter_retry_after_s(answer->retry_ms) : 0;

    flight->limiter = rule->conf->name;
    flight->error = "rate_limit";
    if (answer) {
        flight->refusing = rule;
        flight->refusal = *answer;
    }
    fill_problem(flight, rule, retry_s ? (int)mg_min_u64(retry_s, 86400 * 31) : -1, &call->answer);
    call->answered = true;
    return false;
}

bool mg_call_limit(mg_call *call, const char *name, uint32_t n)
{
    mg_flight *flight = call->owner;
    const mg_snapshot_limit *rule = limit_named(flight, (mg_str){ name, n });
    mg_str key = MG_STR_NONE;
    mg_limiter_answer answer;

    if (!rule)
        return true; /* the document that names it was refused long before */
    if (rule->conf->mode == MG_CONFIG_DENY)
        return answer_refused(flight, rule, NULL);
    const key_result found = make_key(flight, rule->conf, &key);
    if (found != KEY_FOUND)
        return found == KEY_SKIP || answer_refused(flight, rule, NULL);
    const bool allowed = mg_limiter_take(rule->limiter, key.p, key.n, rule->conf->cost,
                                         mg_shared_policy_now(flight->worker->gateway->shared), &answer);
    if (!allowed && rule->conf->mode != MG_CONFIG_SHADOW)
        return answer_refused(flight, rule, &answer);
    if (rule->conf->mode != MG_CONFIG_SHADOW &&
        (!flight->refusing || answer.remaining < flight->refusal.remaining)) {
        flight->refusing = rule;
        flight->refusal = answer;
    }
    return true;
}

const char *mg_call_limit_take(mg_call *call, const char *name, uint32_t n, const char *key, uint32_t key_n,
                               uint32_t cost, mg_limit_view *out)
{
    mg_flight *flight = call->owner;
    const mg_snapshot_limit *rule = limit_named(flight, (mg_str){ name, n });
    mg_limiter_answer answer;

    if (!rule)
        return "no limiter of the configuration has that name";
    if (rule->conf->mode == MG_CONFIG_DENY) {
        *out = (mg_limit_view){ .retry_s = -1 };
        return NULL;
    }
    const bool allowed = mg_limiter_take(rule->limiter, key, key_n, cost,
                                         mg_shared_policy_now(flight->worker->gateway->shared), &answer);
    *out = (mg_limit_view){ .remaining = (double)answer.remaining,
                            .quota = (double)mg_limiter_quota(rule->limiter),
                            .window_s = (double)mg_limiter_window_ms(rule->limiter) / 1e3,
                            .reset_s = (double)answer.reset_ms / 1e3,
                            .retry_s = allowed                               ? 0
                                       : answer.retry_ms == MG_LIMITER_NEVER ? -1
                                                                             : (double)answer.retry_ms / 1e3,
                            .allowed = allowed || rule->conf->mode == MG_CONFIG_SHADOW };
    return NULL;
}
