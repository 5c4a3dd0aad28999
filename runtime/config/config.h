/* config.h - text to mg_config: plain structs, owned by one arena, immutable once loaded. Whether a block has
 * changed is asked of its digest, which is made when it is checked. Every mistake of a document is reported in one pass, each with its place. One thread loads; then any thread reads.
 *
 * Durations are in milliseconds and were checked to be 1 ms..31 days where nothing else is said. A `node` is
 * where an item stands in the document (NULL for what nobody wrote), for messages of those who look closer
 * later. */
#ifndef MG_CONFIG_CONFIG_H
#define MG_CONFIG_CONFIG_H

#include "base/log.h"
#include "base/map.h"
#include "config/config_key.h"
#include "net/addr.h"
#include "policy/adaptive.h"
#include "policy/balancer.h"
#include "policy/breaker.h"
#include "policy/detector.h"
#include "policy/health.h"
#include "policy/limiter.h"
#include "policy/retry.h"
#include "policy/rollout.h"
#include "text/schema.h"
#include "text/tree.h"

typedef struct mg_config_listener {
    mg_str name;
    mg_str bind; /* as written */
    mg_addr addr;
    uint64_t head_timeout_ms, body_timeout_ms, idle_timeout_ms;
    uint32_t max_connections; /* 0: derived from the descriptor limit */
    uint32_t max_head_bytes, max_fields;
    const mg_cidr *trusted_proxies;
    size_t trusted_proxy_count;
    bool client_from_forwarded; /* else from X-Forwarded-For */
    bool underscores;           /* fields whose names have one are passed on */
    mg_str trailers;            /* lower-case names of those that are passed on, with commas between */
    const mg_node *node;
} mg_config_listener;

typedef struct mg_config_endpoint {
    mg_str url;  /* as written */
    mg_str host; /* a name in lower case, or an IP literal without brackets */
    uint16_t port;
    uint32_t weight; /* 0: never picked */
    const mg_node *node;
} mg_config_endpoint;

/* docs/policies.md 6, and services.NAME.pool of docs/configuration.md; a count or time of 0 means none where
 * it says so. */
typedef struct mg_config_pool {
    uint32_t max_connections; /* to one endpoint, over all workers; 0 = no limit */
    uint32_t max_idle, max_idle_total;
    uint32_t queue;            /* waiting requests; 0 = nobody waits */
    uint64_t queue_timeout_ms; /* 0 = nobody waits */
    uint64_t idle_timeout_ms, connect_timeout_ms, max_age_ms;
    uint32_t max_requests; /* of one connection */
} mg_config_pool;

/* A set of status codes, 100..599. */
typedef struct mg_status_set {
    uint64_t bits[10]; /* by code */
} mg_status_set;

static inline bool mg_status_set_has(const mg_status_set *set, unsigned status)
{
    return status < 640 && (set->bits[status / 64] >> status % 64 & 1);
}

static inline void mg_status_set_add(mg_status_set *set, unsigned status)
{
    set->bits[status / 64] |= 1ull << status % 64;
}

/* A policy's block: `on` is false where the service names none, and the rest is unset then. */
typedef struct mg_config_breaker {
    bool on;
    bool per_route;          /* one a route and service, else one a service */
    mg_breaker_conf conf;    /* the seed is not ours to set */
    mg_status_set failure;   /* statuses that count as failed */
    bool fail_transport;     /* so does a connection that broke, or none */
    bool fail_timeout;       /* and no answer in time */
    uint32_t max_concurrent; /* calls at once, over all workers; 0 = off */
    bool detect;             /* adaptive mode */
    mg_detector_kind detector;
} mg_config_breaker;

typedef struct mg_config_retry {
    bool on;
    mg_retry_conf conf;
    uint64_t per_try_timeout_ms; /* 0: what is left */
} mg_config_retry;

typedef struct mg_config_health {
    bool on;
    mg_digest asks; /* what is asked, how often: all of the block but what is made of the answers */
    mg_str path;    /* none: a connection is all that is asked for (TCP) */
    uint64_t interval_ms, timeout_ms;
    mg_health_conf conf;
} mg_config_health;

typedef struct mg_config_eject {
    bool on;
    mg_ejection_conf conf;
} mg_config_eject;

typedef struct mg_config_adaptive {
    bool on;
    mg_digest block;
    mg_adaptive_conf conf;
} mg_config_adaptive;

typedef struct mg_config_throttle {
    bool on;
    mg_throttle_conf conf;
} mg_config_throttle;

