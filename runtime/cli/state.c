/* state.c - the durable store from the outside: keys and figures by way of the running gateway; restore only
 * while none runs. */
#include "cli/client.h"
#include "state/kv.h"
#include "state/state_files.h"
#include "text/units.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum { WORDS_MAX = 5, COPY_PATIENCE_S = 3600 };

static const char usage[] =
    "usage: moongate state COMMAND [--admin unix:PATH | -c FILE] [--json]\n"
    "\n"
    "  get NS KEY                   the value's bytes\n"
    "  set NS KEY VALUE [--ttl 30s] VALUE - is standard input; done once it is on disk\n"
    "                               (a VALUE that begins with - goes behind --)\n"
    "  del NS KEY                   done once it is on disk\n"
    "  scan NS [PREFIX] [--limit N] keys with their values, in order\n"
    "  stats                        how much there is, and how writing goes\n"
    "  backup PATH                  a copy of all of it, while the gateway runs; PATH is made\n"
    "  restore PATH [-c FILE | --state DIR]\n"
    "                               a backup back in its place, while no gateway runs; what stood there is "
    "kept\n"
    "  compact                      gives the disk back what is gone\n"
    "\n"
    "NS is a plugin's name, or one of policy:limiters policy:breakers policy:ejections policy:rollouts, "
    "which\n"
    "can be looked at only.\n";

typedef struct options {
    mg_client client;
    const char *words[WORDS_MAX]; /* behind the command's name */
    size_t word_count;
    const char *ttl, *state;
    uint64_t limit;        /* of a scan; 0: all */
    bool json, words_only; /* behind "--" nothing is an option */
    mg_json_out list;      /* the rows of a scan, as JSON */
} options;

/* /v1/state/NS[/KEY] */
static void write_target(mg_text *out, const options *opt, size_t words)
{
    mg_text_add_c(out, "/v1/state");
    for (size_t i = 0; i < words; i++) {
        mg_text_add_char(out, '/');
        mg_client_escape(out, mg_str_of(opt->words[i]));
    }
}

static int print_json(const mg_client_answer *answer)
{
    fwrite(answer->body.p, 1, answer->body.n, stdout);
    return MG_EXIT_OK;
}

/* ---- one key ---- */

static int print_value(const options *opt, mg_str value)
{
    mg_text out = { 0 };

    if (opt->json) {
        mg_json_out json = { .text = &out };
        mg_json_out_map(&json, NULL);
        mg_json_out_text(&json, "namespace", mg_str_of(opt->words[0]));
        mg_json_out_text(&json, "key", mg_str_of(opt->words[1]));
        mg_json_out_text(&json, "value", value);
        mg_json_out_end(&json);
        mg_text_add_char(&out, '\n');
    } else {
        mg_text_add(&out, value);
        if (isatty(STDOUT_FILENO))
            mg_text_add_char(&out, '\n');
    }
    fwrite(out.p ? out.p : "", 1, out.n, stdout);
    mg_text_fini(&out);
    return MG_EXIT_OK;
}

static int run_get(options *opt)
{
    mg_client_answer answer;
    mg_text target = { 0 };

    write_target(&target, opt, 2);
    int status = mg_client_ask(&opt->client, "GET", mg_text_str(&target), MG_STR_NONE, &answer);
    if (status == MG_EXIT_OK)
        status = print_value(opt, answer.body);
    mg_client_answer_fini(&answer);
    mg_text_fini(&target);
    return status;
}

