/* cli.c - arguments, and which command they name. */
#include "cli/cli.h"

#include "base/mem.h"
#include <stdarg.h>

static const char help[] =
    "usage: moongate COMMAND [OPTIONS]\n"
    "\n"
    "  init [DIR]                           a project that runs: configuration, a plugin, specs\n"
    "  plugin new NAME                      a plugin in plugins/NAME that passes its specs\n"
    "  run [-c FILE] [--set KEY=VALUE]      serve in the foreground (FILE: moongate.yaml)\n"
    "  run --to URL [--listen :8080]        a proxy without any file\n"
    "  check [FILE..] [--strict] [--format text|json|github]\n"
    "                                       read configuration, load every plugin, touch nothing\n"
    "  routes [-c FILE] [--explain 'METHOD URL'] [-H 'name: value']\n"
    "                                       the routes in match order; why a request matches\n"
    "  test [PATH..] [--filter P] [--seed N] [-o tap|junit|json]\n"
    "                                       specs with busted, on a virtual clock (default: tests, "
    "plugins/*/spec)\n"
    "  state get|set|del|scan|stats|backup|restore|compact ..\n"
    "                                       the durable store of a running gateway (see: moongate state)\n"
    "  top [--once] [--interval 1s]         what a running gateway does, live in the terminal\n"
    "  version                              which build this is\n"
    "  help                                 this text\n"
    "\n"
    "state and top find the gateway by --admin unix:PATH, by MOONGATE_ADMIN, or by the admin.bind of -c "
    "FILE\n"
    "-q says less, -v says more; --json prints one document (check, version, state, top);\n"
    "--no-color, or NO_COLOR in the environment, prints no colour\n"
    "exit status: 0 done, 1 failed, 2 wrong usage, 3 invalid configuration or plugin, 4 no gateway answers\n";

const char *mg_args_next(mg_args *args)
{
    return args->at < args->count ? args->items[args->at++] : NULL;
}

bool mg_args_value(mg_args *args, const char *arg, const char *name, const char **value)
{
    const size_t n = strlen(name);

    if (strncmp(arg, name, n) != 0)
        return false;
    if (arg[n] == '=' && name[1] == '-') {
        *value = arg + n + 1;
        return true;
    }
    if (arg[n])
        return false;
    *value = mg_args_next(args);
    return true;
}

bool mg_args_global(mg_args *args, const char *arg)
{
    if (strcmp(arg, "-q") == 0)
        args->quiet = true;
    else if (strcmp(arg, "-v") == 0)
        args->verbose = true;
    else if (strcmp(arg, "--json") == 0)
        args->json = true;
    else if (strcmp(arg, "--no-color") == 0)
        args->no_colour = true;
    else
        return false;
    return true;
}

int mg_cli_usage(const char *command, const char *format, ...)
{
    va_list list;

    fprintf(stderr, "moongate %s: ", command);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, " (see: moongate help)\n");
    return MG_EXIT_USAGE;
}

void mg_cli_print_report(const mg_report *report)
{
    mg_text text = { 0 };

    mg_report_print(report, &text);
    if (text.n)
        fwrite(text.p, 1, text.n, stderr);
    mg_text_fini(&text);
}

static int cli_help(mg_args *args);

static const struct command {
    const char *name;
    int (*run)(mg_args *args);
    bool asks; /* a running gateway: takes --admin */
} commands[] = {
    { "run", mg_cli_run, false },
    { "check", mg_cli_check, false },
    { "routes", mg_cli_routes, false },
    { "state", mg_cli_state, true },
    { "top", mg_cli_top, true },
    { "test", mg_cli_test, false },
    { "init", mg_cli_init, false },
    { "plugin", mg_cli_plugin, false },
    { "version", mg_cli_version, false },
    { "help", cli_help, false },
    { "--version", mg_cli_version, false },
    { "--help", cli_help, false },
    { "-h", cli_help, false },
};

static const struct command *command_named(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int no_command(const char *name)
{
    mg_guess guess = { .name = mg_str_of(name) };

    for (size_t i = 0; i < mg_countof(commands); i++)
        mg_guess_offer(&guess, mg_str_of(commands[i].name));
    fprintf(stderr, "moongate: there is no command \"%s\"", name);
    if (guess.best.p)
        fprintf(stderr, "; did you mean \"%.*s\"?", MG_STR_ARGS(guess.best));
    fprintf(stderr, " (see: moongate help)\n");
    return MG_EXIT_USAGE;
}

static int cli_help(mg_args *args)
{
    const char *about = mg_args_next(args);

    if (about && !command_named(about) && !mg_args_global(args, about))
        return no_command(about);
    fputs(help, stdout);
    return MG_EXIT_OK;
}

/* `moongate run --help` */
static bool wants_help(const mg_args *args)
{
    const char *last = args->at < args->count ? args->items[args->count - 1] : "";

    return strcmp(last, "--help") == 0 || strcmp(last, "-h") == 0;
}

int mg_cli_main(int argc, char **argv)
{
    mg_args args = { .count = argc, .at = 1, .items = argv };
    const char *name = mg_args_next(&args);

    while (name && (mg_args_value(&args, name, "--admin", &args.admin) || mg_args_global(&args, name)))
        name = mg_args_next(&args);
    if (!name) {
        fputs(help, stderr);
        return MG_EXIT_USAGE;
    }
    const struct command *command = command_named(name);
    if (!command)
        return no_command(name);
    if (wants_help(&args)) {
        fputs(help, stdout);
        return MG_EXIT_OK;
    }
    if (args.admin && !command->asks)
        return mg_cli_usage(name, "asks no running gateway: leave --admin out");
    return command->run(&args);
}
