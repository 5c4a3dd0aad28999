/* publication.h - a configuration on its way to the workers: read, checked, built and tried whole aside, then
 * adopted, or dropped without a trace. The control loop has it, or the builder's thread, never both. */
#ifndef MG_GATEWAY_PUBLICATION_H
#define MG_GATEWAY_PUBLICATION_H

#include "gateway/control.h"

/* What is done to it next. */
typedef enum mg_publication_stage {
    MG_PUBLICATION_READ,    /* by the builder, as the next two */
    MG_PUBLICATION_COMPILE, /* check and build the snapshot */
    MG_PUBLICATION_STATES,  /* a Lua state for each worker, one a step */
    MG_PUBLICATION_TRY,     /* by control, as the rest: open its doors */
    MG_PUBLICATION_NAMES,   /* wait for the names of its services */
    MG_PUBLICATION_SENT,    /* adopted: workers acknowledge it */
    MG_PUBLICATION_REFUSED, /* nothing is left of it but its report */
} mg_publication_stage;

/* Who gets the answer. */
typedef struct mg_publication_asker {
    void (*done)(void *self, const mg_published *published);
    void *self;
} mg_publication_asker;

typedef struct mg_publication {
    mg_list link;       /* in the queue */
    mg_message message; /* to the builder and back */
    mg_gateway *gateway;
    mg_config *(*read)(void *source, mg_report *report);
    void *source;
    mg_publication_asker *askers; /* owned */
    size_t asker_count;
    mg_publication_stage stage;
    bool away;                /* the builder has it */
    _Atomic int32_t given_up; /* not 0: the builder need not go on; any thread */
    mg_report report;
    uint64_t revision;
    mg_snapshot *before;       /* counted: in force while it is built; NULL: it is the first */
    mg_config *config;         /* owned, until it is compiled */
    mg_snapshot *snapshot;     /* counted */
    mg_worker_change *changes; /* owned: one a worker */
    unsigned states;           /* how many are made */
    mg_timer patience;         /* for names that do not resolve */
    unsigned names_waiting, acks;
} mg_publication;

mg_publication *mg_publication_new(mg_gateway *gateway);
/* One step of the builder's, on its thread. False when there is no further one: control tries it, or it is
 * refused. */
bool mg_publication_step(mg_publication *publication);
/* Gates and listeners that are new. Behind it nothing is found wrong with the document, which is forgotten. False
 * with a finding in its report. */
bool mg_publication_open_doors(mg_publication *publication);
/* What it shares with others is its own from now on: nothing refuses it any more. */
void mg_publication_adopt(mg_publication *publication);
/* Closes what it has opened, on control's loop: the builder takes the rest of it apart. */
void mg_publication_close_doors(mg_publication *publication);
/* One that was adopted or refused, or has not begun. */
void mg_publication_free(mg_publication *publication);

#endif
