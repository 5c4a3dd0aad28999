/* A kv over a store that is full: what is deleted and what is past its time goes first, what has room is
 * written, and it goes on by itself. */
#include "kv_fixture.h"

enum { MAP_BYTES = 256 * 1024, SPACE_BYTES = 128 << 20 };

static char big[MG_KV_VALUE_MAX];

static void begin_small(fixture *f)
{
    begin(f, true);
    close_kv(f);
    open_kv(f, true, MAP_BYTES, SPACE_BYTES);
}

/* As if by SIGKILL: nothing is flushed. */
static void kill_and_open(fixture *f)
{
    close_kv(f);
    open_kv(f, true, MAP_BYTES, SPACE_BYTES);
}

static void set_big(mg_kv_space *space, int number, double ttl_s)
{
    char key[16];
    const int n = snprintf(key, sizeof key, "big%04d", number);

    assert_null(mg_kv_set(space, key, (uint32_t)n, big, sizeof big, ttl_s));
}

static void del_big(mg_kv_space *space, int number)
{
    char key[16];

    snprintf(key, sizeof key, "big%04d", number);
    del(space, key);
}

static bool has_big(mg_kv_space *space, int number)
{
    char key[16];
    mg_slice value;
    const int n = snprintf(key, sizeof key, "big%04d", number);

    assert_null(mg_kv_get(space, key, (uint32_t)n, &value));
    return value.p != NULL;
}

static mg_kv_stats stats_of(const fixture *f)
{
    mg_kv_stats stats;

    mg_kv_stats_get(f->kv, &stats);
    return stats;
}

/* Whatever comes of it. */
static void flush_again(fixture *f)
{
    const mg_result result = mg_kv_flush(f->kv, NULL);

    assert_true(result == MG_OK || result == MG_ERR_LIMIT);
}

/* More large values than there is room for; how many of them reached the store. */
static int fill_store(fixture *f, int count, double ttl_s)
{
    for (int i = 0; i < count; i++)
        set_big(f->space, i, ttl_s);
    assert_int_equal(mg_kv_flush(f->kv, NULL), MG_ERR_LIMIT);
    return count - (int)stats_of(f).pending;
}

static void what_is_deleted_stays_deleted_whatever_else_has_no_room(void **state)
{
    fixture f;

    (void)state;
    begin_small(&f);
    set(f.space, "a", "stored");
    set(f.space, "b", "stored");
    flush(&f);
    const int stored = fill_store(&f, 10, 0);
    assert_true(stored >= 2 && stored < 10);
    del(f.space, "a");
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_false(mg_kv_waits(f.kv, MG_STR("plugin"), MG_STR("a")));
    kill_and_open(&f);
    check_value(f.space, "a", NULL);
    check_value(f.space, "b", "stored");
    close_kv(&f);
}

static void deletions_make_room_for_what_waits(void **state)
{
    fixture f;

    (void)state;
    begin_small(&f);
    const int stored = fill_store(&f, 2 * 3, 0);
    for (int i = 0; i < 6; i++)
        if (i % 2)
            del_big(f.space, i);
    flush_again(&f);
    flush_again(&f);
    assert_true(stored < 6);
    const mg_kv_stats stats = stats_of(&f);
    assert_int_equal(stats.pending, 0);
    assert_false(stats.failing);
    kill_and_open(&f);
    for (int i = 0; i < 6; i++)
        assert_int_equal(has_big(f.space, i), i % 2 == 0);
    close_kv(&f);
}

static void what_has_room_is_written_beside_what_has_none(void **state)
{
    fixture f;

    (void)state;
    begin_small(&f);
    (void)fill_store(&f, 10, 0);
    set(f.space, "small", "written");
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_false(mg_kv_waits(f.kv, MG_STR("plugin"), MG_STR("small")));
    check_value(f.space, "small", "written");
    kill_and_open(&f);
    check_value(f.space, "small", "written");
    close_kv(&f);
}

