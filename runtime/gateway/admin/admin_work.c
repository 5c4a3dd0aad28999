/* admin_work.c - answers that take their time, because the flusher gives them: a write is answered once it is on
 * the disk, a backup once it is made. */
#include "gateway/admin/admin_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/flusher.h"

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

void mg_admin_store(mg_json_out *out, const char *key, const mg_store_stats *stats)
{
    mg_json_out_map(out, key);
    mg_json_out_u64(out, "used_bytes", stats->used_bytes);
    mg_json_out_u64(out, "file_bytes", stats->file_bytes);
    mg_json_out_u64(out, "max_bytes", stats->max_bytes);
    mg_json_out_end(out);
}

/* ---- jobs ---- */

/* A call that the flusher answers. Freed by its message. */
typedef struct mg_state_job {
    mg_list link;    /* of the admin's jobs; the control thread's */
    mg_admin *admin; /* NULL: nobody waits any more */
    mg_admin_call call;
    char *folder; /* owned: of a backup */
    union {
        mg_flush_ask ask;
        mg_flush_barrier barrier;
        mg_flush_copy copy;
    };
} mg_state_job;

static void job_free(mg_state_job *job)
{
    mg_free(job->folder);
    mg_free(job);
}

static mg_state_job *job_new(mg_admin_call *call, void (*answered)(mg_message *message))
{
    mg_state_job *job = MG_NEW(mg_state_job);

    job->admin = call->admin;
    job->call = *call;
    job->ask.answered = answered;
    job->ask.from = call->admin->gateway->mailbox;
    mg_list_push(&call->admin->jobs, &job->link);
    return job;
}

static mg_state_job *job_of(mg_message *message)
{
    return mg_container_of(message, mg_state_job, ask.message);
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

    while ((link = mg_list_pop(&admin->jobs))) {
        mg_state_job *job = mg_container_of(link, mg_state_job, link);
        job->admin = NULL; /* its message frees it */
        mg_ask_drop(job->call.ask);
    }
}

/* ---- writes ---- */

static void on_written(mg_message *message)
{
    mg_state_job *job = job_of(message);
    mg_admin_call *call = &job->call;

    if (job_back(job)) {
        if (job->ask.result == MG_OK ||
            !mg_kv_waits(call->admin->gateway->kv, call->names[0], call->names[1]))
            mg_ask_send(call->ask, 204, MG_STR_NONE); /* whatever else has no room */
        else
            mg_admin_refuse(call, 507, "state", "it is served from memory, and written as soon as that works",
                            "%s", job->barrier.error);
    }
    job_free(job);
}

void mg_admin_send_written(mg_admin_call *call)
{
    mg_flusher_barrier(call->admin->gateway->flusher, &job_new(call, on_written)->barrier);
}

/* ---- copies ---- */

static void send_copied(mg_state_job *job)
{
    const mg_flush_copy *copy = &job->copy;
    mg_admin_call *call = &job->call;

    if (copy->ask.result != MG_OK) {
        mg_admin_refuse_error(call, copy->ask.result, &copy->err);
        return;
    }
    mg_json_out_map(&call->json, NULL);
    if (copy->folder)
        mg_json_out_text(&call->json, "path", mg_str_of(copy->folder));
    else
        mg_admin_store(&call->json, "before", &copy->before);
    mg_admin_store(&call->json, copy->folder ? "store" : "after", &copy->after);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

static void on_copied(mg_message *message)
{
    mg_state_job *job = job_of(message);

    if (job_back(job)) {
        job->admin->copying = false;
        send_copied(job);
    }
    job_free(job);
}

static bool can_copy(mg_admin_call *call)
{
    if (!call->admin->gateway->store) {
        mg_admin_refuse_memory(call);
        return false;
    }
    if (call->admin->copying) {
        mg_admin_refuse(call, 409, "busy", "ask again once it is done", "another copy is being made");
        return false;
    }
    return true;
}

/* Without a folder, it compacts. */
static void start_copy(mg_admin_call *call, mg_str folder)
{
    mg_state_job *job = job_new(call, on_copied);

    call->admin->copying = true;
    job->folder = folder.p ? mg_memdup0(folder.p, folder.n) : NULL;
    job->copy.folder = job->folder;
    mg_flusher_copy(call->admin->gateway->flusher, &job->copy);
}

void mg_admin_state_backup(mg_admin_call *call)
{
    mg_str folder;

    if (!can_copy(call) || !mg_admin_body_text(call, "path", &folder))
        return;
    if (!folder.n || folder.p[0] != '/' || folder.n > 3000 || memchr(folder.p, '\0', folder.n))
        mg_admin_refuse(call, 400, "not-allowed", "write the whole path: /var/backups/moongate-1",
                        "the gateway does not know which folder \"%.*s\" is meant from", MG_STR_ARGS(folder));
    else
        start_copy(call, folder);
}

void mg_admin_state_compact(mg_admin_call *call)
{
    if (can_copy(call))
        start_copy(call, MG_STR_NONE);
}
