/* Numbers with units. */
#include "support/check.h"

#include "base/mem.h"
#include "text/units.h"

static void durations_are_milliseconds(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } cases[] = { { "250ms", 250 },  { "1s", 1000 },        { "1.5s", 1500 }, { "10m", 600000 },
                  { "1h", 3600000 }, { "31d", 2678400000 }, { "0s", 0 },      { "0.5ms", 1 },
                  { "0.001ms", 1 },  { "1.25m", 75000 },    { "0.000s", 0 },  { "1.001s", 1001 } };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        uint64_t ms = 99;
        assert_int_equal(mg_units_duration(mg_str_of(cases[i].text), &ms, NULL), MG_OK);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void sizes_are_bytes(void **state)
{
    uint64_t bytes = 0;

    (void)state;
    assert_int_equal(mg_units_size(MG_STR("64KiB"), &bytes, NULL), MG_OK);
    assert_int_equal(bytes, 65536);
    assert_int_equal(mg_units_size(MG_STR("1.5MiB"), &bytes, NULL), MG_OK);
    assert_int_equal(bytes, 1572864);
    assert_int_equal(mg_units_size(MG_STR("512B"), &bytes, NULL), MG_OK);
    assert_int_equal(bytes, 512);
}

static void rates_are_so_many_in_a_period(void **state)
{
    mg_rate rate = { 0 };

    (void)state;
    assert_int_equal(mg_units_rate(MG_STR("1000000/d"), &rate, NULL), MG_OK);
    assert_int_equal(rate.limit, 1000000);
    assert_int_equal(rate.period_ns, 86400000000000);
    assert_int_equal(mg_units_rate(MG_STR("0/s"), &rate, NULL), MG_OK);
    assert_int_equal(rate.limit, 0);
}

static void shares_are_basis_points(void **state)
{
    uint32_t bp = 0;

    (void)state;
    assert_int_equal(mg_units_share(MG_STR("5%"), &bp, NULL), MG_OK);
    assert_int_equal(bp, 500);
    assert_int_equal(mg_units_share(MG_STR("0.25%"), &bp, NULL), MG_OK);
    assert_int_equal(bp, 25);
    assert_int_equal(mg_units_share(MG_STR("150%"), &bp, NULL), MG_OK);
    assert_int_equal(bp, 15000);
}

static void what_is_too_large_saturates(void **state)
{
    uint64_t value = 0;
    uint32_t bp = 0;

    (void)state;
    assert_int_equal(mg_units_duration(MG_STR("99999999999999999999999d"), &value, NULL), MG_OK);
    assert_true(value == UINT64_MAX);
    assert_int_equal(mg_units_size(MG_STR("99999999999999999GiB"), &value, NULL), MG_OK);
    assert_true(value == UINT64_MAX);
    assert_int_equal(mg_units_share(MG_STR("99999999999999999999%"), &bp, NULL), MG_OK);
    assert_true(bp == UINT32_MAX);
}

static void the_message_says_what_is_wrong(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_rate rate;
    uint64_t value;
    uint32_t bp;

    (void)state;
    assert_int_equal(mg_units_duration(MG_STR("10"), &value, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "10 has no unit");
    assert_int_equal(mg_units_duration(MG_STR("10sec"), &value, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "\"sec\" is not the unit of a duration");
    assert_int_equal(mg_units_size(MG_STR("64kb"), &value, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "\"kb\" is not the unit of a size");
    assert_int_equal(mg_units_rate(MG_STR("100"), &rate, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "100 has no unit");
    assert_int_equal(mg_units_rate(MG_STR("100/w"), &rate, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "\"/w\" is not the unit of a rate");
    assert_int_equal(mg_units_share(MG_STR("0.001%"), &bp, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "0.001% is finer than 0.01%");
    assert_int_equal(mg_units_share(MG_STR("half"), &bp, &err), MG_ERR_INVALID);
    assert_string_equal(err.message, "\"half\" is not a share");
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const cases[] = { "",     "s",   "-5s", "+5s", ".5s",  "5.s",
                                         "1e3s", "5 s", " 5s", "5ss", "0x5s", "5.0001s" };
    uint64_t ms;

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_int_equal(mg_units_duration(mg_str_of(cases[i]), &ms, NULL), MG_ERR_INVALID);
    assert_int_equal(mg_units_duration(MG_STR_NONE, &ms, NULL), MG_ERR_INVALID);
}

static void values_are_written_in_their_largest_unit(void **state)
{
    mg_text out = { 0 };

    (void)state;
    mg_units_duration_text(90000, &out);
    mg_text_add_char(&out, ' ');
    mg_units_duration_text(3600000, &out);
    mg_text_add_char(&out, ' ');
    mg_units_duration_text(0, &out);
    check_str(mg_text_str(&out), "90s 1h 0s");
    mg_text_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_milliseconds),
        cmocka_unit_test(sizes_are_bytes),
        cmocka_unit_test(rates_are_so_many_in_a_period),
        cmocka_unit_test(shares_are_basis_points),
        cmocka_unit_test(what_is_too_large_saturates),
        cmocka_unit_test(the_message_says_what_is_wrong),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(values_are_written_in_their_largest_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
