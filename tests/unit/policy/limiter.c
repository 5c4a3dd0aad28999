/* Token buckets by example: bursts, refusals, reservations, reloads and what clients see (docs/policies.md
 * 4). */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define MS MG_NS_PER_MS

static mg_limiter *limiter_of(uint64_t limit, uint64_t period_ms, uint64_t burst, uint32_t max_keys)
{
    mg_limiter_conf conf;
    mg_error err = MG_ERROR_INIT;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.limit = limit;
    conf.period_ms = period_ms;
    conf.burst = burst;
    conf.max_keys = max_keys;
    conf.overflow_cells = 1;
    limiter = mg_limiter_new(&conf, &err);
    assert_non_null(limiter);
    return limiter;
}

static bool take(mg_limiter *l, const char *key, uint32_t cost, uint64_t now_ms, mg_limiter_answer *a)
{
    return mg_limiter_take(l, key, strlen(key), cost, now_ms * MS, a);
}

static void a_burst_passes_then_waits(void **state)
{
    mg_limiter *l = limiter_of(10, 1000, 3, 1024);
    mg_limiter_answer a;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(take(l, "k", 1, 5000, &a));
        assert_int_equal(a.remaining, 2 - i);
        assert_int_equal(a.via, MG_LIMITER_VIA_OWN);
    }
    assert_int_equal(a.reset_ms, 300);
    assert_false(take(l, "k", 1, 5000, &a));
    assert_int_equal(a.retry_ms, 100);
    assert_false(take(l, "k", 1, 5099, &a));
    assert_true(take(l, "k", 1, 5100, &a));
    mg_limiter_free(l);
}

static void keys_do_not_share_a_bucket(void **state)
{
    mg_limiter *l = limiter_of(1, 1000, 1, 1024);
    mg_limiter_answer a;

    (void)state;
    assert_true(take(l, "one", 1, 0, &a));
    assert_true(take(l, "two", 1, 0, &a));
    assert_true(take(l, "", 1, 0, &a));
    assert_false(take(l, "one", 1, 0, &a));
    assert_int_equal(mg_limiter_keys(l, 0), 3);
    assert_int_equal(mg_limiter_keys(l, 1000 * MS), 0);
    mg_limiter_free(l);
}

static void an_old_now_does_not_move_a_bucket_back(void **state)
{
    mg_limiter *l = limiter_of(10, 1000, 2, 1024);
    mg_limiter_answer a;

    (void)state;
    assert_true(take(l, "k", 2, 1000, &a));
    for (unsigned i = 0; i < 100; i++)
        assert_false(take(l, "k", 1, 500, &a));
    assert_int_equal(a.retry_ms, 600);
    assert_true(take(l, "k", 1, 1100, &a));
    assert_false(take(l, "k", 1, 1199, &a));
    mg_limiter_free(l);
}

static void a_cost_above_the_burst_never_passes_and_charges_nothing(void **state)
{
    mg_limiter *l = limiter_of(10, 1000, 5, 1024);
    mg_limiter_answer a;

    (void)state;
    assert_false(take(l, "k", 6, 0, &a));
    assert_int_equal(a.retry_ms, MG_LIMITER_NEVER);
    assert_false(take(l, "k", UINT32_MAX, 0, &a));
    assert_int_equal(a.retry_ms, MG_LIMITER_NEVER);
    assert_int_equal(a.remaining, 5);
    assert_int_equal(mg_limiter_keys(l, 0), 0);
    mg_limiter_free(l);
}

static void looking_charges_nothing(void **state)
{
    mg_limiter *l = limiter_of(10, 1000, 2, 1024);
    mg_limiter_answer a;

    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        assert_true(mg_limiter_peek(l, "k", 1, 2, 0, &a));
        assert_int_equal(a.remaining, 0);
        assert_true(take(l, "k", 0, 0, &a));
        assert_int_equal(a.remaining, 2);
    }
    assert_int_equal(mg_limiter_keys(l, 0), 0);
    mg_limiter_free(l);
}

