/* How far a canary may go, and what a restart keeps, by example (docs/policies.md 9 and 10). */
#include "policy/rollout.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "policy/breaker.h"
#include "policy/restore.h"
#include "support/check.h"

static const mg_rollout_figures good = { 5000, 3, 100 }, bad = { 5000, 100, 100 }, quiet = { 10, 1, 5000 };

static void a_good_canary_is_promoted_step_by_step(void **state)
{
    static const uint32_t weights[] = { 5, 10, 25, 50, 100 };
    mg_rollout_conf conf;
    mg_rollout r;
    bool ended;

    (void)state;
    conf = rollout_defaults;
    mg_rollout_start(&r, 0);
    for (uint64_t i = 0; i < 5; i++) {
        const uint64_t end_ns = (i + 1) * 180 * MG_NS_PER_S;

        assert_int_equal(mg_rollout_weight(&r, &conf), weights[i]);
        assert_int_equal(mg_rollout_tick(&r, &conf, &good, end_ns - 1, &ended), MG_ROLLOUT_NONE);
        assert_false(ended);
        assert_int_equal(mg_rollout_tick(&r, &conf, &good, end_ns, &ended),
                         i < 4 ? MG_ROLLOUT_ADVANCE : MG_ROLLOUT_PROMOTE);
        assert_true(ended);
    }
    assert_int_equal(r.state, MG_ROLLOUT_PROMOTED);
    assert_int_equal(mg_rollout_weight(&r, &conf), 100);
    assert_int_equal(mg_rollout_judge(&r, &conf, &bad), MG_ROLLOUT_NONE); /* it is over */
}

static void strikes_in_a_row_roll_back_and_a_good_interval_forgives(void **state)
{
    mg_rollout_conf conf;
    mg_rollout r;

    (void)state;
    conf = rollout_defaults;
    mg_rollout_start(&r, 0);
    assert_int_equal(mg_rollout_judge(&r, &conf, &bad), MG_ROLLOUT_STRIKE);
    assert_int_equal(mg_rollout_judge(&r, &conf, &quiet), MG_ROLLOUT_HOLD);
    assert_int_equal(mg_rollout_judge(&r, &conf, &good), MG_ROLLOUT_ADVANCE);
    assert_int_equal(mg_rollout_judge(&r, &conf, &bad), MG_ROLLOUT_STRIKE);
    assert_int_equal(mg_rollout_judge(&r, &conf, &bad), MG_ROLLOUT_ROLLBACK);
    assert_int_equal(mg_rollout_weight(&r, &conf), 0);
    check_str(mg_str_of(mg_rollout_state_name(r.state)), "failed");
}

static void what_fails_by_the_dozen_is_not_waited_for(void **state)
{
    const mg_rollout_figures few = { 100, 4, 10 }, many = { 100, 5, 10 };
    mg_rollout_conf conf;
    mg_rollout r;
    bool ended;

    (void)state;
    conf = rollout_defaults;
    mg_rollout_start(&r, 0);
    assert_int_equal(mg_rollout_tick(&r, &conf, &few, MG_NS_PER_S, &ended), MG_ROLLOUT_NONE);
    assert_int_equal(mg_rollout_tick(&r, &conf, &many, MG_NS_PER_S, &ended), MG_ROLLOUT_ABORT);
    assert_int_equal(mg_rollout_weight(&r, &conf), 0);
}

