/* What all workers share, found by name, and what of it comes back after a kill. */
#include "unit/state/persist_fixture.h"

#include "gateway/shared.h"
#include "state/kv.h"

static memory m;
static mg_kv *kv;
static mg_shared *shared;

static void make_shared(void)
{
    shared = mg_shared_new(&(mg_shared_options){ .workers = 1,
                                                 .clock = &m.clock.clock,
                                                 .policy_clock = &m.policy_clock,
                                                 .log = m.log,
                                                 .kv = kv,
                                                 .persist = m.persist,
                                                 .seed = 3 });
}

static int set_up(void **state)
{
    (void)state;
    memory_init(&m);
    memory_open(&m);
    kv = mg_kv_new(&(mg_kv_options){ .clock = &m.clock.clock }, NULL);
    make_shared();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mg_shared_free(shared);
    mg_kv_free(kv);
    memory_fini(&m);
    return 0;
}

/* What was stored 50 ms after the last change, `down_ns` later. */
static void kill_and_start(uint64_t down_ns)
{
    mg_fake_clock_advance(&m.clock, MG_PERSIST_LOOK_MS * MS);
    memory_flush(&m);
    mg_shared_free(shared);
    memory_restart(&m, down_ns);
    make_shared();
}

/* ---- breakers ---- */

static mg_breaker_conf breaker_conf(void)
{
    mg_breaker_conf conf;

    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.consecutive_failures = 2;
    conf.open_ms = 10000;
    conf.open_max_ms = 60000;
    conf.open_jitter_bp = 0;
    return conf;
}

static mg_breaker *breaker(const mg_breaker_conf *conf)
{
    mg_breaker *b = mg_shared_breaker(shared, MG_STR("cart"), conf);

    assert_non_null(b);
    return b;
}

static uint64_t now(void)
{
    return memory_now(&m);
}

static void fail_twice(mg_breaker *b)
{
    for (int i = 0; i < 2; i++)
        mg_breaker_end(b, mg_breaker_ask(b, now()), MG_BREAKER_FAIL, 0, now());
    assert_int_equal(mg_breaker_now(b, now()), MG_BREAKER_OPEN);
}

static void an_open_breaker_has_what_is_left_of_its_time(void **state)
{
    mg_breaker_conf conf = breaker_conf();

    (void)state;
    fail_twice(breaker(&conf));
    kill_and_start(4000 * MS);
    assert_int_equal(mg_breaker_now(breaker(&conf), now()), MG_BREAKER_OPEN);
    assert_in_range(mg_breaker_retry_after_ms(breaker(&conf), now()), 5900, 5950);
    kill_and_start(0);
    conf.open_ms = 1000;
    conf.open_max_ms = 2000; /* the configuration of now */
    assert_in_range(mg_breaker_retry_after_ms(breaker(&conf), now()), 1900, 2000);
}

static void a_half_open_breaker_probes_again(void **state)
{
    const mg_breaker_conf conf = breaker_conf();

    (void)state;
    fail_twice(breaker(&conf));
    mg_fake_clock_advance(&m.clock, 11 * S);
    assert_true(mg_breaker_ask(breaker(&conf), now()) != 0);
    assert_int_equal(mg_breaker_now(breaker(&conf), now()), MG_BREAKER_HALF_OPEN);
    kill_and_start(0);
    assert_true(mg_breaker_ask(breaker(&conf), now()) != 0);
    assert_int_equal(mg_breaker_now(breaker(&conf), now()), MG_BREAKER_HALF_OPEN);
}

static void an_operators_word_stays(void **state)
{
    const mg_breaker_conf conf = breaker_conf();

    (void)state;
    mg_breaker_force(breaker(&conf), MG_BREAKER_FORCED_OPEN, now());
    kill_and_start(400 * H);
    assert_int_equal(mg_breaker_now(breaker(&conf), now()), MG_BREAKER_FORCED_OPEN);
}

static void a_breaker_is_kept_through_its_newest_configuration(void **state)
{
    mg_breaker_conf conf = breaker_conf();
    mg_breaker *first = breaker(&conf), *second;

    (void)state;
    conf.open_ms = 20000;
    second = breaker(&conf);
    fail_twice(second);
    conf.open_ms = 10000;
    assert_ptr_equal(breaker(&conf), first);
    kill_and_start(15 * S);
    assert_int_equal(mg_breaker_now(breaker(&conf), now()), MG_BREAKER_OPEN);
}

