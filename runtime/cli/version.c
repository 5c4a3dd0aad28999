/* version.c - which build this is, and which parts it has. */
#include "cli/cli.h"
#include "moongate.h"

int mg_cli_version(mg_args *args)
{
    for (const char *arg; (arg = mg_args_next(args));)
        if (!mg_args_global(args, arg))
            return mg_cli_usage("version", "unknown option \"%s\"", arg);
    if (args->json)
        printf("{\"version\":\"%s\",\"abi\":\"%s\",\"parts\":[\"http1\",\"lua\",\"lmdb\",\"dns\"]}\n",
               MG_VERSION, mg_abi_hash());
    else
        printf("moongate %s (abi %.12s)\nparts: http1 lua lmdb dns\n", MG_VERSION, mg_abi_hash());
    return MG_EXIT_OK;
}
