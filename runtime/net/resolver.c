/* resolver.c - names to addresses. A literal, a simulated name, the hosts file and localhost are known at
 * once, and told in the next turn; the rest goes to evdns, A and AAAA at the same time (RFC 8305, 3). */
#include "net/hosts.h"
#include "net/loop_parts.h"
#include "base/check.h"
#include "base/mem.h"
#include <event2/dns.h>
#include <event2/event.h>

enum { MAX_NAME = 253, MAX_LABEL = 63, TTL_MIN_S = 1, TTL_MAX_S = 3600, DEFAULT_TIMEOUT_MS = 2000 };

struct mg_resolver {
    mg_loop *loop;            /* borrowed */
    struct evdns_base *evdns; /* owned; NULL in a simulated world */
    mg_hosts *hosts;          /* owned; NULL in a simulated world */
    mg_list jobs;
};

/* The work on a question. evdns cannot be made to forget a request at once, so a job outlives a question that
 * is cancelled, and a resolver that is freed, until evdns has called back. */
typedef struct job {
    mg_list link;         /* in resolver->jobs; alone once that is freed */
    mg_later later;       /* tells what was known at once */
    mg_resolve *question; /* NULL: nobody waits any more */
    unsigned pending;     /* requests that evdns still has */
    mg_result result;
    mg_resolved v4, v6;
} job;

/* RFC 1035, 2.3.4: labels of 1 to 63 bytes, and what evdns and hosts files could misread is out. */
static bool valid(mg_str name)
{
    size_t label = 0;

    for (size_t i = 0; i < name.n; i++) {
        const bool dot = name.p[i] == '.';
        if ((unsigned char)name.p[i] <= ' ' || name.p[i] == 0x7f || (dot ? label == 0 : label == MAX_LABEL))
            return false;
        label = dot ? 0 : label + 1;
    }
    return label > 0 && name.n <= MAX_NAME;
}

/* In lower case, without the dot that ends an absolute one; absent when no name can look so. */
static mg_str normal_name(char out[MAX_NAME + 1], mg_str name, bool *absolute)
{
    *absolute = name.n > 1 && name.p[name.n - 1] == '.';
    name.n -= *absolute;
    if (!valid(name))
        return MG_STR_NONE;
    for (size_t i = 0; i < name.n; i++)
        out[i] = mg_lower(name.p[i]);
    out[name.n] = 0;
    return mg_str_make(out, name.n);
}

/* ---- answers ---- */

static void append(mg_resolved *to, const mg_resolved *from)
{
    if (from->count == 0)
        return;
    to->ttl_s = to->count ? (uint32_t)mg_min_u64(to->ttl_s, from->ttl_s) : from->ttl_s;
    for (unsigned i = 0; i < from->count && to->count < MG_RESOLVE_MAX; i++)
        to->addrs[to->count++] = from->addrs[i];
}

static void finish(job *work)
{
    mg_resolve *question = work->question;
    mg_resolved answer = work->v4;
    const mg_result result = work->result;

    append(&answer, &work->v6);
    answer.ttl_s = (uint32_t)mg_min_u64(mg_max_u64(answer.ttl_s, TTL_MIN_S), TTL_MAX_S);
    mg_list_remove(&work->link);
    mg_free(work);
    if (!question)
        return;
    question->space = NULL;
    if (answer.count > 0)
        question->done(question, MG_OK, &answer);
    else
        question->done(question, result == MG_OK ? MG_ERR_NOT_FOUND : result, NULL);
}

static void on_later(mg_later *later)
{
    finish(mg_container_of(later, job, later));
}

/* ---- evdns ---- */

static mg_result result_of(int error)
{
    switch (error) {
    case DNS_ERR_NONE: return MG_OK;
    case DNS_ERR_NOTEXIST:
    case DNS_ERR_NODATA: return MG_ERR_NOT_FOUND;
    case DNS_ERR_TIMEOUT: return MG_ERR_TIMEOUT;
    default: return MG_ERR_IO;
    }
}

