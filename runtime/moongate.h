/* moongate.h - the C ABI: all that Lua and embedders may call. Open to every folder; includes none of them.
 *
 * The part between the ffi marks is the cdef: the build copies it into moongate/ffi/cdef.lua, makes one
 * struct of function pointers of it (mg_api) and a table of its constants for Lua, and puts its hash into both
 * sides. Between the marks stand
 * declarations and comments only: no macros, constants as enums; scalars and pointers cross, structs by
 * pointer. Nothing here calls back into Lua; what must wait sets call->wait and Lua yields. The thread of the
 * Lua state, except where any thread is named. */
#ifndef MOONGATE_H
#define MOONGATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ffi: begin */

/* Text that C owns. Valid until the exchange ends, unless a function says less. */
typedef struct mg_slice {
    const char *p;
    uint32_t n;
} mg_slice;

/* ---- the exchange as one handler chain sees it: the C half of ctx. Its VM's thread only ---- */

typedef struct mg_call mg_call;

enum { MG_REQUEST = 0, MG_RESPONSE = 1 }; /* which head */

enum mg_call_text_of {
    MG_TEXT_METHOD,
    MG_TEXT_SCHEME,
    MG_TEXT_HOST,
    MG_TEXT_PATH,
    MG_TEXT_QUERY,
    MG_TEXT_CLIENT_IP,
    MG_TEXT_ROUTE,
    MG_TEXT_SERVICE,
    MG_TEXT_ERROR,
    MG_TEXT_CONSUMER,
    MG_TEXT_TARGET
};

/* Index of the chain to run, set before the slot is resumed. */
uint32_t mg_call_chain(const mg_call *call);
/* What is wrong where an exchange would hold more of what plugins set than it may (MG_EXCHANGE_ARENA_MAX):
 * this very text, by its address. The request is not to go on then. */
const char *mg_call_no_room(void);
/* Values that are joined or decoded, as all of header, param and query, are good until the next of them. */
/* The value of a field, several lines as one; false when absent. Name in any case. */
bool mg_call_header(mg_call *call, int which, const char *name, uint32_t n, mg_slice *value);
/* The field at a position from 0; false past the end. */
bool mg_call_header_at(const mg_call *call, int which, uint32_t index, mg_slice *name, mg_slice *value);
/* NULL, or static text that says what is wrong with name or value. */
const char *mg_call_set_header(mg_call *call, int which, const char *name, uint32_t n, const char *value,
                               uint32_t value_n, bool replace);
/* NULL, with how many were removed; or static text that says why they stay. */
const char *mg_call_remove_header(mg_call *call, int which, const char *name, uint32_t n, uint32_t *removed);
bool mg_call_text(const mg_call *call, int what,
                  mg_slice *text); /* enum mg_call_text_of; false when absent */
/* NULL, or what is wrong: method a token, path normalised as the router's, query without "#" or blanks. */
const char *mg_call_set_text(mg_call *call, int what, const char *text, uint32_t n);
bool mg_call_param(mg_call *call, const char *name, uint32_t n,
                   mg_slice *value); /* of the route's template, decoded */
bool mg_call_query(mg_call *call, const char *name, uint32_t n,
                   mg_slice *value); /* first of that name, decoded */
/* The next value of that name, where *at, from 0, is how far the query was read; false when there is none. */
bool mg_call_query_next(mg_call *call, const char *name, uint32_t n, uint32_t *at, mg_slice *value);
int mg_call_status(const mg_call *call); /* of the response; 0 while there is none */
/* Of this message on the client's wire so far, head and body. */
double mg_call_bytes(const mg_call *call, int which);
const char *mg_call_set_status(mg_call *call, int status); /* 200..599 */
/* Answers: status and body (copied), fields of an earlier response dropped. NULL, or what is wrong.
 * content_type may be NULL. */
const char *mg_call_respond(mg_call *call, int status, const char *content_type, const char *body,
                            uint32_t n);
