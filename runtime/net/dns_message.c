/* dns_message.c - questions and answers as bytes. */
#include "net/dns_message.h"

#include "base/check.h"
#include "base/mem.h"

enum {
    HEADER = 12,
    TYPE_CNAME = 5,
    CLASS_IN = 1,
    FLAG_ANSWER = 0x8000,
    FLAG_OPCODE = 0x7800,
    FLAG_CUT = 0x0200,
    RCODE = 0x000f,
    NO_SUCH_NAME = 3,
    CHAIN_MAX = 16, /* CNAMEs in a row */
};

typedef struct cursor {
    const uint8_t *bytes;
    size_t n, at;
} cursor;

typedef struct record {
    char owner[MG_DNS_NAME_MAX + 2];
    unsigned type, class;
    uint32_t ttl;
    size_t data, data_n; /* where it stands */
} record;

static void put_u16(uint8_t *out, unsigned value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

size_t mg_dns_write_question(uint8_t out[MG_DNS_QUESTION_MAX], uint16_t id, mg_str name, unsigned type)
{
    size_t at = HEADER;
    mg_str label;

    MG_CHECK(name.n > 0 && name.n <= MG_DNS_NAME_MAX);
    memset(out, 0, HEADER);
    put_u16(out, id);
    out[2] = 1; /* recursion is wanted */
    out[5] = 1; /* one question */
    while (mg_str_cut(&name, '.', &label)) {
        MG_CHECK(label.n > 0 && label.n <= 63);
        out[at++] = (uint8_t)label.n;
        memcpy(out + at, label.p, label.n);
        at += label.n;
    }
    out[at++] = 0;
    put_u16(out + at, type);
    put_u16(out + at + 2, CLASS_IN);
    return at + 4;
}

static bool get_u16(cursor *c, unsigned *out)
{
    if (c->n - c->at < 2)
        return false;
    *out = (unsigned)c->bytes[c->at] << 8 | c->bytes[c->at + 1];
    c->at += 2;
    return true;
}

/* A label's bytes behind what stands in out, in lower case. A dot within a label could be taken for another
 * name. */
static bool add_label(const uint8_t *label, size_t n, char out[MG_DNS_NAME_MAX + 2], size_t *out_n)
{
    if (*out_n + (*out_n > 0) + n > MG_DNS_NAME_MAX)
        return false;
    if (*out_n > 0)
        out[(*out_n)++] = '.';
    for (size_t i = 0; i < n; i++) {
        if (label[i] == '.' || label[i] == 0)
            return false;
        out[(*out_n)++] = mg_lower((char)label[i]);
    }
    return true;
}

/* A pointer leads to where an earlier name stands: each is nearer to the beginning, so that there is an end.
 */
static bool get_name(cursor *c, char out[MG_DNS_NAME_MAX + 2])
{
    size_t at = c->at, before = c->at, n = 0;
    bool jumped = false;

    for (;;) {
        if (at >= c->n)
            return false;
        const unsigned length = c->bytes[at];
        if (length == 0)
            break;
        if (length >= 0xc0) {
            if (at + 1 >= c->n)
                return false;
            const size_t to = (length & 0x3f) << 8 | c->bytes[at + 1];
            if (!jumped)
                c->at = at + 2;
            jumped = true;
            if (to >= before)
                return false;
            at = before = to;
            continue;
        }
        if (length > 63 || c->n - at < length + 1u || !add_label(c->bytes + at + 1, length, out, &n))
            return false;
        at += length + 1u;
    }
    out[n] = 0;
    if (!jumped)
        c->at = at + 1;
    return true;
}

static bool get_record(cursor *c, record *r)
{
    unsigned high, low, data_n;

    if (!get_name(c, r->owner) || !get_u16(c, &r->type) || !get_u16(c, &r->class) || !get_u16(c, &high) ||
        !get_u16(c, &low) || !get_u16(c, &data_n) || c->n - c->at < data_n)
        return false;
    r->ttl = high & 0x8000 ? 0 : (uint32_t)high << 16 | low; /* RFC 2181, 8 */
    r->data = c->at;
    r->data_n = data_n;
    c->at += data_n;
    return true;
}

/* The header, and the question as it was asked. */
static bool get_head(cursor *c, uint16_t id, mg_str name, unsigned type, unsigned *flags, unsigned *answers)
{
    char asked[MG_DNS_NAME_MAX + 2];
    unsigned got_id, questions, authorities, more, got_type, class;

    return get_u16(c, &got_id) && get_u16(c, flags) && get_u16(c, &questions) && get_u16(c, answers) &&
           get_u16(c, &authorities) && get_u16(c, &more) && got_id == id && (*flags & FLAG_ANSWER) &&
           !(*flags & (FLAG_OPCODE | FLAG_CUT)) && questions == 1 && get_name(c, asked) &&
           get_u16(c, &got_type) && get_u16(c, &class) && mg_str_eq_c(name, asked) && got_type == type &&
           class == CLASS_IN;
}

static bool read_address(const uint8_t *data, size_t n, unsigned type, mg_addr *addr)
{
    memset(addr, 0, sizeof *addr);
    if (type == MG_DNS_A && n == 4) {
        addr->n = sizeof addr->in;
        addr->in.sin_family = AF_INET;
        memcpy(&addr->in.sin_addr, data, 4);
    } else if (type == MG_DNS_AAAA && n == 16) {
        addr->n = sizeof addr->in6;
        addr->in6.sin6_family = AF_INET6;
        memcpy(&addr->in6.sin6_addr, data, 16);
    } else {
        return false;
    }
    return true;
}

/* The records of `owner` in the answer: addresses are added, the name behind a CNAME replaces it. */
static bool read_records(cursor c, unsigned answers, unsigned type, char owner[MG_DNS_NAME_MAX + 2],
                         bool *moved, mg_resolved *out, unsigned *found)
{
    char next[MG_DNS_NAME_MAX + 2];
    record r;

    *moved = false;
    for (unsigned i = 0; i < answers; i++) {
        mg_addr addr;
        if (!get_record(&c, &r))
            return false;
        if (r.class != CLASS_IN || strcmp(r.owner, owner) != 0)
            continue;
        if (r.type == TYPE_CNAME) {
            cursor target = { c.bytes, r.data + r.data_n, r.data };
            if (!get_name(&target, next) || target.at != r.data + r.data_n)
                return false;
            *moved = true;
        } else if (r.type == type) {
            if (!read_address(c.bytes + r.data, r.data_n, type, &addr))
                return false;
            mg_resolved_add(out, &addr);
            ++*found;
        } else {
            continue;
        }
        out->ttl_s = r.ttl < out->ttl_s ? r.ttl : out->ttl_s;
    }
    if (*moved)
        memcpy(owner, next, sizeof next);
    return true;
}

mg_result mg_dns_read_answer(const uint8_t *bytes, size_t n, uint16_t id, mg_str name, unsigned type,
                             mg_resolved *out)
{
    cursor c = { bytes, n, 0 };
    char owner[MG_DNS_NAME_MAX + 2];
    unsigned flags, answers, found = 0;
    bool moved = true;

    if (!get_head(&c, id, name, type, &flags, &answers))
        return MG_ERR_INVALID;
    if ((flags & RCODE) == NO_SUCH_NAME)
        return MG_ERR_NOT_FOUND;
    if (flags & RCODE)
        return MG_ERR_IO;
    memcpy(owner, name.p, name.n);
    owner[name.n] = 0;
    out->ttl_s = INT32_MAX;
    for (unsigned hops = 0; moved && !found; hops++)
        if (hops > CHAIN_MAX || !read_records(c, answers, type, owner, &moved, out, &found))
            return MG_ERR_INVALID;
    return found ? MG_OK : MG_ERR_NOT_FOUND;
}
