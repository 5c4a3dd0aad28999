/* What a node knows of a service: hosts that go and come, weights that probes make, what a change keeps. */
#include "gateway/service/service.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "state/persist.h"
#include "support/check.h"
#include "support/tmpdir.h"

typedef struct fixture {
    mg_fake_clock clock;
    mg_policy_clock policy;
    mg_shared *shared;
    mg_persist *persist; /* owned; may be NULL */
    mg_services *services;
    mg_config_service conf;
    mg_config_endpoint endpoints[4];
    mg_str authorities[4];
} fixture;

static void fixture_keep(fixture *f, mg_persist *persist)
{
    const mg_shared_options options = {
        .workers = 1, .clock = &f->clock.clock, .policy_clock = &f->policy, .persist = persist, .seed = 7
    };

    mg_shared_free(f->shared);
    f->persist = persist;
    f->shared = mg_shared_new(&options);
    f->services = mg_shared_services(f->shared);
}

static fixture *fixture_new(size_t hosts)
{
    static const char *const names[] = { "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80" };
    fixture *f = MG_NEW(fixture);

    mg_fake_clock_init(&f->clock, MG_NS_PER_S, 0);
    mg_policy_clock_init(&f->policy, &f->clock.clock, NULL, "boot");
    fixture_keep(f, NULL);
    for (size_t i = 0; i < 4; i++) {
        f->authorities[i] = mg_str_of(names[i]);
        f->endpoints[i].weight = 1;
    }
    f->conf = (mg_config_service){ .name = MG_STR("cart"),
                                   .endpoints = f->endpoints,
                                   .endpoint_count = hosts,
                                   .balance = MG_BALANCER_ROUND_ROBIN,
                                   .panic_percent = 50 };
    f->conf.health.on = true;
    f->conf.health.conf = (mg_health_conf){ .unhealthy_after = 3, .healthy_after = 2 };
    f->conf.eject.conf = ejection_defaults;
    mg_breaker_conf_defaults(&f->conf.breaker.conf, MG_BREAKER_TIME_WINDOW);
    return f;
}

static void fixture_free(fixture *f)
{
    mg_shared_free(f->shared);
    mg_persist_free(f->persist);
    mg_free(f);
}

static uint64_t now(const fixture *f)
{
    return mg_policy_clock_now(&f->policy);
}

static mg_service *take(fixture *f)
{
    mg_service *service = mg_services_take(f->services, &f->conf, f->authorities);

    mg_service_adopt(service, f->clock.mono);
    return service;
}

static bool usable(const fixture *f, const mg_service *service, size_t host)
{
    bool all[4] = { false };

    (void)mg_service_usable(service, now(f), all);
    return all[host];
}

static void probe(mg_service *service, size_t host, bool ok, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        (void)mg_service_probed(service, host, ok, NULL, 5);
}

static void a_host_that_fails_its_probes_is_used_again_when_too_few_are_left(void **state)
{
    fixture *f = fixture_new(3);
    mg_service *service = take(f);
    const uint32_t version = service->version;

    (void)state;
    assert_true(usable(f, service, 0)); /* not probed yet */
    probe(service, 0, true, 1);
    probe(service, 0, false, 2);
    assert_true(usable(f, service, 0));
    assert_true(mg_service_probed(service, 0, false, NULL, 5));
    assert_false(usable(f, service, 0));
    assert_true(service->version != version);
    assert_false(mg_service_in_panic(service, now(f)));
    probe(service, 1, false, 1); /* the first result decides */
    assert_true(mg_service_in_panic(service, now(f)));
    assert_true(usable(f, service, 0) && usable(f, service, 1));
    probe(service, 1, true, 2);
    assert_false(usable(f, service, 0));
    mg_service_unref(service);
    fixture_free(f);
}

static void an_ejected_host_comes_back_when_its_time_is_over(void **state)
{
    fixture *f = fixture_new(3);
    bool all[4];

    (void)state;
    f->conf.eject.on = true;
    f->conf.eject.conf.consecutive = 2;
    f->conf.eject.conf.base_ms = 1000;
    mg_service *service = take(f);
    assert_false(mg_service_result(service, 1, false, now(f)));
    assert_true(mg_service_result(service, 1, false, now(f)));
    assert_int_equal(mg_service_usable(service, now(f), all), now(f) + MG_NS_PER_S);
    assert_false(all[1]);
    mg_fake_clock_advance(&f->clock, MG_NS_PER_S);
    assert_int_equal(mg_service_usable(service, now(f), all), UINT64_MAX);
    assert_true(all[1]);
    mg_service_unref(service);
    fixture_free(f);
}