/* A problem document (RFC 9457) of the gateway's own making. title may be NULL. */
const char *mg_call_problem(mg_call *call, int status, const char *title, uint32_t title_n,
                            const char *detail, uint32_t n);
/* The body, when declared as buffered: false with *error when it is not there (not declared, or too large).
 */
bool mg_call_body(mg_call *call, int which, mg_slice *bytes, const char **error);
/* Drops the fields that speak of the old bytes. A response that stays without a body takes none: see
 * mg_call_bodiless. */
const char *mg_call_set_body(mg_call *call, int which, const char *bytes, uint32_t n);
/* Why a body that is set has no effect: "HEAD", "204", ..; NULL: it has. Static. */
const char *mg_call_bodiless(const mg_call *call, int which);
/* A piece of a body that a plugin declared `stream`, valid until the filter returns; true when it is the
 * last. */
bool mg_call_chunk(const mg_call *call, mg_slice *bytes);
/* What goes on in its place. NULL, or what is wrong: above 16 MiB. */
const char *mg_call_set_chunk(mg_call *call, const char *bytes, uint32_t n);
double mg_call_now_s(const mg_call *call);       /* wall clock of this turn */
double mg_call_mono_s(const mg_call *call);      /* monotonic, for durations */
double mg_call_remaining_s(const mg_call *call); /* until the exchange's deadline */
void mg_call_new_id(mg_call *call, char *out32); /* 32 lower-case hex digits, no NUL */
typedef enum mg_log_level { MG_LOG_DEBUG, MG_LOG_INFO, MG_LOG_WARN, MG_LOG_ERROR, MG_LOG_OFF } mg_log_level;
/* Writes a line of a plugin's at a level from MG_LOG_DEBUG to MG_LOG_ERROR; any other is MG_LOG_INFO. */
void mg_call_log(mg_call *call, int level, const char *text, uint32_t n);

/* What runs. A parked slot is resumed for CHAIN, or for UNANSWERED: to raise that its last chain left no
 * response. FILTER: a piece of a body is going through its filters. LOG: the exchange is over, and told to
 * log handlers. TASK: mg_call_task_number, for which a parked slot is resumed too. */
enum mg_phase { MG_PHASE_CHAIN, MG_PHASE_LOG, MG_PHASE_FILTER, MG_PHASE_UNANSWERED, MG_PHASE_TASK };
int mg_call_phase(const mg_call *call);
/* What runs beside a slot's coroutine, on the main state of the VM. */
typedef enum mg_aside {
    MG_ASIDE_REQUEST,  /* the chain's filters over the piece of the request's body that stands in the call */
    MG_ASIDE_RESPONSE, /* the same, of the response's body */
    MG_ASIDE_LOG       /* its log handlers; what one raises is logged there, and the next one runs */
} mg_aside;
/* What the coroutine waits for after it yields. */
enum mg_wait {
    MG_WAIT_NOTHING,
    MG_WAIT_DONE,
    MG_WAIT_NEXT,
    MG_WAIT_SLEEP,
    MG_WAIT_HTTP,
    MG_WAIT_BODY,
    MG_WAIT_BARRIER,
    MG_WAIT_TASK,
    MG_WAIT_PAUSE /* between two parts of long work: for the next turn of the loop that is free */
};
void mg_call_wait(mg_call *call, int wait);
const char *mg_call_sleep(mg_call *call, double seconds); /* sets MG_WAIT_SLEEP; NULL or what is wrong */
/* After a resume: NULL, or why the chain must unwind ("client_gone", "deadline", ..). */
const char *mg_call_cancelled(const mg_call *call);
/* After a resume, once: whether what was waited for is there, or why the plugin fails instead. */
enum mg_wait_end {
    MG_WAIT_FINE,
    MG_WAIT_TIMED_OUT, /* its own `timeout` was over */
    MG_WAIT_SPENT      /* the request's plugins have computed as much as they may in all */
};
int mg_call_wait_end(mg_call *call);
/* Which plugin runs, by index in the plan: for kv namespaces, time-outs and messages. Returns the one before.
 */
