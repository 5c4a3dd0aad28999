/* persist_numbers.c - what is stored as a number, byte for byte: rows that a gateway of another day has written
 * mean the same today. A number that is no longer what it was fails here. */
#include "state/persist_parts.h"

#include "base/mem.h"
#include "config/config.h"
#include "support/check.h"

static mg_text row;

/* The row, or what `payload` has of one, as hex. */
static void check_hex(const char *name, const char *hex)
{
    char text[1024];

    assert_true(2 * row.n < sizeof text);
    for (size_t i = 0; i < row.n; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)row.p[i]);
    if (strcmp(text, hex))
        fail_msg("%s:\n  is   %s\n  was  %s", name, text, hex);
    mg_text_clear(&row);
}

static const struct {
    mg_limiter_algorithm algorithm;
    const char *name, *hex;
} algorithms[] = {
    { MG_LIMITER_TOKEN_BUCKET, "token bucket",
      "01c34b9d19008877665544332211e803000000000000d0070000000000000300000000000000" },
    { MG_LIMITER_SLIDING_WINDOW, "sliding window",
      "018bd1ddc7018877665544332211e803000000000000d0070000000000000300000000000000a00f000000000000f401000000"
      "00000006000000000000000700000000000000" },
    { MG_LIMITER_SLIDING_LOG, "sliding log",
      "01bb2ccd01028877665544332211e803000000000000d0070000000000000300000000000000a00f0000000000000100000020"
      "0300000000000009000000" },
    { MG_LIMITER_FIXED_WINDOW, "fixed window",
      "01d66f34f3038877665544332211e803000000000000d0070000000000000300000000000000a00f000000000000f401000000"
      "00000006000000000000000700000000000000" },
    { MG_LIMITER_LEAKY, "leaky",
      "01c505210f048877665544332211e803000000000000d0070000000000000300000000000000" },
};

static void keys_of_limiters(void **state)
{
    char key[PERSIST_KEY_ROW_BYTES];
    mg_limiter_record read;

    (void)state;
    mg_persist_row_key(key, 7, 258, true);
    for (size_t i = 0; i < mg_countof(algorithms); i++) {
        const mg_limiter_record record = { .algorithm = algorithms[i].algorithm,
                                           .fingerprint = 0x1122334455667788,
                                           .at_ns = 1000,
                                           .idle_ns = 2000,
                                           .used = 3,
                                           .window_ns = 4000,
                                           .age_ns = 500,
                                           .prev = 6,
                                           .cur = 7,
                                           .groups = 1,
                                           .group_ns = { 800 },
                                           .group = { 9 } };
        mg_persist_write_record(&row, mg_str_make(key, sizeof key), &record);
        assert_true(mg_persist_read_record(mg_str_make(key, sizeof key), mg_text_str(&row), &read));
        assert_int_equal(read.algorithm, algorithms[i].algorithm);
        assert_int_equal(read.place, 258);
        assert_true(read.cell);
        check_hex(algorithms[i].name, algorithms[i].hex);
    }
}

/* Each of the 256 numbers, but those that stand for something stored. */
static void no_algorithm_is_read_out_of_another_number(void **state)
{
    char key[PERSIST_KEY_ROW_BYTES];

    (void)state;
    mg_persist_row_key(key, 7, 258, false);
    for (int number = 0; number < 256; number++) {
        const mg_limiter_record record = { .algorithm = (uint8_t)number, .used = 3 };
        mg_limiter_record read;
        mg_persist_write_record(&row, mg_str_make(key, sizeof key), &record);
        assert_int_equal(mg_persist_read_record(mg_str_make(key, sizeof key), mg_text_str(&row), &read),
                         number < 5);
        mg_text_clear(&row);
    }
}

static const struct {
    mg_breaker_state state;
    const char *name, *hex;
} breakers[] = {
    { MG_BREAKER_CLOSED, "closed", "0103000000f401000000000000e803000000000000" },
    { MG_BREAKER_OPEN, "open", "0203000000f401000000000000e803000000000000" },
    { MG_BREAKER_HALF_OPEN, "half_open", "0303000000f401000000000000e803000000000000" },
    { MG_BREAKER_FORCED_OPEN, "forced_open", "0403000000f401000000000000e803000000000000" },
    { MG_BREAKER_FORCED_CLOSED, "forced_closed", "0503000000f401000000000000e803000000000000" },
};