typedef struct mg_config_service {
    mg_str name;
    unsigned index;                      /* its place in mg_config.services */
    mg_digest rules;                     /* all of it but its endpoints and what each call takes along */
    const mg_config_endpoint *endpoints; /* at least one */
    size_t endpoint_count;
    uint64_t first_byte_timeout_ms, read_timeout_ms, tunnel_idle_timeout_ms;
    uint32_t max_head_bytes, max_fields; /* of its answers */
    mg_balancer_algorithm balance;
    uint64_t ewma_tau_ms, ewma_penalty_ms;
    uint32_t maglev_size, bound_milli; /* a bound of 0: none */
    uint64_t slow_start_ms;            /* 0: off */
    double slow_start_min;             /* a share, 0..1 */
    uint32_t panic_percent;
    mg_config_pool pool;
    mg_config_breaker breaker;
    mg_config_retry retry;
    mg_config_health health;
    mg_config_eject eject;
    mg_config_adaptive adaptive;
    mg_config_throttle throttle;
    const mg_node *node;
} mg_config_service;

#define MG_CONFIG_LIMITER_BYTES_MAX (128ull << 30) /* of all limiters of a document, when full of keys */

#define MG_CONFIG_LIMITER_MODES(X)                                                                           \
    X(MG_CONFIG_ENFORCE, "enforce")                                                                          \
    X(MG_CONFIG_SHADOW, "shadow")                                                                            \
    X(MG_CONFIG_DENY, "deny")
typedef enum mg_config_limiter_mode { MG_CONFIG_LIMITER_MODES(MG_WORD_ENUM) } mg_config_limiter_mode;
extern const char *const mg_config_limiter_mode_words[];

/* docs/policies.md 4. */
typedef struct mg_config_limiter {
    mg_str name;
    unsigned index;
    mg_limiter_conf conf; /* the secret is not ours to set; unset when mode is deny */
    mg_config_key key;
    uint32_t cost;
    mg_config_limiter_mode mode;
    const mg_node *node;
} mg_config_limiter;

#define MG_CONFIG_ON_ERRORS(X)                                                                               \
    X(MG_CONFIG_CLOSED, "closed")                                                                            \
    X(MG_CONFIG_OPEN, "open")                                                                                \
    X(MG_CONFIG_SKIP, "skip")
typedef enum mg_config_on_error { MG_CONFIG_ON_ERRORS(MG_WORD_ENUM) } mg_config_on_error;
extern const char *const mg_config_on_error_words[];

typedef struct mg_config_plugin {
    mg_str name; /* of one written in place: the built-in's */
    unsigned index;
    bool in_place;      /* stands in a route's list, not under `plugins` */
    mg_str use;         /* as written */
    mg_str path;        /* the folder of one that `use` gives a path to, resolved against the file; none for a
                           built-in */
    mg_node *config;    /* a map, never NULL; checked and completed by mg_config_plugin_check */
    mg_str config_json; /* set by mg_config_plugin_check */
    mg_config_on_error on_error;
    uint64_t timeout_ms; /* of its own waits; 0: the request's deadline alone */
    uint64_t cpu_ms;
    const mg_node *node; /* for messages about the plugin as a whole */
} mg_config_plugin;

typedef enum mg_config_path_kind {
    MG_CONFIG_PATH_PREFIX,
    MG_CONFIG_PATH_TEMPLATE,
    MG_CONFIG_PATH_EXACT
} mg_config_path_kind;

typedef struct mg_config_path {
    mg_config_path_kind kind;
    mg_str text; /* normalised; a prefix without its trailing slash, but "/" itself stays */
    const mg_node *node;
} mg_config_path;

typedef struct mg_config_field {
    mg_str name, value; /* the name in lower case */
} mg_config_field;

typedef enum mg_config_item_kind { MG_CONFIG_ITEM_PLUGIN, MG_CONFIG_ITEM_LIMIT } mg_config_item_kind;

typedef struct mg_config_item {
    mg_config_item_kind kind;
    const mg_config_plugin *plugin;   /* when a plugin */
    const mg_config_limiter *limiter; /* when a limit */
    const mg_node *node;
} mg_config_item;

typedef struct mg_config_backend {
    const mg_config_service *service;
    uint32_t weight;
    mg_str group; /* what X-Abtest-Group calls it: the service's name when none was written */
    const mg_node *node;
} mg_config_backend;

/* Progressive delivery (docs/policies.md 9). */
typedef struct mg_config_rollout {
    bool on;
    mg_str id;   /* the salt of who is chosen; the route's name when none was written */
    unsigned to; /* the canary's place among the backends */
    mg_rollout_conf conf;
} mg_config_rollout;

typedef struct mg_config_route {
    mg_str name;
    unsigned index;
    const mg_str *hosts; /* lower case; "*", "*.suffix" or a name; at least one, "*" when none was written */
    size_t host_count;
    const mg_config_path *paths; /* at least one */
    size_t path_count;
    const mg_str *methods; /* none: any */
    size_t method_count;
    const mg_config_field *headers;
    size_t header_count;
    int priority;
    uint32_t max_path_bytes;
    bool keeps_slashes;          /* slashes side by side are not merged */
    bool sends_raw;              /* the upstream gets path and query as the client sent them */
    uint64_t timeout_ms;         /* to the response head, at most 1 h */
    const mg_config_item *items; /* the chain, the first outermost */
    size_t item_count;
    const mg_config_service *service;  /* NULL: a plugin has to answer, or backends say who does */
    mg_str group;                      /* of that service; absent where there is none */
    const mg_config_backend *backends; /* several to split between; none beside a service */
    size_t backend_count;
    bool sticky; /* by sticky_key; else by the client's address */
    mg_config_key_part sticky_key;
    mg_config_rollout rollout;
    mg_deadline_conf deadline;
    const mg_node *node;
} mg_config_route;

