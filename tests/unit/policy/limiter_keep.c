/* What outlives a process, by example: records of what keys owe, the marks that say which to store, and the
 * sketch of hot keys. */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

#define MS MG_NS_PER_MS

/* Where it comes to stand does not matter here. */
static bool restore(mg_limiter *limiter, const mg_limiter_record *record, uint64_t now_ns)
{
    bool moved = false;

    return mg_limiter_put_back(limiter, record, now_ns, &moved);
}

static mg_limiter *limiter_of(mg_limiter_algorithm algorithm, uint64_t limit, uint32_t max_keys)
{
    mg_limiter_conf conf;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = limit;
    conf.period_ms = 1000;
    conf.max_wait_ms = 1000;
    conf.max_keys = max_keys;
    conf.overflow_cells = 3;
    limiter = mg_limiter_new(&conf, NULL);
    assert_non_null(limiter);
    return limiter;
}

static bool take(mg_limiter *l, const char *key, uint32_t cost, uint64_t now_ms)
{
    mg_limiter_answer a;

    return mg_limiter_take(l, key, strlen(key), cost, now_ms * MS, &a);
}

static uint64_t left(const mg_limiter *l, const char *key, uint64_t now_ms)
{
    mg_limiter_answer a;

    mg_limiter_peek(l, key, strlen(key), 0, now_ms * MS, &a);
    return a.remaining;
}

static size_t changed(mg_limiter *l, uint64_t now_ms)
{
    mg_limiter_record record;
    size_t cursor = 0, count = 0;

    while (mg_limiter_changed_next(l, &cursor, now_ms * MS, &record))
        count++;
    return count;
}

/* A second limiter with all that the first owes at `now_ms`. */
static mg_limiter *restarted(const mg_limiter *l, mg_limiter_algorithm algorithm, uint32_t max_keys,
                             uint64_t then_ms, uint64_t now_ms)
{
    mg_limiter *fresh = limiter_of(algorithm, 10, max_keys);
    mg_limiter_record record;
    size_t cursor = 0;

    while (mg_limiter_record_next(l, &cursor, then_ms * MS, &record))
        restore(fresh, &record, now_ms * MS);
    return fresh;
}

static void every_algorithm_goes_on_where_it_was(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i < MG_LIMITER_CONCURRENCY; i++) {
        for (uint64_t later_ms = 0; later_ms < 3000; later_ms += 170) {
            mg_limiter *l = limiter_of((mg_limiter_algorithm)i, 10, 64), *fresh;

            assert_true(take(l, "k", 2, 5900));
            assert_true(take(l, "k", 3, 6300));
            assert_true(take(l, "k", 2, 6350));
            assert_true(take(l, "other", 1, 6350));
            fresh = restarted(l, (mg_limiter_algorithm)i, 1000, 6400, 6400 + later_ms);
            assert_int_equal(left(fresh, "k", 6400 + later_ms), left(l, "k", 6400 + later_ms));
            assert_int_equal(left(fresh, "other", 6400 + later_ms), left(l, "other", 6400 + later_ms));
            mg_limiter_free(l);
            mg_limiter_free(fresh);
        }
    }
}

static void a_log_too_long_for_its_record_comes_back_no_more_lenient(void **state)
{
    mg_limiter_record record;
    mg_limiter *l = limiter_of(MG_LIMITER_SLIDING_LOG, 100, 64),
               *fresh = limiter_of(MG_LIMITER_SLIDING_LOG, 100, 8);
    size_t cursor = 0;

    (void)state;
    for (uint64_t i = 0; i < 90; i++)
        assert_true(take(l, "k", 1, 1000 + i * 10));
    assert_true(mg_limiter_record_next(l, &cursor, 1900 * MS, &record));
    assert_int_equal(record.used, 90);
    assert_true(record.groups <= MG_LIMITER_RECORD_GROUPS);
    assert_true(restore(fresh, &record, 1900 * MS));
    for (uint64_t now_ms = 1900; now_ms < 3000; now_ms += 10) {
        assert_true(left(fresh, "k", now_ms) <= left(l, "k", now_ms));
        assert_true(left(fresh, "k", now_ms) + 7 >= left(l, "k", now_ms));
    }
    mg_limiter_free(l);
    mg_limiter_free(fresh);
}

