/* schema_check.c - a tree against the rules, and the defaults into the tree. Two walks: the first judges what
 * was written and nothing else, the second fills in, so that a default cannot make a document invalid or
 * valid. */
#include "base/mem.h"
#include "text/schema_rule.h"

enum { MAX_DEPTH = 1024 };

static bool check(mg_check *c, const mg_rule *rule, mg_node *node);

/* Whether the rule holds, without a word about it. */
static bool holds(mg_check *c, const mg_rule *rule, mg_node *node)
{
    mg_check quiet = *c;
    bool good;

    quiet.report = NULL;
    good = check(&quiet, rule, node);
    c->steps = quiet.steps;
    return good;
}

/* --- maps --- */

static const mg_rule *property(const mg_rule *rule, mg_str name)
{
    for (size_t i = 0; i < rule->properties.count; i++) {
        if (mg_str_eq(rule->properties.list[i].name, name))
            return rule->properties.list[i].rule;
    }
    return NULL;
}

static void hint_known_keys(mg_finding *f, const mg_rule *rule, mg_str name)
{
    const size_t count = rule->properties.count;
    const mg_node *later = mg_node_get_str(rule->later, name);
    mg_str *known = MG_NEW_N(mg_str, count + 1), near;
    mg_text list = { 0 };

    for (size_t i = 0; i < count; i++) {
        known[i] = rule->properties.list[i].name;
        mg_text_addf(&list, "%s%.*s", i ? ", " : "", MG_STR_ARGS(known[i]));
    }
    near = mg_nearest(name, known, count);
    if (later)
        mg_finding_hint(f, "%.*s", MG_STR_ARGS(later->text));
    else if (near.p)
        mg_finding_hint(f, "did you mean \"%.*s\"?", MG_STR_ARGS(near));
    else if (count > 0)
        mg_finding_hint(f, "known here: %s", list.p);
    mg_text_fini(&list);
    mg_free(known);
}

static void report_unknown(mg_check *c, const mg_rule *rule, const mg_node *child)
{
    hint_known_keys(mg_node_error(c->report, child->key, "unknown-key", "unknown key \"%.*s\"",
                                  MG_STR_ARGS(mg_str_sub(child->key->text, 0, 60))),
                    rule, child->key->text);
}

static bool check_child(mg_check *c, const mg_rule *rule, mg_node *child)
{
    const mg_rule *named = property(rule, child->key->text);
    bool good = !named || check(c, named, child), known = named != NULL;

    for (size_t i = 0; i < rule->patterns.count; i++) {
        if (mg_regex_search(rule->patterns.list[i].regex, child->key->text) != MG_OK)
            continue;
        known = true;
        good = check(c, rule->patterns.list[i].rule, child) && good;
    }
    if (rule->names && !check(c, rule->names, child->key))
        good = false;
    if (known || !rule->additional)
        return good;
    if (!rule->additional->never)
        return check(c, rule->additional, child) && good;
    if (c->report)
        report_unknown(c, rule, child);
    return false;
}

static bool check_required(mg_check *c, const mg_rule *rule, const mg_node *map)
{
    bool good = true;

    MG_NODE_EACH(rule->required, it)
    {
        const mg_rule *named = property(rule, it->text);
        const mg_node *about = named ? mg_node_get(named->at, "description") : NULL;
        mg_finding *f;
        if (mg_node_get_str(map, it->text))
            continue;
        good = false;
        if (!c->report)
            break;
        f = mg_node_error(c->report, map, "missing-key", "the key \"%.*s\" is missing",
                          MG_STR_ARGS(it->text));
        if (about && about->kind == MG_NODE_STRING)
            mg_finding_hint(f, "%.*s: %.*s", MG_STR_ARGS(it->text), MG_STR_ARGS(about->text));
    }
    return good;
}

static bool check_count(mg_check *c, const mg_node *node, const mg_node *least, const mg_node *most,
                        const char *what)
{
    const mg_node count = { .kind = MG_NODE_INT, .integer = (int64_t)node->count };
    const bool few = least && mg_number_cmp(&count, least) < 0,
               many = most && mg_number_cmp(&count, most) > 0;
    mg_text limit = { 0 };

    if (!few && !many)
        return true;
    if (c->report) {
        mg_node_to_json(few ? least : most, &limit);
        mg_node_error(c->report, node, "out-of-range", "has %zu %s%s, the %s is %s", node->count, what,
                      node->count == 1 ? "" : "s", few ? "least" : "most", limit.p);
        mg_text_fini(&limit);
    }
    return false;
}

