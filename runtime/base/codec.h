/* codec.h - bytes as text and back: base64 and base64url (RFC 4648 4 and 5), hex (8), percent-encoding
 * (RFC 3986 2.1). Pure; any thread. */
#ifndef MG_BASE_CODEC_H
#define MG_BASE_CODEC_H

#include "base/str.h"
#include "moongate.h"

/* Room that is enough for the text of so many bytes, whatever the codec. */
static inline size_t mg_codec_room(size_t n)
{
    return 3 * n + 4;
}

/* Writes the text of the bytes, without NUL, and returns its length. base64 is padded, base64url is not; hex
 * is lower-case; percent-encoding leaves unreserved bytes alone. `codec` is one of enum mg_codec. */
size_t mg_codec_encode(int codec, mg_str bytes, char *out);

/* Writes the bytes of a text into `out`, which has room for as many as the text has, and their number into
 * *n. Strict: there is one text of base64, base64url for the same bytes; of hex there are the two cases of
 * its letters. Returns NULL, or static text that says what is wrong at the byte *at, from 0. */
const char *mg_codec_decode(int codec, mg_str text, char *out, size_t *n, size_t *at);

#endif
