/* sdk_codec.c - base/codec for Lua. */
#include "base/codec.h"

uint32_t mg_encode(int codec, const char *bytes, uint32_t n, char *out)
{
    return (uint32_t)mg_codec_encode(codec, mg_str_make(bytes, n), out);
}

const char *mg_decode(int codec, const char *text, uint32_t n, char *out, uint32_t *length, uint32_t *at)
{
    size_t out_n, where;
    const char *wrong = mg_codec_decode(codec, mg_str_make(text, n), out, &out_n, &where);

    *length = (uint32_t)out_n;
    *at = (uint32_t)where;
    return wrong;
}
