/* store_fixture.h - a directory of its own for every test, and a small store in it: opened, filled, read. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "store/store.h"

#include <fcntl.h>

enum { MAP_BYTES = 1 << 20 };

static char dir[TMPDIR_PATH_BYTES];

static inline int fresh_directory(void **state)
{
    (void)state;
    tmpdir_make(dir);
    return 0;
}

static inline int remove_directory(void **state)
{
    (void)state;
    tmpdir_remove(dir);
    return 0;
}

static inline mg_store *try_open(const char *path, mg_result *result, mg_error *err)
{
    const mg_store_options options = {
        .path = path, .max_bytes = MAP_BYTES, .tables = 2, .readers = 4, .sync = true
    };
    return mg_store_open(&options, result, err);
}

static inline mg_store *must_open(void)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_ERR_IO;
    mg_store *store = try_open(dir, &result, &err);

    if (!store)
        fail_msg("%s", err.message);
    assert_int_equal(result, MG_OK);
    return store;
}

static inline unsigned must_table(mg_store *store, const char *name)
{
    unsigned table = 99;

    assert_int_equal(mg_store_table(store, name, &table, NULL), MG_OK);
    return table;
}

static inline void put(mg_store *store, unsigned table, const char *key, const char *value)
{
    const mg_store_change change = { table, mg_str_of(key), mg_str_of(value) };

    assert_int_equal(mg_store_commit(store, &change, 1, NULL), MG_OK);
}

/* Whether the key has this value; NULL: none. */
static inline bool has(mg_store *store, unsigned table, const char *key, const char *value)
{
    mg_arena arena;
    mg_str found;
    bool same;

    mg_arena_init(&arena, NULL, 0);
    const mg_result result = mg_store_get(store, table, mg_str_of(key), &arena, &found);
    same = value ? result == MG_OK && mg_str_eq_c(found, value) : result == MG_ERR_NOT_FOUND && !found.p;
    mg_arena_fini(&arena);
    return same;
}

typedef struct seen {
    mg_text keys;
    size_t left; /* stop after so many */
} seen;

static inline bool collect(void *self, mg_str key, mg_str value)
{
    seen *s = self;

    mg_text_add(&s->keys, key);
    mg_text_add_char(&s->keys, '=');
    mg_text_add(&s->keys, value);
    mg_text_add_char(&s->keys, ' ');
    return --s->left > 0;
}

static inline void overwrite(const char *name, off_t at, const char *bytes, size_t n)
{
    char path[TMPDIR_PATH_BYTES + 16];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static inline void fill(mg_store *store, unsigned table, int from, int to)
{
    for (int i = from; i < to; i++) {
        char key[16], value[512];
        snprintf(key, sizeof(key), "k%03d", i);
        memset(value, 'v', sizeof(value) - 1);
        value[511] = '\0';
        put(store, table, key, value);
    }
}

static inline void in_dir(char path[TMPDIR_PATH_BYTES + 16], const char *name)
{
    snprintf(path, TMPDIR_PATH_BYTES + 16, "%s/%s", dir, name);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_directory, remove_directory)

#endif
