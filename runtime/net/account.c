/* account.c - the registry of accounts. */
#include "net/account.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include <pthread.h>

struct mg_accounts {
    pthread_mutex_t lock;
    mg_map *by_key; /* owned; the accounts are their holders' */
};

mg_accounts *mg_accounts_new(uint64_t seed)
{
    mg_accounts *accounts = MG_NEW(mg_accounts);

    MG_CHECK(pthread_mutex_init(&accounts->lock, NULL) == 0);
    accounts->by_key = mg_map_new(seed);
    return accounts;
}

void mg_accounts_free(mg_accounts *accounts)
{
    if (!accounts)
        return;
    MG_CHECK(mg_map_count(accounts->by_key) == 0);
    mg_map_free(accounts->by_key);
    pthread_mutex_destroy(&accounts->lock);
    mg_free(accounts);
}

static mg_account *account_new(mg_accounts *accounts, mg_str key, mg_str authority)
{
    mg_account *account = MG_NEW(mg_account);

    account->accounts = accounts;
    account->key = (mg_str){ mg_memdup0(key.p, key.n), key.n };
    account->authority = mg_memdup0(authority.p, authority.n);
    (void)mg_map_set(accounts->by_key, account->key, account);
    return account;
}

mg_account *mg_accounts_take(mg_accounts *accounts, mg_str service, mg_str host, mg_str authority)
{
    mg_text key = { 0 };
    mg_account *account;

    mg_text_addf(&key, "%.*s %.*s", MG_STR_ARGS(service), MG_STR_ARGS(host));
    pthread_mutex_lock(&accounts->lock);
    account = mg_map_get(accounts->by_key, mg_text_str(&key));
    if (!account)
        account = account_new(accounts, mg_text_str(&key), authority);
    account->refs++;
    pthread_mutex_unlock(&accounts->lock);
    mg_text_fini(&key);
    return account;
}

void mg_account_ref(mg_account *account)
{
    pthread_mutex_lock(&account->accounts->lock);
    account->refs++;
    pthread_mutex_unlock(&account->accounts->lock);
}

void mg_account_unref(mg_account *account)
{
    mg_accounts *accounts = account->accounts;
    bool last;

    pthread_mutex_lock(&accounts->lock);
    MG_CHECK(account->refs > 0);
    last = --account->refs == 0;
    if (last)
        (void)mg_map_set(accounts->by_key, account->key, NULL);
    pthread_mutex_unlock(&accounts->lock);
    if (!last)
        return;
    mg_free((void *)(uintptr_t)account->key.p);
    mg_free(account->authority);
    mg_free(account);
}
