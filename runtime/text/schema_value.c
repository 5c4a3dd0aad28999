/* schema_value.c - one value against one rule, and the words for what is wrong with it: what stands there,
 * what was expected, what to write instead. */
#include "base/mem.h"
#include "text/schema_rule.h"
#include "text/units.h"

#include <math.h>
#include <stdlib.h>

enum { SHOWN_BYTES = 60, SHOWN_CHOICES = 12 };

static const struct {
    const char *name, *noun;
    mg_format format;
    bool unit; /* a number with a unit behind it */
} formats[] = {
    { "duration", "a duration", MG_FORMAT_DURATION, true },
    { "size", "a size", MG_FORMAT_SIZE, true },
    { "rate", "a rate", MG_FORMAT_RATE, true },
    { "share", "a share", MG_FORMAT_SHARE, true },
    { "bind", "an address to listen on", MG_FORMAT_BIND, false },
    { "url", "a URL", MG_FORMAT_URL, false },
    { "regex", "a regular expression", MG_FORMAT_REGEX, false },
    { "host", "a host name", MG_FORMAT_HOST, false },
};

mg_format mg_format_named(mg_str name)
{
    for (size_t i = 0; i < mg_countof(formats); i++) {
        if (mg_str_eq_c(name, formats[i].name))
            return formats[i].format;
    }
    return MG_FORMAT_NONE;
}

static size_t format_at(mg_format format)
{
    size_t i = 0;
    while (formats[i].format != format)
        i++;
    return i;
}

static const char *noun(mg_format format)
{
    return formats[format_at(format)].noun;
}

static bool has_unit(mg_format format)
{
    return format != MG_FORMAT_NONE && formats[format_at(format)].unit;
}

/* --- formats --- */

static bool all_of(mg_str text, const char *set)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = mg_lower(text.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(c && strchr(set, c)))
            return false;
    }
    return true;
}

static bool is_port(mg_str text)
{
    uint64_t port;
    return mg_str_u64(text, &port) && port <= 65535 && text.n <= 5;
}

static bool is_bind(mg_str text)
{
    size_t colon = text.n;

    if (mg_str_starts(text, MG_STR("unix:")))
        return text.n > 5;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    return colon > 0 && is_port(mg_str_sub(text, colon, text.n)) &&
           all_of(mg_str_sub(text, 0, colon), ".:[]%-");
}

static bool is_url(mg_str text)
{
    const mg_str whole = text;
    mg_str scheme;

    if (!mg_str_cut(&text, ':', &scheme) || scheme.n == 0 || scheme.n == whole.n || !all_of(scheme, "+-."))
        return false;
    if (!mg_str_starts(text, MG_STR("//")) || text.n < 3 || text.p[2] == '/')
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] <= 0x20 || text.p[i] == 0x7f)
            return false;
    }
    return true;
}

static bool is_host(mg_str text)
{
    if (mg_str_eq_c(text, "*"))
        return true;
    if (mg_str_starts(text, MG_STR("*.")))
        text = mg_str_sub(text, 2, text.n);
    if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        return all_of(text, "[]:.");
    return text.n > 0 && text.n <= 253 && text.p[0] != '.' && all_of(text, "-._");
}

static bool is_regex(mg_str text, mg_error *err)
{
    mg_regex *regex = mg_regex_new(text, err);
    mg_regex_free(regex);
    return regex != NULL;
}

static bool form(bool good, mg_format format, mg_str text, mg_error *err)
{
    if (!good)
        (void)mg_fail(err, MG_ERR_INVALID, "\"%.*s\" is not %s",
                      MG_STR_ARGS(mg_str_sub(text, 0, SHOWN_BYTES)), noun(format));
    return good;
}

bool mg_format_value(mg_format format, mg_str text, uint64_t *value, mg_error *err)
{
    uint32_t basis_points = 0;
    mg_rate rate = { 0 };
    bool good;

    switch (format) {
    case MG_FORMAT_NONE: return false;
    case MG_FORMAT_DURATION: return mg_units_duration(text, value, err) == MG_OK;
    case MG_FORMAT_SIZE: return mg_units_size(text, value, err) == MG_OK;
    case MG_FORMAT_RATE:
        good = mg_units_rate(text, &rate, err) == MG_OK;
        *value = rate.limit;
        return good;
    case MG_FORMAT_SHARE:
        good = mg_units_share(text, &basis_points, err) == MG_OK;
        *value = basis_points;
        return good;
    case MG_FORMAT_BIND: return form(is_bind(text), format, text, err);
    case MG_FORMAT_URL: return form(is_url(text), format, text, err);
    case MG_FORMAT_REGEX: return is_regex(text, err);
    case MG_FORMAT_HOST: return form(is_host(text), format, text, err);
    }
    return false;
}

