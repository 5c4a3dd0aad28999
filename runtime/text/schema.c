/* schema.c - a schema's tree to rules. Every keyword is known or refused, every reference leads somewhere,
 * every default satisfies its own rule: a plugin author learns of a mistake when the plugin loads. */
#include "base/mem.h"
#include "text/schema_rule.h"

#include <math.h>

typedef struct compiler {
    mg_schema *schema;
    mg_report *report;
    struct pending { /* a $ref, resolved when all of $defs are known */
        mg_rule *rule;
        const mg_node *node;
        struct pending *next;
    } * pending;
    mg_named_rules defs;
} compiler;

typedef void keyword_fn(compiler *c, mg_rule *rule, const mg_node *value);

static mg_rule *compile(compiler *c, const mg_node *node);

static void wants(compiler *c, const mg_node *value, const char *what)
{
    mg_node_error(c->report, value, "schema", "must be %s, this is %s", what, mg_node_kind_name(value->kind));
}

static bool is_kind(compiler *c, const mg_node *value, mg_node_kind kind)
{
    if (value->kind == kind)
        return true;
    wants(c, value, mg_node_kind_name(kind));
    return false;
}

/* --- keywords --- */

static void on_nothing(compiler *c, mg_rule *rule, const mg_node *value)
{
    (void)c, (void)rule, (void)value; /* for readers */
}

static unsigned type_bits(mg_rule *rule, mg_str name)
{
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = { { "null", 1 << MG_NODE_NULL },     { "boolean", 1 << MG_NODE_BOOL },
                  { "integer", MG_TYPE_NUMBER },     { "number", MG_TYPE_NUMBER },
                  { "string", 1 << MG_NODE_STRING }, { "array", 1 << MG_NODE_LIST },
                  { "object", 1 << MG_NODE_MAP } };

    for (size_t i = 0; i < mg_countof(types); i++) {
        if (!mg_str_eq_c(name, types[i].name))
            continue;
        if (mg_str_eq_c(name, "integer") && !(rule->types & 1 << MG_NODE_FLOAT))
            rule->integral = true;
        if (mg_str_eq_c(name, "number"))
            rule->integral = false;
        return types[i].bits;
    }
    return 0;
}

static void add_type(compiler *c, mg_rule *rule, const mg_node *value)
{
    const unsigned bits = value->kind == MG_NODE_STRING ? type_bits(rule, value->text) : 0;

    if (bits == 0)
        mg_node_error(c->report, value, "schema",
                      "type must be null, boolean, integer, number, string, array or object");
    rule->types |= bits;
}

static void on_type(compiler *c, mg_rule *rule, const mg_node *value)
{
    rule->types = 0;
    if (value->kind != MG_NODE_LIST) {
        add_type(c, rule, value);
        return;
    }
    MG_NODE_EACH(value, it)
    {
        add_type(c, rule, it);
    }
}

static mg_named_rules named_rules(compiler *c, const mg_node *value)
{
    mg_named_rules rules = { 0 };

    if (!is_kind(c, value, MG_NODE_MAP))
        return rules;
    rules.list = MG_ARENA_NEW_N(&c->schema->arena, mg_named_rule, value->count);
    MG_NODE_EACH(value, it)
    {
        rules.list[rules.count].name = it->key->text;
        rules.list[rules.count++].rule = compile(c, it);
    }
    return rules;
}

static void on_properties(compiler *c, mg_rule *rule, const mg_node *value)
{
    rule->properties = named_rules(c, value);
}

static mg_regex *compile_regex(compiler *c, const mg_node *place, mg_str text)
{
    mg_error err = MG_ERROR_INIT;
    mg_regex *regex = mg_regex_new(text, &err);

    if (!regex)
        mg_node_error(c->report, place, "schema", "not a regular expression: %s", err.message);
    return regex;
}

static void on_pattern_properties(compiler *c, mg_rule *rule, const mg_node *value)
{
    rule->patterns = named_rules(c, value);
    for (size_t i = 0; i < rule->patterns.count; i++)
        rule->patterns.list[i].regex = compile_regex(c, value, rule->patterns.list[i].name);
}

static void on_pattern(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (is_kind(c, value, MG_NODE_STRING))
        rule->pattern = compile_regex(c, value, value->text);
}

