/* schema_rule.h - a compiled schema, private to schema*.c: schema.c makes it, schema_check.c holds trees
 * against it, schema_value.c judges single values and words what is wrong with them. Any thread: a compiled
 * schema is only read; one at a time on one tree. */
#ifndef MG_TEXT_SCHEMA_RULE_H
#define MG_TEXT_SCHEMA_RULE_H

#include "text/regex.h"
#include "text/schema.h"

typedef enum mg_format {
    MG_FORMAT_NONE,
    MG_FORMAT_DURATION,
    MG_FORMAT_SIZE,
    MG_FORMAT_RATE,
    MG_FORMAT_SHARE,
    MG_FORMAT_BIND,
    MG_FORMAT_URL,
    MG_FORMAT_REGEX,
    MG_FORMAT_HOST,
} mg_format;

enum { MG_TYPE_ANY = 0x7f, MG_TYPE_NUMBER = 1 << MG_NODE_INT | 1 << MG_NODE_FLOAT };

typedef struct mg_rule mg_rule;

typedef struct mg_rules {
    mg_rule **list;
    size_t count;
} mg_rules;

typedef struct mg_named_rule {
    mg_str name;
    mg_regex *regex; /* owned by the schema; of patternProperties */
    mg_rule *rule;
} mg_named_rule;

typedef struct mg_named_rules {
    mg_named_rule *list;
    size_t count;
} mg_named_rules;

struct mg_rule {
    const mg_node *at; /* the schema's own text */
    bool never;        /* the schema `false` */
    unsigned types;    /* bits 1 << mg_node_kind */
    bool integral;     /* "integer": 1.0 will do, 1.5 will not */
    mg_format format;
    mg_rule *ref;
    mg_named_rules properties, patterns;
    mg_rule *additional, *names;
    const mg_node *required; /* a list, or NULL */
    mg_rules prefix;
    mg_rule *items;
    bool unique;
    const mg_node *min_properties, *max_properties, *min_items, *max_items, *min_length, *max_length;
    const mg_node *one_of_values, *constant; /* enum, const */
    const mg_node *minimum, *maximum, *above, *below, *multiple_of;
    const mg_node *lowest, *highest; /* x-range, written with units */
    uint64_t lowest_value, highest_value;
    mg_regex *pattern; /* owned by the schema */
    mg_rules all, any, one;
    mg_rule *negated;
    const mg_node *fallback; /* default */
    const mg_node *later;    /* x-later */
    int mark;                /* while looking for references that never get anywhere */
    mg_rule *made_before;    /* all rules of a schema, for free */
};

struct mg_schema {
    mg_arena arena;
    const mg_node *root;
    mg_rule *rule;
    mg_rule *newest;
};

/* A run over one tree. Quiet: only the verdict counts. */
typedef struct mg_check {
    mg_arena *arena;
    mg_report *report; /* NULL: quiet */
    size_t steps;      /* left */
    size_t depth;
} mg_check;

enum { MG_CHECK_STEPS = 20000000 };

/* A number read by a format; false when the text does not have that format, with the reason. */
bool mg_format_value(mg_format format, mg_str text, uint64_t *value, mg_error *err);
mg_format mg_format_named(mg_str name); /* MG_FORMAT_NONE for one we do not know */

/* Type, enum, const, numbers, text and format of one value. False when something is wrong; reported unless
 * quiet. */
bool mg_check_value(mg_check *check, const mg_rule *rule, mg_node *node);
int mg_number_cmp(const mg_node *a, const mg_node *b);
/* " did you mean ..": the known name nearest to `name`, or none. */
mg_str mg_nearest(mg_str name, const mg_str *known, size_t count);

#endif
