/* The key table by example; the file is included to reach how two claims become one. */
#include "policy/key_table.c"

#include "support/check.h"

static void fingerprints_are_siphash(void **state)
{
    const uint64_t secret[2] = { 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull };
    char text[15];

    (void)state;
    for (int i = 0; i < 15; i++)
        text[i] = (char)i;
    assert_true(mg_key_fingerprint(secret, "", 0) == 0xabac0158050fc4dcull);
    assert_true(mg_key_fingerprint(secret, text, 15) == 0xd320d86d2a519956ull);
}

static void a_key_keeps_its_slot_and_an_expired_one_is_free(void **state)
{
    mg_key_table *t = mg_key_table_new(1, NULL);
    mg_key_slot *slot;
    uint64_t word;

    (void)state;
    assert_null(mg_key_table_find(t, 5, &word));
    slot = mg_key_table_claim(t, 5, 100, &word);
    assert_int_equal(word, 100);
    assert_int_equal(mg_key_slot_change(slot, 5, &word, 200), MG_KEY_CHANGED);
    assert_ptr_equal(mg_key_table_claim(t, 5, 150, &word), slot);
    assert_int_equal(word, 200);
    assert_false(mg_key_table_has_room(t, 6, 199));
    assert_null(mg_key_table_claim(t, 6, 199, &word));
    assert_ptr_equal(mg_key_table_claim(t, 6, 200, &word), slot);
    word = 200;
    assert_int_equal(mg_key_slot_change(slot, 5, &word, 300), MG_KEY_LOST);
    mg_key_table_free(t);
}

static void a_change_says_what_it_found_instead(void **state)
{
    mg_key_table *t = mg_key_table_new(8, NULL);
    uint64_t word;
    mg_key_slot *slot = mg_key_table_claim(t, 5, 100, &word);

    (void)state;
    word = 99;
    assert_int_equal(mg_key_slot_change(slot, 5, &word, 300), MG_KEY_AGAIN);
    assert_int_equal(word, 100);
    mg_key_table_free(t);
}

static void two_slots_of_one_key_become_the_lower_with_both_debts(void **state)
{
    mg_key_table *t = mg_key_table_new(8, NULL);
    uint64_t word;

    (void)state;
    mg_key_table_at(t, 2)->fingerprint = mg_key_table_at(t, 6)->fingerprint = 9;
    mg_key_table_at(t, 2)->word = 130;
    mg_key_table_at(t, 6)->word = 150;
    assert_true(unite(t, lines_of(t, 9), 9, 100));
    assert_ptr_equal(mg_key_table_find(t, 9, &word), mg_key_table_at(t, 2));
    assert_int_equal(word, 180);
    assert_int_equal(mg_key_table_at(t, 6)->fingerprint, 0);
    mg_key_table_free(t);
}

static void the_two_lines_of_a_key_differ_and_lie_inside(void **state)
{
    mg_key_table *t = mg_key_table_new(9, NULL);
    const uint64_t edges[] = { 1, UINT64_MAX, UINT32_MAX, 1ull << 32, 0x7fffffff7fffffffull };

    (void)state;
    assert_int_equal(mg_key_table_slots(t), 16);
    for (size_t i = 0; i < mg_countof(edges); i++) {
        const lines l = lines_of(t, edges[i]);

        assert_true(l.low < l.high);
        assert_true(l.low >= mg_key_table_at(t, 0) && l.high + LINE_SLOTS <= mg_key_table_at(t, 16));
        assert_int_equal((uintptr_t)l.low % 64, 0);
    }
    mg_key_table_free(t);
}

static void at_half_load_hardly_a_key_finds_no_slot(void **state)
{
    enum { KEYS = 32768 };
    const uint64_t secret[2] = { 1, 2 };
    mg_key_table *t = mg_key_table_new(KEYS, NULL);
    uint64_t word;
    size_t without = 0, cursor = 0, walked = 0;

    (void)state;
    for (uint64_t i = 0; i < KEYS; i++) {
        const uint64_t fingerprint = mg_key_fingerprint(secret, (const char *)&i, sizeof(i));
        mg_key_slot *slot = mg_key_table_claim(t, fingerprint, 1, &word);

        if (slot)
            assert_int_equal(mg_key_slot_change(slot, fingerprint, &word, 2), MG_KEY_CHANGED);
        without += !slot;
    }
    assert_in_range(without, 0, KEYS / 10000);
    for (uint64_t fingerprint; mg_key_table_next(t, &cursor, &fingerprint, &word);)
        walked++;
    assert_int_equal(walked, KEYS - without);
    mg_key_table_free(t);
}

static void a_claim_that_is_not_united_yet_gives_nobody_a_burst_again(void **state)
{
    const uint64_t now = 1000, debt = 500, fingerprint = 0x123456789abcdef0ull;

    (void)state;
    for (uint32_t max_keys = 8; max_keys <= 64; max_keys += 56) {
        mg_key_table *t = mg_key_table_new(max_keys, NULL);
        const lines l = lines_of(t, fingerprint);
        mg_key_slot *owing = slot_in(t, l.high, 3), *claimed = slot_in(t, l.low, 1);
        uint64_t owner = 0, seen = 0, word;
        assert_true(slot_cas(owing, &owner, &seen, fingerprint, now + debt));
        owner = seen = 0;
        assert_true(slot_cas(claimed, &owner, &seen, fingerprint, now));
        assert_ptr_equal(mg_key_table_find(t, fingerprint, &word), owing);
        assert_int_equal(word, now + debt);
        assert_true(owe(claimed, fingerprint, debt, now)); /* half poured: what comes still goes there */
        assert_ptr_equal(mg_key_table_find(t, fingerprint, &word), owing);
        assert_true(mg_key_slot_free(claimed, fingerprint, &(uint64_t){ now + debt }));
        owner = seen = 0;
        assert_true(slot_cas(claimed, &owner, &seen, fingerprint, now));
        assert_true(unite(t, l, fingerprint, now));
        assert_ptr_equal(mg_key_table_find(t, fingerprint, &word), claimed);
        assert_int_equal(word, now + debt);
        mg_key_table_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fingerprints_are_siphash),
        cmocka_unit_test(a_key_keeps_its_slot_and_an_expired_one_is_free),
        cmocka_unit_test(a_change_says_what_it_found_instead),
        cmocka_unit_test(two_slots_of_one_key_become_the_lower_with_both_debts),
        cmocka_unit_test(the_two_lines_of_a_key_differ_and_lie_inside),
        cmocka_unit_test(at_half_load_hardly_a_key_finds_no_slot),
        cmocka_unit_test(a_claim_that_is_not_united_yet_gives_nobody_a_burst_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