uint32_t mg_call_enter(mg_call *call, uint32_t plugin);
/* A plugin raised and its on_error let the request go on: logged and counted. Text is copied. */
void mg_call_raised(mg_call *call, uint32_t plugin, const char *message, uint32_t n, const char *traceback,
                    uint32_t traceback_n);

/* ---- tasks: functions of plugins that run beside requests, each in a slot of its own. Numbers are a
 * worker's, from 1. Functions that return text: NULL, or what is wrong ---- */

/* Begins one behind this turn, for at most timeout_s. `where` is its place in the plugin's file, for messages
 * (copied). 0 with *wrong: there are too many. */
double mg_call_task_start(mg_call *call, uint32_t plugin, const char *where, uint32_t n, double timeout_s,
                          const char **wrong);
/* From now on it outlives what began it. Harmless for one that has ended. */
const char *mg_call_task_detach(mg_call *call, double number);
/* What the wait for MG_WAIT_TASK, which is next, waits for: one that this call began and that runs. */
const char *mg_call_task_wait(mg_call *call, double number);
/* Which one a slot is to run; below 0: a run of what a plugin gave to mg.every, -1 the first of the VM. */
double mg_call_task_number(const mg_call *call);
/* What the slot ran has raised: logged and counted. Text is copied. */
void mg_call_task_raised(mg_call *call, const char *message, uint32_t n, const char *traceback,
                         uint32_t traceback_n);

/* ---- limiters and breakers as an exchange uses them: what it took and did not keep goes back when it ends,
 * whatever ends it ---- */

typedef struct mg_limiter mg_limiter;
typedef struct mg_breaker mg_breaker;

/* What a limiter answered. Seconds; retry_s is 0 when allowed, below 0 when no wait helps. */
typedef struct mg_limit_view {
    double remaining, quota, window_s, reset_s, retry_s;
    double wait_s; /* of what was reserved: due only after this */
    double number; /* of what was reserved, for commit and cancel; 0: nothing was */
    bool allowed;
} mg_limit_view;

/* A native item of a chain: the limiter at an index of the configuration, with its own key and cost. 0 when it
 * allows; seconds when it does so after a wait, to be followed by mg_call_limit_waited; below 0: it has answered
 * 429 or 503. */
double mg_call_limit(mg_call *call, uint32_t limiter);
void mg_call_limit_waited(mg_call *call);
/* A charge to a key of the plugin's own, of a limiter of the configuration by its name. A permit goes back at
 * the end. NULL, or what is wrong: no limiter of that name. */
const char *mg_call_limit_take(mg_call *call, const char *name, uint32_t n, const char *key, uint32_t key_n,
                               uint32_t cost, mg_limit_view *out);
/* Like take, but it may be granted for later, within max_wait_s (below 0: as the limiter's own configuration
 * says) and the deadline, and goes back at the end unless committed. `limiter` NULL: the one of that name.
 * NULL, or what is wrong. */
const char *mg_call_limit_reserve(mg_call *call, mg_limiter *limiter, const char *name, uint32_t n,
                                  const char *key, uint32_t key_n, uint32_t cost, double max_wait_s,
                                  mg_limit_view *out);
/* Gives it back now. False when it was given back or committed before, or is another exchange's, or others
 * were charged since so that nothing can be given back. */
bool mg_call_limit_cancel(mg_call *call, double number);
/* It stays charged; a permit still goes back at the end. False when it is not there any more. */
bool mg_call_limit_commit(mg_call *call, double number);
/* A key as the limiters of the configuration read it, "header:x+route". `on_missing` is a word of theirs: with
 * "ip" a part that a request lacks is its address. error256: room for 256 bytes of text with NUL, set when NULL
 * is returned. The VM's thread. */