static void each_field_of_a_breaker_makes_another_one(void **state)
{
    mg_breaker_conf conf = breaker_conf(), other = conf;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_TIME_WINDOW);
    const mg_breaker *first = breaker(&conf);
    assert_ptr_equal(breaker(&conf), first);
    other = conf, other.failure_bp--;
    assert_ptr_not_equal(breaker(&other), first);
    other = conf, other.min_calls++;
    assert_ptr_not_equal(breaker(&other), first);
    other = conf, other.window_ms += other.window_ms;
    assert_ptr_not_equal(breaker(&other), first);
    assert_ptr_equal(breaker(&conf), first);
}

/* ---- limiters ---- */

static mg_config_limiter rule_of(mg_config_key_kind kind, const char *header, uint64_t limit)
{
    mg_config_limiter rule = { .name = MG_STR("per"),
                               .key = { .parts = 1, .ipv4_prefix = 32, .ipv6_prefix = 64 } };

    rule.key.part[0] = (mg_config_key_part){ kind, mg_str_of(header), MG_NAME_OTHER };
    mg_limiter_conf_defaults(&rule.conf);
    rule.conf.limit = limit;
    rule.conf.period_ms = 3600000;
    rule.conf.max_keys = 100;
    return rule;
}

static uint64_t take(mg_limiter *l, uint32_t cost)
{
    mg_limiter_answer a;

    assert_non_null(l);
    assert_true(mg_limiter_take(l, "k", 1, cost, now(), &a));
    return a.remaining;
}

static uint64_t left(mg_limiter *l)
{
    mg_limiter_answer a;

    assert_non_null(l);
    mg_limiter_peek(l, "k", 1, 0, now(), &a);
    return a.remaining;
}

static void a_rule_whose_key_is_made_otherwise_begins_with_nothing(void **state)
{
    mg_config_limiter ip = rule_of(MG_CONFIG_KEY_IP, "", 10), header = rule_of(MG_CONFIG_KEY_HEADER, "x", 10);
    mg_config_limiter wider = ip;

    (void)state;
    wider.key.ipv4_prefix = 24;
    assert_int_equal(take(mg_shared_rule(shared, &ip), 4), 6);
    assert_int_equal(left(mg_shared_rule(shared, &header)), 10);
    assert_int_equal(left(mg_shared_rule(shared, &wider)), 10);
    assert_int_equal(left(mg_shared_limiter(shared, MG_STR("per"), &ip.conf, NULL)), 10); /* a plugin's */
    assert_int_equal(left(mg_shared_rule(shared, &ip)), 6);
    kill_and_start(0);
    assert_int_equal(left(mg_shared_rule(shared, &header)), 10);
    assert_int_equal(left(mg_shared_rule(shared, &ip)), 6);
}

static void a_configuration_that_comes_back_goes_on_with_the_state_of_now(void **state)
{
    mg_config_limiter bucket = rule_of(MG_CONFIG_KEY_IP, "", 10), window = bucket;

    (void)state;
    window.conf.algorithm = MG_LIMITER_FIXED_WINDOW;
    assert_int_equal(take(mg_shared_rule(shared, &bucket), 2), 8);
    assert_int_equal(take(mg_shared_rule(shared, &window), 5), 3);
    assert_int_equal(left(mg_shared_rule(shared, &bucket)), 3);
    kill_and_start(0);
    assert_int_equal(left(mg_shared_rule(shared, &bucket)), 3);
}

static void what_a_log_may_hold_makes_another_one(void **state)
{
    mg_config_limiter rule = rule_of(MG_CONFIG_KEY_IP, "", 10);
    const mg_limiter *first;

    (void)state;
    rule.conf.algorithm = MG_LIMITER_SLIDING_LOG;
    first = mg_shared_rule(shared, &rule);
    rule.conf.max_entries = 20;
    assert_ptr_not_equal(mg_shared_rule(shared, &rule), first);
    rule.conf.max_entries = 5;
    assert_null(mg_shared_rule(shared, &rule));
}

/* ---- a candidate's ---- */

static mg_limiter *plugin_limiter(uint64_t limit)
{
    mg_limiter_conf conf = rule_of(MG_CONFIG_KEY_IP, "", limit).conf;

    return mg_shared_limiter(shared, MG_STR("p/l"), &conf, NULL);
}

static mg_breaker *plugin_breaker(uint64_t open_ms)
{
    mg_breaker_conf conf = breaker_conf();

    conf.open_ms = conf.open_max_ms = open_ms;
    return mg_shared_plugin_breaker(shared, MG_STR("p/b"), &conf, NULL);
}

