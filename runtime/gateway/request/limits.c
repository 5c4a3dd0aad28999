/* limits.c - limiters of the configuration: those before a route's first plugin are all tested, then all
 * charged; one further in is decided by itself (docs/policies.md 4). */
#include "gateway/request/limits.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/limit_key.h"
#include "gateway/request/pipeline.h"
#include "http/problem.h"

enum {
    RULES_USUAL = 8, /* of a round: more of them stand in the exchange's arena */
    SAMPLED = 16     /* of so many decisions one is shown to the sketch of hot keys */
};

static uint64_t policy_now(const mg_flight *flight)
{
    return mg_shared_policy_at(flight->worker->gateway->shared, mg_loop_now(flight->worker->loop));
}

const mg_snapshot_limit *mg_limits_named(const mg_snapshot *snapshot, mg_str name)
{
    const mg_config_limiter *conf = mg_config_limiter_named(snapshot->config, name);

    return conf ? &snapshot->limits[conf->index] : NULL;
}

uint64_t mg_limits_patience(const mg_exchange *x, uint64_t now_ns)
{
    const uint64_t left_ns = mg_exchange_left_ns(x, &x->limit, now_ns);

    if (left_ns == UINT64_MAX || !left_ns)
        return left_ns;
    return (left_ns - 1) / MG_NS_PER_MS * MG_NS_PER_MS;
}

/* ---- what was decided ---- */

void mg_limits_decided(mg_host *host, const mg_snapshot_limit *rule, mg_str key,
                       const mg_limiter_answer *answer)
{
    if (rule->stat) {
        mg_limit_cells *cells = &rule->stat->cells[host->worker];
        mg_cell_add(answer->allowed                        ? &cells->allow
                    : rule->conf->mode == MG_CONFIG_SHADOW ? &cells->shadow_deny
                                                           : &cells->deny,
                    1);
        if (answer->via == MG_LIMITER_VIA_OVERFLOW)
            mg_cell_add(&cells->overflow, 1);
    }
    if (rule->limiter && key.n && mg_rand_next(host->rand) % SAMPLED == 0)
        mg_limiter_see(rule->limiter, key.p, key.n);
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

bool mg_limits_is_permit(const mg_snapshot_limit *rule)
{
    return rule->conf->conf.algorithm == MG_LIMITER_CONCURRENCY;
}

/* RateLimit draft, section 5: which policies were violated. */
static void add_violated(const void *self, mg_json_out *json)
{
    const mg_snapshot_limit *rule = self;

    mg_json_out_list(json, "violated-policies");
    mg_json_out_text(json, NULL, rule->conf->name);
    mg_json_out_end(json);
}

static void answer_quota_exceeded(mg_flight *flight, const mg_snapshot_limit *rule, int retry_s)
{
    const mg_refusal_row *row = &mg_refusals[MG_REFUSED_RATE];

    mg_flight_blame(flight, row->error);
    mg_problem_send(flight->x,
                    &(mg_problem){ .status = row->status,
                                   .detail = row->detail,
                                   .retry_after_s = retry_s,
                                   .type = "https://iana.org/assignments/http-problem-types#quota-exceeded",
                                   .more = add_violated,
                                   .self = rule });
}

/* Answers for a rule that refused. `answer` NULL: it never looked. */
static void answer_refusal(mg_flight *flight, const mg_snapshot_limit *rule, const mg_limiter_answer *answer)
{
    const uint64_t retry_s = answer ? mg_limiter_retry_after_s(answer->retry_ms) : 0;

    flight->limits.refused_by = rule->conf->name;
    flight->limits.refusing = answer ? rule : NULL;
    flight->limits.refusal = answer ? *answer : (mg_limiter_answer){ 0 };
    if (mg_limits_is_permit(rule) && answer) {
        const mg_refusal_row *row = &mg_refusals[MG_REFUSED_PERMITS];
        mg_flight_blame(flight, row->error);
        mg_problem_answer(flight->x, row->status, MG_STR_NONE, row->detail, row->retry_after_s);
        return;
    }
    answer_quota_exceeded(flight, rule, retry_s ? (int)mg_min_u64(retry_s, 86400 * 31) : -1);
}

/* What a plugin's own limiter said already has less remaining: the client hears of the tightest rule
 * (docs/policies.md 4). */
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
    return r && theirs < flight->limits.refusal.remaining;
}

