/* forwarded.c - lists of proxies, from the right to the left. X-Forwarded-For has no quotes, so that it is
 * cut at its commas backwards. In Forwarded a comma may stand in a quoted string: the commas of a line are
 * found forwards first. */
#include "http/forwarded.h"

#include "http/bytes.h"

enum { PORT_BYTES_MAX = 5 };

/* ---- who is named ---- */

/* RFC 7239 6.3: digits, or an obfuscated port. */
static bool is_port(mg_str text)
{
    uint64_t number;

    if (text.n > 1 && text.p[0] == '_')
        return mg_is_token(text);
    return text.n <= PORT_BYTES_MAX && mg_str_u64(text, &number);
}

/* "203.0.113.9:5123", "[2001:db8::1]:443" and the like without port and brackets. More than one colon outside
 * brackets is an IPv6 address alone. */
static mg_str without_port(mg_str node)
{
    const size_t colon = mg_str_find(node, ':');

    if (node.n && node.p[0] == '[') {
        const size_t end = mg_str_find(node, ']');
        const mg_str rest = end == SIZE_MAX ? MG_STR_NONE : mg_str_sub(node, end + 1, node.n);
        if (end == SIZE_MAX || colon == SIZE_MAX || colon > end)
            return MG_STR_NONE;
        if (rest.n && (rest.p[0] != ':' || !is_port(mg_str_sub(rest, 1, rest.n))))
            return MG_STR_NONE;
        return mg_str_sub(node, 1, end);
    }
    if (colon == SIZE_MAX)
        return node;
    const mg_str port = mg_str_sub(node, colon + 1, node.n);
    if (mg_str_find(port, ':') != SIZE_MAX)
        return node;
    return is_port(port) ? mg_str_sub(node, 0, colon) : MG_STR_NONE;
}

/* ---- one element of Forwarded ---- */

static mg_str skip_space(mg_str text)
{
    while (text.n && mg_byte_is_space(text.p[0]))
        text = mg_str_sub(text, 1, text.n);
    return text;
}

/* The text of a quoted string that begins behind *rest's first byte, without its backslashes. False when it
 * does not end. */
static bool read_quoted(mg_arena *arena, mg_str *rest, mg_str *value)
{
    size_t end = 1, escapes = 0;

    while (end < rest->n && rest->p[end] != '"') {
        const bool escape = rest->p[end] == '\\';
        escapes += escape;
        end += escape ? 2 : 1;
    }
    if (end >= rest->n)
        return false;
    *value = mg_str_sub(*rest, 1, end);
    *rest = mg_str_sub(*rest, end + 1, rest->n);
    if (!escapes)
        return true;
    char *text = mg_arena_bytes(arena, value->n - escapes);
    size_t n = 0;
    for (size_t i = 0; i < value->n; i++) {
        i += value->p[i] == '\\';
        text[n++] = value->p[i];
    }
    *value = mg_str_make(text, n);
    return true;
}

/* A token; and, since many write addresses without quotes, anything else up to the next ';' or blank. */
static void read_bare(mg_str *rest, mg_str *value)
{
    size_t end = 0;

    while (end < rest->n && rest->p[end] != ';' && rest->p[end] != '"' && !mg_byte_is_space(rest->p[end]))
        end++;
    *value = mg_str_sub(*rest, 0, end);
    *rest = mg_str_sub(*rest, end, rest->n);
}

/* "name=value"; what follows is the next ';' or the end. */
static bool read_pair(mg_arena *arena, mg_str *rest, mg_str *name, mg_str *value)
{
    const size_t equals = mg_str_find(*rest, '=');

    if (equals == SIZE_MAX)
        return false;
    *name = mg_str_sub(*rest, 0, equals);
    *rest = mg_str_sub(*rest, equals + 1, rest->n);
    if (!mg_is_token(*name))
        return false;
    if (rest->n && rest->p[0] == '"') {
        if (!read_quoted(arena, rest, value))
            return false;
    } else {
        read_bare(rest, value);
    }
    *rest = skip_space(*rest);
    return rest->n == 0 || rest->p[0] == ';';
}

