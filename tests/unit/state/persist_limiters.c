/* Limiters that outlive a process: their keys and rows over restarts, other rules and other tables. */
#include "persist_kept.h"

#include "state/persist_parts.h"

static void a_killed_gateway_goes_on_limiting_where_it_was(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i < MG_LIMITER_CONCURRENCY; i++) {
        char name[8];
        snprintf(name, sizeof(name), "l%d", i);
        mg_limiter *l = keep_hourly(name, (mg_limiter_algorithm)i, 10);
        if (i != MG_LIMITER_LEAKY)
            assert_true(take(l, "k", 7));
        else
            assert_true(take(l, "k", 1));
        const uint64_t then = left(l, "k");
        memory_flush(&m);
        drop(l);
        memory_restart(&m, 2 * S);
        l = keep_hourly(name, (mg_limiter_algorithm)i, 10);
        assert_int_equal(left(l, "k"), then);
        drop(l);
    }
}

static void what_was_not_flushed_is_lost_and_no_more(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);

    (void)state;
    assert_true(take(l, "k", 4));
    turn(1);
    assert_true(take(l, "k", 3));
    assert_int_equal(left(l, "k"), 3);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    assert_int_equal(left(l, "k"), 6);
    drop(l);
}

static void another_algorithm_begins_with_what_was_used(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_SLIDING_LOG, 10);
    assert_int_equal(left(l, "k"), 6);
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_FIXED_WINDOW, 5);
    assert_int_equal(left(l, "k"), 1);
    drop(l);
}

static void a_lower_burst_clamps_and_a_higher_one_does_not_raise(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);

    (void)state;
    assert_true(take(l, "k", 8));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    conf.burst = 5;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), 0);
    drop(l);
    memory_restart(&m, 0);
    conf.burst = 20;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), 12);
    drop(l);
}

static void what_a_lower_limit_clamped_is_not_raised_by_a_later_one(void **state)
{
    mg_limiter_conf large = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000), small = large;
    mg_limiter *l;

    (void)state;
    small.burst = 2;
    for (int round = 0; round < 2; round++) {
        l = keep("l", 1, &large);
        assert_true(take(l, "k", 8));
        memory_flush(&m);
        if (round) { /* while it runs */
            mg_limiter *next = mg_limiter_next(l, &small, memory_now(&m), NULL);
            mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &small, next);
            turn(2);
            drop(next);
            drop(l);
        } else {
            drop(l);
            memory_restart(&m, 0);
            l = keep("l", 1, &small);
            assert_int_equal(left(l, "k"), 0);
            turn(2);
            drop(l);
        }
        memory_restart(&m, 0);
        l = keep("l", 1, &large);
        assert_int_equal(left(l, "k"), 8);
        drop(l);
        memory_restart(&m, H);
    }
}

static void another_key_begins_empty_and_its_rows_are_given_up(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf);

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep("l", 2, &conf);
    assert_int_equal(left(l, "k"), 10);
    assert_true(take(l, "k", 1));
    memory_flush(&m);
    assert_int_equal(rows(), 2);
    mg_fake_clock_advance(&m.clock, H); /* both debts are over */
    turn(3);
    assert_int_equal(rows(), 0);
    assert_int_equal(skipped(), 0);
    drop(l);
}

static void a_table_of_another_size_has_all_keys_and_no_row_twice(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf);
    char key[16];

    (void)state;
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 4));
    }
    memory_flush(&m);
    drop(l);
    for (int round = 0; round < 3; round++) {
        memory_restart(&m, 0);
        conf.max_keys = 700 + 100 * (uint32_t)round;
        l = keep("l", 1, &conf);
        for (int i = 0; i < 300; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(left(l, key), 6);
        }
        if (round == 0)
            memory_flush(&m); /* stored under the new number; those of the old one stand there, too */
        else
            turn(4);
        drop(l);
    }
    assert_int_equal(rows(), 300);
    assert_int_equal(skipped(), 0);
}

