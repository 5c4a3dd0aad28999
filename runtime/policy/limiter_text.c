/* limiter_text.c - what a limiter's clients see: the RateLimit fields
 * (draft-ietf-httpapi-ratelimit-headers-10) and Retry-After; and the addresses that share a bucket. */
#include "policy/limiter.h"

#include "base/check.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <string.h>

enum { RULE_NAME_MAX = 64 };

static uint64_t seconds_ceil(uint64_t ms)
{
    return ms / 1000 + (ms % 1000 != 0);
}

uint64_t mg_limiter_retry_after_s(int64_t retry_ms)
{
    return retry_ms <= 0 ? 0 : seconds_ceil((uint64_t)retry_ms);
}

static char *put_bytes(char *at, const char *text, size_t n)
{
    memcpy(at, text, n);
    return at + n;
}

static char *put_name(char *out, const char *name, size_t n)
{
    MG_CHECK(n <= RULE_NAME_MAX);
    return put_bytes(put_bytes(put_bytes(out, "\"", 1), name, n), "\"", 1);
}

/* ";q=" and a number. */
static char *put_member(char *at, char key, uint64_t number)
{
    const char start[3] = { ';', key, '=' };

    at = put_bytes(at, start, sizeof(start));
    return at + mg_u64_write(at, number);
}

size_t mg_limiter_policy_header(char out[MG_LIMITER_HEADER_BYTES], const char *name, size_t n, uint64_t quota,
                                uint64_t window_ms)
{
    char *at = put_member(put_name(out, name, n), 'q', quota);

    if (window_ms && window_ms % 1000 == 0)
        at = put_member(at, 'w', window_ms / 1000);
    *at = '\0';
    return (size_t)(at - out);
}

size_t mg_limiter_state_header(char out[MG_LIMITER_HEADER_BYTES], const char *name, size_t n,
                               uint64_t remaining, uint64_t reset_ms, int64_t retry_ms)
{
    const uint64_t t = retry_ms > 0 ? mg_limiter_retry_after_s(retry_ms) : seconds_ceil(reset_ms);
    char *at = put_member(put_member(put_name(out, name, n), 'r', remaining), 't', t);

    *at = '\0';
    return (size_t)(at - out);
}

static void mask(uint8_t *addr, size_t bytes, unsigned prefix)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned bits = prefix > 8 * i ? prefix - 8 * (unsigned)i : 0;

        if (bits < 8)
            addr[i] &= (uint8_t)(0xff00 >> bits);
    }
}

size_t mg_limiter_addr_key(uint8_t out[MG_LIMITER_ADDR_KEY_BYTES], const uint8_t *addr, size_t addr_bytes,
                           unsigned ipv4_prefix, unsigned ipv6_prefix)
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }; /* RFC 4291 2.5.5.2 */

    if (addr_bytes == 16 && memcmp(addr, mapped, sizeof(mapped)) == 0) {
        addr += sizeof(mapped);
        addr_bytes = 4;
    }
    if (addr_bytes != 4 && addr_bytes != 16)
        return 0;
    out[0] = addr_bytes == 4 ? 4 : 6;
    memcpy(out + 1, addr, addr_bytes);
    mask(out + 1, addr_bytes, addr_bytes == 4 ? ipv4_prefix : ipv6_prefix);
    return 1 + addr_bytes;
}

size_t mg_limiter_ip_key(char out[MG_LIMITER_IP_KEY_BYTES], const char *ip, size_t n, unsigned ipv4_prefix,
                         unsigned ipv6_prefix)
{
    uint8_t addr[16], key[MG_LIMITER_ADDR_KEY_BYTES];
    char text[INET6_ADDRSTRLEN];
    size_t bytes;

    if (n >= sizeof(text))
        return 0;
    memcpy(text, ip, n);
    text[n] = '\0';
    if (inet_pton(AF_INET, text, addr) == 1)
        bytes = 4;
    else if (inet_pton(AF_INET6, text, addr) == 1)
        bytes = 16;
    else
        return 0;
    bytes = mg_limiter_addr_key(key, addr, bytes, ipv4_prefix, ipv6_prefix);
    char *at = out;
    if (bytes == 5) {
        for (int i = 1; i < 5; i++) {
            at += mg_u64_write(at, key[i]);
            *at++ = i < 4 ? '.' : '/';
        }
        at += mg_u64_write(at, ipv4_prefix);
    } else {
        MG_CHECK(inet_ntop(AF_INET6, key + 1, text, sizeof(text)));
        at = put_bytes(put_bytes(at, text, strlen(text)), "/", 1);
        at += mg_u64_write(at, ipv6_prefix);
    }
    *at = '\0';
    return (size_t)(at - out);
}
