/* world.c - time, names and the spec's own sockets. */
#include "spec/parts.h"

#include "base/check.h"
#include "base/mem.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

bool mg_spec_fail(mg_spec *spec, const char *format, ...)
{
    va_list args;

    mg_text_clear(&spec->problem);
    va_start(args, format);
    mg_text_vaddf(&spec->problem, format, args);
    va_end(args);
    mg_text_add(&spec->problem, mg_str_make("", 1)); /* a C string */
    return false;
}

mg_spec *mg_spec_new(double seed)
{
    mg_spec *spec = MG_NEW(mg_spec);

    spec->seed = (uint64_t)seed;
    spec->sim = mg_sim_new(spec->seed);
    spec->outside = mg_sim_loop_new(spec->sim);
    spec->began_ns = mg_sim_clock(spec->sim)->mono_ns(mg_sim_clock(spec->sim));
    mg_list_init(&spec->nodes);
    mg_list_init(&spec->watches);
    return spec;
}

void mg_spec_free(mg_spec *spec)
{
    mg_list *link;

    MG_CHECK(mg_list_empty(&spec->nodes));
    while ((link = mg_list_pop(&spec->watches)))
        mg_free(mg_container_of(link, mg_spec_watch, link));
    mg_loop_free(spec->outside);
    mg_sim_free(spec->sim);
    mg_text_fini(&spec->problem);
    mg_text_fini(&spec->text);
    mg_free(spec);
}

const char *mg_spec_problem(const mg_spec *spec)
{
    return spec->problem.n ? spec->problem.p : "";
}

/* ---- time ---- */

static uint64_t now_ns(const mg_spec *spec)
{
    const mg_clock *clock = mg_sim_clock(spec->sim);

    return clock->mono_ns(clock) - spec->began_ns;
}

double mg_spec_now_ms(const mg_spec *spec)
{
    return (double)now_ns(spec) / (double)MG_NS_PER_MS;
}

double mg_spec_wall_ms(const mg_spec *spec)
{
    const mg_clock *clock = mg_sim_clock(spec->sim);

    return (double)clock->wall_ns(clock) / (double)MG_NS_PER_MS;
}

void mg_spec_settle(mg_spec *spec)
{
    mg_sim_settle(spec->sim);
}

bool mg_spec_run(mg_spec *spec, double end_ms)
{
    const uint64_t end_ns = (uint64_t)(end_ms * (double)MG_NS_PER_MS);

    spec->woken = false;
    mg_sim_settle(spec->sim);
    while (!spec->woken && mg_sim_step(spec->sim, spec->began_ns + end_ns))
        mg_sim_settle(spec->sim);
    if (!spec->woken && end_ns > now_ns(spec))
        mg_sim_advance(spec->sim, end_ns - now_ns(spec));
    return spec->woken;
}

void mg_spec_step_wall(mg_spec *spec, double ms)
{
    mg_sim_step_wall(spec->sim, (int64_t)(ms * (double)MG_NS_PER_MS));
}

/* ---- the network ---- */

static bool read_address(mg_spec *spec, const char *text, mg_addr *addr)
{
    mg_error err = MG_ERROR_INIT;

    if (mg_addr_parse_bind(addr, mg_str_of(text), &err) == MG_OK)
        return true;
    return mg_spec_fail(spec, "\"%s\" is not an address: %s", text, err.message);
}

bool mg_spec_set_name(mg_spec *spec, const char *name, const char *addresses, double ttl_s)
{
    mg_str rest = mg_str_of(addresses), one;
    mg_addr addrs[MG_RESOLVE_MAX];
    unsigned count = 0;

    while (rest.n && mg_str_cut(&rest, ',', &one)) {
        if (count == MG_RESOLVE_MAX)
            return mg_spec_fail(spec, "a name has at most %d addresses", MG_RESOLVE_MAX);
        if (!mg_addr_from_ip(&addrs[count++], mg_str_trim(one, " "), 0))
            return mg_spec_fail(spec, "\"%.*s\" is not an address: write 10.0.0.1, or ::1", MG_STR_ARGS(one));
    }
    mg_sim_set_name(spec->sim, name, addrs, count, ttl_s > 0 ? (uint32_t)ttl_s : 0);
    return true;
}

bool mg_spec_set_connect(mg_spec *spec, const char *address, const char *how)
{
    mg_addr addr;

    if (!read_address(spec, address, &addr))
        return false;
    mg_sim_set_connect(spec->sim, &addr,
                       strcmp(how, "refuse") == 0   ? ECONNREFUSED
                       : strcmp(how, "ignore") == 0 ? ETIMEDOUT
                                                    : 0);
    return true;
}