typedef struct mg_key mg_key;
mg_key *mg_key_new(const char *text, uint32_t n, const char *on_missing, uint32_t on_missing_n,
                   char *error256);
void mg_key_free(mg_key *key);
double mg_key_bytes(const mg_key *key);
/* The key of this request, without text when a part is missing; good until the next read of header, param or
 * query, or of this. NULL, or what is wrong: here is no request. */
const char *mg_call_key(mg_call *call, const mg_key *key, mg_slice *text);
/* A ticket to be ended once, which it is at the end if by nobody else; 0: refused. */
uint64_t mg_call_breaker_ask(mg_call *call, mg_breaker *breaker);
/* What became of a call that a breaker let through. */
typedef enum mg_breaker_outcome {
    MG_BREAKER_OK,
    MG_BREAKER_FAIL,
    MG_BREAKER_TIMEOUT,
    MG_BREAKER_IGNORE /* says nothing about the service: the client left, or nothing reached the network */
} mg_breaker_outcome;
/* As mg_host_breaker_finish; false also for a ticket that has ended. */
bool mg_call_breaker_finish(mg_call *call, mg_breaker *breaker, uint64_t ticket, int outcome,
                            double duration_s);

/* ---- services as an exchange sees them: of the configuration it began with, by name; n 0: its own ---- */

typedef struct mg_service_seen {
    mg_slice name;
    const char *breaker; /* "closed", ..; static; NULL: it has none */
    double retry_s;      /* until the breaker's next probe; 0 unless it is open */
    uint32_t hosts, healthy;
    uint32_t inflight; /* calls of this node, to all hosts */
    bool panic;        /* so few are healthy that all are used */
} mg_service_seen;

typedef struct mg_service_host_seen {
    mg_slice authority; /* "10.0.0.11:9000" */
    mg_slice address;   /* of a name, the one that this host is; else empty */
    const char *health; /* what active checks say: "unknown", "healthy", "unhealthy"; static */
    uint32_t weight, inflight;
    bool healthy, ejected;
    bool usable; /* what balancers go by, panic included */
} mg_service_host_seen;

/* Names for messages: of the configuration's services or limiters, or the groups of the route's backends. */
enum mg_names_of { MG_NAMES_SERVICES, MG_NAMES_LIMITERS, MG_NAMES_GROUPS };
bool mg_call_name_at(const mg_call *call, int what, uint32_t index, mg_slice *name); /* false past the end */
/* Where next sends the request: to the service of that name, or else to the backend of the route of that
 * group. NULL, or what is wrong: static text, or "" where there is none of that name. */
const char *mg_call_choose(mg_call *call, bool group, const char *name, uint32_t n);
/* False when there is none of that name. */
bool mg_call_service(const mg_call *call, const char *name, uint32_t n, mg_service_seen *out);
/* The host at a position from 0; false past the end. */
bool mg_call_service_host(const mg_call *call, const char *name, uint32_t n, uint32_t index,
                          mg_service_host_seen *out);
/* *out is the service's breaker, NULL when it has none. False when no service has that name. */
bool mg_call_service_breaker(const mg_call *call, const char *name, uint32_t n, mg_breaker **out);

/* ---- ctx.http: outgoing requests over the same upstream code, bounded by the exchange's deadline. One is
 * made at a time; answers that are streamed stay open beside it, seven at most ---- */

/* A new request; of an earlier one nothing is left but what was kept. NULL or what is wrong. */
const char *mg_call_http_begin(mg_call *call);
/* A field of it; NULL or what is wrong. */
const char *mg_call_http_header(mg_call *call, const char *name, uint32_t n, const char *value,
                                uint32_t value_n, bool replace);