/* --- hints --- */

static void add_bound(mg_text *out, const mg_node *bound)
{
    if (bound->kind == MG_NODE_STRING)
        mg_text_add(out, bound->text);
    else
        mg_node_to_json(bound, out);
}

static void add_range(mg_text *out, const mg_rule *rule)
{
    const mg_node *low = rule->lowest ? rule->lowest : rule->minimum;
    const mg_node *high = rule->highest ? rule->highest : rule->maximum;

    mg_text_addf(out, "write %s", rule->lowest ? noun(rule->format) : "a number");
    if (low) {
        mg_text_add_c(out, high ? " from " : ", at least ");
        add_bound(out, low);
    }
    if (high) {
        mg_text_add_c(out, low ? " to " : ", at most ");
        add_bound(out, high);
    }
}

static void add_default(mg_text *out, const mg_rule *rule)
{
    if (!rule->fallback || rule->fallback->kind == MG_NODE_LIST || rule->fallback->kind == MG_NODE_MAP)
        return;
    mg_text_add_c(out, ", or leave the key out for the default ");
    add_bound(out, rule->fallback);
}

static void hint_range(mg_finding *f, const mg_rule *rule)
{
    mg_text hint = { 0 };

    add_range(&hint, rule);
    add_default(&hint, rule);
    mg_finding_hint(f, "%s", hint.p);
    mg_text_fini(&hint);
}

/* What a bare number most likely was meant to be. */
static void hint_unit(mg_finding *f, mg_format format, mg_str number)
{
    uint64_t n = 0;
    const bool whole = mg_str_u64(number, &n), large = whole && n >= 1024;
    static const struct {
        mg_format format;
        const char *first, *second;
    } readings[] = { { MG_FORMAT_DURATION, "s", "ms" },
                     { MG_FORMAT_SIZE, "KiB", "MiB" },
                     { MG_FORMAT_RATE, "/s", "/m" } };

    if (whole && n == 0) {
        mg_finding_hint(f, "write 0%s",
                        format == MG_FORMAT_DURATION ? "s"
                        : format == MG_FORMAT_SIZE   ? "B"
                        : format == MG_FORMAT_RATE   ? "/s"
                                                     : "%");
        return;
    }
    if (format == MG_FORMAT_SHARE) {
        const double share = strtod(number.p, NULL);
        if (share <= 1)
            mg_finding_hint(f, "write %g%% or %g%%", share * 100, share);
        else
            mg_finding_hint(f, "write %g%%", share);
        return;
    }
    for (size_t i = 0; i < mg_countof(readings); i++) {
        if (readings[i].format != format)
            continue;
        mg_finding_hint(f, "write %.*s%s or %.*s%s", MG_STR_ARGS(number),
                        format == MG_FORMAT_SIZE && large ? "B" : readings[i].first, MG_STR_ARGS(number),
                        format == MG_FORMAT_SIZE && large ? "KiB" : readings[i].second);
    }
}

static void hint_format(mg_finding *f, const mg_rule *rule)
{
    static const char *const examples[] = {
        [MG_FORMAT_DURATION] = "write a number and ms, s, m, h or d: 250ms",
        [MG_FORMAT_SIZE] = "write a number and B, KiB, MiB or GiB: 64KiB",
        [MG_FORMAT_RATE] = "write a whole number and /s, /m, /h or /d: 100/s",
        [MG_FORMAT_SHARE] = "write a number and %: 5%",
        [MG_FORMAT_BIND] = "write \":8080\", \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:PATH\"",
        [MG_FORMAT_URL] = "write it with its scheme: http://10.0.0.11:9000",
        [MG_FORMAT_HOST] = "write a name (shop.example), a suffix (*.shop.example) or *",
    };

    if (rule->format != MG_FORMAT_REGEX && rule->format != MG_FORMAT_NONE)
        mg_finding_hint(f, "%s", examples[rule->format]);
}

