/* admin_state.c - what the gateway remembers: the key-value store by namespace, and what policies keep, which
 * is shown and not changed here. */
#include "gateway/admin/admin_parts.h"

#include "base/codec.h"
#include "moongate.h"
#include "text/units.h"

#define POLICY_PREFIX "policy:" /* before the spaces of persist.h; no plugin has a colon in its name */

enum { SCAN_USUAL = 100, SCAN_MOST = 1000, SCAN_BYTES = 1 << 20 };

static bool is_policy(mg_str name, mg_str *space)
{
    const mg_str prefix = MG_STR(POLICY_PREFIX);

    *space = mg_str_sub(name, mg_min_u64(prefix.n, name.n), name.n);
    return mg_str_starts(name, prefix);
}

/* ---- as text ---- */

/* What JSON can say without changing it, and a terminal without harm. */
static bool is_text(mg_str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        const char c = bytes.p[i];
        if (c != '\t' && c != '\n' && c != '\r' && mg_str_control(bytes, i))
            return false;
    }
    return mg_str_is_utf8(bytes);
}

/* A key as it stands in a path. */
static void add_escaped(mg_text *out, mg_str key)
{
    for (size_t i = 0; i < key.n; i++) {
        const unsigned char c = (unsigned char)key.p[i];
        const bool plain = (c >= '0' && c <= '9') || (mg_lower((char)c) >= 'a' && mg_lower((char)c) <= 'z') ||
                           c == '-' || c == '_' || c == '~' || (c == '.' && key.n > 2);
        if (plain)
            mg_text_add_char(out, (char)c);
        else
            mg_text_addf(out, "%%%02X", c);
    }
}

/* ---- scan ---- */

typedef struct scan_page {
    mg_json_out *out;
    uint64_t left; /* rows that may still come */
} scan_page;

static bool page_has_room(scan_page *page)
{
    return --page->left && page->out->text->n < SCAN_BYTES;
}

static void add_id(mg_json_out *out, const char *name, mg_str key)
{
    mg_text escaped = { 0 };

    add_escaped(&escaped, key);
    mg_json_out_text(out, name, mg_text_str(&escaped));
    mg_text_fini(&escaped);
}

static void begin_row(mg_json_out *out, mg_str key)
{
    mg_json_out_map(out, NULL);
    mg_json_out_text(out, "key", key);
    add_id(out, "id", key);
}

static void add_base64(mg_json_out *out, mg_str bytes)
{
    mg_text text = { 0 };

    mg_text_reserve(&text, mg_codec_room(bytes.n));
    text.n = mg_codec_encode(MG_CODEC_BASE64, bytes, text.p);
    mg_json_out_text(out, "base64", mg_text_str(&text));
    mg_text_fini(&text);
}

static bool add_value(void *self, mg_str key, mg_str value, uint64_t expires_ms)
{
    scan_page *page = self;

    begin_row(page->out, key);
    if (is_text(value))
        mg_json_out_text(page->out, "value", value);
    else
        add_base64(page->out, value);
    if (expires_ms)
        mg_json_out_u64(page->out, "expires_at_ms", expires_ms);
    mg_json_out_end(page->out);
    return page_has_room(page);
}

typedef struct policy_page {
    scan_page page;
    mg_text last; /* owned */
    bool more;
} policy_page;

static bool add_policy_row(void *self, mg_str key, mg_str json)
{
    policy_page *policy = self;

    begin_row(policy->page.out, key);
    mg_json_out_json(policy->page.out, "row", json);
    mg_json_out_end(policy->page.out);
    mg_text_clear(&policy->last);
    mg_text_add(&policy->last, key);
    policy->more = !page_has_room(&policy->page);
    return !policy->more;
}