/* It goes to a service of the configuration; false when there is none of that name. */
bool mg_call_http_service(mg_call *call, const char *name, uint32_t n);
enum mg_http_how {
    MG_HTTP_STREAM = 1,      /* the answer's body is not read ahead */
    MG_HTTP_CLIENTS_BODY = 2 /* the body is the client's own, as it comes; `body` is not looked at */
};
/* Bytes of an answer's body that is read ahead: where the plugin says nothing, and at most. */
enum { MG_HTTP_BODY_BYTES = 1048576, MG_HTTP_BODY_BYTES_MAX = 16777216 };
/* Sets MG_WAIT_HTTP; everything is copied. `url` is a path where there is a service. timeout_s <= 0: what is
 * left of the deadline. NULL or what is wrong. */
const char *mg_call_http_start(mg_call *call, const char *method, uint32_t method_n, const char *url,
                               uint32_t url_n, const char *body, uint32_t body_n, double timeout_s,
                               uint32_t max_body, int how);
/* After the resume: 0 with the reason in mg_call_http_error, or the answer's status. */
int mg_call_http_status(const mg_call *call);
const char *mg_call_http_error(const mg_call *call);
bool mg_call_http_header_at(const mg_call *call, uint32_t index, mg_slice *name, mg_slice *value);
void mg_call_http_body(const mg_call *call, mg_slice *body);
/* An answer that is streamed stays open, under the number that is returned, until it is closed or the chain
 * ends. */
double mg_call_http_keep(mg_call *call);
enum mg_read { MG_READ_PIECE, MG_READ_END, MG_READ_FAILED, MG_READ_WAIT };
/* The next piece of its body, valid until the next read; or why there is none, static; or MG_WAIT_HTTP is
 * set. */
int mg_call_http_read(mg_call *call, double number, mg_slice *piece, const char **error);
void mg_call_http_close(mg_call *call, double number); /* harmless when it is closed */
/* As mg_call_respond, with what was not read of that body as the body, and that answer's fields or none. */
const char *mg_call_http_respond(mg_call *call, int status, double number, bool with_fields);

/* ---- the worker a VM belongs to. What is named is shared by all workers, found by name or made when a VM is
 * built, and lives as long as the gateway. error256: room for 256 bytes of text with NUL, set when NULL is
 * returned ---- */

typedef struct mg_host mg_host;
typedef struct mg_counter mg_counter;

/* `limit` requests each `period_s`; burst 0: the limit; max_keys 0: the default. */
mg_limiter *mg_host_limiter(mg_host *host, const char *name, uint32_t n, double limit, double period_s,
                            double burst, double max_keys, char *error256);
/* Charges `cost` to the key; cost 0 reads. */
void mg_host_limiter_take(mg_host *host, mg_limiter *limiter, const char *key, uint32_t n, uint32_t cost,
                          mg_limit_view *out);
/* The fields of IETF's RateLimit draft for an answer: text is static to the worker until its next call. */
void mg_host_limit_fields(mg_host *host, const char *name, uint32_t n, const mg_limit_view *view,
                          mg_slice *policy, mg_slice *state);

/* A value below 0 is the default. */
typedef struct mg_breaker_spec {
    double failures, open_for_s, open_max_s, backoff, jitter, probes, half_open_max_s, slow_call_s;
} mg_breaker_spec;

mg_breaker *mg_host_breaker(mg_host *host, const char *name, uint32_t n, const mg_breaker_spec *spec,
                            char *error256);
/* A ticket to be ended once, or 0: refused. */
uint64_t mg_host_breaker_ask(mg_host *host, mg_breaker *breaker);
/* False when it came too late to count. */
bool mg_host_breaker_finish(mg_host *host, mg_breaker *breaker, uint64_t ticket, int outcome,
                            double duration_s);
const char *mg_host_breaker_state(mg_host *host, const mg_breaker *breaker); /* "closed", ..; static */
double mg_host_breaker_retry_s(mg_host *host, const mg_breaker *breaker);    /* 0 unless it is open */

mg_counter *mg_host_counter(mg_host *host, const char *name, uint32_t n, char *error256);
void mg_host_counter_add(mg_host *host, mg_counter *counter,
                         double by); /* this worker's cell; whole, 0 or more */
