/* Any bytes as a row of the store of policy state, with a checksum that is right: which kind of row, which
 * algorithm the limiter has, the payload. Whatever it says, a key gets no more than its rule allows, owes
 * nothing when the longest debt of the rule is over, and the clock still has room to run. */
#include "base/check.h"
#include "base/mem.h"
#include "state/persist_parts.h"

enum { LIMIT = 4, NOW_S = 1000 };

static mg_limiter *limiter_of(uint8_t algorithm)
{
    mg_limiter_conf conf;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = (mg_limiter_algorithm)(algorithm % MG_LIMITER_CONCURRENCY);
    conf.limit = LIMIT;
    conf.period_ms = 1000;
    conf.max_keys = 64;
    conf.overflow_cells = 2;
    limiter = mg_limiter_new(&conf, NULL);
    MG_CHECK(limiter);
    return limiter;
}

/* Restores the record, and the same key from another place as well. */
static void check_record(uint8_t algorithm, mg_limiter_record *record)
{
    const uint64_t now_ns = NOW_S * MG_NS_PER_S, later_ns = now_ns + 10 * MG_NS_PER_S;
    mg_limiter *limiter = limiter_of(algorithm);
    mg_limiter_record read;
    size_t cursor = 0;
    bool moved = false;

    for (int i = 0; i < 2; i++, record->place = (record->place + 5) % 64) {
        (void)mg_limiter_put_back(limiter, record, now_ns, &moved);
        cursor = 0;
        if (mg_limiter_record_next(limiter, &cursor, now_ns, &read))
            MG_CHECK(read.used <= 2 * LIMIT || read.algorithm == MG_LIMITER_LEAKY); /* of two windows */
        MG_CHECK(record->cell || !mg_limiter_record_next(limiter, &cursor, now_ns, &read));
    }
    cursor = 0;
    MG_CHECK(!mg_limiter_record_next(limiter, &cursor, later_ns, &read));
    mg_limiter_free(limiter);
}

static void check_row(uint8_t kind, uint8_t algorithm, mg_str key, mg_str row)
{
    mg_policy_clock_saved saved;
    mg_limiter_record record;
    mg_breaker_record breaker;
    mg_record payload;
    persist_number number;
    uint64_t at_ns;

    switch (kind % 4) {
    case 0:
        if (mg_persist_read_record(key, row, &record))
            check_record(algorithm, &record);
        break;
    case 1:
        if (mg_persist_read_clock(key, row, &saved))
            MG_CHECK(saved.policy_ns <= 1ull << 62 && saved.wall_ns >= 0);
        break;
    case 2:
        if (mg_persist_read_number(key, row, &number))
            MG_CHECK(number.n > 0 && number.n <= MG_PERSIST_NAME_MAX && number.number > 0);
        break;
    default:
        if (mg_persist_read_item(key, row, &at_ns, &payload) && mg_persist_get_breaker(&payload, &breaker))
            MG_CHECK(breaker.state >= MG_BREAKER_CLOSED && breaker.state <= MG_BREAKER_FORCED_CLOSED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char bytes[PERSIST_KEY_ROW_BYTES];
    mg_text row = { 0 };

    if (size < 6 || size > 4096)
        return 0;
    mg_persist_row_key(bytes, data[2], data[3], data[4] & 1);
    const mg_str key = mg_str_make(bytes, data[0] % 4 == 2 ? 4 : sizeof(bytes));
    mg_record_begin(&row, data[5] & 0x80 ? data[5] : PERSIST_VERSION);
    mg_text_add(&row, mg_str_make((const char *)data + 6, size - 6));
    mg_record_end(&row, key);
    check_row(data[0], data[1], key, mg_text_str(&row));
    mg_text_fini(&row);
    return 0;
}