static uint64_t since(fixture *f, const mg_service *service, size_t host)
{
    uint64_t since_ns;

    (void)mg_service_host_weight(service, host, now(f), f->clock.mono, &since_ns);
    return since_ns;
}

static void a_host_is_back_with_its_first_answer_or_when_its_ejection_ends(void **state)
{
    fixture *f = fixture_new(3);

    (void)state;
    f->clock.mono += 100 * MG_NS_PER_S;
    f->conf.eject.on = true;
    f->conf.eject.conf.consecutive = 3;
    f->conf.eject.conf.base_ms = 2000;
    mg_service *service = take(f);
    const uint32_t version = service->version;
    (void)mg_service_result(service, 0, false, now(f));
    mg_fake_clock_advance(&f->clock, MG_NS_PER_S - 1);
    (void)mg_service_result(service, 0, true, now(f)); /* a failure among good answers */
    assert_int_equal(since(f, service, 0), 0);
    assert_true(service->version == version);
    (void)mg_service_result(service, 0, false, now(f));
    mg_fake_clock_advance(&f->clock, MG_NS_PER_S);
    (void)mg_service_result(service, 0, true, now(f));
    const uint64_t back = f->clock.mono;
    assert_int_equal(since(f, service, 0), back);
    assert_true(service->version != version); /* every worker is told */
    for (int i = 0; i < 3; i++)
        (void)mg_service_result(service, 1, false, now(f));
    assert_int_equal(since(f, service, 1), 0);
    mg_fake_clock_advance(&f->clock, 3 * MG_NS_PER_S);
    assert_int_equal(since(f, service, 1), back + 2 * MG_NS_PER_S);
    assert_int_equal(since(f, service, 0), back);
    mg_fake_clock_advance(&f->clock, 3 * MG_NS_PER_S);
    assert_int_equal(since(f, service, 1), back + 2 * MG_NS_PER_S); /* the same moment whenever it is asked */
    mg_service_unref(service);
    fixture_free(f);
}

