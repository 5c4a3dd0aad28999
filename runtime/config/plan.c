/* plan.c - plugins, schemas and chains as the text a VM boots from. */
#include "config/plan.h"

#include "base/embed.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "text/json.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* A FIFO that nobody writes to reads as empty: a reload does not wait for a writer. */
static FILE *open_file(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd >= 0 ? fdopen(fd, "r") : NULL;
}

/* One file of a plugin: built in, or in its folder. */
static bool read_source(const mg_config_plugin *plugin, const char *file, mg_arena *arena, mg_str *out,
                        char name[512], mg_error *err)
{
    if (!plugin->path.n) {
        snprintf(name, 512, "plugins/%.*s/%s", MG_STR_ARGS(plugin->use), file);
        *out = mg_embedded(name);
        if (!out->p)
            return mg_fail(err, MG_ERR_NOT_FOUND, "%s: no such file in this build", name), false;
        return true;
    }
    const mg_str folder = mg_str_starts(plugin->path, MG_STR("./"))
                              ? mg_str_sub(plugin->path, 2, plugin->path.n)
                              : plugin->path;
    snprintf(name, 512, "%.*s/%s", MG_STR_ARGS(folder), file);
    FILE *f = open_file(name);
    if (!f)
        return mg_fail_errno(err, errno, "cannot read %s", name), false;
    char *text = mg_arena_bytes(arena, MG_PLUGIN_SOURCE_BYTES + 1);
    const size_t n = fread(text, 1, MG_PLUGIN_SOURCE_BYTES + 1, f);
    const int error = ferror(f) ? errno : 0;
    fclose(f);
    if (error)
        return mg_fail_errno(err, error, "cannot read %s", name), false;
    if (n > MG_PLUGIN_SOURCE_BYTES)
        return mg_fail(err, MG_ERR_LIMIT, "%s is larger than 1 MiB", name), false;
    *out = (mg_str){ text, n };
    return true;
}

static bool check_config(mg_config *config, mg_config_plugin *plugin, mg_report *report)
{
    const size_t before = report->errors;
    mg_str text = MG_STR_NONE;
    char name[512];
    mg_error err = MG_ERROR_INIT;
    mg_arena arena;
    mg_schema *schema = NULL;

    mg_arena_init(&arena, NULL, 0);
    if (read_source(plugin, "schema.json", &arena, &text, name, &err)) {
        mg_source *source = MG_ARENA_NEW(&config->document, mg_source);
        source->file = mg_arena_strdup(&config->document, name);
        source->text = mg_arena_str(&config->document, text);
        const mg_node *root = mg_json_parse(&config->document, source, report);
        schema = root ? mg_schema_new(root, report) : NULL;
    } else if (plugin->path.n && err.code == MG_ERR_IO && errno != ENOENT) {
        mg_finding_hint(mg_node_error(report, plugin->node, "unreadable", "%s", err.message),
                        "make it readable");
    }
    if (report->errors == before)
        (void)mg_config_plugin_check(config, plugin, schema, report);
    mg_schema_free(schema);
    mg_arena_fini(&arena);
    return report->errors == before;
}

static void add_source(mg_json_out *out, const char *chunkname, mg_str source)
{
    mg_json_out_text(out, "chunkname", mg_str_of(chunkname));
    mg_json_out_text(out, "source", source);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the .lua files in a plugin's lib folder, sorted. */
static size_t list_libs(const mg_config_plugin *plugin, mg_arena *arena, char *names[MG_PLUGIN_LIBS])
{
    char folder[512];
    size_t count = 0;

    snprintf(folder, sizeof folder, "%.*s/lib", MG_STR_ARGS(plugin->path));
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) && count < MG_PLUGIN_LIBS;) {
        const mg_str name = mg_str_of(entry->d_name);
        if (name.n > 4 && entry->d_name[0] != '.' && mg_str_ends(name, MG_STR(".lua")))
            names[count++] = mg_arena_strdup(arena, entry->d_name);
    }
    closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    return count;
}

/* The same of a built-in. */
static size_t list_embedded(const mg_config_plugin *plugin, mg_arena *arena, char *names[MG_PLUGIN_LIBS])
{
    const mg_str prefix = mg_arena_printf(arena, "plugins/%.*s/lib/", MG_STR_ARGS(plugin->use));
    size_t count = 0;

    for (const mg_embedded_file *file; count < MG_PLUGIN_LIBS && (file = mg_embedded_at(prefix.p, count));
         count++)
        names[count] = mg_arena_strdup(arena, file->name + prefix.n);
    return count;
}

static mg_str plugin_folder_name(const mg_config_plugin *plugin)
{
    mg_str path = plugin->path.n ? plugin->path : plugin->use;

    for (size_t at; (at = mg_str_find(path, '/')) != SIZE_MAX;)
        path = mg_str_sub(path, at + 1, path.n);
    return path;
}