static mg_rules rule_list(compiler *c, const mg_node *value)
{
    mg_rules rules = { 0 };

    if (!is_kind(c, value, MG_NODE_LIST))
        return rules;
    if (value->count == 0)
        mg_node_error(c->report, value, "schema", "must name at least one schema");
    rules.list = MG_ARENA_NEW_N(&c->schema->arena, mg_rule *, value->count);
    MG_NODE_EACH(value, it)
    {
        rules.list[rules.count++] = compile(c, it);
    }
    return rules;
}

static void on_required(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (!is_kind(c, value, MG_NODE_LIST))
        return;
    MG_NODE_EACH(value, it)
    {
        if (!is_kind(c, it, MG_NODE_STRING))
            return;
    }
    rule->required = value;
}

static void on_ref(compiler *c, mg_rule *rule, const mg_node *value)
{
    struct pending *pending;

    if (!is_kind(c, value, MG_NODE_STRING))
        return;
    pending = MG_ARENA_NEW(&c->schema->arena, struct pending);
    *pending = (struct pending){ rule, value, c->pending };
    c->pending = pending;
}

static void on_defs(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (value->parent != c->schema->root)
        mg_node_error(c->report, value, "schema", "$defs belong to the root of a schema");
    else
        c->defs = named_rules(c, value);
    (void)rule;
}

static void on_format(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (!is_kind(c, value, MG_NODE_STRING))
        return;
    rule->format = mg_format_named(value->text);
    if (rule->format == MG_FORMAT_NONE)
        mg_node_error(c->report, value, "schema",
                      "format must be duration, size, rate, share, bind, url, regex or host");
}

static void on_enum(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (is_kind(c, value, MG_NODE_LIST))
        rule->one_of_values = value;
}

static void on_default(compiler *c, mg_rule *rule, const mg_node *value)
{
    (void)c;
    rule->fallback = value;
}

static void on_const(compiler *c, mg_rule *rule, const mg_node *value)
{
    (void)c;
    rule->constant = value;
}

static void on_later(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (!is_kind(c, value, MG_NODE_MAP))
        return;
    MG_NODE_EACH(value, it)
    {
        if (!is_kind(c, it, MG_NODE_STRING))
            return;
    }
    rule->later = value;
}

static void on_unique(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (is_kind(c, value, MG_NODE_BOOL))
        rule->unique = value->boolean;
}

static void on_range(compiler *c, mg_rule *rule, const mg_node *value)
{
    if (!is_kind(c, value, MG_NODE_LIST))
        return;
    if (value->count != 2 || value->first->kind != MG_NODE_STRING || value->last->kind != MG_NODE_STRING) {
        mg_node_error(c->report, value, "schema", "must be [lowest, highest], written with their units");
        return;
    }
    rule->lowest = value->first;
    rule->highest = value->last;
}

static bool is_number(compiler *c, const mg_node *value)
{
    if ((1u << value->kind) & MG_TYPE_NUMBER)
        return true;
    wants(c, value, "a number");
    return false;
}

static void on_count(compiler *c, const mg_node **slot, const mg_node *value)
{
    if (!is_number(c, value))
        return;
    if (value->kind == MG_NODE_INT ? value->integer < 0
                                   : value->number < 0 || value->number != floor(value->number))
        mg_node_error(c->report, value, "schema", "must be a whole number from 0");
    else
        *slot = value;
}

static void on_number(compiler *c, const mg_node **slot, const mg_node *value)
{
    if (is_number(c, value))
        *slot = value;
}

static void on_multiple(compiler *c, mg_rule *rule, const mg_node *value)
{
    const mg_node zero = { .kind = MG_NODE_INT };

    if (!is_number(c, value))
        return;
    if (mg_number_cmp(value, &zero) <= 0)
        mg_node_error(c->report, value, "schema", "must be above 0");
    else
        rule->multiple_of = value;
}

#define SLOT_FN(fn_name, setter, slot)                                                                       \
    static void fn_name(compiler *c, mg_rule *rule, const mg_node *value)                                    \
    {                                                                                                        \
        setter(c, &rule->slot, value);                                                                       \
    }
#define RULE_FN(fn_name, make, slot)                                                                         \
    static void fn_name(compiler *c, mg_rule *rule, const mg_node *value)                                    \
    {                                                                                                        \
        rule->slot = make(c, value);                                                                         \
    }

