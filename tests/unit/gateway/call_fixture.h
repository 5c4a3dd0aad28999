/* call_fixture.h - a VM over the real Lua side, and one exchange in memory that its slots work on. What the
 * pipeline does between two resumes is up to the test. */
#ifndef TEST_CALL_FIXTURE_H
#define TEST_CALL_FIXTURE_H

#include "base/embed.h"
#include "base/mem.h"
#include "gateway/request/call.h"
#include "mg_abi.h"
#include "state/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

typedef struct fixture {
    mg_fake_clock clock;
    mg_policy_clock policy_clock;
    mg_kv *kv;
    mg_shared *shared;
    mg_host host;
    mg_rand rand;
    mg_log *log;
    mg_text logged;
    mg_vm *vm;
    mg_task *task;
    mg_call *call;
    mg_exchange x;
    mg_route_match match;
    mg_snapshot *snapshot; /* NULL unless the test makes one */
    mg_holds holds;
    mg_task_error error;
    mg_error err;
} fixture;

static void fixture_sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static void fixture_init(fixture *f)
{
    memset(f, 0, sizeof(*f));
    mg_fake_clock_init(&f->clock, 1000 * MG_NS_PER_S, (int64_t)(1700000000 * MG_NS_PER_S));
    mg_policy_clock_init(&f->policy_clock, &f->clock.clock, NULL, "boot");
    mg_rand_init(&f->rand, 7);
    f->log = mg_log_new(MG_LOG_DEBUG, &f->clock.clock, fixture_sink, &f->logged);
    f->kv = mg_kv_new(&(mg_kv_options){ .clock = &f->clock.clock, .log = f->log }, NULL);
    f->shared = mg_shared_new(&(mg_shared_options){ .workers = 2,
                                                    .clock = &f->clock.clock,
                                                    .policy_clock = &f->policy_clock,
                                                    .log = f->log,
                                                    .kv = f->kv,
                                                    .seed = 7 });
    f->host = (mg_host){ .shared = f->shared, .clock = &f->clock.clock, .log = f->log, .rand = &f->rand };
}

static inline mg_vm_conf fixture_conf(fixture *f)
{
    return (mg_vm_conf){ .api = &mg_api_table,
                         .abi_hash = mg_abi_hash(),
                         .host = &f->host,
                         .source = mg_embedded,
                         .call_bytes = sizeof(mg_call),
                         .seed = 7,
                         .log = f->log };
}

/* A plan of plugins "p0", "p1", .. with these sources, all in one chain. `extra` are members of each, as
 * ",\"on_error\":\"open\"", or NULL. */
static inline void fixture_plan(mg_text *plan, const char *const *sources, const char *const *extra,
                                size_t count)
{
    mg_text_add_c(plan, "{\"plugins\":[");
    for (size_t i = 0; i < count; i++) {
        mg_text_addf(plan,
                     "%s{\"name\":\"p%zu\",\"use\":\"./plugins/p%zu\",\"chunkname\":\"plugins/p%zu/"
                     "plugin.lua\",\"source\":",
                     i ? "," : "", i, i, i);
        mg_text_add_json(plan, mg_str_of(sources[i]));
        mg_text_addf(plan, "%s}", extra && extra[i] ? extra[i] : "");
    }
    mg_text_add_c(plan, "],\"chains\":[[");
    for (size_t i = 0; i < count; i++)
        mg_text_addf(plan, "%s%zu", i ? "," : "", i);
    mg_text_add_c(plan, "]]}");
}

static inline bool fixture_boot(fixture *f, const char *const *sources, const char *const *extra,
                                size_t count)
{
    mg_text plan = { 0 };
    const mg_vm_conf conf = fixture_conf(f);

    fixture_plan(&plan, sources, extra, count);
    f->vm = mg_vm_new(&conf, mg_text_str(&plan), &f->err);
    mg_text_fini(&plan);
    return f->vm != NULL;
}

static void fixture_request(fixture *f)
{
    mg_request *r = &f->x.request;

    memset(&f->x, 0, sizeof(f->x));
    mg_arena_init(&f->x.arena, NULL, 0);
    memcpy(f->x.trace_id, "0123456789abcdef", 16);
    r->method = MG_METHOD_GET;
    r->method_text = MG_STR("GET");
    r->scheme = MG_STR("http");
    r->authority = MG_STR("Shop.example:80");
    r->host = MG_STR("shop.example");
    r->path = r->target = MG_STR("/v1/carts/42");
    r->query = MG_STR("a=1&b=two%20words&a=3");
    mg_fields_add(&r->fields, &f->x.arena, MG_NAME_OTHER, MG_STR("x-api-key"), MG_STR("k1"));
    mg_fields_add(&r->fields, &f->x.arena, MG_NAME_USER_AGENT, MG_STR("user-agent"), MG_STR("curl/8"));
}

/* The exchange is over: what it held goes back. */
static inline void fixture_end(fixture *f)
{
    mg_holds_end(&f->holds, mg_shared_policy_now(f->shared));
    f->holds = (mg_holds){ 0 };
}

/* Takes a slot for a new request on the chain. */
static inline void fixture_take(fixture *f, uint32_t chain)
{
    fixture_request(f);
    f->task = mg_task_take(f->vm);
    assert_non_null(f->task);
    f->call = mg_task_call(f->task);
    *f->call = (mg_call){ .x = &f->x,
                          .task = f->task,
                          .host = &f->host,
                          .match = &f->match,
                          .holds = &f->holds,
                          .max_path_bytes = 8192,
                          .max_target_bytes = 16384,
                          .client = MG_STR("192.0.2.7"),
                          .route_name = MG_STR("cart"),
                          .service_name = MG_STR("cart"),
                          .chain = chain,
                          .plugin = UINT32_MAX };
}

/* Resumes, and returns what it waits for; -1 when it raised. */
static inline int fixture_resume(fixture *f)
{
    return mg_task_resume(f->task, &f->error) == MG_TASK_YIELDED ? f->call->wait : -1;
}

/* What the upstream answers. */
static inline void fixture_answer(fixture *f, uint16_t status)
{
    const mg_response head = { .status = status, .body = MG_BODY_NONE };

    mg_exchange_answer(&f->x, MG_ANSWER_UPSTREAM, &head, MG_STR_NONE);
    mg_edits_make(&f->x.edits, &f->x.response.fields, &f->x.arena);
}

static inline void fixture_give(fixture *f, bool parked)
{
    mg_gather_fini(&f->call->bodies[0]);
    mg_gather_fini(&f->call->bodies[1]);
    mg_task_give(f->task, parked);
    fixture_end(f);
    mg_arena_fini(&f->x.arena);
}

static inline void fixture_fini(fixture *f)
{
    mg_vm_free(f->vm);
    mg_shared_free(f->shared);
    mg_kv_free(f->kv);
    mg_log_free(f->log);
    mg_text_fini(&f->logged);
}

static inline const char *fixture_field(fixture *f, int which, const char *name)
{
    const mg_fields *fields = which == MG_REQUEST ? &f->x.request.fields : &f->x.response.fields;
    const mg_str lower = mg_str_of(name);
    const int at = mg_fields_find(fields, mg_name_find(lower), lower, 0);

    return at < 0 ? NULL
                  : mg_arena_strdup(&f->x.arena,
                                    mg_arena_str(&f->x.arena, mg_str_make(fields->items[at].value,
                                                                          fields->items[at].value_n))
                                        .p);
}

#endif
