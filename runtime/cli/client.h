/* client.h - how commands speak to a running gateway: HTTP over its admin socket, one request a connection.
 * Blocking. The main thread. */
#ifndef MG_CLI_CLIENT_H
#define MG_CLI_CLIENT_H

#include "cli/cli.h"

enum { MG_CLIENT_PATH_BYTES = 108 };

/* Where the gateway is. */
typedef struct mg_client {
    const char *command;             /* borrowed: for messages */
    const char *admin;               /* --admin; NULL: the environment's, else the configuration's */
    const char *file;                /* -c; NULL: moongate.yaml, where there is one */
    unsigned patience_s;             /* for an answer */
    char path[MG_CLIENT_PATH_BYTES]; /* of its socket; set by mg_client_find */
} mg_client;

void mg_client_init(mg_client *client, const char *command, const mg_args *args);
/* Takes --admin, -c and the global options. *status is MG_EXIT_USAGE, with a message printed, where a value
 * is missing. */
bool mg_client_option(mg_client *client, mg_args *args, const char *arg, int *status);
/* Decides which socket it is. MG_EXIT_OK, or the exit status with a message printed. */
int mg_client_find(mg_client *client);

typedef struct mg_client_answer {
    int status;
    mg_str body;   /* in `bytes` */
    mg_text bytes; /* owned */
} mg_client_answer;

/* MG_EXIT_OK when there is an answer, whatever it says; else MG_EXIT_UNREACHABLE with *why (static or
 * strerror's). `body` none: no body. Free the answer either way. */
int mg_client_try(const mg_client *client, const char *method, mg_str target, mg_str body,
                  mg_client_answer *answer, const char **why);
/* The same for an answer that is to be a success: anything else is printed, and its exit status returned. */
int mg_client_ask(const mg_client *client, const char *method, mg_str target, mg_str body,
                  mg_client_answer *answer);
void mg_client_answer_fini(mg_client_answer *answer);

/* Tells that there is no gateway at its socket; returns MG_EXIT_UNREACHABLE. */
int mg_client_unreachable(const mg_client *client, const char *why);
/* `bytes` as one whole answer; false when it is none, or not whole. */
bool mg_client_parse(mg_str bytes, mg_client_answer *answer);
/* A name as it stands in a path or query, appended. */
void mg_client_escape(mg_text *out, mg_str name);
/* The gateway's JSON, for a command's arena; NULL when it is none, with a message printed. */
const mg_node *mg_client_json(const mg_client *client, mg_arena *arena, const mg_client_answer *answer);

#endif
