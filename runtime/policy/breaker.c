/* breaker.c - the circuit breaker of docs/policies.md 5.
 *
 * Two words. The first is the truth: state, how many half-open turns failed in a row, version, deadline. The
 * second counts within one version and carries its stamp; one with an older stamp reads as zeroes, so that a
 * transition is the CAS of the first word and nothing else. A ticket is the whole first word: version and
 * deadline together do not repeat while a call is under way. */
#include "policy/breaker.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/breaker_window.h"
#include "policy/restore.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DAYS_31_MS (31ull * 24 * 3600 * 1000)

enum {
    STATE_BITS = 3,
    TURNS_SHIFT = STATE_BITS,
    TURNS_MAX = 31, /* the open time stops growing there; open_max has long been reached */
    VERSION_SHIFT = 8,
    VERSION_MASK = 0xffff,
    DEADLINE_SHIFT = 24, /* 40 bits of ms: 34 years */
    PROBES_BITS = 12,
    PROBES_MASK = (1 << PROBES_BITS) - 1,
};

#define DEADLINE_MAX ((1ull << 40) - 1)

typedef struct breaker_state {
    _Alignas(64) _Atomic uint64_t word;
    _Atomic uint64_t tally;
    _Atomic uint32_t refs;
    _Atomic uint32_t changes[MG_BREAKER_REASONS];
} breaker_state;

_Static_assert(sizeof(breaker_state) == 64, "a breaker is one line of the cache");

struct mg_breaker {
    mg_breaker_conf conf;
    breaker_state *state;      /* counted */
    mg_breaker_window *window; /* counted; NULL in MG_BREAKER_CONSECUTIVE */
};

/* The tally, unpacked. Closed counts a run, half open counts probes. */
typedef struct tally {
    uint32_t run;
    uint32_t admitted, succeeded;
} tally;

static uint64_t pack(mg_breaker_state state, unsigned turns, unsigned version, uint64_t deadline_ms)
{
    return (uint64_t)state | (uint64_t)turns << TURNS_SHIFT |
           (uint64_t)(version & VERSION_MASK) << VERSION_SHIFT |
           mg_min_u64(deadline_ms, DEADLINE_MAX) << DEADLINE_SHIFT;
}

static mg_breaker_state state_of(uint64_t word)
{
    return (mg_breaker_state)(word & ((1 << STATE_BITS) - 1));
}

static unsigned turns_of(uint64_t word)
{
    return (unsigned)(word >> TURNS_SHIFT) & TURNS_MAX;
}

static unsigned version_of(uint64_t word)
{
    return (unsigned)(word >> VERSION_SHIFT) & VERSION_MASK;
}

static uint64_t deadline_of(uint64_t word)
{
    return word >> DEADLINE_SHIFT;
}

static uint64_t pack_tally(uint64_t word, tally t)
{
    if (state_of(word) == MG_BREAKER_HALF_OPEN)
        return version_of(word) | (uint64_t)t.admitted << 16 | (uint64_t)t.succeeded << (16 + PROBES_BITS);
    return version_of(word) | (uint64_t)t.run << 16;
}

static tally unpack_tally(uint64_t word, uint64_t packed)
{
    tally t = { 0 };

    if ((packed & VERSION_MASK) != version_of(word))
        return t;
    if (state_of(word) == MG_BREAKER_HALF_OPEN) {
        t.admitted = (uint32_t)(packed >> 16) & PROBES_MASK;
        t.succeeded = (uint32_t)(packed >> (16 + PROBES_BITS)) & PROBES_MASK;
    } else {
        t.run = (uint32_t)(packed >> 16);
    }
    return t;
}

/* Replaces the tally that `word` reads as `seen` (unpacked from *packed). False when it has changed, or
 * `word` is no longer the state: a late thread must not write over the tally of a newer version. */
static bool change_tally(breaker_state *s, uint64_t word, uint64_t *packed, tally t)
{
    if ((*packed & VERSION_MASK) != version_of(word) && atomic_load(&s->word) != word)
        return false;
    return atomic_compare_exchange_strong(&s->tally, packed, pack_tally(word, t));
}

