/* admin_work.c - answers that take their time: a write is answered once it is on disk; a copy of the store is
 * made by a thread of its own. */
#include "gateway/admin/admin_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "state/state_files.h"

mg_persist *mg_admin_persist(const mg_admin *admin)
{
    return mg_shared_persist(admin->gateway->shared.shared);
}

void mg_admin_refuse_error(mg_admin_call *call, mg_result result, const mg_error *err)
{
    const int status = result == MG_ERR_INVALID     ? 400
                       : result == MG_ERR_NOT_FOUND ? 404
                       : result == MG_ERR_EXISTS    ? 409
                       : result == MG_ERR_LIMIT     ? 507
                                                    : 500;

    mg_text_clear(call->out);
    mg_admin_refuse(call, status,
                    status == 404   ? "not-found"
                    : status == 400 ? "not-allowed"
                                    : "state",
                    NULL, "%s", err->message);
}

void mg_admin_refuse_memory(mg_admin_call *call)
{
    mg_admin_refuse(call, 409, "not-allowed", "give the configuration a folder: state: { path: state }",
                    "this gateway keeps its state in memory");
}

void mg_admin_store(mg_text *out, const char *key, const mg_store_stats *stats)
{
    mg_text_addf(out, "\"%s\":{\"used_bytes\":%llu,\"file_bytes\":%llu,\"max_bytes\":%llu}", key,
                 (unsigned long long)stats->used_bytes, (unsigned long long)stats->file_bytes,
                 (unsigned long long)stats->max_bytes);
}

/* ---- jobs ---- */

/* An ask whose answer comes by message: once a flush is through, or a thread is. Freed by its message. */
typedef struct mg_state_job {
    mg_message message;
    mg_list link;    /* of the admin's jobs; the control thread's */
    mg_admin *admin; /* NULL: nobody waits any more */
    mg_admin_call call;
    mg_result result;
    mg_error err;
    bool compacts;
    char *folder; /* owned: of a backup */
    mg_store_stats before, after;
} mg_state_job;

static void job_free(mg_state_job *job)
{
    mg_free(job->folder);
    mg_free(job);
}

static mg_state_job *job_new(mg_admin_call *call, void (*run)(mg_message *message))
{
    mg_state_job *job = MG_NEW(mg_state_job);

    *job = (mg_state_job){ .message = { NULL, run }, .admin = call->admin, .call = *call };
    mg_list_push(&call->admin->jobs, &job->link);
    return job;
}

/* Back on the control loop: true when somebody waits for it. */
static bool job_back(mg_state_job *job)
{
    mg_list_remove(&job->link);
    return job->admin != NULL;
}

void mg_admin_work_end(mg_admin *admin)
{
    mg_list *link;

    mg_thread_join(&admin->worker);
    while ((link = mg_list_pop(&admin->jobs))) {
        mg_state_job *job = mg_container_of(link, mg_state_job, link);
        job->admin = NULL; /* its message frees it */
        mg_ask_drop(job->call.ask);
    }
}

/* ---- writes ---- */

static void on_written(mg_message *message)
{
    mg_state_job *job = mg_container_of(message, mg_state_job, message);
    mg_admin_call *call = &job->call;

    if (job_back(job)) {
        if (job->result == MG_OK || !mg_kv_waits(call->admin->gateway->kv, call->names[0], call->names[1]))
            mg_ask_send(call->ask, 204, MG_STR_NONE); /* whatever else has no room */
        else
            mg_admin_refuse(call, 507, "state", "it is served from memory, and written as soon as that works",
                            "%s", job->err.message);
    }
    job_free(job);
}

/* The thread that flushes, or this one. */
static void after_flush(void *self, const char *error)
{
    mg_state_job *job = self;

    if (error)
        job->result = mg_fail(&job->err, MG_ERR_IO, "%s", error);
    mg_mailbox_post(job->call.admin->gateway->mailbox, &job->message);
}

void mg_admin_send_written(mg_admin_call *call)
{
    if (call->admin->gateway->own_loops)
        mg_kv_barrier(call->admin->gateway->kv, after_flush, job_new(call, on_written));
    else
        mg_ask_send(call->ask, 204, MG_STR_NONE);
}

/* ---- copies ---- */

static void send_job(mg_state_job *job)
{
    mg_admin_call *call = &job->call;

    if (job->result != MG_OK) {
        mg_admin_refuse_error(call, job->result, &job->err);
        return;
    }
    mg_text_add_char(call->out, '{');
    if (job->compacts) {
        mg_admin_store(call->out, "before", &job->before);
        mg_text_add_char(call->out, ',');
    } else {
        mg_text_add_c(call->out, "\"path\":");
        mg_text_add_json(call->out, mg_str_of(job->folder));
        mg_text_add_char(call->out, ',');
    }
    mg_admin_store(call->out, job->compacts ? "after" : "store", &job->after);
    mg_text_add_char(call->out, '}');
    mg_admin_send_json(call);
}

static void on_worked(mg_message *message)
{
    mg_state_job *job = mg_container_of(message, mg_state_job, message);

    if (job_back(job)) {
        mg_thread_join(&job->admin->worker);
        send_job(job);
    }
    job_free(job);
}

static void work(mg_state_job *job)
{
    mg_gateway *gateway = job->call.admin->gateway;
    mg_persist *persist = mg_admin_persist(job->call.admin);

    job->result = mg_store_stats_get(gateway->store, &job->before, &job->err);
    if (job->result == MG_OK)
        job->result = job->compacts
                          ? mg_state_compact(gateway->store, persist, &job->err)
                          : mg_state_backup(gateway->kv, gateway->store, persist, job->folder, &job->err);
    if (job->result == MG_OK)
        job->result = mg_store_stats_get(gateway->store, &job->after, &job->err);
}

static void work_thread(void *self)
{
    mg_state_job *job = self;

    work(job);
    mg_mailbox_post(job->call.admin->gateway->mailbox, &job->message);
}

static bool can_work(mg_admin_call *call)
{
    if (!call->admin->gateway->store) {
        mg_admin_refuse_memory(call);
        return false;
    }
    if (call->admin->worker.runs) {
        mg_admin_refuse(call, 409, "busy", "ask again once it is done", "another copy is being made");
        return false;
    }
    return true;
}

static void start_work(mg_admin_call *call, bool compacts, mg_str folder)
{
    mg_state_job *job = job_new(call, on_worked);

    job->compacts = compacts;
    job->folder = mg_memdup0(folder.p, folder.n);
    if (!call->admin->gateway->own_loops)
        work(job);
    else
        job->result =
            mg_thread_start(&call->admin->worker, "copy", MG_THREAD_STACK_SMALL, work_thread, job, &job->err);
    if (!call->admin->worker.runs)
        on_worked(&job->message);
}

void mg_admin_state_backup(mg_admin_call *call)
{
    mg_str folder;

    if (!can_work(call) || !mg_admin_body_text(call, "path", &folder))
        return;
    if (!folder.n || folder.p[0] != '/' || folder.n > 3000 || memchr(folder.p, '\0', folder.n))
        mg_admin_refuse(call, 400, "not-allowed", "write the whole path: /var/backups/moongate-1",
                        "the gateway does not know which folder \"%.*s\" is meant from", MG_STR_ARGS(folder));
    else
        start_work(call, false, folder);
}

void mg_admin_state_compact(mg_admin_call *call)
{
    if (can_work(call))
        start_work(call, true, MG_STR(""));
}
