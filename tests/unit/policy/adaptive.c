/* How much at once, and what is unlike itself, by example (docs/policies.md 5 and 8). */
#include "policy/adaptive.h"
#include "policy/detector.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

static void an_idle_service_keeps_its_limit(void **state)
{
    mg_adaptive_conf conf;
    mg_gradient g;

    (void)state;
    conf = adaptive_defaults;
    mg_gradient_init(&g, &conf);
    for (int i = 0; i < 50; i++)
        assert_float_equal(mg_gradient_window(&g, &conf, 10, 20), 64, 1e-6);
    assert_float_equal(mg_gradient_window(&g, &conf, 0, 64), 64, 1e-6); /* no latency, no news */
    for (int i = 0; i < 500; i++)
        mg_gradient_window(&g, &conf, 10, g.limit);
    assert_float_equal(g.limit, 1024, 1e-6);
}

/* A service whose latency is queueing: twice the load, twice the time. */
static void overload_is_cut_down_and_stays_down(void **state)
{
    mg_adaptive_conf conf;
    mg_gradient g;
    double worst = 0;

    (void)state;
    conf = adaptive_defaults;
    conf.initial = 20;
    mg_gradient_init(&g, &conf);
    for (int i = 0; i < 20; i++)
        mg_gradient_window(&g, &conf, 10, 10); /* of 20 that it can take */
    for (int i = 0; i < 1800; i++) {
        const double rtt = g.limit > 20 ? 10 * g.limit / 20 : 10;

        if (i > 100 && !g.probing)
            worst = rtt > worst ? rtt : worst;
        mg_gradient_window(&g, &conf, rtt, g.limit);
    }
    assert_true(worst < 30);
    assert_true(g.limit >= 8);
}

static void a_probe_finds_that_load_is_not_the_cause(void **state)
{
    mg_adaptive_conf conf;
    mg_gradient g;
    bool probed = false;

    (void)state;
    conf = adaptive_defaults;
    conf.probe_after = 3;
    mg_gradient_init(&g, &conf);
    for (int i = 0; i < 10; i++)
        mg_gradient_window(&g, &conf, 10, g.limit);
    for (int i = 0; i < 4; i++) { /* everything is slower from now on */
        probed |= g.probing;
        mg_gradient_window(&g, &conf, 50, g.limit);
    }
    assert_true(probed);
    assert_float_equal(g.long_rtt, 50, 1e-6);
    conf.probe_after = 0;
    for (int i = 0; i < 100; i++) {
        mg_gradient_window(&g, &conf, 500, g.limit);
        assert_false(g.probing);
    }
}

static void workers_share_one_limit(void **state)
{
    mg_adaptive_conf conf;
    mg_adaptive *a;
    uint64_t now = 0;

    (void)state;
    conf = adaptive_defaults;
    conf.initial = 10;
    a = mg_adaptive_new(&conf);
    for (int i = 0; i < 10; i++)
        assert_true(mg_adaptive_begin(a));
    assert_false(mg_adaptive_begin(a));
    assert_int_equal(mg_adaptive_inflight(a), 10);
    for (int i = 0; i < 10; i++)
        mg_adaptive_end(a, 20 * MG_NS_PER_MS, 1 + (now += 10 * MG_NS_PER_MS));
    assert_int_equal(mg_adaptive_limit(a), 10); /* no second is over */
    assert_true(mg_adaptive_begin(a));
    mg_adaptive_end(a, 20 * MG_NS_PER_MS, MG_NS_PER_S * 2);
    assert_int_equal(mg_adaptive_limit(a), 10); /* 10 * 0.8 + (10 + 4) * 0.2 is 10.8 */
    for (int second = 3; second < 6; second++) {
        for (int i = 0; i < 10; i++)
            assert_true(mg_adaptive_begin(a));
        for (int i = 0; i < 10; i++)
            mg_adaptive_end(a, 20 * MG_NS_PER_MS, (uint64_t)second * MG_NS_PER_S);
    }
    assert_in_range(mg_adaptive_limit(a), 11, 14);
    assert_true(mg_adaptive_begin(a));
    mg_adaptive_end(a, 0, 7 * MG_NS_PER_S); /* the client left */
    assert_int_equal(mg_adaptive_inflight(a), 0);
    mg_adaptive_free(a);
}

static void a_throttle_drops_what_would_be_refused_anyway(void **state)
{
    mg_throttle *t = mg_throttle_new();
    mg_throttle_conf conf;
    int admitted = 0;

    (void)state;
    conf = throttle_defaults;
    for (int i = 0; i < 1000; i++) {
        admitted += mg_throttle_admit(t, &conf, i % 100 / 100.0, MG_NS_PER_S);
        if (i % 4 == 0)
            mg_throttle_accepted(t, MG_NS_PER_S);
    }
    assert_in_range(admitted, 480, 560);
    for (int i = 0; i < 500; i++) /* nothing is ever taken: one in ten still asks */
        mg_throttle_admit(t, &conf, 0.5, 200 * MG_NS_PER_S);
    assert_true(mg_throttle_admit(t, &conf, 0.9, 200 * MG_NS_PER_S));
    assert_false(mg_throttle_admit(t, &conf, 0.89, 200 * MG_NS_PER_S));
    assert_true(mg_throttle_admit(t, &conf, 0, 400 * MG_NS_PER_S)); /* two minutes later that is forgotten */
    mg_throttle_free(t);
}

