/* account.h - what one service has at one host: its open and idle connections and its waiting requests,
 * counted over all workers. Two services at one address have an account each, so that neither sees the limits
 * of the other; a reload of a service keeps its accounts. A registry finds them by key; an account that
 * nobody holds any more is gone. Any thread; a lock is held: never on the request path. */
#ifndef MG_NET_ACCOUNT_H
#define MG_NET_ACCOUNT_H

#include "base/str.h"
#include "policy/pool.h"

typedef struct mg_accounts mg_accounts;

typedef struct mg_account {
    mg_pool_node node;
    mg_accounts *accounts; /* borrowed */
    mg_str key;            /* owned: the service's name, a space, the host's name */
    char *authority;       /* owned: "cart.internal:9000", what Host carries */
    unsigned refs;         /* under the registry's lock */
} mg_account;

mg_accounts *mg_accounts_new(uint64_t seed);
void mg_accounts_free(mg_accounts *accounts); /* no account may live */

/* The account of a service, or of no service ("": requests of plugins), at a host; made when it is missing.
 * `host` is the authority, or what tells its addresses apart. One reference is the caller's. */
mg_account *mg_accounts_take(mg_accounts *accounts, mg_str service, mg_str host, mg_str authority);
void mg_account_ref(mg_account *account);
void mg_account_unref(mg_account *account);

#endif
