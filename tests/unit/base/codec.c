/* base64, base64url, hex and percent-encoding: the vectors of RFC 4648, what strict decoding refuses, and
 * random bytes there and back. */
#include "support/check.h"

#include "base/codec.h"
#include "base/mem.h"
#include "base/rand.h"

static char room[4096];

static mg_str encode(int codec, mg_str bytes)
{
    return mg_str_make(room, mg_codec_encode(codec, bytes, room));
}

static void is_text_of(int codec, mg_str bytes, const char *text)
{
    static char out[1024];
    size_t n, at;

    check_str(encode(codec, bytes), text);
    assert_null(mg_codec_decode(codec, mg_str_of(text), out, &n, &at));
    assert_true(mg_str_eq(mg_str_make(out, n), bytes));
}

static void the_vectors_of_rfc_4648(void **state)
{
    static const struct {
        const char *bytes, *base64, *base64url, *hex;
    } cases[] = {
        { "", "", "", "" },
        { "f", "Zg==", "Zg", "66" },
        { "fo", "Zm8=", "Zm8", "666f" },
        { "foo", "Zm9v", "Zm9v", "666f6f" },
        { "foob", "Zm9vYg==", "Zm9vYg", "666f6f62" },
        { "fooba", "Zm9vYmE=", "Zm9vYmE", "666f6f6261" },
        { "foobar", "Zm9vYmFy", "Zm9vYmFy", "666f6f626172" },
        { "\xfb\xff\xfe", "+//+", "-__-", "fbfffe" },
        { "\x14\xfb\x9c\x03\xd9\x7e", "FPucA9l+", "FPucA9l-", "14fb9c03d97e" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        const mg_str bytes = mg_str_of(cases[i].bytes);

        is_text_of(MG_CODEC_BASE64, bytes, cases[i].base64);
        is_text_of(MG_CODEC_BASE64URL, bytes, cases[i].base64url);
        is_text_of(MG_CODEC_HEX, bytes, cases[i].hex);
    }
    is_text_of(MG_CODEC_BASE64, MG_STR("\0\0"), "AAA=");
    is_text_of(MG_CODEC_PERCENT, MG_STR("a-B_9.~"), "a-B_9.~");
    is_text_of(MG_CODEC_PERCENT, MG_STR("/ +%&=\xc3\xa4\0"), "%2F%20%2B%25%26%3D%C3%A4%00");
}

static void what_is_no_text_of_bytes_is_refused(void **state)
{
    static const struct {
        int codec;
        const char *text;
        size_t at;
    } cases[] = {
        { MG_CODEC_BASE64, "Zg", 2 },       { MG_CODEC_BASE64, "Zg=", 3 },
        { MG_CODEC_BASE64, "Zg===", 2 },    { MG_CODEC_BASE64, "Zm9v=", 5 },
        { MG_CODEC_BASE64, "====", 0 },     { MG_CODEC_BASE64, "Z===", 1 },
        { MG_CODEC_BASE64, "Zh==", 1 },     { MG_CODEC_BASE64, "Zm9=", 2 },
        { MG_CODEC_BASE64, "Zg==Zg==", 2 }, { MG_CODEC_BASE64, "Zm9v\n", 4 },
        { MG_CODEC_BASE64, " Zm9v", 0 },    { MG_CODEC_BASE64, "-_-_", 0 },
        { MG_CODEC_BASE64, "Zm9\xc3", 3 },  { MG_CODEC_BASE64, "=", 1 },
        { MG_CODEC_BASE64, "A", 1 },        { MG_CODEC_BASE64URL, "Zg==", 2 },
        { MG_CODEC_BASE64URL, "Zh", 1 },    { MG_CODEC_BASE64URL, "Zm9vY", 5 },
        { MG_CODEC_BASE64URL, "+/+/", 0 },  { MG_CODEC_BASE64URL, "Zm 9v", 2 },
        { MG_CODEC_BASE64URL, "=", 0 },     { MG_CODEC_HEX, "6", 1 },
        { MG_CODEC_HEX, "6g", 1 },          { MG_CODEC_HEX, "0x66", 1 },
        { MG_CODEC_HEX, "66 6f", 2 },       { MG_CODEC_PERCENT, "%", 0 },
        { MG_CODEC_PERCENT, "a%2", 1 },     { MG_CODEC_PERCENT, "a%20%g0", 4 },
        { MG_CODEC_PERCENT, "%%20", 0 },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        char out[16];
        size_t n, at;
        const char *wrong = mg_codec_decode(cases[i].codec, mg_str_of(cases[i].text), out, &n, &at);

        if (!wrong || at != cases[i].at)
            print_error("%s: %s at %zu\n", cases[i].text, wrong ? wrong : "taken", at);
        assert_non_null(wrong);
        assert_int_equal(at, cases[i].at);
    }
}

static void hex_has_letters_of_either_case(void **state)
{
    char out[8];
    size_t n, at;

    (void)state;
    assert_null(mg_codec_decode(MG_CODEC_HEX, MG_STR("fBFf"), out, &n, &at));
    assert_true(mg_str_eq(mg_str_make(out, n), MG_STR("\xfb\xff")));
    assert_null(mg_codec_decode(MG_CODEC_PERCENT, MG_STR("%c3%A4+"), out, &n, &at));
    assert_true(mg_str_eq(mg_str_make(out, n), MG_STR("\xc3\xa4+")));
}

/* Random bytes come back; and a text that was changed in one byte is refused, or means other bytes. */
static void random_bytes_come_back(void **state)
{
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 4648);
    for (int round = 0; round < 20000; round++) {
        const int codec = (int)(mg_rand_next(&rand) % 3);
        char bytes[64], out[256], again[256];
        const size_t n = mg_rand_next(&rand) % sizeof(bytes);
        size_t back, at;
        mg_str text;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)mg_rand_next(&rand);
        text = encode(round % 4 == 3 ? MG_CODEC_PERCENT : codec, mg_str_make(bytes, n));
        assert_true(text.n <= mg_codec_room(n));
        assert_null(mg_codec_decode(round % 4 == 3 ? MG_CODEC_PERCENT : codec, text, out, &back, &at));
        assert_true(mg_str_eq(mg_str_make(out, back), mg_str_make(bytes, n)));
        if (round % 4 == 3 || codec == MG_CODEC_HEX || text.n == 0)
            continue;
        room[mg_rand_next(&rand) % text.n] = (char)mg_rand_next(&rand);
        if (mg_codec_decode(codec, text, out, &back, &at) == NULL) {
            const size_t length = mg_codec_encode(codec, mg_str_make(out, back), again);
            assert_true(mg_str_eq(mg_str_make(again, length), text)); /* so there is one text */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_rfc_4648),
        cmocka_unit_test(what_is_no_text_of_bytes_is_refused),
        cmocka_unit_test(hex_has_letters_of_either_case),
        cmocka_unit_test(random_bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
