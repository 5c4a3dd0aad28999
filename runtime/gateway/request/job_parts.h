/* job_parts.h - what job.c and job_turns.c share. Private to them. The worker's own loop. */
#ifndef MG_GATEWAY_REQUEST_JOB_PARTS_H
#define MG_GATEWAY_REQUEST_JOB_PARTS_H

#include "gateway/request/job.h"
#include "gateway/request/limits.h"

/* Where a function that was given to mg.every stands. */
typedef enum mg_ticker_state {
    MG_TICKER_WAITS,     /* for its first run */
    MG_TICKER_TICKS,     /* runs, or waits for the next run */
    MG_TICKER_LAST_DUE,  /* its state is retired: the run that begins next is the last */
    MG_TICKER_LAST_RUNS, /* that one has begun */
    MG_TICKER_OVER,
} mg_ticker_state;

typedef struct mg_ticker {
    mg_jobs *jobs; /* borrowed */
    mg_timer timer;
    mg_job *run;    /* borrowed: under way; NULL between two */
    uint32_t index; /* of mg_vm_every_at */
    mg_ticker_state state;
} mg_ticker;

struct mg_jobs {
    mg_list link;        /* in the worker's */
    mg_worker *worker;   /* borrowed */
    mg_worker_vm *vm;    /* borrowed: whose part it is */
    mg_list all;         /* of mg_job */
    unsigned count;      /* in it */
    unsigned *of_plugin; /* owned: how many of these are a plugin's, by its place in the plan */
    mg_ticker *tickers;  /* owned */
    size_t ticker_count;
    mg_view *view;       /* counted: keeps a retired state until its last runs have ended; else NULL */
    uint64_t retired_ns; /* when the state was; 0: it is in use */
};

/* Lives in the arena of its exchange. */
struct mg_job {
    mg_flight flight;
    mg_beside beside;        /* of that flight */
    mg_list link;            /* among those of its Lua state */
    mg_list sibling;         /* among those that its starter began */
    mg_beside *starter;      /* borrowed; NULL: a run, or what began it is over */
    mg_jobs *jobs;           /* borrowed */
    mg_ticker *ticker;       /* borrowed; NULL: a task */
    mg_later later;          /* begins it */
    mg_str where;            /* of its function, in the plugin's file */
    const char *cancelled;   /* static; NULL: it is not */
    mg_task_outcome outcome; /* of one that is cancelled */
    uint64_t number;         /* of a task */
    uint32_t plugin;
    unsigned depth; /* 1: a request began it, or it is a run */
    bool begun, detached, failed;
    bool stood_over; /* its turn has come */
    bool retired;    /* its time is shorter for that */
};

/* Counted, and ended by mg_job_end alone. */
mg_job *mg_job_new(mg_jobs *jobs, mg_view *view, uint32_t plugin, mg_str where, uint64_t timeout_ns);
/* A run at once; a task behind this turn. */
void mg_job_begin(mg_job *job);
void mg_job_cancel(mg_job *job, mg_task_outcome outcome);
/* One that outlives its request, in a retired state, ends in time. */
void mg_job_clip(mg_job *job);
/* A run has ended. */
void mg_ticker_over(mg_ticker *ticker);

#endif