static bool has_quoted(mg_str source, mg_str name)
{
    size_t at = 0;

    for (size_t found; (found = mg_str_find(mg_str_sub(source, at, source.n), name.p[0])) != SIZE_MAX;) {
        const size_t begin = at + found, end = begin + name.n;
        at = begin + 1;
        if (begin && end < source.n && (source.p[begin - 1] == '"' || source.p[begin - 1] == '\'') &&
            source.p[end] == source.p[begin - 1] && memcmp(source.p + begin, name.p, name.n) == 0)
            return true;
    }
    return false;
}

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t past_blanks(mg_str text, size_t at)
{
    while (at < text.n && (text.p[at] == ' ' || text.p[at] == '\t' || text.p[at] == '\n'))
        at++;
    return at;
}

/* Whether one text in quotes stands there, and nothing is joined to it. */
static bool is_one_text(mg_str text, size_t at)
{
    if (at >= text.n || (text.p[at] != '"' && text.p[at] != '\''))
        return false;
    const size_t length = mg_str_find(mg_str_sub(text, at + 1, text.n), text.p[at]);
    if (length == SIZE_MAX)
        return false;
    at = past_blanks(text, at + 1 + length + 1);
    return at >= text.n || text.p[at] != '.';
}

/* Where the name of a service stands behind `set_service` or `service =`; 0: this is neither. */
static size_t choice_at(mg_str rest)
{
    const mg_str call = MG_STR("set_service"), member = MG_STR("service");
    size_t at;

    if (mg_str_starts(rest, call)) {
        at = past_blanks(rest, call.n);
        return at < rest.n && rest.p[at] == '(' ? past_blanks(rest, at + 1) : at;
    }
    if (!mg_str_starts(rest, member))
        return 0;
    at = past_blanks(rest, member.n);
    if (at + 1 >= rest.n || rest.p[at] != '=' || rest.p[at + 1] == '=')
        return 0;
    return past_blanks(rest, at + 1);
}

static bool chooses(mg_str source, bool any_name)
{
    for (size_t at = 0; at < source.n; at++) {
        if (source.p[at] != 's' || (at && is_word_byte(source.p[at - 1])))
            continue;
        const size_t name_at = choice_at(mg_str_sub(source, at, source.n));
        if (name_at && !(any_name && is_one_text(source, at + name_at)))
            return true;
    }
    return false;
}

typedef bool judge_fn(mg_str source, mg_str name);

/* Whether one of the files of a plugin with a folder of its own is judged so. */
static bool any_file(const mg_config_plugin *plugin, judge_fn *judge, mg_str name)
{
    char *libs[MG_PLUGIN_LIBS], path[512], file[300] = "plugin.lua";
    mg_arena arena;

    if (!plugin->path.n)
        return false;
    mg_arena_init(&arena, NULL, 0);
    const size_t count = list_libs(plugin, &arena, libs);
    bool found = false;
    for (size_t i = 0; i <= count && !found; i++) {
        mg_str source;
        mg_error err = MG_ERROR_INIT;
        if (i)
            snprintf(file, sizeof file, "lib/%.250s", libs[i - 1]);
        found = read_source(plugin, file, &arena, &source, path, &err) && judge(source, name);
    }
    mg_arena_fini(&arena);
    return found;
}

bool mg_plan_mentions(const mg_config_plugin *plugin, mg_str name)
{
    return name.n && any_file(plugin, has_quoted, name);
}

static bool is_chooser(mg_str source, mg_str name)
{
    (void)name;
    return chooses(source, false);
}

static bool is_free_chooser(mg_str source, mg_str name)
{
    (void)name;
    return chooses(source, true);
}

bool mg_plan_chooses(const mg_config_plugin *plugin, bool any_name)
{
    return any_file(plugin, any_name ? is_free_chooser : is_chooser, MG_STR_NONE);
}

static bool add_libs(mg_json_out *out, const mg_config_plugin *plugin, mg_arena *arena, mg_report *report)
{
    char *names[MG_PLUGIN_LIBS], path[512];
    const mg_str folder = plugin_folder_name(plugin);
    bool ok = true;

    mg_json_out_map(out, "lib");
    const size_t count =
        plugin->path.n ? list_libs(plugin, arena, names) : list_embedded(plugin, arena, names);
    for (size_t i = 0; i < count && ok; i++) {
        char file[300];
        mg_str source;
        mg_error err = MG_ERROR_INIT;
        snprintf(file, sizeof file, "lib/%.250s", names[i]);
        ok = read_source(plugin, file, arena, &source, path, &err);
        if (!ok) {
            mg_node_error(report, plugin->node, "unreadable", "%s", err.message);
            break;
        }
        mg_json_out_key(out, mg_arena_printf(arena, "%.*s.%.*s", MG_STR_ARGS(folder),
                                             (int)strlen(names[i]) - 4, names[i]));
        mg_json_out_map(out, NULL);
        add_source(out, path, source);
        mg_json_out_end(out);
    }
    mg_json_out_end(out);
    return ok;
}

