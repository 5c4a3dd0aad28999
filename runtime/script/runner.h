/* runner.h - a Lua state without a sandbox, for programs in Lua that the binary carries (moongate test). Any thread, one
 * at a time. */
#ifndef MG_SCRIPT_RUNNER_H
#define MG_SCRIPT_RUNNER_H

#include "base/str.h"

/* A table of functions (base/abi.lua) and its hash, which the Lua side compares with its own. */
typedef struct mg_runner_api {
    const char *name;
    const void *table;
    const char *hash;
} mg_runner_api;

typedef struct mg_runner {
    const char *main;                   /* an embedded file: "lua/moongate/test/run.lua" */
    mg_str (*source)(const char *name); /* embedded files; {NULL} when absent */
    const mg_runner_api *apis;          /* up to one without a name */
    const char *const *arguments;       /* up to a NULL */
} mg_runner;

/* Runs the program: main({ NAME = { table, hash } }, source, arguments), which returns the exit status. 1, and a message on stderr, when
 * it raises. */
int mg_runner_run(const mg_runner *runner);

#endif