static void a_key_without_a_slot_shares_an_overflow_bucket(void **state)
{
    mg_limiter *l = limiter_of(1, 1000, 1, 1);
    mg_limiter_answer a;

    (void)state;
    assert_true(take(l, "a", 1, 0, &a));
    assert_true(mg_limiter_peek(l, "b", 1, 1, 0, &a));
    assert_int_equal(a.via, MG_LIMITER_VIA_OVERFLOW);
    assert_true(take(l, "b", 1, 0, &a));
    assert_int_equal(a.via, MG_LIMITER_VIA_OVERFLOW);
    assert_false(take(l, "c", 1, 0, &a));
    assert_int_equal(a.retry_ms, 1000);
    assert_false(take(l, "a", 1, 0, &a));
    assert_int_equal(a.via, MG_LIMITER_VIA_OWN);
    mg_limiter_free(l);
}

static void on_full_may_allow_or_deny(void **state)
{
    (void)state;
    for (int deny = 0; deny < 2; deny++) {
        mg_limiter_conf conf;
        mg_limiter_answer a;
        mg_limiter *l;

        mg_limiter_conf_defaults(&conf);
        conf.limit = conf.max_keys = 1;
        conf.period_ms = 1000;
        conf.on_full = deny ? MG_LIMITER_FULL_DENY : MG_LIMITER_FULL_ALLOW;
        l = mg_limiter_new(&conf, NULL);
        assert_true(take(l, "a", 1, 0, &a));
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(take(l, "b", 1, 0, &a), !deny);
            assert_int_equal(a.via, MG_LIMITER_VIA_NONE);
            assert_int_equal(a.retry_ms, deny ? 1000 : 0);
        }
        mg_limiter_free(l);
    }
}

static void a_cancelled_reservation_comes_back_only_while_it_is_the_last(void **state)
{
    mg_limiter_conf conf;
    mg_limiter_answer first, second, over;
    mg_limiter *l;

    (void)state;
    mg_limiter_conf_defaults(&conf);
    conf.limit = 10;
    conf.period_ms = 1000;
    conf.burst = 1;
    conf.max_wait_ms = 100;
    l = mg_limiter_new(&conf, NULL);
    assert_true(mg_limiter_reserve(l, "k", 1, 1, 0, &first));
    assert_int_equal(first.wait_ms, 0);
    assert_true(mg_limiter_reserve(l, "k", 1, 1, 0, &second));
    assert_int_equal(second.wait_ms, 100);
    assert_false(mg_limiter_reserve(l, "k", 1, 1, 0, &over));
    assert_int_equal(over.retry_ms, 200);
    assert_false(mg_limiter_cancel(l, &over));
    assert_false(mg_limiter_cancel(l, &first));
    assert_true(mg_limiter_cancel(l, &second));
    assert_false(mg_limiter_cancel(l, &second));
    assert_true(mg_limiter_reserve(l, "k", 1, 1, 0, &second));
    mg_limiter_free(l);
}

static void who_is_refused_by_one_rule_is_charged_by_none(void **state)
{
    mg_limiter *user = limiter_of(5, 1000, 5, 1024), *all = limiter_of(2, 1000, 2, 1024);
    const mg_limiter_ask asks[] = { { user, "u", 1, 1 }, { all, "", 0, 1 } };
    mg_limiter_answer answers[2];

    (void)state;
    assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 0, 0, answers), -1);
    assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 0, 0, answers), -1);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 0, 0, answers), 1);
        assert_int_equal(answers[1].retry_ms, 500);
    }
    assert_true(take(user, "u", 0, 0, &answers[0]));
    assert_int_equal(answers[0].remaining, 3);
    assert_int_equal(mg_limiter_queue_all(asks, NULL, 0, 0, 0, answers), -1);
    mg_limiter_free(user);
    mg_limiter_free(all);
}

static mg_limiter *waiting(mg_limiter_algorithm algorithm, uint64_t max_wait_ms)
{
    mg_limiter_conf conf;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = 10;
    conf.period_ms = 1000;
    conf.burst = 1;
    conf.max_wait_ms = max_wait_ms;
    limiter = mg_limiter_new(&conf, NULL);
    assert_non_null(limiter);
    return limiter;
}

