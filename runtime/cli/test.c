/* test.c - `moongate test`: busted inside this binary, with gateways on a simulated clock (lua/moongate/test). */
#include "base/embed.h"
#include "cli/cli.h"
#include "mg_abi.h"
#include "mg_spec_abi.h"
#include "script/runner.h"

int mg_cli_test(mg_args *args)
{
    const mg_runner_api apis[] = { { "gateway", &mg_api_table, mg_abi_hash() },
                                   { "spec", &mg_spec_api_table, MG_SPEC_ABI_HASH },
                                   { 0 } };
    const mg_runner runner = { .main = "lua/moongate/test/run.lua",
                               .source = mg_embedded,
                               .apis = apis,
                               .arguments = (const char *const *)args->items + args->at };

    return mg_runner_run(&runner);
}