/* The murmur3 finaliser over seed and version: every open time its own draw, and the same again from the same
 * seed. */
static uint64_t draw(uint64_t seed, unsigned version)
{
    uint64_t x = seed ^ (version + 1) * 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
    x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

static uint64_t open_length_ms(const mg_breaker_conf *conf, unsigned turns, unsigned version)
{
    uint64_t ms = conf->open_ms;

    for (unsigned i = 0; i < turns && ms < conf->open_max_ms; i++)
        ms = ms * conf->open_backoff_milli / 1000;
    ms = mg_min_u64(ms, conf->open_max_ms);
    if (conf->open_jitter_bp)
        ms += ms * (draw(conf->seed, version) % (conf->open_jitter_bp + 1)) / 10000;
    return ms;
}

static uint64_t opened_word(const mg_breaker_conf *conf, uint64_t from, unsigned turns, uint64_t at_ms)
{
    const unsigned version = version_of(from) + 1;

    turns = turns > TURNS_MAX ? TURNS_MAX : turns;
    return pack(MG_BREAKER_OPEN, turns, version, at_ms + open_length_ms(conf, turns, version & VERSION_MASK));
}

/* The one place where the state changes by itself. */
static bool move(breaker_state *s, uint64_t from, uint64_t to, mg_breaker_reason reason)
{
    MG_CHECK(version_of(to) == ((version_of(from) + 1) & VERSION_MASK));
    if (!atomic_compare_exchange_strong(&s->word, &from, to))
        return false;
    atomic_fetch_add_explicit(&s->changes[reason], 1, memory_order_relaxed);
    return true;
}

/* A half-open turn that was not decided in time ended at its deadline, not at its discovery. */
static uint64_t settled(const mg_breaker_conf *conf, uint64_t word, uint64_t now_ns)
{
    if (state_of(word) != MG_BREAKER_HALF_OPEN || now_ns / MG_NS_PER_MS < deadline_of(word))
        return word;
    return opened_word(conf, word, turns_of(word) + 1, deadline_of(word));
}

static uint64_t settle(mg_breaker *b, uint64_t now_ns)
{
    for (;;) {
        const uint64_t word = atomic_load_explicit(&b->state->word, memory_order_acquire);
        const uint64_t due = settled(&b->conf, word, now_ns);

        if (due == word || move(b->state, word, due, MG_BREAKER_BY_PROBE_TIME))
            return due;
    }
}

/* Probes have succeeded as often as they had to. */
static void recover(mg_breaker *b, uint64_t word, uint64_t now_ns)
{
    move(b->state, word, pack(MG_BREAKER_CLOSED, 0, version_of(word) + 1, now_ns / MG_NS_PER_MS),
         MG_BREAKER_BY_RECOVERY);
}

/* A probe's permit under `word`: 1 granted, 0 none left, -1 the state has moved on. */
static int admit_probe(mg_breaker *b, uint64_t word, uint64_t now_ns)
{
    uint64_t packed = atomic_load(&b->state->tally);

    for (;;) {
        tally t = unpack_tally(word, packed);

        if (t.succeeded >=
            b->conf.half_open_probes) { /* a new configuration asks for fewer than there were */
            recover(b, word, now_ns);
            return -1;
        }
        if (t.admitted >= b->conf.half_open_probes)
            return atomic_load(&b->state->word) == word ? 0 : -1;
        t.admitted++;
        if (change_tally(b->state, word, &packed, t))
            return 1;
        if (atomic_load(&b->state->word) != word)
            return -1;
    }
}

static uint64_t ask_slowly(mg_breaker *b, uint64_t now_ns)
{
    for (;;) {
        uint64_t word = settle(b, now_ns);
        int granted;

        if (state_of(word) == MG_BREAKER_CLOSED || state_of(word) == MG_BREAKER_FORCED_CLOSED)
            return word;
        if (state_of(word) == MG_BREAKER_FORCED_OPEN)
            return 0;
        if (state_of(word) == MG_BREAKER_OPEN) {
            const uint64_t now_ms = now_ns / MG_NS_PER_MS;
            uint64_t half;

            if (now_ms < deadline_of(word))
                return 0;
            half = pack(MG_BREAKER_HALF_OPEN, turns_of(word), version_of(word) + 1,
                        now_ms + b->conf.half_open_max_ms);
            if (!move(b->state, word, half, MG_BREAKER_BY_OPEN_OVER))
                continue;
            word = half;
        }
        granted = admit_probe(b, word, now_ns);
        if (granted >= 0)
            return granted ? word : 0;
    }
}

uint64_t mg_breaker_ask(mg_breaker *breaker, uint64_t now_ns)
{
    const uint64_t word = atomic_load_explicit(&breaker->state->word, memory_order_acquire);

    return state_of(word) == MG_BREAKER_CLOSED ? word : ask_slowly(breaker, now_ns);
}

/* The run of failures with this outcome at its end; -1 when the state has moved on. */
static int64_t count_run(mg_breaker *b, uint64_t word, bool failed)
{
    uint64_t packed = atomic_load(&b->state->tally);
    tally t;

    do {
        t = unpack_tally(word, packed);
        if (!failed && t.run == 0)
            return 0;
        t.run = !failed ? 0 : t.run + (t.run < UINT32_MAX);
        if (atomic_load(&b->state->word) != word)
            return -1;
    } while (!change_tally(b->state, word, &packed, t));
    return t.run;
}

static bool is_too_many(const mg_breaker_conf *conf, mg_breaker_sums sums)
{
    const uint64_t enough = conf->mode == MG_BREAKER_COUNT_WINDOW
                                ? mg_min_u64(conf->min_calls, conf->window_calls)
                                : conf->min_calls;

    if (sums.calls < enough)
        return false;
    return sums.failures * 10000 >= sums.calls * conf->failure_bp ||
           (conf->slow_call_ms && sums.slow * 10000 >= sums.calls * conf->slow_bp);
}

static bool end_closed(mg_breaker *b, uint64_t word, bool failed, bool slow, uint64_t now_ns)
{
    bool trip = false;

    if (b->conf.consecutive_failures) {
        const int64_t run = count_run(b, word, failed);

        if (run < 0)
            return false;
        trip = run >= (int64_t)b->conf.consecutive_failures;
    }
    if (b->window)
        trip |= is_too_many(&b->conf,
                            mg_breaker_window_record(b->window, version_of(word), failed, slow, now_ns));
    if (trip)
        move(b->state, word, opened_word(&b->conf, word, 0, mg_ms_ceil(now_ns)), MG_BREAKER_BY_FAILURES);
    return true;
}

static bool end_probe(mg_breaker *b, uint64_t word, mg_breaker_outcome outcome, uint64_t now_ns)
{
    uint64_t packed = atomic_load(&b->state->tally);
    tally t;

    if (outcome == MG_BREAKER_FAIL || outcome == MG_BREAKER_TIMEOUT)
        return move(b->state, word, opened_word(&b->conf, word, turns_of(word) + 1, mg_ms_ceil(now_ns)),
                    MG_BREAKER_BY_PROBE_FAILED);
    do {
        t = unpack_tally(word, packed);
        if (atomic_load(&b->state->word) != word)
            return false;
        if (outcome == MG_BREAKER_IGNORE)
            t.admitted -= t.admitted > 0;
        else
            t.succeeded++;
    } while (!change_tally(b->state, word, &packed, t));
    if (t.succeeded >= b->conf.half_open_probes)
        recover(b, word, now_ns);
    return true;
}

bool mg_breaker_end(mg_breaker *breaker, uint64_t ticket, mg_breaker_outcome outcome, uint64_t duration_ns,
                    uint64_t now_ns)
{
    const mg_breaker_conf *conf = &breaker->conf;
    const bool slow = conf->slow_call_ms && duration_ns / MG_NS_PER_MS >= conf->slow_call_ms;

    if (settle(breaker, now_ns) != ticket)
        return false;
    if (state_of(ticket) == MG_BREAKER_HALF_OPEN)
        return end_probe(breaker, ticket, outcome == MG_BREAKER_OK && slow ? MG_BREAKER_FAIL : outcome,
                         now_ns);
    if (state_of(ticket) == MG_BREAKER_CLOSED && outcome != MG_BREAKER_IGNORE)
        return end_closed(breaker, ticket, outcome != MG_BREAKER_OK, slow, now_ns);
    return true;
}

mg_breaker_state mg_breaker_now(const mg_breaker *breaker, uint64_t now_ns)
{
    return state_of(settled(&breaker->conf, atomic_load(&breaker->state->word), now_ns));
}

uint64_t mg_breaker_retry_after_ms(const mg_breaker *breaker, uint64_t now_ns)
{
    const uint64_t word = settled(&breaker->conf, atomic_load(&breaker->state->word), now_ns);
    const uint64_t ends_ns = deadline_of(word) * MG_NS_PER_MS;

    if (state_of(word) == MG_BREAKER_FORCED_OPEN)
        return UINT64_MAX;
    if (state_of(word) != MG_BREAKER_OPEN || ends_ns <= now_ns)
        return 0;
    return mg_max_u64(1, (ends_ns - now_ns) / MG_NS_PER_MS);
}

void mg_breaker_force(mg_breaker *breaker, mg_breaker_state state, uint64_t now_ns)
{
    uint64_t word;

    MG_CHECK(state == MG_BREAKER_FORCED_OPEN || state == MG_BREAKER_FORCED_CLOSED ||
             state == MG_BREAKER_CLOSED);
    const mg_breaker_reason reason = state == MG_BREAKER_FORCED_OPEN     ? MG_BREAKER_BY_FORCE_OPEN
                                     : state == MG_BREAKER_FORCED_CLOSED ? MG_BREAKER_BY_FORCE_CLOSED
                                                                         : MG_BREAKER_BY_FORCE_AUTO;
    do {
        word = atomic_load(&breaker->state->word);
    } while (
        !move(breaker->state, word, pack(state, 0, version_of(word) + 1, now_ns / MG_NS_PER_MS), reason));
}

bool mg_breaker_trip(mg_breaker *breaker, uint64_t now_ns)
{
    const uint64_t word = atomic_load(&breaker->state->word);

    return state_of(word) == MG_BREAKER_CLOSED &&
           move(breaker->state, word, opened_word(&breaker->conf, word, 0, mg_ms_ceil(now_ns)),
                MG_BREAKER_BY_ANOMALY);
}

uint64_t mg_breaker_stamp(const mg_breaker *breaker)
{
    return atomic_load(&breaker->state->word);
}

mg_breaker_record mg_breaker_read(const mg_breaker *breaker, uint64_t now_ns)
{
    const uint64_t word = settled(&breaker->conf, atomic_load(&breaker->state->word), now_ns);
    const uint64_t now_ms = now_ns / MG_NS_PER_MS;
    mg_breaker_record record = { .state = state_of(word), .turns = turns_of(word), .at_ns = now_ns };

    if (record.state == MG_BREAKER_OPEN && deadline_of(word) > now_ms)
        record.remaining_ms = deadline_of(word) - now_ms;
    return record;
}

void mg_breaker_restore(mg_breaker *breaker, const mg_breaker_record *record, uint64_t now_ns)
{
    const uint64_t elapsed_ms = (mg_max_u64(now_ns, record->at_ns) - record->at_ns) / MG_NS_PER_MS;
    mg_breaker_state state = record->state;
    uint64_t remaining_ms = record->remaining_ms, word;
    unsigned turns;

    if (state < MG_BREAKER_CLOSED || state > MG_BREAKER_FORCED_CLOSED)
        state = MG_BREAKER_CLOSED;
    mg_restore_breaker(&state, &remaining_ms, breaker->conf.open_max_ms, elapsed_ms);
    turns = state == MG_BREAKER_OPEN ? (unsigned)mg_min_u64(record->turns, TURNS_MAX) : 0;
    do {
        word = atomic_load(&breaker->state->word);
    } while (!atomic_compare_exchange_strong(
        &breaker->state->word, &word,
        pack(state, turns, version_of(word) + 1, now_ns / MG_NS_PER_MS + remaining_ms)));
}

uint32_t mg_breaker_changes(const mg_breaker *breaker, mg_breaker_reason reason)
{
    return atomic_load_explicit(&breaker->state->changes[reason], memory_order_relaxed);
}

static const struct {
    const char *name;
    mg_breaker_state to;
} reasons[MG_BREAKER_REASONS] = {
    [MG_BREAKER_BY_FAILURES] = { "failures", MG_BREAKER_OPEN },
    [MG_BREAKER_BY_ANOMALY] = { "anomaly", MG_BREAKER_OPEN },
    [MG_BREAKER_BY_PROBE_FAILED] = { "probe_failed", MG_BREAKER_OPEN },
    [MG_BREAKER_BY_PROBE_TIME] = { "probe_timeout", MG_BREAKER_OPEN },
    [MG_BREAKER_BY_OPEN_OVER] = { "open_over", MG_BREAKER_HALF_OPEN },
    [MG_BREAKER_BY_RECOVERY] = { "recovered", MG_BREAKER_CLOSED },
    [MG_BREAKER_BY_FORCE_OPEN] = { "operator", MG_BREAKER_FORCED_OPEN },
    [MG_BREAKER_BY_FORCE_CLOSED] = { "operator", MG_BREAKER_FORCED_CLOSED },
    [MG_BREAKER_BY_FORCE_AUTO] = { "operator", MG_BREAKER_CLOSED },
};

const char *mg_breaker_reason_name(mg_breaker_reason reason)
{
    return reasons[reason].name;
}

mg_breaker_state mg_breaker_reason_leads_to(mg_breaker_reason reason)
{
    return reasons[reason].to;
}

static const char *const state_words[] = { MG_BREAKER_STATES(MG_STORED_TEXT) };

const char *mg_breaker_state_name(mg_breaker_state state)
{
    MG_CHECK(state >= MG_BREAKER_CLOSED && state <= MG_BREAKER_FORCED_CLOSED);
    return state_words[state];
}

const char *const mg_breaker_mode_words[] = { MG_BREAKER_MODES(MG_WORD_TEXT) NULL };

void mg_breaker_conf_defaults(mg_breaker_conf *conf, mg_breaker_mode mode)
{
    *conf = (mg_breaker_conf){
        .mode = mode,
        .consecutive_failures = mode == MG_BREAKER_CONSECUTIVE ? 5 : 0,
        .window_ms = 10000,
        .buckets = 10,
        .window_calls = 100,
        .min_calls = 20,
        .failure_bp = 5000,
        .slow_bp = 10000,
        .open_ms = 5000,
        .open_max_ms = 30000,
        .open_backoff_milli = 2000,
        .open_jitter_bp = 1000,
        .half_open_probes = 3,
        .half_open_max_ms = 10000,
    };
}

/* NULL, or which field breaks its range. */
static const char *fault_in(const mg_breaker_conf *c)
{
    if (c->mode > MG_BREAKER_CONSECUTIVE)
        return "mode: wants time_window, count_window or consecutive";
    if (c->window_ms < 1000 || c->window_ms > 600000)
        return "window: wants 1s to 600s";
    if (c->buckets < 2 || c->buckets > 60 || c->window_ms % c->buckets)
        return "buckets: wants 2 to 60, a number that divides the window";
    if (c->window_calls < 2 || c->window_calls > 100000)
        return "window_calls: wants 2 to 100000";
    if (c->min_calls < 1 || c->min_calls > INT32_MAX)
        return "min_requests: wants 1 to 2147483647";
    if (c->failure_bp < 1 || c->failure_bp > 10000)
        return "error_rate: wants above 0% and at most 100%";
    if (c->slow_bp < 1 || c->slow_bp > 10000)
        return "slow_rate: wants above 0% and at most 100%";
    if (c->consecutive_failures > INT32_MAX)
        return "consecutive_failures: wants 0 to 2147483647";
    if (c->open_ms < 1 || c->open_ms > DAYS_31_MS)
        return "open_for: wants 1ms to 31 days";
    if (c->open_max_ms < c->open_ms || c->open_max_ms > DAYS_31_MS)
        return "open_max: wants open_for to 31 days";
    if (c->open_backoff_milli < 1000 || c->open_backoff_milli > 10000)
        return "open_backoff: wants 1 to 10";
    if (c->open_jitter_bp > 5000)
        return "open_jitter: wants 0 to 50%";
    if (c->half_open_probes < 1 || c->half_open_probes > 1000)
        return "probes: wants 1 to 1000";
    if (c->half_open_max_ms < 1 || c->half_open_max_ms > DAYS_31_MS)
        return "half_open_max: wants 1ms to 31 days";
    if (c->slow_call_ms > DAYS_31_MS)
        return "slow_call: wants at most 31 days";
    return NULL;
}

/* The window of `old` (may be NULL) where the configuration still wants the same; else an empty one. */
static mg_breaker_window *window_for(const mg_breaker_conf *conf, const mg_breaker *old)
{
    const uint64_t bucket_ns =
        conf->mode == MG_BREAKER_TIME_WINDOW ? conf->window_ms * MG_NS_PER_MS / conf->buckets : 0;
    const uint32_t size = bucket_ns ? conf->buckets : conf->window_calls;

    if (conf->mode == MG_BREAKER_CONSECUTIVE)
        return NULL;
    if (old && old->window && mg_breaker_window_is(old->window, bucket_ns, size))
        return mg_breaker_window_ref(old->window);
    return bucket_ns ? mg_breaker_window_of_time(bucket_ns, size) : mg_breaker_window_of_calls(size);
}

static mg_breaker *breaker_over(breaker_state *state, const mg_breaker_conf *conf, const mg_breaker *old)
{
    mg_breaker *b = MG_NEW(mg_breaker);

    b->conf = *conf;
    b->state = state;
    b->window = window_for(conf, old);
    return b;
}

mg_breaker *mg_breaker_new(const mg_breaker_conf *conf, mg_error *err)
{
    const char *fault = fault_in(conf);
    breaker_state *state;

    if (fault) {
        mg_fail(err, MG_ERR_INVALID, "%s", fault);
        return NULL;
    }
    state = aligned_alloc(64, sizeof(*state));
    MG_CHECK(state);
    atomic_init(&state->word, pack(MG_BREAKER_CLOSED, 0, 0, 0));
    atomic_init(&state->tally, 0);
    atomic_init(&state->refs, 1);
    memset(state->changes, 0, sizeof state->changes);
    return breaker_over(state, conf, NULL);
}

/* Open for no longer than the configuration opens at most. An open word has no tickets, so its deadline may
 * change under the same version. */
static void clamp_open(breaker_state *state, const mg_breaker_conf *conf, uint64_t now_ns)
{
    const uint64_t latest_ms = mg_ms_ceil(now_ns) + conf->open_max_ms;
    uint64_t word = atomic_load(&state->word);

    while (state_of(word) == MG_BREAKER_OPEN && deadline_of(word) > latest_ms) {
        const uint64_t sooner = pack(MG_BREAKER_OPEN, turns_of(word), version_of(word), latest_ms);

        if (atomic_compare_exchange_strong(&state->word, &word, sooner))
            break;
    }
}

mg_breaker *mg_breaker_next(const mg_breaker *old, const mg_breaker_conf *conf, uint64_t now_ns,
                            mg_error *err)
{
    const char *fault = fault_in(conf);

    if (fault) {
        mg_fail(err, MG_ERR_INVALID, "%s", fault);
        return NULL;
    }
    clamp_open(old->state, conf, now_ns);
    atomic_fetch_add(&old->state->refs, 1);
    return breaker_over(old->state, conf, old);
}

static void state_unref(breaker_state *state)
{
    if (atomic_fetch_sub(&state->refs, 1) == 1)
        free(state);
}

void mg_breaker_follow(mg_breaker *breaker, const mg_breaker *old, uint64_t now_ns)
{
    mg_breaker_window *own = breaker->window;

    clamp_open(old->state, &breaker->conf, now_ns);
    atomic_fetch_add(&old->state->refs, 1);
    state_unref(breaker->state);
    breaker->state = old->state;
    breaker->window = window_for(&breaker->conf, old);
    mg_breaker_window_unref(own);
}

void mg_breaker_free(mg_breaker *breaker)
{
    if (!breaker)
        return;
    state_unref(breaker->state);
    mg_breaker_window_unref(breaker->window);
    mg_free(breaker);
}