static void rules_that_wait_are_charged_together_or_not_at_all(void **state)
{
    mg_limiter *bucket = waiting(MG_LIMITER_TOKEN_BUCKET, 250), *queue = waiting(MG_LIMITER_LEAKY, 350);
    const mg_limiter_ask asks[] = { { bucket, "u", 1, 1 }, { queue, "*", 1, 1 } };
    mg_limiter_answer answers[2], a;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 1000 * MS, 0, answers), -1);
        assert_int_equal(answers[0].wait_ms, i * 100);
        assert_int_equal(answers[1].wait_ms, i * 100);
    }
    assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 1000 * MS, 0, answers), 0);
    assert_int_equal(mg_limiter_queue_all(asks, NULL, 2, 150 * MS, 100 * MS, answers), 0); /* less patient */
    assert_int_equal(mg_limiter_queue_all(&asks[1], NULL, 1, 150 * MS, 100 * MS, answers), 0);
    assert_int_equal(answers[0].retry_ms, 50);
    mg_limiter_take(queue, "*", 1, 0, 0, &a);
    assert_int_equal(a.reset_ms, 300);
    mg_limiter_take(bucket, "u", 1, 0, 0, &a);
    assert_int_equal(a.reset_ms, 300);
    mg_limiter_free(bucket);
    mg_limiter_free(queue);
}

static void a_caller_may_wait_for_as_long_as_it_says(void **state)
{
    mg_limiter *l = waiting(MG_LIMITER_TOKEN_BUCKET, 0);
    mg_limiter_answer a;

    (void)state;
    assert_true(mg_limiter_reserve_within(l, "k", 1, 1, 0, 0, &a));
    assert_false(mg_limiter_reserve_within(l, "k", 1, 1, 99 * MS, 0, &a));
    assert_int_equal(a.retry_ms, 100);
    assert_true(mg_limiter_reserve_within(l, "k", 1, 1, 100 * MS, 0, &a));
    assert_int_equal(a.wait_ms, 100);
    mg_limiter_free(l);
}

static void what_was_given_back_may_be_taken_again(void **state)
{
    mg_limiter *l = limiter_of(1, 1000, 2, 1);
    mg_limiter_answer own, overflow, a;

    (void)state;
    assert_true(take(l, "a", 2, 0, &own));
    assert_true(take(l, "b", 2, 0, &overflow));
    assert_false(take(l, "a", 1, 0, &a) || take(l, "b", 1, 0, &a));
    mg_limiter_give_back(l, &own);
    mg_limiter_give_back(l, &overflow);
    assert_true(take(l, "a", 2, 0, &a));
    assert_int_equal(a.via, MG_LIMITER_VIA_OWN);
    assert_true(take(l, "b", 2, 0, &a));
    mg_limiter_free(l);
}

static mg_limiter *next(const mg_limiter *old, uint64_t limit, uint64_t burst, uint32_t max_keys,
                        uint64_t now_ms)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.limit = limit;
    conf.period_ms = 1000;
    conf.burst = burst;
    conf.max_keys = max_keys;
    conf.overflow_cells = 1;
    return mg_limiter_next(old, &conf, now_ms * MS, NULL);
}

static void a_reload_keeps_debts_lowers_them_to_the_new_burst_and_raises_none(void **state)
{
    mg_limiter *first = limiter_of(10, 1000, 10, 64), *second, *third;
    mg_limiter_answer a;

    (void)state;
    assert_true(take(first, "k", 10, 0, &a));
    second = next(first, 10, 2, 64, 0);
    assert_false(take(second, "k", 1, 0, &a));
    assert_int_equal(a.retry_ms, 100); /* and not 900 */
    third = next(second, 10, 10, 64, 0);
    assert_true(take(third, "k", 8, 0, &a));
    assert_false(take(third, "k", 1, 0, &a));
    mg_limiter_free(first);
    mg_limiter_free(second);
    assert_false(take(third, "k", 1, 0, &a));
    mg_limiter_free(third);
}

static void a_table_of_another_size_keeps_the_debts(void **state)
{
    mg_limiter *first = limiter_of(1, 1000, 1, 64), *second;
    mg_limiter_answer a;
    char key[8];

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_true(take(first, key, 1, 0, &a));
    }
    second = next(first, 1, 1, 4096, 0);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_false(take(second, key, 1, 0, &a));
    }
    assert_true(take(second, "other", 1, 0, &a));
    mg_limiter_free(first);
    mg_limiter_free(second);
}

