/* Bump memory. */
#include "support/check.h"

#include "base/arena.h"
#include <errno.h>
#include <sys/mman.h>

static void the_owners_memory_is_used_first(void **state)
{
    _Alignas(16) char first[256];
    mg_arena arena;
    char *p;

    (void)state;
    mg_arena_init(&arena, first, sizeof(first));
    p = mg_arena_alloc(&arena, 200);
    assert_ptr_equal(p, first);
    assert_int_equal(arena.used, 0);
    p = mg_arena_alloc(&arena, 100);
    assert_false(p >= first && p < first + sizeof(first));
    assert_true(arena.used >= 4096);
    mg_arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    assert_ptr_equal(mg_arena_alloc(&arena, 1), first);
    mg_arena_fini(&arena);
}

static void allocations_are_aligned_and_apart(void **state)
{
    char *blocks[300];
    mg_arena arena;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < 300; i++) {
        memset(mg_arena_bytes(&arena, i % 7), 0x55, i % 7);
        blocks[i] = mg_arena_alloc(&arena, i + 1);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i & 0xff, i + 1);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t j = 0; j <= i; j++)
            assert_int_equal((unsigned char)blocks[i][j], i & 0xff);
    mg_arena_fini(&arena);
}

static void a_large_block_leaves_the_current_chunk_in_use(void **state)
{
    mg_arena arena;
    char *before, *after;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    before = mg_arena_bytes(&arena, 16);
    memset(mg_arena_alloc(&arena, 1 << 20), 1, 1 << 20);
    after = mg_arena_bytes(&arena, 16);
    assert_ptr_equal(after, before + 16);
    mg_arena_fini(&arena);
}

static void chunks_grow_to_64_kib(void **state)
{
    mg_arena arena;
    size_t largest = 0;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    mg_arena_alloc(&arena, 1);
    assert_int_equal(arena.used, 4096);
    while (arena.used < 1 << 20) {
        const size_t before = arena.used;
        mg_arena_alloc(&arena, 1000);
        if (arena.used - before > largest)
            largest = arena.used - before;
    }
    assert_int_equal(largest, 65536);
    mg_arena_fini(&arena);
}

static void zeroed_memory_is_zero_after_reuse(void **state)
{
    char first[64];
    mg_arena arena;
    const char *p;

    (void)state;
    memset(first, 0xee, sizeof(first));
    mg_arena_init(&arena, first, sizeof(first));
    p = mg_arena_zalloc(&arena, 32);
    for (int i = 0; i < 32; i++)
        assert_int_equal(p[i], 0);
    mg_arena_fini(&arena);
}

static void text_is_copied_with_a_nul(void **state)
{
    mg_arena arena;
    mg_str copy;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    copy = mg_arena_str(&arena, MG_STR("abc"));
    check_str(copy, "abc");
    assert_int_equal(copy.p[3], 0);
    check_str(mg_arena_str(&arena, MG_STR_NONE), "");
    assert_string_equal(mg_arena_strdup(&arena, "text"), "text");
    copy = mg_arena_printf(&arena, "%s-%05d", "id", 42);
    assert_string_equal(copy.p, "id-00042");
    assert_int_equal(copy.n, 8);
    assert_int_equal(mg_arena_printf(&arena, "%09000d", 1).n, 9000);
    mg_arena_fini(&arena);
}

static void a_piece_that_was_given_back_is_used_again(void **state)
{
    static const size_t sizes[] = { 1, 31, 32, 33, 500, 1024, 1025, 5000, 70000, 3 << 20 };
    mg_arena arena;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    for (int round = 0; round < 1000; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *piece = mg_arena_piece(&arena, sizes[i]), *other = mg_arena_piece(&arena, sizes[i]);

            memset(piece, 1, sizes[i] > 5000 ? 16 : sizes[i]);
            memset(other, 2, sizes[i] > 5000 ? 16 : sizes[i]);
            assert_int_equal(piece[0], 1);
            mg_arena_piece_back(&arena, piece, sizes[i]);
            mg_arena_piece_back(&arena, other, sizes[i]);
        }
    }
    assert_true(arena.used <= 16384);
    mg_arena_fini(&arena);
}

static void a_large_piece_goes_at_once_wherever_it_stands(void **state)
{
    char *pieces[5];
    mg_arena arena;

    (void)state;
    mg_arena_init(&arena, NULL, 0);
    (void)mg_arena_bytes(&arena, 10);
    const size_t before = arena.used;
    for (int i = 0; i < 5; i++)
        pieces[i] = mg_arena_piece(&arena, 1 << 20);
    assert_int_equal(arena.used, before + 5 * mg_arena_piece_own(1 << 20));
    for (int i = 0; i < 5; i++)
        mg_arena_piece_back(&arena, pieces[(i * 2 + 1) % 5], 1 << 20); /* 1, 3, 0, 2, 4 */
    assert_int_equal(arena.used, before);
    assert_int_equal(mg_arena_piece_own(1024), 0);
    mg_arena_fini(&arena);
}

static void an_arena_for_much_gives_its_chunks_back(void **state)
{
    mg_arena arena;
    char *last = NULL;

    (void)state;
    mg_arena_init_mapped(&arena);
    for (int i = 0; i < 4000; i++)
        last = memset(mg_arena_alloc(&arena, 1024), 'x', 1024);
    assert_in_range(arena.used, 4000 * 1024, 6000 * 1024);
    const uintptr_t page =
        (uintptr_t)last & ~(uintptr_t)4095; /* of a chunk of 1 MiB, and so a whole page of it */
    assert_int_equal(msync((void *)page, 4096, MS_ASYNC), 0);
    mg_arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    assert_int_equal(msync((void *)page, 4096, MS_ASYNC), -1);
    assert_int_equal(errno, ENOMEM);
    assert_non_null(mg_arena_alloc(&arena, 300000)); /* as after init */
    mg_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owners_memory_is_used_first),
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(a_large_block_leaves_the_current_chunk_in_use),
        cmocka_unit_test(chunks_grow_to_64_kib),
        cmocka_unit_test(zeroed_memory_is_zero_after_reuse),
        cmocka_unit_test(text_is_copied_with_a_nul),
        cmocka_unit_test(a_piece_that_was_given_back_is_used_again),
        cmocka_unit_test(a_large_piece_goes_at_once_wherever_it_stands),
        cmocka_unit_test(an_arena_for_much_gives_its_chunks_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