/* RFC 7239 4: each parameter at most once. */
static bool take_pair(mg_hop *hop, mg_str *node, mg_str name, mg_str value)
{
    mg_str *to = mg_str_eq_nocase(name, MG_STR("for"))     ? node
                 : mg_str_eq_nocase(name, MG_STR("proto")) ? &hop->proto
                 : mg_str_eq_nocase(name, MG_STR("host"))  ? &hop->host
                                                           : NULL;

    if (to && to->p)
        return false;
    if (to)
        *to = value;
    return true;
}

/* A malformed element says nothing at all. */
static void read_element(mg_arena *arena, mg_str element, mg_hop *hop)
{
    mg_str node = MG_STR_NONE, name, value;

    *hop = (mg_hop){ 0 };
    for (;;) {
        element = skip_space(element);
        if (!element.n)
            break;
        if (element.p[0] == ';') {
            element = mg_str_sub(element, 1, element.n);
            continue;
        }
        if (!read_pair(arena, &element, &name, &value) || !take_pair(hop, &node, name, value)) {
            *hop = (mg_hop){ 0 };
            return;
        }
    }
    hop->ip = without_port(node);
}

/* ---- the list ---- */

/* Finds the commas of a line outside its quoted strings. False when one of these does not end: then nobody
 * can say where its members do. */
static bool find_commas(mg_hops *hops, mg_str line)
{
    bool quoted = false;

    hops->comma_count = 0;
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == '"')
            quoted = !quoted;
        else if (quoted && line.p[i] == '\\')
            i++;
        else if (!quoted && line.p[i] == ',')
            hops->commas[hops->comma_count++ % MG_HOPS_MAX] = (uint32_t)i;
    }
    return !quoted;
}

/* Goes on with the line before, MG_STR_NONE in `rest` when there is none. False when it is no list. */
static bool next_line(mg_hops *hops)
{
    while (hops->line > 0) {
        const mg_field *field = &hops->fields->items[--hops->line];
        if (field->id != hops->id)
            continue;
        hops->rest = mg_str_make(field->value, field->value_n);
        if (hops->id != MG_NAME_FORWARDED || find_commas(hops, hops->rest))
            return true;
        hops->rest = MG_STR_NONE;
        return false;
    }
    return true;
}

static size_t last_comma(mg_hops *hops)
{
    size_t at = hops->rest.n;

    if (hops->id == MG_NAME_FORWARDED)
        return hops->comma_count ? hops->commas[--hops->comma_count % MG_HOPS_MAX] : SIZE_MAX;
    while (at > 0 && hops->rest.p[at - 1] != ',')
        at--;
    return at ? at - 1 : SIZE_MAX;
}

static mg_str cut_last(mg_hops *hops)
{
    const size_t comma = last_comma(hops);
    const mg_str member = mg_str_sub(hops->rest, comma == SIZE_MAX ? 0 : comma + 1, hops->rest.n);

    hops->rest = comma == SIZE_MAX ? MG_STR_NONE : mg_str_sub(hops->rest, 0, comma);
    return mg_byte_trim(member);
}

void mg_hops_init(mg_hops *hops, const mg_fields *fields, mg_arena *arena, mg_name id)
{
    hops->fields = fields;
    hops->arena = arena;
    hops->id = id;
    hops->line = fields->count;
    hops->left = MG_HOPS_MAX;
    hops->rest = MG_STR_NONE;
    hops->comma_count = 0;
}

bool mg_hops_next(mg_hops *hops, mg_hop *hop)
{
    for (; hops->left; hops->left--) {
        *hop = (mg_hop){ 0 };
        if (!hops->rest.p && !next_line(hops)) {
            hops->left--;
            return true;
        }
        if (!hops->rest.p)
            return false;
        const mg_str member = cut_last(hops);
        if (!member.n)
            continue;
        hops->left--;
        if (hops->id == MG_NAME_FORWARDED)
            read_element(hops->arena, member, hop);
        else
            hop->ip = without_port(member);
        return true;
    }
    return false;
}

bool mg_forwarded_is_whole(const mg_fields *fields)
{
    mg_hops hops;

    for (uint32_t i = 0; i < fields->count; i++) {
        const mg_field *field = &fields->items[i];
        if (field->id == MG_NAME_FORWARDED && !find_commas(&hops, mg_str_make(field->value, field->value_n)))
            return false;
    }
    return true;
}
