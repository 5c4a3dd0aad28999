/* kv.c - reading and deciding: every call looks at one key under its shard's lock and leaves an entry behind
 * for the flush. The store is read under the lock by those who decide (a microsecond, from memory) and
 * without it by those who only read. */
#include "state/kv_table.h"

#include "base/check.h"
#include "base/mem.h"
#include "store/record.h"

#include <math.h>

#define NO_KEY     "a key has 1 to 255 bytes"
#define NO_VALUE   "a value has at most 64 KiB"
#define NO_TTL     "a ttl is 0 (it stays) or up to ten years, in seconds"
#define NO_ROOM    "the namespace is full"
#define NO_STORE   "the store cannot be read"
#define NO_DISK    "the store is full"
#define NO_SUM     "the stored value is damaged; set or delete it"
#define NO_INTEGER "the value is not a whole number"
#define NO_DELTA   "a step is a whole number of at most 2^53"
#define TOO_LARGE  "the result would pass 2^53"

static const double WHOLE_MAX = 9007199254740992.0; /* 2^53: exact in a Lua number */
static const double TTL_MAX_S = 315360000.0;

struct mg_kv_space {
    mg_kv *kv;       /* borrowed */
    kv_names *names; /* borrowed: kv */
    mg_arena arena;  /* what the last call found */
    char first[2048];
};

/* ---- what is stored ---- */

uint64_t mg_kv_now_ms(const mg_kv *kv)
{
    const int64_t wall_ns = kv->clock->wall_ns(kv->clock);
    return wall_ns > 0 ? (uint64_t)wall_ns / MG_NS_PER_MS : 0;
}

bool mg_kv_split(mg_str full_key, mg_str *name, mg_str *key)
{
    const size_t at = mg_str_find(full_key, '\0');

    if (at == SIZE_MAX || at == 0 || at > MG_KV_NAME_MAX || full_key.n - at - 1 > MG_KV_KEY_MAX)
        return false;
    *name = mg_str_make(full_key.p, at);
    *key = mg_str_make(full_key.p + at + 1, full_key.n - at - 1);
    return true;
}

bool mg_kv_row_open(mg_str full_key, mg_str row, uint64_t *expires_ms, mg_str *value)
{
    mg_record record;

    if (!mg_record_open(&record, full_key, row) || record.version != KV_ROW_VERSION)
        return false;
    *expires_ms = mg_record_get_u64(&record);
    *value = record.rest;
    return record.ok;
}

kv_names *mg_kv_names_of(mg_kv *kv, mg_str name)
{
    pthread_mutex_lock(&kv->names_lock);
    kv_names *names = mg_map_get(kv->names, name);
    if (!names && mg_map_count(kv->names) < MG_KV_SPACES_MAX) {
        names = MG_NEW(kv_names);
        names->n = name.n;
        memcpy(names->name, name.p, name.n);
        mg_map_set(kv->names, name, names);
    }
    pthread_mutex_unlock(&kv->names_lock);
    return names;
}

/* ---- finding ---- */

static const kv_entry *find_entry(const kv_shard *shard, mg_str full_key, bool *pending)
{
    const kv_entry *entry = shard->pending ? mg_map_get(shard->pending, full_key) : NULL;

    *pending = entry != NULL;
    if (!entry && shard->flushing)
        entry = mg_map_get(shard->flushing, full_key);
    return entry;
}

static void view_value(const mg_kv *kv, mg_str full_key, mg_str value, uint64_t expires_ms, kv_view *view)
{
    mg_str name, key;

    MG_CHECK(mg_kv_split(full_key, &name, &key));
    view->value = value;
    view->expires_ms = expires_ms;
    view->bytes = kv_row_bytes(key.n, value.n);
    view->found = expires_ms == 0 || mg_kv_now_ms(kv) < expires_ms;
}

/* True when the table answers and the store need not be asked. */
static bool find_in_table(const mg_kv *kv, const kv_shard *shard, mg_str full_key, kv_view *view)
{
    bool pending;
    const kv_entry *entry = find_entry(shard, full_key, &pending);

    memset(view, 0, sizeof(*view));
    if (!entry)
        return kv->store == NULL;
    view->below = pending ? entry->below : true;
    if (!entry->gone)
        view_value(kv, full_key, mg_str_make(entry->bytes, entry->n), entry->expires_ms, view);
    return true;
}