void mg_spec_set_chunk(mg_spec *spec, double bytes)
{
    mg_sim_set_chunk(spec->sim, (size_t)bytes);
}

uint32_t mg_spec_sockets(const mg_spec *spec)
{
    return (uint32_t)mg_sim_open_sockets(spec->sim);
}

uint32_t mg_spec_timers(const mg_spec *spec)
{
    return (uint32_t)mg_sim_live_timers(spec->sim);
}

/* ---- sockets ---- */

static void on_ready(mg_watch *watch, unsigned what)
{
    mg_spec_watch *w = mg_container_of(watch, mg_spec_watch, watch);

    (void)what;
    w->spec->woken = true;
    if (w->listener) /* it would say so in each turn, until the spec accepts */
        mg_watch_stop(watch);
}

static mg_spec_watch *watch_of(mg_spec *spec, int fd)
{
    MG_LIST_EACH(&spec->watches, it)
    {
        mg_spec_watch *w = mg_container_of(it, mg_spec_watch, link);
        if (w->watch.fd == fd)
            return w;
    }
    MG_UNREACHABLE(); /* what Lua has is open */
}

static int watched(mg_spec *spec, int fd, bool listener)
{
    mg_spec_watch *w = MG_NEW(mg_spec_watch);

    *w = (mg_spec_watch){ .spec = spec, .listener = listener };
    if (listener)
        mg_watch_start_listener(spec->outside, &w->watch, fd, on_ready);
    else
        mg_watch_start(spec->outside, &w->watch, fd, on_ready);
    mg_list_insert(&spec->watches, &w->link);
    return fd;
}

int mg_spec_listen(mg_spec *spec, const char *address)
{
    mg_addr addr;

    if (!read_address(spec, address, &addr))
        return -1;
    const int fd = spec->outside->ops->listen(spec->outside, &addr, 1024, false);
    if (fd < 0)
        (void)mg_spec_fail(spec, "%s: %s", address, strerror(errno));
    return fd < 0 ? fd : watched(spec, fd, true);
}

int mg_spec_connect(mg_spec *spec, const char *address, const char *from)
{
    mg_addr addr, source;

    if (!read_address(spec, address, &addr))
        return -1;
    if (!mg_addr_from_ip(&source, mg_str_of(from), 0)) {
        (void)mg_spec_fail(spec, "\"%s\" is not an address: write 10.0.0.1, or ::1", from);
        return -1;
    }
    mg_sim_set_source(spec->sim, &source);
    const int fd = spec->outside->ops->connect(spec->outside, &addr);
    if (fd < 0)
        (void)mg_spec_fail(spec, "%s: %s", address, strerror(errno));
    return fd < 0 ? fd : watched(spec, fd, false);
}

int mg_spec_accept(mg_spec *spec, int listener)
{
    mg_spec_watch *w = watch_of(spec, listener);
    mg_addr peer;
    const int fd = spec->outside->ops->accept(spec->outside, listener, &peer);

    if (fd >= 0)
        return watched(spec, fd, false);
    if (!w->watch.active)
        mg_watch_start_listener(spec->outside, &w->watch, listener, on_ready);
    return fd;
}

int mg_spec_send(mg_spec *spec, int socket, const char *bytes, uint32_t n)
{
    const struct iovec part = { (void *)(uintptr_t)bytes, n };
    const ssize_t sent = spec->outside->ops->send(spec->outside, socket, &part, 1);

    if (sent >= 0)
        return (int)sent;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

int mg_spec_receive(mg_spec *spec, int socket, mg_spec_text *bytes)
{
    const ssize_t n = spec->outside->ops->recv(spec->outside, socket, spec->bytes, sizeof spec->bytes);

    if (n > 0) {
        *bytes = (mg_spec_text){ spec->bytes, (uint32_t)n };
        return MG_SPEC_BYTES;
    }
    if (n == 0)
        return MG_SPEC_END;
    return errno == EAGAIN || errno == EWOULDBLOCK ? MG_SPEC_NOTHING : MG_SPEC_RESET;
}

void mg_spec_shutdown(mg_spec *spec, int socket)
{
    spec->outside->ops->shutdown_write(spec->outside, socket);
}

void mg_spec_close(mg_spec *spec, int socket, bool reset)
{
    mg_spec_watch *w = watch_of(spec, socket);

    mg_watch_stop(&w->watch);
    mg_list_remove(&w->link);
    mg_free(w);
    spec->outside->ops->close(spec->outside, socket, reset);
}
