/* message.h - the heads of a request and its response, neutral to the version of HTTP that carried them. What
 * frames a message or belongs to one connection (Connection, Transfer-Encoding, Content-Length, Upgrade,
 * Host, ..) is a member here and never a field. Pure: any thread, one at a time on one message. */
#ifndef MG_HTTP_MESSAGE_H
#define MG_HTTP_MESSAGE_H

#include "http/header.h"

typedef enum mg_method {
    MG_METHOD_OTHER, /* any token but those below */
    MG_METHOD_GET,
    MG_METHOD_HEAD,
    MG_METHOD_POST,
    MG_METHOD_PUT,
    MG_METHOD_DELETE,
    MG_METHOD_CONNECT,
    MG_METHOD_OPTIONS,
    MG_METHOD_TRACE,
    MG_METHOD_PATCH,
    MG_METHOD_COUNT
} mg_method;

mg_method mg_method_find(mg_str text); /* case-sensitive, RFC 9110 9.1 */
mg_str mg_method_text(mg_method method);
/* RFC 9110 9.2.2 */
bool mg_method_is_idempotent(mg_method method);

typedef enum mg_body_kind {
    MG_BODY_NONE,
    MG_BODY_LENGTH, /* `length` bytes */
    MG_BODY_STREAM, /* until its source ends it; may have trailers */
    MG_BODY_TUNNEL, /* bytes behind a 101: no end but the connection's */
} mg_body_kind;

typedef struct mg_request {
    mg_str method_text;
    mg_str scheme;    /* "http" or "https" */
    mg_str authority; /* as sent: host[:port]; empty for HTTP/1.0 without Host */
    mg_str host;      /* lower-case, without port or trailing dot */
    mg_str target;    /* as received, for the log */
    mg_str path;      /* normalised: what is matched, what plugins see, what the upstream receives */
    mg_str slashed;   /* the path with every slash that was sent; {NULL, 0} when that is the path itself */
    mg_str query;     /* behind the "?", normalised; {NULL, 0} without one */
    mg_str sent_path, sent_query; /* both as the client sent them; sent_path is {NULL, 0} for "*" */
    mg_str upgrade;               /* the protocol asked for, else {NULL, 0} */
    mg_fields fields;
    uint64_t length; /* of an MG_BODY_LENGTH body */
    mg_method method;
    mg_body_kind body;
    uint8_t minor; /* HTTP/1.minor, of one that came: its readers alone ask for it */
    bool expect_continue;
    bool te_trailers; /* TE: trailers was sent */
    bool as_sent;     /* the upstream gets sent_path and sent_query instead of the normal forms */
} mg_request;

typedef struct mg_response {
    mg_fields fields;
    mg_str upgrade; /* of a 101 */
    uint64_t length;
    uint16_t status;
    mg_body_kind body;
    bool has_length; /* `length` was declared though there is no body (HEAD, 304) */
} mg_response;

/* "HTTP/1.1", as it was sent. */
mg_str mg_request_protocol(const mg_request *request);

/* 1xx: another head follows. Behind a 101 another protocol begins instead. */
static inline bool mg_status_is_interim(uint16_t status)
{
    return status < 200 && status != 101;
}

static inline bool mg_status_opens_tunnel(uint16_t status)
{
    return status == 101;
}

/* False for the final statuses whose answers never have a body: 204, 205, 304. */
bool mg_status_has_body(uint16_t status);
mg_str mg_status_text(uint16_t status); /* "Not Found"; empty for an unknown one */

#endif