static void a_record_of_another_algorithm_owes_what_was_used(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 64), *fresh;

    (void)state;
    assert_true(take(l, "k", 7, 5000));
    fresh = restarted(l, MG_LIMITER_SLIDING_LOG, 64, 5000, 5200);
    assert_int_equal(left(fresh, "k", 5200), 3);
    mg_limiter_free(fresh);
    fresh = restarted(l, MG_LIMITER_SLIDING_LOG, 64, 5000, 5800); /* the bucket is full again */
    assert_int_equal(left(fresh, "k", 5800), 10);
    mg_limiter_free(fresh);
    mg_limiter_free(l);
}

static void a_record_raises_no_debt_above_the_rule_and_lowers_none(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 64);
    mg_limiter_record record = { .fingerprint = 77, .at_ns = 1000 * MS, .idle_ns = 9999999 * MS };
    mg_limiter_record read;
    size_t cursor = 0;

    (void)state;
    assert_true(restore(l, &record, 1000 * MS));
    assert_true(mg_limiter_record_next(l, &cursor, 1000 * MS, &read));
    assert_int_equal(read.fingerprint, 77);
    assert_int_equal(read.idle_ns, 3000 * MS); /* the bucket's second and the longest wait */
    record.idle_ns = 1100 * MS;
    assert_true(restore(l, &record, 1000 * MS));
    cursor = 0;
    assert_true(mg_limiter_record_next(l, &cursor, 1000 * MS, &read));
    assert_int_equal(read.idle_ns, 3000 * MS);
    assert_false(restore(l, &record, 1100 * MS));
    record = (mg_limiter_record){ .cell = true, .place = 3, .at_ns = 1, .idle_ns = 1100 * MS };
    assert_false(restore(l, &record, 1000 * MS)); /* there are three cells */
    mg_limiter_free(l);
}

static void what_changed_since_the_last_flush_comes_once(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 100000);
    mg_limiter_record record;
    size_t cursor = 0;
    char key[16];

    (void)state;
    assert_int_equal(changed(l, 1000), 0);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_true(take(l, key, 1, 1000));
    }
    assert_int_equal(changed(l, 1000), 500);
    assert_int_equal(changed(l, 1000), 0);
    assert_true(take(l, "key-7", 1, 1001));
    assert_true(take(l, "key-7", 1, 1001));
    assert_true(mg_limiter_changed_next(l, &cursor, 1001 * MS, &record));
    assert_int_equal(record.used, 3);
    assert_false(mg_limiter_changed_next(l, &cursor, 1001 * MS, &record));
    mg_limiter_mark(l, &record);
    assert_int_equal(changed(l, 1001), 1);
    assert_true(take(l, "key-7", 1, 1001));
    assert_int_equal(changed(l, 9000), 0); /* owes nothing any more */
    mg_limiter_free(l);
}

/* Every key of `l` in a table of `max_keys`; whether one was moved. */
static bool put_back(const mg_limiter *l, mg_limiter *fresh, uint64_t now_ms)
{
    mg_limiter_record record;
    bool moved = false;
    size_t cursor = 0;

    while (mg_limiter_record_next(l, &cursor, now_ms * MS, &record))
        assert_true(mg_limiter_put_back(fresh, &record, now_ms * MS, &moved));
    return moved;
}

static void fill(mg_limiter *l, int keys, uint64_t now_ms)
{
    for (int i = 0; i < keys; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 3, now_ms));
    }
}

static void a_table_made_again_is_as_it_was_and_has_nothing_to_store(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i < MG_LIMITER_CONCURRENCY; i++) {
        mg_limiter *l = limiter_of((mg_limiter_algorithm)i, 10, 1000);
        mg_limiter *fresh = limiter_of((mg_limiter_algorithm)i, 10, 1000);

        fill(l, 900, 5000);
        assert_false(put_back(l, fresh, 5000));
        assert_int_equal(changed(fresh, 5000), 0);
        assert_int_equal(left(fresh, "k77", 5000), left(l, "k77", 5000));
        assert_false(put_back(l, fresh, 5000)); /* the same again: in their places, but looked at once more */
        assert_int_equal(changed(fresh, 5000), 900);
        mg_limiter_free(l);
        mg_limiter_free(fresh);
    }
}

