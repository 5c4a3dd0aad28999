/* state_files.h - the folder of `state.path` as a whole: `ledger` (what plugins and operators put there) and
 * `policy` (what limiters, breakers and rollouts remember), copied together and put back together. Blocks for
 * as long as the disk takes: not for a loop. */
#ifndef MG_STATE_STATE_FILES_H
#define MG_STATE_STATE_FILES_H

#include "state/kv.h"
#include "state/persist.h"

/* The parts of a backup, into a folder that is empty or not there yet; the gateway goes on meanwhile. What was
 * flushed before is in it. */
MG_MUST_USE mg_result mg_state_copy_ledger(mg_store *ledger, const char *folder, mg_error *err);
MG_MUST_USE mg_result mg_state_copy_policy(mg_persist *persist, const char *folder, mg_error *err);

/* Puts a backup in the place of a state folder that no gateway uses. What stood there is kept beside it:
 * *aside is what its parts' names were given behind ("ledger" + aside), empty when nothing stood there.
 * MG_ERR_BUSY when a gateway runs on it. On failure all is as before. */
MG_MUST_USE mg_result mg_state_restore(const char *backup, const char *folder, int64_t wall_ns,
                                       mg_text *aside, mg_error *err);

#endif