static void an_operator_has_the_last_word(void **state)
{
    mg_rollout_conf conf;
    mg_rollout r;
    bool ended;

    (void)state;
    conf = rollout_defaults;
    mg_rollout_start(&r, 0);
    assert_int_equal(mg_rollout_judge(&r, &conf, &good), MG_ROLLOUT_ADVANCE);
    mg_rollout_force(&r, &conf, MG_ROLLOUT_HELD, 0);
    assert_int_equal(mg_rollout_tick(&r, &conf, &bad, 1000 * MG_NS_PER_S, &ended), MG_ROLLOUT_NONE);
    assert_int_equal(mg_rollout_weight(&r, &conf), 10);
    mg_rollout_force(&r, &conf, MG_ROLLOUT_RUNNING, 1000 * MG_NS_PER_S);
    assert_int_equal(mg_rollout_tick(&r, &conf, &good, 1179 * MG_NS_PER_S, &ended), MG_ROLLOUT_NONE);
    assert_int_equal(mg_rollout_tick(&r, &conf, &good, 1180 * MG_NS_PER_S, &ended), MG_ROLLOUT_ADVANCE);
    mg_rollout_force(&r, &conf, MG_ROLLOUT_PROMOTED, 0);
    assert_int_equal(mg_rollout_weight(&r, &conf), 100);
    mg_rollout_force(&r, &conf, MG_ROLLOUT_FAILED, 0);
    assert_int_equal(mg_rollout_weight(&r, &conf), 0);
    mg_rollout_force(&r, &conf, MG_ROLLOUT_RUNNING, 0);
    assert_int_equal(mg_rollout_weight(&r, &conf), 5);
}

static void what_was_kept_is_made_to_fit(void **state)
{
    mg_rollout kept = { MG_ROLLOUT_RUNNING, 40, 40, 5000 }, nonsense = { (mg_rollout_state)99, 0, 0, 0 };
    mg_rollout_conf conf;

    (void)state;
    conf = rollout_defaults;
    mg_rollout_restore(&kept, &conf, 1000);
    assert_int_equal(mg_rollout_weight(&kept, &conf), 100);
    assert_int_equal(kept.began_ns, 1000);
    assert_int_equal(mg_rollout_judge(&kept, &conf, &good), MG_ROLLOUT_PROMOTE);
    mg_rollout_restore(&nonsense, &conf, 1000);
    assert_int_equal(mg_rollout_weight(&nonsense, &conf), 0);
}

static void backends_get_their_weight_of_the_keys(void **state)
{
    const mg_rollout_side sides[] = { mg_rollout_side_of(MG_STR("a"), 90), mg_rollout_side_of(MG_STR("b"), 0),
                                      mg_rollout_side_of(MG_STR("c"), 10) };
    const mg_rollout_side none[] = { mg_rollout_side_of(MG_STR("a"), 0), mg_rollout_side_of(MG_STR("b"), 0) };
    unsigned picked[3] = { 0 };

    (void)state;
    for (int i = 0; i < 10000; i++) {
        char key[16];
        const int n = snprintf(key, sizeof(key), "user-%d", i);
        const mg_str text = mg_str_make(key, (size_t)n);
        const int backend = mg_rollout_split(text, MG_STR("route"), sides, 3);

        assert_int_equal(backend, mg_rollout_split(text, MG_STR("route"), sides, 3));
        picked[backend]++;
    }
    assert_int_equal(picked[1], 0);
    assert_in_range(picked[2], 900, 1100);
    assert_int_equal(mg_rollout_split(MG_STR("k"), MG_STR(""), none, 2), MG_ROLLOUT_NO_BACKEND);
    assert_int_equal(mg_rollout_split(MG_STR("k"), MG_STR(""), none, 0), MG_ROLLOUT_NO_BACKEND);
}

static void raising_the_weight_only_adds_users(void **state)
{
    (void)state;
    for (int i = 0; i < 500; i++) {
        char key[16];
        const mg_str text = mg_str_make(key, (size_t)snprintf(key, sizeof(key), "%d", i));
        bool was = false;

        for (uint32_t percent = 0; percent <= 100; percent++) {
            const bool is = mg_rollout_has(text, MG_STR("r1"), percent);

            assert_true(is || !was);
            was = is;
        }
        assert_true(was);
        assert_false(mg_rollout_has(text, MG_STR("r1"), 0));
    }
}