static const char *find_in_store(mg_kv *kv, mg_str full_key, mg_arena *arena, kv_view *view)
{
    uint64_t expires_ms;
    mg_str row, value;

    memset(view, 0, sizeof(*view));
    const mg_result result = mg_store_get(kv->store, kv->table, full_key, arena, &row);
    if (result == MG_ERR_NOT_FOUND)
        return NULL;
    if (result != MG_OK)
        return NO_STORE;
    view->below = true;
    if (mg_kv_row_open(full_key, row, &expires_ms, &value))
        view_value(kv, full_key, value, expires_ms, view);
    else
        view->damaged = true;
    return NULL;
}

const char *mg_kv_find(mg_kv *kv, kv_shard *shard, mg_str full_key, mg_arena *arena, kv_view *view)
{
    return find_in_table(kv, shard, full_key, view) ? NULL : find_in_store(kv, full_key, arena, view);
}

/* ---- changing, under the shard's lock ---- */

void mg_kv_put_entry(mg_kv *kv, kv_shard *shard, mg_str full_key, kv_entry *entry)
{
    if (!shard->pending)
        shard->pending = mg_map_new(kv->seed);
    kv_entry *before = mg_map_set(shard->pending, full_key, entry);
    shard->pending_bytes += entry ? kv_entry_bytes(full_key, entry) : 0;
    shard->pending_bytes -= before ? kv_entry_bytes(full_key, before) : 0;
    mg_free(before);
}

static kv_entry *new_entry(mg_str value, uint64_t expires_ms, bool below)
{
    kv_entry *entry = mg_alloc(sizeof(*entry) + value.n);

    *entry = (kv_entry){ .expires_ms = expires_ms, .n = (uint32_t)value.n, .below = below };
    if (value.n)
        memcpy(entry->bytes, value.p, value.n);
    return entry;
}

void mg_kv_remove(mg_kv *kv, kv_shard *shard, kv_names *names, mg_str full_key, const kv_view *view)
{
    atomic_fetch_sub(&names->used, view->bytes);
    if (view->below) {
        kv_entry *entry = new_entry(MG_STR_NONE, 0, true);
        entry->gone = true;
        mg_kv_put_entry(kv, shard, full_key, entry);
    } else if (shard->pending) { /* nobody below has heard of it: nothing to delete there */
        mg_kv_put_entry(kv, shard, full_key, NULL);
    }
}

/* Counts the difference; false when the namespace has no room for it. */
static bool charge(const mg_kv *kv, kv_names *names, uint64_t before, uint64_t after)
{
    if (after <= before) {
        atomic_fetch_sub(&names->used, before - after);
        return true;
    }
    if (atomic_fetch_add(&names->used, after - before) + (after - before) <= kv->space_bytes)
        return true;
    atomic_fetch_sub(&names->used, after - before);
    return false;
}

/* Whether memory is to hold no more of what the store does not take. */
static bool waits_too_much(const mg_kv *kv, const kv_shard *shard)
{
    return kv->store && shard->pending_bytes + shard->flushing_bytes > KV_WAITING_MAX / KV_SHARDS &&
           atomic_load_explicit(&kv->flush_error, memory_order_relaxed);
}

static const char *put_value(mg_kv_space *space, kv_shard *shard, mg_str full_key, const kv_view *view,
                             mg_str value, uint64_t expires_ms)
{
    const uint64_t bytes = kv_row_bytes(full_key.n - space->names->n - 1, value.n);

    if (bytes > view->bytes && waits_too_much(space->kv, shard))
        return NO_DISK;
    if (!charge(space->kv, space->names, view->bytes, bytes))
        return NO_ROOM;
    if (expires_ms)
        atomic_store_explicit(&space->kv->ages, true, memory_order_relaxed);
    mg_kv_put_entry(space->kv, shard, full_key, new_entry(value, expires_ms, view->below));
    return NULL;
}

/* ---- the calls ---- */