static void states_of_breakers(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(breakers); i++) {
        const mg_breaker_record record = {
            .state = breakers[i].state, .turns = 3, .remaining_ms = 500, .at_ns = 1000
        };
        mg_breaker_record read;
        mg_persist_add_breaker(&row, &record);
        mg_record payload = { mg_text_str(&row), PERSIST_VERSION, true };
        assert_true(mg_persist_get_breaker(&payload, &read));
        assert_int_equal(read.state, breakers[i].state);
        check_hex(breakers[i].name, breakers[i].hex);
    }
    for (int number = 0; number < 256; number++) {
        const mg_breaker_record record = { .state = (mg_breaker_state)number };
        mg_breaker_record read;
        mg_persist_add_breaker(&row, &record);
        mg_record payload = { mg_text_str(&row), PERSIST_VERSION, true };
        assert_int_equal(mg_persist_get_breaker(&payload, &read), number >= 1 && number <= 5);
        mg_text_clear(&row);
    }
}

static const struct {
    mg_rollout_state state;
    const char *name, *hex;
} rollouts[] = {
    { MG_ROLLOUT_RUNNING, "running", "01020000007632010200000001000000e803000000000000" },
    { MG_ROLLOUT_PROMOTED, "promoted", "01020000007632020200000001000000e803000000000000" },
    { MG_ROLLOUT_FAILED, "failed", "01020000007632030200000001000000e803000000000000" },
    { MG_ROLLOUT_HELD, "held", "01020000007632040200000001000000e803000000000000" },
};

static void states_of_rollouts(void **state)
{
    mg_rollout read;
    mg_str id;

    (void)state;
    for (size_t i = 0; i < mg_countof(rollouts); i++) {
        const mg_rollout rollout = { .state = rollouts[i].state, .step = 2, .strikes = 1, .began_ns = 1000 };
        mg_persist_add_rollout(&row, MG_STR("v2"), &rollout);
        mg_record payload = { mg_text_str(&row), PERSIST_VERSION, true };
        assert_true(mg_persist_get_rollout(&payload, &id, &read));
        assert_int_equal(read.state, rollouts[i].state);
        check_hex(rollouts[i].name, rollouts[i].hex);
    }
    for (int number = 0; number < 256; number++) {
        const mg_rollout rollout = { .state = (mg_rollout_state)number };
        mg_persist_add_rollout(&row, MG_STR("v2"), &rollout);
        mg_record payload = { mg_text_str(&row), PERSIST_VERSION, true };
        assert_int_equal(mg_persist_get_rollout(&payload, &id, &read), number >= 1 && number <= 4);
        mg_text_clear(&row);
    }
}

static void a_row_of_each_table(void **state)
{
    const mg_policy_clock_saved clock = {
        .policy_ns = 1000, .mono_ns = 2000, .wall_ns = 3000, .boot_id = "b"
    };
    const uint64_t secret[2] = { 1, 2 };
    persist_number number = { .number = 7, .key_hash = 8, .conf_hash = 9, .cells = 10, .n = 2, .name = "ab" };

    (void)state;
    mg_persist_write_clock(&row, MG_STR("clock"), &clock);
    check_hex("clock", "0123dc8816e803000000000000d007000000000000b80b0000000000000100000062");
    mg_persist_write_secret(&row, MG_STR("secret"), secret);
    check_hex("secret", "01bb27f5f201000000000000000200000000000000");
    mg_persist_write_number(&row, MG_STR("\0\0\0\7"), &number);
    check_hex("number", "01777f0f99080000000000000009000000000000000a000000020000006162");
    mg_persist_write_item(&row, MG_STR("\1a"), 1000, MG_STR("xyz"));
    check_hex("item", "0174afed6ae80300000000000078797a");
}

/* In the keys of rows, and in the hash by which a limiter's keys are found again. */
static void kinds(void **state)
{
    (void)state;
    assert_int_equal(MG_KEEP_BREAKER, 1);
    assert_int_equal(MG_KEEP_EJECTION, 2);
    assert_int_equal(MG_KEEP_ROLLOUT, 3);
    assert_int_equal(MG_CONFIG_KEY_IP, 0);
    assert_int_equal(MG_CONFIG_KEY_HEADER, 1);
    assert_int_equal(MG_CONFIG_KEY_COOKIE, 2);
    assert_int_equal(MG_CONFIG_KEY_CONSUMER, 3);
    assert_int_equal(MG_CONFIG_KEY_ROUTE, 4);
    assert_int_equal(MG_CONFIG_KEY_GLOBAL, 5);
}

static int free_row(void **state)
{
    (void)state;
    mg_text_fini(&row);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_limiters),    cmocka_unit_test(no_algorithm_is_read_out_of_another_number),
        cmocka_unit_test(states_of_breakers),  cmocka_unit_test(states_of_rollouts),
        cmocka_unit_test(a_row_of_each_table), cmocka_unit_test(kinds),
    };

    return cmocka_run_group_tests(tests, NULL, free_row);
}
