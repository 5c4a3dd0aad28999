/* problem.h - the gateway's own refusals as problem documents (RFC 9457), and the ids of a request that an
 * operator can look for. The thread of the exchange. */
#ifndef MG_HTTP_PROBLEM_H
#define MG_HTTP_PROBLEM_H

#include "base/json_out.h"
#include "http/exchange.h"

enum { MG_REQUEST_ID_MAX = 128, MG_TRACE_HEX = 32 };
/* The client's or a plugin's x-request-id, else the trace id; in `out`. */
mg_str mg_exchange_request_id(mg_exchange *x, char out[MG_REQUEST_ID_MAX]);
void mg_exchange_trace_hex(const mg_exchange *x, char out[MG_TRACE_HEX]);

typedef struct mg_problem {
    int status;
    mg_str title; /* without bytes (MG_STR_NONE): the status's own text */
    mg_str detail;
    int retry_after_s; /* < 0: no Retry-After */
    const char *type;  /* a URI; NULL: about:blank */
    /* Adds members to the document. NULL: there are none. */
    void (*more)(const void *self, mg_json_out *json);
    const void *self;
} mg_problem;

/* Appends the document. */
void mg_problem_write(const mg_problem *problem, mg_str id, mg_text *out);
/* Answers with a problem document that has the request's id and no internals. What stood in x->response is
 * dropped. */
void mg_problem_send(mg_exchange *x, const mg_problem *problem);
/* One of status, title, detail and retry_after_s. */
void mg_problem_answer(mg_exchange *x, int status, mg_str title, mg_str detail, int retry_after_s);

#endif
