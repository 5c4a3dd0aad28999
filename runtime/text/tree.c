/* tree.c - nodes, their places, and plain JSON out of them. Recursion is bounded by MG_TREE_DEPTH, which the
 * readers of both formats keep. */
#include "text/tree.h"
#include "base/check.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

mg_node *mg_node_new(mg_arena *arena, mg_node_kind kind)
{
    mg_node *node = MG_ARENA_NEW(arena, mg_node);
    node->kind = kind;
    return node;
}

mg_node *mg_node_new_string(mg_arena *arena, mg_str text)
{
    mg_node *node = mg_node_new(arena, MG_NODE_STRING);
    node->text = mg_arena_str(arena, text);
    return node;
}

void mg_node_append(mg_node *parent, mg_node *key, mg_node *child)
{
    MG_CHECK((parent->kind == MG_NODE_MAP) == (key != NULL));
    child->parent = parent;
    child->key = key;
    child->next = NULL;
    if (key)
        key->parent = parent;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

void mg_node_remove(mg_node *child)
{
    mg_node *parent = child->parent, *before = NULL;

    for (mg_node *it = parent->first; it != child; it = it->next)
        before = it;
    if (before)
        before->next = child->next;
    else
        parent->first = child->next;
    if (parent->last == child)
        parent->last = before;
    parent->count--;
    child->parent = child->next = NULL;
}

mg_node *mg_node_copy(mg_arena *arena, const mg_node *node, size_t *budget)
{
    mg_node *copy;

    if (*budget == 0)
        return NULL;
    --*budget;
    copy = MG_ARENA_NEW(arena, mg_node);
    *copy = *node;
    copy->parent = copy->key = copy->next = NULL;
    if (node->text.p)
        copy->text = mg_arena_str(arena, node->text);
    if (node->kind != MG_NODE_LIST && node->kind != MG_NODE_MAP)
        return copy;
    copy->first = copy->last = NULL;
    copy->count = 0;
    MG_NODE_EACH(node, it)
    {
        mg_node *child = mg_node_copy(arena, it, budget);
        mg_node *key = it->key ? mg_node_copy(arena, it->key, budget) : NULL;
        if (!child || (it->key && !key))
            return NULL;
        mg_node_append(copy, key, child);
    }
    return copy;
}

mg_node *mg_node_get_str(const mg_node *map, mg_str key)
{
    if (!map || map->kind != MG_NODE_MAP)
        return NULL;
    MG_NODE_EACH(map, it)
    {
        if (mg_str_eq(it->key->text, key))
            return it;
    }
    return NULL;
}

mg_node *mg_node_get(const mg_node *map, const char *key)
{
    return mg_node_get_str(map, mg_str_of(key));
}

static bool numbers_eq(const mg_node *a, const mg_node *b)
{
    if (a->kind == MG_NODE_INT && b->kind == MG_NODE_INT)
        return a->integer == b->integer;
    return (a->kind == MG_NODE_INT ? (long double)a->integer : (long double)a->number) ==
           (b->kind == MG_NODE_INT ? (long double)b->integer : (long double)b->number);
}

static bool is_number(const mg_node *node)
{
    return node->kind == MG_NODE_INT || node->kind == MG_NODE_FLOAT;
}

static bool lists_eq(const mg_node *a, const mg_node *b)
{
    const mg_node *y = b->first;

    if (a->count != b->count)
        return false;
    for (const mg_node *x = a->first; x; x = x->next, y = y->next) {
        if (!mg_node_eq(x, y))
            return false;
    }
    return true;
}

static bool maps_eq(const mg_node *a, const mg_node *b)
{
    if (a->count != b->count)
        return false;
    MG_NODE_EACH(a, x)
    {
        const mg_node *y = mg_node_get_str(b, x->key->text);
        if (!y || !mg_node_eq(x, y))
            return false;
    }
    return true;
}

bool mg_node_eq(const mg_node *a, const mg_node *b)
{
    if (is_number(a) && is_number(b))
        return numbers_eq(a, b);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case MG_NODE_NULL: return true;
    case MG_NODE_BOOL: return a->boolean == b->boolean;
    case MG_NODE_STRING: return mg_str_eq(a->text, b->text);
    case MG_NODE_LIST: return lists_eq(a, b);
    case MG_NODE_MAP: return maps_eq(a, b);
    case MG_NODE_INT:
    case MG_NODE_FLOAT: break;
    }
    return false;
}

