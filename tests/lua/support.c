/* support.c - exchanges in memory for the specs of tests/lua, which reach it through the FFI. */
#include "mg_abi.h"
#include "unit/gateway/call_fixture.h"

#pragma GCC visibility push(default) /* all that liblua_support.so exports */

fixture *mg_support_new(void);
void mg_support_free(fixture *f);
mg_host *mg_support_host(fixture *f);
mg_call *mg_support_call(fixture *f);
void mg_support_begin(fixture *f);
void mg_support_answer(fixture *f, int status);
void mg_support_cancel(fixture *f, const char *why);
void mg_support_phase(fixture *f, int phase);
int mg_support_wait(const fixture *f);
void mg_support_advance(fixture *f, double seconds);
const char *mg_support_log(fixture *f);
const void *mg_support_api(void);
const char *mg_support_embedded(const char *name, size_t *n);
const char *mg_support_abi_hash(void);
#pragma GCC visibility pop

/* What the exchanges of all specs began with. */
static const char config_text[] =
    "services:\n"
    "  cart:\n"
    "    endpoints: [{ url: \"http://10.0.0.11:9000\" }, { url: \"http://10.0.0.12:9000\", weight: 3 }]\n"
    "    breaker: { mode: consecutive, consecutive_failures: 2, open_for: 5s, open_jitter: 0%, probes: 1 }\n"
    "  plain: { endpoints: [{ url: \"http://10.0.0.13:9000\" }] }\n"
    "limiters:\n"
    "  orders: { rate: 10/s, burst: 2, max_wait: 150ms, max_keys: 64 }\n"
    "  queue: { algorithm: leaky, rate: 10/s, max_wait: 1s, max_keys: 64 }\n"
    "  desks: { algorithm: concurrency, quota: 2, max_keys: 64 }\n"
    "  tried: { rate: 1/h, mode: shadow, max_keys: 64 }\n"
    "  shut: { mode: deny }\n"
    "routes: [{ name: cart, match: { paths: [{ prefix: / }] }, service: cart }]\n";

static mg_snapshot *snapshot_new(fixture *f)
{
    const mg_config_env env = { .partial = true };
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("moongate.yaml", mg_str_of(config_text), &env, &report);
    mg_snapshot *snapshot = config ? mg_snapshot_build(config, 1, &report) : NULL;

    for (size_t i = 0; i < report.count && !snapshot; i++)
        fprintf(stderr, "%s\n", report.findings[i].message);
    if (snapshot)
        mg_snapshot_adopt(snapshot, f->shared, NULL, 0);
    mg_report_fini(&report);
    return snapshot;
}

fixture *mg_support_new(void)
{
    fixture *f = MG_NEW(fixture);

    fixture_init(f);
    f->snapshot = snapshot_new(f);
    f->call = MG_NEW(mg_call);
    mg_support_begin(f);
    return f;
}

void mg_support_free(fixture *f)
{
    fixture_end(f);
    mg_gather_fini(&f->call->bodies[0]);
    mg_gather_fini(&f->call->bodies[1]);
    mg_free(f->call);
    mg_arena_fini(&f->x.arena);
    mg_snapshot_unref(f->snapshot);
    fixture_fini(f);
    mg_free(f);
}

mg_host *mg_support_host(fixture *f)
{
    return &f->host;
}

mg_call *mg_support_call(fixture *f)
{
    return f->call;
}

/* A new request in the same call: GET http://shop.example/v1/carts/42. */
void mg_support_begin(fixture *f)
{
    fixture_end(f);
    mg_arena_fini(&f->x.arena);
    fixture_request(f);
    *f->call = (mg_call){ .x = &f->x,
                          .host = &f->host,
                          .snapshot = f->snapshot,
                          .holds = &f->holds,
                          .match = &f->match,
                          .max_path_bytes = 8192,
                          .max_target_bytes = 16384,
                          .client = MG_STR("192.0.2.7"),
                          .route_name = MG_STR("cart"),
                          .service_name = MG_STR("cart"),
                          .plugin = UINT32_MAX };
}

void mg_support_answer(fixture *f, int status)
{
    fixture_answer(f, (uint16_t)status);
}

void mg_support_cancel(fixture *f, const char *why)
{
    f->call->cancelled = why ? mg_arena_strdup(&f->x.arena, why) : NULL;
}

void mg_support_phase(fixture *f, int phase)
{
    f->call->phase = phase;
}

int mg_support_wait(const fixture *f)
{
    return f->call->wait;
}

void mg_support_advance(fixture *f, double seconds)
{
    mg_fake_clock_advance(&f->clock, (uint64_t)(seconds * 1e9));
}

/* All lines so far. */
const char *mg_support_log(fixture *f)
{
    return f->logged.p ? f->logged.p : "";
}

const void *mg_support_api(void)
{
    return &mg_api_table;
}

const char *mg_support_embedded(const char *name, size_t *n)
{
    const mg_str text = mg_embedded(name);

    *n = text.n;
    return text.p;
}

const char *mg_support_abi_hash(void)
{
    return mg_abi_hash();
}
