/* resolver.c - names to addresses. A literal, a simulated name, the hosts file and localhost are known at
 * once, and told in the next turn; the rest goes to evdns, A and AAAA at the same time (RFC 8305, 3). evdns
 * asks over UDP alone: what is cut short there goes to dns_tcp. */
#include "base/check.h"
#include "base/mem.h"
#include "net/dns_message.h"
#include "net/dns_tcp.h"
#include "net/hosts.h"
#include "net/loop_parts.h"
#include "net/search.h"
#include <event2/dns.h>
#include <event2/event.h>

enum {
    MAX_NAME = MG_DNS_NAME_MAX,
    MAX_LABEL = 63,
    TTL_MIN_S = 1,
    TTL_MAX_S = 3600,
    DEFAULT_TIMEOUT_MS = 2000
};

struct mg_resolver {
    mg_loop *loop;            /* borrowed */
    struct evdns_base *evdns; /* owned; NULL in a simulated world */
    mg_hosts *hosts;          /* owned; NULL in a simulated world */
    mg_search search;
    mg_dns_servers servers; /* those of evdns */
    unsigned timeout_ms;
    mg_list jobs;
};

/* One type of address of one name. */
typedef struct lookup {
    struct job *work;
    unsigned type;
    mg_dns_tcp *tcp; /* owned; NULL unless it is being asked for over TCP */
    mg_resolved answer;
} lookup;

/* The work on a question. evdns cannot be made to forget a request at once, so a job outlives a question that
 * is cancelled, and a resolver that is freed, until evdns has called back. */
typedef struct job {
    mg_list link;          /* in resolver->jobs; alone once that is freed */
    mg_later later;        /* tells what was known at once */
    mg_resolve *question;  /* NULL: nobody waits any more, and the resolver may be gone */
    mg_resolver *resolver; /* borrowed */
    char name[MAX_NAME + 1], asked[MAX_NAME + 1];
    bool absolute;
    unsigned tried;   /* names of the search list */
    unsigned pending; /* lookups that run */
    mg_result result;
    lookup v4, v6;
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

static int order(const mg_addr *a, const mg_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return a->sa.sa_family == AF_INET ? -1 : 1;
    return a->sa.sa_family == AF_INET ? memcmp(&a->in.sin_addr, &b->in.sin_addr, sizeof a->in.sin_addr)
                                      : memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr);
}

void mg_resolved_add(mg_resolved *resolved, const mg_addr *addr)
{
    unsigned at = 0;

    while (at < resolved->count && order(&resolved->addrs[at], addr) < 0)
        at++;
    if (at < resolved->count && order(&resolved->addrs[at], addr) == 0)
        return;
    if (resolved->count == MG_RESOLVE_MAX)
        resolved->dropped++;
    else
        resolved->count++;
    if (at == resolved->count)
        return;
    memmove(&resolved->addrs[at + 1], &resolved->addrs[at], (resolved->count - 1 - at) * sizeof *addr);
    resolved->addrs[at] = *addr;
}

static void append(mg_resolved *to, const mg_resolved *from)
{
    if (from->count == 0)
        return;
    to->ttl_s = to->count ? (uint32_t)mg_min_u64(to->ttl_s, from->ttl_s) : from->ttl_s;
    for (unsigned i = 0; i < from->count; i++)
        mg_resolved_add(to, &from->addrs[i]);
    to->dropped += from->dropped;
}

