/* exchange.h - one request with its response, between three parties that know nothing of each other: the
 * client side (an h1 connection, later an h2 stream), the owner (the pipeline), and the upstream side. All
 * run on one loop.
 *
 * Bodies are pushed: a source offers bytes to its sink, which takes what it has room for; what it does not
 * take stays with the source, which stops reading until the sink calls `resume`. So each direction holds at
 * most one read's worth. */
#ifndef MG_HTTP_EXCHANGE_H
#define MG_HTTP_EXCHANGE_H

#include "base/words.h"
#include "http/edit.h"
#include "http/message.h"

typedef struct mg_exchange mg_exchange;
typedef struct mg_body_source mg_body_source;
typedef struct mg_body_sink mg_body_sink;
typedef struct mg_body_tap mg_body_tap;
struct mg_stream; /* net/stream.h */

/* Why an exchange ended before its last byte. */
#define MG_RESETS(X)                                                                                         \
    X(MG_RESET_NONE, "none")                                                                                 \
    X(MG_RESET_CLIENT_GONE, "client_gone")             /* FIN or RST read: logged as 499 */                  \
    X(MG_RESET_CLIENT_PROTOCOL, "client_protocol")     /* a malformed body */                                \
    X(MG_RESET_CLIENT_TIMEOUT, "client_timeout")       /* a body or a reader that stopped */                 \
    X(MG_RESET_UPSTREAM_CONNECT, "upstream_connect")   /* refused, unreachable, or connect_timeout */        \
    X(MG_RESET_UPSTREAM_RESET, "upstream_reset")       /* closed before its answer was whole */              \
    X(MG_RESET_UPSTREAM_PROTOCOL, "upstream_protocol") /* its bytes were not HTTP */                         \
    X(MG_RESET_UPSTREAM_HEAD,                                                                                \
      "upstream_max_head_bytes")                       /* a head longer than its service's max_head_bytes */ \
    X(MG_RESET_UPSTREAM_FIELDS, "upstream_max_fields") /* more fields than its service's max_fields */       \
    X(MG_RESET_UPSTREAM_TIMEOUT, "upstream_timeout")   /* first byte, between bytes, or tunnel idle */       \
    X(MG_RESET_POOL_FULL, "pool")                      /* queue full or queue_timeout */                     \
    X(MG_RESET_NO_HOST, "no_host")                     /* no endpoint, or its name has no address */         \
    X(MG_RESET_DEADLINE, "deadline")                   /* the exchange's own deadline */                     \
    X(MG_RESET_LOCAL, "local")                         /* a plugin or the gateway gave up */                 \
    X(MG_RESET_SHUTDOWN, "shutdown")
typedef enum mg_reset { MG_RESETS(MG_WORD_ENUM) } mg_reset;

const char *mg_reset_text(mg_reset reason); /* "upstream_connect": docs/policies.md 4, "Answers" */

struct mg_body_sink {
    /* Takes at most n bytes and returns how many. Fewer than n: full; the sink calls source->resume when
     * there is room. */
    size_t (*data)(mg_body_sink *sink, const char *bytes, size_t n);
    /* The body is complete. trailers may be NULL; they are borrowed for the call. */
    void (*end)(mg_body_sink *sink, const mg_fields *trailers);
    /* The source died. Nothing follows. */
    void (*reset)(mg_body_sink *sink, mg_reset reason);
    /* Moves at most n bytes from the socket on which they come to where the sink's go, without their being
     * looked at. Returns how many, 0 at the end of the socket, or one of MG_MOVE_*. NULL: the sink looks at
     * them. The same bytes never come by `data` as well. */
    int64_t (*move)(mg_body_sink *sink, struct mg_stream *from, uint64_t n);
};

/* What a sink says that moved nothing. The first two are those of a stream (net/stream.h). */
enum {
    MG_MOVE_WAIT = -1,  /* the socket has no bytes */
    MG_MOVE_ERROR = -2, /* of the socket that is read */
    MG_MOVE_FULL = -3,  /* the sink has no room: it calls source->resume, as with `data` */
    MG_MOVE_NOT = -4,   /* it takes them by `data` alone, at least now */
};