mg_str mg_nearest(mg_str name, const mg_str *known, size_t count)
{
    mg_guess guess = { .name = name };

    for (size_t i = 0; i < count; i++)
        mg_guess_offer(&guess, known[i]);
    return guess.best;
}

/* --- checks --- */

int mg_number_cmp(const mg_node *a, const mg_node *b)
{
    const long double x = a->kind == MG_NODE_INT ? (long double)a->integer : (long double)a->number;
    const long double y = b->kind == MG_NODE_INT ? (long double)b->integer : (long double)b->number;

    if (a->kind == MG_NODE_INT && b->kind == MG_NODE_INT)
        return a->integer < b->integer ? -1 : a->integer > b->integer;
    return x < y ? -1 : x > y;
}

static bool is_number(const mg_node *node)
{
    return node->kind == MG_NODE_INT || node->kind == MG_NODE_FLOAT;
}

static bool type_fits(const mg_rule *rule, const mg_node *node)
{
    if (!(rule->types & 1u << node->kind))
        return false;
    if (node->kind != MG_NODE_FLOAT)
        return true;
    return isfinite(node->number) && (!rule->integral || node->number == floor(node->number));
}

static void add_types(mg_text *out, const mg_rule *rule)
{
    bool first = true;

    for (unsigned kind = MG_NODE_NULL; kind <= MG_NODE_MAP; kind++) {
        if (!(rule->types & 1u << kind) || (kind == MG_NODE_FLOAT && rule->integral) ||
            (kind == MG_NODE_INT && !rule->integral))
            continue;
        mg_text_addf(out, "%s%s", first ? "" : " or ", mg_node_kind_name((mg_node_kind)kind));
        first = false;
    }
}

static void report_type(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    mg_text want = { 0 };
    mg_finding *f;

    if (node->kind == MG_NODE_FLOAT && !isfinite(node->number)) {
        f = mg_node_error(check->report, node, "wrong-type", "must be a finite number");
        hint_format(f, rule);
        return;
    }
    if (is_number(node) && has_unit(rule->format)) {
        f = mg_node_error(check->report, node, "missing-unit", "%.*s has no unit; %s is due here",
                          MG_STR_ARGS(mg_node_shown(node)), noun(rule->format));
        hint_unit(f, rule->format, node->text);
        return;
    }
    add_types(&want, rule);
    f = mg_node_error(check->report, node, "wrong-type", "must be %s, this is %s",
                      want.n ? want.p : "left out",
                      node->kind == MG_NODE_NULL ? "empty" : mg_node_kind_name(node->kind));
    mg_text_fini(&want);
    if (rule->types & 1u << MG_NODE_STRING && rule->format == MG_FORMAT_NONE &&
        (is_number(node) || node->kind == MG_NODE_BOOL))
        mg_finding_hint(f, "quote it: \"%.*s\"", MG_STR_ARGS(mg_node_shown(node)));
    else if (node->kind == MG_NODE_NULL)
        mg_finding_hint(f, "write a value, or leave the key out");
}

/* 4.0 where a whole number is due is 4 for whoever reads on. */
static void settle_integer(const mg_rule *rule, mg_node *node)
{
    if (!rule->integral || node->kind != MG_NODE_FLOAT || fabs(node->number) > 9e15)
        return;
    node->kind = MG_NODE_INT;
    node->integer = (int64_t)node->number;
}

/* Text from the environment or a file may stand for a number or a truth value where one is due. */
static bool check_type(mg_check *check, const mg_rule *rule, mg_node *node)
{
    if (type_fits(rule, node)) {
        settle_integer(rule, node);
        return true;
    }
    if (node->substituted && node->kind == MG_NODE_STRING) {
        mg_node_resolve_plain(node);
        if (type_fits(rule, node))
            return true;
        node->kind = MG_NODE_STRING;
    }
    if (check->report)
        report_type(check, rule, node);
    return false;
}

