/* balancer_parts.h - a balancer from inside: what balancer.c shares with the two choices
 * (balancer_choice.c). Nobody else includes this. The worker's own loop. */
#ifndef MG_POLICY_BALANCER_PARTS_H
#define MG_POLICY_BALANCER_PARTS_H

#include "policy/balancer.h"

#include <stdatomic.h>

/* One number; sets of endpoints that follow each other share it. */
typedef struct inflight_cell {
    _Alignas(64) _Atomic uint32_t now;
    _Atomic uint32_t refs;
} inflight_cell;

struct mg_inflight {
    _Atomic uint32_t refs;
    size_t count;
    inflight_cell *total;  /* counted; those of endpoints that have gone included */
    inflight_cell *each[]; /* counted */
};

typedef struct balancer_host {
    int64_t current; /* round robin: how much it is due */
    uint32_t weight; /* as configured */
    uint32_t live;   /* the scaled weight while usable, less while it starts; else 0 */
    bool usable, returning;
    uint32_t failures; /* observed since the last answer that was good */
    uint64_t trial_ns; /* while there are any: the next pick from then on asks it again */
    uint64_t since_ns; /* 0 = warm */
    double share;      /* of its weight, while it starts; else 1 */
    mg_ewma latency;
} balancer_host;

struct mg_balancer {
    mg_balancer_conf conf; /* its weights are not kept */
    balancer_host *all;    /* owned */
    uint16_t *open;        /* owned: who may be picked, in order */
    uint16_t *untried;     /* owned: scratch */
    size_t open_count;
    size_t starting;       /* endpoints on their ramp */
    size_t failing;        /* endpoints whose last answer was a failure */
    uint64_t trial_ns;     /* while there are any: before it none of them is asked again */
    uint64_t refreshed_ns; /* when ramps and the median were; 0: they have to be */
    bool stale;            /* somebody has come to go by the median since */
    double median_ms;      /* stands in for a latency nobody has seen yet */
};

/* One of `among`, of whom there is one at least: by load, or by latency and load. */
int mg_balancer_of_two(mg_balancer *b, const uint16_t *among, size_t count, uint64_t now_ns);
/* Has the median that the picks go by looked at again. */
void mg_balancer_refresh_median(mg_balancer *b, uint64_t now_ns);
/* Drops what is known of the endpoint's latency: it was away. */
void mg_balancer_forget(mg_balancer *b, balancer_host *e);

#endif