static void add_lua_source(mg_json_out *out, const mg_config_plugin *plugin, const char *path, mg_str source)
{
    mg_json_out_text(out, "name", plugin->name);
    mg_json_out_text(out, "use", plugin_folder_name(plugin));
    add_source(out, path, source);
    mg_json_out_textf(out, "version_hash", "%06x", (unsigned)(mg_hash(source, 0) & 0xffffff));
}

static void hint_plugin(mg_finding *f, const mg_config_plugin *plugin)
{
    static const char folder[] = "plugins/", source[] = "/plugin.lua";
    mg_guess guess = { .name = plugin->use };
    mg_text all = { 0 };
    const mg_embedded_file *file;

    for (size_t i = 0; !plugin->path.n && (file = mg_embedded_at(folder, i)); i++) {
        const mg_str name = mg_str_of(file->name + sizeof folder - 1);
        if (!mg_str_ends(name, mg_str_of(source)))
            continue;
        const mg_str one = mg_str_sub(name, 0, name.n - (sizeof source - 1));
        mg_guess_offer(&guess, one);
        mg_text_addf(&all, "%s%.*s", all.n ? ", " : "", MG_STR_ARGS(one));
    }
    if (guess.best.p)
        mg_finding_hint(f, "did you mean \"%.*s\"? Built-ins are %s", MG_STR_ARGS(guess.best), all.p);
    else if (all.n)
        mg_finding_hint(f, "name a built-in (%s), or a folder with a plugin.lua: use: ./plugins/NAME", all.p);
    else
        mg_finding_hint(f, "name a folder with a plugin.lua: use: ./plugins/NAME");
    mg_text_fini(&all);
}

static bool add_plugin(mg_json_out *out, mg_config *config, mg_config_plugin *plugin, mg_report *report)
{
    mg_str source;
    char path[512];
    mg_error err = MG_ERROR_INIT;
    mg_arena arena;
    bool ok = false;

    mg_arena_init(&arena, NULL, 0);
    if (!read_source(plugin, "plugin.lua", &arena, &source, path, &err)) {
        mg_finding *f = mg_node_error(report, plugin->node, "no-such-plugin", "plugin \"%.*s\": %s",
                                      MG_STR_ARGS(plugin->name), err.message);
        hint_plugin(f, plugin);
    } else if (check_config(config, plugin, report)) {
        mg_json_out_map(out, NULL);
        add_lua_source(out, plugin, path, source);
        ok = add_libs(out, plugin, &arena, report);
        mg_json_out_text(out, "on_error", mg_str_of(mg_config_on_error_words[plugin->on_error]));
        mg_json_out_u64(out, "timeout_ms", plugin->timeout_ms);
        mg_json_out_u64(out, "cpu_ms", plugin->cpu_ms);
        mg_json_out_json(out, "config", plugin->config_json.n ? plugin->config_json : MG_STR("{}"));
        mg_json_out_end(out);
    }
    mg_arena_fini(&arena);
    return ok;
}

static void add_chain(mg_json_out *out, const mg_config_route *route, size_t leading)
{
    mg_json_out_list(out, NULL);
    for (size_t i = leading; i < route->item_count; i++) {
        const mg_config_item *item = &route->items[i];
        if (item->kind == MG_CONFIG_ITEM_PLUGIN) {
            mg_json_out_u64(out, NULL, item->plugin->index);
        } else {
            mg_json_out_map(out, NULL);
            mg_json_out_u64(out, "limit", item->limiter->index);
            mg_json_out_end(out);
        }
    }
    mg_json_out_end(out);
}

/* Chains of equal items are one chain. Ten thousand routes with the same plugins compose it once. */
static bool same_chain(const mg_config_route *a, size_t a_lead, const mg_config_route *b, size_t b_lead)
{
    if (a->item_count - a_lead != b->item_count - b_lead)
        return false;
    for (size_t i = 0; i < a->item_count - a_lead; i++) {
        const mg_config_item *x = &a->items[a_lead + i], *y = &b->items[b_lead + i];
        if (x->kind != y->kind || x->plugin != y->plugin || x->limiter != y->limiter)
            return false;
    }
    return true;
}

static uint64_t chain_hash(const mg_config_route *route, size_t leading)
{
    uint64_t hash = route->item_count - leading;

    for (size_t i = leading; i < route->item_count; i++) {
        const void *parts[2] = { route->items[i].plugin, route->items[i].limiter };
        hash = mg_hash((mg_str){ (const char *)parts, sizeof parts }, hash);
    }
    return hash;
}

