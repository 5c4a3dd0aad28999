/* job.h - functions of plugins that run beside requests: tasks (ctx:task) and runs (of mg.every). A job is a
 * flight whose exchange has no client: it waits in the same ways as a handler chain (chain.c), and ends at
 * its deadline. Of the worker's loop; none begins on somebody else's stack. */
#ifndef MG_GATEWAY_REQUEST_JOB_H
#define MG_GATEWAY_REQUEST_JOB_H

#include "gateway/request/flight.h"

enum {
    MG_JOBS_OF_FLIGHT = 32,  /* tasks of a request, or of another job, that have not ended */
    MG_JOBS_OF_PLUGIN = 256, /* on one worker */
    MG_JOBS_OF_WORKER = 1024,
    MG_JOB_DEPTH = 4, /* of tasks that tasks begin */
};

/* How long a Lua state that is retired goes on: its detached tasks; and its runs, while requests are left. */
#define MG_JOBS_GRACE_NS (30 * MG_NS_PER_S)

typedef struct mg_job mg_job;

/* What a flight has to do with jobs. */
typedef struct mg_beside {
    mg_flight *flight; /* borrowed: whose it is */
    mg_job *self;      /* what that flight is; NULL: a request */
    mg_list begun;     /* of mg_job: the tasks that it began and that have not ended */
    unsigned count;
    mg_job *awaited; /* one of these */
    mg_later later;  /* the awaited one has ended */
} mg_beside;

/* Of a Lua state on its worker. */
typedef struct mg_jobs mg_jobs;
mg_jobs *mg_jobs_new(mg_worker *worker, mg_worker_vm *vm);
void mg_jobs_free(mg_jobs *jobs); /* no job is left */

/* The worker serves another view than `old` (may be NULL): where that has another Lua state, the old state is
 * retired, and the runs of the new one begin. */
void mg_jobs_follow(mg_worker *worker, mg_view *old);
/* The worker drains: its Lua state is retired. */
void mg_jobs_drain(mg_worker *worker);
/* Twice a second: begins the last runs of retired states. */
void mg_jobs_beat(mg_worker *worker);
/* Of a worker that drains and has no connection left: begins the last runs. True when nothing runs any more;
 * else mg_worker_check_drained is called again. */
bool mg_jobs_are_over(mg_worker *worker);
/* Appends a line for each task that has not ended: "a task of greet, plugins/greet/plugin.lua:12". Returns how many jobs
 * there are, runs of mg.every included: each has an exchange. */
size_t mg_jobs_tell(const mg_worker *worker, mg_text *out);
/* Ends all of it now. */
void mg_jobs_close(mg_worker *worker);

/* For chain.c. */
static inline bool mg_flight_is_job(const mg_flight *flight)
{
    return flight->beside && flight->beside->self;
}
/* The handlers of a flight are through, well or not: tasks that are not detached end. Waits of its own are
 * over. */
void mg_jobs_leave(mg_flight *flight, bool well);
/* A job is to go on, but its worker's turn has had work enough: it is resumed in a later one, which has no
 * other job. */
bool mg_job_stands_over(mg_flight *flight);
/* MG_WAIT_TASK, and the end of that wait. */
void mg_job_await(mg_flight *flight);
void mg_job_await_no_more(mg_flight *flight);
/* A job's slot has been given back: that was all of it. Frees the flight. */
void mg_job_end(mg_flight *flight, mg_task_outcome outcome);

#endif
