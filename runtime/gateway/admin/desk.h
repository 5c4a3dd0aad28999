/* desk.h - a listener of the gateway's own on the control loop: whole requests in, whole documents out. The
 * status and the admin listener are desks. All functions run on the desk's loop. */
#ifndef MG_GATEWAY_ADMIN_DESK_H
#define MG_GATEWAY_ADMIN_DESK_H

#include "http/gather.h"
#include "net/conn.h"

typedef struct mg_desk mg_desk;

/* One request and what it is to be answered with. Holds until one of mg_ask_* has answered it. */
typedef struct mg_ask {
    mg_exchange *x; /* its request is whole and valid */
    mg_gather body; /* of the request: whole, or empty */
    mg_text out;    /* of the answer: the answering code's to write */
    mg_str allow;   /* of a 405: the methods that there are; borrowed until it is answered */
} mg_ask;

typedef struct mg_desk_conf {
    mg_addr addr;
    mg_log *log;              /* borrowed */
    uint32_t max_connections; /* at once */
    size_t max_body_bytes;    /* of a request; 0: bodies are not read at all */
    /* Answers, at once or later. */
    void (*answer)(void *self, mg_ask *ask);
    void *self; /* borrowed */
} mg_desk_conf;

/* Binds; accepts nothing before start. NULL with err when the address cannot be had. */
mg_desk *mg_desk_open(mg_loop *loop, const mg_desk_conf *conf, mg_error *err);
void mg_desk_start(mg_desk *desk);
/* Cuts what is open. Whoever was to answer later has dropped his asks before. NULL is fine. */
void mg_desk_free(mg_desk *desk);

/* Sends what stands in ask->out. An empty 204 has no type. */
void mg_ask_send(mg_ask *ask, int status, mg_str type);
/* A problem document (RFC 9457). With a report, its findings stand in `errors`. */
void mg_ask_problem(mg_ask *ask, int status, mg_str detail, const mg_report *report);
/* It will not be answered: the desk is about to be freed. */
void mg_ask_drop(mg_ask *ask);

#endif