/* Numbers the chains and writes each once. */
static void add_chains(mg_json_out *out, mg_plan *plan, const mg_config *config)
{
    size_t size = 16;
    while (size < config->route_count * 2)
        size *= 2;
    int *table = MG_NEW_N(int, size); /* route index + 1 of the first with this chain */

    mg_json_out_list(out, "chains");
    for (size_t r = 0; r < config->route_count; r++) {
        const mg_config_route *route = config->routes[r];
        plan->chains[r] = -1;
        if (plan->leading[r] == route->item_count)
            continue;
        size_t at = chain_hash(route, plan->leading[r]) & (size - 1);
        for (; table[at]; at = (at + 1) & (size - 1)) {
            const size_t other = (size_t)table[at] - 1;
            if (same_chain(route, plan->leading[r], config->routes[other], plan->leading[other])) {
                plan->chains[r] = plan->chains[other];
                break;
            }
        }
        if (plan->chains[r] >= 0)
            continue;
        table[at] = (int)r + 1;
        plan->chains[r] = (int)plan->chain_count++;
        add_chain(out, route, plan->leading[r]);
    }
    mg_json_out_end(out);
    mg_free(table);
}

static void find_leading(mg_plan *plan, const mg_config *config)
{
    for (size_t r = 0; r < config->route_count; r++) {
        const mg_config_route *route = config->routes[r];
        size_t n = 0;
        while (n < route->item_count && route->items[n].kind != MG_CONFIG_ITEM_PLUGIN)
            n++;
        plan->leading[r] = n;
    }
}

bool mg_plan_build(mg_plan *plan, mg_config *config, mg_report *report)
{
    const size_t before = report->errors;
    mg_json_out out = { .text = &plan->json };

    *plan = (mg_plan){ 0 };
    plan->chains = MG_NEW_N(int, config->route_count + 1);
    plan->leading = MG_NEW_N(size_t, config->route_count + 1);
    plan->chooses = MG_NEW_N(bool, config->plugin_count + 1);
    find_leading(plan, config);
    plan->plugin_count = config->plugin_count;
    mg_json_out_map(&out, NULL);
    mg_json_out_list(&out, "plugins");
    for (size_t i = 0; i < config->plugin_count; i++) {
        (void)add_plugin(&out, config, config->plugins[i], report);
        plan->chooses[i] = mg_plan_chooses(config->plugins[i], false);
    }
    mg_json_out_end(&out);
    if (report->errors == before)
        add_chains(&out, plan, config);
    mg_json_out_end(&out);
    plan->hash = mg_hash(mg_text_str(&plan->json), 0);
    return report->errors == before;
}

void mg_plan_fini(mg_plan *plan)
{
    mg_text_fini(&plan->json);
    mg_free(plan->chains);
    mg_free(plan->leading);
    mg_free(plan->chooses);
}

/* The text of one line of a file, for the finding; none when it cannot be read. */
static size_t read_line(const char *path, int line, char *out, size_t room)
{
    FILE *f = open_file(path);
    size_t n = 0;

    out[0] = '\0';
    for (int i = 0; f && i < line; i++)
        if (!fgets(out, (int)room, f))
            out[0] = '\0';
    if (f)
        fclose(f);
    n = strcspn(out, "\r\n");
    out[n] = '\0';
    return n;
}

void mg_plan_fault(const mg_config *config, const mg_fault *fault, mg_report *report)
{
    const mg_config_plugin *plugin = fault->plugin >= 0 && (size_t)fault->plugin < config->plugin_count
                                         ? config->plugins[fault->plugin]
                                         : NULL;
    mg_text text = { 0 };
    char source[512];

    if (plugin)
        mg_text_addf(&text, "plugin \"%.*s\": ", MG_STR_ARGS(plugin->name));
    if (!fault->line && fault->file[0])
        mg_text_addf(&text, "%s: ", fault->file);
    mg_text_add_c(&text, fault->message);
    if (fault->line) {
        mg_finding *f =
            mg_report_add(report, MG_SEVERITY_ERROR, "plugin", "%.*s", MG_STR_ARGS(mg_text_str(&text)));
        const size_t n = read_line(fault->file, fault->line, source, sizeof source);
        const size_t indent = strspn(source, " \t");
        mg_finding_place(f, fault->file, fault->line, (int)indent + 1, n > indent ? (int)(n - indent) : 1,
                         (mg_str){ source, n });
    } else {
        mg_node_error(report, plugin ? plugin->node : NULL, "plugin", "%.*s",
                      MG_STR_ARGS(mg_text_str(&text)));
    }
    mg_text_fini(&text);
}
