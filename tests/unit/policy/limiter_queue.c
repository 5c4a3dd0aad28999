/* Who waits for a turn, by example (docs/policies.md 4). */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define MS MG_NS_PER_MS

/* Ten a second, a second to wait, at 100 s. */
static mg_limiter *limiter_of(mg_limiter_algorithm algorithm, uint32_t max_keys)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = 10;
    conf.period_ms = 1000;
    conf.burst = algorithm == MG_LIMITER_TOKEN_BUCKET ? 1 : 0;
    conf.max_wait_ms = 1000;
    conf.max_keys = max_keys;
    conf.overflow_cells = 1;
    return mg_limiter_new(&conf, NULL);
}

/* The milliseconds from `now` to the turn that it gets; -1: refused. */
static int64_t come(mg_limiter *l, const char *key, mg_limiter_waiter *waiter, uint64_t now_ns)
{
    const mg_limiter_ask ask = { l, key, strlen(key), 1 };
    mg_limiter_answer answer;

    return mg_limiter_queue_all(&ask, &waiter, 1, UINT64_MAX, now_ns, &answer) < 0 ? (int64_t)answer.wait_ms
                                                                                   : -1;
}

static uint64_t turn_ms(const mg_limiter_waiter *waiter)
{
    return mg_limiter_turn_ns(waiter) / MS;
}

static void count(mg_limiter_waiter *waiter)
{
    ++*(int *)waiter->self;
}

static void those_behind_move_up_and_are_told(void **state)
{
    (void)state;
    for (int leaky = 0; leaky < 2; leaky++) {
        mg_limiter *l = limiter_of(leaky ? MG_LIMITER_LEAKY : MG_LIMITER_TOKEN_BUCKET, 64);
        mg_limiter_waiter w[5] = { 0 }, none = { 0 };
        int told = 0;

        for (int i = 0; i < 5; i++) {
            w[i].moved = count;
            w[i].self = &told;
            assert_int_equal(come(l, "k", &w[i], 100000 * MS), i * 100);
            assert_int_equal(w[i].waits, i > 0); /* the first need not */
        }
        assert_true(mg_limiter_leave(l, &w[2], 100000 * MS));
        assert_int_equal(told, 2);
        assert_int_equal(turn_ms(&w[1]), 100100);
        assert_int_equal(turn_ms(&w[3]), 100200);
        assert_int_equal(turn_ms(&w[4]), 100300);
        assert_false(mg_limiter_leave(l, &w[2], 100000 * MS)); /* once */
        assert_false(mg_limiter_leave(l, &w[0], 100000 * MS)); /* it went */
        assert_true(mg_limiter_leave(l, &w[1], 100070 * MS));
        assert_int_equal(turn_ms(&w[3]), 100100);
        mg_limiter_waited(l, &w[3]);
        assert_true(mg_limiter_leave(l, &w[4], 100150 * MS));
        assert_int_equal(come(l, "k", &none, 100150 * MS), 50); /* the turn of the one that left */
        mg_limiter_waited(l, &none);
        mg_limiter_free(l);
    }
}

/* It did not go: the next one may have what is left of its turn. */
static void who_leaves_late_gives_what_is_left(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_LEAKY, 64);
    mg_limiter_waiter w[4] = { 0 };

    (void)state;
    for (int i = 0; i < 4; i++)
        (void)come(l, "k", &w[i], 100000 * MS);
    assert_true(mg_limiter_leave(l, &w[1], 100140 * MS));
    assert_int_equal(turn_ms(&w[2]), 100140);
    assert_int_equal(turn_ms(&w[3]), 100240);
    mg_limiter_waited(l, &w[3]); /* before its time, against the rules: then nobody moves beside it */
    assert_false(mg_limiter_leave(l, &w[2], 100100 * MS));
    mg_limiter_free(l);
}

static void what_cannot_be_moved_keeps_those_before_it(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_LEAKY, 64);
    mg_limiter_waiter w[4] = { 0 };
    mg_limiter_answer shadow;

    (void)state;
    (void)come(l, "k", &w[0], 100000 * MS);
    (void)come(l, "k", &w[1], 100000 * MS);
    assert_true(mg_limiter_reserve(l, "k", 1, 1, 100000 * MS, &shadow));
    (void)come(l, "k", &w[2], 100000 * MS);
    (void)come(l, "k", &w[3], 100000 * MS);
    assert_false(mg_limiter_leave(l, &w[1], 100000 * MS));
    assert_int_equal(turn_ms(&w[2]), 100300);
    assert_true(mg_limiter_leave(l, &w[2], 100000 * MS));
    assert_int_equal(turn_ms(&w[3]), 100300);
    mg_limiter_waited(l, &w[3]);
    mg_limiter_free(l);
}

static void keys_that_share_a_cell_share_its_queue(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_LEAKY, 1);
    mg_limiter_waiter own = { 0 }, w[3] = { 0 };

    (void)state;
    assert_int_equal(come(l, "own", &own, 100000 * MS), 0);
    assert_int_equal(come(l, "a", &w[0], 100000 * MS), 0);
    assert_int_equal(come(l, "own", &own, 100000 * MS), 100);
    assert_int_equal(come(l, "b", &w[1], 100000 * MS), 100);
    assert_int_equal(come(l, "a", &w[2], 100000 * MS), 200);
    assert_true(mg_limiter_leave(l, &w[1], 100000 * MS));
    assert_int_equal(turn_ms(&w[2]), 100100);
    assert_int_equal(turn_ms(&own), 100100); /* of another queue */
    mg_limiter_waited(l, &w[2]);
    mg_limiter_waited(l, &own);
    mg_limiter_free(l);
}

