/* Paths and queries beside models that work on a list of segments and byte by byte, and must agree on every
 * one. */
#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/uri.h"

enum { RAW_MAX = 48, SEGMENTS_MAX = RAW_MAX + 1 };

static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

/* A byte that no URI has bare (RFC 3986, appendix A) but for those that every client and server leaves:
 * written as its escape. */
static void model_byte(char c, mg_text *out)
{
    if ((unsigned char)c < 0x80 && (strchr(unreserved, c) || strchr("!$&'()*+,;=:@/?[]%", c)))
        mg_text_add_char(out, c);
    else
        mg_text_addf(out, "%%%02X", (unsigned char)c);
}

/* One form of every escape; false on one that is none. */
static bool model_escapes(mg_str raw, mg_text *out)
{
    for (size_t i = 0; i < raw.n; i++) {
        char digits[3] = "", c, *end;

        if (raw.p[i] != '%') {
            model_byte(raw.p[i], out);
            continue;
        }
        for (size_t d = 0; d < 2 && i + 1 + d < raw.n; d++)
            digits[d] = raw.p[i + 1 + d];
        c = (char)strtoul(digits, &end, 16);
        if (end != digits + 2 || !strchr("0123456789abcdefABCDEF", digits[0]) || c == 0)
            return false;
        if (strchr(unreserved, c))
            mg_text_add_char(out, c);
        else
            mg_text_addf(out, "%%%02X", (unsigned char)c);
        i += 2;
    }
    return true;
}

static bool model_segments(mg_str path, bool keep, mg_text *out)
{
    mg_str kept[SEGMENTS_MAX], part;
    size_t n = 0;
    bool slash = true; /* the result ends in one */

    mg_str_cut(&path, '/', &part);
    while (mg_str_cut(&path, '/', &part)) {
        slash = (part.n == 0 && (!keep || !path.p)) || mg_str_eq_c(part, ".") || mg_str_eq_c(part, "..");
        if (mg_str_eq_c(part, "..")) {
            if (n == 0)
                return false;
            n--;
        } else if (!slash) {
            kept[n++] = part;
        }
    }
    for (size_t i = 0; i < n; i++) {
        mg_text_add_char(out, '/');
        mg_text_add(out, kept[i]);
    }
    if (slash || n == 0)
        mg_text_add_char(out, '/');
    return true;
}

static bool model_normalise(mg_str raw, bool keep, mg_text *out)
{
    mg_text decoded = { 0 };
    bool ok;

    raw.n = strcspn(raw.p, "?#");
    ok = raw.n > 0 && raw.p[0] == '/' && strcspn(raw.p, " \x7f\x01") >= raw.n &&
         model_escapes(raw, &decoded) && model_segments(mg_text_str(&decoded), keep, out);
    mg_text_fini(&decoded);
    return ok;
}

static void make_raw(char *raw, mg_rand *rand)
{
    static const char *const parts[] = { "/",   "/",   "/",    ".",    "..",   "a",    "bc",
                                         "%2e", "%2E", "%2f",  "%2F",  "%41",  "%7e",  "%c3",
                                         "%5B", "//",  "/.",   "/..",  "|",    ":",    "/a",
                                         "/b",  "%00", "%4",   "\"",   "{",    "}",    "`",
                                         "^",   "<",   ">",    "\\",   "\x80", "\xff", "\xc3\xa9",
                                         "%zz", " ",   "\x7f", "\x01", "?",    "#" };
    size_t choices = mg_rand_below(rand, 3) ? 22 : mg_rand_below(rand, 3) ? 35 : mg_countof(parts);

    strcpy(raw, mg_rand_below(rand, 50) ? "/" : "");
    if (mg_rand_below(rand, 4) == 0)
        strcpy(raw, "/orders/12-ab_C/x.y"); /* plain for longer than is looked at at once */
    for (uint64_t n = mg_rand_below(rand, 8); n; n--) {
        const char *part = parts[mg_rand_below(rand, choices)];

        if (strlen(raw) + strlen(part) < RAW_MAX)
            strcat(raw, part);
    }
}

static void a_path_is_normalised_as_the_model_does_it(void **state)
{
    unsigned accepted = 0, runs = 200000;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(2));
    for (unsigned run = 0; run < runs; run++) {
        char raw[RAW_MAX + 1];
        mg_text expected = { 0 };
        mg_arena arena;
        mg_str out;
        const bool keep = mg_rand_below(&rand, 2);
        bool ok, model_ok;

        make_raw(raw, &rand);
        mg_arena_init(&arena, NULL, 0);
        ok = mg_uri_normalise_path(&arena, mg_str_of(raw), keep ? MG_URI_KEEP_SLASHES : 0, &out);
        model_ok = model_normalise(mg_str_of(raw), keep, &expected);
        if (ok != model_ok || (ok && !mg_str_eq(out, mg_text_str(&expected)))) {
            print_error("%s (%d): %d \"%.*s\", model %d \"%.*s\"\n", raw, keep, ok,
                        MG_STR_ARGS(ok ? out : MG_STR("")), model_ok, MG_STR_ARGS(mg_text_str(&expected)));
            fail();
        }
        accepted += ok;
        mg_text_fini(&expected);
        mg_arena_fini(&arena);
    }
    assert_in_range(accepted, runs / 4, runs - runs / 10);
}

static void a_query_is_normalised_as_the_model_does_it(void **state)
{
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(7));
    for (unsigned run = 0; run < 100000; run++) {
        char raw[RAW_MAX];
        const size_t n = mg_rand_below(&rand, sizeof(raw) + 1);
        mg_text expected = { 0 };
        mg_arena arena;
        mg_str out, again;

        /* Mostly bytes that may be there, so that many have nothing to be escaped. */
        for (size_t i = 0; i < n; i++)
            raw[i] = mg_rand_below(&rand, 12) ? (char)(0x21 + mg_rand_below(&rand, 0x5e))
                                              : (char)(0x80 + mg_rand_below(&rand, 0x80));
        for (size_t i = 0; i < n; i++)
            raw[i] = raw[i] == '#' ? 'a' : raw[i];
        for (size_t i = 0; i < n; i++)
            model_byte(raw[i], &expected);
        mg_arena_init(&arena, NULL, 0);
        out = mg_uri_normalise_query(&arena, mg_str_make(raw, n));
        again = mg_uri_normalise_query(&arena, out);
        assert_true(mg_str_eq(out, mg_text_str(&expected)));
        assert_ptr_equal(again.p, out.p);
        assert_int_equal(out.p == raw, out.n == n); /* copied only where it changes */
        mg_arena_fini(&arena);
        mg_text_fini(&expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_normalised_as_the_model_does_it),
        cmocka_unit_test(a_query_is_normalised_as_the_model_does_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