SLOT_FN(on_min_properties, on_count, min_properties)
SLOT_FN(on_max_properties, on_count, max_properties)
SLOT_FN(on_min_items, on_count, min_items)
SLOT_FN(on_max_items, on_count, max_items)
SLOT_FN(on_min_length, on_count, min_length)
SLOT_FN(on_max_length, on_count, max_length)
SLOT_FN(on_minimum, on_number, minimum)
SLOT_FN(on_maximum, on_number, maximum)
SLOT_FN(on_above, on_number, above)
SLOT_FN(on_below, on_number, below)
RULE_FN(on_additional, compile, additional)
RULE_FN(on_names, compile, names)
RULE_FN(on_items, compile, items)
RULE_FN(on_not, compile, negated)
RULE_FN(on_prefix, rule_list, prefix)
RULE_FN(on_all, rule_list, all)
RULE_FN(on_any, rule_list, any)
RULE_FN(on_one, rule_list, one)

static const struct {
    const char *name;
    keyword_fn *fn;
} keywords[] = {
    { "type", on_type },
    { "properties", on_properties },
    { "required", on_required },
    { "additionalProperties", on_additional },
    { "patternProperties", on_pattern_properties },
    { "propertyNames", on_names },
    { "minProperties", on_min_properties },
    { "maxProperties", on_max_properties },
    { "items", on_items },
    { "prefixItems", on_prefix },
    { "minItems", on_min_items },
    { "maxItems", on_max_items },
    { "uniqueItems", on_unique },
    { "enum", on_enum },
    { "const", on_const },
    { "minimum", on_minimum },
    { "maximum", on_maximum },
    { "exclusiveMinimum", on_above },
    { "exclusiveMaximum", on_below },
    { "multipleOf", on_multiple },
    { "minLength", on_min_length },
    { "maxLength", on_max_length },
    { "pattern", on_pattern },
    { "format", on_format },
    { "x-range", on_range },
    { "x-later", on_later },
    { "allOf", on_all },
    { "anyOf", on_any },
    { "oneOf", on_one },
    { "not", on_not },
    { "$ref", on_ref },
    { "$defs", on_defs },
    { "default", on_default },
    { "$schema", on_nothing },
    { "$id", on_nothing },
    { "$comment", on_nothing },
    { "title", on_nothing },
    { "description", on_nothing },
    { "examples", on_nothing },
    { "deprecated", on_nothing },
};

static void unknown_keyword(compiler *c, const mg_node *key)
{
    mg_str known[mg_countof(keywords)], near;
    mg_finding *f;

    for (size_t i = 0; i < mg_countof(keywords); i++)
        known[i] = mg_str_of(keywords[i].name);
    near = mg_nearest(key->text, known, mg_countof(known));
    f = mg_node_error(c->report, key, "schema",
                      "the keyword \"%.*s\" is not understood, so it would check nothing",
                      MG_STR_ARGS(mg_str_sub(key->text, 0, 60)));
    if (near.p)
        mg_finding_hint(f, "did you mean \"%.*s\"?", MG_STR_ARGS(near));
}

static void apply_keyword(compiler *c, mg_rule *rule, const mg_node *value)
{
    for (size_t i = 0; i < mg_countof(keywords); i++) {
        if (mg_str_eq_c(value->key->text, keywords[i].name)) {
            keywords[i].fn(c, rule, value);
            return;
        }
    }
    unknown_keyword(c, value->key);
}

/* The bounds of x-range, which need the format that may stand behind them. */
static void read_range(compiler *c, mg_rule *rule)
{
    mg_error err = MG_ERROR_INIT;

    if (!rule->lowest)
        return;
    if (!mg_format_value(rule->format, rule->lowest->text, &rule->lowest_value, &err) ||
        !mg_format_value(rule->format, rule->highest->text, &rule->highest_value, &err)) {
        mg_node_error(c->report, rule->lowest->parent, "schema", "x-range: %s",
                      err.message[0] ? err.message : "stands without format duration, size or share");
        rule->lowest = rule->highest = NULL;
    }
}

