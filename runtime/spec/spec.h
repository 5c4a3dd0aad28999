/* spec.h - the world of a spec, for Lua: a simulated clock and network, gateways in them, and both their ends as plain
 * sockets. One thread. The part between the ffi marks is an ABI of its own, made like that of moongate.h: only the Lua
 * state that runs specs has it, plugins never.
 *
 * Nothing waits. What a socket says arrives when the world is settled; time moves when the spec says so. Addresses are
 * text: "10.0.0.1:80", "[::1]:80", "unix:/path". Text that is handed out is the world's, good until the next call. */
#ifndef MG_SPEC_SPEC_H
#define MG_SPEC_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ffi: begin */

typedef struct mg_spec mg_spec;
typedef struct mg_spec_node mg_spec_node;

typedef struct mg_spec_text {
    const char *p;
    uint32_t n;
} mg_spec_text;

/* ---- the world ---- */

mg_spec *mg_spec_new(double seed);
/* Every node is closed. */
void mg_spec_free(mg_spec *spec);
/* Why the last call failed. */
const char *mg_spec_problem(const mg_spec *spec);
/* Milliseconds since the world began, and of the Unix epoch. */
double mg_spec_now_ms(const mg_spec *spec);
double mg_spec_wall_ms(const mg_spec *spec);
/* Runs all that is ready at this moment. */
void mg_spec_settle(mg_spec *spec);
/* Lets time pass until a socket of the spec has something to tell: true; or until `end_ms`. */
bool mg_spec_run(mg_spec *spec, double end_ms);
void mg_spec_step_wall(mg_spec *spec, double ms);
/* What a name resolves to: addresses without ports, with commas between them; "": it does not exist. */
bool mg_spec_set_name(mg_spec *spec, const char *name, const char *addresses, double ttl_s);
/* How connections to an address end: "accept", "refuse", or "ignore" (never answered). */
bool mg_spec_set_connect(mg_spec *spec, const char *address, const char *how);
/* Sockets move at most a random 1..n bytes at once; 0: as many as fit. */
void mg_spec_set_chunk(mg_spec *spec, double bytes);
/* Open ones, of the spec and of gateways; timers of gateways. */
uint32_t mg_spec_sockets(const mg_spec *spec);
uint32_t mg_spec_timers(const mg_spec *spec);

/* ---- sockets of the spec: a number, or -1 with a problem ---- */

int mg_spec_listen(mg_spec *spec, const char *address);
int mg_spec_connect(mg_spec *spec, const char *address, const char *from);
/* The next connection; -1: there is none. */
int mg_spec_accept(mg_spec *spec, int listener);
/* Bytes taken, perhaps 0; -1: the other end is gone. */
int mg_spec_send(mg_spec *spec, int socket, const char *bytes, uint32_t n);
enum mg_spec_heard { MG_SPEC_BYTES, MG_SPEC_NOTHING, MG_SPEC_END, MG_SPEC_RESET };
int mg_spec_receive(mg_spec *spec, int socket, mg_spec_text *bytes);
void mg_spec_shutdown(mg_spec *spec, int socket);
void mg_spec_close(mg_spec *spec, int socket, bool reset);

/* ---- a gateway ---- */

typedef struct mg_spec_conf {
    const char *file;       /* names the document; its folder is what relative paths start from */
    const char *text;       /* the document; NULL: the file is read */
    const char *const *set; /* "services.cart.endpoints=[..]" */
    uint32_t set_count;
    uint32_t workers;
    double seed;
    const char *access_log; /* a file that gets it */
    const char *boot_id;    /* of the machine: another one after it was started again */
} mg_spec_conf;

/* Loads, builds, starts and settles. NULL: the problem is the report. `conf` is copied. */
mg_spec_node *mg_spec_node_open(mg_spec *spec, const mg_spec_conf *conf);
typedef enum mg_spec_outcome { MG_SPEC_UNDER_WAY, MG_SPEC_TAKEN, MG_SPEC_REFUSED } mg_spec_outcome;
/* Reads its document again, or another one. */
void mg_spec_node_reload(mg_spec_node *node, const char *text);
/* What came of it, and what was found. */
int mg_spec_node_outcome(mg_spec_node *node, mg_spec_text *report);
/* It drains; settle, and step on, until it has stopped. */
void mg_spec_node_drain(mg_spec_node *node);
bool mg_spec_node_stopped(const mg_spec_node *node);
/* Ends it at once, and writes what was not stored yet. */
void mg_spec_node_close(mg_spec_node *node);
/* Where a listener is bound. */
bool mg_spec_node_address(mg_spec_node *node, const char *listener, mg_spec_text *address);
/* All that its log has said. */
void mg_spec_node_log(const mg_spec_node *node, mg_spec_text *lines);
/* What has not ended, a line each: exchanges, tasks of plugins. Settle first. */
void mg_spec_node_left(mg_spec_node *node, mg_spec_text *lines);

/* ffi: end */

#endif
