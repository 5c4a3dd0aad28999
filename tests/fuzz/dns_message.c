/* Any bytes as the answer of a name server: nothing is read beyond them, and what is taken is in order. The
 * first two bytes choose what was asked. */
#include "net/dns_message.h"

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const mg_resolved *answer, unsigned type)
{
    MG_CHECK(answer->count > 0 && answer->count <= MG_RESOLVE_MAX && answer->ttl_s <= INT32_MAX);
    for (unsigned i = 0; i < answer->count; i++) {
        MG_CHECK(answer->addrs[i].sa.sa_family == (type == MG_DNS_A ? AF_INET : AF_INET6));
        MG_CHECK(i == 0 || !mg_addr_eq(&answer->addrs[i - 1], &answer->addrs[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[] = { "a", "db.internal", "x.y.z" };
    mg_resolved answer = { 0 };
    uint8_t question[MG_DNS_QUESTION_MAX];

    if (n < 2)
        return 0;
    const mg_str name = mg_str_of(names[data[0] % 3]);
    const unsigned type = data[1] & 1 ? MG_DNS_A : MG_DNS_AAAA;
    const uint16_t id = n < 4 ? 0 : (uint16_t)(data[2] << 8 | data[3]);
    if (mg_dns_read_answer(data + 2, n - 2, id, name, type, &answer) == MG_OK)
        check(&answer, type);
    /* A question is no answer to itself. */
    const size_t length = mg_dns_write_question(question, id, name, type);
    MG_CHECK(mg_dns_read_answer(question, length, id, name, type, &answer) == MG_ERR_INVALID);
    return 0;
}