static void another_namespace_is_not_told_of_it(void **state)
{
    fixture f;

    (void)state;
    begin_small(&f);
    mg_kv_space *other = mg_kv_open(f.kv, MG_STR("other"), NULL);
    (void)fill_store(&f, 10, 0);
    assert_non_null(mg_kv_flush_error(f.space));
    set(other, "k", "v");
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_null(mg_kv_flush_error(other));
    assert_non_null(mg_kv_flush_error(f.space));
    set_big(other, 1, 0);
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_non_null(mg_kv_flush_error(other));
    mg_kv_space_free(other);
    close_kv(&f);
}

static void values_past_their_time_make_room_by_themselves(void **state)
{
    fixture f;

    (void)state;
    begin_small(&f);
    const int stored = fill_store(&f, 10, 60);
    assert_true(stored < 10);
    mg_fake_clock_advance(&f.clock, 61 * MG_NS_PER_S);
    set_big(f.space, 20, 0);
    set_big(f.space, 21, 0);
    flush_again(&f); /* the stored ones leave, and those that were never written */
    flush_again(&f); /* what is left has their room */
    const mg_kv_stats stats = stats_of(&f);
    assert_int_equal(stats.pending, 0); /* nor does what was never written wait for ever */
    assert_false(stats.failing);
    assert_int_equal(stats.expired, 10);
    kill_and_open(&f);
    assert_true(has_big(f.space, 20) && has_big(f.space, 21));
    assert_false(has_big(f.space, 0) || has_big(f.space, 9));
    assert_true(mg_kv_used_bytes(f.space) < 3 * sizeof big);
    close_kv(&f);
}

static void memory_holds_a_bounded_part_of_what_has_no_room(void **state)
{
    fixture f;
    const char *error = NULL;
    int count = 0;

    (void)state;
    begin_small(&f);
    (void)fill_store(&f, 10, 0);
    for (; !error && count < 4000; count++) {
        char key[16];
        const int n = snprintf(key, sizeof key, "more%04d", count);
        error = mg_kv_set(f.space, key, (uint32_t)n, big, sizeof big, 0);
    }
    assert_non_null(error);
    assert_string_equal(error, "the store is full");
    assert_true(mg_kv_used_bytes(f.space) <= 80 << 20);
    for (int i = 0; i < count - 1; i++) {
        char key[16];
        snprintf(key, sizeof key, "more%04d", i);
        del(f.space, key);
    }
    set_big(f.space, 30, 0); /* taken again */
    close_kv(&f);
}

static void a_store_that_is_full_at_the_start_is_emptied_as_any_other(void **state)
{
    fixture f;

    (void)state;
    begin(&f, true);
    close_kv(&f);
    open_kv(&f, true, 4 * MAP_BYTES, SPACE_BYTES);
    const int stored = fill_store(&f, 30, 0);
    kill_and_open(&f); /* and may have a quarter of it now */
    int found = 0;
    for (int i = 0; i < 30; i++)
        found += has_big(f.space, i);
    assert_int_equal(found, stored);
    set_big(f.space, 40, 0);
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    for (int i = 0; i < 30; i++)
        if (has_big(f.space, i))
            del_big(f.space, i);
    flush(&f);
    kill_and_open(&f);
    assert_true(has_big(f.space, 40));
    assert_false(has_big(f.space, 0));
    close_kv(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_deleted_stays_deleted_whatever_else_has_no_room),
        TEST(deletions_make_room_for_what_waits),
        TEST(what_has_room_is_written_beside_what_has_none),
        TEST(another_namespace_is_not_told_of_it),
        TEST(values_past_their_time_make_room_by_themselves),
        TEST(memory_holds_a_bounded_part_of_what_has_no_room),
        TEST(a_store_that_is_full_at_the_start_is_emptied_as_any_other),
    };
    return cmocka_run_group_tests_name("gateway/kv_full", tests, NULL, NULL);
}
