/* addr.c - addresses to text and back. Everything numeric goes through inet_pton and inet_ntop: names are the
 * resolver's. */
#include "net/addr.h"
#include "base/check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>

static void from_in4(mg_addr *addr, struct in_addr ip, uint16_t port)
{
    *addr = (mg_addr){ .n = sizeof(addr->in) };
    addr->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = ip };
}

static void from_in6(mg_addr *addr, struct in6_addr ip, uint16_t port)
{
    *addr = (mg_addr){ .n = sizeof(addr->in6) };
    addr->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = ip };
}

/* inet_pton wants a terminated string, and would stop at a NUL inside one. */
static bool terminated(char out[INET6_ADDRSTRLEN], mg_str text)
{
    if (text.n == 0 || text.n >= INET6_ADDRSTRLEN || memchr(text.p, 0, text.n))
        return false;
    memcpy(out, text.p, text.n);
    out[text.n] = 0;
    return true;
}

bool mg_addr_from_ip(mg_addr *addr, mg_str ip, uint16_t port)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr in4;
    struct in6_addr in6;

    if (!terminated(text, ip))
        return false;
    if (inet_pton(AF_INET, text, &in4) == 1) {
        from_in4(addr, in4, port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &in6) == 1) {
        from_in6(addr, in6, port);
        return true;
    }
    return false;
}

/* ---- binds ---- */

static mg_result parse_unix(mg_addr *addr, mg_str path, mg_error *err)
{
    const size_t room = sizeof(addr->un.sun_path) - 1;

    if (path.n == 0)
        return mg_fail(err, MG_ERR_INVALID,
                       "\"unix:\" needs a path behind it, as in \"unix:/run/moongate.sock\"");
    if (memchr(path.p, 0, path.n))
        return mg_fail(err, MG_ERR_INVALID, "the path of a unix socket has no NUL byte");
    if (path.n > room)
        return mg_fail(err, MG_ERR_INVALID, "unix:%.*s: the path has %zu bytes, the system takes at most %zu",
                       MG_STR_ARGS(path), path.n, room);
    *addr = (mg_addr){ 0 };
    addr->un.sun_family = AF_UNIX;
    memcpy(addr->un.sun_path, path.p, path.n);
    addr->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return MG_OK;
}

/* The host of "host:port": nothing, an IPv4 literal, or an IPv6 literal in brackets. */
static bool parse_host(mg_addr *addr, mg_str host, uint16_t port)
{
    if (host.n == 0) {
        from_in6(addr, in6addr_any, port);
        return true;
    }
    if (host.p[0] == '[')
        return host.n > 2 && host.p[host.n - 1] == ']' &&
               mg_addr_from_ip(addr, mg_str_sub(host, 1, host.n - 1), port) && addr->sa.sa_family == AF_INET6;
    return mg_addr_from_ip(addr, host, port) && addr->sa.sa_family == AF_INET;
}

mg_result mg_addr_parse_bind(mg_addr *addr, mg_str text, mg_error *err)
{
    const mg_str prefix = MG_STR("unix:");
    size_t colon = text.n;
    uint64_t port = 0;

    if (mg_str_starts(text, prefix))
        return parse_unix(addr, mg_str_sub(text, prefix.n, text.n), err);
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0 || !parse_host(addr, mg_str_make(text.p, colon - 1), 0))
        return mg_fail(err, MG_ERR_INVALID,
                       "\"%.*s\" is not an address to listen on: write \":8080\", \"127.0.0.1:8080\", "
                       "\"[::1]:8080\" or \"unix:/path\"",
                       MG_STR_ARGS(mg_str_sub(text, 0, text.n < 200 ? text.n : 200)));
    if (!mg_str_u64(mg_str_sub(text, colon, text.n), &port) || port > UINT16_MAX)
        return mg_fail(err, MG_ERR_INVALID, "\"%.*s\": the port is a number from 0 to 65535",
                       MG_STR_ARGS(mg_str_sub(text, 0, text.n < 200 ? text.n : 200)));
    if (addr->sa.sa_family == AF_INET)
        addr->in.sin_port = htons((uint16_t)port);
    else
        addr->in6.sin6_port = htons((uint16_t)port);
    return MG_OK;
}

/* ---- to text ---- */

size_t mg_addr_ip_text(const mg_addr *addr, char out[MG_ADDR_TEXT])
{
    const void *ip = &addr->in.sin_addr;
    int family = AF_INET;

    if (addr->sa.sa_family == AF_INET6) {
        const struct in6_addr *in6 = &addr->in6.sin6_addr;
        const bool mapped = IN6_IS_ADDR_V4MAPPED(in6);
        ip = mapped ? (const void *)&in6->s6_addr[12] : in6;
        family = mapped ? AF_INET : AF_INET6;
    } else if (addr->sa.sa_family != AF_INET) {
        return (size_t)snprintf(out, MG_ADDR_TEXT, "unix:");
    }
    MG_CHECK(inet_ntop(family, ip, out, MG_ADDR_TEXT));
    return strlen(out);
}

