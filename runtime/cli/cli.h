/* cli.h - what the commands share. A command is one file; it gets its arguments behind its name and returns
 * the exit status. The main thread. */
#ifndef MG_CLI_CLI_H
#define MG_CLI_CLI_H

#include "base/err.h"
#include "config/config.h"

/* Exit codes: 0 done, 1 failed, 2 wrong usage, 3 invalid config or plugin, 4 gateway unreachable. */
enum { MG_EXIT_OK = 0, MG_EXIT_FAILED = 1, MG_EXIT_USAGE = 2, MG_EXIT_INVALID = 3, MG_EXIT_UNREACHABLE = 4 };

enum { MG_CLI_SETS = 64 };

/* Walks arguments: options with or without "=", then the rest. */
typedef struct mg_args {
    int count, at;
    char **items;
    const char *admin;                    /* --admin before the command's name; NULL: none */
    bool quiet, verbose, json, no_colour; /* set by mg_args_global */
} mg_args;

/* The next argument, or NULL. */
const char *mg_args_next(mg_args *args);
/* True when `arg` is the option `name`; *value is what stands behind "=" or the next argument. */
bool mg_args_value(mg_args *args, const char *arg, const char *name, const char **value);
/* Takes -q, -v, --json and --no-color, before a command's name or behind it. */
bool mg_args_global(mg_args *args, const char *arg);
/* Prints what is wrong with the usage and where help is; returns MG_EXIT_USAGE. */
int mg_cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints findings to stderr, as text. */
void mg_cli_print_report(const mg_report *report);

int mg_cli_run(mg_args *args);
int mg_cli_check(mg_args *args);
int mg_cli_routes(mg_args *args);
int mg_cli_version(mg_args *args);
int mg_cli_state(mg_args *args);
int mg_cli_top(mg_args *args);
int mg_cli_test(mg_args *args);
int mg_cli_init(mg_args *args);
int mg_cli_plugin(mg_args *args);
/* 0..MG_EXIT_*: finds the command and runs it. */
int mg_cli_main(int argc, char **argv);

#endif
