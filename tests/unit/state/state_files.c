/* A state folder, copied and put back: whole, or not at all. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "state/state_files.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[TMPDIR_PATH_BYTES];

static char *in_dir(const char *name)
{
    mg_text path = { 0 };

    mg_text_addf(&path, "%s/%s", dir, name);
    return path.p;
}

static bool is_there(const char *name)
{
    struct stat st;
    char *path = in_dir(name);
    const bool there = stat(path, &st) == 0;

    mg_free(path);
    return there;
}

static void write_file(const char *name, const char *text)
{
    char *path = in_dir(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    mg_free(path);
}

/* A ledger with one key. */
typedef struct ledger {
    mg_fake_clock clock;
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *space;
} ledger;

static void open_ledger(ledger *l, const char *name)
{
    char *path = in_dir(name);
    const mg_store_options options = {
        .path = path, .max_bytes = 1 << 20, .tables = 4, .readers = 8, .sync = false
    };
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    mg_fake_clock_init(&l->clock, 1, 1700000000 * (int64_t)MG_NS_PER_S);
    l->store = mg_store_open(&options, &result, &err);
    if (!l->store)
        fail_msg("%s", err.message);
    const mg_kv_options kv = { .store = l->store, .clock = &l->clock.clock, .seed = 1 };
    l->kv = mg_kv_new(&kv, &err);
    l->space = mg_kv_open(l->kv, MG_STR("shelf"), &err);
    mg_free(path);
}

static void close_ledger(ledger *l)
{
    mg_kv_space_free(l->space);
    mg_kv_free(l->kv);
    mg_store_close(l->store);
}

static void put(ledger *l, const char *value)
{
    assert_null(mg_kv_set(l->space, "book", 4, value, (uint32_t)strlen(value), 0));
}

static void check_book(const char *name, const char *want)
{
    mg_slice value;
    ledger l;

    open_ledger(&l, name);
    assert_null(mg_kv_get(l.space, "book", 4, &value));
    check_str(mg_str_make(value.p, value.n), want);
    close_ledger(&l);
}

static mg_result restore(const char *backup, mg_text *aside, mg_error *err)
{
    char *from = in_dir(backup), *to = in_dir("state");
    const mg_result result = mg_state_restore(from, to, 1700000001 * (int64_t)MG_NS_PER_S, aside, err);

    mg_free(from);
    mg_free(to);
    return result;
}

/* "state" with the second edition, "copy" with the first. */
static void begin(ledger *l)
{
    char *copy;

    tmpdir_make(dir);
    copy = in_dir("copy");
    open_ledger(l, "state/ledger");
    put(l, "first");
    assert_int_equal(mg_kv_flush(l->kv, NULL), MG_OK);
    assert_int_equal(mg_state_copy_ledger(l->store, copy, NULL), MG_OK);
    put(l, "second");
    assert_int_equal(mg_kv_flush(l->kv, NULL), MG_OK);
    mg_free(copy);
}

static void a_backup_has_what_was_set_before_it(void **state)
{
    ledger l;

    (void)state;
    begin(&l);
    check_book("copy/ledger", "first");
    close_ledger(&l);
    check_book("state/ledger", "second");
    tmpdir_remove(dir);
}

static void restoring_keeps_what_stood_there(void **state)
{
    mg_text aside = { 0 };
    ledger l;

    (void)state;
    begin(&l);
    close_ledger(&l);
    assert_int_equal(restore("copy", &aside, NULL), MG_OK);
    check_str(mg_text_str(&aside), ".before-1700000001");
    check_book("state/ledger", "first");
    check_book("state/ledger.before-1700000001", "second");
    assert_false(is_there("state/ledger.restoring"));
    mg_text_fini(&aside);
    tmpdir_remove(dir);
}

