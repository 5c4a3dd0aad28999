/* tree.h - one tree for YAML and JSON, which knows where each value stands. Nodes and their text live in one
 * arena and die with it. One thread at a time while it is built or validated; afterwards it may be read from
 * many. */
#ifndef MG_TEXT_TREE_H
#define MG_TEXT_TREE_H

#include "base/arena.h"
#include "base/err.h"

typedef enum mg_node_kind {
    MG_NODE_NULL,
    MG_NODE_BOOL,
    MG_NODE_INT,
    MG_NODE_FLOAT,
    MG_NODE_STRING,
    MG_NODE_LIST,
    MG_NODE_MAP,
} mg_node_kind;

/* A text that nodes come from. Lives as long as the tree. */
typedef struct mg_source {
    const char *file; /* as messages name it; "-" for standard input */
    mg_str text;
} mg_source;

/* Bounds on what one document may make of the reader's memory. */
enum {
    MG_TREE_FILE_BYTES = 16 << 20,
    MG_TREE_NODES = 1000000,
    MG_TREE_DEPTH = 64,
};

typedef struct mg_node mg_node;
struct mg_node {
    mg_node_kind kind;
    bool
        substituted; /* a string out of ${env:..} or ${file:..}: where a number is due it may stand for one */
    bool broken;     /* its own mistake has been reported: the value means nothing */
    bool defaulted;  /* filled in by a schema, written by nobody */
    bool measured;   /* a string that is a duration, a size or a share: `integer` is its value */
    int line, column, width; /* 1-based, in characters; width may be 0 */
    const mg_source *source; /* NULL when it stands in no text */
    mg_node *parent;         /* NULL at the root */
    mg_node *key;            /* a string with a place of its own, when the parent is a map */
    mg_node *next;           /* among the parent's children, in order */
    mg_str text;             /* a string's value, a number as written; NUL after it */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            mg_node *first, *last;
            size_t count;
        };
    };
};

#define MG_NODE_EACH(parent_node, it) for (mg_node *it = (parent_node)->first; it; it = it->next)

mg_node *mg_node_new(mg_arena *arena, mg_node_kind kind);
mg_node *mg_node_new_string(mg_arena *arena, mg_str text); /* the text is copied */
/* Appends to a list (key NULL) or a map. */
void mg_node_append(mg_node *parent, mg_node *key, mg_node *child);
void mg_node_remove(mg_node *child); /* from its parent; nothing is freed */
/* A deep copy with the same places; NULL when it has more than *budget nodes, else *budget is lowered. */
mg_node *mg_node_copy(mg_arena *arena, const mg_node *node, size_t *budget);

/* The child of a map by its key, or NULL. NULL and other kinds have none. Walks the children. */
mg_node *mg_node_get(const mg_node *map, const char *key);
mg_node *mg_node_get_str(const mg_node *map, mg_str key);
bool mg_node_eq(const mg_node *a,
                const mg_node *b); /* as JSON Schema compares: 1 equals 1.0, maps in any order */
/* What a block of a document means, as one number of 128 bits: two that differ in the order of keys, in defaults that
 * are written out or in how a value is written ("60s", "1m") have the same one. */
typedef struct mg_digest {
    uint64_t a, b;
} mg_digest;

static inline bool mg_digest_eq(mg_digest one, mg_digest other)
{
    return one.a == other.a && one.b == other.b;
}

/* Of a node that a schema has checked and completed; `but`, NULL-ended, names keys of it that do not count, and may be
 * NULL. Zeros for NULL. */
mg_digest mg_node_digest(const mg_node *node, const char *const *but);
const char *mg_node_kind_name(mg_node_kind kind); /* "a list", for messages */
/* What a plain word means by YAML 1.2's core schema: sets kind and value of a node whose text is set. */
void mg_node_resolve_plain(mg_node *node);

/* "services.cart.endpoints[0].url", appended; nothing for the root. */
void mg_node_path(const mg_node *node, mg_text *out);
/* The line of the node's source that it begins on, without its end; none when it stands nowhere. */
mg_str mg_source_line(const mg_source *source, int line);
/* What a message may show of a value: its beginning, and nothing of what came out of the environment or a
 * file. */
mg_str mg_node_shown(const mg_node *node);
/* A finding at the node, with place, source line and dotted path. `node` may be NULL: no place. */
mg_finding *mg_node_error(mg_report *report, const mg_node *node, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
mg_finding *mg_node_warning(mg_report *report, const mg_node *node, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Plain JSON on one line, keys in order. Floats keep their value; what JSON cannot say (inf, nan) becomes
 * null. */
void mg_node_to_json(const mg_node *node, mg_text *out);

#endif
