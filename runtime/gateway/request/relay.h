/* relay.h - the body of one exchange as that of another: bytes go on as there is room for them, and what is
 * not taken stays with its source. Both exchanges are of one loop. */
#ifndef MG_GATEWAY_REQUEST_RELAY_H
#define MG_GATEWAY_REQUEST_RELAY_H

#include "http/exchange.h"

typedef struct mg_relay mg_relay;

/* The caller's memory, as long as both bodies. */
struct mg_relay {
    mg_body_sink sink;     /* of `from` */
    mg_body_source source; /* of `to` */
    mg_body *from;         /* borrowed */
    mg_exchange *x;        /* borrowed: whose body `to` is; it hears why the other was cut */
    mg_body *to;           /* borrowed */
    /* The body is through, or was cut, or nobody wants the rest: nothing goes on any more. May be NULL. */
    void (*over)(mg_relay *relay);
};

/* `from` has a source and no sink. `to` gets a source; whoever takes its bytes resumes that. */
void mg_relay_start(mg_relay *relay, mg_body *from, mg_exchange *x, mg_body *to);
/* One of the two goes: neither hears of the other any more, and `over` is not called. Harmless when it never
 * started. */
void mg_relay_cut(mg_relay *relay);

#endif