const char *mg_node_kind_name(mg_node_kind kind)
{
    static const char *const names[] = { "null",   "true or false", "a whole number", "a number",
                                         "a text", "a list",        "a map" };
    return names[kind];
}

/* --- plain words (YAML 1.2.2, 10.3.2) --- */

static bool word_in(mg_str text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (mg_str_eq_c(text, words[i]))
            return true;
    }
    return false;
}

static size_t digits(mg_str text, size_t from)
{
    size_t i = from;
    while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
        i++;
    return i - from;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool looks_like_float(mg_str t)
{
    size_t i = 0, whole, part = 0, power;

    if (i < t.n && (t.p[i] == '-' || t.p[i] == '+'))
        i++;
    whole = digits(t, i);
    i += whole;
    if (i < t.n && t.p[i] == '.') {
        part = digits(t, ++i);
        i += part;
    }
    if (whole + part == 0)
        return false;
    if (i < t.n && (t.p[i] == 'e' || t.p[i] == 'E')) {
        i++;
        if (i < t.n && (t.p[i] == '-' || t.p[i] == '+'))
            i++;
        power = digits(t, i);
        if (power == 0)
            return false;
        i += power;
    }
    return i == t.n;
}

/* Decimal with a sign, 0o and 0x without; false when it is none or does not fit. */
static bool resolve_int(mg_node *node)
{
    const mg_str t = node->text;
    const bool hex = t.n > 2 && t.p[0] == '0' && t.p[1] == 'x',
               octal = t.n > 2 && t.p[0] == '0' && t.p[1] == 'o';
    const size_t from = hex || octal ? 2 : t.n > 0 && (t.p[0] == '-' || t.p[0] == '+');
    const char *set = hex ? "0123456789abcdefABCDEF" : octal ? "01234567" : "0123456789";

    if (t.n > 64 || from >= t.n || strspn(t.p + from, set) != t.n - from)
        return false;
    errno = 0;
    node->integer = strtoll(t.p + (hex || octal ? 2 : 0), NULL, hex ? 16 : octal ? 8 : 10);
    return errno == 0;
}

static bool resolve_float(mg_node *node)
{
    static const char *const inf[] = { ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF" };
    static const char *const minus_inf[] = { "-.inf", "-.Inf", "-.INF" };
    static const char *const nan_words[] = { ".nan", ".NaN", ".NAN" };

    if (word_in(node->text, inf, 6))
        node->number = INFINITY;
    else if (word_in(node->text, minus_inf, 3))
        node->number = -INFINITY;
    else if (word_in(node->text, nan_words, 3))
        node->number = NAN;
    else if (looks_like_float(node->text))
        node->number = strtod(node->text.p, NULL);
    else
        return false;
    return true;
}

void mg_node_resolve_plain(mg_node *node)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
    static const char *const trues[] = { "true", "True", "TRUE" };
    static const char *const falses[] = { "false", "False", "FALSE" };
    const bool yes = word_in(node->text, trues, 3);

    if (word_in(node->text, nulls, 5)) {
        node->kind = MG_NODE_NULL;
    } else if (yes || word_in(node->text, falses, 3)) {
        node->kind = MG_NODE_BOOL;
        node->boolean = yes;
    } else if (resolve_int(node)) {
        node->kind = MG_NODE_INT;
    } else if (resolve_float(node)) {
        node->kind = MG_NODE_FLOAT;
    } else {
        node->kind = MG_NODE_STRING;
    }
}

/* --- places --- */

static size_t index_of(const mg_node *node)
{
    size_t i = 0;
    for (const mg_node *it = node->parent->first; it && it != node; it = it->next)
        i++;
    return i;
}

void mg_node_path(const mg_node *node, mg_text *out)
{
    if (!node->parent)
        return;
    mg_node_path(node->parent, out);
    if (node->parent->kind == MG_NODE_LIST) {
        mg_text_addf(out, "[%zu]", index_of(node));
        return;
    }
    if (out->n > 0)
        mg_text_add_char(out, '.');
    mg_text_add(out, node->key ? node->key->text : node->text);
}

mg_str mg_source_line(const mg_source *source, int line)
{
    mg_str rest = source ? source->text : MG_STR_NONE;
    size_t end;

    if (!source || line <= 0)
        return MG_STR_NONE;
    for (int i = 1; i < line; i++) {
        end = mg_str_find(rest, '\n');
        if (end == SIZE_MAX)
            return MG_STR_NONE;
        rest = mg_str_sub(rest, end + 1, rest.n);
    }
    end = mg_str_find(rest, '\n');
    if (end != SIZE_MAX)
        rest = mg_str_sub(rest, 0, end);
    return mg_str_trim(rest, "\r") /* a file from elsewhere */;
}

mg_str mg_node_shown(const mg_node *node)
{
    enum { SHOWN_BYTES = 60 };

    return node->substituted ? MG_STR("***") : mg_str_sub(node->text, 0, SHOWN_BYTES);
}

static void place(mg_finding *f, const mg_node *node)
{
    mg_text path = { 0 };
    const mg_node *at = node;

    mg_node_path(node, &path);
    if (path.n > 0)
        mg_finding_pointer(f, mg_text_str(&path));
    mg_text_fini(&path);
    while (at && !at->source) /* what nobody wrote is shown where it would stand */
        at = at->parent;
    if (at)
        mg_finding_place(f, at->source->file, at->line, at->column, at->width,
                         mg_source_line(at->source, at->line));
}

static mg_finding *add_finding(mg_report *report, mg_severity severity, const mg_node *node, const char *code,
                               const char *format, va_list args)
{
    mg_text message = { 0 };
    mg_finding *f;

    mg_text_vaddf(&message, format, args);
    f = mg_report_add(report, severity, code, "%s", message.p ? message.p : "");
    if (node && !report->full) /* nobody reads the others: finding their line would cost for nothing */
        place(f, node);
    mg_text_fini(&message);
    return f;
}

mg_finding *mg_node_error(mg_report *report, const mg_node *node, const char *code, const char *format, ...)
{
    va_list args;
    mg_finding *f;

    va_start(args, format);
    f = add_finding(report, MG_SEVERITY_ERROR, node, code, format, args);
    va_end(args);
    return f;
}

mg_finding *mg_node_warning(mg_report *report, const mg_node *node, const char *code, const char *format, ...)
{
    va_list args;
    mg_finding *f;

    va_start(args, format);
    f = add_finding(report, MG_SEVERITY_WARNING, node, code, format, args);
    va_end(args);
    return f;
}

/* --- JSON --- */

/* The shortest number that reads back the same. */
static void add_float(mg_json_out *out, double number)
{
    char text[36];
    int n = 0;

    if (!isfinite(number)) {
        mg_json_out_null(out, NULL);
        return;
    }
    for (int digits_kept = 15; digits_kept <= 17; digits_kept++) {
        n = snprintf(text, 32, "%.*g", digits_kept, number);
        if (strtod(text, NULL) == number)
            break;
    }
    if (!strpbrk(text, ".e"))
        n += snprintf(text + n, sizeof text - (size_t)n, ".0");
    mg_json_out_json(out, NULL, mg_str_make(text, (size_t)n));
}

static void add_node(mg_json_out *out, const mg_node *node)
{
    switch (node->kind) {
    case MG_NODE_NULL: mg_json_out_null(out, NULL); return;
    case MG_NODE_BOOL: mg_json_out_bool(out, NULL, node->boolean); return;
    case MG_NODE_INT: mg_json_out_i64(out, NULL, node->integer); return;
    case MG_NODE_FLOAT: add_float(out, node->number); return;
    case MG_NODE_STRING: mg_json_out_text(out, NULL, node->text); return;
    case MG_NODE_LIST: mg_json_out_list(out, NULL); break;
    case MG_NODE_MAP: mg_json_out_map(out, NULL); break;
    }
    MG_NODE_EACH(node, it)
    {
        if (it->key)
            mg_json_out_key(out, it->key->text);
        add_node(out, it);
    }
    mg_json_out_end(out);
}

void mg_node_to_json(const mg_node *node, mg_text *out)
{
    add_node(&(mg_json_out){ .text = out }, node);
}