typedef enum mg_config_log_to {
    MG_CONFIG_LOG_STDOUT,
    MG_CONFIG_LOG_STDERR,
    MG_CONFIG_LOG_FILE,
    MG_CONFIG_LOG_OFF
} mg_config_log_to;

/* What is opened once, at the start. */
typedef enum mg_config_fixed {
    MG_CONFIG_FIXED_WORKERS,
    MG_CONFIG_FIXED_STATUS,
    MG_CONFIG_FIXED_ADMIN,
    MG_CONFIG_FIXED_STATE,
    MG_CONFIG_FIXED
} mg_config_fixed;
extern const char *const mg_config_fixed_names[MG_CONFIG_FIXED]; /* as the document has them */

typedef struct mg_config {
    mg_arena arena;    /* all of it but the document, the struct too */
    mg_arena document; /* the tree that it was read from: its nodes, their text, files and schemas */
    uint32_t workers;  /* 0: one a core */
    const mg_config_listener **listeners;
    size_t listener_count;
    bool status_on;
    mg_addr status_addr;
    mg_str status_bind;
    bool admin_on;
    mg_addr admin_addr; /* a unix socket's */
    mg_str admin_bind;
    mg_str state_path; /* none: state is in memory */
    uint64_t state_max_bytes;
    const mg_config_service **services;
    size_t service_count;
    mg_map *service_map, *limiter_map; /* owned: by name */
    const mg_config_limiter **limiters;
    size_t limiter_count;
    mg_config_plugin **plugins; /* those under `plugins` that a route names or not, and those in place */
    size_t plugin_count;
    const mg_config_route **routes;
    size_t route_count;
    uint64_t drain_delay_ms, drain_timeout_ms; /* may be 0 */
    mg_config_log_to access_log_to;
    mg_str access_log_path; /* resolved, when to a file */
    mg_log_level log_level;
    const char *const *files; /* all that was read for it, the first the document itself; none for text */
    size_t file_count;
    mg_digest fixed[MG_CONFIG_FIXED];
    const mg_node *root; /* the whole document, defaults filled in; NULL once it is forgotten */
} mg_config;

/* What loading sees of the world. A member that is NULL is the real one; so is a NULL env. */
typedef struct mg_config_env {
    void *self; /* given to each call */
    /* The whole file into the arena; fails above max_bytes and on what is no regular file. */
    mg_result (*read_file)(void *self, const char *path, size_t max_bytes, mg_arena *arena, mg_str *out,
                           mg_error *err);
    /* The value, or NULL. */
    const char *(*getenv)(void *self, const char *name);
    /* The paths that match a glob(7) pattern, sorted; none is no failure. */
    mg_result (*glob)(void *self, const char *pattern, mg_arena *arena, const char ***paths, size_t *count,
                      mg_error *err);
    const char *const *set; /* "services.cart.pool.queue=5", from --set */
    size_t set_count;
    bool partial; /* for specs: version and listeners may be left out */
} mg_config_env;

/* NULL when the report got an error; warnings alone do not refuse. `path` "-" is standard input. YAML or
 * JSON, by the text itself: JSON is read as JSON when the name ends in ".json". */
mg_config *mg_config_load_file(const char *path, const mg_config_env *env, mg_report *report);
/* `file` names the text in messages, and its folder is what relative paths start from. */
mg_config *mg_config_load_text(const char *file, mg_str text, const mg_config_env *env, mg_report *report);
/* `run --to URL --listen BIND`: one listener, one service, one route for everything. `listen` NULL: ":8080".
 */
mg_config *mg_config_for_proxy(const char *to_url, const char *listen, mg_report *report);
/* Frees the document, which takes three times what is built from it. From then on no `node` may be looked at,
 * and no `config` of a plugin. */
void mg_config_forget_document(mg_config *config);
void mg_config_free(mg_config *config); /* NULL is fine */

/* Holds the plugin's config against its own schema, fills defaults in and sets config_json. Before the config
 * is published, on the thread that loads. False when the report got an error. `schema` NULL: only an empty
 * config will do. */
bool mg_config_plugin_check(mg_config *config, mg_config_plugin *plugin, const mg_schema *schema,
                            mg_report *report);

mg_config_service const *mg_config_service_named(const mg_config *config, mg_str name);
/* What a limiter takes when it is full of keys; 0 when it counts nothing. */
uint64_t mg_config_limiter_bytes(const mg_config_limiter *limiter);
mg_config_limiter const *mg_config_limiter_named(const mg_config *config, mg_str name);

#endif