static bool check_map(mg_check *c, const mg_rule *rule, mg_node *map)
{
    bool good = check_count(c, map, rule->min_properties, rule->max_properties, "key");

    if (rule->required && !check_required(c, rule, map))
        good = false;
    if (rule->properties.count + rule->patterns.count == 0 && !rule->additional && !rule->names)
        return good;
    MG_NODE_EACH(map, it)
    {
        good = check_child(c, rule, it) && good;
        if (!good && !c->report)
            return false;
    }
    return good;
}

/* --- lists --- */

static bool check_unique(mg_check *c, const mg_node *list)
{
    MG_NODE_EACH(list, a)
    {
        for (const mg_node *b = list->first; b != a && c->steps > 0; b = b->next) {
            c->steps--;
            if (!mg_node_eq(a, b))
                continue;
            if (c->report)
                mg_node_error(c->report, a, "not-allowed", "stands in the list twice");
            return false;
        }
    }
    return true;
}

static bool check_list(mg_check *c, const mg_rule *rule, mg_node *list)
{
    bool good = check_count(c, list, rule->min_items, rule->max_items, "item");
    size_t i = 0;

    MG_NODE_EACH(list, it)
    {
        const mg_rule *item = i < rule->prefix.count ? rule->prefix.list[i] : rule->items;
        i++;
        if (item && item->never && c->report)
            mg_node_error(c->report, it, "not-allowed", "there is no place for this item");
        if (item && (item->never || !check(c, item, it)))
            good = false;
        if (!good && !c->report)
            return false;
    }
    return (!rule->unique || check_unique(c, list)) && good;
}

/* --- combinations --- */

/* Among branches that all fail, the one that was most likely meant: the only one whose type fits. */
static const mg_rule *meant(const mg_rules *branches, const mg_node *node)
{
    const mg_rule *found = NULL;

    for (size_t i = 0; i < branches->count; i++) {
        const mg_rule *branch = branches->list[i];
        while (branch->ref && branch->types == MG_TYPE_ANY)
            branch = branch->ref;
        if (!(branch->types & 1u << node->kind))
            continue;
        if (found)
            return NULL;
        found = branches->list[i];
    }
    return found;
}

static void report_branches(mg_check *c, const mg_rules *branches, mg_node *node)
{
    const mg_rule *branch = meant(branches, node);
    mg_text forms = { 0 };
    mg_finding *f;

    if (branch) {
        (void)check(c, branch, node);
        return;
    }
    for (size_t i = 0; i < branches->count; i++) {
        const mg_node *about = mg_node_get(branches->list[i]->at, "description");
        if (about && about->kind == MG_NODE_STRING)
            mg_text_addf(&forms, "%s%.*s", forms.n ? ", or " : "", MG_STR_ARGS(about->text));
    }
    f = mg_node_error(c->report, node, "not-allowed", "has none of the %zu forms that are possible here",
                      branches->count);
    if (forms.n)
        mg_finding_hint(f, "write %s", forms.p);
    mg_text_fini(&forms);
}

static bool check_branches(mg_check *c, const mg_rules *branches, bool only_one, mg_node *node)
{
    size_t good = 0;

    if (branches->count == 0)
        return true;
    for (size_t i = 0; i < branches->count; i++) {
        good += holds(c, branches->list[i], node);
        if (good > only_one)
            break;
    }
    if (good == 1 || (good > 1 && !only_one))
        return true;
    if (c->report && good == 0)
        report_branches(c, branches, node);
    else if (c->report)
        mg_node_error(c->report, node, "not-allowed",
                      "has more than one of the forms that are possible here");
    return false;
}

static bool check_combined(mg_check *c, const mg_rule *rule, mg_node *node)
{
    bool good = true;

    for (size_t i = 0; i < rule->all.count; i++)
        good = check(c, rule->all.list[i], node) && good;
    good = check_branches(c, &rule->any, false, node) && good;
    good = check_branches(c, &rule->one, true, node) && good;
    if (!rule->negated || !holds(c, rule->negated, node))
        return good;
    if (!c->report)
        return false;
    const mg_node *about = mg_node_get(rule->at, "description");
    mg_finding *f = mg_node_error(c->report, node, "not-allowed", "has a form that is excluded here");
    if (about && about->kind == MG_NODE_STRING)
        mg_finding_hint(f, "%.*s", MG_STR_ARGS(about->text));
    return false;
}

