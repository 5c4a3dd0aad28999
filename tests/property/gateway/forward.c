/* Whom a request is from, beside a model that writes the whole list down first and then walks it; and what is
 * told to the next hop, which must find the same client. */
#include "gateway/request/forward.h"

#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/bytes.h"
#include "http/forwarded.h"

#include <strings.h>

enum { LINES_MAX = 4, LINE_BYTES = 4096, MODEL_HOPS = 512, RUNS = 60000 };

#define TRUSTED_PEER "10.9.9.9"

/* ---- what a request says ---- */

typedef struct said {
    char x_for[LINES_MAX][LINE_BYTES], forwarded[LINES_MAX][LINE_BYTES];
    unsigned x_for_n, forwarded_n;
    const char *proto; /* of X-Forwarded-Proto; NULL: none */
    bool by_forwarded, trusted;
} said;

static const char *any(mg_rand *rand, const char *const *texts, size_t count)
{
    return texts[mg_rand_below(rand, count)];
}

#define ANY(rand, ...)                                                                                       \
    any(rand, (const char *const[]){ __VA_ARGS__ },                                                          \
        sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

/* Mostly proxies that are trusted, so that walks are long. */
static const char *make_node(mg_rand *rand)
{
    if (mg_rand_below(rand, 3))
        return ANY(rand, "10.0.0.1", "10.1.2.3:80", "[fd00::1]:443", "fd00::2", "[fd00::3]",
                   "::ffff:10.0.0.7", "10.0.0.4:1");
    return ANY(rand, "203.0.113.9", "203.0.113.9:5123", "[2001:db8::1]:443", "2001:DB8::2", "unknown",
               "_hidden", "", "10.0.0.1:", "10.0.0.1:99999999", "010.0.0.1", "[10.0.0.1]", "[fd00::1",
               "[fd00::1]x", "fd00::1%eth0", "nonsense", "10.0.0.1 10.0.0.2", "[::ffff:192.0.2.1]:1");
}

static void add(char *line, const char *text)
{
    if (strlen(line) + strlen(text) < LINE_BYTES)
        strcat(line, text);
}

static void make_element(char *line, mg_rand *rand)
{
    const bool quoted = mg_rand_below(rand, 2);

    if (!mg_rand_below(rand, 6))
        add(line, ANY(rand, "", "for", "=", "by=1.1.1.1", ";;", "x=\"", "\"", "for=10.0.0.1;for=10.0.0.1",
                      "proto=https", "x=\"\\\"", "x=\\", "for=10.0.0.1 x"));
    if (mg_rand_below(rand, 8)) {
        add(line, ANY(rand, "for=", "FOR=", " For="));
        add(line, quoted ? "\"" : "");
        add(line, make_node(rand));
        add(line, quoted ? "\"" : "");
    }
    if (mg_rand_below(rand, 2)) {
        add(line, ANY(rand, ";", " ; "));
        add(line, ANY(rand, "proto=https", "proto=http", "PROTO=\"HTTPS\"", "proto=ftp", "x=\"a, for=b\"",
                      "x=\"\\\", for=10.0.0.1\"", "host=a.example", "host=\"b:81\"", "host=\"/\"", ""));
    }
}

static void make_list(char *line, mg_rand *rand, bool forwarded)
{
    const unsigned n =
        (unsigned)(mg_rand_below(rand, 60) ? mg_rand_below(rand, 5) : 60 + mg_rand_below(rand, 9));

    line[0] = 0;
    for (unsigned i = 0; i < n; i++) {
        add(line, i ? ANY(rand, ",", ", ", " ,\t", ",,") : "");
        if (forwarded)
            make_element(line, rand);
        else
            add(line, make_node(rand));
    }
}

static void make_said(said *s, mg_rand *rand)
{
    s->x_for_n = (unsigned)mg_rand_below(rand, LINES_MAX);
    s->forwarded_n = (unsigned)mg_rand_below(rand, LINES_MAX);
    for (unsigned i = 0; i < s->x_for_n; i++)
        make_list(s->x_for[i], rand, false);
    for (unsigned i = 0; i < s->forwarded_n; i++)
        make_list(s->forwarded[i], rand, true);
    s->proto = ANY(rand, NULL, NULL, "https", "http", "http, HTTPS", "https,wss");
    s->by_forwarded = mg_rand_below(rand, 2);
    s->trusted = mg_rand_below(rand, 8);
}

/* ---- the model ---- */

typedef struct model_hop {
    char node[LINE_BYTES]; /* "": names nobody */
    int https;             /* -1: not told */
} model_hop;

typedef struct model {
    model_hop hops[MODEL_HOPS]; /* from the left */
    unsigned n;
} model;

static int scheme_of(const char *text)
{
    return strcasecmp(text, "https") == 0 ? 1 : strcasecmp(text, "http") == 0 ? 0 : -1;
}

static void trim(char *text)
{
    size_t from = strspn(text, " \t"), n = strlen(text);

    while (n > from && strchr(" \t", text[n - 1]))
        n--;
    memmove(text, text + from, n - from);
    text[n - from] = 0;
}

/* Reads one element by hand. False: malformed. */
static bool model_element(char *text, model_hop *hop)
{
    bool has_for = false, has_proto = false, has_host = false;

    while (*text) {
        char name[LINE_BYTES] = "", value[LINE_BYTES] = "";
        size_t n = 0;

        text += strspn(text, " \t;");
        if (!*text)
            break;
        const char *equals = strchr(text, '=');
        if (!equals)
            return false;
        memcpy(name, text, (size_t)(equals - text));
        if (!*name || strcspn(name, " \t;\"\\:/[]") != strlen(name))
            return false;
        text += equals - text + 1;
        if (*text == '"') {
            for (text++; *text != '"'; text++) {
                text += *text == '\\';
                if (!*text)
                    return false;
                value[n++] = *text;
            }
            text++;
        } else {
            while (*text && !strchr("; \t\"", *text))
                value[n++] = *text++;
        }
        text += strspn(text, " \t");
        if (*text && *text != ';')
            return false;
        bool *has = strcasecmp(name, "for") == 0     ? &has_for
                    : strcasecmp(name, "proto") == 0 ? &has_proto
                    : strcasecmp(name, "host") == 0  ? &has_host
                                                     : NULL;
        if (has && *has)
            return false;
        if (has)
            *has = true;
        if (has == &has_for)
            strcpy(hop->node, value);
        if (has == &has_proto)
            hop->https = scheme_of(value);
    }
    return true;
}

static void model_member(model *m, char *text, bool forwarded)
{
    model_hop *hop = &m->hops[m->n++];

    assert_true(m->n < MODEL_HOPS);
    *hop = (model_hop){ .https = -1 };
    trim(text);
    if (!*text) {
        strcpy(hop->node, "empty");
        return;
    }
    if (!forwarded) {
        strcpy(hop->node, text);
    } else if (!model_element(text, hop)) {
        *hop = (model_hop){ .https = -1 };
    }
}

/* One line to members. A string that does not end makes one member of it that says nothing. */
static void model_line(model *m, const char *line, bool forwarded)
{
    const unsigned before = m->n;
    bool quoted = false;
    char member[LINE_BYTES];
    size_t n = 0;

    for (;; line++) {
        if (!*line || (*line == ',' && !quoted)) {
            member[n] = 0;
            model_member(m, member, forwarded);
            n = 0;
            if (!*line)
                break;
            continue;
        }
        member[n++] = *line;
        if (forwarded && quoted && *line == '\\' && line[1])
            member[n++] = *++line;
        else if (forwarded && *line == '"')
            quoted = !quoted;
    }
    if (quoted) {
        m->n = before + 1;
        m->hops[before] = (model_hop){ .https = -1 };
    }
}

static bool digits(const char *text)
{
    const size_t n = strlen(text);

    return n >= 1 && n <= 5 && strspn(text, "0123456789") == n;
}

/* Every form an address may have, one after the other. */
static bool model_address(char *node, mg_addr *addr)
{
    char *end = strchr(node, ']'), *colon = strchr(node, ':');

    if (mg_addr_from_ip(addr, mg_str_of(node), 0))
        return true;
    if (node[0] == '[' && end && (!end[1] || (end[1] == ':' && digits(end + 2)))) {
        *end = 0;
        return strchr(node, ':') && mg_addr_from_ip(addr, mg_str_of(node + 1), 0);
    }
    if (colon && digits(colon + 1)) {
        *colon = 0;
        return strchr(node, '.') && mg_addr_from_ip(addr, mg_str_of(node), 0);
    }
    return false;
}

static void model_walk(model *m, char client[MG_ADDR_TEXT], int *https)
{
    for (unsigned seen = 0; m->n && seen < MG_HOPS_MAX; seen++) {
        model_hop *hop = &m->hops[--m->n];
        mg_addr addr;

        if (strcmp(hop->node, "empty") == 0)
            continue;
        if (hop->https >= 0)
            *https = hop->https;
        if (!model_address(hop->node, &addr))
            return;
        mg_addr_ip_text(&addr, client);
        if (strncmp(client, "10.", 3) != 0 && strncmp(client, "fd", 2) != 0)
            return;
    }
}

static model scratch;

static void model_asker(const said *s, char client[MG_ADDR_TEXT], int *https)
{
    const bool forwarded = s->by_forwarded || (!s->x_for_n && !s->proto);

    *https = 0;
    strcpy(client, s->trusted ? TRUSTED_PEER : "192.0.2.77");
    if (!s->trusted)
        return;
    scratch.n = 0;
    for (unsigned i = 0; i < (forwarded ? s->forwarded_n : s->x_for_n); i++)
        model_line(&scratch, forwarded ? s->forwarded[i] : s->x_for[i], forwarded);
    model_walk(&scratch, client, https);
    if (!forwarded && s->proto && strcasestr(s->proto, "https") && !strstr(s->proto, "wss"))
        *https = 1;
}

/* ---- the test ---- */

static mg_cidr trusted[2];

static void begin(mg_exchange *x, bool is_trusted)
{
    *x = (mg_exchange){ .peer_trusted = is_trusted,
                        .peer = mg_str_of(is_trusted ? TRUSTED_PEER : "192.0.2.77") };
    mg_arena_init(&x->arena, NULL, 0);
    x->request.scheme = MG_STR("http");
    x->request.authority = MG_STR("shop.example:81");
}

static void say(mg_exchange *x, mg_name id, const char *text)
{
    if (text)
        mg_fields_add(&x->request.fields, &x->arena, id, mg_name_text(id), mg_byte_trim(mg_str_of(text)));
}

static void begin_as(mg_exchange *x, const said *s)
{
    begin(x, s->trusted);
    for (unsigned i = 0; i < LINES_MAX; i++) {
        if (i < s->forwarded_n)
            say(x, MG_NAME_FORWARDED, s->forwarded[i]);
        if (i < s->x_for_n)
            say(x, MG_NAME_X_FORWARDED_FOR, s->x_for[i]);
        say(x, MG_NAME_VIA, "1.1 edge");
    }
    say(x, MG_NAME_X_FORWARDED_PROTO, s->proto);
}

static void explain(const said *s)
{
    for (unsigned i = 0; i < s->x_for_n; i++)
        print_error("X-Forwarded-For: %s\n", s->x_for[i]);
    for (unsigned i = 0; i < s->forwarded_n; i++)
        print_error("Forwarded: %s\n", s->forwarded[i]);
    print_error("X-Forwarded-Proto: %s, trusted %d, by forwarded %d\n", s->proto ? s->proto : "-", s->trusted,
                s->by_forwarded);
}

static uint32_t count_of(const mg_exchange *x, mg_name id)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < x->request.fields.count; i++)
        n += x->request.fields.items[i].id == id;
    return n;
}

