/* names.c - addresses of endpoints, for the whole node. */
#include "gateway/service/names.h"

#include "base/map.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdlib.h>

enum {
    RETRY_S = 2,
    NAMES_MAX = 65536, /* plugins may follow what clients name */
};

typedef struct waiter {
    struct waiter *next;
    void (*done)(void *self);
    void *self;
} waiter;

typedef struct entry {
    mg_names *names;
    char *authority, *host; /* owned */
    uint16_t port;
    bool watched, answered, failing, crowded;
    mg_addr addrs[MG_RESOLVE_MAX];
    unsigned count;
    mg_resolve question;
    bool asking;
    mg_timer again;
    waiter *waiters; /* owned */
} entry;

struct mg_names {
    mg_loop *loop;         /* borrowed: control */
    mg_resolver *resolver; /* borrowed */
    mg_log *log;           /* borrowed */
    mg_names_changed *changed;
    void *self;
    struct entry *spill;  /* owned: stands for all names past NAMES_MAX, and has no address */
    pthread_mutex_t lock; /* of the map, and of addrs and count in its entries */
    mg_map *entries;      /* owned: by authority */
};

static void ask(entry *e);
static void tell_waiters(entry *e);

mg_names *mg_names_new(mg_loop *loop, mg_resolver *resolver, mg_log *log, mg_names_changed *changed,
                       void *self)
{
    mg_names *names = MG_NEW(mg_names);

    *names = (mg_names){ .loop = loop, .resolver = resolver, .log = log, .changed = changed, .self = self };
    pthread_mutex_init(&names->lock, NULL);
    names->entries = mg_map_new(mg_rand_next(&loop->rand));
    names->spill = MG_NEW(entry);
    names->spill->answered = true;
    return names;
}

void mg_names_stop(mg_names *names)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    while (names && mg_map_next(names->entries, &cursor, &key, &value)) {
        entry *e = value;
        if (e->asking)
            mg_resolver_cancel(&e->question);
        e->asking = false;
        e->answered = true;
        mg_timer_stop(&e->again);
        tell_waiters(e);
    }
}

void mg_names_free(mg_names *names)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    if (!names)
        return;
    mg_names_stop(names);
    while (mg_map_next(names->entries, &cursor, &key, &value)) {
        entry *e = value;
        mg_free(e->authority);
        mg_free(e->host);
        mg_free(e);
    }
    mg_map_free(names->entries);
    mg_free(names->spill);
    pthread_mutex_destroy(&names->lock);
    mg_free(names);
}

static void on_again(mg_timer *timer)
{
    ask(mg_container_of(timer, entry, again));
}

/* Returns the port. */
static uint16_t split(mg_str authority, mg_str *host)
{
    size_t colon = authority.n;
    uint64_t port = 0;

    while (colon > 0 && authority.p[colon - 1] != ':')
        colon--;
    *host = mg_str_sub(authority, 0, colon ? colon - 1 : 0);
    if (host->n > 2 && host->p[0] == '[')
        *host = mg_str_sub(*host, 1, host->n - 1);
    return mg_str_u64(mg_str_sub(authority, colon, authority.n), &port) ? (uint16_t)port : 0;
}

bool mg_names_literal(mg_str authority, mg_addr *addr)
{
    mg_str host;
    const uint16_t port = split(authority, &host);

    return mg_addr_from_ip(addr, host, port);
}

/* Under the lock. */
static entry *entry_of(mg_names *names, mg_str authority)
{
    entry *e = mg_map_get(names->entries, authority);

    if (e)
        return e;
    if (mg_map_count(names->entries) >= NAMES_MAX)
        return names->spill;
    e = MG_NEW(entry);
    e->names = names;
    e->authority = mg_memdup0(authority.p, authority.n);
    mg_str host;
    e->port = split(authority, &host);
    e->host = mg_memdup0(host.p, host.n);
    mg_timer_init(&e->again, on_again);
    if (mg_addr_from_ip(&e->addrs[0], host, e->port)) {
        e->count = 1;
        e->answered = true;
    }
    mg_map_set(names->entries, authority, e);
    return e;
}

static void tell_waiters(entry *e)
{
    waiter *w = e->waiters;

    e->waiters = NULL;
    while (w) {
        waiter *next = w->next;
        w->done(w->self);
        mg_free(w);
        w = next;
    }
}