static mg_detector_tick tick(double p95_ms, double errors, double timeouts)
{
    return (mg_detector_tick){ p95_ms, errors, timeouts, false, true };
}

/* A minute of a service as it is on most days. */
static void usual(mg_detector *d, mg_rand *rand, int ticks)
{
    for (int i = 0; i < ticks; i++) {
        const mg_detector_tick t =
            tick(20 + (double)mg_rand_below(rand, 5), 0.001 * (double)mg_rand_below(rand, 3), 0);

        assert_false(mg_detector_add(d, &t, rand));
    }
}

static void two_bad_seconds_in_a_row_trip(void **state)
{
    const mg_detector_tick slow = tick(200, 0, 0), failing = tick(21, 0.3, 0), good = tick(21, 0, 0);

    (void)state;
    for (int kind = MG_DETECTOR_ROBUST_Z; kind <= MG_DETECTOR_IFOREST; kind++) {
        mg_detector d;
        mg_rand rand;

        mg_rand_init(&rand, 7);
        mg_detector_init(&d, (mg_detector_kind)kind);
        usual(&d, &rand, 60);
        assert_false(mg_detector_add(&d, &slow, &rand));
        assert_false(mg_detector_add(&d, &good, &rand));
        assert_false(mg_detector_add(&d, &failing, &rand));
        assert_true(mg_detector_add(&d, &failing, &rand));
    }
}

static void what_is_odd_but_no_harm_does_not_trip(void **state)
{
    (void)state;
    for (int kind = MG_DETECTOR_ROBUST_Z; kind <= MG_DETECTOR_IFOREST; kind++) {
        const mg_detector_tick odd[] = { tick(1, 0, 0), tick(35, 0, 0), tick(20, 0.04, 0),
                                         tick(20, 0, 0.019) };

        for (size_t i = 0; i < mg_countof(odd); i++) {
            mg_detector d;
            mg_rand rand;

            mg_rand_init(&rand, 7);
            mg_detector_init(&d, (mg_detector_kind)kind);
            usual(&d, &rand, 60);
            assert_false(mg_detector_add(&d, &odd[i], &rand));
            assert_false(mg_detector_add(&d, &odd[i], &rand));
            assert_false(mg_detector_add(&d, &odd[i], &rand));
        }
    }
}

static void what_is_usual_here_does_not_trip(void **state)
{
    (void)state;
    for (int kind = MG_DETECTOR_ROBUST_Z; kind <= MG_DETECTOR_IFOREST; kind++) {
        mg_detector d;
        mg_rand rand;

        mg_rand_init(&rand, 7);
        mg_detector_init(&d, (mg_detector_kind)kind);
        for (int i = 0; i < 200; i++) { /* it fails one in ten, and always has */
            const mg_detector_tick t = tick(20, 0.1 + 0.001 * (i / 2 % 3), 0);

            assert_false(mg_detector_add(&d, &t, &rand));
        }
    }
}

static void nothing_is_judged_by_too_little(void **state)
{
    mg_detector_tick bad = tick(900, 0.9, 0.9);
    mg_detector d;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 7);
    mg_detector_init(&d, MG_DETECTOR_ROBUST_Z);
    usual(&d, &rand, 8); /* ticks */
    assert_false(mg_detector_add(&d, &bad, &rand));
    assert_false(mg_detector_add(&d, &bad, &rand));
    mg_detector_init(&d, MG_DETECTOR_ROBUST_Z);
    usual(&d, &rand, 60);
    bad.enough = false; /* calls */
    for (int i = 0; i < 5; i++)
        assert_false(mg_detector_add(&d, &bad, &rand));
    bad.enough = bad.open = true;
    for (int i = 0; i < 5; i++)
        assert_false(mg_detector_add(&d, &bad, &rand));
    assert_int_equal(d.count, 60);
    bad.open = false;
    assert_false(mg_detector_add(&d, &bad, &rand));
    assert_true(mg_detector_add(&d, &bad, &rand));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_service_keeps_its_limit),
        cmocka_unit_test(overload_is_cut_down_and_stays_down),
        cmocka_unit_test(a_probe_finds_that_load_is_not_the_cause),
        cmocka_unit_test(workers_share_one_limit),
        cmocka_unit_test(a_throttle_drops_what_would_be_refused_anyway),
        cmocka_unit_test(two_bad_seconds_in_a_row_trip),
        cmocka_unit_test(what_is_odd_but_no_harm_does_not_trip),
        cmocka_unit_test(what_is_usual_here_does_not_trip),
        cmocka_unit_test(nothing_is_judged_by_too_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