void mg_limits_describe(mg_flight *flight)
{
    if (flight->limits.refusing && !is_looser(flight))
        add_headers(flight, flight->limits.refusing, &flight->limits.refusal);
}

/* ---- rounds: rules that are decided together ---- */

typedef struct round {
    const mg_snapshot_limit **rules; /* those that are enforced from the front, the shadows from the back */
    mg_limiter_ask *asks;            /* the same places */
    mg_limiter_answer *answers;
    mg_limiter_waiter **waiters; /* NULL where the rule lets nobody wait */
    size_t count, shadow_count, room;
    const mg_snapshot_limit *refused_by; /* NULL: all allow */
    const mg_limiter_answer *refusal;    /* NULL: it never looked: the mode is deny, or a key is missing */
    uint64_t wait_ms;
    const mg_snapshot_limit *usual_rules[RULES_USUAL];
    mg_limiter_ask usual_asks[RULES_USUAL];
    mg_limiter_answer usual_answers[RULES_USUAL];
    mg_limiter_waiter *usual_waiters[RULES_USUAL];
} round;

static void begin(mg_flight *flight, round *r, size_t rules)
{
    mg_arena *arena = &flight->x->arena;
    const bool usual = rules <= RULES_USUAL;

    memset(r, 0, offsetof(round, usual_rules));
    r->room = rules;
    r->rules = usual ? r->usual_rules : MG_ARENA_NEW_N(arena, const mg_snapshot_limit *, rules);
    r->asks = usual ? r->usual_asks : MG_ARENA_NEW_N(arena, mg_limiter_ask, rules);
    r->answers = usual ? r->usual_answers : MG_ARENA_NEW_N(arena, mg_limiter_answer, rules);
    r->waiters = usual ? r->usual_waiters : MG_ARENA_NEW_N(arena, mg_limiter_waiter *, rules);
}

/* The worker's own thread, told by whoever made turns move up. */
static void on_turns_moved(mg_message *message)
{
    mg_worker *worker = mg_container_of(message, mg_worker, turns_message);
    const uint64_t now = mg_loop_now(worker->loop);

    atomic_store(&worker->turns_posted, false);
    MG_LIST_EACH(&worker->queued, it)
    {
        mg_flight *flight = mg_container_of(it, mg_flight, limits.queued);
        const uint64_t turn_ns = mg_holds_turn_ns(&flight->limits.holds), policy_ns = policy_now(flight);
        const uint64_t due = now + (turn_ns > policy_ns ? mg_ms_ceil(turn_ns - policy_ns) * MG_NS_PER_MS : 0);
        if (turn_ns && flight->way != MG_WAY_LIMITS)
            mg_chain_hasten(flight, due);
        else if (turn_ns && due < flight->limits.timer.due_ns)
            mg_timer_set(worker->loop, &flight->limits.timer, due);
    }
}

/* Any thread, with the rule's lock held. */
static void on_moved(mg_limiter_waiter *waiter)
{
    mg_worker *worker = waiter->self;

    if (atomic_exchange(&worker->turns_posted, true))
        return;
    worker->turns_message.run = on_turns_moved;
    mg_mailbox_post(worker->mailbox, &worker->turns_message);
}

/* Where it stands if it has to wait. */
static mg_limiter_waiter *place_for(mg_flight *flight, const mg_snapshot_limit *rule)
{
    mg_hold *held = mg_holds_add(&flight->limits.holds, &flight->x->arena, MG_HOLD_WAITING);

    held->limiter = rule->limiter;
    held->waiter.moved = on_moved;
    held->waiter.self = flight->worker;
    return &held->waiter;
}