/* Of two failures the one that says less about the name counts: that it does not exist is known only if both
 * say so. */
static void note_failure(job *work, mg_result result)
{
    if (work->result == MG_OK || work->result == MG_ERR_NOT_FOUND)
        work->result = result;
}

static void keep(mg_resolved *answer, char type, int count, const void *addresses)
{
    const int family = type == DNS_IPv4_A ? AF_INET : AF_INET6;

    for (int i = 0; i < count && answer->count < MG_RESOLVE_MAX; i++) {
        mg_addr *addr = &answer->addrs[answer->count++];
        *addr = (mg_addr){ .n = family == AF_INET ? sizeof(addr->in) : sizeof(addr->in6) };
        addr->sa.sa_family = (sa_family_t)family;
        if (family == AF_INET)
            memcpy(&addr->in.sin_addr, (const char *)addresses + (size_t)i * 4, 4);
        else
            memcpy(&addr->in6.sin6_addr, (const char *)addresses + (size_t)i * 16, 16);
    }
}

static void on_reply(int error, char type, int count, int ttl, void *addresses, void *arg)
{
    job *work = arg;
    mg_result result = result_of(error);

    if (result == MG_OK && (type == DNS_IPv4_A || type == DNS_IPv6_AAAA)) {
        mg_resolved *answer = type == DNS_IPv4_A ? &work->v4 : &work->v6;
        answer->ttl_s = ttl > 0 ? (uint32_t)ttl : 0;
        keep(answer, type, count, addresses);
    }
    note_failure(work, result);
    if (--work->pending == 0)
        finish(work);
}

static void ask_evdns(mg_resolver *resolver, job *work, const char *name, int flags)
{
    work->pending = 2;
    if (!evdns_base_resolve_ipv4(resolver->evdns, name, flags, on_reply, work))
        work->pending--;
    if (!evdns_base_resolve_ipv6(resolver->evdns, name, flags, on_reply, work))
        work->pending--;
    if (work->pending < 2)
        note_failure(work, MG_ERR_IO);
    if (work->pending == 0)
        mg_later_add(resolver->loop, &work->later);
}

/* ---- questions ---- */

static bool is_localhost(mg_str name) /* RFC 6761, 6.3 */
{
    return mg_str_eq(name, MG_STR("localhost")) || mg_str_ends(name, MG_STR(".localhost"));
}

static void loopback(mg_resolved *answer)
{
    MG_CHECK(mg_addr_from_ip(&answer->addrs[0], MG_STR("127.0.0.1"), 0));
    MG_CHECK(mg_addr_from_ip(&answer->addrs[1], MG_STR("::1"), 0));
    answer->count = 2;
    answer->ttl_s = MG_HOSTS_TTL_S;
}

/* True when evdns need not be asked. */
static bool known(mg_resolver *resolver, job *work, mg_str name)
{
    const mg_loop_ops *ops = resolver->loop->ops;
    mg_resolved *answer = &work->v4;

    if (mg_addr_from_ip(&answer->addrs[0], name, 0)) {
        answer->count = 1;
        answer->ttl_s = TTL_MAX_S;
        return true;
    }
    if (resolver->hosts && mg_hosts_find(resolver->hosts, name, answer))
        return true;
    if (ops->resolve && (work->result = ops->resolve(resolver->loop, name, answer)) == MG_OK)
        return true;
    if (is_localhost(name)) {
        loopback(answer);
        return true;
    }
    return ops->resolve != NULL;
}

