/* persist_view.c - what is stored, for people: rows as JSON, under the names that operators know. */
#include "state/persist_parts.h"

#include "base/check.h"
#include "base/json_out.h"
#include "base/mem.h"

#include <stdlib.h>

/* A limiter as it is shown: the newest number of its name. */
typedef struct shown {
    mg_str name; /* arena */
    uint32_t number;
} shown;

typedef struct view {
    mg_persist *persist;
    bool (*each)(void *self, mg_str key, mg_str json);
    void *self;
    mg_str prefix;
    uint64_t now_ns;
    const shown *limiter; /* whose keys come; NULL: other rows */
    bool stopped;
    mg_text key, json;
} view;

static bool show(view *v)
{
    if (!mg_str_starts(mg_text_str(&v->key), v->prefix))
        return true;
    v->stopped = !v->each(v->self, mg_text_str(&v->key), mg_text_str(&v->json));
    return !v->stopped;
}

static uint64_t ms_since(const view *v, uint64_t at_ns)
{
    return (mg_max_u64(v->now_ns, at_ns) - at_ns) / MG_NS_PER_MS;
}

static void add_damaged(view *v)
{
    mg_json_out out = { .text = &v->json };

    mg_json_out_map(&out, NULL);
    mg_json_out_bool(&out, "damaged", true);
    mg_json_out_end(&out);
}

/* ---- limiters ---- */

static void add_record(view *v, const mg_limiter_record *record)
{
    const uint64_t idle_ms = record->idle_ns > v->now_ns ? mg_ms_ceil(record->idle_ns - v->now_ns) : 0;
    mg_json_out out = { .text = &v->json };

    mg_json_out_map(&out, NULL);
    mg_json_out_text(&out, "limiter", v->limiter->name);
    if (!record->cell)
        mg_json_out_textf(&out, "fingerprint", "%016llx", (unsigned long long)record->fingerprint);
    mg_json_out_text(&out, "algorithm", mg_str_of(mg_limiter_algorithm_words[record->algorithm]));
    mg_json_out_u64(&out, "used", record->used);
    mg_json_out_u64(&out, "idle_in_ms", idle_ms);
    mg_json_out_u64(&out, "stored_ms_ago", ms_since(v, record->at_ns));
    mg_json_out_end(&out);
}

/* A prefix may leave out most of a million rows: what is not shown is not read either. */
static bool show_key(void *self, mg_str key, mg_str row)
{
    view *v = self;
    mg_limiter_record record;
    bool cell;
    const uint32_t place = mg_persist_row_place(key, &cell);

    mg_text_clear(&v->key);
    mg_text_clear(&v->json);
    mg_text_add(&v->key, v->limiter->name);
    mg_text_add_c(&v->key, cell ? "/cell-" : "/");
    mg_text_add_u64(&v->key, place);
    if (!mg_str_starts(mg_text_str(&v->key), v->prefix))
        return true;
    if (mg_persist_read_record(key, row, &record))
        add_record(v, &record);
    else
        add_damaged(v);
    return show(v);
}

static int by_name(const void *a, const void *b)
{
    return mg_str_cmp(((const shown *)a)->name, ((const shown *)b)->name);
}

static shown *find_shown(shown *list, size_t count, mg_str name)
{
    for (size_t i = 0; i < count; i++)
        if (mg_str_eq(list[i].name, name))
            return &list[i];
    return NULL;
}

static size_t list_limiters(mg_persist *persist, mg_arena *arena, shown **out)
{
    size_t count = 0;

    pthread_mutex_lock(&persist->lock);
    MG_LIST_EACH(&persist->numbers, link)
    count++;
    *out = MG_ARENA_NEW_N(arena, shown, count + 1);
    count = 0;
    MG_LIST_EACH(&persist->numbers, link)
    {
        const persist_number *number = mg_container_of(link, persist_number, link);
        const mg_str name = mg_str_make(number->name, number->n);
        shown *known = find_shown(*out, count, name);
        if (number->gone)
            continue;
        if (!known)
            (*out)[count++] = (shown){ mg_arena_str(arena, name), number->number };
        else if (number->number > known->number)
            known->number = number->number;
    }
    pthread_mutex_unlock(&persist->lock);
    qsort(*out, count, sizeof(**out), by_name);
    return count;
}

/* "NAME/17" or "NAME/cell-3"; false when it is neither. */
static bool split_key(mg_str key, mg_str *name, uint32_t *place, bool *cell)
{
    size_t slash = key.n;
    mg_str rest;
    uint64_t number;

    while (slash > 0 && key.p[slash - 1] != '/')
        slash--;
    if (!slash)
        return false;
    *name = mg_str_make(key.p, slash - 1);
    rest = mg_str_sub(key, slash, key.n);
    *cell = mg_str_starts(rest, MG_STR("cell-"));
    if (*cell)
        rest = mg_str_sub(rest, 5, rest.n);
    if (!mg_str_u64(rest, &number) || number > INT32_MAX)
        return false;
    *place = (uint32_t)number;
    return true;
}

