/* check.c - reads configuration, loads every plugin, resolves every name; touches nothing. */
#include "gateway/check.h"
#include "cli/cli.h"

enum { FILES_MAX = 64 };

typedef enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_GITHUB } format;

typedef struct options {
    const char *files[FILES_MAX];
    size_t file_count;
    format format;
    bool strict, quiet;
} options;

typedef struct seen {
    size_t routes, services, plugins;
} seen;

static void count_parts(void *self, const mg_snapshot *snapshot)
{
    seen *what = self;

    what->routes += snapshot->config->route_count;
    what->services += snapshot->config->service_count;
    what->plugins += snapshot->plan.plugin_count;
}

/* https://docs.github.com: workflow commands, one a line. */
static void print_github(const mg_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const mg_finding *f = &report->findings[i];
        printf("::%s file=%s,line=%d,col=%d,title=%s::%s%s%s\n",
               f->severity == MG_SEVERITY_ERROR ? "error" : "warning", f->file ? f->file : "", f->line,
               f->column, f->code, f->message, f->hint ? " = " : "", f->hint ? f->hint : "");
    }
}

static void print(const options *opt, const mg_report *report, const seen *what)
{
    mg_text text = { 0 };

    if (opt->format == FORMAT_GITHUB) {
        print_github(report);
        return;
    }
    if (opt->format == FORMAT_JSON) {
        mg_report_print_json(report, &text);
        printf("%.*s\n", MG_STR_ARGS(mg_text_str(&text)));
        mg_text_fini(&text);
        return;
    }
    mg_cli_print_report(report);
    if (opt->quiet)
        return;
    const char *files = report->files == 1 ? "file" : "files";
    if (report->errors || report->warnings)
        fprintf(stderr, "%zu error%s, %zu warning%s in %zu %s; the running gateway was not touched\n",
                report->errors, report->errors == 1 ? "" : "s", report->warnings,
                report->warnings == 1 ? "" : "s", report->files, files);
    else
        printf("ok: %zu routes, %zu services, %zu plugins in %zu %s\n", what->routes, what->services,
               what->plugins, report->files, files);
}

static bool parse(mg_args *args, options *opt, int *status)
{
    const char *value;

    for (const char *arg; (arg = mg_args_next(args));) {
        if (strcmp(arg, "--strict") == 0) {
            opt->strict = true;
        } else if (mg_args_value(args, arg, "--format", &value)) {
            if (value && strcmp(value, "json") == 0)
                opt->format = FORMAT_JSON;
            else if (value && strcmp(value, "github") == 0)
                opt->format = FORMAT_GITHUB;
            else if (!value || strcmp(value, "text") != 0)
                return *status = mg_cli_usage("check", "--format takes text, json or github"), false;
        } else if (mg_args_value(args, arg, "-c", &value)) {
            if (!value)
                return *status = mg_cli_usage("check", "-c needs a file"), false;
            opt->files[opt->file_count++] = value;
        } else if (mg_args_global(args, arg)) {
            continue;
        } else if (arg[0] == '-' && arg[1]) {
            return *status = mg_cli_usage("check", "unknown option \"%s\"", arg), false;
        } else {
            opt->files[opt->file_count++] = arg;
        }
        if (opt->file_count == FILES_MAX)
            return *status = mg_cli_usage("check", "at most %d files", FILES_MAX - 1), false;
    }
    opt->quiet = args->quiet;
    if (args->json)
        opt->format = FORMAT_JSON;
    if (!opt->file_count)
        opt->files[opt->file_count++] = "moongate.yaml";
    return true;
}

int mg_cli_check(mg_args *args)
{
    options opt = { 0 };
    mg_report report = { .keeps = MG_REPORT_ALL };
    seen what = { 0 };
    int status = MG_EXIT_OK;

    if (!parse(args, &opt, &status))
        return status;
    for (size_t i = 0; i < opt.file_count; i++) {
        mg_config *config = mg_config_load_file(opt.files[i], NULL, &report);
        if (config)
            (void)mg_check_config(config, count_parts, &what, &report);
    }
    print(&opt, &report, &what);
    status = report.errors || (opt.strict && report.warnings) ? MG_EXIT_INVALID : MG_EXIT_OK;
    mg_report_fini(&report);
    return status;
}