/* A race that a later rule lost, with somebody behind by then. */
static void a_charge_given_back_moves_up_whoever_waits_behind_it(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_LEAKY, 64);
    mg_limiter_waiter w[2] = { 0 };
    mg_limiter_answer taken;

    (void)state;
    assert_true(mg_limiter_take(l, "k", 1, 1, 100000 * MS, &taken));
    (void)come(l, "k", &w[0], 100000 * MS);
    (void)come(l, "k", &w[1], 100000 * MS);
    mg_limiter_give_back(l, &taken);
    assert_int_equal(turn_ms(&w[0]), 100000);
    assert_int_equal(turn_ms(&w[1]), 100100);
    mg_limiter_waited(l, &w[0]);
    mg_limiter_waited(l, &w[1]);
    mg_limiter_free(l);
}

/* All or nothing: who is refused by the second rule stands in no queue of the first. */
static void a_later_refusal_leaves_the_queue(void **state)
{
    mg_limiter *first = limiter_of(MG_LIMITER_LEAKY, 64), *second = limiter_of(MG_LIMITER_LEAKY, 64);
    const mg_limiter_ask both[] = { { first, "k", 1, 1 }, { second, "k", 1, 1 } };
    mg_limiter_waiter w[13] = { 0 }, *places[2] = { &w[11], &w[12] };
    mg_limiter_answer answers[2];

    (void)state;
    (void)come(first, "k", &w[0], 100000 * MS);
    for (int i = 0; i < 11; i++)
        assert_int_equal(come(second, "k", &w[i], 100000 * MS), i * 100);
    assert_int_equal(mg_limiter_queue_all(both, places, 2, UINT64_MAX, 100000 * MS, answers), 1);
    assert_false(w[11].waits || w[12].waits);
    assert_true(mg_limiter_leave(second, &w[4], 100000 * MS));
    assert_int_equal(mg_limiter_queue_all(both, places, 2, UINT64_MAX, 100000 * MS, answers), -1);
    assert_int_equal(turn_ms(&w[11]), 100100);
    assert_int_equal(turn_ms(&w[12]), 101000);
    for (int i = 0; i < 12; i++)
        mg_limiter_waited(second, &w[i == 11 ? 12 : i]);
    mg_limiter_waited(first, &w[11]);
    mg_limiter_free(first);
    mg_limiter_free(second);
}

/* Those who wait are gone after a restart, and have not gone before it. */
static void what_is_stored_does_not_count_those_who_wait(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_LEAKY, 64);
    mg_limiter_waiter w[4] = { 0 };
    mg_limiter_record record;
    size_t cursor = 0;

    (void)state;
    for (int i = 0; i < 4; i++)
        (void)come(l, "k", &w[i], 100000 * MS);
    assert_true(mg_limiter_changed_next(l, &cursor, 100000 * MS, &record));
    assert_int_equal(record.idle_ns / MS, 100100); /* the one that went */
    cursor = 0;
    assert_false(mg_limiter_changed_next(l, &cursor, 100100 * MS, &record));
    mg_limiter_waited(l, &w[1]);
    cursor = 0;
    assert_true(mg_limiter_changed_next(l, &cursor, 100100 * MS, &record));
    assert_int_equal(record.idle_ns / MS, 100200);
    for (int i = 2; i < 4; i++)
        mg_limiter_waited(l, &w[i]);
    mg_limiter_free(l);
}

static void a_new_rate_leaves_the_turns_where_they_are(void **state)
{
    mg_limiter *old = limiter_of(MG_LIMITER_LEAKY, 64), *fast;
    mg_limiter_waiter w[8] = { 0 }, late = { 0 };
    mg_limiter_conf conf;

    (void)state;
    for (int i = 0; i < 8; i++)
        (void)come(old, "k", &w[i], 100000 * MS);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = MG_LIMITER_LEAKY;
    conf.limit = 10;
    conf.period_ms = 100; /* can owe a tenth of a second, and seven are waited for */
    conf.max_wait_ms = 0;
    conf.max_keys = 64;
    conf.overflow_cells = 1;
    fast = mg_limiter_next(old, &conf, 100000 * MS, NULL);
    assert_int_equal(come(fast, "k", &late, 100000 * MS), -1);
    assert_int_equal(turn_ms(&w[7]), 100700);
    assert_true(mg_limiter_leave(old, &w[1], 100000 * MS));
    for (int i = 2; i < 8; i++)
        mg_limiter_waited(fast, &w[i]);
    assert_int_equal(come(fast, "k", &late, 100699 * MS), -1);
    assert_int_equal(come(fast, "k", &late, 100700 * MS), 0);
    mg_limiter_free(fast);
    mg_limiter_free(old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_behind_move_up_and_are_told),
        cmocka_unit_test(who_leaves_late_gives_what_is_left),
        cmocka_unit_test(what_cannot_be_moved_keeps_those_before_it),
        cmocka_unit_test(keys_that_share_a_cell_share_its_queue),
        cmocka_unit_test(a_charge_given_back_moves_up_whoever_waits_behind_it),
        cmocka_unit_test(a_later_refusal_leaves_the_queue),
        cmocka_unit_test(what_is_stored_does_not_count_those_who_wait),
        cmocka_unit_test(a_new_rate_leaves_the_turns_where_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