/* One call's key, and its shard locked. */
typedef struct kv_call {
    kv_shard *shard;
    mg_str key;
    kv_view view;
    char bytes[KV_FULL_KEY_MAX];
} kv_call;

static const char *call_begin(mg_kv_space *space, kv_call *call, const char *key, uint32_t n)
{
    const size_t name_n = space->names->n;

    mg_arena_reset(&space->arena);
    if (n == 0 || n > MG_KV_KEY_MAX)
        return NO_KEY;
    memcpy(call->bytes, space->names->name, name_n);
    call->bytes[name_n] = '\0';
    memcpy(call->bytes + name_n + 1, key, n);
    call->key = mg_str_make(call->bytes, name_n + 1 + n);
    call->shard = kv_shard_of(space->kv, call->key);
    pthread_mutex_lock(&call->shard->lock);
    return NULL;
}

static const char *call_end(kv_call *call, const char *error)
{
    pthread_mutex_unlock(&call->shard->lock);
    return error;
}

/* The moment it is gone; UINT64_MAX: no ttl at all. */
static uint64_t expiry(const mg_kv *kv, double ttl_s)
{
    if (!(ttl_s >= 0 && ttl_s <= TTL_MAX_S))
        return UINT64_MAX;
    return ttl_s == 0 ? 0 : mg_kv_now_ms(kv) + (uint64_t)ceil(ttl_s * 1000);
}

const char *mg_kv_get(mg_kv_space *space, const char *key, uint32_t n, mg_slice *value)
{
    kv_call call;
    const char *error = call_begin(space, &call, key, n);

    *value = (mg_slice){ NULL, 0 };
    if (error)
        return error;
    const bool answered = find_in_table(space->kv, call.shard, call.key, &call.view);
    if (answered && call.view.found)
        call.view.value = mg_arena_str(&space->arena, call.view.value);
    call_end(&call, NULL);
    /* Whatever is committed meanwhile was decided after this call began, and may be seen or not. */
    if (!answered)
        error = find_in_store(space->kv, call.key, &space->arena, &call.view);
    if (!error && call.view.damaged)
        return NO_SUM;
    if (!error && call.view.found)
        *value = (mg_slice){ call.view.value.p, (uint32_t)call.view.value.n };
    return error;
}

const char *mg_kv_set(mg_kv_space *space, const char *key, uint32_t n, const char *value, uint32_t value_n,
                      double ttl_s)
{
    const uint64_t expires_ms = expiry(space->kv, ttl_s);
    kv_call call;
    const char *error;

    if (value_n > MG_KV_VALUE_MAX)
        return NO_VALUE;
    if (expires_ms == UINT64_MAX)
        return NO_TTL;
    if ((error = call_begin(space, &call, key, n)))
        return error;
    error = mg_kv_find(space->kv, call.shard, call.key, &space->arena, &call.view);
    if (!error)
        error = put_value(space, call.shard, call.key, &call.view, mg_str_make(value, value_n), expires_ms);
    return call_end(&call, error);
}

/* Removes what is there, past its time or not. */
static void remove_found(mg_kv_space *space, kv_call *call)
{
    if (call->view.bytes > 0 || call->view.damaged)
        mg_kv_remove(space->kv, call->shard, space->names, call->key, &call->view);
}

const char *mg_kv_delete(mg_kv_space *space, const char *key, uint32_t n)
{
    kv_call call;
    const char *error = call_begin(space, &call, key, n);

    if (error)
        return error;
    error = mg_kv_find(space->kv, call.shard, call.key, &space->arena, &call.view);
    if (!error)
        remove_found(space, &call);
    return call_end(&call, error);
}

/* A decimal whole number within +-2^53, all of the text. */
static bool read_whole(mg_str text, double *out)
{
    const bool minus = text.n > 0 && text.p[0] == '-';
    uint64_t number;

    if (!mg_str_u64(minus ? mg_str_make(text.p + 1, text.n - 1) : text, &number) ||
        number > (uint64_t)WHOLE_MAX)
        return false;
    *out = minus ? -(double)number : (double)number;
    return true;
}

static bool is_whole(double number)
{
    return fabs(number) <= WHOLE_MAX && floor(number) == number; /* false for NaN */
}