static void finish(job *work)
{
    mg_resolve *question = work->question;
    mg_resolved answer = work->v4.answer;
    const mg_result result = work->result;

    append(&answer, &work->v6.answer);
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

/* ---- lookups ---- */

static bool ask_next(job *work);

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

/* One of the two is over. A name that nobody could tell of in time is not followed by another. */
static void lookup_over(lookup *l, mg_result result)
{
    job *work = l->work;

    note_failure(work, result);
    if (--work->pending > 0)
        return;
    if (!work->question)
        mg_free(work);
    else if (work->v4.answer.count + work->v6.answer.count > 0 || work->result == MG_ERR_TIMEOUT ||
             !ask_next(work))
        finish(work);
}

static void keep(mg_resolved *answer, char type, int count, const void *addresses)
{
    const int family = type == DNS_IPv4_A ? AF_INET : AF_INET6;

    for (int i = 0; i < count; i++) {
        mg_addr addr = { .n = family == AF_INET ? sizeof(addr.in) : sizeof(addr.in6) };
        addr.sa.sa_family = (sa_family_t)family;
        if (family == AF_INET)
            memcpy(&addr.in.sin_addr, (const char *)addresses + (size_t)i * 4, 4);
        else
            memcpy(&addr.in6.sin6_addr, (const char *)addresses + (size_t)i * 16, 16);
        mg_resolved_add(answer, &addr);
    }
}

static void on_tcp(void *self, mg_result result, const mg_resolved *answer)
{
    lookup *l = self;

    l->tcp = NULL;
    if (answer)
        l->answer = *answer;
    lookup_over(l, result);
}

static void on_reply(int error, char type, int count, int ttl, void *addresses, void *arg)
{
    lookup *l = arg;
    job *work = l->work;

    if (error == DNS_ERR_TRUNCATED && work->question) {
        l->tcp = mg_dns_tcp_ask(work->resolver->loop, &work->resolver->servers, mg_str_of(work->asked),
                                l->type, work->resolver->timeout_ms * MG_NS_PER_MS, on_tcp, l);
        return;
    }
    if (error == DNS_ERR_NONE && (type == DNS_IPv4_A || type == DNS_IPv6_AAAA)) {
        l->answer.ttl_s = ttl > 0 ? (uint32_t)ttl : 0;
        keep(&l->answer, type, count, addresses);
    }
    lookup_over(l, result_of(error));
}

static void ask_evdns(job *work)
{
    struct evdns_base *evdns = work->resolver->evdns;

    work->pending = 2;
    if (!evdns_base_resolve_ipv4(evdns, work->asked, DNS_QUERY_NO_SEARCH, on_reply, &work->v4))
        work->pending--;
    if (!evdns_base_resolve_ipv6(evdns, work->asked, DNS_QUERY_NO_SEARCH, on_reply, &work->v6))
        work->pending--;
    if (work->pending < 2)
        note_failure(work, MG_ERR_IO);
    if (work->pending == 0)
        mg_later_add(work->resolver->loop, &work->later);
}

/* The next name of the search list that can be one; false when there is none. */
static bool ask_next(job *work)
{
    const mg_search *search = &work->resolver->search;

    do
        if (!mg_search_name(search, mg_str_of(work->name), work->absolute, work->tried++, work->asked))
            return false;
    while (!valid(mg_str_of(work->asked)));
    ask_evdns(work);
    return true;
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
    mg_resolved *answer = &work->v4.answer;

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
    job *work = MG_NEW(job);
    const mg_str lower = normal_name(work->name, name, &work->absolute);

    MG_CHECK(!question->space); /* one answer at a time */
    question->space = work;
    work->question = question;
    work->resolver = resolver;
    work->later.run = on_later;
    work->v4.work = work->v6.work = work;
    work->v4.type = MG_DNS_A;
    work->v6.type = MG_DNS_AAAA;
    mg_list_push(&resolver->jobs, &work->link);
    if (lower.n == 0) {
        work->result = MG_ERR_INVALID;
        mg_later_add(resolver->loop, &work->later);
    } else if (known(resolver, work, lower) || !ask_next(work)) {
        mg_later_add(resolver->loop, &work->later);
    }
}

static void forget_tcp(lookup *l)
{
    if (!l->tcp)
        return;
    mg_dns_tcp_cancel(l->tcp);
    l->tcp = NULL;
    l->work->pending--;
}

static void drop(job *work)
{
    work->question = NULL;
    mg_list_remove(&work->link);
    mg_later_cancel(&work->later);
    forget_tcp(&work->v4);
    forget_tcp(&work->v6);
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

static bool add_servers(mg_resolver *resolver, const mg_resolver_options *options, mg_error *err)
{
    const char *file = options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf";
    const int flags = DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC;

    if (!options->nameserver || options->resolv_conf)
        mg_search_read(&resolver->search, file);
    if (options->nameserver) {
        if (evdns_base_nameserver_ip_add(resolver->evdns, options->nameserver) == 0)
            return true;
        (void)mg_fail(err, MG_ERR_INVALID,
                      "\"%s\" is not a nameserver: write \"192.0.2.53\" or \"192.0.2.53:53\"",
                      options->nameserver);
        return false;
    }
    /* Without a file, or without a server in it, evdns asks 127.0.0.1, as the C library does. */
    if (evdns_base_resolv_conf_parse(resolver->evdns, flags, file) == 0 || !options->resolv_conf)
        return true;
    (void)mg_fail(err, MG_ERR_INVALID, "%s: cannot be read, or names no nameserver", file);
    return false;
}

static void note_servers(mg_resolver *resolver)
{
    mg_dns_servers *servers = &resolver->servers;
    const int count = evdns_base_count_nameservers(resolver->evdns);

    for (int i = 0; i < count && servers->count < MG_DNS_SERVERS_MAX; i++) {
        mg_addr *addr = &servers->addrs[servers->count];
        const int n = evdns_base_get_nameserver_addr(resolver->evdns, i, &addr->sa, sizeof addr->un);
        addr->n = n > 0 ? (socklen_t)n : 0;
        servers->count += n > 0;
    }
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
    resolver->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    if (!resolver->evdns || !set_timeouts(resolver->evdns, resolver->timeout_ms)) {
        (void)mg_fail(err, MG_ERR_IO, "cannot start the resolver");
        goto failed;
    }
    if (add_servers(resolver, options, err)) {
        note_servers(resolver);
        return resolver;
    }
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