static void a_canary_bucket_is_the_hash_of_key_and_salt_joined(void **state)
{
    (void)state;
    assert_int_equal(mg_rollout_bucket(MG_STR("a"), MG_STR("b")), mg_hash(MG_STR("a|b"), 6) % 10000);
    assert_int_equal(mg_rollout_bucket(MG_STR(""), MG_STR("")), mg_hash(MG_STR("|"), 6) % 10000);
}

static void a_breaker_goes_on_where_it_was(void **state)
{
    mg_breaker_conf conf;
    mg_breaker *b, *next;
    mg_breaker_record record;
    uint64_t ticket;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.open_jitter_bp = 0;
    conf.half_open_probes = 1;
    b = mg_breaker_new(&conf, NULL);
    next = mg_breaker_new(&conf, NULL);
    assert_true(mg_breaker_trip(b, MG_NS_PER_S));
    assert_false(mg_breaker_trip(b, MG_NS_PER_S));
    ticket = mg_breaker_ask(b, 6 * MG_NS_PER_S);
    mg_breaker_end(b, ticket, MG_BREAKER_FAIL, 0, 6 * MG_NS_PER_S); /* open for ten now */
    record = mg_breaker_read(b, 7 * MG_NS_PER_S);
    assert_int_equal(record.state, MG_BREAKER_OPEN);
    assert_int_equal(record.remaining_ms, 9000);
    ticket = mg_breaker_stamp(next);
    mg_breaker_restore(next, &record, 9 * MG_NS_PER_S);
    assert_true(mg_breaker_stamp(next) != ticket);
    assert_int_equal(mg_breaker_retry_after_ms(next, 9 * MG_NS_PER_S), 7000);
    ticket = mg_breaker_ask(next, 16 * MG_NS_PER_S);
    assert_true(ticket != 0);
    record = mg_breaker_read(next, 16 * MG_NS_PER_S); /* half open */
    mg_breaker_end(next, ticket, MG_BREAKER_FAIL, 0, 16 * MG_NS_PER_S);
    assert_int_equal(mg_breaker_retry_after_ms(next, 16 * MG_NS_PER_S), 20000); /* the turns went along */
    mg_breaker_restore(b, &record, 16 * MG_NS_PER_S);
    assert_int_equal(mg_breaker_now(b, 16 * MG_NS_PER_S), MG_BREAKER_OPEN);
    assert_true(mg_breaker_ask(b, 16 * MG_NS_PER_S) != 0);
    mg_breaker_free(b);
    mg_breaker_free(next);
}

static void a_record_opens_no_breaker_for_longer_than_its_rule(void **state)
{
    mg_breaker_record record = { MG_BREAKER_OPEN, 9999, UINT64_MAX / 2, 0 };
    mg_breaker_conf conf;
    mg_breaker *b;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    b = mg_breaker_new(&conf, NULL);
    mg_breaker_restore(b, &record, 0);
    assert_int_equal(mg_breaker_retry_after_ms(b, 0), 30000);
    record.state = MG_BREAKER_FORCED_OPEN;
    mg_breaker_restore(b, &record, 0);
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_FORCED_OPEN);
    record.state = (mg_breaker_state)77;
    mg_breaker_restore(b, &record, 0);
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_CLOSED);
    mg_breaker_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_canary_is_promoted_step_by_step),
        cmocka_unit_test(strikes_in_a_row_roll_back_and_a_good_interval_forgives),
        cmocka_unit_test(what_fails_by_the_dozen_is_not_waited_for),
        cmocka_unit_test(an_operator_has_the_last_word),
        cmocka_unit_test(what_was_kept_is_made_to_fit),
        cmocka_unit_test(backends_get_their_weight_of_the_keys),
        cmocka_unit_test(raising_the_weight_only_adds_users),
        cmocka_unit_test(a_canary_bucket_is_the_hash_of_key_and_salt_joined),
        cmocka_unit_test(a_breaker_goes_on_where_it_was),
        cmocka_unit_test(a_record_opens_no_breaker_for_longer_than_its_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