/* Counts a step down, so that no schema can keep its reader busy, nor deeper than its stack. */
static bool enter(mg_check *c)
{
    if (c->steps == 0 || c->depth == MAX_DEPTH) {
        c->steps = 0;
        return false;
    }
    c->steps--;
    c->depth++;
    return true;
}

static bool check_rule(mg_check *c, const mg_rule *rule, mg_node *node)
{
    bool good;

    if (rule->never) {
        if (c->report)
            mg_node_error(c->report, node, "not-allowed", "nothing may stand here");
        return false;
    }
    if (rule->ref && !check(c, rule->ref, node))
        return false;
    good = mg_check_value(c, rule, node);
    if (good && node->kind == MG_NODE_MAP)
        good = check_map(c, rule, node);
    else if (good && node->kind == MG_NODE_LIST)
        good = check_list(c, rule, node);
    return good && check_combined(c, rule, node);
}

static bool check(mg_check *c, const mg_rule *rule, mg_node *node)
{
    bool good;

    if (node->broken)
        return true;
    if (!enter(c))
        return false;
    good = check_rule(c, rule, node);
    c->depth--;
    return good;
}

/* --- defaults --- */

static void fill(mg_check *c, const mg_rule *rule, mg_node *node);

static void mark_defaulted(mg_node *node)
{
    node->defaulted = true;
    node->source = NULL;
    if (node->kind != MG_NODE_LIST && node->kind != MG_NODE_MAP)
        return;
    MG_NODE_EACH(node, it)
    {
        mark_defaulted(it);
    }
}

static void fill_map(mg_check *c, const mg_rule *rule, mg_node *map)
{
    for (size_t i = 0; i < rule->properties.count; i++) {
        const mg_named_rule *named = &rule->properties.list[i];
        const mg_rule *source = named->rule;
        size_t budget = MG_TREE_NODES;
        mg_node *value;
        while (!source->fallback && source->ref)
            source = source->ref;
        if (!source->fallback || mg_node_get_str(map, named->name))
            continue;
        value = mg_node_copy(c->arena, source->fallback, &budget);
        mark_defaulted(value);
        mg_node_append(map, mg_node_new_string(c->arena, named->name), value);
    }
    MG_NODE_EACH(map, it)
    {
        const mg_rule *named = property(rule, it->key->text);
        bool known = named != NULL;
        if (named)
            fill(c, named, it);
        for (size_t i = 0; i < rule->patterns.count; i++) {
            if (mg_regex_search(rule->patterns.list[i].regex, it->key->text) != MG_OK)
                continue;
            known = true;
            fill(c, rule->patterns.list[i].rule, it);
        }
        if (!known && rule->additional)
            fill(c, rule->additional, it);
    }
}

static void fill_list(mg_check *c, const mg_rule *rule, mg_node *list)
{
    size_t i = 0;

    MG_NODE_EACH(list, it)
    {
        const mg_rule *item = i < rule->prefix.count ? rule->prefix.list[i] : rule->items;
        i++;
        if (item)
            fill(c, item, it);
    }
}

/* The first branch that holds gives its defaults. */
static void fill_branch(mg_check *c, const mg_rules *branches, mg_node *node)
{
    for (size_t i = 0; i < branches->count; i++) {
        if (!holds(c, branches->list[i], node))
            continue;
        fill(c, branches->list[i], node);
        return;
    }
}

static void fill(mg_check *c, const mg_rule *rule, mg_node *node)
{
    if (!enter(c))
        return;
    if (rule->ref)
        fill(c, rule->ref, node);
    for (size_t i = 0; i < rule->all.count; i++)
        fill(c, rule->all.list[i], node);
    fill_branch(c, &rule->any, node);
    fill_branch(c, &rule->one, node);
    if (node->kind == MG_NODE_MAP)
        fill_map(c, rule, node);
    else if (node->kind == MG_NODE_LIST)
        fill_list(c, rule, node);
    c->depth--;
}

bool mg_schema_validate(const mg_schema *schema, mg_node *node, mg_arena *arena, mg_report *report)
{
    mg_check c = { .arena = arena, .report = report, .steps = MG_CHECK_STEPS };
    const size_t errors = report->errors;

    (void)check(&c, schema->rule, node);
    if (c.steps > 0)
        fill(&c, schema->rule, node);
    if (c.steps == 0)
        mg_node_error(report, node, "syntax", "takes too long to hold against its schema");
    return report->errors == errors;
}