/* Standard input to its end, one byte more than a value may have at most. */
static void read_input(mg_text *value)
{
    const size_t most = MG_KV_VALUE_MAX + 1;

    mg_text_reserve(value, most);
    while (value->n < most) {
        const ssize_t got = read(STDIN_FILENO, value->p + value->n, most - value->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return;
        value->n += (size_t)got;
    }
}

static int change(const options *opt, const char *method, mg_str target, mg_str body)
{
    mg_client_answer answer;
    const int status = mg_client_ask(&opt->client, method, target, body, &answer);

    mg_client_answer_fini(&answer);
    if (status == MG_EXIT_OK && opt->json)
        puts("{}");
    return status;
}

static int run_set(options *opt)
{
    mg_text target = { 0 }, value = { 0 };
    int status;

    if (strcmp(opt->words[2], "-") == 0)
        read_input(&value);
    else
        mg_text_add_c(&value, opt->words[2]);
    write_target(&target, opt, 2);
    if (opt->ttl) {
        mg_text_add_c(&target, "?ttl=");
        mg_client_escape(&target, mg_str_of(opt->ttl));
    }
    if (value.n > MG_KV_VALUE_MAX)
        status = mg_cli_usage("state", "a value has at most %d bytes", MG_KV_VALUE_MAX);
    else
        status = change(opt, "PUT", mg_text_str(&target), mg_text_str(&value));
    mg_text_fini(&target);
    mg_text_fini(&value);
    return status;
}

static int run_del(options *opt)
{
    mg_text target = { 0 };

    write_target(&target, opt, 2);
    const int status = change(opt, "DELETE", mg_text_str(&target), MG_STR_NONE);
    mg_text_fini(&target);
    return status;
}

/* ---- scan ---- */

/* One line, whatever is in it. */
static void print_visible(mg_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i];
        const size_t control = mg_str_control(text, i);
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\t')
            fputs("\\t", stdout);
        else if (c == '\\')
            fputs("\\\\", stdout);
        else if (control == 2)
            printf("\\u%04x", (unsigned char)text.p[++i]);
        else if (control)
            printf("\\x%02x", (unsigned char)c);
        else
            putchar(c);
    }
}

static void print_row(const mg_node *row)
{
    static const char *const kinds[] = { "value", "base64", "row" };

    print_visible(mg_node_get(row, "key")->text);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const mg_node *value = mg_node_get(row, kinds[i]);
        if (!value)
            continue;
        mg_text json = { 0 };
        printf("\t%s", i == 1 ? "base64:" : "");
        if (value->kind != MG_NODE_STRING)
            mg_node_to_json(value, &json);
        print_visible(json.n ? mg_text_str(&json) : value->text);
        mg_text_fini(&json);
    }
    putchar('\n');
}

static bool is_row(const mg_node *row)
{
    const mg_node *key = mg_node_get(row, "key");

    return key && key->kind == MG_NODE_STRING;
}

/* Prints one page; *next is what the following one begins behind, escaped, none at the end. */
static int print_page(options *opt, const mg_node *root, uint64_t *rows, mg_str *next)
{
    const mg_node *keys = root ? mg_node_get(root, "keys") : NULL,
                  *more = root ? mg_node_get(root, "next") : NULL;

    if (!keys || keys->kind != MG_NODE_LIST)
        return MG_EXIT_FAILED;
    MG_NODE_EACH(keys, row)
    {
        if (!is_row(row) || (opt->limit && *rows == opt->limit))
            continue;
        mg_text json = { 0 };
        (*rows)++;
        if (opt->json) {
            mg_node_to_json(row, &json);
            mg_json_out_json(&opt->list, NULL, mg_text_str(&json));
        } else {
            print_row(row);
        }
        mg_text_fini(&json);
    }
    *next = more && more->kind == MG_NODE_STRING && !(opt->limit && *rows == opt->limit) ? more->text
                                                                                         : MG_STR_NONE;
    return MG_EXIT_OK;
}

static int scan_page(options *opt, mg_text *after, uint64_t *rows)
{
    mg_client_answer answer;
    mg_text target = { 0 };
    mg_arena arena;
    mg_str next = MG_STR_NONE;

    write_target(&target, opt, 1);
    mg_text_addf(&target, "?limit=1000&after=%s&prefix=", after->p ? after->p : "");
    if (opt->word_count > 1)
        mg_client_escape(&target, mg_str_of(opt->words[1]));
    mg_arena_init(&arena, NULL, 0);
    int status = mg_client_ask(&opt->client, "GET", mg_text_str(&target), MG_STR_NONE, &answer);
    if (status == MG_EXIT_OK)
        status = print_page(opt, mg_client_json(&opt->client, &arena, &answer), rows, &next);
    mg_text_clear(after);
    mg_text_add(after, next);
    mg_arena_fini(&arena);
    mg_client_answer_fini(&answer);
    mg_text_fini(&target);
    return status;
}

