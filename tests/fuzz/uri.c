/* Any bytes as a path, an authority, a URI and a query: what is accepted is in its one form already. */
#include "support/h1_rules.h"

/* Where the path ends. */
static size_t path_bytes(mg_str text)
{
    size_t n = 0;

    while (n < text.n && text.p[n] != '?' && text.p[n] != '#')
        n++;
    return n;
}

static void check_path(mg_arena *arena, mg_str text)
{
    mg_str path, slashed, again, decoded;

    if (!mg_uri_normalise_path(arena, text, 0, &path))
        return;
    MG_CHECK(path.n > 0 && path.n <= 3 * text.n && path.p[0] == '/');
    MG_CHECK(mg_uri_normalise_path(arena, path, 0, &again) && mg_str_eq(path, again));
    for (size_t i = 0; i < path.n; i++) {
        MG_CHECK(path.p[i] > ' ' && path.p[i] < 0x7f && !strchr("?#\"<>\\^`{|}", path.p[i]));
        MG_CHECK(i == 0 || path.p[i] != '/' || path.p[i - 1] != '/');
    }
    if (mg_uri_normalise_path(arena, text, MG_URI_KEEP_SLASHES, &slashed)) {
        /* The same but for the slashes; where dots were resolved, ".." took another segment away. */
        MG_CHECK(mg_uri_normalise_path(arena, slashed, MG_URI_KEEP_SLASHES, &again) &&
                 mg_str_eq(slashed, again));
        MG_CHECK(!mg_uri_has_dots(slashed));
        if (!mg_uri_has_dots(mg_str_sub(text, 0, path_bytes(text))))
            MG_CHECK(mg_uri_normalise_path(arena, slashed, 0, &again) && mg_str_eq(path, again));
    }
    MG_CHECK(!mg_uri_has_dots(path) && !mg_uri_has_empty_segment(path));
    decoded = mg_uri_decode(arena, path);
    MG_CHECK(decoded.n <= path.n && mg_str_find(decoded, 0) == SIZE_MAX);
}

/* What a client may send is split at the first "?" and comes out as bytes that a strict reader takes. */
static void check_target(mg_arena *arena, mg_str text)
{
    mg_str path, query, normal;
    bool bare;
    const char *bad = mg_uri_split(text, &path, &query, &bare);

    if (bad) {
        MG_CHECK(bad >= text.p && bad < text.p + text.n);
        return;
    }
    MG_CHECK(path.n + query.n + (query.p != NULL) == text.n && mg_str_find(path, '?') == SIZE_MAX);
    normal = mg_uri_normalise_query(arena, query);
    MG_CHECK(!normal.p == !query.p && normal.n >= query.n && normal.n <= 3 * query.n);
    for (size_t i = 0; i < normal.n; i++)
        MG_CHECK(normal.p[i] > ' ' && normal.p[i] < 0x7f && !strchr("#\"<>\\^`{|}", normal.p[i]));
    check_path(arena, path);
}

static void check_authority(mg_arena *arena, mg_str text)
{
    mg_str host, again;
    int port;

    if (!mg_uri_authority(arena, text, &host, &port))
        return;
    MG_CHECK(host.n > 0 && host.n <= 255 && port >= -1 && port <= 65535);
    for (size_t i = 0; i < host.n; i++)
        MG_CHECK(mg_lower(host.p[i]) == host.p[i] && host.p[i] > ' ' && host.p[i] < 0x7f && host.p[i] != '/');
    if (mg_str_find(host, ':') == SIZE_MAX)
        MG_CHECK(mg_uri_authority(arena, host, &again, &port) && mg_str_eq(again, host) && port == -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = mg_alloc(size ? size : 1);
    const mg_str text = mg_str_make(copy, size);
    mg_arena arena;
    mg_uri uri;
    mg_str value;

    if (size)
        memcpy(copy, data, size);
    mg_arena_init(&arena, NULL, 0);
    check_path(&arena, text);
    check_target(&arena, text);
    check_authority(&arena, text);
    if (!mg_uri_parse(&arena, text, &uri)) {
        MG_CHECK(uri.path.p[0] == '/' && uri.port >= 0 && uri.port <= 65535);
        check_authority(&arena, uri.authority);
        check_path(&arena, uri.path);
    }
    if (mg_uri_query_get(&arena, text, MG_STR("a"), &value))
        MG_CHECK(value.n <= text.n);
    mg_uri_decode(&arena, text);
    mg_arena_fini(&arena);
    mg_free(copy);
    return 0;
}
