/* outgoing.h - a request of a plugin's own: an exchange whose client side is the chain that asks. To a URL it
 * goes by the worker's own connections; to a service it is an errand (gateway/request/errand.h). The answer
 * is read into memory with a bound, taken piece by piece, or passed on. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_OUTGOING_H
#define MG_GATEWAY_REQUEST_OUTGOING_H

#include "gateway/request/errand.h"
#include "gateway/request/relay.h"
#include "http/gather.h"

typedef struct mg_flight mg_flight;
typedef struct mg_outgoing mg_outgoing;

/* What the chain waits for. */
typedef enum mg_outgoing_wait {
    MG_OUTGOING_RESTS, /* for nothing */
    MG_OUTGOING_HEAD,  /* of an answer that is streamed */
    MG_OUTGOING_WHOLE, /* the whole answer */
    MG_OUTGOING_PIECE, /* of its body */
} mg_outgoing_wait;

/* How far the answer is. */
typedef enum mg_outgoing_answer {
    MG_OUTGOING_UNANSWERED,
    MG_OUTGOING_ANSWERED, /* the head is there */
    MG_OUTGOING_COMPLETE, /* the body too */
    MG_OUTGOING_PASSED,   /* the body goes to the client, from where it was */
} mg_outgoing_answer;

/* How far the client's body is, where the request has that. */
typedef enum mg_outgoing_upload {
    MG_OUTGOING_NO_UPLOAD, /* the request's body, if it has one, is in memory */
    MG_OUTGOING_UPLOADS,
    MG_OUTGOING_UPLOADED, /* all of it was sent, or what was wanted of it */
} mg_outgoing_upload;

enum { MG_OUTGOINGS = 8 }; /* of one exchange at once */

/* Those of one exchange; its arena. */
typedef struct mg_outgoings {
    mg_outgoing *items[MG_OUTGOINGS];
} mg_outgoings;

struct mg_outgoing {
    mg_flight *flight;      /* borrowed: that asks */
    mg_exchange *x;         /* owned; NULL: the struct is spare */
    double number;          /* by which Lua knows it, once its answer is streamed */
    mg_errand errand;       /* to a service; .service NULL: to a URL */
    mg_endpoint *endpoint;  /* counted: of a URL */
    mg_lease lease;         /* the same */
    mg_str key, authority;  /* the same: of the account; a part of it: its host and port */
    struct name_wait *wait; /* borrowed: a name being looked up */
    mg_bytes_source bytes;  /* of a request's body in memory */
    mg_str whole;           /* that body, for another try; borrowed */
    mg_relay up, down;      /* the client's body to the other side; that side's to the client */
    mg_gather body;         /* of the answer: all of it */
    mg_body_sink sink;      /* of one that is streamed */
    mg_text piece;          /* owned: the same */
    mg_later later;         /* the coroutine goes on */
    uint64_t timeout_ns;    /* the plugin's own, of each wait; UINT64_MAX: none */
    uint64_t deadline_ns;   /* of this wait, on the loop's clock */
    const char *late;       /* what it is called when that has passed: whose it is */
    const char *error;      /* why there is no answer, or no more of it; static */
    int status;
    mg_outgoing_wait waits;
    bool streams; /* the answer's body is not read ahead */
    mg_outgoing_upload upload;
    mg_outgoing_answer answer; /* changed by one function of outgoing.c */
};

/* One whose x is to be filled in; NULL: there are too many. */
mg_outgoing *mg_outgoing_new(mg_flight *flight);
/* It is not wanted any more, whatever it was at. */
void mg_outgoing_end(mg_outgoing *out);
/* Sends it, or goes on to read; the flight is resumed when what it waits for is there, or has failed. */
void mg_outgoing_run(mg_outgoing *out);
/* The time of its wait is over. */
void mg_outgoing_expire(mg_outgoing *out);
/* A new wait begins: sets deadline_ns and late. */
void mg_outgoing_set_deadline(mg_outgoing *out);
/* The answer's body goes to the client from here on: x->response_body of the flight has a source. */
void mg_outgoing_pass(mg_outgoing *out);

#endif
