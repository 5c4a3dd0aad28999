/* h1.h - HTTP/1.0 and 1.1 (RFC 9112): bytes in, messages out, without a socket; and back. Strict on both
 * sides: whatever two parsers could read two ways is refused. The one home of http-parser, which tokenises
 * heads and nothing else. Pure: any thread, one at a time on one reader or message. */
#ifndef MG_HTTP_H1_H
#define MG_HTTP_H1_H

#include "http/bounds.h"
#include "http/message.h"

typedef struct mg_h1_limits {
    uint32_t
        head_bytes; /* start line and fields, with the blank line; at most 80 KiB, http-parser's own limit */
    uint32_t target_bytes;    /* above it: 414 */
    uint32_t fields;          /* count, in a head or in trailers */
    uint32_t chunk_ext_bytes; /* of one chunk */
    uint32_t trailer_bytes;
} mg_h1_limits;

/* As wide as the configuration can set them: answers that nobody streams to a client are held to these. */
#define MG_H1_LIMITS_WIDE                                                                                    \
    {                                                                                                        \
        MG_HEAD_BYTES_MAX, MG_HEAD_BYTES_MAX, MG_FIELDS_MAX, 256, MG_HEAD_BYTES_MAX                          \
    }
#define MG_H1_LIMITS_DEFAULT                                                                                 \
    {                                                                                                        \
        16384, 8192, 100, 256, 4096                                                                          \
    }

/* What was wrong. `status` is the answer a client gets (400, 414, 417, 431, 501, 505); a response's fault is
 * always the upstream's and answered with 502. `why` is static text for the log. */
typedef struct mg_h1_fault {
    uint16_t status;
    enum { MG_H1_OVER_NOTHING, MG_H1_OVER_HEAD_BYTES, MG_H1_OVER_FIELDS } over; /* which limit it was */
    const char *why;
} mg_h1_fault;

/* What the connection must know and the message need not. Zeroed: of a peer of HTTP/1.1 that says nothing. */
typedef struct mg_h1_info {
    bool is_1_0;           /* the peer speaks HTTP/1.0: what mg_h1_write_response has to know */
    bool keep_alive;       /* what the peer's version and Connection field allow */
    uint32_t keep_alive_s; /* Keep-Alive: timeout=N, 0 when absent (responses) */
} mg_h1_info;

/* Finds the end of a head: its length with the blank line, or 0 when more bytes are needed. *scanned (start
 * with 0) remembers how far earlier calls looked. A bare LF blank line does not end a head: it is found as a
 * fault when parsed, so "\n\n" and "\n\r\n" also end the scan. */
size_t mg_h1_head_end(const char *bytes, size_t n, size_t *scanned);

/* A head that is not whole yet: false with *fault when no bytes that may follow make a request of it, since
 * it begins as something else does (TLS, another protocol), or its request line is malformed. */
bool mg_h1_may_be_request(const mg_h1_limits *limits, const char *bytes, size_t n, mg_h1_fault *fault);

/* Parses one whole head, which it may change in place (names are lower-cased); the result borrows from it, so
 * `head` lives in the arena. *out is zeroed first. False with *fault. `scheme` is the listener's. Hop-by-hop
 * fields and those that Connection names are gone from out->fields; Host and Content-Length are members. A
 * head that has outgrown limits->head_bytes before its end came may be passed as it stands: the fault is then
 * 414 or 431. */
bool mg_h1_parse_request(mg_arena *arena, const mg_h1_limits *limits, char *head, size_t n, mg_str scheme,
                         mg_request *out, mg_h1_info *info, mg_h1_fault *fault);

typedef enum mg_h1_framing { MG_H1_NO_BODY, MG_H1_LENGTH, MG_H1_CHUNKED, MG_H1_UNTIL_CLOSE } mg_h1_framing;

/* `method` is that of the request it answers; `upgrade` what that request asked for: a 101 that was not asked
 * for, or names another protocol, is a fault. *framing tells how the body is delimited on this connection. */
bool mg_h1_parse_response(mg_arena *arena, const mg_h1_limits *limits, char *head, size_t n, mg_method method,
                          mg_str upgrade, mg_response *out, mg_h1_framing *framing, mg_h1_info *info,
                          mg_h1_fault *fault);

/* A body on its way in. */
typedef struct mg_h1_body {
    const mg_h1_limits *limits; /* borrowed */
    mg_arena *arena;            /* borrowed; for trailers */
    uint64_t left;              /* payload bytes of this chunk or length still to come */
    uint32_t line_bytes;        /* of the current size line or trailer section */
    uint8_t framing, state;
    bool may_pad; /* blanks may stand behind a chunk's size: some upstreams write them. Set it after init */
    mg_fields trailers;   /* complete at MG_H1_END */
    mg_text trailer_text; /* owned until mg_h1_body_fini */
} mg_h1_body;

typedef enum mg_h1_step {
    MG_H1_MORE, /* all of `in` was used; feed more */
    MG_H1_DATA, /* *payload stands at in + *used; consume it with mg_h1_body_take */
    MG_H1_END,  /* the body ended at in + *used; what follows is not its own */
    MG_H1_BAD,
} mg_h1_step;

void mg_h1_body_init(mg_h1_body *body, mg_h1_framing framing, uint64_t length, const mg_h1_limits *limits,
                     mg_arena *arena);
void mg_h1_body_fini(mg_h1_body *body);
/* Reads framing bytes up to the next payload. *used counts them; payload bytes are not consumed until
 * mg_h1_body_take. After MG_H1_DATA call take, then next again at the first byte not taken. A body of no
 * bytes is MG_H1_END at once. */
mg_h1_step mg_h1_body_next(mg_h1_body *body, const char *in, size_t n, size_t *used, mg_str *payload,
                           mg_h1_fault *fault);
void mg_h1_body_take(mg_h1_body *body, size_t n);
/* How many bytes of the body come next and as they are, whatever is in them: of a length all that are left, of
 * one that only the end ends UINT64_MAX, of chunks none. */
uint64_t mg_h1_body_plain(const mg_h1_body *body);
/* The connection ended. True when that is a legal end of this body (until-close), or it had ended already. */
bool mg_h1_body_eof(mg_h1_body *body);

/* Appends a request head in origin-form with Host first; body framing from request->body and ->length;
 * "connection: upgrade" and "upgrade" when `upgrade` is set; "te: trailers"; "expect: 100-continue";
 * "connection: close" unless keep_alive. `host` is the authority to send. */
void mg_h1_write_request(mg_text *out, const mg_request *request, mg_str host, bool keep_alive);

/* Appends a response head for a client that sent `method` with a head of which `client` is told; returns how the
 * body must be delimited (MG_H1_UNTIL_CLOSE only to a 1.0 client, and then keep_alive is ignored). 1xx heads
 * have no framing and no connection field but for 101; a 1.0 client knows none of them, and nothing is
 * written for it. */
mg_h1_framing mg_h1_write_response(mg_text *out, const mg_response *response, mg_method method,
                                   const mg_h1_info *client, bool keep_alive);
/* "1f4\r\n"; the data and "\r\n" follow. At most 18 bytes. */
size_t mg_h1_write_chunk_size(char out[18], uint64_t n);
/* "0\r\n", trailers (may be NULL), "\r\n". */
void mg_h1_write_last_chunk(mg_text *out, const mg_fields *trailers);

#endif
