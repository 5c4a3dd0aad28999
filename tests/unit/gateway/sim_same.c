/* sim_same.c - what counts as a change of the configuration, and what does not: the order of keys, comments, defaults
 * that are written out, and units. */
#include "sim_world.h"

#include "gateway/service/service_parts.h"

#define HEAD "listeners: { web: { bind: \"10.0.0.1:80\" } }\n" QUIET
#define TAIL ROUTE

/* What a service has by its name. */
typedef struct kept {
    const mg_service *service;
    const mg_circuit *circuit;
    const mg_adaptive *adaptive;
} kept;

static kept look(const world *w)
{
    const mg_service_name *name =
        mg_services_named(mg_shared_services(w->gateway->shared.shared), MG_STR("up"));

    return (kept){ name->newest, name->newest->circuit, name->newest->adaptive };
}

static void reload(world *w, const char *config)
{
    const uint64_t before = w->gateway->revision;

    w->next = config;
    mg_gateway_reload(w->gateway);
    settle(w);
    if (w->gateway->revision != before + 1)
        fail_msg("refused:\n%s\n%s", config, w->logged.p);
}

#define FIRST                                                                                                \
    HEAD                                                                                                     \
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], eject: {}, "                      \
        "slow_start: 60s, panic: 50%, adaptive: { min: 4 }, breaker: { mode: consecutive, open_for: 5s } } " \
        "}\n" TAIL

static void the_same_in_other_words_is_no_change(void **state)
{
    static const char *const same[] = {
        /* another order, a comment */
        HEAD "services:\n  up: # the one\n    breaker: { open_for: 5s, mode: consecutive }\n    adaptive: { "
             "min: 4 }\n"
             "    panic: 50%\n    slow_start: 60s\n    eject: {}\n"
             "    endpoints: [{ url: \"http://10.0.0.2:9000\" }]\n" TAIL,
        /* units */
        HEAD
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], eject: {}, "
        "slow_start: 1m, panic: 50%, adaptive: { min: 4 }, breaker: { mode: consecutive, open_for: 5000ms "
        "} } }\n" TAIL,
        /* defaults, written out */
        HEAD "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], eject: {}, "
             "slow_start: 60s, panic: 50%, adaptive: { min: 4.0 }, balance: peak_ewma, bound: 1.250, "
             "breaker: { mode: "
             "consecutive, open_for: 5s } } }\n" TAIL,
        /* what only calls take along */
        HEAD "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], eject: {}, retry: {}, "
             "pool: { queue: 7 }, read_timeout: 7s, slow_start: 60s, panic: 50%, adaptive: { min: 4 }, "
             "breaker: { mode: consecutive, open_for: 5s } } }\n" TAIL,
    };
    world w;

    (void)state;
    world_open(&w, FIRST);
    const kept before = look(&w);
    for (size_t i = 0; i < mg_countof(same); i++) {
        reload(&w, same[i]);
        const kept after = look(&w);
        if (after.service != before.service)
            fail_msg("a change, case %zu", i);
        assert_ptr_equal(after.circuit, before.circuit);
        assert_ptr_equal(after.adaptive, before.adaptive);
    }
    world_close(&w);
}

static void each_of_these_is_a_change(void **state)
{
    static const struct {
        const char *from, *to;
    } changes[] = {
        { "slow_start: 60s", "slow_start: 61s" }, { "panic: 50%", "panic: 51%" },
        { "eject: {}", "eject: { base: 7s }" },   { "adaptive: { min: 4 }", "adaptive: { min: 5 }" },
        { "open_for: 5s", "open_for: 6s" },       { "slow_start: 60s", "balance: random" },
    };
    world w;

    (void)state;
    for (size_t i = 0; i < mg_countof(changes); i++) {
        mg_text text = { 0 };
        const char *at = strstr(FIRST, changes[i].from);
        assert_non_null(at);
        mg_text_addf(&text, "%.*s%s%s", (int)(at - FIRST), FIRST, changes[i].to,
                     at + strlen(changes[i].from));
        world_open(&w, FIRST);
        const kept before = look(&w);
        reload(&w, text.p);
        if (look(&w).service == before.service)
            fail_msg("no change: %s", changes[i].to);
        world_close(&w);
        mg_text_fini(&text);
    }
}

/* A reload is refused for what it cannot change, and for nothing that means the same. */
static void what_is_fixed_may_be_written_otherwise(void **state)
{
    static const struct {
        const char *text;
        bool follows;
    } cases[] = {
        { "workers: 0\nstatus: { bind: \"10.0.0.1:9901\" }\n" ROUTE, true },
        { "status:\n  # here\n  bind: 10.0.0.1:9901\n" ROUTE, true },
        { "status: { bind: \"10.0.0.1:9902\" }\n" ROUTE, false },
        { ROUTE, false },
        { "workers: 3\nstatus: { bind: \"10.0.0.1:9901\" }\n" ROUTE, false },
        { "admin: { bind: \"unix:admin.sock\" }\nstatus: { bind: \"10.0.0.1:9901\" }\n" ROUTE, false },
        { "state: { path: ./state }\nstatus: { bind: \"10.0.0.1:9901\" }\n" ROUTE, false },
    };
    mg_text first = { 0 }, text = { 0 };
    world w;

    (void)state;
    mg_text_add_c(&first, HEAD SERVICE "status: { bind: \"10.0.0.1:9901\" }\n" ROUTE);
    world_open(&w, first.p);
    for (size_t i = 0; i < mg_countof(cases); i++) {
        const uint64_t before = w.gateway->revision;
        mg_text_clear(&text);
        mg_text_addf(&text, "%s%s", HEAD SERVICE, cases[i].text);
        w.next = text.p;
        mg_gateway_reload(w.gateway);
        settle(&w);
        if (w.gateway->revision != before + cases[i].follows)
            fail_msg("%s\n%s", text.p, w.logged.p);
    }
    world_close(&w);
    mg_text_fini(&first);
    mg_text_fini(&text);
}

/* ./state and state are one folder. */
static void a_state_may_be_written_otherwise(void **state)
{
    static const char *const same[] = { "state: { path: ./state, max_size: 16MiB }\n",
                                        "state: { max_size: 16384KiB, path: .//./state/ }\n",
                                        "state: { max_size: 16MiB, path: state, sync: every_second }\n" };
    mg_text text = { 0 };
    world w;

    (void)state;
    world_open(&w, HEAD SERVICE ROUTE "state: { path: state, max_size: 16MiB }\n");
    for (size_t i = 0; i < mg_countof(same); i++) {
        mg_text_clear(&text);
        mg_text_addf(&text, "%s%s", HEAD SERVICE ROUTE, same[i]);
        reload(&w, text.p);
    }
    world_close(&w);
    mg_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_in_other_words_is_no_change),
        cmocka_unit_test(each_of_these_is_a_change),
        cmocka_unit_test(what_is_fixed_may_be_written_otherwise),
        cmocka_unit_test(a_state_may_be_written_otherwise),
    };
    return cmocka_run_group_tests_name("gateway/sim_same", tests, NULL, NULL);
}
