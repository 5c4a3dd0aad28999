/* dns_message.h - questions to name servers and their answers as bytes (RFC 1035, 4), for what is asked over
 * TCP. Answers come from outside: what is not exactly right is refused. Pure: any thread. */
#ifndef MG_NET_DNS_MESSAGE_H
#define MG_NET_DNS_MESSAGE_H

#include "net/resolver.h"

enum {
    MG_DNS_A = 1,
    MG_DNS_AAAA = 28,
    MG_DNS_NAME_MAX = 253,
    MG_DNS_QUESTION_MAX = 12 + MG_DNS_NAME_MAX + 2 + 4,
};

/* "db.internal", in lower case and without a dot at its end: labels of 1 to 63 bytes, none of them a dot.
 * Returns the length. */
size_t mg_dns_write_question(uint8_t out[MG_DNS_QUESTION_MAX], uint16_t id, mg_str name, unsigned type);

/* Adds to `out` the addresses that the answer has for this question, by way of CNAMEs, and sets its TTL: the
 * least on that way, 0 to 2^31-1. OK; NOT_FOUND: there is no such name, or it has none of this type; IO: the
 * server cannot say; INVALID: that is no answer to it. */
mg_result mg_dns_read_answer(const uint8_t *bytes, size_t n, uint16_t id, mg_str name, unsigned type,
                             mg_resolved *out);

#endif
