/* Two slots that turn out to be one key's, for every kind of slot: two threads claimed at the same moment. */
#include "policy/limiter_kinds.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define NOW (5 * MG_NS_PER_S)

enum { KEY = 77 };

static mg_limiter *limiter_of(mg_limiter_algorithm algorithm)
{
    mg_limiter_conf conf;
    mg_limiter *l;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = 10;
    conf.period_ms = 1000;
    conf.max_keys = 8;
    l = mg_limiter_new(&conf, NULL);
    assert_non_null(l);
    return l;
}

static mg_key_slot *slot_with(const mg_limiter *l, size_t place, uint32_t units)
{
    const limiter_turn turn = { .now_ns = NOW, .cost = units, .charging = true };
    mg_key_slot *slot = mg_key_table_at(l->state->table, place);
    mg_limiter_answer a;

    atomic_store(&slot->fingerprint, KEY);
    assert_int_equal(l->kind->decide(l, slot, KEY, &turn, &a), MG_KEY_CHANGED);
    assert_true(a.allowed);
    return slot;
}

static mg_key_change charge(const mg_limiter *l, mg_key_slot *slot, uint64_t *remaining)
{
    const limiter_turn turn = { .now_ns = NOW, .cost = 1, .charging = true };
    mg_limiter_answer a = { .remaining = 0 };
    const mg_key_change change = l->kind->decide(l, slot, KEY, &turn, &a);

    *remaining = a.remaining;
    return change;
}

static void what_both_were_charged_is_in_the_one_that_stays(void **state)
{
    static const mg_limiter_algorithm algorithms[] = { MG_LIMITER_SLIDING_WINDOW, MG_LIMITER_FIXED_WINDOW,
                                                       MG_LIMITER_SLIDING_LOG, MG_LIMITER_CONCURRENCY };
    uint64_t remaining;

    (void)state;
    for (size_t i = 0; i < mg_countof(algorithms); i++) {
        mg_limiter *l = limiter_of(algorithms[i]);
        mg_key_slot *into = slot_with(l, 2, 2), *from = slot_with(l, 5, 3);

        assert_true(l->kind->pour(l->state, into, from, KEY, NOW));
        assert_int_equal(atomic_load(&from->fingerprint), 0);
        assert_int_equal(charge(l, from, &remaining), MG_KEY_LOST);
        assert_int_equal(charge(l, into, &remaining), MG_KEY_CHANGED);
        assert_int_equal(remaining, 4);
        assert_true(l->kind->pour(l->state, into, from, KEY, NOW)); /* nothing is left to pour */
        assert_int_equal(charge(l, into, &remaining), MG_KEY_CHANGED);
        assert_int_equal(remaining, 3);
        slot_with(l, 5, 1); /* whoever has the slot next begins at nothing */
        assert_int_equal(charge(l, from, &remaining), MG_KEY_CHANGED);
        assert_int_equal(remaining, 8);
        mg_limiter_free(l);
    }
}

static void a_slot_that_became_anothers_takes_nothing(void **state)
{
    uint64_t remaining;

    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i <= MG_LIMITER_CONCURRENCY; i++) {
        mg_limiter *l = limiter_of((mg_limiter_algorithm)i);
        mg_key_slot *slot = slot_with(l, 0, 1), *other = slot_with(l, 1, 1);

        if (i == MG_LIMITER_LEAKY) {
            mg_limiter_free(l);
            continue;
        }
        atomic_store(&slot->fingerprint, KEY + 1);
        assert_int_equal(charge(l, slot, &remaining), MG_KEY_LOST);
        if (l->kind->pour)
            assert_false(l->kind->pour(l->state, slot, other, KEY, NOW));
        assert_int_equal(charge(l, other, &remaining), MG_KEY_CHANGED);
        assert_int_equal(remaining, 8);
        mg_limiter_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_both_were_charged_is_in_the_one_that_stays),
        cmocka_unit_test(a_slot_that_became_anothers_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
