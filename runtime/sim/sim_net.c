/* sim_net.c - descriptors, listeners and how a connect finds one. A connect is under way until the world
 * takes it from the wire, in a turn of its own. */
#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_parts.h"
#include <errno.h>

enum { FIRST_FD = 1 << 20 }; /* above any real one: a simulated descriptor in a system call is EBADF */

/* ---- descriptors ---- */

sim_socket *mg_sim_socket(mg_loop *loop, int fd)
{
    const mg_sim *sim = mg_sim_loop_of(loop)->sim;
    const size_t index = (size_t)(fd - FIRST_FD);

    MG_CHECK(fd >= FIRST_FD && index < sim->fds && sim->sockets[index]); /* open, and of this world */
    return sim->sockets[index];
}

static bool no_descriptor_left(const mg_sim *sim)
{
    if (!sim->max_open || sim->open < sim->max_open)
        return false;
    errno = EMFILE;
    return true;
}

static unsigned socket_poll(sim_source *source)
{
    return mg_sim_readiness(mg_container_of(source, sim_socket, source));
}

static void socket_fire(sim_source *source)
{
    sim_socket *socket = mg_container_of(source, sim_socket, source);
    mg_watch *watch = socket->watch;

    if (socket->level)
        mg_sim_raise(socket);
    watch->ready(watch, source->what);
}

static sim_socket *new_socket(mg_sim *sim, sim_state state)
{
    sim_socket *socket = MG_NEW(sim_socket);

    socket->source = (sim_source){ .poll = socket_poll, .fire = socket_fire };
    socket->sim = sim;
    socket->fd = -1;
    socket->state = state;
    mg_list_init(&socket->link);
    mg_list_init(&socket->queue);
    mg_list_init(&socket->waiting);
    return socket;
}

static int give_fd(sim_socket *socket)
{
    mg_sim *sim = socket->sim;

    if (sim->fds == sim->fds_cap) {
        sim->fds_cap = sim->fds_cap ? 2 * sim->fds_cap : 64;
        sim->sockets = mg_realloc(sim->sockets, sim->fds_cap * sizeof(sim_socket *));
    }
    socket->fd = FIRST_FD + (int)sim->fds;
    sim->sockets[sim->fds++] = socket;
    sim->open++;
    return socket->fd;
}

void mg_sim_socket_free(sim_socket *socket)
{
    mg_list *link;

    while ((link = mg_list_pop(&socket->queue)))
        mg_sim_socket_free(mg_container_of(link, sim_socket, link));
    mg_list_remove(&socket->source.link);
    mg_list_remove(&socket->link);
    mg_free(socket->in.p);
    mg_free(socket);
}

/* ---- watches ---- */

void mg_sim_watch_start(mg_loop *loop, mg_watch *watch, bool listener)
{
    sim_socket *socket = mg_sim_socket(loop, watch->fd);

    MG_CHECK(!socket->watch); /* never two on one descriptor */
    MG_CHECK(listener == (socket->state == SIM_LISTENING));
    socket->watch = watch;
    socket->level = listener;
    mg_sim_loop_of(loop)->watches++;
    mg_sim_raise(socket);
}

void mg_sim_watch_stop(mg_loop *loop, mg_watch *watch)
{
    sim_socket *socket = mg_sim_socket(loop, watch->fd);

    MG_CHECK(socket->watch == watch);
    socket->watch = NULL;
    mg_list_remove(&socket->source.link);
    mg_sim_loop_of(loop)->watches--;
}

/* ---- listen ---- */

static bool is_any(const mg_addr *addr)
{
    if (addr->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
    return addr->sa.sa_family == AF_INET && addr->in.sin_addr.s_addr == INADDR_ANY;
}

static void set_port(mg_addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET)
        addr->in.sin_port = htons(port);
    else if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
}

static uint16_t free_port(mg_sim *sim)
{
    const uint16_t port = sim->next_port;

    sim->next_port = port == UINT16_MAX ? 40000 : (uint16_t)(port + 1);
    return port;
}

/* 0 = does not serve `addr`, else the greater the more exactly. */
static unsigned match(const sim_socket *listener, const mg_addr *addr)
{
    const mg_addr *at = &listener->local;

    if (mg_addr_eq(at, addr))
        return 2;
    return is_any(at) && addr->sa.sa_family != AF_UNIX && mg_addr_port(at) == mg_addr_port(addr) &&
           (at->sa.sa_family == AF_INET6 || addr->sa.sa_family == AF_INET);
}

static bool in_use(const mg_sim *sim, const mg_addr *addr, bool reuse_port)
{
    MG_LIST_EACH(&sim->listeners, it)
    {
        const sim_socket *other = mg_container_of(it, sim_socket, link);
        const sim_socket mine = { .local = *addr };
        if ((match(other, addr) || match(&mine, &other->local)) && !(reuse_port && other->reuse_port))
            return true;
    }
    return false;
}

int mg_sim_listen(mg_loop *loop, const mg_addr *addr, int backlog, bool reuse_port)
{
    mg_sim *sim = mg_sim_loop_of(loop)->sim;
    mg_addr at = *addr;

    if (no_descriptor_left(sim))
        return -1;
    if (mg_addr_port(&at) == 0)
        set_port(&at, free_port(sim));
    if (in_use(sim, &at, reuse_port)) {
        errno = EADDRINUSE;
        return -1;
    }
    sim_socket *socket = new_socket(sim, SIM_LISTENING);
    socket->local = at;
    socket->backlog = backlog > 0 ? backlog : 1;
    socket->reuse_port = reuse_port;
    mg_list_push(&sim->listeners, &socket->link);
    return give_fd(socket);
}

