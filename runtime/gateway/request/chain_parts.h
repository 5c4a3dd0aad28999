/* chain_parts.h - what chain.c, chain_body.c and chain_clock.c share of a flight's handler chain. Private to
 * them. The worker's own loop. */
#ifndef MG_GATEWAY_REQUEST_CHAIN_PARTS_H
#define MG_GATEWAY_REQUEST_CHAIN_PARTS_H

#include "gateway/request/flight.h"

/* ---- chain.c ---- */

/* What mg_chain_take_body has taken is whole: the chain goes on. */
void mg_chain_body_is_there(mg_flight *flight);

/* ---- chain_body.c: bodies in memory ---- */

/* Takes the whole body of MG_REQUEST or MG_RESPONSE into the call's buffer. */
void mg_chain_take_body(mg_flight *flight, int which);
/* Nobody takes it into memory any more. Harmless when nobody does. */
void mg_chain_drop_body(mg_flight *flight);
/* The one that is taken is larger than its plugin takes. */
bool mg_chain_body_is_large(const mg_flight *flight);
/* Answers 413, or 502 for the upstream's. */
void mg_chain_refuse_large(mg_flight *flight);
/* A plugin's own timeout may have ended its wait for a body: what it had taken, and the rest, goes on whole.
 * True while the rest is still to come. */
bool mg_chain_lacks_rest(mg_flight *flight, int which);

/* A body that it took was cut: the client gets a 502, and the log the word of the reset. */
void mg_chain_refuse_cut(mg_flight *flight, mg_reset reason);

/* ---- chain_clock.c: how long plugins may wait, and what they may compute over all waits ---- */

/* The rest of a request body is waited for, which a plugin did not wait for. */
bool mg_chain_takes_rest(const mg_flight *flight);
/* When a wait of the chain is the last, on the loop's clock; UINT64_MAX: nobody can tell. */
uint64_t mg_chain_until(const mg_flight *flight);
/* The response's head is there: from now on its plugins hold it. */
void mg_chain_hold(mg_flight *flight);
/* A body is on its way into memory: until the chain is resumed. Nothing where no response is held. */
void mg_chain_hold_rests(mg_flight *flight);
/* The handlers are through. */
void mg_chain_hold_ends(mg_flight *flight);
/* Sets the timer of a wait: for the last moment; for the plugin's own timeout, where that comes before what
 * the timer is set to. */
void mg_chain_bound_wait(mg_flight *flight);
void mg_chain_bound_by_plugin(mg_flight *flight);
/* Whose time it was that passed in a wait, as the log has it behind the plugin's line. */
const char *mg_chain_why_late(const mg_flight *flight);
/* Resumes the coroutine, and counts what it computes where it comes from a wait of its own. */
mg_task_state mg_chain_resume(mg_flight *flight, mg_task_error *error);

#endif