static void add_shown(mg_text *out, const mg_node *node)
{
    mg_text json = { 0 };

    if (node->substituted) {
        mg_text_add_c(out, "***");
        return;
    }
    mg_node_to_json(node, &json);
    mg_text_add(out, mg_str_sub(mg_text_str(&json), 0, SHOWN_BYTES));
    if (json.n > SHOWN_BYTES)
        mg_text_add_c(out, "..");
    mg_text_fini(&json);
}

static void hint_choice(mg_finding *f, const mg_rule *rule, const mg_node *node)
{
    const mg_node *later = node->kind == MG_NODE_STRING ? mg_node_get_str(rule->later, node->text) : NULL;
    mg_str words[32], near = MG_STR_NONE;
    size_t count = 0;

    if (later) {
        mg_finding_hint(f, "%.*s", MG_STR_ARGS(later->text));
        return;
    }
    MG_NODE_EACH(rule->one_of_values, it)
    {
        if (it->kind == MG_NODE_STRING && count < mg_countof(words))
            words[count++] = it->text;
    }
    if (node->kind == MG_NODE_STRING)
        near = mg_nearest(node->text, words, count);
    if (near.p)
        mg_finding_hint(f, "did you mean \"%.*s\"?", MG_STR_ARGS(near));
}

static void report_choice(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    mg_text message = { 0 };
    size_t shown = 0;
    mg_finding *f;

    add_shown(&message, node);
    mg_text_add_c(&message, rule->one_of_values->count == 1 ? " must be " : " is none of ");
    MG_NODE_EACH(rule->one_of_values, it)
    {
        if (shown++ == SHOWN_CHOICES) {
            mg_text_add_c(&message, ", ..");
            break;
        }
        if (shown > 1)
            mg_text_add_c(&message, ", ");
        add_bound(&message, it);
    }
    f = mg_node_error(check->report, node, "not-allowed", "%s", message.p);
    mg_text_fini(&message);
    hint_choice(f, rule, node);
}

static bool check_choice(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    bool found = !rule->one_of_values;
    mg_text want = { 0 };

    if (rule->one_of_values) {
        MG_NODE_EACH(rule->one_of_values, it)
        {
            found = found || mg_node_eq(it, node);
        }
        if (!found && check->report)
            report_choice(check, rule, node);
    }
    if (!rule->constant || mg_node_eq(rule->constant, node))
        return found;
    if (check->report) {
        add_shown(&want, rule->constant);
        mg_node_error(check->report, node, "not-allowed", "must be %s", want.p);
        mg_text_fini(&want);
    }
    return false;
}

static bool out_of_range(mg_check *check, const mg_rule *rule, const mg_node *node, bool low,
                         const mg_node *bound, const char *how)
{
    mg_text limit = { 0 };

    if (check->report) {
        add_bound(&limit, bound);
        hint_range(mg_node_error(check->report, node, "out-of-range", "%.*s is %s %s%s",
                                 MG_STR_ARGS(mg_node_shown(node)), low ? "below" : "above", how, limit.p),
                   rule);
        mg_text_fini(&limit);
    }
    return false;
}

/* Exact for whole numbers; for others within the rounding that decimal fractions bring. */
static bool is_multiple(const mg_node *node, const mg_node *of)
{
    long double quotient;

    if (node->kind == MG_NODE_INT && of->kind == MG_NODE_INT)
        return node->integer % of->integer == 0;
    quotient = (node->kind == MG_NODE_INT ? (long double)node->integer : (long double)node->number) /
               (of->kind == MG_NODE_INT ? (long double)of->integer : (long double)of->number);
    return fabsl(quotient - roundl(quotient)) < 1e-9L;
}

static bool check_number(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    if (!is_number(node))
        return true;
    if (rule->minimum && mg_number_cmp(node, rule->minimum) < 0)
        return out_of_range(check, rule, node, true, rule->minimum, "the minimum ");
    if (rule->maximum && mg_number_cmp(node, rule->maximum) > 0)
        return out_of_range(check, rule, node, false, rule->maximum, "the maximum ");
    if (rule->above && mg_number_cmp(node, rule->above) <= 0)
        return out_of_range(check, rule, node, true, rule->above, "or equal to ");
    if (rule->below && mg_number_cmp(node, rule->below) >= 0)
        return out_of_range(check, rule, node, false, rule->below, "or equal to ");
    if (rule->multiple_of && !is_multiple(node, rule->multiple_of)) {
        if (check->report)
            mg_node_error(check->report, node, "not-allowed", "must be a multiple of %.*s",
                          MG_STR_ARGS(rule->multiple_of->text));
        return false;
    }
    return true;
}