static void an_ejection_is_still_there_after_a_restart(void **state)
{
    char folder[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
    bool all[4];

    (void)state;
    tmpdir_make(folder);
    snprintf(path, sizeof path, "%s/policy", folder);
    for (int run = 0; run < 2; run++) {
        fixture *f = fixture_new(3);
        const mg_persist_options options = {
            .path = path, .max_bytes = 1 << 20, .clock = &f->clock.clock, .boot_id = "boot"
        };
        mg_error err = MG_ERROR_INIT;
        f->clock.mono += (uint64_t)run * MG_NS_PER_S; /* a second later */
        fixture_keep(f, mg_persist_open(&options, &f->policy, &err));
        f->conf.eject.on = true;
        f->conf.eject.conf.consecutive = 1;
        mg_service *service = take(f);
        if (run == 0)
            assert_true(mg_service_result(service, 1, false, now(f)));
        const uint64_t until = mg_service_usable(service, now(f), all);
        assert_false(all[1]);
        assert_int_equal(until - now(f), (30 - (uint64_t)run) * MG_NS_PER_S);
        assert_int_equal(mg_persist_flush(f->persist, &err), MG_OK);
        mg_service_unref(service);
        fixture_free(f);
    }
    tmpdir_remove(folder);
}

static void the_last_host_that_gets_requests_is_not_ejected(void **state)
{
    fixture *f = fixture_new(3);

    (void)state;
    f->conf.eject.on = true;
    f->conf.eject.conf.consecutive = 1;
    f->endpoints[0].weight = 0;
    mg_service *service = take(f);
    mg_service_set_down(service, 1, true, 9);
    assert_false(mg_service_result(service, 2, false, now(f)));
    assert_true(usable(f, service, 2));
    mg_service_set_down(service, 1, false, 9);
    assert_true(mg_service_result(service, 2, false, now(f)));
    mg_service_unref(service);
    fixture_free(f);
}

static void what_an_operator_takes_away_is_no_reason_to_panic(void **state)
{
    fixture *f = fixture_new(3);
    mg_service *service = take(f);

    (void)state;
    mg_service_set_down(service, 0, true, 9);
    mg_service_set_down(service, 1, true, 9);
    assert_false(mg_service_in_panic(service, now(f)));
    assert_false(usable(f, service, 0));
    assert_true(usable(f, service, 2));
    mg_service_set_down(service, 0, false, 9);
    assert_true(usable(f, service, 0));
    mg_service_unref(service);
    fixture_free(f);
}

static uint32_t weight(const fixture *f, const mg_service *service, size_t host)
{
    mg_host_view view;

    mg_service_host_view(service, host, now(f), &view);
    return view.weight;
}

static void loads_make_weights_and_a_failed_probe_halves_them(void **state)
{
    fixture *f = fixture_new(3);
    const mg_probe_load idle = { 0, 0, 0 }, half = { 0.5, 0.2, 0 }, broken = { 1.5, 0, 0 };

    (void)state;
    f->endpoints[2].weight = 0;
    mg_service *service = take(f);
    assert_int_equal(weight(f, service, 0), 1);
    (void)mg_service_probed(service, 0, true, &idle, 5);
    (void)mg_service_probed(service, 1, true, &half, 5);
    (void)mg_service_probed(service, 2, true, &idle, 5);
    assert_int_equal(weight(f, service, 0), 100);
    assert_int_equal(weight(f, service, 1), 50);
    assert_int_equal(weight(f, service, 2), 0);
    (void)mg_service_probed(service, 1, true, &broken, 5);
    assert_int_equal(weight(f, service, 1), 50);
    assert_int_equal(mg_cell_get(&service->of->cells[0].dropped_loads), 1);
    (void)mg_service_probed(service, 1, false, NULL, 5);
    assert_int_equal(weight(f, service, 1), 25);
    mg_service_unref(service);
    fixture_free(f);
}

static void the_same_configuration_is_the_same_service(void **state)
{
    fixture *f = fixture_new(3);
    mg_service *service = take(f), *again = take(f);

    (void)state;
    assert_ptr_equal(service, again);
    mg_service_unref(again);
    mg_service_unref(service);
    fixture_free(f);
}

static void a_change_keeps_what_is_known_of_a_host_and_one_that_joins_is_new(void **state)
{
    fixture *f = fixture_new(3);
    mg_service *service = take(f), *later;
    mg_host_view view;

    (void)state;
    f->conf.rules.a++; /* the block of another document */
    f->conf.eject.on = true;
    f->conf.eject.conf.consecutive = 1;
    mg_service *ejecting = take(f);
    assert_ptr_not_equal(service, ejecting);
    (void)mg_service_result(ejecting, 0, false, now(f));
    probe(ejecting, 1, false, 1);
    f->authorities[2] = f->authorities[0]; /* the last one stands first now, and one joins */
    f->authorities[0] = f->authorities[3];
    f->clock.mono = 7 * MG_NS_PER_S;
    later = take(f);
    mg_service_host_view(later, 2, now(f), &view);
    assert_true(view.ejected);
    assert_int_equal(view.since_ns, 0);
    mg_service_host_view(later, 1, now(f), &view);
    assert_int_equal(view.health, MG_HEALTH_DOWN);
    mg_service_host_view(later, 0, now(f), &view);
    assert_int_equal(view.health, MG_HEALTH_UNKNOWN);
    assert_int_equal(view.since_ns, 7 * MG_NS_PER_S);
    mg_service_unref(later);
    mg_service_unref(ejecting);
    mg_service_unref(service);
    fixture_free(f);
}

static void one_that_was_never_published_changes_nothing(void **state)
{
    fixture *f = fixture_new(3);
    mg_service *service = take(f);

    (void)state;
    f->conf.endpoint_count = 2;
    mg_service *candidate = mg_services_take(f->services, &f->conf, f->authorities);
    assert_ptr_equal(service->of->newest, service);
    mg_service_unref(candidate);
    f->conf.endpoint_count = 3;
    mg_service *again = take(f);
    assert_ptr_equal(again, service);
    mg_service_unref(again);
    mg_service_unref(service);
    fixture_free(f);
}

static void a_circuit_keeps_its_cells_whatever_its_configuration(void **state)
{
    fixture *f = fixture_new(1);

    (void)state;
    f->conf.breaker.on = true;
    mg_circuit *a = mg_services_circuit(f->services, &f->conf, MG_STR_NONE);
    mg_circuit *of_route = mg_services_circuit(f->services, &f->conf, MG_STR("r"));
    assert_ptr_equal(mg_services_circuit(f->services, &f->conf, MG_STR_NONE), a);
    assert_ptr_not_equal(of_route->breaker, a->breaker);
    f->conf.breaker.conf.open_ms = 4000;
    mg_circuit *b = mg_services_circuit(f->services, &f->conf, MG_STR_NONE);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a->cells, b->cells);
    mg_breaker_force(a->breaker, MG_BREAKER_FORCED_OPEN, now(f));
    assert_int_equal(mg_breaker_now(b->breaker, now(f)), MG_BREAKER_FORCED_OPEN);
    unsigned listed = 0;
    for (const mg_circuit *c = mg_services_named(f->services, MG_STR("cart"))->circuits; c; c = c->next)
        listed++;
    assert_int_equal(listed, 2);
    fixture_free(f);
}

