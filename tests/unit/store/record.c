/* Rows: version, checksum, payload. */
#include "support/check.h"

#include "store/record.h"

static void the_checksum_is_the_one_of_the_standard(void **state)
{
    uint32_t crc;

    (void)state;
    assert_int_equal(mg_crc32(0, "123456789", 9), 0xcbf43926); /* the check value of CRC-32/ISO-HDLC */
    assert_int_equal(mg_crc32(0, "", 0), 0);
    crc = mg_crc32(0, "12345", 5);
    assert_int_equal(mg_crc32(crc, "6789", 4), 0xcbf43926);
}

static void write_row(mg_text *row)
{
    mg_record_begin(row, 7);
    mg_record_u8(row, 200);
    mg_record_u32(row, 0xfedcba98);
    mg_record_u64(row, 0x0123456789abcdef);
    mg_record_str(row, MG_STR("value"));
    mg_record_end(row, MG_STR("key"));
}

static void what_was_written_is_read(void **state)
{
    mg_text row = { 0 };
    mg_record record;

    (void)state;
    write_row(&row);
    assert_true(mg_record_open(&record, MG_STR("key"), mg_text_str(&row)));
    assert_int_equal(record.version, 7);
    assert_int_equal(mg_record_get_u8(&record), 200);
    assert_int_equal(mg_record_get_u32(&record), 0xfedcba98);
    assert_true(mg_record_get_u64(&record) == 0x0123456789abcdef);
    assert_true(mg_str_eq_c(mg_record_get_str(&record), "value"));
    assert_true(record.ok);
    assert_int_equal(record.rest.n, 0);
    mg_text_fini(&row);
}

static void one_flipped_bit_anywhere_does_not_open(void **state)
{
    mg_text row = { 0 };
    mg_record record;

    (void)state;
    write_row(&row);
    for (size_t bit = 0; bit < row.n * 8; bit++) {
        row.p[bit / 8] = (char)(row.p[bit / 8] ^ (1 << bit % 8));
        assert_false(mg_record_open(&record, MG_STR("key"), mg_text_str(&row)));
        row.p[bit / 8] = (char)(row.p[bit / 8] ^ (1 << bit % 8));
    }
    assert_true(mg_record_open(&record, MG_STR("key"), mg_text_str(&row)));
    mg_text_fini(&row);
}

static void a_cut_row_or_one_under_another_key_does_not_open(void **state)
{
    mg_text row = { 0 };
    mg_record record;

    (void)state;
    write_row(&row);
    for (size_t n = 0; n < row.n; n++)
        assert_false(mg_record_open(&record, MG_STR("key"), mg_str_make(row.p, n)));
    assert_false(mg_record_open(&record, MG_STR("kez"), mg_text_str(&row)));
    mg_text_fini(&row);
}

static void reading_past_the_end_is_noticed_and_yields_nothing(void **state)
{
    mg_text row = { 0 };
    mg_record record;

    (void)state;
    mg_record_begin(&row, 1);
    mg_record_u32(&row, 1000); /* a length with nothing behind it */
    mg_record_end(&row, MG_STR_NONE);
    assert_true(mg_record_open(&record, MG_STR_NONE, mg_text_str(&row)));
    assert_null(mg_record_get_str(&record).p);
    assert_false(record.ok);
    assert_int_equal(mg_record_get_u64(&record), 0);
    assert_int_equal(mg_record_get_u8(&record), 0);
    mg_text_fini(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_the_one_of_the_standard),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(one_flipped_bit_anywhere_does_not_open),
        cmocka_unit_test(a_cut_row_or_one_under_another_key_does_not_open),
        cmocka_unit_test(reading_past_the_end_is_noticed_and_yields_nothing),
    };
    return cmocka_run_group_tests_name("store/record", tests, NULL, NULL);
}