static int run_scan(options *opt)
{
    mg_text after = { 0 }, list = { 0 };
    uint64_t rows = 0;
    int status;

    opt->list = (mg_json_out){ .text = &list };
    if (opt->json)
        mg_json_out_list(&opt->list, NULL);
    do {
        status = scan_page(opt, &after, &rows);
        fwrite(list.p ? list.p : "", 1, list.n, stdout);
        mg_text_clear(&list);
    } while (status == MG_EXIT_OK && after.n);
    if (opt->json) {
        mg_json_out_end(&opt->list);
        puts(list.p);
    }
    mg_text_fini(&after);
    mg_text_fini(&list);
    return status;
}

/* ---- figures ---- */

static uint64_t number_of(const mg_node *map, const char *key)
{
    const mg_node *node = map ? mg_node_get(map, key) : NULL;

    return node && node->kind == MG_NODE_INT && node->integer > 0 ? (uint64_t)node->integer : 0;
}

static void print_size(const char *name, uint64_t bytes)
{
    if (bytes < 10 << 10)
        printf("%s %llu B", name, (unsigned long long)bytes);
    else if (bytes < 10 << 20)
        printf("%s %.1f KiB", name, (double)bytes / 1024);
    else
        printf("%s %.1f MiB", name, (double)bytes / (1 << 20));
}

static void print_store(const char *name, const mg_node *store)
{
    printf("%-10s", name);
    if (!store || store->kind != MG_NODE_MAP) {
        puts("in memory");
        return;
    }
    print_size("", number_of(store, "used_bytes"));
    print_size(" used of", number_of(store, "max_bytes"));
    putchar('\n');
}

static void print_policy(const mg_node *policy)
{
    const mg_node *failing = policy ? mg_node_get(policy, "failing") : NULL;

    if (!failing)
        return;
    printf(
        "%-10s%llu rows of keys, %llu restored at the start, %llu skipped, %llu errors, %llu ms behind%s\n",
        "", (unsigned long long)number_of(policy, "rows"),
        (unsigned long long)number_of(policy, "restored_keys"),
        (unsigned long long)number_of(policy, "skipped_rows"),
        (unsigned long long)number_of(policy, "errors"), (unsigned long long)number_of(policy, "lag_ms"),
        failing->kind == MG_NODE_BOOL && failing->boolean ? "; NOT WRITTEN: see the log" : "");
}

static int print_stats(const mg_node *root)
{
    const mg_node *spaces = root ? mg_node_get(root, "namespaces") : NULL;

    if (!spaces || spaces->kind != MG_NODE_LIST)
        return MG_EXIT_FAILED;
    print_store("ledger", mg_node_get(root, "ledger"));
    const mg_node *failing = mg_node_get(root, "failing");
    printf(
        "%-10s%llu keys wait to be written, %llu flushes, %llu failed; %llu damaged, %llu expired%s\n", "",
        (unsigned long long)number_of(root, "pending"), (unsigned long long)number_of(root, "flushes"),
        (unsigned long long)number_of(root, "failures"), (unsigned long long)number_of(root, "skipped_rows"),
        (unsigned long long)number_of(root, "expired"),
        failing && failing->kind == MG_NODE_BOOL && failing->boolean ? "; NOT ALL WRITTEN: see the log" : "");
    MG_NODE_EACH(spaces, space)
    {
        const mg_node *name = mg_node_get(space, "name");
        printf("  ");
        print_visible(name && name->kind == MG_NODE_STRING ? name->text : MG_STR("?"));
        print_size("", number_of(space, "used_bytes"));
        putchar('\n');
    }
    print_store("policy", mg_node_get(root, "policy"));
    print_policy(mg_node_get(root, "policy"));
    return MG_EXIT_OK;
}

static int run_stats(options *opt)
{
    mg_client_answer answer;
    mg_arena arena;

    mg_arena_init(&arena, NULL, 0);
    int status = mg_client_ask(&opt->client, "GET", MG_STR("/v1/state"), MG_STR_NONE, &answer);
    if (status == MG_EXIT_OK)
        status = opt->json ? print_json(&answer) : print_stats(mg_client_json(&opt->client, &arena, &answer));
    mg_arena_fini(&arena);
    mg_client_answer_fini(&answer);
    return status;
}

