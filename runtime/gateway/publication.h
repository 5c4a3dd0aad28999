/* publication.h - a configuration on its way to the workers: built and tried whole aside, then adopted, or
 * dropped without a trace. On the control loop. */
#ifndef MG_GATEWAY_PUBLICATION_H
#define MG_GATEWAY_PUBLICATION_H

#include "gateway/control.h"

/* One way from a configuration to the workers. */
typedef struct mg_publication {
    mg_gateway *gateway;
    mg_snapshot *snapshot;     /* counted */
    mg_worker_change *changes; /* owned: one a worker */
    mg_timer patience;         /* for names that do not resolve */
    unsigned names_waiting, acks;
    bool sent;
} mg_publication;

/* Takes the config. NULL with a report: nothing has changed. */
mg_publication *mg_publication_build(mg_gateway *gateway, mg_config *config, mg_report *report);
/* What it shares with others is its own from now on: nothing refuses it any more. */
void mg_publication_adopt(mg_publication *publication);
/* One that was not adopted: it leaves no trace. */
void mg_publication_drop(mg_publication *publication);
/* One that was. */
void mg_publication_free(mg_publication *publication);

#endif