static mg_hold *hold_of(mg_limiter_waiter *waiter)
{
    return mg_container_of(waiter, mg_hold, waiter);
}

/* Places that nobody came to stand in. */
static void drop_places(mg_flight *flight, const round *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->waiters[i])
            mg_holds_drop(&flight->limits.holds, hold_of(r->waiters[i]));
}

static bool never(mg_flight *flight, round *r, const mg_snapshot_limit *rule)
{
    const mg_limiter_answer none = { 0 };

    mg_limits_decided(&flight->worker->host, rule, MG_STR_NONE, &none);
    r->refused_by = rule;
    drop_places(flight, r);
    return false;
}

/* False when it refuses whatever the others say. */
static bool add_rule(mg_flight *flight, round *r, const mg_snapshot_limit *rule)
{
    const bool shadow = rule->conf->mode == MG_CONFIG_SHADOW;
    mg_str key = MG_STR_NONE;

    if (!rule->limiter) /* mode: deny */
        return never(flight, r, rule);
    const mg_limit_asker asker = mg_flight_asker(flight);
    switch (mg_limit_key(&asker, &rule->conf->key, &key)) {
    case MG_LIMIT_KEY_SKIP: return true;
    case MG_LIMIT_KEY_DENY: return shadow || never(flight, r, rule);
    case MG_LIMIT_KEY_FOUND: break;
    }
    const size_t at = shadow ? r->room - ++r->shadow_count : r->count++;
    r->rules[at] = rule;
    r->waiters[at] = !shadow && rule->conf->conf.max_wait_ms && !mg_limits_is_permit(rule)
                         ? place_for(flight, rule)
                         : NULL;
    r->asks[at] = (mg_limiter_ask){ rule->limiter, key.p, key.n, rule->conf->cost };
    return true;
}

static mg_str key_of(const mg_limiter_ask *ask)
{
    return (mg_str){ ask->key, ask->key_bytes };
}

static void hold(mg_flight *flight, mg_hold_kind kind, mg_limiter *limiter, const mg_limiter_answer *answer)
{
    mg_hold *held = mg_holds_add(&flight->limits.holds, &flight->x->arena, kind);

    held->limiter = limiter;
    held->answer = *answer;
}

/* Where one has to wait, all have been charged for a request that is not through yet. */
static void keep(mg_flight *flight, const round *r)
{
    for (size_t i = 0; i < r->count; i++) {
        mg_limits_decided(&flight->worker->host, r->rules[i], key_of(&r->asks[i]), &r->answers[i]);
        if (mg_limits_is_permit(r->rules[i]))
            hold(flight, MG_HOLD_PERMIT, r->asks[i].limiter, &r->answers[i]);
        else if (r->wait_ms && r->waiters[i])
            hold_of(r->waiters[i])->answer = r->answers[i];
        else if (r->wait_ms)
            hold(flight, MG_HOLD_WAITING, r->asks[i].limiter, &r->answers[i]);
        if (!flight->limits.refusing || r->answers[i].remaining < flight->limits.refusal.remaining) {
            flight->limits.refusing = r->rules[i];
            flight->limits.refusal = r->answers[i];
        }
    }
}

/* They are charged as if they were enforced, and nobody waits for them. */
static void take_shadows(mg_flight *flight, const round *r)
{
    mg_limiter_answer answer;

    for (size_t i = r->room - r->shadow_count; i < r->room; i++) {
        const mg_limiter_ask *ask = &r->asks[i];
        (void)mg_limiter_reserve(ask->limiter, ask->key, ask->key_bytes, ask->cost, policy_now(flight),
                                 &answer);
        mg_limits_decided(&flight->worker->host, r->rules[i], key_of(ask), &answer);
        if (answer.allowed && mg_limits_is_permit(r->rules[i]))
            hold(flight, MG_HOLD_PERMIT, ask->limiter, &answer);
    }
}

