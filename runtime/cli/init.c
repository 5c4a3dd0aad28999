/* init.c - `moongate init` and `moongate plugin new`: projects and plugins out of the templates that the binary carries
 * (templates/). Nothing that is there already is touched, and nothing is written when something is. */
#include "base/embed.h"
#include "base/mem.h"
#include "cli/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NAME_MAX_BYTES = 64 };

static const char PROJECT[] = "templates/project/", PLUGIN[] = "templates/plugin/";

/* Where a file of a template goes: "dot.x" is a hidden file, the spec is called as the plugin. False: too long. */
static bool target_of(const char *rest, const char *folder, const char *name, char out[PATH_BYTES])
{
    const char *base = strrchr(rest, '/');
    const int before = base ? (int)(base + 1 - rest) : 0;
    int n;

    base = rest + before;
    if (strncmp(base, "dot.", 4) == 0)
        n = snprintf(out, PATH_BYTES, "%s/%.*s.%s", folder, before, rest, base + 4);
    else if (name && strcmp(base, "plugin_spec.lua") == 0)
        n = snprintf(out, PATH_BYTES, "%s/%.*s%s_spec.lua", folder, before, rest, name);
    else
        n = snprintf(out, PATH_BYTES, "%s/%s", folder, rest);
    return n > 0 && n < PATH_BYTES;
}

/* The folders of a path, each that is missing. */
static bool make_folders(const char *path)
{
    char part[PATH_BYTES];

    for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            fprintf(stderr, "moongate: %s: %s\n", part, strerror(errno));
            return false;
        }
    }
    return true;
}

/* The text with each @NAME@ replaced. */
static void fill_in(mg_text *out, mg_str text, const char *name)
{
    static const char mark[] = "@NAME@";
    size_t at = 0;

    while (at < text.n) {
        const char *found = name ? memmem(text.p + at, text.n - at, mark, sizeof mark - 1) : NULL;
        const size_t end = found ? (size_t)(found - text.p) : text.n;
        mg_text_add(out, mg_str_make(text.p + at, end - at));
        at = end;
        if (found) {
            mg_text_add_c(out, name);
            at += sizeof mark - 1;
        }
    }
}

static bool write_file(const char *path, mg_str text)
{
    const int fd = make_folders(path) ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    const bool whole = fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n;

    if (!whole)
        fprintf(stderr, "moongate: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return whole;
}

/* Whether nothing of the template is there yet; what is, is named. */
static bool is_free(const char *prefix, const char *folder, const char *name)
{
    const mg_embedded_file *file;
    char path[PATH_BYTES];

    for (size_t i = 0; (file = mg_embedded_at(prefix, i)); i++) {
        if (!target_of(file->name + strlen(prefix), folder, name, path)) {
            fprintf(stderr, "moongate: %s: the path is too long\n", folder);
            return false;
        }
        if (access(path, F_OK) == 0) {
            fprintf(stderr, "moongate: %s is there already; nothing was written\n", path);
            return false;
        }
    }
    return true;
}

static bool render(const char *prefix, const char *folder, const char *name, bool quiet)
{
    const mg_embedded_file *file;
    char path[PATH_BYTES];

    for (size_t i = 0; (file = mg_embedded_at(prefix, i)); i++) {
        mg_text text = { 0 };
        fill_in(&text, file->text, name);
        const bool ok = target_of(file->name + strlen(prefix), folder, name, path) &&
                        write_file(path, mg_text_str(&text));
        mg_text_fini(&text);
        if (!ok)
            return false;
        if (!quiet)
            printf("  %s\n", path + (strncmp(path, "./", 2) == 0 ? 2 : 0));
    }
    return true;
}

int mg_cli_init(mg_args *args)
{
    const char *folder = NULL;
    char plugin[PATH_BYTES];

    for (const char *arg; (arg = mg_args_next(args));) {
        if (mg_args_global(args, arg))
            continue;
        if (arg[0] == '-')
            return mg_cli_usage("init", "unknown option \"%s\"", arg);
        if (folder)
            return mg_cli_usage("init", "one folder, not \"%s\" and \"%s\"", folder, arg);
        folder = arg;
    }
    if (!folder)
        folder = ".";
    snprintf(plugin, sizeof plugin, "%s/plugins/hello", folder);
    if (!is_free(PROJECT, folder, NULL) || !is_free(PLUGIN, plugin, "hello"))
        return MG_EXIT_FAILED;
    if (!render(PROJECT, folder, NULL, args->quiet) || !render(PLUGIN, plugin, "hello", args->quiet))
        return MG_EXIT_FAILED;
    if (!args->quiet)
        printf("Next:%s%s\n  moongate test\n  moongate run\n  curl -i http://localhost:8080/\n",
               strcmp(folder, ".") == 0 ? "" : "\n  cd ", strcmp(folder, ".") == 0 ? "" : folder);
    return MG_EXIT_OK;
}

static bool is_name(const char *name)
{
    const size_t n = strlen(name);

    return n > 0 && n <= NAME_MAX_BYTES && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static int plugin_new(mg_args *args)
{
    const char *name = NULL;
    char folder[PATH_BYTES];

    for (const char *arg; (arg = mg_args_next(args));) {
        if (mg_args_global(args, arg))
            continue;
        if (arg[0] == '-' || name)
            return mg_cli_usage("plugin new", "one name, not \"%s\"", arg);
        name = arg;
    }
    if (!name)
        return mg_cli_usage("plugin new", "name the plugin: moongate plugin new greet");
    if (!is_name(name))
        return mg_cli_usage("plugin new", "\"%s\": a name is 1 to %d small letters, digits, \"_\" and \"-\"",
                            name, NAME_MAX_BYTES);
    snprintf(folder, sizeof folder, "plugins/%s", name);
    if (!is_free(PLUGIN, folder, name) || !render(PLUGIN, folder, name, args->quiet))
        return MG_EXIT_FAILED;
    if (!args->quiet)
        printf("Its specs: moongate test %s\nTo use it, in moongate.yaml:\n"
               "  plugins: { %s: { use: ./%s } }\nand %s in the plugins of a route\n",
               folder, name, folder, name);
    return MG_EXIT_OK;
}

int mg_cli_plugin(mg_args *args)
{
    const char *what = mg_args_next(args);

    if (what && strcmp(what, "new") == 0)
        return plugin_new(args);
    return mg_cli_usage(
        "plugin", what ? "there is no \"plugin %s\": there is plugin new NAME" : "say what: plugin new NAME",
        what);
}