static mg_rule *compile(compiler *c, const mg_node *node)
{
    mg_rule *rule = MG_ARENA_NEW(&c->schema->arena, mg_rule);

    rule->made_before = c->schema->newest;
    c->schema->newest = rule;
    rule->at = node;
    rule->types = MG_TYPE_ANY;
    if (node->kind == MG_NODE_BOOL) {
        rule->never = !node->boolean;
        return rule;
    }
    if (node->kind != MG_NODE_MAP) {
        wants(c, node, "a schema: a map, or true or false");
        return rule;
    }
    MG_NODE_EACH(node, it)
    {
        apply_keyword(c, rule, it);
    }
    read_range(c, rule);
    return rule;
}

/* --- references --- */

static mg_rule *find_ref(const compiler *c, mg_str text)
{
    const mg_str prefix = MG_STR("#/$defs/");

    if (mg_str_eq_c(text, "#"))
        return c->schema->rule;
    if (!mg_str_starts(text, prefix))
        return NULL;
    for (size_t i = 0; i < c->defs.count; i++) {
        if (mg_str_eq(c->defs.list[i].name, mg_str_sub(text, prefix.n, text.n)))
            return c->defs.list[i].rule;
    }
    return NULL;
}

static void resolve_refs(compiler *c)
{
    for (struct pending *p = c->pending; p; p = p->next) {
        p->rule->ref = find_ref(c, p->node->text);
        if (!p->rule->ref)
            mg_node_error(c->report, p->node, "schema",
                          "there is no \"%.*s\" in this schema; write #/$defs/NAME",
                          MG_STR_ARGS(mg_str_sub(p->node->text, 0, 80)));
    }
}

/* Whether a rule leads back to itself without going into the value: it would never come to an end. So would,
 * nearly, a chain of references longer than anybody writes. */
static bool circles(mg_rule *rule, unsigned depth)
{
    const mg_rules *lists[] = { &rule->all, &rule->any, &rule->one };
    bool found = false;

    if (rule->mark != 0 || depth > MG_TREE_DEPTH)
        return rule->mark != 2; /* 1: being looked at; 2: done */
    rule->mark = 1;
    found =
        (rule->ref && circles(rule->ref, depth + 1)) || (rule->negated && circles(rule->negated, depth + 1));
    for (size_t i = 0; i < mg_countof(lists) && !found; i++) {
        for (size_t k = 0; k < lists[i]->count && !found; k++)
            found = circles(lists[i]->list[k], depth + 1);
    }
    rule->mark = 2;
    return found;
}

static bool any_circle(compiler *c)
{
    for (mg_rule *rule = c->schema->newest; rule; rule = rule->made_before) {
        if (rule->mark == 0 && circles(rule, 0)) {
            mg_node_error(c->report, rule->at, "schema", "the reference leads back to itself, or too far");
            return true;
        }
    }
    return false;
}

static void check_defaults(compiler *c)
{
    for (const mg_rule *rule = c->schema->newest; rule; rule = rule->made_before) {
        mg_schema part = { .rule = (mg_rule *)rule };
        mg_report report = MG_REPORT_INIT;
        size_t budget = MG_TREE_NODES;
        if (!rule->fallback)
            continue;
        if (!mg_schema_validate(&part, mg_node_copy(&c->schema->arena, rule->fallback, &budget),
                                &c->schema->arena, &report))
            mg_node_error(c->report, rule->fallback, "schema", "the default is not valid itself: %s",
                          report.count ? report.findings[0].message : "");
        mg_report_fini(&report);
    }
}

mg_schema *mg_schema_new(const mg_node *root, mg_report *report)
{
    mg_schema *schema = MG_NEW(mg_schema);
    compiler c = { .schema = schema, .report = report };
    const size_t errors = report->errors;

    mg_arena_init(&schema->arena, NULL, 0);
    schema->root = root;
    schema->rule = compile(&c, root);
    resolve_refs(&c);
    if (report->errors == errors && !any_circle(&c))
        check_defaults(&c);
    if (report->errors == errors)
        return schema;
    mg_schema_free(schema);
    return NULL;
}

void mg_schema_free(mg_schema *schema)
{
    if (!schema)
        return;
    for (mg_rule *rule = schema->newest; rule; rule = rule->made_before) {
        mg_regex_free(rule->pattern);
        for (size_t i = 0; i < rule->patterns.count; i++)
            mg_regex_free(rule->patterns.list[i].regex);
    }
    mg_arena_fini(&schema->arena);
    mg_free(schema);
}