/* Behind its wait a request still needs as much time as it takes for anything to be sent. */
static uint64_t patience_ns(const mg_flight *flight)
{
    const uint64_t left_ns = mg_limits_patience(flight->x, mg_loop_now(flight->worker->loop));
    const mg_deadline_conf *deadline = &flight->route->conf->deadline;
    const uint64_t needed_ns = (deadline->min_ms * 1000 / deadline->hop_milli + 1) * MG_NS_PER_MS;

    return left_ns > needed_ns ? left_ns - needed_ns : 0;
}

/* False when one refuses: then nothing is charged. */
static bool decide(mg_flight *flight, round *r)
{
    const int refused = mg_limiter_queue_all(r->asks, r->waiters, r->count, patience_ns(flight),
                                             policy_now(flight), r->answers);

    if (refused >= 0) {
        drop_places(flight, r);
        r->refused_by = r->rules[refused];
        r->refusal = &r->answers[refused];
        mg_limits_decided(&flight->worker->host, r->refused_by, key_of(&r->asks[refused]), r->refusal);
        return false;
    }
    for (size_t i = 0; i < r->count; i++)
        r->wait_ms = mg_max_u64(r->wait_ms, r->answers[i].wait_ms);
    if (r->wait_ms)
        mg_list_push(&flight->worker->queued, &flight->limits.queued);
    else
        drop_places(flight, r);
    keep(flight, r);
    take_shadows(flight, r);
    return true;
}

/* ---- before the chain ---- */

static void has_waited(mg_flight *flight)
{
    mg_list_remove(&flight->limits.queued);
    mg_holds_waited(&flight->limits.holds);
}

static void on_waited(mg_timer *timer)
{
    mg_flight *flight = mg_container_of(timer, mg_flight, limits.timer);

    if (flight->way != MG_WAY_LIMITS) /* it has been answered meanwhile, or is being ended */
        return;
    has_waited(flight);
    mg_pipeline_go(flight, MG_WAY_CHAIN);
}

static bool pass_all(mg_flight *flight, round *r)
{
    const mg_snapshot_route *route = flight->route;

    begin(flight, r, route->limit_count);
    for (size_t i = 0; i < route->limit_count; i++)
        if (!add_rule(flight, r, route->limits[i]))
            return false;
    return decide(flight, r);
}

mg_limits_result mg_limits_pass(mg_flight *flight)
{
    mg_loop *loop = flight->worker->loop;
    round r;

    if (!pass_all(flight, &r)) {
        answer_refusal(flight, r.refused_by, r.refusal);
        return MG_LIMITS_REFUSED;
    }
    if (!r.wait_ms)
        return MG_LIMITS_PASSED;
    mg_timer_init(&flight->limits.timer, on_waited);
    mg_timer_set(loop, &flight->limits.timer, mg_loop_now(loop) + r.wait_ms * MG_NS_PER_MS);
    return MG_LIMITS_WAITS;
}

void mg_limits_end(mg_flight *flight)
{
    mg_list_remove(&flight->limits.queued);
    mg_timer_stop(&flight->limits.timer);
    if (flight->limits.holds.first)
        mg_holds_end(&flight->limits.holds, policy_now(flight));
}

/* ---- inside a chain (moongate.h) ---- */

double mg_call_limit(mg_call *call, uint32_t limiter)
{
    mg_flight *flight = call->owner;
    const mg_snapshot *snapshot = flight->view->snapshot;
    round r;

    MG_CHECK(limiter < snapshot->config->limiter_count);
    const mg_snapshot_limit *rule = &snapshot->limits[limiter];
    begin(flight, &r, 1);
    if (!add_rule(flight, &r, rule) || !decide(flight, &r)) {
        answer_refusal(flight, r.refused_by, r.refusal);
        return -1;
    }
    return (double)r.wait_ms / 1e3;
}

void mg_call_limit_waited(mg_call *call)
{
    has_waited(call->owner);
}
