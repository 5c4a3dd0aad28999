/* check.c - the path of a reload, stopped before anything is published. */
#include "gateway/check.h"

#include "base/embed.h"
#include "base/mem.h"
#include "gateway/request/call.h"
#include "http/uri.h"
#include "mg_abi.h"
#include "state/kv.h"

static bool try_vm(const mg_snapshot *snapshot, mg_shared *shared, mg_report *report)
{
    mg_host host = { .shared = shared, .clock = &mg_clock_real };
    mg_fault fault;
    const mg_vm_conf conf = { .api = &mg_api_table,
                              .abi_hash = mg_abi_hash(),
                              .host = &host,
                              .source = mg_embedded,
                              .call_bytes = sizeof(mg_call),
                              .seed = 1,
                              .fault = &fault };

    if (!snapshot->plan.plugin_count)
        return true;
    mg_vm *vm = mg_vm_new(&conf, mg_text_str(&snapshot->plan.json), NULL);
    if (!vm)
        mg_plan_fault(snapshot->config, &fault, report);
    mg_vm_free(vm);
    return vm != NULL;
}

bool mg_check_config(mg_config *config, void (*look)(void *self, const mg_snapshot *snapshot), void *self,
                     mg_report *report)
{
    mg_policy_clock policy_clock;
    mg_error err = MG_ERROR_INIT;
    bool ok = false;

    mg_policy_clock_init(&policy_clock, &mg_clock_real, NULL, "check");
    const mg_kv_options kv_options = { .clock = &mg_clock_real, .seed = 1 };
    mg_kv *kv = mg_kv_new(&kv_options, &err);
    const mg_shared_options options = {
        .workers = 1, .clock = &mg_clock_real, .policy_clock = &policy_clock, .kv = kv, .seed = 1
    };
    mg_shared *shared = mg_shared_new(&options);
    mg_snapshot *snapshot = mg_snapshot_build(config, 1, report);
    if (snapshot) {
        ok = try_vm(snapshot, shared, report);
        if (ok && look)
            look(self, snapshot);
        mg_snapshot_unref(snapshot);
    }
    mg_shared_free(shared);
    mg_kv_free(kv);
    return ok && report->errors == 0;
}

const char *mg_check_request(mg_arena *arena, mg_str text, mg_str host, mg_request *request)
{
    const size_t space = mg_str_find(text, ' ');
    mg_uri uri;

    *request = (mg_request){ .method_text = MG_STR("GET") };
    if (space != SIZE_MAX) {
        request->method_text = mg_str_sub(text, 0, space);
        text = mg_str_trim(mg_str_sub(text, space, text.n), " ");
    }
    if (text.n && text.p[0] == '/') {
        int port;
        bool bare;
        if (host.p && !mg_uri_authority(arena, host, &request->host, &port))
            return "the host header is malformed";
        if (mg_uri_split(text, &uri.path, &uri.query, &bare))
            return "the target has a blank, a control byte, a # or a \\ in its path: a request for it gets "
                   "400";
    } else {
        const char *wrong = mg_uri_parse(arena, text, &uri);
        if (wrong)
            return wrong;
        request->host = uri.host;
    }
    request->sent_path = uri.path;
    if (!mg_uri_normalise_path(arena, uri.path, 0, &request->path) ||
        (mg_uri_has_empty_segment(uri.path) &&
         !mg_uri_normalise_path(arena, uri.path, MG_URI_KEEP_SLASHES, &request->slashed)))
        return "the path is malformed: a request for it gets 400";
    return NULL;
}