/* The next hop trusts us, and reads either way of telling. */
static void check_next_hop(const mg_exchange *x, const said *s, mg_str client)
{
    for (int by_forwarded = 0; by_forwarded < 2; by_forwarded++) {
        const mg_forward_rules rules = { .trusted = trusted,
                                         .trusted_count = 2,
                                         .by_forwarded = by_forwarded };
        mg_forward_caller caller;
        mg_exchange next;

        begin(&next, true);
        for (uint32_t i = 0; i < x->request.fields.count; i++) {
            const mg_field *f = &x->request.fields.items[i];
            mg_fields_add(&next.request.fields, &next.arena, f->id, mg_str_make(f->name, f->name_n),
                          mg_str_make(f->value, f->value_n));
        }
        const mg_str again = mg_forward_receive(&next, &rules, &caller);
        if (!mg_str_eq(again, client) || !mg_str_eq(next.request.scheme, x->request.scheme)) {
            explain(s);
            print_error("client %.*s (%.*s), behind us %.*s (%.*s)\n", MG_STR_ARGS(client),
                        MG_STR_ARGS(x->request.scheme), MG_STR_ARGS(again), MG_STR_ARGS(next.request.scheme));
            fail();
        }
        mg_arena_fini(&next.arena);
    }
}

static bool is_long(const said *s)
{
    for (unsigned i = 0; i < LINES_MAX; i++)
        if ((i < s->x_for_n && strlen(s->x_for[i]) > 300) ||
            (i < s->forwarded_n && strlen(s->forwarded[i]) > 300))
            return true;
    return false;
}

