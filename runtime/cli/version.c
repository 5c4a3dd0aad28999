/* version.c - which build this is, and which parts it has. */
#include "cli/cli.h"
#include "moongate.h"

int mg_cli_version(mg_args *args)
{
    const char *arg = mg_args_next(args);

    if (arg && strcmp(arg, "--json") == 0)
        printf("{\"version\":\"%s\",\"abi\":\"%s\",\"parts\":[\"http1\",\"lua\",\"lmdb\",\"dns\"]}\n",
               MG_VERSION, mg_abi_hash());
    else if (arg)
        return mg_cli_usage("version", "unknown option \"%s\"", arg);
    else
        printf("moongate %s (abi %.12s)\nparts: http1 lua lmdb dns\n", MG_VERSION, mg_abi_hash());
    return MG_EXIT_OK;
}