static void end_page(mg_admin_call *call, bool more, mg_str reached)
{
    mg_json_out_end(&call->json);
    if (more)
        add_id(&call->json, "next", reached);
    else
        mg_json_out_null(&call->json, "next");
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

static void scan_policy(mg_admin_call *call, mg_str space, mg_str prefix, mg_str after, uint64_t limit)
{
    policy_page policy = { .page = { .out = &call->json, .left = limit } };
    mg_persist *persist = mg_admin_persist(call->admin);
    mg_error err = MG_ERROR_INIT;

    if (!persist) {
        mg_text_clear(call->out);
        mg_admin_refuse_memory(call);
        return;
    }
    const mg_result result = mg_persist_scan(persist, space, prefix, after, add_policy_row, &policy, &err);
    if (result == MG_OK)
        end_page(call, policy.more, mg_text_str(&policy.last));
    else
        mg_admin_refuse_error(call, result, &err);
    mg_text_fini(&policy.last);
}

typedef struct space_names {
    mg_arena *arena;
    mg_str names[MG_KV_SPACES_MAX];
    size_t count;
} space_names;

static void take_name(void *self, mg_str name, uint64_t used_bytes)
{
    space_names *list = self;

    (void)used_bytes;
    if (list->count < MG_KV_SPACES_MAX)
        list->names[list->count++] = mg_arena_str(list->arena, name);
}

static mg_str space_at(const void *self, size_t i)
{
    const space_names *list = self;

    return i < list->count ? list->names[i] : MG_STR_NONE;
}

static bool has_space(mg_admin_call *call)
{
    if (mg_kv_has_space(call->admin->gateway->kv, call->names[0]))
        return true;
    space_names *list = MG_ARENA_NEW(call->arena, space_names);
    list->arena = call->arena;
    mg_kv_each_space(call->admin->gateway->kv, take_name, list);
    mg_text_clear(call->out);
    mg_admin_refuse_name(call, "namespace", call->names[0], space_at, list);
    return false;
}

void mg_admin_state_scan(mg_admin_call *call)
{
    mg_str prefix = MG_STR(""), after = MG_STR(""), space;
    uint64_t limit;
    mg_error err = MG_ERROR_INIT;

    (void)mg_admin_query(call, "prefix", &prefix);
    (void)mg_admin_query(call, "after", &after);
    if (!mg_admin_query_number(call, "limit", SCAN_USUAL, SCAN_MOST, &limit))
        return;
    mg_json_out_map(&call->json, NULL);
    mg_json_out_text(&call->json, "namespace", call->names[0]);
    mg_json_out_list(&call->json, "keys");
    if (is_policy(call->names[0], &space)) {
        scan_policy(call, space, prefix, after, limit);
        return;
    }
    if (!has_space(call))
        return;
    scan_page page = { &call->json, limit };
    mg_kv_scan scan = {
        .name = call->names[0], .prefix = prefix, .after = after, .each = add_value, .self = &page
    };
    const mg_result result = mg_kv_scan_run(call->admin->gateway->kv, &scan, &err);
    if (result == MG_OK)
        end_page(call, scan.more, mg_str_make(scan.reached, scan.reached_n));
    else
        mg_admin_refuse_error(call, result, &err);
}

/* ---- one key ---- */

static bool good_key(mg_admin_call *call)
{
    if (call->names[1].n <= MG_KV_KEY_MAX)
        return true;
    mg_admin_refuse(call, 400, "out-of-range", NULL, "a key has 1 to %d bytes", MG_KV_KEY_MAX);
    return false;
}

static mg_kv_space *open_space(mg_admin_call *call)
{
    mg_error err = MG_ERROR_INIT;
    mg_kv_space *space = mg_kv_open(call->admin->gateway->kv, call->names[0], &err);

    if (!space)
        mg_admin_refuse_error(call, err.code, &err);
    return space;
}

static void refuse_key(mg_admin_call *call)
{
    mg_admin_refuse(call, 404, "not-found", NULL, "\"%.*s\" has no key \"%.*s\"", MG_STR_ARGS(call->names[0]),
                    MG_STR_ARGS(call->names[1]));
}

static void get_policy(mg_admin_call *call, mg_str space)
{
    mg_persist *persist = mg_admin_persist(call->admin);
    mg_error err = MG_ERROR_INIT;

    if (!persist) {
        mg_admin_refuse_memory(call);
        return;
    }
    const mg_result result = mg_persist_get(persist, space, call->names[1], call->out, &err);
    if (result == MG_OK)
        mg_admin_send_json(call);
    else
        mg_admin_refuse_error(call, result, &err);
}

/* The value's own bytes. */
void mg_admin_state_get(mg_admin_call *call)
{
    mg_slice value;
    mg_str policy;

    if (is_policy(call->names[0], &policy)) {
        get_policy(call, policy);
        return;
    }
    if (!good_key(call) || !has_space(call))
        return;
    mg_kv_space *space = open_space(call);
    if (!space)
        return;
    const char *error = mg_kv_get(space, call->names[1].p, (uint32_t)call->names[1].n, &value);
    if (!error && value.p)
        mg_text_add(call->out, mg_str_make(value.p, value.n));
    mg_kv_space_free(space);
    if (error)
        mg_admin_refuse(call, 500, "state", NULL, "%s", error);
    else if (!value.p)
        refuse_key(call);
    else
        mg_ask_send(call->ask, 200, MG_STR("application/octet-stream"));
}

/* ---- writes ---- */

/* A namespace of plugins and operators, and a key in it. */
static bool can_write(mg_admin_call *call)
{
    mg_str space;

    if (!is_policy(call->names[0], &space))
        return good_key(call);
    mg_admin_refuse(call, 403, "not-allowed", NULL, "what policies remember is theirs to write");
    return false;
}

/* `?ttl=30s`; 0: it stays. */
static bool read_ttl(mg_admin_call *call, double *seconds)
{
    mg_error err = MG_ERROR_INIT;
    uint64_t ms = 0;
    mg_str text;

    if (mg_admin_query(call, "ttl", &text) && mg_units_duration(text, &ms, &err) != MG_OK) {
        mg_admin_refuse(call, 400, "not-allowed", NULL, "ttl: %s", err.message);
        return false;
    }
    *seconds = (double)ms / 1000;
    return true;
}

void mg_admin_state_put(mg_admin_call *call)
{
    const mg_str value = mg_text_str(&call->ask->body.text);
    double ttl_s;

    if (!can_write(call) || !read_ttl(call, &ttl_s))
        return;
    mg_kv_space *space = open_space(call);
    if (!space)
        return;
    const char *error =
        mg_kv_set(space, call->names[1].p, (uint32_t)call->names[1].n, value.p, (uint32_t)value.n, ttl_s);
    mg_kv_space_free(space);
    if (error)
        mg_admin_refuse(call, 507, "state", NULL, "%s", error);
    else
        mg_admin_send_written(call);
}

void mg_admin_state_del(mg_admin_call *call)
{
    if (!can_write(call) || !has_space(call))
        return;
    mg_kv_space *space = open_space(call);
    if (!space)
        return;
    const char *error = mg_kv_delete(space, call->names[1].p, (uint32_t)call->names[1].n);
    mg_kv_space_free(space);
    if (error)
        mg_admin_refuse(call, 500, "state", NULL, "%s", error);
    else
        mg_admin_send_written(call);
}

/* ---- figures ---- */

static void add_space(void *self, mg_str name, uint64_t used_bytes)
{
    mg_json_out *out = self;

    mg_json_out_map(out, NULL);
    mg_json_out_text(out, "name", name);
    mg_json_out_u64(out, "used_bytes", used_bytes);
    mg_json_out_end(out);
}

static void add_kv(mg_json_out *out, mg_kv *kv)
{
    mg_kv_stats stats;

    mg_kv_stats_get(kv, &stats);
    mg_json_out_u64(out, "pending", stats.pending);
    mg_json_out_u64(out, "flushes", stats.flushes);
    mg_json_out_u64(out, "failures", stats.failures);
    mg_json_out_bool(out, "failing", stats.failing);
    mg_json_out_u64(out, "skipped_rows", stats.skipped_rows);
    mg_json_out_u64(out, "expired", stats.expired);
}

static void add_policy(mg_json_out *out, mg_persist *persist)
{
    mg_persist_stats stats;

    if (!persist) {
        mg_json_out_null(out, "policy");
        return;
    }
    mg_persist_stats_get(persist, &stats);
    mg_json_out_map(out, "policy");
    mg_json_out_u64(out, "rows", stats.rows);
    mg_json_out_u64(out, "restored_keys", stats.restored_keys);
    mg_json_out_u64(out, "skipped_rows", stats.skipped_rows);
    mg_json_out_u64(out, "lag_ms", stats.lag_ms);
    mg_json_out_u64(out, "errors", stats.errors);
    mg_json_out_bool(out, "failing", stats.failing);
    mg_json_out_u64(out, "used_bytes", stats.used_bytes);
    mg_json_out_u64(out, "max_bytes", stats.max_bytes);
    mg_json_out_end(out);
}

void mg_admin_state(mg_admin_call *call)
{
    mg_store *store = call->admin->gateway->store;
    mg_json_out *out = &call->json;
    mg_store_stats stats;
    mg_error err = MG_ERROR_INIT;

    mg_json_out_map(out, NULL);
    mg_json_out_list(out, "namespaces");
    mg_kv_each_space(call->admin->gateway->kv, add_space, out);
    mg_json_out_end(out);
    add_kv(out, call->admin->gateway->kv);
    const mg_result result = store ? mg_store_stats_get(store, &stats, &err) : MG_OK;
    if (result != MG_OK) {
        mg_admin_refuse_error(call, result, &err);
        return;
    }
    if (store)
        mg_admin_store(out, "ledger", &stats);
    else
        mg_json_out_null(out, "ledger");
    add_policy(out, mg_admin_persist(call->admin));
    mg_json_out_end(out);
    mg_admin_send_json(call);
}
