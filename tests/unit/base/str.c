/* Borrowed bytes. */
#include "support/check.h"

#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>

static void absent_and_empty_compare_equal(void **state)
{
    (void)state;
    assert_true(mg_str_eq(MG_STR_NONE, MG_STR("")));
    assert_false(mg_str_eq(MG_STR("a"), MG_STR("")));
    assert_true(mg_str_eq_c(MG_STR("a\0b"), "a") == false);
}

static void case_is_ignored_for_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(mg_str_eq_nocase(MG_STR("Content-Type"), MG_STR("cONTENT-tYPE")));
    assert_false(mg_str_eq_nocase(MG_STR("["), MG_STR("{")));
    assert_false(mg_str_eq_nocase(MG_STR("@"), MG_STR("`")));
    assert_false(mg_str_eq_nocase(MG_STR("\xc3\x84"), MG_STR("\xc3\xa4")));
}

static void prefixes_and_suffixes_are_found(void **state)
{
    (void)state;
    assert_true(mg_str_starts(MG_STR("unix:/run"), MG_STR("unix:")));
    assert_false(mg_str_starts(MG_STR("un"), MG_STR("unix:")));
    assert_true(mg_str_starts(MG_STR_NONE, MG_STR("")));
    assert_true(mg_str_ends(MG_STR("a.yaml"), MG_STR(".yaml")));
    assert_false(mg_str_ends(MG_STR("yaml"), MG_STR(".yaml")));
}

static void order_is_bytewise_and_shorter_first(void **state)
{
    (void)state;
    assert_true(mg_str_cmp(MG_STR("a"), MG_STR("ab")) < 0);
    assert_true(mg_str_cmp(MG_STR("b"), MG_STR("ab")) > 0);
    assert_true(mg_str_cmp(MG_STR("\xff"), MG_STR("a")) > 0);
    assert_int_equal(mg_str_cmp(MG_STR_NONE, MG_STR("")), 0);
}

static void a_part_stays_inside_its_string(void **state)
{
    (void)state;
    check_str(mg_str_sub(MG_STR("abcdef"), 2, 4), "cd");
    check_str(mg_str_sub(MG_STR("abc"), 1, SIZE_MAX), "bc");
    check_str(mg_str_sub(MG_STR("abc"), 9, 12), "");
    check_str(mg_str_sub(MG_STR("abc"), 2, 1), "");
    check_str(mg_str_sub(MG_STR_NONE, 0, 3), "");
}

static void trimming_takes_only_the_given_bytes(void **state)
{
    (void)state;
    check_str(mg_str_trim(MG_STR(" \t a b\t "), " \t"), "a b");
    check_str(mg_str_trim(MG_STR("   "), " "), "");
    check_str(mg_str_trim(MG_STR("\0a\0"), " ").n == 3 ? MG_STR("kept") : MG_STR("cut"), "kept");
}

static void cutting_gives_every_part_once(void **state)
{
    mg_str rest = MG_STR("a,,b,"), part;

    (void)state;
    assert_true(mg_str_cut(&rest, ',', &part));
    check_str(part, "a");
    assert_true(mg_str_cut(&rest, ',', &part));
    check_str(part, "");
    assert_true(mg_str_cut(&rest, ',', &part));
    check_str(part, "b");
    assert_true(mg_str_cut(&rest, ',', &part));
    check_str(part, "");
    assert_false(mg_str_cut(&rest, ',', &part));
    rest = MG_STR("");
    assert_true(mg_str_cut(&rest, ',', &part));
    assert_false(mg_str_cut(&rest, ',', &part));
}

static void numbers_are_digits_and_fit(void **state)
{
    uint64_t n = 0;

    (void)state;
    assert_true(mg_str_u64(MG_STR("18446744073709551615"), &n) && n == UINT64_MAX);
    assert_true(mg_str_u64(MG_STR("007"), &n) && n == 7);
    assert_false(mg_str_u64(MG_STR("18446744073709551616"), &n));
    assert_false(mg_str_u64(MG_STR("99999999999999999999"), &n));
    assert_false(mg_str_u64(MG_STR(""), &n));
    assert_false(mg_str_u64(MG_STR("+1"), &n));
    assert_false(mg_str_u64(MG_STR(" 1"), &n));
    assert_false(mg_str_u64(MG_STR("0x1"), &n));
    assert_int_equal(n, 7);
}

