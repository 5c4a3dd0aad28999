/* parts.h - what the files of this folder share. One thread, that of the spec. */
#ifndef MG_SPEC_PARTS_H
#define MG_SPEC_PARTS_H

#include "base/list.h"
#include "net/addr.h"
#include "net/resolver.h"
#include "sim/sim.h"
#include "spec/spec.h"

enum { SPEC_RECEIVE_BYTES = 64 * 1024 };

/* Looks whether one of the spec's sockets has something to tell. */
typedef struct mg_spec_watch {
    mg_list link;
    mg_watch watch;
    mg_spec *spec;
    bool listener;
} mg_spec_watch;

struct mg_spec {
    mg_sim *sim;
    mg_loop *outside; /* of the spec's own sockets */
    uint64_t seed, began_ns;
    mg_list nodes;
    mg_list watches; /* owned, of mg_spec_watch: its open sockets, the newest first */
    bool woken;
    mg_text problem, text;
    char bytes[SPEC_RECEIVE_BYTES];
};

/* False, and the problem is told. */
bool mg_spec_fail(mg_spec *spec, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
