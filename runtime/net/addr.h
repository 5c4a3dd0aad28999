/* addr.h - where a socket is: IPv4, IPv6 or a Unix path, by value. Any thread. */
#ifndef MG_NET_ADDR_H
#define MG_NET_ADDR_H

#include "base/err.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct mg_addr {
    socklen_t n;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
} mg_addr;

enum { MG_ADDR_TEXT = 128 };

/* A bind: ":8080" (all addresses, IPv6 with IPv4 mapped where the system has it, else IPv4), "127.0.0.1:80",
 * "[::1]:80", "unix:path". */
MG_MUST_USE mg_result mg_addr_parse_bind(mg_addr *addr, mg_str text, mg_error *err);
/* An IP literal (no brackets) and a port. False when `ip` is not a literal. */
bool mg_addr_from_ip(mg_addr *addr, mg_str ip, uint16_t port);
/* The address without its port, IPv4-mapped IPv6 as IPv4: "203.0.113.9", "2001:db8::1", "unix:". Returns the
 * length. */
size_t mg_addr_ip_text(const mg_addr *addr, char out[MG_ADDR_TEXT]);
size_t mg_addr_text(const mg_addr *addr, char out[MG_ADDR_TEXT]); /* with port, brackets for IPv6 */
uint16_t mg_addr_port(const mg_addr *addr);
bool mg_addr_eq(const mg_addr *a, const mg_addr *b);
/* Makes the folders of a Unix path that are missing, with this mode. Nothing to do for other addresses. */
MG_MUST_USE mg_result mg_addr_make_folder(const mg_addr *addr, unsigned mode, mg_error *err);

/* A block of addresses: "10.0.0.0/8", "2001:db8::/32", or one address; or "unix:", all peers on unix sockets.
 */
typedef struct mg_cidr {
    uint8_t bytes[16]; /* IPv4 as mapped */
    uint8_t bits;      /* of 128 */
    bool is_unix;      /* these alone */
} mg_cidr;

bool mg_cidr_parse(mg_cidr *cidr, mg_str text);
bool mg_cidr_has(const mg_cidr *cidr, const mg_addr *addr);

#endif
