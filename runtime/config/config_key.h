/* config_key.h - what tells one requester from another: "ip", "header:x", "cookie:x", "consumer", "route",
 * "global", or several of them joined by "+". The keys of limiters and of plugins are read here, and a part of
 * one says who stays with a backend. Any thread. */
#ifndef MG_CONFIG_CONFIG_KEY_H
#define MG_CONFIG_CONFIG_KEY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/words.h"
#include "http/header.h"

/* Stored, in the hash by which a limiter's keys are found again: a number never changes its meaning. */
typedef enum mg_config_key_kind {
    MG_CONFIG_KEY_IP = 0,
    MG_CONFIG_KEY_HEADER = 1, /* name: lower case */
    MG_CONFIG_KEY_COOKIE = 2, /* name: as written */
    MG_CONFIG_KEY_CONSUMER = 3,
    MG_CONFIG_KEY_ROUTE = 4,
    MG_CONFIG_KEY_GLOBAL = 5,
} mg_config_key_kind;

typedef struct mg_config_key_part {
    mg_config_key_kind kind;
    mg_str name;
    mg_name id; /* of a header */
} mg_config_key_part;

enum { MG_CONFIG_KEY_PARTS = 4 };

#define MG_CONFIG_ON_MISSING_KEYS(X)                                                                         \
    X(MG_CONFIG_MISSING_IP, "ip")                                                                            \
    X(MG_CONFIG_MISSING_SKIP, "skip")                                                                        \
    X(MG_CONFIG_MISSING_DENY, "deny")
typedef enum mg_config_on_missing_key { MG_CONFIG_ON_MISSING_KEYS(MG_WORD_ENUM) } mg_config_on_missing_key;
extern const char *const mg_config_on_missing_key_words[];

typedef struct mg_config_key {
    mg_config_key_part part[MG_CONFIG_KEY_PARTS];
    unsigned parts;
    mg_config_on_missing_key on_missing;
    unsigned ipv4_prefix, ipv6_prefix; /* bits of an address that count */
} mg_config_key;

/* One part; false for what names nothing that a request has. Names are the arena's. */
bool mg_config_key_part_read(mg_arena *arena, mg_config_key_part *part, mg_str text);
/* All parts. When it is not MG_OK, `err` says what is wrong and *hint what to write (static; may be NULL). */
MG_MUST_USE mg_result mg_config_key_read(mg_arena *arena, mg_config_key *key, mg_str text, mg_error *err,
                                         const char **hint);

#endif
