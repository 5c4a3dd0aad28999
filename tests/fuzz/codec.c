/* Any bytes as a text of each codec, and as bytes: what is taken has one text, and all bytes come back. */
#include "base/codec.h"
#include "base/check.h"
#include "base/mem.h"

static void check_text(int codec, mg_str text)
{
    char *bytes = mg_alloc(text.n + 1); /* one byte more than may be written, so that none is no size */
    char *again = mg_alloc(mg_codec_room(text.n));
    size_t n, at;

    if (mg_codec_decode(codec, text, bytes, &n, &at)) {
        MG_CHECK(at <= text.n);
    } else {
        MG_CHECK(n <= text.n);
        const mg_str back = mg_str_make(again, mg_codec_encode(codec, mg_str_make(bytes, n), again));
        if (codec == MG_CODEC_HEX)
            MG_CHECK(mg_str_eq_nocase(back, text));
        else if (codec != MG_CODEC_PERCENT)
            MG_CHECK(mg_str_eq(back, text));
    }
    mg_free(again);
    mg_free(bytes);
}

static void check_bytes(int codec, mg_str bytes)
{
    char *text = mg_alloc(mg_codec_room(bytes.n));
    const size_t length = mg_codec_encode(codec, bytes, text);
    char *back = mg_alloc(length + 1);
    size_t n, at;

    MG_CHECK(length <= mg_codec_room(bytes.n));
    MG_CHECK(!mg_codec_decode(codec, mg_str_make(text, length), back, &n, &at));
    MG_CHECK(mg_str_eq(mg_str_make(back, n), bytes));
    mg_free(back);
    mg_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = mg_alloc(size ? size : 1);

    if (size)
        memcpy(copy, data, size);
    for (int codec = MG_CODEC_BASE64; codec <= MG_CODEC_PERCENT; codec++) {
        check_text(codec, mg_str_make(copy, size));
        check_bytes(codec, mg_str_make(copy, size));
    }
    mg_free(copy);
    return 0;
}
