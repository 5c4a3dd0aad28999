/* uri.h - split, decode, normalise; refuses what two parsers could read two ways (docs/policies.md 3, RFC
 * 3986). Pure: any thread, one at a time on one arena. */
#ifndef MG_HTTP_URI_H
#define MG_HTTP_URI_H

#include "base/arena.h"

/* The normalised path of a raw one: "?" and "#" parts dropped; only escapes of unreserved characters decoded,
 * the rest upper-case; bytes that clients send bare though a URI has none of them (MG_BYTE_RAW: '"', "{",
 * those beyond ASCII, ..) written as %XX; slashes merged; "." and ".." resolved. False on a bad escape, %00,
 * a blank, a control, or climbing above "/". *out is raw itself when nothing changed, else arena memory; it
 * may be three times as long. `keep` is 0, or bits that leave something as it stands. */
enum {
    MG_URI_KEEP_BRACES = 1, /* "{" and "}", which mark the parameters of a template */
    MG_URI_KEEP_SLASHES =
        2, /* slashes side by side: an empty segment is one that ".." takes away (RFC 3986 5.2.4) */
};
bool mg_uri_normalise_path(mg_arena *arena, mg_str raw, unsigned keep, mg_str *out);

/* The normalised query of a raw one: MG_BYTE_RAW bytes written as %XX, the rest as it is. `raw` itself when
 * nothing changed, else arena memory. */
mg_str mg_uri_normalise_query(mg_arena *arena, mg_str raw);

/* Cuts "/path?query" in two, both as they stand; *query is {NULL, 0} without one. *bare: some byte is
 * MG_BYTE_RAW. Returns NULL, or the first byte that a client must not send there: a blank, a control, "#", or
 * "\" in the path. */
const char *mg_uri_split(mg_str text, mg_str *path, mg_str *query, bool *bare);

/* True when two slashes stand side by side in the path, so that KEEP_SLASHES may give another one. */
bool mg_uri_has_empty_segment(mg_str path);
/* True when a segment of the path is "." or "..", its dots escaped or not. */
bool mg_uri_has_dots(mg_str path);

/* Percent-decodes into arena memory (or returns `raw` itself when there is nothing to do). `raw` is valid
 * already. */
mg_str mg_uri_decode(mg_arena *arena, mg_str raw);

/* RFC 3986 3.2: reg-name, IPv4 or [IPv6], with an optional port 0..65535. No userinfo, no empty host. *host
 * is lower-case, without trailing dot or brackets; it borrows from `authority` when nothing changed, else it
 * is arena memory. *port is -1 when absent. Stricter than the RFC: see uri.c. */
bool mg_uri_authority(mg_arena *arena, mg_str authority, mg_str *host, int *port);

typedef struct mg_uri {
    mg_str scheme, authority, host, path, query; /* path and query as they stand, path "/" when empty */
    int port;                                    /* as written, else the scheme's */
} mg_uri;

/* An absolute http or https URI, as in configuration and absolute-form targets. NULL, or what is wrong. */
const char *mg_uri_parse(mg_arena *arena, mg_str text, mg_uri *out);

/* One value of a query by name, percent-decoded with "+" as space; the first of that name. False when absent.
 */
bool mg_uri_query_get(mg_arena *arena, mg_str query, mg_str name, mg_str *value);
/* The same for one after the other: cuts what was read off *query, which is absent after the last pair. */
bool mg_uri_query_next(mg_arena *arena, mg_str *query, mg_str name, mg_str *value);

#endif
