/* client.c - one request over the admin socket, and what became of it in words. */
#include "cli/client.h"

#include "text/json.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_BYTES_MAX = 64 << 20, READ_BYTES = 64 << 10, PATIENCE_S = 10 };

static const char default_path[] = "run/admin.sock";

/* ---- where it is ---- */

void mg_client_init(mg_client *client, const char *command, const mg_args *args)
{
    *client = (mg_client){ .command = command, .admin = args->admin, .patience_s = PATIENCE_S };
}

bool mg_client_option(mg_client *client, mg_args *args, const char *arg, int *status)
{
    const char *value = "";

    if (mg_args_value(args, arg, "--admin", &value))
        client->admin = value;
    else if (mg_args_value(args, arg, "-c", &value) || mg_args_value(args, arg, "--config", &value))
        client->file = value;
    else
        return mg_args_global(args, arg);
    if (!value)
        *status = mg_cli_usage(client->command, "%s needs a value", arg);
    return true;
}

static int take_path(mg_client *client, const char *path)
{
    if (!*path || strlen(path) >= sizeof client->path)
        return mg_cli_usage(client->command, "the path of a socket has 1 to %zu bytes",
                            sizeof client->path - 1);
    strcpy(client->path, path);
    return MG_EXIT_OK;
}

static int take_url(mg_client *client, const char *url, const char *from)
{
    if (strncmp(url, "unix:", 5) != 0)
        return mg_cli_usage(client->command, "%s takes unix:PATH in this build, not \"%s\"", from, url);
    return take_path(client, url + 5);
}

/* The socket that the configuration names. A configuration that is broken still says where its gateway is. */
static int take_config(mg_client *client, const char *file)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_file(file, NULL, &report);
    int status = MG_EXIT_OK;

    if (!config) {
        mg_cli_print_report(&report);
        fprintf(stderr, "moongate %s: %s does not say where its gateway is; give --admin unix:PATH\n",
                client->command, file);
        status = MG_EXIT_INVALID;
    } else if (!config->admin_on) {
        fprintf(stderr,
                "moongate %s: %s has no admin listener\n = add: admin: { bind: \"unix:run/admin.sock\" }\n",
                client->command, file);
        status = MG_EXIT_UNREACHABLE;
    } else {
        status = take_path(client, config->admin_addr.un.sun_path);
    }
    mg_config_free(config);
    mg_report_fini(&report);
    return status;
}

int mg_client_find(mg_client *client)
{
    const char *environment = getenv("MOONGATE_ADMIN");

    if (client->admin)
        return take_url(client, client->admin, "--admin");
    if (client->file)
        return take_config(client, client->file);
    if (environment && *environment)
        return take_url(client, environment, "MOONGATE_ADMIN");
    if (access("moongate.yaml", R_OK) == 0)
        return take_config(client, "moongate.yaml");
    return take_path(client, default_path);
}

/* ---- one request ---- */