static void what_a_candidate_asks_for_is_seen_when_it_is_adopted(void **state)
{
    mg_limiter *live = plugin_limiter(10);
    mg_breaker *live_breaker = plugin_breaker(60000);

    (void)state;
    assert_int_equal(take(live, 8), 2);
    fail_twice(live_breaker);
    mg_shared_begin(shared);
    assert_ptr_equal(plugin_limiter(10), live); /* nothing differs */
    mg_limiter *candidate = plugin_limiter(4);
    mg_breaker *candidate_breaker = plugin_breaker(1000);
    assert_ptr_equal(plugin_limiter(4), candidate); /* for each worker's VM */
    mg_shared_built(shared);
    assert_int_equal(left(live), 2);
    assert_in_range(mg_breaker_retry_after_ms(live_breaker, now()), 59000, 60000);
    assert_ptr_equal(plugin_limiter(10), live);

    assert_int_equal(take(live, 1), 1); /* while names are looked up */
    mg_shared_adopt(shared);
    assert_int_equal(left(candidate), 0); /* a debt of 9, lowered to 4 */
    assert_int_equal(mg_breaker_now(candidate_breaker, now()), MG_BREAKER_OPEN);
    assert_in_range(mg_breaker_retry_after_ms(candidate_breaker, now()), 1, 1000);
    assert_true(mg_limiter_shares(live, candidate)); /* requests that began before go on */
    assert_ptr_equal(plugin_limiter(4), candidate);
    kill_and_start(0);
    assert_int_equal(left(plugin_limiter(4)), 0);
}

static void what_a_candidate_asked_for_goes_with_it(void **state)
{
    mg_limiter *live = plugin_limiter(10);
    char name[16];

    (void)state;
    assert_int_equal(take(live, 8), 2);
    for (int i = 0; i < 3 * MG_SHARED_POLICIES_MAX; i++) {
        mg_shared_begin(shared);
        mg_limiter_conf conf = rule_of(MG_CONFIG_KEY_IP, "", 5).conf;
        snprintf(name, sizeof name, "n%d", i);
        assert_non_null(mg_shared_limiter(shared, mg_str_of(name), &conf, NULL));
        assert_int_equal(take(plugin_limiter(1 + i % 9), 1), i % 9);
        assert_non_null(plugin_breaker(1000 + (uint64_t)i));
        assert_non_null(mg_shared_counter(shared, mg_str_of(name), &(bool){ false }));
        mg_shared_built(shared);
        mg_shared_drop(shared);
    }
    assert_ptr_equal(plugin_limiter(10), live);
    assert_int_equal(left(live), 2);
    assert_non_null(plugin_breaker(1));
}

static void an_earlier_configuration_comes_back_by_adoption(void **state)
{
    mg_limiter *ten = plugin_limiter(10), *four;

    (void)state;
    assert_int_equal(take(ten, 2), 8);
    mg_shared_begin(shared);
    four = plugin_limiter(4);
    mg_shared_built(shared);
    mg_shared_adopt(shared);
    assert_int_equal(take(four, 1), 2); /* 12 minutes of debt, and 15 */
    for (int round = 0; round < 3; round++) {
        mg_shared_begin(shared);
        assert_ptr_equal(plugin_limiter(10), ten);
        mg_shared_built(shared);
        if (round == 0) {
            mg_shared_drop(shared);
            assert_ptr_equal(plugin_limiter(4), four);
        } else {
            mg_shared_adopt(shared);
            assert_ptr_equal(plugin_limiter(10), ten);
        }
    }
    assert_int_equal(left(ten), 5); /* 27 minutes */
}

static void a_plugin_has_its_share_of_counters(void **state)
{
    char name[32];
    bool first = false;
    unsigned told = 0;

    (void)state;
    mg_shared_begin(shared); /* half of them a candidate's */
    for (int i = 0; i < MG_PLUGIN_COUNTERS_MAX / 2; i++) {
        snprintf(name, sizeof name, "p/n%d", i);
        assert_non_null(mg_shared_counter(shared, mg_str_of(name), &first));
    }
    mg_shared_built(shared);
    mg_shared_adopt(shared);
    for (int i = 0; i < MG_PLUGIN_COUNTERS_MAX + 9; i++) {
        snprintf(name, sizeof name, "p/n%d", i);
        assert_int_equal(mg_shared_counter(shared, mg_str_of(name), &first) != NULL,
                         i < MG_PLUGIN_COUNTERS_MAX);
        told += first;
    }
    assert_int_equal(told, 1);
    assert_int_equal(mg_shared_counters_dropped(shared), 9);
    assert_non_null(mg_shared_counter(shared, MG_STR("p/n7"), &first)); /* those that are there stay */
    assert_non_null(mg_shared_counter(shared, MG_STR("pp/n7"), &first));
    assert_non_null(mg_shared_counter(shared, MG_STR("q/n300"), &first));
    assert_false(first);
}