/* What acts on all breakers of a service goes by the configuration in force. */
static void a_configuration_that_comes_back_is_the_one_in_force(void **state)
{
    fixture *f = fixture_new(1);

    (void)state;
    f->conf.breaker.on = true;
    mg_circuit *of_route = mg_services_circuit(f->services, &f->conf, MG_STR("r"));
    mg_circuit *first[3];
    for (unsigned i = 0; i < 3; i++) {
        f->conf.breaker.conf.open_ms = 1000 * (i + 1);
        first[i] = mg_services_circuit(f->services, &f->conf, MG_STR_NONE);
    }
    static const unsigned order[] = { 0, 2, 1, 1, 0 };
    for (unsigned i = 0; i < 5; i++) {
        f->conf.breaker.conf.open_ms = 1000 * (order[i] + 1);
        assert_ptr_equal(mg_services_circuit(f->services, &f->conf, MG_STR_NONE), first[order[i]]);
        const mg_circuit *list = mg_services_named(f->services, MG_STR("cart"))->circuits;
        assert_true(list == first[order[i]] || list == of_route);
        assert_true(list->next == first[order[i]] || list->next == of_route);
        assert_null(list->next->next);
    }
    fixture_free(f);
}

static void second_of(fixture *f, mg_service *service, mg_figures_outcome outcome, uint64_t ms)
{
    for (unsigned i = 0; i < 30; i++)
        mg_figures_add(service->of->figures, 0, outcome, ms * MG_NS_PER_MS);
    mg_fake_clock_advance(&f->clock, MG_NS_PER_S);
}

static void the_detector_opens_what_behaves_unlike_itself(void **state)
{
    fixture *f = fixture_new(1);
    mg_rand rand;
    bool tripped = false;

    (void)state;
    mg_rand_init(&rand, 3);
    f->conf.breaker.on = f->conf.breaker.detect = true;
    f->conf.breaker.detector = MG_DETECTOR_ROBUST_Z;
    mg_service *service = take(f);
    for (unsigned i = 0; i < 20; i++) {
        second_of(f, service, MG_FIGURES_OK, 20 + i % 3);
        assert_false(mg_service_tick(service, now(f), &rand));
    }
    second_of(f, service, MG_FIGURES_ERROR, 20);
    assert_false(mg_service_tick(service, now(f), &rand));
    second_of(f, service, MG_FIGURES_ERROR, 20);
    tripped = mg_service_tick(service, now(f), &rand);
    assert_true(tripped);
    assert_int_equal(mg_breaker_now(service->circuit->breaker, now(f)), MG_BREAKER_OPEN);
    assert_int_equal(mg_breaker_changes(service->circuit->breaker, MG_BREAKER_BY_ANOMALY), 1);
    mg_service_unref(service);
    fixture_free(f);
}

static void a_breaker_that_nobody_asks_any_more_does_not_blind_the_detector(void **state)
{
    fixture *f = fixture_new(1);
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 3);
    f->conf.breaker.on = f->conf.breaker.detect = true;
    mg_service *service = take(f);
    mg_circuit *gone = mg_services_circuit(f->services, &f->conf, MG_STR("gone"));
    assert_true(mg_breaker_trip(gone->breaker, now(f)));
    mg_fake_clock_advance(&f->clock, 60 * MG_NS_PER_S);
    for (unsigned i = 0; i < 22; i++) {
        second_of(f, service, i < 20 ? MG_FIGURES_OK : MG_FIGURES_ERROR, 20 + i % 3);
        assert_int_equal(mg_service_tick(service, now(f), &rand), i == 21);
    }
    mg_service_unref(service);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_fails_its_probes_is_used_again_when_too_few_are_left),
        cmocka_unit_test(an_ejected_host_comes_back_when_its_time_is_over),
        cmocka_unit_test(a_host_is_back_with_its_first_answer_or_when_its_ejection_ends),
        cmocka_unit_test(an_ejection_is_still_there_after_a_restart),
        cmocka_unit_test(the_last_host_that_gets_requests_is_not_ejected),
        cmocka_unit_test(what_an_operator_takes_away_is_no_reason_to_panic),
        cmocka_unit_test(loads_make_weights_and_a_failed_probe_halves_them),
        cmocka_unit_test(the_same_configuration_is_the_same_service),
        cmocka_unit_test(a_change_keeps_what_is_known_of_a_host_and_one_that_joins_is_new),
        cmocka_unit_test(one_that_was_never_published_changes_nothing),
        cmocka_unit_test(a_circuit_keeps_its_cells_whatever_its_configuration),
        cmocka_unit_test(a_configuration_that_comes_back_is_the_one_in_force),
        cmocka_unit_test(the_detector_opens_what_behaves_unlike_itself),
        cmocka_unit_test(a_breaker_that_nobody_asks_any_more_does_not_blind_the_detector),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