static int open_socket(const mg_client *client)
{
    const struct timeval patience = { .tv_sec = client->patience_s };
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    strcpy(addr.sun_path, client->path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    const int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static bool send_all(int fd, mg_str bytes)
{
    while (bytes.n) {
        const ssize_t sent = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes = mg_str_sub(bytes, (size_t)sent, bytes.n);
    }
    return true;
}

/* To its end. A refusal may come before the request was sent whole, and is an answer. */
static bool receive_all(int fd, mg_text *bytes)
{
    for (;;) {
        mg_text_reserve(bytes, READ_BYTES);
        const ssize_t got = recv(fd, bytes->p + bytes->n, READ_BYTES, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return bytes->n > 0 && errno == ECONNRESET;
        if (got == 0)
            return true;
        bytes->n += (size_t)got;
        if (bytes->n > ANSWER_BYTES_MAX)
            return errno = EMSGSIZE, false;
    }
}

static void write_request(mg_text *out, const char *method, mg_str target, mg_str body)
{
    mg_text_addf(out, "%s %.*s HTTP/1.1\r\nHost: moongate\r\nConnection: close\r\n", method,
                 MG_STR_ARGS(target));
    if (body.p)
        mg_text_addf(out, "Content-Length: %zu\r\n", body.n);
    mg_text_add_c(out, "\r\n");
    mg_text_add(out, body);
}

int mg_client_try(const mg_client *client, const char *method, mg_str target, mg_str body,
                  mg_client_answer *answer, const char **why)
{
    mg_text request = { 0 };
    const int fd = open_socket(client);

    *answer = (mg_client_answer){ 0 };
    *why = strerror(errno);
    if (fd < 0)
        return MG_EXIT_UNREACHABLE;
    write_request(&request, method, target, body);
    const bool sent = send_all(fd, mg_text_str(&request)) || errno == EPIPE;
    const bool received = sent && receive_all(fd, &answer->bytes);
    *why = errno == EAGAIN ? "it does not answer in time" : strerror(errno);
    mg_text_fini(&request);
    close(fd);
    if (!received)
        return MG_EXIT_UNREACHABLE;
    if (mg_client_parse(mg_text_str(&answer->bytes), answer))
        return MG_EXIT_OK;
    *why = "what answers there is not a gateway, or it stopped in the middle";
    return MG_EXIT_UNREACHABLE;
}

void mg_client_answer_fini(mg_client_answer *answer)
{
    mg_text_fini(&answer->bytes);
}

/* ---- its answer ---- */

/* The value of a head's field; the name in any case. */
static bool field_of(mg_str head, const char *name, mg_str *value)
{
    mg_str line;

    while (mg_str_cut(&head, '\n', &line)) {
        const size_t colon = mg_str_find(line, ':');
        if (colon == SIZE_MAX || !mg_str_eq_nocase(mg_str_sub(line, 0, colon), mg_str_of(name)))
            continue;
        *value = mg_str_trim(mg_str_sub(line, colon + 1, line.n), " \t\r");
        return true;
    }
    return false;
}

/* The admin listener always says how long a body is, and has none behind a 204. */
bool mg_client_parse(mg_str bytes, mg_client_answer *answer)
{
    const char *end = bytes.n ? memmem(bytes.p, bytes.n, "\r\n\r\n", 4) : NULL;
    uint64_t status = 0, length = 0;
    mg_str text;

    if (!end || !mg_str_starts(bytes, MG_STR("HTTP/1.1 ")) || bytes.n < 12 ||
        !mg_str_u64(mg_str_sub(bytes, 9, 12), &status) || status < 100 || status > 599)
        return false;
    const size_t head_n = (size_t)(end - bytes.p);
    answer->body = mg_str_sub(bytes, head_n + 4, bytes.n);
    answer->status = (int)status;
    if (field_of(mg_str_sub(bytes, 0, head_n), "content-length", &text))
        return mg_str_u64(text, &length) && length == answer->body.n;
    return status == 204 && answer->body.n == 0;
}

int mg_client_unreachable(const mg_client *client, const char *why)
{
    fprintf(stderr, "moongate %s: no gateway answers at unix:%s: %s\n", client->command, client->path, why);
    fprintf(stderr, " = is it running, with admin: { bind: \"unix:%s\" }? another one: --admin unix:PATH\n",
            client->path);
    return MG_EXIT_UNREACHABLE;
}

static mg_str text_of(const mg_node *map, const char *key)
{
    const mg_node *node = mg_node_get(map, key);

    return node && node->kind == MG_NODE_STRING ? node->text : MG_STR_NONE;
}

/* A problem document (RFC 9457), as people read it. */
static void print_problem(const mg_client *client, const mg_client_answer *answer)
{
    const mg_source source = { "answer", answer->body };
    mg_report report = MG_REPORT_INIT;
    mg_arena arena;

    mg_arena_init(&arena, NULL, 0);
    const mg_node *root = mg_json_parse(&arena, &source, &report);
    const mg_node *errors = root ? mg_node_get(root, "errors") : NULL;
    const mg_str detail = root ? text_of(root, "detail") : MG_STR_NONE;
    const mg_str hint = errors && errors->kind == MG_NODE_LIST && errors->first
                            ? text_of(errors->first, "hint")
                            : MG_STR_NONE;
    if (detail.p)
        fprintf(stderr, "moongate %s: %.*s\n", client->command, MG_STR_ARGS(detail));
    else
        fprintf(stderr, "moongate %s: the gateway answered %d\n", client->command, answer->status);
    if (hint.p)
        fprintf(stderr, " = %.*s\n", MG_STR_ARGS(hint));
    mg_arena_fini(&arena);
    mg_report_fini(&report);
}

int mg_client_ask(const mg_client *client, const char *method, mg_str target, mg_str body,
                  mg_client_answer *answer)
{
    const char *why;
    const int status = mg_client_try(client, method, target, body, answer, &why);

    if (status != MG_EXIT_OK)
        return mg_client_unreachable(client, why);
    if (answer->status >= 200 && answer->status < 300)
        return MG_EXIT_OK;
    print_problem(client, answer);
    return MG_EXIT_FAILED;
}

void mg_client_escape(mg_text *out, mg_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        const unsigned char c = (unsigned char)name.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
            c == '_')
            mg_text_add_char(out, (char)c);
        else
            mg_text_addf(out, "%%%02X", c);
    }
}

const mg_node *mg_client_json(const mg_client *client, mg_arena *arena, const mg_client_answer *answer)
{
    mg_source *source = MG_ARENA_NEW(arena, mg_source);
    mg_report report = MG_REPORT_INIT;

    *source = (mg_source){ "answer", mg_arena_str(arena, answer->body) };
    const mg_node *root = mg_json_parse(arena, source, &report);
    if (!root)
        fprintf(stderr, "moongate %s: the gateway's answer is not JSON\n", client->command);
    mg_report_fini(&report);
    return root;
}
