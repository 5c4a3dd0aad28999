/* persist.h - policy state that outlives the process (POLICIES 10, ARCHITECTURE 7): the environment
 * state/policy, written by one flush thread. What serves requests never waits for it and never learns of its
 * failures; without a store everything is a no-op. */
#ifndef MG_GATEWAY_PERSIST_H
#define MG_GATEWAY_PERSIST_H

#include "base/log.h"
#include "base/time.h"
#include "policy/limiter.h"
#include "store/record.h"
#include "store/store.h"

typedef struct mg_persist mg_persist;

/* A small thing that is stored within 50 ms of a change: a breaker, an ejection, a rollout. */
typedef struct mg_keep_ops {
    /* Another number after every change that matters; any thread. */
    uint64_t (*stamp)(const void *self);
    /* Appends what is to be kept (mg_record_u64 and its like); moments are the policy clock's. The flush
     * thread. */
    void (*write)(const void *self, uint64_t policy_ns, mg_text *row);
    /* Takes it back; called before anybody else knows self. False: it is not understood. */
    bool (*read)(void *self, mg_record *row, uint64_t policy_ns);
} mg_keep_ops;

/* Names a kind of row; stored, so a number never changes its meaning. */
typedef enum mg_keep_kind { MG_KEEP_BREAKER = 1, MG_KEEP_EJECTION = 2, MG_KEEP_ROLLOUT = 3 } mg_keep_kind;

/* Gives `self` what was stored under its name, then stores its changes until it is dropped. Building threads:
 * takes a lock. `persist` NULL: does nothing. */
void mg_persist_keep(mg_persist *persist, mg_keep_kind kind, mg_str name, const mg_keep_ops *ops, void *self);
/* Its last state is stored first. No call of its ops runs when this returns. */
void mg_persist_drop(mg_persist *persist, const void *self);
/* The same for a limiter's keys, every second. */
void mg_persist_keep_limiter(mg_persist *persist, mg_str name, mg_limiter *limiter);
void mg_persist_drop_limiter(mg_persist *persist, const mg_limiter *limiter);

#endif