/* ---- copies ---- */

/* As seen from here: the gateway may run in another folder. */
static int whole_path(const char *path, char out[PATH_MAX])
{
    char here[PATH_MAX];

    if (path[0] == '/')
        here[0] = '\0';
    else if (!getcwd(here, sizeof here))
        return mg_cli_usage("state", "this folder has no path: %s", strerror(errno));
    if (snprintf(out, PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", path) >= PATH_MAX)
        return mg_cli_usage("state", "that path is too long");
    return MG_EXIT_OK;
}

static void print_copy(const mg_node *root, const char *what)
{
    const mg_node *store = root ? mg_node_get(root, what) : NULL;

    print_size("", number_of(store, "file_bytes"));
}

static int run_copy(options *opt, const char *target, mg_str body, const char *path)
{
    mg_client_answer answer;
    mg_arena arena;

    mg_arena_init(&arena, NULL, 0);
    opt->client.patience_s = COPY_PATIENCE_S;
    const int status = mg_client_ask(&opt->client, "POST", mg_str_of(target), body, &answer);
    const mg_node *root = status == MG_EXIT_OK ? mg_client_json(&opt->client, &arena, &answer) : NULL;
    if (status == MG_EXIT_OK && opt->json) {
        print_json(&answer);
    } else if (status == MG_EXIT_OK && path) {
        printf("copied to %s\n", path);
    } else if (status == MG_EXIT_OK) {
        printf("compacted:");
        print_copy(root, "before");
        printf(" ->");
        print_copy(root, "after");
        putchar('\n');
    }
    mg_arena_fini(&arena);
    mg_client_answer_fini(&answer);
    return status;
}

static int run_backup(options *opt)
{
    char path[PATH_MAX];
    mg_text body = { 0 };
    mg_json_out json = { .text = &body };
    int status = whole_path(opt->words[0], path);

    if (status != MG_EXIT_OK)
        return status;
    mg_json_out_map(&json, NULL);
    mg_json_out_text(&json, "path", mg_str_of(path));
    mg_json_out_end(&json);
    status = run_copy(opt, "/v1/state/backup", mg_text_str(&body), path);
    mg_text_fini(&body);
    return status;
}

static int run_compact(options *opt)
{
    return run_copy(opt, "/v1/state/compact", MG_STR(""), NULL);
}

/* The folder of a configuration's store, appended. */
static int find_state(const options *opt, mg_text *folder)
{
    const char *file = opt->client.file ? opt->client.file : "moongate.yaml";
    mg_report report = MG_REPORT_INIT;

    if (opt->state) {
        mg_text_add_c(folder, opt->state);
        return MG_EXIT_OK;
    }
    mg_config *config = mg_config_load_file(file, NULL, &report);
    int status = MG_EXIT_OK;
    if (!config) {
        mg_cli_print_report(&report);
        status = MG_EXIT_INVALID;
    } else if (!config->state_path.n) {
        status = mg_cli_usage("state", "%s names no folder for state: give --state DIR", file);
    } else {
        mg_text_add(folder, config->state_path);
    }
    mg_config_free(config);
    mg_report_fini(&report);
    return status;
}

static int run_restore(options *opt)
{
    mg_text folder = { 0 }, aside = { 0 };
    mg_error err = MG_ERROR_INIT;
    int status = find_state(opt, &folder);

    if (status == MG_EXIT_OK &&
        mg_state_restore(opt->words[0], folder.p, mg_clock_real.wall_ns(&mg_clock_real), &aside, &err) !=
            MG_OK) {
        fprintf(stderr, "moongate state: %s\n", err.message);
        status = MG_EXIT_FAILED;
    } else if (status == MG_EXIT_OK) {
        printf("restored %s from %s\n", folder.p, opt->words[0]);
        if (aside.n)
            printf("what stood there is kept: %s/*%s\n", folder.p, aside.p);
    }
    mg_text_fini(&folder);
    mg_text_fini(&aside);
    return status;
}

/* ---- arguments ---- */

static const struct sub {
    const char *name;
    size_t least, most; /* words behind it */
    int (*run)(options *opt);
    bool offline;
} subs[] = {
    { "get", 2, 2, run_get, false },        { "set", 3, 3, run_set, false },
    { "del", 2, 2, run_del, false },        { "scan", 1, 2, run_scan, false },
    { "stats", 0, 0, run_stats, false },    { "backup", 1, 1, run_backup, false },
    { "restore", 1, 1, run_restore, true }, { "compact", 0, 0, run_compact, false },
};

static const struct sub *sub_named(const char *name)
{
    for (size_t i = 0; name && i < sizeof subs / sizeof *subs; i++)
        if (strcmp(subs[i].name, name) == 0)
            return &subs[i];
    return NULL;
}

static bool take_limit(options *opt, const char *value)
{
    return value && mg_str_u64(mg_str_of(value), &opt->limit) && opt->limit;
}

static int take_word(options *opt, const char *word)
{
    if (opt->word_count == WORDS_MAX)
        return mg_cli_usage("state", "so many words: \"%s\" is one too many", word);
    opt->words[opt->word_count++] = word;
    return MG_EXIT_OK;
}

static int take_option(options *opt, mg_args *args, const char *arg)
{
    const char *value = "";
    int status = MG_EXIT_OK;

    if (opt->words_only)
        return take_word(opt, arg);
    if (strcmp(arg, "--") == 0)
        opt->words_only = true;
    else if (mg_args_value(args, arg, "--ttl", &value))
        opt->ttl = value;
    else if (mg_args_value(args, arg, "--state", &value))
        opt->state = value;
    else if (mg_args_value(args, arg, "--limit", &value))
        return take_limit(opt, value) ? MG_EXIT_OK : mg_cli_usage("state", "--limit takes a number from 1");
    else if (mg_client_option(&opt->client, args, arg, &status))
        return status;
    else if (arg[0] == '-' && arg[1])
        return mg_cli_usage("state", "unknown option \"%s\"", arg);
    else
        return take_word(opt, arg);
    return value ? MG_EXIT_OK : mg_cli_usage("state", "%s needs a value", arg);
}

/* Options that mean nothing to this command are mistakes. */
static int check(const options *opt, const struct sub *sub)
{
    if (opt->word_count < sub->least || opt->word_count > sub->most)
        return mg_cli_usage("state", "%s takes %zu%s words behind it; see: moongate state", sub->name,
                            sub->least, sub->most > sub->least ? " or more" : "");
    if (opt->ttl && sub->run != run_set)
        return mg_cli_usage("state", "--ttl goes with set");
    if (opt->limit && sub->run != run_scan)
        return mg_cli_usage("state", "--limit goes with scan");
    if (opt->state && !sub->offline)
        return mg_cli_usage("state", "--state goes with restore; the others ask the gateway");
    if (sub->offline && (opt->client.admin || opt->json))
        return mg_cli_usage("state", "restore asks no gateway: it takes -c or --state only");
    return MG_EXIT_OK;
}

/* The first word says what to do; the others are its own. */
static const struct sub *take_sub(options *opt)
{
    const struct sub *sub = sub_named(opt->words[0]);

    if (sub) {
        opt->word_count--;
        memmove(opt->words, opt->words + 1, opt->word_count * sizeof opt->words[0]);
    }
    return sub;
}

int mg_cli_state(mg_args *args)
{
    options opt = { 0 };
    int status = MG_EXIT_OK;

    mg_client_init(&opt.client, "state", args);
    for (const char *arg; status == MG_EXIT_OK && (arg = mg_args_next(args));)
        status = take_option(&opt, args, arg);
    opt.json = args->json;
    if (status != MG_EXIT_OK)
        return status;
    if (!opt.word_count) {
        fputs(usage, stderr);
        return MG_EXIT_USAGE;
    }
    const struct sub *sub = take_sub(&opt);
    if (!sub)
        return mg_cli_usage("state",
                            "there is no \"%s\": get, set, del, scan, stats, backup, restore, compact",
                            opt.words[0]);
    status = check(&opt, sub);
    if (status == MG_EXIT_OK && !sub->offline)
        status = mg_client_find(&opt.client);
    return status == MG_EXIT_OK ? sub->run(&opt) : status;
}