double mg_host_counter_sum(mg_host *host, const mg_counter *counter); /* over all workers */

/* Connections to the endpoints of a service, this worker's pools and what all workers hold open. */
typedef struct mg_pool_view {
    uint32_t idle, active, waiting, open, max_connections;
} mg_pool_view;
/* False when no service has that name. */
bool mg_host_pool_view(mg_host *host, const char *service, uint32_t n, mg_pool_view *out);

/* ---- a router of a plugin's own, with the matcher of the gateway's routes ---- */

typedef struct mg_routes mg_routes;
mg_routes *mg_routes_new(void);
void mg_routes_free(mg_routes *routes);
/* Routes are numbered from 0 in the order of their begin; host, path and method add to the last one. A path
 * that ends in "*" is a prefix. */
void mg_routes_begin(mg_routes *routes, const char *name, uint32_t n);
void mg_routes_host(mg_routes *routes, const char *host, uint32_t n);
void mg_routes_path(mg_routes *routes, const char *path, uint32_t n);
void mg_routes_method(mg_routes *routes, const char *method, uint32_t n);
bool mg_routes_build(mg_routes *routes, char *error256);
double mg_routes_bytes(const mg_routes *routes); /* that it has in memory, once it is built */
/* Status: 200 with *index, 404 or 405. */
int mg_routes_match(mg_routes *routes, const char *host, uint32_t host_n, const char *path, uint32_t path_n,
                    const char *method, uint32_t method_n, uint32_t *index);
/* Of the last match, by position from 0; false past the end. Valid as long as the path that was matched. */
bool mg_routes_param(const mg_routes *routes, uint32_t at, mg_slice *name, mg_slice *value);

/* ---- JSON, strict (RFC 8259), from a text that is read in parts: MG_JSON_DEPTH deep at most, at most 16 MiB and
 * 500,000 values. A reader is the caller's until mg_json_close. It keeps no pointer into the text, which is
 * handed in with each call and must be the same ---- */

enum { MG_JSON_DEPTH = 64 };
typedef struct mg_json mg_json;
enum mg_json_kind {
    MG_JSON_NULL,
    MG_JSON_FALSE,
    MG_JSON_TRUE,
    MG_JSON_NUMBER,
    MG_JSON_STRING,
    MG_JSON_ARRAY,  /* begins; its values follow, then MG_JSON_CLOSED */
    MG_JSON_OBJECT, /* likewise */
    MG_JSON_INT64,  /* beyond +-2^53, where a double is not exact */
    MG_JSON_UINT64, /* beyond int64 */
    MG_JSON_DIGITS, /* beyond 64 bits */
    MG_JSON_CLOSED, /* the innermost array or object ends */
    MG_JSON_PART,   /* a part of the text has been read; the next call goes on */
    MG_JSON_END,    /* the whole text has been read */
    MG_JSON_WRONG   /* it is not JSON: mg_json_problem */
};
/* A part: so many bytes, of which each value counts MG_JSON_VALUE_BYTES more. */
enum { MG_JSON_PART_BYTES = 131072, MG_JSON_VALUE_BYTES = 32 };
typedef struct mg_json_item {
    mg_slice key;    /* in an object; until the next call, as text is */
    mg_slice text;   /* of a string; of a number as it is written */
    double number;   /* of NUMBER */
    int64_t integer; /* of INT64; of UINT64 its bits */
} mg_json_item;
/* An integer of more than 64 bits is not JSON unless any_integer. */
mg_json *mg_json_open(bool any_integer);
void mg_json_close(mg_json *json);
/* Goes on in document order. Returns the kind of what comes next. */
int mg_json_next(mg_json *json, const char *text, uint32_t n, mg_json_item *item);
/* The key of the last item was there before: what mg_json_problem is to say. */
void mg_json_refuse_key(mg_json *json);
/* "line 2, column 3: .." */
void mg_json_problem(mg_json *json, const char *text, uint32_t n, char *error256);
/* The text as a JSON string with its quotes: into out, which has room for 6 n + 2 bytes. Returns the length.
 */