int mg_sim_accept(mg_loop *loop, int fd, mg_addr *peer)
{
    sim_socket *listener = mg_sim_socket(loop, fd);

    MG_CHECK(listener->state == SIM_LISTENING);
    if (no_descriptor_left(listener->sim))
        return -1;
    mg_list *link = mg_list_pop(&listener->queue);
    if (!link) {
        errno = EAGAIN;
        return -1;
    }
    listener->queued--;
    mg_list *waiting = mg_list_pop(&listener->waiting);
    if (waiting)
        mg_list_push(&listener->sim->wire, waiting);
    sim_socket *socket = mg_container_of(link, sim_socket, link);
    *peer = socket->remote;
    return give_fd(socket);
}

/* ---- connect ---- */

static sim_socket *find_listener(mg_sim *sim, const mg_addr *addr)
{
    sim_socket *found = NULL;
    unsigned best = 0;
    uint64_t equals = 0;

    MG_LIST_EACH(&sim->listeners, it)
    {
        sim_socket *listener = mg_container_of(it, sim_socket, link);
        const unsigned score = match(listener, addr);
        if (score > best)
            equals = 0;
        if (score == 0 || score < best)
            continue;
        best = score;
        if (mg_rand_below(&sim->rand, ++equals) == 0) /* SO_REUSEPORT: any of them */
            found = listener;
    }
    return found;
}

static int rule_for(const mg_sim *sim, const mg_addr *addr)
{
    MG_LIST_EACH(&sim->rules, it)
    {
        const sim_rule *rule = mg_container_of(it, sim_rule, link);
        if (mg_addr_eq(&rule->addr, addr))
            return rule->error;
    }
    return 0;
}

static void refuse(sim_socket *client, int error)
{
    client->state = SIM_OPEN;
    mg_sim_reset(client, error);
}

static void pair(sim_socket *client, sim_socket *listener)
{
    sim_socket *server = new_socket(client->sim, SIM_OPEN);

    server->local = client->remote;
    server->remote = client->local;
    server->peer = client;
    client->peer = server;
    client->state = SIM_OPEN;
    mg_list_push(&listener->queue, &server->link);
    listener->queued++;
    mg_sim_raise(listener);
    mg_sim_raise(client);
}

void mg_sim_arrive(mg_sim *sim)
{
    sim_socket *client = mg_container_of(mg_list_pop(&sim->wire), sim_socket, link);
    const int error = rule_for(sim, &client->remote);
    sim_socket *listener = find_listener(sim, &client->remote);

    if (error == ETIMEDOUT)
        return; /* never answered */
    if (error || !listener)
        refuse(client, error ? error : ECONNREFUSED);
    else if (listener->queued >= listener->backlog)
        mg_list_push(&listener->waiting, &client->link);
    else
        pair(client, listener);
}

static mg_addr source_for(mg_sim *sim, const mg_addr *to)
{
    mg_addr from = sim->source;

    if (to->sa.sa_family == AF_UNIX) {
        from = (mg_addr){ .n = sizeof(sa_family_t) };
        from.sa.sa_family = AF_UNIX;
        return from;
    }
    if (from.n == 0)
        MG_CHECK(
            mg_addr_from_ip(&from, to->sa.sa_family == AF_INET ? MG_STR("127.0.0.1") : MG_STR("::1"), 0));
    set_port(&from, free_port(sim));
    return from;
}

int mg_sim_connect(mg_loop *loop, const mg_addr *addr)
{
    mg_sim *sim = mg_sim_loop_of(loop)->sim;

    if (no_descriptor_left(sim))
        return -1;
    sim_socket *socket = new_socket(sim, SIM_CONNECTING);
    socket->remote = *addr;
    socket->local = source_for(sim, addr);
    mg_list_push(&sim->wire, &socket->link);
    return give_fd(socket);
}

int mg_sim_connect_error(mg_loop *loop, int fd)
{
    sim_socket *socket = mg_sim_socket(loop, fd);
    const int error = socket->error;

    socket->error = 0;
    return error;
}

/* ---- close ---- */

static void close_listener(sim_socket *listener)
{
    mg_list *link;

    MG_LIST_EACH(&listener->queue, it)
    mg_sim_end_pair(mg_container_of(it, sim_socket, link), true);
    while ((link = mg_list_pop(&listener->waiting)))
        mg_list_push(&listener->sim->wire, link);
}

void mg_sim_close(mg_loop *loop, int fd, bool reset)
{
    sim_socket *socket = mg_sim_socket(loop, fd);
    mg_sim *sim = socket->sim;

    MG_CHECK(!socket->watch); /* stopped before */
    if (socket->state == SIM_LISTENING)
        close_listener(socket);
    else
        mg_sim_end_pair(socket, reset);
    sim->sockets[fd - FIRST_FD] = NULL;
    sim->open--;
    mg_sim_socket_free(socket);
}

bool mg_sim_local_addr(mg_loop *loop, int fd, mg_addr *addr)
{
    *addr = mg_sim_socket(loop, fd)->local;
    return true;
}