struct mg_body_source {
    /* There is room, or the first sink has come: offer again. May call the sink before it returns. */
    void (*resume)(mg_body_source *source);
    /* Nobody wants the rest: the protocol drains it within a bound, or closes. The sink is not called again.
     */
    void (*stop)(mg_body_source *source);
};

/* Sees what the taker of a client's body has taken, whoever that is at the moment. It changes nothing and
 * ends nothing: both functions return to the client side, which goes on. */
struct mg_body_tap {
    void (*data)(mg_body_tap *tap, const char *bytes, size_t n);
    void (*end)(mg_body_tap *tap); /* the body is complete; its taker has not heard so yet */
};

/* One direction. The source is set by whoever reads, the sink by whoever takes; a source without a sink does
 * not read. */
typedef struct mg_body {
    mg_body_source *source; /* borrowed; NULL once ended, reset or stopped */
    mg_body_sink *sink;     /* borrowed; NULL until somebody wants the bytes */
    mg_body_tap *tap;       /* borrowed; of a request's body; NULL: nobody wants a copy */
    uint64_t bytes;         /* payload that went past */
    bool ended;
} mg_body;

/* What the client side does for the owner. */
typedef struct mg_client_ops {
    void (*interim)(mg_exchange *x, const mg_response *head);
    /* Sends x->response. Sets x->response_body.sink, to NULL where the response has no body: the exchange's
     * client part is complete with its head then. */
    void (*head)(mg_exchange *x);
    /* Ends it at once, without a further byte: the peer sees a cut message. */
    void (*cut)(mg_exchange *x, mg_reset reason);
} mg_client_ops;

/* What the client side tells the owner. */
typedef struct mg_owner_ops {
    /* The head is complete. The request body has a source if it has bytes. */
    void (*begin)(mg_exchange *x);
    /* What the client sent is not HTTP, in its head (then nothing of x->request is valid, and begin was never
     * called) or in its body. The owner answers with `status`, or cuts when the response head is out. No
     * further request is read from this client. */
    void (*refuse)(mg_exchange *x, uint16_t status, const char *why);
    /* The client left or broke the protocol. The client side is gone: x->client is NULL already. */
    void (*gone)(mg_exchange *x, mg_reset reason);
    /* The response's last byte is with the kernel. The client side is gone: x->client is NULL already. */
    void (*done)(mg_exchange *x);
} mg_owner_ops;

/* Whose answer stands in x->response. */
typedef enum mg_answer {
    MG_ANSWER_NONE,     /* nobody's yet: x->response is empty */
    MG_ANSWER_UPSTREAM, /* an upstream's head; its body comes from x->response_body.source */
    MG_ANSWER_PASSED,   /* a plugin's, whose body comes from x->response_body.source, too: from elsewhere */
    MG_ANSWER_OWN,      /* the gateway's or a plugin's; its body is x->own_body */
} mg_answer;

typedef struct mg_exchange_times {
    uint64_t begin_ns;      /* first byte of the head */
    uint64_t upstream_ns;   /* handed to the upstream side */
    uint64_t body_ns;       /* how long the request's body had been on its way by then */
    uint64_t connected_ns;  /* a connection was there */
    uint64_t first_byte_ns; /* of the upstream's final head */
    uint64_t head_ns;       /* that head, or one of our own, went to the client side */
    uint64_t end_ns;
} mg_exchange_times;

/* When something has to be there. `own_ns` is on the exchange's clock, which stands still while the request's
 * body is on its way; `fixed_ns` is on the loop's, which never does: what a caller has said. 0: none. */
typedef struct mg_time_limit {
    uint64_t own_ns, fixed_ns;
} mg_time_limit;