uint32_t mg_json_quote(const char *text, uint32_t n, char *out);

/* ---- bytes as text and back (base/codec.h) ---- */

enum mg_codec { MG_CODEC_BASE64, MG_CODEC_BASE64URL, MG_CODEC_HEX, MG_CODEC_PERCENT };
/* Into out, which has room for 3 n + 4 bytes. Returns the length. Any thread. */
uint32_t mg_encode(int codec, const char *bytes, uint32_t n, char *out);
/* Into out, which has room for n bytes. NULL, with how many it were; or static text that says what is wrong
 * at the byte *at, from 0. Any thread. */
const char *mg_decode(int codec, const char *text, uint32_t n, char *out, uint32_t *length, uint32_t *at);

/* ---- kv: ctx.kv, bytes to bytes in a namespace of the plugin's own (state/kv.h). A space is one handle
 * for one thread; what one handle sets all others see at once. Functions that return text: NULL, or static
 * text that says what is wrong ---- */

typedef struct mg_kv_space mg_kv_space;

/* Made once, when a VM is built; freed by it. NULL when the name (1..64 bytes) is none or there are too many.
 */
mg_kv_space *mg_kv_space_new(mg_host *host, const char *name, uint32_t n);
void mg_kv_space_free(mg_kv_space *space); /* NULL is fine */
/* value->p is NULL when the key is absent or past its time; else the bytes, valid until the next call on this
 * space. */
const char *mg_kv_get(mg_kv_space *space, const char *key, uint32_t n, mg_slice *value);
/* Keys 1..255 bytes, values up to 64 KiB. ttl_s: seconds until it is gone, 0 = it stays. */
const char *mg_kv_set(mg_kv_space *space, const char *key, uint32_t n, const char *value, uint32_t value_n,
                      double ttl_s);
const char *mg_kv_delete(mg_kv_space *space, const char *key, uint32_t n);
/* Adds a whole number to a decimal one, absent counting as 0; |delta| and |*result| up to 2^53. ttl_s is used
 * when the key is made and left alone otherwise, so that a counter's window does not slide. */
const char *mg_kv_incr(mg_kv_space *space, const char *key, uint32_t n, double delta, double ttl_s,
                       double *result);
/* Sets only where the value is `expected`; expected NULL: where there is none. value NULL: deletes. *swapped
 * says whether it did. */
const char *mg_kv_cas(mg_kv_space *space, const char *key, uint32_t n, const char *expected,
                      uint32_t expected_n, const char *value, uint32_t value_n, double ttl_s, bool *swapped);
/* For barrier: a plugin waits with MG_WAIT_BARRIER and asks this when it is resumed. NULL when the last flush
 * was stored (or nothing ever had to be), else why not; what was set is kept in memory and tried again. */
const char *mg_kv_flush_error(const mg_kv_space *space);
double mg_kv_used_bytes(const mg_kv_space *space); /* of the namespace: keys, values and 32 bytes a row */

/* ---- bounds of plugin code (docs/architecture.md 7): checks woven into its source, patterns that count
 * their steps, and the clocks that both are held against ---- */

enum mg_weave_how {
    MG_WEAVE_COUNTER, /* each check counts down a local of the chunk; the chunk's environment has __mg_more */
    MG_WEAVE_CALL     /* each check calls __mg_spend: for source at Lua's limit of locals or upvalues */
};
/* The source of a chunk with a check at each loop, function and label, and with a call (__mg_cat2 to
 * __mg_cat8, of the chunk's environment) for each chain of `..` and __mg_keep around calls of ctx's that are
 * returned; all lines stay where they were. Returns how many bytes that is and writes them when they are not
 * more than `room`; -1 with text ("LINE: what is wrong") in error256: room for 256 bytes. Any thread. */