static void distance_counts_single_edits(void **state)
{
    char longer[65];

    (void)state;
    memset(longer, 'x', sizeof(longer));
    assert_int_equal(mg_str_distance(MG_STR("per_keys"), MG_STR("per_key")), 1);
    assert_int_equal(mg_str_distance(MG_STR("kitten"), MG_STR("sitting")), 3);
    assert_int_equal(mg_str_distance(MG_STR(""), MG_STR("abc")), 3);
    assert_int_equal(mg_str_distance(MG_STR("chekc"), MG_STR("check")), 1);
    assert_int_equal(mg_str_distance(MG_STR("ab"), MG_STR("ba")), 1);
    assert_int_equal(mg_str_distance(MG_STR("ca"), MG_STR("abc")), 3);
    assert_int_equal(mg_str_distance(MG_STR("GET"), MG_STR("get")), 0);
    assert_int_equal(mg_str_distance(MG_STR("nope"), MG_STR("top")), 2);
    assert_int_equal(mg_str_distance(MG_STR("same"), MG_STR("same")), 0);
    assert_true(mg_str_distance(mg_str_make(longer, 65), MG_STR("x")) > 64);
}

/* docs/policies.md 13: hs-1. */
static void the_hash_is_the_published_one(void **state)
{
    (void)state;
    assert_int_equal(mg_hash(MG_STR(""), 0), 0xefd01f60ba992926u);
    assert_int_equal(mg_hash(MG_STR("a"), 1), 0xce2a15429808ee9au);
    assert_int_equal(mg_hash(MG_STR("10.0.0.1:8080"), 2), 0x72d7f20640137e18u);
}

static void numbers_are_written_without_padding(void **state)
{
    char out[20];

    (void)state;
    check_str(mg_str_make(out, mg_u64_write(out, 0)), "0");
    check_str(mg_str_make(out, mg_u64_write(out, 1200)), "1200");
    check_str(mg_str_make(out, mg_u64_write(out, UINT64_MAX)), "18446744073709551615");
    for (uint64_t power = 1, digits = 1; digits <= 20; power *= 10, digits++) {
        char text[21];

        for (uint64_t number = power - (power > 1); number <= power + 1; number++) {
            (void)snprintf(text, sizeof text, "%" PRIu64, number);
            check_str(mg_str_make(out, mg_u64_write(out, number)), text);
        }
    }
}

static void a_guess_is_near_what_was_written(void **state)
{
    static const char *const known[] = { "run",     "check",    "routes", "state", "top",
                                         "version", "limiters", "bind",   "GET" };
    static const struct {
        const char *name, *best; /* NULL: none is near enough */
    } rows[] = {
        { "nope", NULL },         { "tpo", "top" },        { "tp", "top" },
        { "to", "top" },          { "x", NULL },           { "", NULL },
        { "chekc", "check" },     { "chck", "check" },     { "checks", "check" },
        { "cek", NULL },          { "route", "routes" },   { "rn", "run" },
        { "stats", "state" },     { "start", NULL },       { "stop", "top" },
        { "reload", NULL },       { "limit", "limiters" }, { "limitres", "limiters" },
        { "bind_address", NULL }, { "vers", "version" },   { "ve", NULL },
        { "get", "GET" },         { "toplevel", NULL },    { "help", NULL },
        { "runs", "run" },        { "bond", "bind" },
    };
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_guess guess = { .name = mg_str_of(rows[i].name) };

        for (size_t k = 0; k < mg_countof(known); k++)
            mg_guess_offer(&guess, mg_str_of(known[k]));
        if (!rows[i].best ? guess.best.p != NULL : !mg_str_eq_c(guess.best, rows[i].best))
            fail_msg("%s: %.*s", rows[i].name, MG_STR_ARGS(guess.best));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guess_is_near_what_was_written),
        cmocka_unit_test(absent_and_empty_compare_equal),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
        cmocka_unit_test(prefixes_and_suffixes_are_found),
        cmocka_unit_test(order_is_bytewise_and_shorter_first),
        cmocka_unit_test(a_part_stays_inside_its_string),
        cmocka_unit_test(trimming_takes_only_the_given_bytes),
        cmocka_unit_test(cutting_gives_every_part_once),
        cmocka_unit_test(numbers_are_digits_and_fit),
        cmocka_unit_test(distance_counts_single_edits),
        cmocka_unit_test(the_hash_is_the_published_one),
        cmocka_unit_test(numbers_are_written_without_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