/* Whether a key of the limiter may begin with the prefix. */
static bool may_match(mg_str name, mg_str prefix)
{
    const size_t n = prefix.n < name.n ? prefix.n : name.n;

    return mg_str_eq(mg_str_sub(name, 0, n), mg_str_sub(prefix, 0, n));
}

static mg_result scan_limiters(view *v, mg_str after, mg_error *err)
{
    char from[PERSIST_KEY_ROW_BYTES] = "", prefix[PERSIST_KEY_ROW_BYTES] = "";
    mg_str after_name = MG_STR_NONE;
    mg_result result = MG_OK;
    mg_arena arena;
    uint32_t place = 0;
    bool cell = false;
    shown *limiters;

    if (after.n && !split_key(after, &after_name, &place, &cell))
        return mg_fail(err, MG_ERR_INVALID, "'%.*s' is not a key of a limiter: NAME/PLACE or NAME/cell-N",
                       MG_STR_ARGS(after));
    mg_arena_init(&arena, NULL, 0);
    const size_t count = list_limiters(v->persist, &arena, &limiters);
    for (size_t i = 0; i < count && result == MG_OK && !v->stopped; i++) {
        const int order = after.n ? mg_str_cmp(limiters[i].name, after_name) : 1;
        if (order < 0 || !may_match(limiters[i].name, v->prefix))
            continue;
        v->limiter = &limiters[i];
        mg_persist_row_key(prefix, limiters[i].number, 0, false);
        mg_persist_row_key(from, limiters[i].number, place, cell);
        result = mg_store_scan(v->persist->store, v->persist->keys, mg_str_make(prefix, 4),
                               order == 0 ? mg_str_make(from, sizeof(from)) : MG_STR(""), show_key, v, err);
    }
    mg_arena_fini(&arena);
    return result;
}

/* The one row of a key, if it is there. */
static mg_result get_limiter_key(view *v, mg_str key, mg_error *err)
{
    char row_key[PERSIST_KEY_ROW_BYTES];
    mg_result result = MG_OK;
    mg_arena arena;
    shown *limiters;
    mg_str name;
    uint32_t place;
    bool cell;

    if (!split_key(key, &name, &place, &cell))
        return MG_OK;
    mg_arena_init(&arena, NULL, 0);
    const size_t count = list_limiters(v->persist, &arena, &limiters);
    v->limiter = find_shown(limiters, count, name);
    if (v->limiter) {
        mg_persist_row_key(row_key, v->limiter->number, place, cell);
        result = mg_store_scan(v->persist->store, v->persist->keys, mg_str_make(row_key, sizeof(row_key)),
                               MG_STR(""), show_key, v, err);
    }
    mg_arena_fini(&arena);
    return result;
}

/* ---- small things ---- */

static bool add_breaker(mg_json_out *out, mg_record *payload)
{
    mg_breaker_record breaker;

    if (!mg_persist_get_breaker(payload, &breaker))
        return false;
    mg_json_out_text(out, "state", mg_str_of(mg_breaker_state_name(breaker.state)));
    mg_json_out_u64(out, "turns", breaker.turns);
    mg_json_out_u64(out, "remaining_ms", breaker.remaining_ms);
    return true;
}

static bool add_rollout(const view *v, mg_json_out *out, mg_record *payload)
{
    mg_rollout rollout;
    mg_str id;

    if (!mg_persist_get_rollout(payload, &id, &rollout))
        return false;
    mg_json_out_text(out, "id", id);
    mg_json_out_text(out, "state", mg_str_of(mg_rollout_state_name(rollout.state)));
    mg_json_out_u64(out, "step", rollout.step);
    mg_json_out_u64(out, "strikes", rollout.strikes);
    mg_json_out_u64(out, "interval_ms_old", ms_since(v, rollout.began_ns));
    return true;
}

/* Bytes that are no breaker's and no rollout's are shown as they are. */
static void add_item(view *v, mg_str key, uint64_t at_ns, mg_record *payload)
{
    const mg_str bytes = payload->rest;
    mg_json_out out = { .text = &v->json };

    mg_json_out_map(&out, NULL);
    mg_json_out_u64(&out, "stored_ms_ago", ms_since(v, at_ns));
    bool known = key.p[0] == MG_KEEP_BREAKER && add_breaker(&out, payload);
    *payload = (mg_record){ bytes, payload->version, true };
    known = known || (key.p[0] == MG_KEEP_ROLLOUT && add_rollout(v, &out, payload));
    if (!known)
        mg_json_out_hex(&out, "bytes", bytes.p, bytes.n);
    mg_json_out_end(&out);
}

