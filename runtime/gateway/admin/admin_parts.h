/* admin_parts.h - what the resources of the admin listener share; for admin*.c alone. The control loop. */
#ifndef MG_GATEWAY_ADMIN_ADMIN_PARTS_H
#define MG_GATEWAY_ADMIN_ADMIN_PARTS_H

#include "gateway/admin/admin.h"
#include "gateway/admin/desk.h"
#include "gateway/control.h"

enum { MG_ADMIN_NAMES = 2 };

struct mg_admin {
    mg_gateway *gateway; /* borrowed */
    mg_desk *desk;       /* owned */
    mg_list jobs;        /* that answer later (admin_state.c) */
    bool copying;        /* a backup is made, or the state compacted */
};

/* A request on its way to its resource: what its path names, decoded, in order. Lives as long as the ask. */
typedef struct mg_admin_call {
    mg_admin *admin;
    mg_ask *ask;
    mg_arena *arena;  /* the exchange's */
    mg_text *out;     /* the body to answer with */
    mg_json_out json; /* writes it where it is JSON */
    mg_str names[MG_ADMIN_NAMES];
} mg_admin_call;

/* Each answers by one of the following, now or later. */
typedef void mg_admin_handler(mg_admin_call *call);

void mg_admin_send_json(mg_admin_call *call); /* 200 with what stands in `out` */
/* A problem of one finding. `hint` may be NULL. */
void mg_admin_refuse(mg_admin_call *call, int status, const char *code, const char *hint, const char *format,
                     ...) __attribute__((format(printf, 5, 6)));
/* 404 for a name that nothing has; `known` gives the names there are one by one, and none behind the last. */
typedef mg_str mg_admin_names(const void *self, size_t index);
void mg_admin_refuse_name(mg_admin_call *call, const char *what, mg_str name, mg_admin_names *known,
                          const void *self);

/* The place of a word among `words`, NULL behind the last. Below 0: it is not among them and was refused as not
 * a state of `what` ("a breaker"), with a hint that says which there are. */
int mg_admin_word(mg_admin_call *call, mg_str word, const char *const *words, const char *what);

/* A parameter of the query; false when it is absent. */
bool mg_admin_query(mg_admin_call *call, const char *name, mg_str *value);
/* The same as a number from 1 to `most`, `usual` when absent; false when it was refused. */
bool mg_admin_query_number(mg_admin_call *call, const char *name, uint64_t usual, uint64_t most,
                           uint64_t *value);
/* The body, which is {"KEY": "TEXT"} and nothing else; false when it was refused. */
bool mg_admin_body_text(mg_admin_call *call, const char *key, mg_str *value);

/* Opens a document, a map, with the moment it is of: at_ms, of the monotonic clock. */
void mg_admin_begin(mg_admin_call *call);

/* admin_services.c */
mg_admin_handler mg_admin_services, mg_admin_service, mg_admin_set_breaker, mg_admin_set_endpoint;
/* admin_view.c */
mg_admin_handler mg_admin_about, mg_admin_routes, mg_admin_limiters, mg_admin_limiter_keys, mg_admin_rollouts,
    mg_admin_set_rollout;
/* admin_state.c */
mg_admin_handler mg_admin_state, mg_admin_state_scan, mg_admin_state_get, mg_admin_state_put,
    mg_admin_state_del;

/* admin_work.c */
mg_admin_handler mg_admin_state_backup, mg_admin_state_compact;
mg_persist *mg_admin_persist(const mg_admin *admin); /* NULL: nothing outlives the process */
/* 204, once all that was set before is on disk. */
void mg_admin_send_written(mg_admin_call *call);
void mg_admin_refuse_error(mg_admin_call *call, mg_result result, const mg_error *err);
void mg_admin_refuse_memory(mg_admin_call *call); /* there is no store */
void mg_admin_store(mg_json_out *out, const char *key, const mg_store_stats *stats);
/* Nobody will ask again; waits for the work under way. */
void mg_admin_work_end(mg_admin *admin);

#endif