static void a_candidate_has_no_more_names_than_there_are(void **state)
{
    char name[16];
    int made = 0;

    (void)state;
    mg_shared_begin(shared);
    for (int i = 0; i < MG_SHARED_COUNTERS_MAX + 5; i++) {
        snprintf(name, sizeof name, "n%d", i);
        made += mg_shared_counter(shared, mg_str_of(name), &(bool){ false }) != NULL;
    }
    assert_int_equal(made, MG_SHARED_COUNTERS_MAX);
    made = 0;
    for (int i = 0; i < MG_SHARED_POLICIES_MAX + 5; i++) {
        mg_limiter_conf conf = rule_of(MG_CONFIG_KEY_IP, "", 5).conf;
        conf.max_keys = conf.overflow_cells = 8;
        snprintf(name, sizeof name, "n%d", i);
        made += mg_shared_limiter(shared, mg_str_of(name), &conf, NULL) != NULL;
    }
    assert_int_equal(made, MG_SHARED_POLICIES_MAX);
    mg_shared_built(shared);
    mg_shared_drop(shared);
    assert_non_null(mg_shared_counter(shared, MG_STR("one"), &(bool){ false }));
}

static mg_limiter *large_limiter(const char *name, mg_error *err)
{
    mg_limiter_conf conf = rule_of(MG_CONFIG_KEY_IP, "", 5).conf;

    conf.max_keys = 1 << 26;
    conf.overflow_cells = 1;
    return mg_shared_limiter(shared, mg_str_of(name), &conf, err);
}

/* Nothing of them is touched, so that the machine need not have it. */
static void limiters_of_plugins_have_so_much_memory_together(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_non_null(large_limiter("a", &err));
    mg_shared_begin(shared);
    assert_non_null(large_limiter("b", &err));
    assert_non_null(large_limiter("c", &err));
    assert_null(large_limiter("d", &err));
    assert_string_equal(
        err.message,
        "full of keys it takes 2064 MiB; all limiters that plugins make have 8192 MiB together, of "
        "which 6192 are taken: lower max_keys");
    assert_non_null(large_limiter("a", &err)); /* which are there already */
    assert_non_null(large_limiter("b", &err));
    mg_shared_built(shared);
    mg_shared_drop(shared);
    assert_non_null(large_limiter("b", &err));
    assert_non_null(large_limiter("d", &err));
    assert_null(large_limiter("e", &err));
}

static void a_counter_that_a_request_counts_in_stays(void **state)
{
    (void)state;
    mg_shared_begin(shared);
    mg_counter *kept = mg_shared_counter(shared, MG_STR("kept"), &(bool){ false });
    assert_non_null(mg_shared_counter(shared, MG_STR("dropped"), &(bool){ false }));
    mg_shared_built(shared);
    assert_ptr_equal(mg_shared_counter(shared, MG_STR("kept"), &(bool){ false }),
                     kept); /* a request's, meanwhile */
    mg_cell_add(&kept->cells[0].cell, 3);
    mg_shared_drop(shared);
    assert_ptr_equal(mg_shared_counter(shared, MG_STR("kept"), &(bool){ false }), kept);
    assert_int_equal(mg_counter_sum(shared, kept), 3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_open_breaker_has_what_is_left_of_its_time),
        TEST(a_half_open_breaker_probes_again),
        TEST(an_operators_word_stays),
        TEST(a_breaker_is_kept_through_its_newest_configuration),
        TEST(each_field_of_a_breaker_makes_another_one),
        TEST(a_rule_whose_key_is_made_otherwise_begins_with_nothing),
        TEST(a_configuration_that_comes_back_goes_on_with_the_state_of_now),
        TEST(what_a_log_may_hold_makes_another_one),
        TEST(what_a_candidate_asks_for_is_seen_when_it_is_adopted),
        TEST(what_a_candidate_asked_for_goes_with_it),
        TEST(an_earlier_configuration_comes_back_by_adoption),
        TEST(a_plugin_has_its_share_of_counters),
        TEST(a_candidate_has_no_more_names_than_there_are),
        TEST(a_counter_that_a_request_counts_in_stays),
        TEST(limiters_of_plugins_have_so_much_memory_together),
    };
    return cmocka_run_group_tests_name("gateway/shared", tests, NULL, NULL);
}