static void a_fresh_folder_is_filled_and_nothing_set_aside(void **state)
{
    mg_text aside = { 0 };
    char *from, *to;
    ledger l;

    (void)state;
    begin(&l);
    close_ledger(&l);
    from = in_dir("copy");
    to = in_dir("fresh");
    assert_int_equal(mg_state_restore(from, to, 0, &aside, NULL), MG_OK);
    assert_int_equal(aside.n, 0);
    check_book("fresh/ledger", "first");
    mg_free(from);
    mg_free(to);
    tmpdir_remove(dir);
}

static void a_folder_in_use_is_left_alone(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_text aside = { 0 };
    ledger l;

    (void)state;
    begin(&l);
    assert_int_equal(restore("copy", &aside, &err), MG_ERR_BUSY);
    assert_non_null(strstr(err.message, "in use"));
    close_ledger(&l);
    check_book("state/ledger", "second");
    assert_false(is_there("state/ledger.restoring"));
    tmpdir_remove(dir);
}

/* What policies remembered belongs to another time than the backup's ledger. */
static void a_part_the_backup_lacks_is_set_aside_too(void **state)
{
    mg_text aside = { 0 };
    ledger l, policy;

    (void)state;
    begin(&l);
    close_ledger(&l);
    open_ledger(&policy, "state/policy");
    close_ledger(&policy);
    assert_int_equal(restore("copy", &aside, NULL), MG_OK);
    assert_false(is_there("state/policy"));
    assert_true(is_there("state/policy.before-1700000001"));
    mg_text_fini(&aside);
    tmpdir_remove(dir);
}

static void a_store_that_cannot_be_read_is_replaced(void **state)
{
    mg_text aside = { 0 };
    ledger l;

    (void)state;
    begin(&l);
    close_ledger(&l);
    write_file("state/ledger/data.mdb", "this was a store once, and is longer than nothing");
    assert_int_equal(restore("copy", &aside, NULL), MG_OK);
    check_book("state/ledger", "first");
    mg_text_fini(&aside);
    tmpdir_remove(dir);
}

static void a_backup_that_is_none_changes_nothing(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_text aside = { 0 };
    char *path;
    ledger l;

    (void)state;
    begin(&l);
    close_ledger(&l);
    assert_int_equal(restore("nowhere", &aside, &err), MG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "not a backup"));
    path = in_dir("copy/policy");
    assert_int_equal(mkdir(path, 0700), 0);
    mg_free(path);
    write_file("copy/policy/data.mdb", "no store");
    assert_int_not_equal(restore("copy", &aside, &err), MG_OK);
    check_book("state/ledger", "second");
    assert_false(is_there("state/ledger.restoring"));
    assert_false(is_there("state/policy.restoring"));
    assert_false(is_there("state/ledger.before-1700000001"));
    tmpdir_remove(dir);
}

/* The rest of the file did not make it over the network. */
static void a_backup_that_is_cut_short_changes_nothing(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_text aside = { 0 };
    struct stat st;
    char *file;
    ledger l;

    (void)state;
    begin(&l);
    close_ledger(&l);
    file = in_dir("copy/ledger/data.mdb");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(truncate(file, 2 * 4096), 0);
    assert_true(st.st_size > 2 * 4096);
    assert_int_equal(restore("copy", &aside, &err), MG_ERR_INVALID);
    assert_non_null(strstr(err.message, "cut short"));
    check_book("state/ledger", "second");
    assert_false(is_there("state/ledger.restoring"));
    mg_free(file);
    tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_has_what_was_set_before_it),
        cmocka_unit_test(restoring_keeps_what_stood_there),
        cmocka_unit_test(a_fresh_folder_is_filled_and_nothing_set_aside),
        cmocka_unit_test(a_folder_in_use_is_left_alone),
        cmocka_unit_test(a_part_the_backup_lacks_is_set_aside_too),
        cmocka_unit_test(a_store_that_cannot_be_read_is_replaced),
        cmocka_unit_test(a_backup_that_is_none_changes_nothing),
        cmocka_unit_test(a_backup_that_is_cut_short_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