static void keys_put_back_into_another_table_are_moved_and_stored_again(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 1000);
    mg_limiter *fresh = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 900);
    mg_limiter *other = limiter_of(MG_LIMITER_FIXED_WINDOW, 10, 1000);

    (void)state;
    fill(l, 500, 5000);
    assert_true(put_back(l, fresh, 5000));
    assert_true(changed(fresh, 5000) > 400);
    assert_false(put_back(l, other, 5000)); /* in place, but written another way */
    assert_int_equal(changed(other, 5000), 500);
    mg_limiter_free(l);
    mg_limiter_free(fresh);
    mg_limiter_free(other);
}

static void a_limiter_shares_with_the_next_of_its_kind_only(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 64), *next, *other;
    mg_limiter_conf conf;

    (void)state;
    mg_limiter_conf_defaults(&conf);
    conf.limit = 5;
    conf.period_ms = 1000;
    conf.max_keys = 64;
    conf.overflow_cells = 3;
    next = mg_limiter_next(l, &conf, 0, NULL);
    conf.algorithm = MG_LIMITER_FIXED_WINDOW;
    other = mg_limiter_next(l, &conf, 0, NULL);
    assert_true(mg_limiter_shares(l, next));
    assert_false(mg_limiter_shares(l, other));
    mg_limiter_free(l);
    mg_limiter_free(next);
    mg_limiter_free(other);
}

static void overflow_cells_are_kept_too(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_FIXED_WINDOW, 10, 1), *fresh;
    mg_limiter_record record;
    size_t cursor = 0, cells = 0;

    (void)state;
    assert_true(take(l, "a", 1, 100));
    assert_true(take(l, "b", 4, 100));
    while (mg_limiter_record_next(l, &cursor, 100 * MS, &record))
        cells += record.cell;
    assert_int_equal(cells, 1);
    fresh = restarted(l, MG_LIMITER_FIXED_WINDOW, 1, 100, 200);
    assert_int_equal(left(fresh, "b", 200), 6);
    mg_limiter_free(l);
    mg_limiter_free(fresh);
}

static void the_sketch_names_who_is_hot(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_TOKEN_BUCKET, 10, 64);
    mg_limiter_hot hot[MG_LIMITER_HOT];
    char key[100];
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    assert_int_equal(mg_limiter_hottest(l, hot), 0);
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "noise-%llu", (unsigned long long)mg_rand_below(&rand, 100000));
        if (i % 10 == 0)
            strcpy(key, "hot");
        if (i % 20 == 1)
            strcpy(key, "warm");
        mg_limiter_see(l, key, strlen(key));
    }
    assert_int_equal(mg_limiter_hottest(l, hot), MG_LIMITER_HOT);
    check_str(mg_str_make(hot[0].key, hot[0].n), "hot");
    check_str(mg_str_make(hot[1].key, hot[1].n), "warm");
    assert_in_range(hot[0].seen - hot[0].over, 1500, 2000);
    assert_true(hot[0].seen >= 2000);
    memset(key, 'x', sizeof(key));
    mg_limiter_see(l, key, sizeof(key));
    mg_limiter_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_goes_on_where_it_was),
        cmocka_unit_test(a_log_too_long_for_its_record_comes_back_no_more_lenient),
        cmocka_unit_test(a_record_of_another_algorithm_owes_what_was_used),
        cmocka_unit_test(a_record_raises_no_debt_above_the_rule_and_lowers_none),
        cmocka_unit_test(what_changed_since_the_last_flush_comes_once),
        cmocka_unit_test(a_table_made_again_is_as_it_was_and_has_nothing_to_store),
        cmocka_unit_test(keys_put_back_into_another_table_are_moved_and_stored_again),
        cmocka_unit_test(a_limiter_shares_with_the_next_of_its_kind_only),
        cmocka_unit_test(overflow_cells_are_kept_too),
        cmocka_unit_test(the_sketch_names_who_is_hot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