size_t mg_addr_text(const mg_addr *addr, char out[MG_ADDR_TEXT])
{
    char ip[MG_ADDR_TEXT];

    if (addr->sa.sa_family == AF_UNIX) { /* an unnamed peer has no path */
        const size_t head = offsetof(struct sockaddr_un, sun_path);
        const size_t room = addr->n > head ? addr->n - head : 0;
        return (size_t)snprintf(out, MG_ADDR_TEXT, "unix:%.*s", (int)strnlen(addr->un.sun_path, room),
                                addr->un.sun_path);
    }
    mg_addr_ip_text(addr, ip);
    if (strchr(ip, ':'))
        return (size_t)snprintf(out, MG_ADDR_TEXT, "[%s]:%u", ip, (unsigned)mg_addr_port(addr));
    return (size_t)snprintf(out, MG_ADDR_TEXT, "%s:%u", ip, (unsigned)mg_addr_port(addr));
}

uint16_t mg_addr_port(const mg_addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return ntohs(addr->in.sin_port);
    return addr->sa.sa_family == AF_INET6 ? ntohs(addr->in6.sin6_port) : 0;
}

bool mg_addr_eq(const mg_addr *a, const mg_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family || mg_addr_port(a) != mg_addr_port(b))
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    if (a->sa.sa_family == AF_INET6)
        return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
    return a->n == b->n && memcmp(&a->un, &b->un, a->n) == 0;
}

/* ---- blocks ---- */

enum { MAPPED_BITS = 96 }; /* ::ffff:0:0/96 holds IPv4, RFC 4291 2.5.5.2 */

/* False for what is no IP address. */
static bool sixteen_bytes(uint8_t out[16], const mg_addr *addr)
{
    if (addr->sa.sa_family == AF_INET6) {
        memcpy(out, &addr->in6.sin6_addr, 16);
        return true;
    }
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    memcpy(out + 12, &addr->in.sin_addr, 4);
    return addr->sa.sa_family == AF_INET;
}

static bool is_mapped(const uint8_t bytes[16])
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

    return memcmp(bytes, prefix, sizeof(prefix)) == 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    const unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool mg_cidr_parse(mg_cidr *cidr, mg_str text)
{
    const size_t slash = mg_str_find(text, '/');
    mg_addr addr;
    uint64_t bits;

    *cidr = (mg_cidr){ .is_unix = mg_str_eq(text, MG_STR("unix:")) };
    if (cidr->is_unix)
        return true;
    if (!mg_addr_from_ip(&addr, slash == SIZE_MAX ? text : mg_str_sub(text, 0, slash), 0))
        return false;
    const unsigned offset = addr.sa.sa_family == AF_INET ? MAPPED_BITS : 0;
    bits = 128 - offset;
    if (slash != SIZE_MAX && (!mg_str_u64(mg_str_sub(text, slash + 1, text.n), &bits) || bits > 128 - offset))
        return false;
    cidr->bits = (uint8_t)(bits + offset);
    return sixteen_bytes(cidr->bytes, &addr);
}

/* A block wider than IPv4's corner of IPv6 means IPv6 only: whoever trusts ::/0 did not speak of 203.0.113.9.
 */
bool mg_cidr_has(const mg_cidr *cidr, const mg_addr *addr)
{
    uint8_t bytes[16];

    if (cidr->is_unix)
        return addr->sa.sa_family == AF_UNIX;
    if (!sixteen_bytes(bytes, addr) || (cidr->bits < MAPPED_BITS && is_mapped(bytes)))
        return false;
    return same_bits(bytes, cidr->bytes, cidr->bits);
}

mg_result mg_addr_make_folder(const mg_addr *addr, unsigned mode, mg_error *err)
{
    char folder[sizeof addr->un.sun_path + 1], *slash;

    if (addr->sa.sa_family != AF_UNIX)
        return MG_OK;
    snprintf(folder, sizeof folder, "%.*s", (int)sizeof addr->un.sun_path, addr->un.sun_path);
    for (slash = strchr(folder + (folder[0] != '\0'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, mode) != 0 && errno != EEXIST) {
            const int why = errno;
            return mg_fail(err, MG_ERR_IO, "cannot make the folder %s for %s: %s", folder, addr->un.sun_path,
                           strerror(why));
        }
        *slash = '/';
    }
    return MG_OK;
}