static bool show_item(void *self, mg_str key, mg_str row)
{
    view *v = self;
    mg_record payload;
    uint64_t at_ns;

    mg_text_clear(&v->key);
    mg_text_clear(&v->json);
    mg_text_add(&v->key, mg_str_sub(key, 1, key.n));
    if (mg_persist_read_item(key, row, &at_ns, &payload))
        add_item(v, key, at_ns, &payload);
    else
        add_damaged(v);
    return show(v);
}

static mg_result scan_items(view *v, mg_keep_kind kind, mg_str after, mg_error *err)
{
    char prefix[1 + MG_PERSIST_NAME_MAX], from[1 + MG_PERSIST_NAME_MAX];

    if (v->prefix.n > MG_PERSIST_NAME_MAX || after.n > MG_PERSIST_NAME_MAX)
        return mg_fail(err, MG_ERR_INVALID, "a name has at most %d bytes", MG_PERSIST_NAME_MAX);
    prefix[0] = from[0] = (char)kind;
    if (v->prefix.n)
        memcpy(prefix + 1, v->prefix.p, v->prefix.n);
    if (after.n)
        memcpy(from + 1, after.p, after.n);
    return mg_store_scan(v->persist->store, v->persist->kept, mg_str_make(prefix, 1 + v->prefix.n),
                         after.n ? mg_str_make(from, 1 + after.n) : MG_STR(""), show_item, v, err);
}

/* ---- meta ---- */

static bool show_meta(void *self, mg_str key, mg_str row)
{
    view *v = self;
    mg_policy_clock_saved saved;
    mg_json_out out = { .text = &v->json };
    char wall[32];

    mg_text_clear(&v->key);
    mg_text_clear(&v->json);
    mg_text_add(&v->key, key);
    if (mg_str_eq_c(key, "clock") && mg_persist_read_clock(key, row, &saved)) {
        mg_iso_time(wall, saved.wall_ns);
        mg_json_out_map(&out, NULL);
        mg_json_out_u64(&out, "policy_ms", saved.policy_ns / MG_NS_PER_MS);
        mg_json_out_text(&out, "saved_at", mg_str_of(wall));
        mg_json_out_text(&out, "boot_id", mg_str_of(saved.boot_id));
        mg_json_out_end(&out);
    } else {
        mg_json_out_text(&out, NULL, MG_STR("***"));
    }
    return show(v);
}

/* ---- by space ---- */

static mg_result scan_space(view *v, mg_str space, mg_str after, mg_error *err)
{
    static const char *const kept[] = {
        [MG_KEEP_BREAKER] = "breakers", [MG_KEEP_EJECTION] = "ejections", [MG_KEEP_ROLLOUT] = "rollouts"
    };

    if (mg_str_eq_c(space, "limiters"))
        return scan_limiters(v, after, err);
    if (mg_str_eq_c(space, "meta"))
        return mg_store_scan(v->persist->store, v->persist->meta, v->prefix, after, show_meta, v, err);
    for (size_t i = MG_KEEP_BREAKER; i < mg_countof(kept); i++)
        if (mg_str_eq_c(space, kept[i]))
            return scan_items(v, (mg_keep_kind)i, after, err);
    return mg_fail(err, MG_ERR_NOT_FOUND,
                   "no space '%.*s'; there are limiters, breakers, ejections, rollouts and meta",
                   MG_STR_ARGS(space));
}

static view view_of(mg_persist *persist, mg_str prefix, bool (*each)(void *self, mg_str key, mg_str json),
                    void *self)
{
    return (view){ .persist = persist,
                   .each = each,
                   .self = self,
                   .prefix = prefix,
                   .now_ns = mg_persist_policy_now(persist) };
}

static void view_fini(view *v)
{
    mg_text_fini(&v->key);
    mg_text_fini(&v->json);
}

mg_result mg_persist_scan(mg_persist *persist, mg_str space, mg_str prefix, mg_str after,
                          bool (*each)(void *self, mg_str key, mg_str json), void *self, mg_error *err)
{
    view v = view_of(persist, prefix, each, self);
    const mg_result result = scan_space(&v, space, after, err);

    view_fini(&v);
    return result;
}

typedef struct wanted {
    mg_str key;
    mg_text *json;
    bool found;
} wanted;

static bool take_wanted(void *self, mg_str key, mg_str json)
{
    wanted *w = self;

    if (!mg_str_eq(key, w->key))
        return true; /* a longer one */
    mg_text_add(w->json, json);
    w->found = true;
    return false;
}

mg_result mg_persist_get(mg_persist *persist, mg_str space, mg_str key, mg_text *json, mg_error *err)
{
    wanted w = { key, json, false };
    view v = view_of(persist, key, take_wanted, &w);
    const mg_result result = mg_str_eq_c(space, "limiters") ? get_limiter_key(&v, key, err)
                                                            : scan_space(&v, space, MG_STR(""), err);

    view_fini(&v);
    if (result != MG_OK || w.found)
        return result;
    return mg_fail(err, MG_ERR_NOT_FOUND, "no '%.*s' in %.*s", MG_STR_ARGS(key), MG_STR_ARGS(space));
}