int32_t mg_weave(const char *source, uint32_t n, int how, char *out, uint32_t room, char *error256);

/* What a Lua state's allocator counts. It never refuses: a refusal would be raised from inside compiled code,
 * which LuaJIT does not survive. So the Lua side looks at `over` where its checks stand, asks mg_memory_fits
 * before it makes something large, lets the collector make steps, and raises when that does not help. */
typedef struct mg_memory {
    int32_t over;  /* 1 while so much has been made that steps of the collector are due */
    int32_t owner; /* set by Lua: index of the plugin that runs, -1 for none; it is counted as the holder */
    const volatile int32_t *given_up; /* not 0: nobody wants the state that is being made; never NULL */
} mg_memory;
/* What a plugin did wrong while it was loaded: its place in the plan, the file and the line of it (0: not known). */
typedef struct mg_fault mg_fault;
void mg_fault_set(mg_fault *fault, uint32_t plugin, const char *file, uint32_t file_n, uint32_t line,
                  const char *message, uint32_t message_n);
/* Whether the plugin that runs may have so many bytes more. The state's thread only, as all of these. */
bool mg_memory_fits(const mg_memory *memory, double bytes);
/* Whether so many bytes more, which do not fit, cannot wait for the collector either. */
bool mg_memory_bursts(const mg_memory *memory, double bytes);
/* Whether the state is known to be full of what plugins keep: collecting helps nobody, and it is replaced. */
bool mg_memory_crowded(const mg_memory *memory);
/* How many steps of the collector, in KiB, are due; begins a cycle where none is under way. */
double mg_memory_due(mg_memory *memory);
/* So many have been made; `ended`: with them the cycle has. */
void mg_memory_stepped(mg_memory *memory, double kib, bool ended);
bool mg_memory_cycling(const mg_memory *memory); /* a cycle is under way */
/* Tells this many plugins apart from now on; what was allocated before is nobody's. */
void mg_memory_tell_apart(mg_memory *memory, uint32_t plugins);
/* What C holds for an object of Lua's counts as well: bytes that it has now, or below 0 those it gave back.
 */
void mg_memory_outside(mg_memory *memory, double bytes);
double mg_memory_held(const mg_memory *memory,
                      uint32_t plugin);        /* bytes that it made and that are not freed */
double mg_memory_cap(const mg_memory *memory); /* bytes */

enum { MG_MATCH_CAPTURES = 32 };
enum mg_match_how {
    MG_MATCH_ANCHORS = 1,     /* a leading ^ holds the match to `from` */
    MG_MATCH_MAYBE_PLAIN = 2, /* a pattern without magic is looked for as it is, as string.find does */
    MG_MATCH_PLAIN = 4
};
enum mg_match_is { MG_MATCH_NONE, MG_MATCH_FOUND, MG_MATCH_TIRED, MG_MATCH_INVALID };
typedef struct mg_match {
    uint32_t steps;      /* in: how many it may take; out: how many are left */
    uint32_t at;         /* TIRED: the place that was being tried; go on from there with more steps */
    uint32_t captures;   /* explicit ones */
    int32_t begin, past; /* of the match, from 0 */
    int32_t start[32];   /* of each capture */
    int32_t length[32];  /* -1: a position; -2: it was never closed */
    const char *problem; /* INVALID: static text */
} mg_match;
/* Looks for a Lua pattern in text from `from` (at most n) on. Any thread. */
int mg_pattern_find(mg_match *m, const char *text, uint32_t n, const char *pattern, uint32_t pattern_n,
                    uint32_t from, int how);

/* A monotonic clock, read now and not once a turn, in seconds. Below 0 where a test moves the time: budgets
 * then count checks. */
double mg_host_fresh_s(const mg_host *host);
/* CPU time of this thread, in seconds. */
double mg_host_cpu_s(const mg_host *host);

/* ffi: end */

/* The hash of the part above, as both sides carry it. Static. */
const char *mg_abi_hash(void);

#endif
