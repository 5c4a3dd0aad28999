/* spare.c - blocks that come back, and bounds of what is kept. */
#include "script/spare.h"

#include "../../support/check.h"

static void blocks_of_a_size_come_back(void **state)
{
    mg_spare spare = { 0 };

    (void)state;
    for (size_t bytes = 1; bytes <= 264; bytes++) {
        void *a = mg_spare_realloc(&spare, NULL, 0, bytes);
        memset(a, 'a', bytes);
        assert_null(mg_spare_realloc(&spare, a, bytes, 0));
        assert_true(spare.bytes >= bytes);
        assert_ptr_equal(mg_spare_realloc(&spare, NULL, 0, bytes), a);
        memset(a, 'b', bytes);
        (void)mg_spare_realloc(&spare, a, bytes, 0);
    }
    void *large = mg_spare_realloc(&spare, NULL, 0, 265);
    const size_t before = spare.bytes;
    (void)mg_spare_realloc(&spare, large, 265, 0);
    assert_int_equal(spare.bytes, before); /* malloc's own */
    mg_spare_fini(&spare);
    assert_int_equal(spare.bytes, 0);
}

static void a_block_keeps_its_bytes_when_it_grows_and_shrinks(void **state)
{
    static const size_t sizes[] = { 1, 8, 9, 200, 264, 265, 5000, 300, 264, 263, 40, 3 };
    mg_spare spare = { 0 };
    char *block = NULL;
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        block = mg_spare_realloc(&spare, block, n, sizes[i]);
        for (size_t at = 0; at < n && at < sizes[i]; at++)
            assert_int_equal((unsigned char)block[at], at % 251);
        n = sizes[i];
        for (size_t at = 0; at < n; at++)
            block[at] = (char)(at % 251);
    }
    assert_null(mg_spare_realloc(&spare, block, n, 0));
    assert_null(mg_spare_realloc(&spare, NULL, 0, 0));
    mg_spare_fini(&spare);
}

static void what_is_kept_is_bounded(void **state)
{
    enum { COUNT = MG_SPARE_BYTES / 64 + 1000 };
    static void *blocks[COUNT];
    mg_spare spare = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = mg_spare_realloc(&spare, NULL, 0, 64);
    for (size_t i = 0; i < COUNT; i++)
        (void)mg_spare_realloc(&spare, blocks[i], 64, 0);
    assert_in_range(spare.bytes, MG_SPARE_BYTES, MG_SPARE_BYTES + mg_spare_taken(64));
    mg_spare_fini(&spare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_a_size_come_back),
        cmocka_unit_test(a_block_keeps_its_bytes_when_it_grows_and_shrinks),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
