/* sim.h - the world of a spec: a clock, a network and loops in memory, seeded, in one thread. An hour takes a
 * millisecond, and the same seed gives the same run. Sockets are pairs of bounded byte queues with the errors
 * of real ones; addresses are plain mg_addr. */
#ifndef MG_SIM_SIM_H
#define MG_SIM_SIM_H

#include "net/loop.h"

typedef struct mg_sim mg_sim;

mg_sim *mg_sim_new(uint64_t seed);
void mg_sim_free(mg_sim *sim);
const mg_clock *mg_sim_clock(mg_sim *sim);
/* A loop of this world. Several may exist (one an actor): ready ones take turns in seeded order. */
mg_loop *mg_sim_loop_new(mg_sim *sim);
/* The loop does not turn, as a thread that waits for its disk does not, until it is let go. */
void mg_sim_hold(mg_loop *loop, bool held);
/* Runs everything that is ready at this moment, until nothing is. Returns turns taken; ends the process past
 * a million (a loop that spins). */
unsigned mg_sim_settle(mg_sim *sim);
/* Settles, then moves the clock from timer to timer, settling at each, until `ns` have passed. */
void mg_sim_advance(mg_sim *sim, uint64_t ns);
/* Moves the clock to the next timer that is due by `end_ns` of the monotonic clock; false: there is none. Settle before
 * and behind it. */
bool mg_sim_step(mg_sim *sim, uint64_t end_ns);
void mg_sim_step_wall(mg_sim *sim, int64_t ns); /* the wall clock steps; the monotonic one does not */
/* Bytes a socket's queue holds before EAGAIN; default 64 KiB. */
void mg_sim_set_buffer(mg_sim *sim, size_t bytes);
/* Connects to this address end so: accepted (default 0), ECONNREFUSED where nobody listens, or with `errnum`
 * ETIMEDOUT: never answered. */
void mg_sim_set_connect(mg_sim *sim, const mg_addr *addr, int errnum);
/* Reads and writes move at most a random 1..max bytes; 0, the default: as many as fit. */
void mg_sim_set_chunk(mg_sim *sim, size_t max_bytes);
/* Descriptors before EMFILE, all loops together; 0, the default: no bound. */
void mg_sim_set_descriptors(mg_sim *sim, size_t max);
/* Where connects come from after this (its port is ignored); default loopback. */
void mg_sim_set_source(mg_sim *sim, const mg_addr *addr);
/* What a name resolves to, in lower case; copied. None: the name does not exist (again). */
void mg_sim_set_name(mg_sim *sim, const char *name, const mg_addr *addrs, unsigned count, uint32_t ttl_s);
size_t mg_sim_open_sockets(const mg_sim *sim);
size_t mg_sim_live_timers(const mg_sim *sim);

#endif
