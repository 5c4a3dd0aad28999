/* pause.h - chains in the middle of long work, such as reading a large text: each goes on in a turn of the
 * loop of its own, so that a turn has one part of such work, however many chains do some. */
#ifndef MG_GATEWAY_REQUEST_PAUSE_H
#define MG_GATEWAY_REQUEST_PAUSE_H

#include "base/list.h"

#include <stdint.h>

typedef struct mg_flight mg_flight;
typedef struct mg_worker mg_worker;

/* Of pause.c. */
typedef struct mg_pause {
    mg_list link;      /* among the worker's, in the middle of long work */
    uint64_t until_ns; /* when the plugin's own timeout ends that; 0: it does none */
    uint32_t plugin;   /* whose it is */
} mg_pause;

void mg_pause_init(mg_worker *worker);
/* Resumes the flight when its turn has come; those that came before go first. */
void mg_pause_add(mg_flight *flight);
/* When a plugin's timeout ends the wait that begins now: pauses that follow one another are one wait. */
uint64_t mg_pause_due(mg_flight *flight, uint64_t timeout_ns);
void mg_pause_over(mg_flight *flight); /* the wait of its call is over, whatever it was for */

#endif
