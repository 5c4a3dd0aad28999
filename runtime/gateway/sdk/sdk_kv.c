/* kv_host.c - where a VM finds its namespaces: the worker's host knows the gateway's key-value store. */
#include "gateway/host.h"
#include "state/kv.h"

mg_kv_space *mg_kv_space_new(mg_host *host, const char *name, uint32_t n)
{
    mg_kv *kv = mg_shared_kv(host->shared);
    return kv ? mg_kv_open(kv, mg_str_make(name, n), NULL) : NULL;
}