static void a_limiter_that_is_reconfigured_while_it_runs_is_followed(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf), *next, *other;

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    conf.limit = 20;
    next = mg_limiter_next(l, &conf, memory_now(&m), NULL);
    mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &conf, next);
    assert_true(take(next, "k", 1));
    conf.algorithm = MG_LIMITER_FIXED_WINDOW;
    other = mg_limiter_next(next, &conf, memory_now(&m), NULL);
    mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &conf, other);
    assert_true(take(other, "k", 2));
    const uint64_t then = left(other, "k");
    memory_flush(&m);
    drop(l);
    drop(next);
    drop(other);
    memory_restart(&m, 0);
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), then);
    drop(l);
}

static void rows_that_owe_nothing_any_more_are_swept(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 1000);
    mg_limiter *l = keep("l", 1, &conf);
    char key[16];

    (void)state;
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 10));
    }
    memory_flush(&m);
    assert_int_equal(rows(), 500);
    turn(2);
    assert_int_equal(rows(), 0);
    assert_true(take(l, "k1", 10));
    turn(1);
    drop(l);
    turn(3); /* with its last row the limiter's number goes, too */
    assert_int_equal(rows(), 0);
    memory_restart(&m, 0);
    assert_int_equal(skipped(), 0);
}

static mg_limiter_conf comer_conf;
static mg_limiter *comer;
static bool comer_came;

/* The flush thread is about to store that a number is not in use any more: just then somebody uses its name.
 */
static uint64_t mono_while_given_up(const mg_clock *clock)
{
    const persist_batch *batch = &m.persist->batch;
    bool given_up = false;

    for (size_t i = 0; i < batch->count; i++)
        given_up |= batch->changes[i].table == m.persist->numbers_table && !batch->changes[i].value.p;
    if (given_up && !comer_came) {
        comer_came = true; /* keeping reads this clock, too */
        comer = keep("l", 1, &comer_conf);
    }
    return ((const mg_fake_clock *)(const void *)clock)->mono;
}

static void a_limiter_that_comes_while_its_number_is_given_up_is_stored_under_another(void **state)
{
    mg_limiter *l;

    (void)state;
    comer = NULL;
    comer_conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    l = keep("l", 1, &comer_conf);
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, H); /* nothing is owed any more, and no configuration names it */
    m.clock.clock.mono_ns = mono_while_given_up;
    turn(4);
    mg_fake_clock_init(&m.clock, m.clock.mono, m.clock.wall);
    assert_non_null(comer);
    assert_true(take(comer, "k", 7));
    turn(4);
    drop(comer);
    memory_restart(&m, 0);
    l = keep("l", 1, &comer_conf);
    assert_int_equal(left(l, "k"), 3);
    drop(l);
}

static void overflow_cells_come_back_where_there_are_as_many(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l;

    (void)state;
    conf.max_keys = 1;
    conf.overflow_cells = 1;
    l = keep("l", 1, &conf);
    assert_true(take(l, "owner", 1));
    assert_true(take(l, "guest", 7));
    assert_int_equal(left(l, "another guest"), 3);
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "another guest"), 3);
    drop(l);
    memory_restart(&m, 0);
    conf.overflow_cells = 2;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "owner"), 9);
    assert_int_equal(left(l, "another guest"), 10);
    drop(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_gateway_goes_on_limiting_where_it_was),
        TEST(what_was_not_flushed_is_lost_and_no_more),
        TEST(another_algorithm_begins_with_what_was_used),
        TEST(a_lower_burst_clamps_and_a_higher_one_does_not_raise),
        TEST(what_a_lower_limit_clamped_is_not_raised_by_a_later_one),
        TEST(another_key_begins_empty_and_its_rows_are_given_up),
        TEST(a_table_of_another_size_has_all_keys_and_no_row_twice),
        TEST(a_limiter_that_is_reconfigured_while_it_runs_is_followed),
        TEST(rows_that_owe_nothing_any_more_are_swept),
        TEST(a_limiter_that_comes_while_its_number_is_given_up_is_stored_under_another),
        TEST(overflow_cells_come_back_where_there_are_as_many),
    };
    return cmocka_run_group_tests_name("gateway/persist_limiters", tests, NULL, NULL);
}