struct mg_exchange {
    mg_arena arena; /* all that belongs to this exchange */
    mg_request request;
    mg_response response;
    mg_body request_body, response_body;
    const mg_client_ops *client; /* NULL once the client side is gone */
    const mg_owner_ops *owner;
    void *client_self;    /* borrowed: the connection */
    const void *listener; /* borrowed: what the client side's server was given; it outlives the exchange */
    void *owner_self; /* borrowed: what the client side was given for its exchanges; then the owner's own */
    mg_exchange_times times;
    mg_time_limit limit; /* of the response's head; set with the route */
    uint64_t flowed_ns,
        flowing_since_ns; /* how long the request's body was on its way before; and since when */
    bool flowing;         /* it is: mg_exchange_body_flows */
    bool body_is_here;    /* the client has sent all of the request's body */
    uint8_t trace_id[16], span_id[8], trace_flags;
    bool head_sent;   /* the final response head went to the client side */
    mg_answer answer; /* changed by mg_exchange_answer alone */
    bool tunnel;      /* the same: behind its head both sides speak another protocol, raw bytes each way */
    mg_edits edits;   /* of the fields of whatever answer comes: noted before there was one */
    mg_str own_body;  /* of MG_ANSWER_OWN, the whole of it; arena or static */
    bool own_copied;  /* own_body is a piece of the arena, which goes back when another takes its place */
    mg_reset reset;
    bool begun;              /* owner->begin was called: the request is valid */
    bool peer_trusted;       /* that end is a proxy whose X-Forwarded-* and Forwarded may be believed */
    mg_str peer;             /* address of the other end of the client's connection, without port; arena */
    uint32_t dropped_fields; /* of the request: names that are not passed on, in its head or trailers */
    uint64_t bytes_in, bytes_out; /* on the client's wire, bodies and heads */
};

/* False when the answer in x->response comes without a body whatever its head says: to HEAD, a 1xx, 204, 205
 * or 304. */
bool mg_exchange_has_body(const mg_exchange *x);
/* The only way in which the answer of an exchange changes. `head` becomes x->response; it may be x->response
 * itself. NONE takes back the answer of a try, and has no head. UPSTREAM may replace none. PASSED and OWN may
 * replace any; of OWN `body` is all of its body, and the head's body kind and length follow from it, so that
 * no head announces what does not come. Where their head is another one, x->edits are made on it. (On that of
 * an UPSTREAM its owner makes them, once it is the last one.) What a PASSED answer still had to come is
 * stopped. Not once the head was sent. */
void mg_exchange_answer(mg_exchange *x, mg_answer answer, const mg_response *head, mg_str body);
/* OWN with a copy of `body`, which is no part of the answer that it replaces. */
void mg_exchange_answer_copy(mg_exchange *x, const mg_response *head, mg_str body);

/* ---- what may be kept of an exchange ----
 * The bytes that plugins add to its arena have a bound, beside bodies, which have their own. What a message
 * brings with it is bounded where it is read. */

enum { MG_EXCHANGE_ARENA_MAX = 32 << 20 };

/* Whether so many bytes more stay within the bound. */
bool mg_exchange_has_room(const mg_exchange *x, size_t bytes);

/* ---- the exchange's clock ----
 * It runs as the loop's does, and stands still while the request's body is on its way: from the moment its
 * taker (the upstream, or a plugin that wants all of it) asks for it, to its last byte. Who stands still then
 * is found by the client's body_timeout and the upstream's read_timeout. */

/* Harmless when it does already, or does not. */
void mg_exchange_body_flows(mg_exchange *x, uint64_t now_ns);
void mg_exchange_body_rests(mg_exchange *x, uint64_t now_ns);

static inline uint64_t mg_exchange_clock(const mg_exchange *x, uint64_t now_ns)
{
    return (x->flowing ? x->flowing_since_ns : now_ns) - x->flowed_ns;
}

/* UINT64_MAX: there is no limit. */
uint64_t mg_exchange_left_ns(const mg_exchange *x, const mg_time_limit *limit, uint64_t now_ns);
/* The moment on the loop's clock when nothing is left; UINT64_MAX: none, or none that can be told while the
 * exchange's clock stands still. */
uint64_t mg_exchange_due_ns(const mg_exchange *x, const mg_time_limit *limit);

#endif
