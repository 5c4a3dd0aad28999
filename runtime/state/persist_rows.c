/* persist_rows.c - how the rows of state/policy look. A row that another version wrote, or none of ours, is
 * skipped by whoever reads it. */
#include "state/persist_parts.h"

enum { CELL_BIT = 1u << 31, ROLLOUT_FORM = 1 };

#define POLICY_MAX (1ull << 62) /* 146 years: no sum of moments overflows */

static void put_be32(char *out, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        out[i] = (char)(number >> (24 - 8 * i));
}

static uint32_t get_be32(const char *in)
{
    uint32_t number = 0;

    for (int i = 0; i < 4; i++)
        number = number << 8 | (uint8_t)in[i];
    return number;
}

/* Big-endian, so that rows lie in the order of their places. */
void mg_persist_row_key(char out[PERSIST_KEY_ROW_BYTES], uint32_t number, uint32_t place, bool cell)
{
    put_be32(out, number);
    put_be32(out + 4, cell ? place | CELL_BIT : place);
}

uint32_t mg_persist_row_number(mg_str key)
{
    return key.n >= 4 ? get_be32(key.p) : 0;
}

uint32_t mg_persist_row_place(mg_str key, bool *cell)
{
    const uint32_t place = key.n == PERSIST_KEY_ROW_BYTES ? get_be32(key.p + 4) : 0;

    *cell = place & CELL_BIT;
    return place & ~CELL_BIT;
}

static bool open_row(mg_record *record, mg_str key, mg_str row)
{
    return mg_record_open(record, key, row) && record->version == PERSIST_VERSION;
}

/* ---- a limiter's key ---- */

/* Permits are of the process. */
static bool is_stored_algorithm(uint8_t number)
{
    switch ((mg_limiter_algorithm)number) {
    case MG_LIMITER_TOKEN_BUCKET:
    case MG_LIMITER_SLIDING_WINDOW:
    case MG_LIMITER_SLIDING_LOG:
    case MG_LIMITER_FIXED_WINDOW:
    case MG_LIMITER_LEAKY: return true;
    case MG_LIMITER_CONCURRENCY: break;
    }
    return false;
}

static bool is_window(uint8_t algorithm)
{
    return algorithm == MG_LIMITER_SLIDING_WINDOW || algorithm == MG_LIMITER_FIXED_WINDOW;
}

void mg_persist_write_record(mg_text *row, mg_str key, const mg_limiter_record *record)
{
    mg_record_begin(row, PERSIST_VERSION);
    mg_record_u8(row, record->algorithm);
    mg_record_u64(row, record->fingerprint);
    mg_record_u64(row, record->at_ns);
    mg_record_u64(row, record->idle_ns);
    mg_record_u64(row, record->used);
    if (is_window(record->algorithm)) {
        mg_record_u64(row, record->window_ns);
        mg_record_u64(row, record->age_ns);
        mg_record_u64(row, record->prev);
        mg_record_u64(row, record->cur);
    }
    if (record->algorithm == MG_LIMITER_SLIDING_LOG) {
        mg_record_u64(row, record->window_ns);
        mg_record_u32(row, record->groups);
        for (uint32_t i = 0; i < record->groups; i++) {
            mg_record_u64(row, record->group_ns[i]);
            mg_record_u32(row, record->group[i]);
        }
    }
    mg_record_end(row, key);
}

static bool read_groups(mg_record *row, mg_limiter_record *record)
{
    record->window_ns = mg_record_get_u64(row);
    record->groups = mg_record_get_u32(row);
    if (record->groups > MG_LIMITER_RECORD_GROUPS)
        return false;
    for (uint32_t i = 0; i < record->groups; i++) {
        record->group_ns[i] = mg_record_get_u64(row);
        record->group[i] = mg_record_get_u32(row);
    }
    return true;
}

bool mg_persist_read_record(mg_str key, mg_str bytes, mg_limiter_record *record)
{
    mg_record row;

    if (key.n != PERSIST_KEY_ROW_BYTES || !open_row(&row, key, bytes))
        return false;
    memset(record, 0, offsetof(mg_limiter_record, group_ns)); /* groups are as many as are read */
    record->place = mg_persist_row_place(key, &record->cell);
    record->algorithm = mg_record_get_u8(&row);
    record->fingerprint = mg_record_get_u64(&row);
    record->at_ns = mg_record_get_u64(&row);
    record->idle_ns = mg_record_get_u64(&row);
    record->used = mg_record_get_u64(&row);
    if (is_window(record->algorithm)) {
        record->window_ns = mg_record_get_u64(&row);
        record->age_ns = mg_record_get_u64(&row);
        record->prev = mg_record_get_u64(&row);
        record->cur = mg_record_get_u64(&row);
    }
    if (record->algorithm == MG_LIMITER_SLIDING_LOG && !read_groups(&row, record))
        return false;
    return row.ok && is_stored_algorithm(record->algorithm);
}

/* ---- a limiter's number ---- */

void mg_persist_write_number(mg_text *row, mg_str key, const persist_number *number)
{
    mg_record_begin(row, PERSIST_VERSION);
    mg_record_u64(row, number->key_hash);
    mg_record_u64(row, number->conf_hash);
    mg_record_u32(row, number->cells);
    mg_record_str(row, mg_str_make(number->name, number->n));
    mg_record_end(row, key);
}

