/* version.c - which build this is, and which parts it has. */
#include "base/mem.h"
#include "cli/cli.h"
#include "moongate.h"

static const char *const parts[] = { "http1", "lua", "lmdb", "dns" };

static void print_json(void)
{
    mg_text text = { 0 };
    mg_json_out json = { .text = &text };

    mg_json_out_map(&json, NULL);
    mg_json_out_text(&json, "version", MG_STR(MG_VERSION));
    mg_json_out_text(&json, "abi", mg_str_of(mg_abi_hash()));
    mg_json_out_list(&json, "parts");
    for (size_t i = 0; i < mg_countof(parts); i++)
        mg_json_out_text(&json, NULL, mg_str_of(parts[i]));
    mg_json_out_end(&json);
    mg_json_out_end(&json);
    puts(text.p);
    mg_text_fini(&text);
}

int mg_cli_version(mg_args *args)
{
    for (const char *arg; (arg = mg_args_next(args));)
        if (!mg_args_global(args, arg))
            return mg_cli_usage("version", "unknown option \"%s\"", arg);
    if (args->json) {
        print_json();
        return MG_EXIT_OK;
    }
    printf("moongate %s (abi %.12s)\nparts:", MG_VERSION, mg_abi_hash());
    for (size_t i = 0; i < mg_countof(parts); i++)
        printf(" %s", parts[i]);
    putchar('\n');
    return MG_EXIT_OK;
}
