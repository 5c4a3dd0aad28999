/* breaker.h - closed, open, half open (docs/policies.md 5). One 64-bit word holds state, version and
 * deadline; every transition is one CAS that raises the version, and a call carries the word it was admitted
 * under, so that a stale view cannot act. Nothing locks or sets a timer. Any thread may call. */
#ifndef MG_POLICY_BREAKER_H
#define MG_POLICY_BREAKER_H

#include "base/err.h"
#include "base/words.h"
#include "moongate.h" /* mg_breaker_outcome */

typedef struct mg_breaker mg_breaker;

#define MG_BREAKER_MODES(X)                                                                                  \
    X(MG_BREAKER_TIME_WINDOW, "time_window")   /* the calls of the last window_ms */                         \
    X(MG_BREAKER_COUNT_WINDOW, "count_window") /* the last window_calls */                                   \
    X(MG_BREAKER_CONSECUTIVE, "consecutive")
typedef enum mg_breaker_mode { MG_BREAKER_MODES(MG_WORD_ENUM) } mg_breaker_mode;
extern const char *const mg_breaker_mode_words[];

/* Stored: a number never changes its meaning. */
#define MG_BREAKER_STATES(X)                                                                                 \
    X(MG_BREAKER_CLOSED, 1, "closed")                                                                        \
    X(MG_BREAKER_OPEN, 2, "open")                                                                            \
    X(MG_BREAKER_HALF_OPEN, 3, "half_open")                                                                  \
    X(MG_BREAKER_FORCED_OPEN, 4, "forced_open")                                                              \
    X(MG_BREAKER_FORCED_CLOSED, 5, "forced_closed")
typedef enum mg_breaker_state { MG_BREAKER_STATES(MG_STORED_ENUM) } mg_breaker_state;

typedef struct mg_breaker_conf {
    mg_breaker_mode mode;
    uint32_t consecutive_failures; /* in a row, beside any window; 0 = off */
    uint64_t window_ms;            /* 1 s..600 s, divisible by buckets */
    uint32_t buckets;              /* 2..60 */
    uint32_t window_calls;         /* 2..100000 */
    uint32_t min_calls;  /* below it a ratio is noise; a window of calls clamps it to window_calls */
    uint32_t failure_bp; /* basis points, 1..10000: opens at this share of failures */
    uint32_t slow_bp;    /* the same for slow calls, where slow_call_ms is set */
    uint64_t open_ms, open_max_ms;
    uint32_t open_backoff_milli; /* 1000..10000 */
    uint32_t open_jitter_bp;     /* 0..5000 basis points: lengthens an open time by up to this part */
    uint32_t half_open_probes;   /* 1..1000 */
    uint64_t half_open_max_ms;
    uint64_t slow_call_ms; /* 0 = off */
    uint64_t seed;         /* of the jitter: a node's own */
} mg_breaker_conf;

/* The defaults of docs/configuration.md for the mode. */
void mg_breaker_conf_defaults(mg_breaker_conf *conf, mg_breaker_mode mode);

/* NULL with `err` when a field is outside its range. */
mg_breaker *mg_breaker_new(const mg_breaker_conf *conf, mg_error *err);
/* A breaker with a new configuration over the state of `old`, which stays valid and shares it. What is open
 * stays so no longer than the new open_max allows. */
mg_breaker *mg_breaker_next(const mg_breaker *old, const mg_breaker_conf *conf, uint64_t now_ns,
                            mg_error *err);
/* The same for a breaker that mg_breaker_new has made and that nobody asks yet: what it counted is forgotten.
 */
void mg_breaker_follow(mg_breaker *breaker, const mg_breaker *old, uint64_t now_ns);
void mg_breaker_free(mg_breaker *breaker); /* NULL is fine; the state goes with its last breaker */

/* May a call go through? A ticket for mg_breaker_end, or 0: refused. Every ticket is to be ended once. */
uint64_t mg_breaker_ask(mg_breaker *breaker, uint64_t now_ns);
/* What became of the call: true when it counted, false when it came too late for the state it was admitted
 * under. */
bool mg_breaker_end(mg_breaker *breaker, uint64_t ticket, mg_breaker_outcome outcome, uint64_t duration_ns,
                    uint64_t now_ns);

mg_breaker_state mg_breaker_now(const mg_breaker *breaker, uint64_t now_ns);
/* Until the next probe, when open, the last begun millisecond left out: never longer than it opens for. Else
 * 0; UINT64_MAX when forced open. */
uint64_t mg_breaker_retry_after_ms(const mg_breaker *breaker, uint64_t now_ns);
/* An operator's word: FORCED_OPEN or FORCED_CLOSED until told otherwise; CLOSED forgets everything. */
void mg_breaker_force(mg_breaker *breaker, mg_breaker_state state, uint64_t now_ns);

/* Opens a closed breaker for a reason that its own counts do not show; false when it was not closed. */
bool mg_breaker_trip(mg_breaker *breaker, uint64_t now_ns);

/* What outlives the process. */
typedef struct mg_breaker_record {
    mg_breaker_state state;
    uint32_t turns;        /* half-opens that failed in a row */
    uint64_t remaining_ms; /* open: until the next probe, at `at_ns` */
    uint64_t at_ns;        /* policy clock */
} mg_breaker_record;

mg_breaker_record mg_breaker_read(const mg_breaker *breaker, uint64_t now_ns);
/* Takes the record's place, aged to `now_ns`: open for no longer than the configuration opens at most, half
 * open as open with no time left. Whatever is no state closes. */
void mg_breaker_restore(mg_breaker *breaker, const mg_breaker_record *record, uint64_t now_ns);
/* A number that differs after every change of the state, so that a flush knows what to store. */
uint64_t mg_breaker_stamp(const mg_breaker *breaker);

/* Why the state changed; each leads to one state. */
typedef enum mg_breaker_reason {
    MG_BREAKER_BY_FAILURES, /* open: too many failed or were slow, or so many in a row */
    MG_BREAKER_BY_ANOMALY,  /* open: mg_breaker_trip */
    MG_BREAKER_BY_PROBE_FAILED,
    MG_BREAKER_BY_PROBE_TIME, /* open: half open was not decided in time */
    MG_BREAKER_BY_OPEN_OVER,  /* half open: the open time was over */
    MG_BREAKER_BY_RECOVERY,   /* closed: the probes succeeded */
    MG_BREAKER_BY_FORCE_OPEN,
    MG_BREAKER_BY_FORCE_CLOSED,
    MG_BREAKER_BY_FORCE_AUTO, /* closed: an operator's word was taken back */
    MG_BREAKER_REASONS
} mg_breaker_reason;

/* How often the state has changed for this reason since the process began, modulo 2^32. */
uint32_t mg_breaker_changes(const mg_breaker *breaker, mg_breaker_reason reason);
/* "failures", "anomaly", "probe_failed", "probe_timeout", "open_over", "recovered", "operator" */
const char *mg_breaker_reason_name(mg_breaker_reason reason);
mg_breaker_state mg_breaker_reason_leads_to(mg_breaker_reason reason);

/* "closed", "open", "half_open", "forced_open", "forced_closed" */
const char *mg_breaker_state_name(mg_breaker_state state);

#endif