static void set_port(mg_addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
    else
        addr->in.sin_port = htons(port);
}

/* An answer has one order: the same addresses stand in the same places. */
static bool same_addrs(const entry *e, const mg_resolved *answer)
{
    if (e->count != answer->count)
        return false;
    for (unsigned i = 0; i < e->count; i++) {
        mg_addr with_port = answer->addrs[i];
        set_port(&with_port, e->port);
        if (!mg_addr_eq(&e->addrs[i], &with_port))
            return false;
    }
    return true;
}

static void keep(entry *e, const mg_resolved *answer)
{
    mg_names *names = e->names;

    pthread_mutex_lock(&names->lock);
    e->count = answer->count;
    for (unsigned i = 0; i < answer->count; i++) {
        e->addrs[i] = answer->addrs[i];
        set_port(&e->addrs[i], e->port);
    }
    pthread_mutex_unlock(&names->lock);
}

static void tell_recovery(entry *e, bool resolves)
{
    if (e->failing && resolves)
        mg_log_write(e->names->log, MG_LOG_INFO, "dns", "%s resolves again", e->host);
    e->failing = !resolves;
}

/* Once until it fits again. */
static void tell_crowd(entry *e, unsigned dropped)
{
    if (dropped && !e->crowded)
        mg_log_write(e->names->log, MG_LOG_WARN, "dns", "%s has %u addresses; the first %d are used", e->host,
                     MG_RESOLVE_MAX + dropped, MG_RESOLVE_MAX);
    e->crowded = dropped > 0;
}

static void on_answer(mg_resolve *question, mg_result result, const mg_resolved *answer)
{
    entry *e = mg_container_of(question, entry, question);
    mg_names *names = e->names;
    uint32_t again_s = RETRY_S;

    e->asking = false;
    if (result == MG_OK && answer->count) {
        again_s = answer->ttl_s ? answer->ttl_s : 1;
        tell_crowd(e, answer->dropped);
        if (!same_addrs(e, answer)) {
            keep(e, answer);
            names->changed(names->self, mg_str_of(e->authority), e->addrs, e->count);
        }
    } else {
        if (!e->failing) /* once until it resolves again */
            mg_log_write(names->log, MG_LOG_WARN, "dns", "%s does not resolve; %s", e->host,
                         e->count ? "its last addresses stay" : "its requests are answered with 503");
    }
    tell_recovery(e, result == MG_OK && answer->count);
    e->answered = true;
    tell_waiters(e);
    mg_timer_set(names->loop, &e->again, mg_loop_now(names->loop) + again_s * MG_NS_PER_S);
}

static void ask(entry *e)
{
    if (e->asking)
        return;
    e->asking = true;
    e->question = (mg_resolve){ .done = on_answer };
    mg_resolver_ask(e->names->resolver, &e->question, mg_str_of(e->host));
}

void mg_names_add(mg_names *names, mg_str authority, void (*done)(void *self), void *self)
{
    pthread_mutex_lock(&names->lock);
    entry *e = entry_of(names, authority);
    pthread_mutex_unlock(&names->lock);
    if (e->answered && !e->asking) {
        if (done)
            done(self);
        return;
    }
    if (done) {
        waiter *w = MG_NEW(waiter);
        *w = (waiter){ e->waiters, done, self };
        e->waiters = w;
    }
    if (!e->watched) {
        e->watched = true;
        ask(e);
    }
}

unsigned mg_names_known(mg_names *names, mg_str authority, mg_addr addrs[MG_RESOLVE_MAX])
{
    if (!names || mg_names_literal(authority, &addrs[0]))
        return mg_names_literal(authority, &addrs[0]);
    pthread_mutex_lock(&names->lock);
    const entry *e = mg_map_get(names->entries, authority);
    const unsigned count = e ? e->count : 0;
    if (count)
        memcpy(addrs, e->addrs, sizeof *addrs * count);
    pthread_mutex_unlock(&names->lock);
    return count;
}

void mg_names_refresh(mg_names *names)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    while (mg_map_next(names->entries, &cursor, &key, &value)) {
        entry *e = value;
        if (!e->watched)
            continue;
        mg_timer_stop(&e->again);
        ask(e);
    }
}
