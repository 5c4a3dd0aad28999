/* cookie.c - looks through the cookie fields of a request; what is no name=value pair is passed over. */
#include "http/cookie.h"

static bool find_in(mg_str pairs, mg_str name, mg_str *value)
{
    mg_str pair;

    while (mg_str_cut(&pairs, ';', &pair)) {
        pair = mg_str_trim(pair, " \t");
        const size_t eq = mg_str_find(pair, '=');
        if (eq == SIZE_MAX || !mg_str_eq(mg_str_sub(pair, 0, eq), name))
            continue;
        *value = mg_str_sub(pair, eq + 1, pair.n);
        return true;
    }
    return false;
}

/* HTTP/2 lets a client send several cookie fields (RFC 9113 8.2.3). */
mg_str mg_cookie_get(const mg_fields *fields, mg_str name)
{
    mg_str value = MG_STR_NONE;

    for (uint32_t i = 0; i < fields->count; i++) {
        const mg_field *field = &fields->items[i];
        if (field->id == MG_NAME_COOKIE && find_in((mg_str){ field->value, field->value_n }, name, &value))
            break;
    }
    return value;
}
