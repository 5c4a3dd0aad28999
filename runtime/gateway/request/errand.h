/* errand.h - one exchange to a service, whoever wants it: permits of the service, a host, a breaker, a try,
 * and perhaps another one (docs/policies.md 1, 5-8). The upstream side of a request is one, and so is a
 * request that a plugin sends to a service. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_ERRAND_H
#define MG_GATEWAY_REQUEST_ERRAND_H

#include "gateway/observe/refusal.h"
#include "gateway/worker.h"
#include "net/upstream.h"

enum { MG_TRIES_MAX = 6 }; /* the most that retry.attempts can be */

typedef struct mg_errand mg_errand;

/* Whose time it was that ran out. */
typedef enum mg_errand_late {
    MG_ERRAND_IN_TIME,
    MG_ERRAND_LATE_BEFORE, /* too little was left for a try, or another one */
    MG_ERRAND_LATE_CLIENT, /* the client was still sending */
    MG_ERRAND_LATE_UPSTREAM,
} mg_errand_late;

typedef struct mg_errand_ops {
    /* Chooses the host of balancers that go by a key; borrowed as long as the call. */
    mg_str (*key)(const mg_errand *errand);
    /* The next try goes to this host of errand->runtime. May be NULL. */
    void (*trying)(mg_errand *errand, size_t host);
    /* As a lease's, for the body of the request. */
    void (*sending)(mg_errand *errand);
    /* Every byte of that body that was sent can be sent again; then, from its first byte; then, it need not.
     */
    bool (*held)(const mg_errand *errand);
    void (*rewind)(mg_errand *errand);
    void (*let_go)(mg_errand *errand);
    void (*interim)(mg_errand *errand, const mg_response *head);
    /* The answer's head stands in x->response, and there is no other try. */
    void (*head)(mg_errand *errand);
    /* There will be none, but the row is to be told. Nothing is held any more, and the errand may be gone when
     * this returns. */
    void (*refused)(mg_errand *errand, const mg_refusal_row *row, mg_errand_late late);
    /* The answer has come whole, or was cut: x->reset says so, if the owner's sink has set it. */
    void (*over)(mg_errand *errand);
} mg_errand_ops;

/* The caller's memory, zeroed before the start but for what the first group says. */
struct mg_errand {
    mg_exchange *x;                     /* borrowed */
    mg_worker *worker;                  /* borrowed */
    mg_view *view;                      /* borrowed: its owner keeps the view that it began with */
    const mg_snapshot_service *service; /* borrowed: snapshot */
    const mg_errand_ops *ops;
    const mg_deadline_conf *deadline; /* borrowed: snapshot; with x->limit: how long there is */
    mg_circuit **circuits;            /* borrowed: snapshot; of the route it is for; NULL: the service's */
    bool may_wait_on; /* nobody may leave meanwhile: tried again without a client. A plugin's own */
    bool is_retry;    /* it is another try of a caller's already */

    mg_view_service *runtime; /* counted: the hosts it has to choose from; NULL before it asks */
    mg_lease lease;
    mg_timer again;            /* the next try, after its backoff */
    const mg_circuit *circuit; /* of the ticket */
    uint64_t ticket;           /* of the breaker; 0: none to end */
    mg_adaptive *adaptive;     /* holds a place of it; NULL: none */
    mg_service_name *holds;    /* counts in its `concurrent`; NULL: does not */
    uint64_t first_ns;         /* exchange's clock: when the service was first asked for, whoever refused */
    uint64_t began_ns;         /* exchange's clock: this try */
    uint64_t rtt_ns;           /* what the adaptive limit is to learn; 0: nothing */
    int tried[MG_TRIES_MAX];   /* by try, the host that it came to */
    int first_host;            /* of this try */
    uint8_t count;             /* of tries */
    bool cut_short;            /* this try has less time than the exchange: per_try_timeout */
    bool counted; /* a try is under way: the balancer has begun a call, and no outcome was counted */
    bool taken;   /* the throttle has counted this request as accepted */
};

/* Asks the service. Once. `head` or `refused` comes, perhaps before this returns. */
void mg_errand_start(mg_errand *errand);
/* No more of it: what its answer still has is not wanted, what was held is given back, and `outcome` is
 * counted where no other was. The hosts stay, for messages. Harmless when there is nothing. */
void mg_errand_stop(mg_errand *errand, mg_upstream_outcome outcome);
/* The errand and its exchange are over. Harmless when it never began. */
void mg_errand_fini(mg_errand *errand);
/* The state of the breaker that was asked; NULL: none was. */
const char *mg_errand_breaker(const mg_errand *errand);
/* The host of the last try in errand->runtime, or -1. */
int mg_errand_host(const mg_errand *errand);
/* On the exchange's clock, by which a call is judged: what a request's body takes on its way is nobody's
 * latency. */
uint64_t mg_errand_clock(const mg_errand *errand);

#endif