static size_t characters(mg_str text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.n; i++)
        count += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return count;
}

static bool check_length(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    const mg_node length = { .kind = MG_NODE_INT, .integer = (int64_t)characters(node->text) };
    const bool is_short = rule->min_length && mg_number_cmp(&length, rule->min_length) < 0;
    const bool is_long = rule->max_length && mg_number_cmp(&length, rule->max_length) > 0;
    mg_text limit = { 0 };

    if (!is_short && !is_long)
        return true;
    if (check->report) {
        add_bound(&limit, is_short ? rule->min_length : rule->max_length);
        mg_node_error(check->report, node, "out-of-range",
                      length.integer == 0 ? "must not be empty" : "is %lld characters long, %s is %s",
                      (long long)length.integer, is_short ? "the least" : "the most", limit.p);
        mg_text_fini(&limit);
    }
    return false;
}

static bool check_pattern(mg_check *check, const mg_rule *rule, const mg_node *node)
{
    const mg_node *about = mg_node_get(rule->at, "description");
    mg_result found = MG_OK;
    mg_finding *f;

    if (rule->pattern)
        found = mg_regex_search(rule->pattern, node->text);
    if (found == MG_OK)
        return true;
    if (!check->report)
        return false;
    f = mg_node_error(check->report, node, "not-allowed",
                      found == MG_ERR_NOT_FOUND ? "\"%.*s\" does not have the form %.*s"
                                                : "\"%.*s\" takes too long to hold against %.*s",
                      MG_STR_ARGS(mg_node_shown(node)), MG_STR_ARGS(mg_node_get(rule->at, "pattern")->text));
    if (about && about->kind == MG_NODE_STRING)
        mg_finding_hint(f, "%.*s", MG_STR_ARGS(about->text));
    return false;
}

static void report_format(mg_check *check, const mg_rule *rule, const mg_node *node, const mg_error *err)
{
    uint64_t n;
    mg_finding *f;

    if (has_unit(rule->format) && mg_str_u64(node->text, &n)) {
        f = mg_node_error(check->report, node, "missing-unit", "%.*s has no unit; %s is due here",
                          MG_STR_ARGS(mg_node_shown(node)), noun(rule->format));
        if (!node->substituted)
            hint_unit(f, rule->format, node->text);
        return;
    }
    f = mg_node_error(check->report, node, "not-allowed", node->substituted ? "*** is not %s" : "%s",
                      node->substituted ? noun(rule->format) : err->message);
    hint_format(f, rule);
}

static bool check_format(mg_check *check, const mg_rule *rule, mg_node *node)
{
    mg_error err = MG_ERROR_INIT;
    uint64_t value = 0;

    if (rule->format == MG_FORMAT_NONE)
        return true;
    if (!mg_format_value(rule->format, node->text, &value, &err)) {
        if (check->report)
            report_format(check, rule, node, &err);
        return false;
    }
    if (rule->lowest && value < rule->lowest_value)
        return out_of_range(check, rule, node, true, rule->lowest, "the minimum ");
    if (rule->highest && value > rule->highest_value)
        return out_of_range(check, rule, node, false, rule->highest, "the maximum ");
    if (rule->format == MG_FORMAT_DURATION || rule->format == MG_FORMAT_SIZE ||
        rule->format == MG_FORMAT_SHARE) {
        node->measured = true;
        node->integer = (int64_t)value;
    }
    return true;
}

static bool check_value(mg_check *check, const mg_rule *rule, mg_node *node)
{
    if (!check_type(check, rule, node)) /* the rest would only repeat it */
        return false;
    if (!check_choice(check, rule, node) || !check_number(check, rule, node))
        return false;
    if (node->kind != MG_NODE_STRING)
        return true;
    return check_length(check, rule, node) && check_pattern(check, rule, node) &&
           check_format(check, rule, node);
}

bool mg_check_value(mg_check *check, const mg_rule *rule, mg_node *node)
{
    const bool good = check_value(check, rule, node);

    if (!good && check->report)
        node->broken = true;
    return good;
}
