/* sim_parts.h - the world from inside; for the files of this folder. One thread, that of the world. */
#ifndef MG_SIM_SIM_PARTS_H
#define MG_SIM_SIM_PARTS_H

#include "base/map.h"
#include "net/loop_parts.h"
#include "net/resolver.h"
#include "sim/sim.h"

/* What a turn may have to do for a loop: a socket's event, a mailbox. Waits in the loop's `ready` list. */
typedef struct sim_source sim_source;
struct sim_source {
    mg_list link;
    unsigned what; /* what this turn found */
    bool again;    /* raised since */
    unsigned (*poll)(sim_source *source);
    void (*fire)(sim_source *source); /* may free the source */
};

typedef struct sim_loop {
    mg_loop loop; /* first */
    mg_sim *sim;  /* borrowed */
    mg_list link; /* in sim->loops */
    mg_list ready;
    uint64_t armed_ns;
    size_t watches;
    bool stopped, held;
} sim_loop;

/* When its timers want it next. */
static inline uint64_t mg_sim_loop_armed(const sim_loop *loop)
{
    return loop->held ? UINT64_MAX : loop->armed_ns;
}

typedef enum sim_state { SIM_LISTENING, SIM_CONNECTING, SIM_OPEN } sim_state;

typedef struct sim_bytes {
    char *p; /* owned */
    size_t start, n, cap;
} sim_bytes;

typedef struct sim_socket sim_socket;
struct sim_socket {
    sim_source source;
    mg_sim *sim; /* borrowed */
    int fd;      /* -1 while nobody has accepted it */
    sim_state state;
    mg_addr local, remote;
    mg_watch *watch; /* borrowed; NULL = nobody looks */
    bool level;      /* the watch is a listener's */

    sim_socket *peer; /* NULL: the other end is closed, or was never there */
    sim_bytes in;
    bool fin_in, fin_out;
    bool dead;       /* an RST came */
    int error;       /* told once, by whichever call is first */
    bool want_space; /* a send did not take all */

    mg_list link;    /* in sim->listeners, sim->wire, or a listener's `waiting` or `queue` */
    mg_list queue;   /* a listener's: connected, not yet accepted */
    mg_list waiting; /* clients that found the queue full */
    int queued, backlog;
    bool reuse_port;
};

typedef struct sim_rule { /* how connects to an address end */
    mg_list link;
    mg_addr addr;
    int error;
} sim_rule;

struct mg_sim {
    mg_clock clock; /* first */
    uint64_t mono_ns;
    int64_t wall_offset_ns;
    uint64_t seed;
    mg_rand rand;
    mg_list loops, listeners, rules;
    mg_list wire;  /* connects on their way */
    mg_map *names; /* to mg_resolved, owned */
    sim_socket *
        *sockets; /* by fd; descriptors are never used twice, so that one used after its end is noticed */
    size_t fds, fds_cap, open;
    size_t max_open;      /* 0 = no bound */
    size_t buffer, chunk; /* bytes */
    mg_addr source;       /* where connects come from; n = 0: loopback */
    uint16_t next_port;
    bool settling;
};

extern const mg_loop_ops mg_sim_ops;

/* One turn of a random ready loop, or one connect arriving; false when nothing is ready. */
bool mg_sim_turn(mg_sim *sim);

void mg_sim_loop_turn(sim_loop *loop);
bool mg_sim_loop_ready(const sim_loop *loop);
void mg_sim_source_raise(sim_loop *loop, sim_source *source);
sim_loop *mg_sim_loop_of(mg_loop *loop);

/* The network's part of mg_loop_ops. */
void mg_sim_watch_start(mg_loop *loop, mg_watch *watch, bool listener);
void mg_sim_watch_stop(mg_loop *loop, mg_watch *watch);
int mg_sim_listen(mg_loop *loop, const mg_addr *addr, int backlog, bool reuse_port);
int mg_sim_accept(mg_loop *loop, int fd, mg_addr *peer);
int mg_sim_connect(mg_loop *loop, const mg_addr *addr);
int mg_sim_connect_error(mg_loop *loop, int fd);
ssize_t mg_sim_recv(mg_loop *loop, int fd, void *bytes, size_t n);
ssize_t mg_sim_peek(mg_loop *loop, int fd, void *bytes, size_t n);
ssize_t mg_sim_send(mg_loop *loop, int fd, const struct iovec *parts, int count);
void mg_sim_shutdown_write(mg_loop *loop, int fd);
void mg_sim_close(mg_loop *loop, int fd, bool reset);
bool mg_sim_local_addr(mg_loop *loop, int fd, mg_addr *addr);
/* The oldest connect of the wire arrives. */
void mg_sim_arrive(mg_sim *sim);
void mg_sim_socket_free(sim_socket *socket); /* memory only */
mg_result mg_sim_resolve(mg_loop *loop, mg_str name, mg_resolved *answer);

/* sim_pipe.c: two ends of a connection. */
unsigned mg_sim_readiness(const sim_socket *socket);
void mg_sim_raise(sim_socket *socket);
void mg_sim_end_pair(sim_socket *socket, bool reset); /* tells the peer, leaves it alone in the world */
void mg_sim_reset(sim_socket *socket, int error);
sim_socket *mg_sim_socket(mg_loop *loop, int fd);

#endif