static void the_client_is_the_one_the_model_finds(void **state)
{
    static said s;
    unsigned beyond = 0, secure = 0;
    mg_rand rand;
    (void)state;

    assert_true(mg_cidr_parse(&trusted[0], MG_STR("10.0.0.0/8")));
    assert_true(mg_cidr_parse(&trusted[1], MG_STR("fd00::/8")));
    mg_rand_init(&rand, check_seed(7));
    for (unsigned run = 0; run < RUNS; run++) {
        char want[MG_ADDR_TEXT];
        mg_forward_caller caller;
        mg_exchange x;
        int https;

        make_said(&s, &rand);
        const mg_forward_rules rules = { .trusted = trusted,
                                         .trusted_count = 2,
                                         .by_forwarded = s.by_forwarded };
        begin_as(&x, &s);
        const mg_str client = mg_forward_receive(&x, &rules, &caller);
        model_asker(&s, want, &https);
        if (!mg_str_eq_c(client, want) || mg_str_eq_c(x.request.scheme, "https") != https) {
            explain(&s);
            print_error("client %.*s (%.*s), model %s (%d)\n", MG_STR_ARGS(client),
                        MG_STR_ARGS(x.request.scheme), want, https);
            fail();
        }
        for (mg_name id = MG_NAME_FORWARDED; id <= MG_NAME_X_FORWARDED_HOST; id++)
            assert_int_equal(count_of(&x, id), 1);
        assert_int_equal(count_of(&x, MG_NAME_VIA), LINES_MAX);
        assert_true(mg_str_eq(mg_fields_get(&x.request.fields, MG_NAME_X_FORWARDED_PROTO), x.request.scheme));
        if (!s.trusted)
            assert_true(mg_str_eq(mg_fields_get(&x.request.fields, MG_NAME_X_FORWARDED_FOR), x.peer));
        else if (!is_long(&s))
            check_next_hop(&x, &s, client);
        beyond += !mg_str_eq(client, x.peer);
        secure += https;
        mg_arena_fini(&x.arena);
    }
    assert_true(beyond > RUNS / 4 && secure > RUNS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_is_the_one_the_model_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