static const char *add_whole(mg_kv_space *space, kv_call *call, double delta, uint64_t expires_ms,
                             double *result)
{
    double number = 0;
    char text[24];

    if (call->view.damaged)
        return NO_SUM;
    if (call->view.found && !read_whole(call->view.value, &number))
        return NO_INTEGER;
    if (fabs(number + delta) > WHOLE_MAX)
        return TOO_LARGE;
    if (call->view.found)
        expires_ms = call->view.expires_ms;
    const int n = snprintf(text, sizeof(text), "%lld", (long long)(number + delta));
    const char *error =
        put_value(space, call->shard, call->key, &call->view, mg_str_make(text, (size_t)n), expires_ms);
    if (!error)
        *result = number + delta;
    return error;
}

const char *mg_kv_incr(mg_kv_space *space, const char *key, uint32_t n, double delta, double ttl_s,
                       double *result)
{
    const uint64_t expires_ms = expiry(space->kv, ttl_s);
    kv_call call;
    const char *error;

    *result = 0;
    if (!is_whole(delta))
        return NO_DELTA;
    if (expires_ms == UINT64_MAX)
        return NO_TTL;
    if ((error = call_begin(space, &call, key, n)))
        return error;
    error = mg_kv_find(space->kv, call.shard, call.key, &space->arena, &call.view);
    if (!error)
        error = add_whole(space, &call, delta, expires_ms, result);
    return call_end(&call, error);
}

static const char *swap(mg_kv_space *space, kv_call *call, mg_str expected, mg_str value, uint64_t expires_ms,
                        bool *swapped)
{
    const char *error = NULL;

    if (call->view.damaged)
        return NO_SUM;
    if (call->view.found != (expected.p != NULL) || (expected.p && !mg_str_eq(call->view.value, expected)))
        return NULL;
    if (value.p)
        error = put_value(space, call->shard, call->key, &call->view, value, expires_ms);
    else
        remove_found(space, call);
    *swapped = error == NULL;
    return error;
}

const char *mg_kv_cas(mg_kv_space *space, const char *key, uint32_t n, const char *expected,
                      uint32_t expected_n, const char *value, uint32_t value_n, double ttl_s, bool *swapped)
{
    const uint64_t expires_ms = expiry(space->kv, ttl_s);
    kv_call call;
    const char *error;

    *swapped = false;
    if (value_n > MG_KV_VALUE_MAX)
        return NO_VALUE;
    if (expires_ms == UINT64_MAX)
        return NO_TTL;
    if ((error = call_begin(space, &call, key, n)))
        return error;
    error = mg_kv_find(space->kv, call.shard, call.key, &space->arena, &call.view);
    if (!error)
        error = swap(space, &call, mg_str_make(expected, expected_n), mg_str_make(value, value_n), expires_ms,
                     swapped);
    return call_end(&call, error);
}

const char *mg_kv_flush_error(const mg_kv_space *space)
{
    return atomic_load(&space->names->unstored);
}

double mg_kv_used_bytes(const mg_kv_space *space)
{
    return (double)atomic_load(&space->names->used);
}

/* ---- handles ---- */

mg_kv_space *mg_kv_open(mg_kv *kv, mg_str name, mg_error *err)
{
    if (name.n == 0 || name.n > MG_KV_NAME_MAX || memchr(name.p, '\0', name.n)) {
        mg_fail(err, MG_ERR_INVALID, "a namespace has a name of 1 to %d bytes without NUL", MG_KV_NAME_MAX);
        return NULL;
    }
    kv_names *names = mg_kv_names_of(kv, name);
    if (!names) {
        mg_fail(err, MG_ERR_LIMIT, "there are %d namespaces already", MG_KV_SPACES_MAX);
        return NULL;
    }
    mg_kv_space *space = MG_NEW(mg_kv_space);
    space->kv = kv;
    space->names = names;
    mg_arena_init(&space->arena, space->first, sizeof(space->first));
    atomic_fetch_add(&kv->open_spaces, 1);
    return space;
}

void mg_kv_space_free(mg_kv_space *space)
{
    if (!space)
        return;
    atomic_fetch_sub(&space->kv->open_spaces, 1);
    mg_arena_fini(&space->arena);
    mg_free(space);
}