void mg_resolver_ask(mg_resolver *resolver, mg_resolve *question, mg_str name)
{
    char text[MAX_NAME + 1];
    bool absolute;
    const mg_str lower = normal_name(text, name, &absolute);
    job *work = MG_NEW(job);

    MG_CHECK(!question->space); /* one answer at a time */
    question->space = work;
    work->question = question;
    work->later.run = on_later;
    mg_list_push(&resolver->jobs, &work->link);
    if (lower.n == 0) {
        work->result = MG_ERR_INVALID;
        mg_later_add(resolver->loop, &work->later);
    } else if (known(resolver, work, lower)) {
        mg_later_add(resolver->loop, &work->later);
    } else {
        ask_evdns(resolver, work, text, absolute ? DNS_QUERY_NO_SEARCH : 0);
    }
}

static void drop(job *work)
{
    work->question = NULL;
    mg_list_remove(&work->link);
    mg_later_cancel(&work->later);
    if (work->pending == 0)
        mg_free(work);
}

void mg_resolver_cancel(mg_resolve *question)
{
    job *work = question->space;

    question->space = NULL;
    if (work)
        drop(work);
}

/* ---- life ---- */

static void discard_log(int is_warning, const char *message)
{
    (void)is_warning;
    (void)message; /* what fails is told by results; evdns would write to stderr */
}

static bool set_timeouts(struct evdns_base *evdns, unsigned timeout_ms)
{
    char seconds[32];

    snprintf(seconds, sizeof(seconds), "%u.%03u", timeout_ms / 1000, timeout_ms % 1000);
    return evdns_base_set_option(evdns, "timeout:", seconds) == 0 &&
           evdns_base_set_option(evdns, "attempts:", "3") == 0;
}

static bool add_servers(struct evdns_base *evdns, const mg_resolver_options *options, mg_error *err)
{
    const char *file = options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf";
    const int flags = DNS_OPTION_SEARCH | DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC;

    if (options->nameserver) {
        if (evdns_base_nameserver_ip_add(evdns, options->nameserver) == 0)
            return true;
        (void)mg_fail(err, MG_ERR_INVALID,
                      "\"%s\" is no nameserver: write \"192.0.2.53\" or \"192.0.2.53:53\"",
                      options->nameserver);
        return false;
    }
    /* Without a file, or without a server in it, evdns asks 127.0.0.1, as the C library does. */
    if (evdns_base_resolv_conf_parse(evdns, flags, file) == 0 || !options->resolv_conf)
        return true;
    (void)mg_fail(err, MG_ERR_INVALID, "%s: cannot be read, or names no nameserver", file);
    return false;
}

mg_resolver *mg_resolver_new(mg_loop *loop, const mg_resolver_options *options, mg_error *err)
{
    static const mg_resolver_options defaults;
    struct event_base *base = mg_loop_event_base(loop);
    mg_resolver *resolver = MG_NEW(mg_resolver);

    options = options ? options : &defaults;
    resolver->loop = loop;
    mg_list_init(&resolver->jobs);
    if (!base) /* a simulated world has its own names */
        return resolver;
    resolver->hosts = mg_hosts_new(options->hosts_file ? options->hosts_file : "/etc/hosts");
    evdns_set_log_fn(discard_log);
    resolver->evdns = evdns_base_new(base, 0);
    if (!resolver->evdns ||
        !set_timeouts(resolver->evdns, options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS)) {
        (void)mg_fail(err, MG_ERR_IO, "cannot start the resolver");
        goto failed;
    }
    if (add_servers(resolver->evdns, options, err))
        return resolver;
failed:
    mg_resolver_free(resolver);
    return NULL;
}

void mg_resolver_free(mg_resolver *resolver)
{
    mg_list *link;

    if (!resolver)
        return;
    while ((link = mg_list_pop(&resolver->jobs))) {
        job *work = mg_container_of(link, job, link);
        if (work->question)
            work->question->space = NULL;
        drop(work);
    }
    if (resolver->evdns) /* fails what is open, in the next turn: the last of each job frees it */
        evdns_base_free(resolver->evdns, 1);
    mg_hosts_free(resolver->hosts);
    mg_free(resolver);
}