bool mg_persist_read_number(mg_str key, mg_str bytes, persist_number *number)
{
    mg_record row;
    mg_str name;

    if (key.n != 4 || !open_row(&row, key, bytes))
        return false;
    number->number = get_be32(key.p);
    number->key_hash = mg_record_get_u64(&row);
    number->conf_hash = mg_record_get_u64(&row);
    number->cells = mg_record_get_u32(&row);
    name = mg_record_get_str(&row);
    if (!row.ok || !name.n || name.n > sizeof(number->name) || !number->number)
        return false;
    number->n = name.n;
    memcpy(number->name, name.p, name.n);
    return true;
}

/* ---- the clock, and the fingerprints' key ---- */

void mg_persist_write_clock(mg_text *row, mg_str key, const mg_policy_clock_saved *saved)
{
    mg_record_begin(row, PERSIST_VERSION);
    mg_record_u64(row, saved->policy_ns);
    mg_record_u64(row, saved->mono_ns);
    mg_record_u64(row, (uint64_t)saved->wall_ns);
    mg_record_str(row, mg_str_of(saved->boot_id));
    mg_record_end(row, key);
}

bool mg_persist_read_clock(mg_str key, mg_str bytes, mg_policy_clock_saved *saved)
{
    mg_record row;
    mg_str boot;

    if (!open_row(&row, key, bytes))
        return false;
    *saved = (mg_policy_clock_saved){ .policy_ns = mg_record_get_u64(&row) };
    saved->mono_ns = mg_record_get_u64(&row);
    saved->wall_ns = (int64_t)mg_record_get_u64(&row);
    boot = mg_record_get_str(&row);
    if (!row.ok || boot.n >= sizeof(saved->boot_id) || saved->policy_ns > POLICY_MAX || saved->wall_ns < 0)
        return false;
    if (boot.n)
        memcpy(saved->boot_id, boot.p, boot.n);
    return true;
}

void mg_persist_write_secret(mg_text *row, mg_str key, const uint64_t secret[2])
{
    mg_record_begin(row, PERSIST_VERSION);
    mg_record_u64(row, secret[0]);
    mg_record_u64(row, secret[1]);
    mg_record_end(row, key);
}

bool mg_persist_read_secret(mg_str key, mg_str bytes, uint64_t secret[2])
{
    mg_record row;

    if (!open_row(&row, key, bytes))
        return false;
    secret[0] = mg_record_get_u64(&row);
    secret[1] = mg_record_get_u64(&row);
    return row.ok;
}

/* ---- a small thing ---- */

void mg_persist_write_item(mg_text *row, mg_str key, uint64_t at_ns, mg_str payload)
{
    mg_record_begin(row, PERSIST_VERSION);
    mg_record_u64(row, at_ns);
    mg_text_add(row, payload);
    mg_record_end(row, key);
}

bool mg_persist_read_item(mg_str key, mg_str bytes, uint64_t *at_ns, mg_record *payload)
{
    if (key.n < 2 || !open_row(payload, key, bytes))
        return false;
    *at_ns = mg_record_get_u64(payload);
    return payload->ok;
}

void mg_persist_add_breaker(mg_text *row, const mg_breaker_record *record)
{
    mg_record_u8(row, (uint8_t)record->state);
    mg_record_u32(row, record->turns);
    mg_record_u64(row, record->remaining_ms);
    mg_record_u64(row, record->at_ns);
}

static bool is_breaker_state(uint8_t number)
{
    switch ((mg_breaker_state)number) {
    case MG_BREAKER_CLOSED:
    case MG_BREAKER_OPEN:
    case MG_BREAKER_HALF_OPEN:
    case MG_BREAKER_FORCED_OPEN:
    case MG_BREAKER_FORCED_CLOSED: return true;
    }
    return false;
}

bool mg_persist_get_breaker(mg_record *row, mg_breaker_record *out)
{
    const uint8_t state = mg_record_get_u8(row);

    *out = (mg_breaker_record){ .state = (mg_breaker_state)state };
    out->turns = mg_record_get_u32(row);
    out->remaining_ms = mg_record_get_u64(row);
    out->at_ns = mg_record_get_u64(row);
    return row->ok && is_breaker_state(state);
}

/* ---- a rollout ---- */

void mg_persist_add_rollout(mg_text *row, mg_str id, const mg_rollout *rollout)
{
    mg_record_u8(row, ROLLOUT_FORM);
    mg_record_str(row, id);
    mg_record_u8(row, (uint8_t)rollout->state);
    mg_record_u32(row, rollout->step);
    mg_record_u32(row, rollout->strikes);
    mg_record_u64(row, rollout->began_ns);
}

static bool is_rollout_state(uint8_t number)
{
    switch ((mg_rollout_state)number) {
    case MG_ROLLOUT_RUNNING:
    case MG_ROLLOUT_PROMOTED:
    case MG_ROLLOUT_FAILED:
    case MG_ROLLOUT_HELD: return true;
    }
    return false;
}

bool mg_persist_get_rollout(mg_record *row, mg_str *id, mg_rollout *out)
{
    if (mg_record_get_u8(row) != ROLLOUT_FORM)
        return false;
    *id = mg_record_get_str(row);
    const uint8_t state = mg_record_get_u8(row);
    out->state = (mg_rollout_state)state;
    out->step = mg_record_get_u32(row);
    out->strikes = mg_record_get_u32(row);
    out->began_ns = mg_record_get_u64(row);
    return row->ok && !row->rest.n && is_rollout_state(state);
}