static void every_field_has_its_range(void **state)
{
    static const struct {
        uint64_t limit, period_ms, burst;
        uint32_t max_keys, cells;
        const char *field;
    } bad[] = {
        { 0, 1000, 1, 1, 1, "rate: " },
        { 1, 0, 1, 1, 1, "rate: wants a period" },
        { 1, 31ull * 86400000 + 1, 1, 1, 1, "rate: wants a period" },
        { 1001, 1, 1, 1, 1, "rate: wants at most" },
        { 1, 1000, 1000001, 1, 1, "burst: " },
        { 1, 31ull * 86400000, 2, 1, 1, "burst: 2 would take" },
        { 1, 1000, 1, 0, 1, "max_keys: " },
        { 1, 1000, 1, (1u << 26) + 1, 1, "max_keys: " },
        { 1, 1000, 1, 1, 0, "overflow_cells: " },
        { 1, 1000, 1, 1, 65537, "overflow_cells: " },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(bad); i++) {
        mg_limiter_conf conf;
        mg_error err = MG_ERROR_INIT;

        mg_limiter_conf_defaults(&conf);
        conf.limit = bad[i].limit;
        conf.period_ms = bad[i].period_ms;
        conf.burst = bad[i].burst;
        conf.max_keys = bad[i].max_keys;
        conf.overflow_cells = bad[i].cells;
        assert_null(mg_limiter_new(&conf, &err));
        assert_int_equal(err.code, MG_ERR_INVALID);
        assert_memory_equal(err.message, bad[i].field, strlen(bad[i].field));
    }
}

static void quota_and_window_speak_of_the_bucket(void **state)
{
    mg_limiter *l = limiter_of(100, 1000, 200, 16), *odd = limiter_of(3, 1000, 1, 16);

    (void)state;
    assert_int_equal(mg_limiter_quota(l), 200);
    assert_int_equal(mg_limiter_window_ms(l), 2000);
    assert_int_equal(mg_limiter_window_ms(odd), 0);
    mg_limiter_free(l);
    mg_limiter_free(odd);
}

static void addresses_of_one_customer_share_a_key(void **state)
{
    static const struct {
        const char *ip;
        unsigned v4, v6;
        const char *key;
    } rows[] = {
        { "203.0.113.9", 24, 64, "203.0.113.0/24" },        { "203.0.113.255", 30, 64, "203.0.113.252/30" },
        { "2001:db8:1:2:3::4", 32, 61, "2001:db8:1::/61" }, { "2001:db8::1", 32, 128, "2001:db8::1/128" },
        { "::ffff:203.0.113.9", 8, 64, "203.0.0.0/8" },
    };
    char key[MG_LIMITER_IP_KEY_BYTES];
    uint8_t binary[MG_LIMITER_ADDR_KEY_BYTES], addr[4] = { 203, 0, 113, 9 };

    (void)state;
    for (size_t i = 0; i < mg_countof(rows); i++) {
        assert_int_equal(mg_limiter_ip_key(key, rows[i].ip, strlen(rows[i].ip), rows[i].v4, rows[i].v6),
                         strlen(rows[i].key));
        assert_string_equal(key, rows[i].key);
    }
    assert_int_equal(mg_limiter_ip_key(key, "localhost", 9, 32, 64), 0);
    assert_int_equal(mg_limiter_ip_key(key, "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4", 47, 32, 64),
                     0);
    assert_int_equal(mg_limiter_addr_key(binary, addr, 4, 20, 64), 5);
    assert_memory_equal(binary, ((uint8_t[]){ 4, 203, 0, 112, 0 }), 5);
    assert_int_equal(mg_limiter_addr_key(binary, addr, 3, 20, 64), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_passes_then_waits),
        cmocka_unit_test(keys_do_not_share_a_bucket),
        cmocka_unit_test(an_old_now_does_not_move_a_bucket_back),
        cmocka_unit_test(a_cost_above_the_burst_never_passes_and_charges_nothing),
        cmocka_unit_test(looking_charges_nothing),
        cmocka_unit_test(a_key_without_a_slot_shares_an_overflow_bucket),
        cmocka_unit_test(on_full_may_allow_or_deny),
        cmocka_unit_test(a_cancelled_reservation_comes_back_only_while_it_is_the_last),
        cmocka_unit_test(who_is_refused_by_one_rule_is_charged_by_none),
        cmocka_unit_test(rules_that_wait_are_charged_together_or_not_at_all),
        cmocka_unit_test(a_caller_may_wait_for_as_long_as_it_says),
        cmocka_unit_test(what_was_given_back_may_be_taken_again),
        cmocka_unit_test(a_reload_keeps_debts_lowers_them_to_the_new_burst_and_raises_none),
        cmocka_unit_test(a_table_of_another_size_keeps_the_debts),
        cmocka_unit_test(every_field_has_its_range),
        cmocka_unit_test(quota_and_window_speak_of_the_bucket),
        cmocka_unit_test(addresses_of_one_customer_share_a_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
