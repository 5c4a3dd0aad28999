/* socket.c - the kernel's sockets: never blocking, never inherited by a child, never raising SIGPIPE. */
#include "net/socket.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

/* This file is one table's worth of functions, and the kernel knows no loop. */
#define UNUSED(loop) ((void)(loop))

static bool set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

static int fail_closing(int fd)
{
    const int saved = errno;

    close(fd);
    errno = saved;
    return -1;
}

static int open_stream(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* ---- listen ---- */

/* TCP_NODELAY is inherited by what the listener accepts, on Linux: no call a connection. */
static bool prepare_tcp(int fd, const mg_addr *addr, bool reuse_port)
{
    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
           (!reuse_port || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
           (addr->sa.sa_family != AF_INET6 ||
            set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr)));
}

/* Removes the file of a socket that nobody listens on any more; leaves any other file alone. */
static void remove_stale(const mg_addr *addr)
{
    struct stat st;

    if (lstat(addr->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    const int fd = open_stream(AF_UNIX);
    if (fd < 0)
        return;
    if (connect(fd, &addr->sa, addr->n) != 0 && errno == ECONNREFUSED)
        unlink(addr->un.sun_path);
    close(fd);
}

/* The mode is set on the socket before it has a name: the file is never open to others, and no umask of the
 * whole process is touched. */
static bool prepare_unix(int fd, const mg_addr *addr)
{
    remove_stale(addr);
    return fchmod(fd, S_IRUSR | S_IWUSR) == 0;
}

static int listen_at(const mg_addr *addr, int backlog, bool reuse_port)
{
    const bool is_unix = addr->sa.sa_family == AF_UNIX;
    const int fd = open_stream(addr->sa.sa_family);

    if (fd < 0)
        return -1;
    if (!(is_unix ? prepare_unix(fd, addr) : prepare_tcp(fd, addr, reuse_port)) ||
        bind(fd, &addr->sa, addr->n) != 0 || listen(fd, backlog) != 0)
        return fail_closing(fd);
    return fd;
}

/* A machine without IPv6 refuses the address family or the address. */
int mg_socket_listen(mg_loop *loop, const mg_addr *addr, int backlog, bool reuse_port)
{
    const int fd = listen_at(addr, backlog, reuse_port);
    mg_addr v4;

    UNUSED(loop);
    if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL) || addr->sa.sa_family != AF_INET6 ||
        !IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr))
        return fd;
    (void)mg_addr_from_ip(&v4, MG_STR("0.0.0.0"), mg_addr_port(addr));
    return listen_at(&v4, backlog, reuse_port);
}

int mg_socket_accept(mg_loop *loop, int fd, mg_addr *peer)
{
    UNUSED(loop);
    *peer = (mg_addr){ .n = sizeof(*peer) - offsetof(mg_addr, sa) };
    return accept4(fd, &peer->sa, &peer->n, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* ---- connect ---- */

int mg_socket_connect(mg_loop *loop, const mg_addr *addr)
{
    const int fd = open_stream(addr->sa.sa_family);

    UNUSED(loop);
    if (fd < 0)
        return -1;
    if (addr->sa.sa_family != AF_UNIX && !set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1))
        return fail_closing(fd);
    if (connect(fd, &addr->sa, addr->n) != 0 && errno != EINPROGRESS && errno != EINTR)
        return fail_closing(fd);
    return fd;
}

int mg_socket_connect_error(mg_loop *loop, int fd)
{
    int error = 0;
    socklen_t n = sizeof(error);

    UNUSED(loop);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 ? error : errno;
}

/* ---- bytes ---- */

ssize_t mg_socket_recv(mg_loop *loop, int fd, void *bytes, size_t n)
{
    UNUSED(loop);
    return recv(fd, bytes, n, 0);
}

ssize_t mg_socket_peek(mg_loop *loop, int fd, void *bytes, size_t n)
{
    UNUSED(loop);
    return recv(fd, bytes, n, MSG_PEEK);
}

ssize_t mg_socket_send(mg_loop *loop, int fd, const struct iovec *parts, int count)
{
    UNUSED(loop);
    if (count == 1)
        return send(fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    const struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts,
                                    .msg_iovlen = (size_t)count };
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

void mg_socket_shutdown_write(mg_loop *loop, int fd)
{
    UNUSED(loop);
    shutdown(fd, SHUT_WR);
}

void mg_socket_close(mg_loop *loop, int fd, bool reset)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };

    UNUSED(loop);
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

bool mg_socket_local_addr(mg_loop *loop, int fd, mg_addr *addr)
{
    UNUSED(loop);
    *addr = (mg_addr){ .n = sizeof(*addr) - offsetof(mg_addr, sa) };
    return getsockname(fd, &addr->sa, &addr->n) == 0;
}

/* ---- bytes that are not copied ---- */

enum { PIPE_BYTES = 256 * 1024 };

/* The size is a wish: an unprivileged process may have used up what it may have. */
bool mg_socket_pipe(mg_loop *loop, int ends[2])
{
    UNUSED(loop);
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0)
        return false;
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    return true;
}

ssize_t mg_socket_splice(mg_loop *loop, int from, int to, size_t n)
{
    UNUSED(loop);
    return splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}
