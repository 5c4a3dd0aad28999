/* flusher.h - the actor that writes to the disk what outlives the process (docs/architecture.md 10): what plugins
 * and operators keep (state/kv.h, the ledger) and what policies remember (state/persist.h). A loop, a mailbox,
 * messages with answers; nobody else flushes while its loop turns. What blocks on the disk blocks this loop alone,
 * and a copy of a store not even that. */
#ifndef MG_GATEWAY_FLUSHER_H
#define MG_GATEWAY_FLUSHER_H

#include "net/loop.h"
#include "state/kv.h"
#include "state/persist.h"

typedef struct mg_flusher mg_flusher;

typedef enum mg_flush_store { MG_FLUSH_LEDGER, MG_FLUSH_POLICY, MG_FLUSH_STORES } mg_flush_store;

typedef struct mg_flusher_options {
    mg_loop *loop; /* all of these are borrowed */
    mg_log *log;
    mg_kv *kv;
    mg_store *ledger;    /* of `kv`; NULL: it is in memory */
    mg_persist *persist; /* NULL: what policies remember is in memory */
    /* A copy is made on a thread beside the loop, which goes on. False: in a turn of the loop. */
    bool copies_aside;
} mg_flusher_options;

mg_flusher *mg_flusher_new(const mg_flusher_options *options);
/* Sets its timers. Before its loop turns. */
void mg_flusher_start(mg_flusher *flusher);
/* Any thread, once nobody changes anything any more: writes what is not written, lets a copy under way end, then
 * stops the loop. */
void mg_flusher_stop(mg_flusher *flusher);
/* Once its loop does not turn any more: writes what is not written, and answers whoever waits, and from now on at
 * once whoever asks. */
void mg_flusher_close(mg_flusher *flusher);
/* Closed: writes what is not written. What cannot be is logged. */
void mg_flusher_flush(mg_flusher *flusher);
void mg_flusher_free(mg_flusher *flusher); /* closed; NULL is fine */

/* Another number for each write to that store, and 0 in between: tells whether one returns. Any thread; lives as
 * long as the flusher. */
const _Atomic uint64_t *mg_flusher_writing(const mg_flusher *flusher, mg_flush_store store);

/* ---- messages: the flusher's until they are answered ---- */

typedef struct mg_flush_ask {
    mg_message message;                    /* comes back by `from` */
    void (*answered)(mg_message *message); /* on the loop of `from`, whose the ask is again */
    mg_mailbox *from;                      /* borrowed */
    mg_result result;                      /* the answer */
    mg_flusher *flusher;                   /* its own, as `link` */
    mg_list link;
} mg_flush_ask;

/* Is answered once all that was set in `kv` before is on the disk, or cannot be written: result and `error`, static
 * text, say why; it stands in memory then, and is tried again. Any thread. */
typedef struct mg_flush_barrier {
    mg_flush_ask ask;
    const char *error;
} mg_flush_barrier;

void mg_flusher_barrier(mg_flusher *flusher, mg_flush_barrier *barrier);

/* A backup of both stores, which has all that was there when it was asked for; or, without a folder, smaller files
 * in their place. One is made after the other; barriers do not wait for a backup, and what is asked of one store
 * does not wait for the other to be compacted. MG_ERR_INVALID without a store. Any thread. */
typedef struct mg_flush_copy {
    mg_flush_ask ask;
    const char *folder;           /* borrowed: not there yet, or empty; NULL: compacts */
    mg_error err;                 /* with the answer, as all below */
    mg_store_stats before, after; /* of the ledger */
} mg_flush_copy;

void mg_flusher_copy(mg_flusher *flusher, mg_flush_copy *copy);

#endif
