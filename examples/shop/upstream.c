/* upstream.c - what stands behind the example shop: `shop_upstream NAME PORT` answers on 127.0.0.1 until it
 * is killed.
 *
 *   GET /v1/products, /v1/products/ID      the goods
 *   GET, PUT, DELETE /v1/carts/ID          carts, in memory; a PUT's body is the cart
 *   POST /v1/carts/ID/order                sells the cart, which is empty then
 *   GET /v1/carts/broken                   503, to see a breaker open
 *   GET /healthz                           200
 *   GET /v1/slow?ms=N                      answers after N ms, at most 10 s
 *
 * Every answer is JSON and says who served it and which x-fields arrived, so that one sees what the gateway
 * did. A thread a connection, keep-alive. It trusts what is in front of it: a gateway that has checked each
 * request. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 32 * 1024, BODY_MAX = 4 * 1024, SEEN_MAX = 8 * 1024, CARTS = 256, ID_MAX = 64 };

typedef struct cart {
    char id[ID_MAX];
    char body[BODY_MAX + 1];
    bool there;
} cart;

typedef struct shop {
    const char *name;
    pthread_mutex_t lock;
    cart carts[CARTS];
} shop;

typedef struct connection {
    shop *shop;
    int fd;
    size_t n; /* bytes in `bytes` that are not yet taken */
    char bytes[HEAD_MAX + 1];
} connection;

typedef struct request {
    char method[16], target[1024];
    char seen[SEEN_MAX]; /* x-fields as JSON members */
    size_t seen_n;
    long length; /* of the body; -1: chunked */
    bool close, expects;
    char body[BODY_MAX + 1];
    size_t body_n;
} request;

static const struct {
    const char *id, *json;
} products[] = {
    { "lamp", "{\"id\":\"lamp\",\"name\":\"Moon lamp\",\"price\":3900}" },
    { "chart", "{\"id\":\"chart\",\"name\":\"Star chart\",\"price\":1250}" },
    { "tide", "{\"id\":\"tide\",\"name\":\"Tide table\",\"price\":700}" },
};

/* ---- reading ---- */

/* Waits for more bytes; false when the peer has gone or the buffer is full. */
static bool fill(connection *c)
{
    ssize_t n;

    if (c->n == HEAD_MAX)
        return false;
    do
        n = recv(c->fd, c->bytes + c->n, HEAD_MAX - c->n, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    c->n += (size_t)n;
    c->bytes[c->n] = '\0';
    return true;
}

static void take(connection *c, size_t n)
{
    memmove(c->bytes, c->bytes + n, c->n - n);
    c->n -= n;
    c->bytes[c->n] = '\0';
}

/* Appends as a JSON text; what does not fit is left out. */
static void add_json(char *out, size_t cap, size_t *n, const char *text)
{
    const size_t need = 6 * strlen(text) + 3;

    if (*n + need > cap)
        return;
    out[(*n)++] = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            *n += (size_t)sprintf(out + *n, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            out[(*n)++] = *text;
    }
    out[(*n)++] = '"';
    out[*n] = '\0';
}

static void note_field(request *r, const char *name, const char *value)
{
    if (strcasecmp(name, "content-length") == 0)
        r->length = strtol(value, NULL, 10);
    else if (strcasecmp(name, "transfer-encoding") == 0)
        r->length = -1;
    else if (strcasecmp(name, "connection") == 0)
        r->close = strcasestr(value, "close") != NULL;
    else if (strcasecmp(name, "expect") == 0)
        r->expects = true;
    else if (strncasecmp(name, "x-", 2) == 0 &&
             r->seen_n + 6 * (strlen(name) + strlen(value)) + 8 < SEEN_MAX) {
        if (r->seen_n)
            r->seen[r->seen_n++] = ',';
        add_json(r->seen, SEEN_MAX, &r->seen_n, name);
        r->seen[r->seen_n++] = ':';
        add_json(r->seen, SEEN_MAX, &r->seen_n, value);
    }
}

/* One line of the head, which ends where CR LF stood. */
static void read_field(request *r, char *line)
{
    char *value = strchr(line, ':');

    if (!value)
        return;
    *value++ = '\0';
    note_field(r, line, value + strspn(value, " \t"));
}

static bool read_head(connection *c, request *r)
{
    char *end, *line, *next;

    memset(r, 0, sizeof(*r));
    while (!(end = strstr(c->bytes, "\r\n\r\n"))) {
        if (!fill(c))
            return false;
    }
    end[2] = '\0';
    if (sscanf(c->bytes, "%15s %1023s", r->method, r->target) != 2)
        return false;
    for (line = strstr(c->bytes, "\r\n") + 2; (next = strstr(line, "\r\n")); line = next + 2) {
        *next = '\0';
        read_field(r, line);
    }
    take(c, (size_t)(end + 4 - c->bytes));
    return true;
}

/* The next n bytes of a body: kept up to BODY_MAX, else only passed over. */
static bool read_bytes(connection *c, request *r, size_t n)
{
    while (n > 0) {
        if (c->n == 0 && !fill(c))
            return false;
        const size_t part = c->n < n ? c->n : n;
        if (r->body_n + part <= BODY_MAX)
            memcpy(r->body + r->body_n, c->bytes, part);
        r->body_n += part;
        take(c, part);
        n -= part;
    }
    return true;
}

/* A line of at most a few bytes, without its end. */
static bool read_line(connection *c, char *out, size_t cap)
{
    char *end;

    while (!(end = strstr(c->bytes, "\r\n"))) {
        if (!fill(c))
            return false;
    }
    snprintf(out, cap, "%.*s", (int)(end - c->bytes), c->bytes);
    take(c, (size_t)(end + 2 - c->bytes));
    return true;
}

static bool read_chunks(connection *c, request *r)
{
    char line[256];

    for (;;) {
        if (!read_line(c, line, sizeof(line)))
            return false;
        const size_t n = strtoul(line, NULL, 16);
        if (n == 0)
            break;
        if (!read_bytes(c, r, n) || !read_line(c, line, sizeof(line)))
            return false;
    }
    do { /* trailers */
        if (!read_line(c, line, sizeof(line)))
            return false;
    } while (line[0]);
    return true;
}

static bool send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        const ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool read_body(connection *c, request *r)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (r->expects && r->length != 0 && !send_all(c->fd, go_on, sizeof(go_on) - 1))
        return false;
    if (!(r->length < 0 ? read_chunks(c, r) : read_bytes(c, r, (size_t)r->length)))
        return false;
    r->body[r->body_n <= BODY_MAX ? r->body_n : 0] = '\0';
    return true;
}

/* ---- answering ---- */

static bool answer(connection *c, const request *r, int status, const char *result)
{
    char body[BODY_MAX * 6 + SEEN_MAX + 1024], out[sizeof(body) + 512];
    const bool head = strcmp(r->method, "HEAD") == 0;
    char path[6 * sizeof(r->target) + 3] = "";
    size_t path_n = 0;

    add_json(path, sizeof(path), &path_n, r->target);
    const int body_n =
        snprintf(body, sizeof(body), "{\"served_by\":\"%s\",\"target\":%s,\"seen\":{%s},\"result\":%s}\n",
                 c->shop->name, path, r->seen, result);
    const int n = snprintf(out, sizeof(out),
                           "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                           "X-Served: %s\r\nServer: shop-upstream/1.0\r\n%s\r\n%s",
                           status, status == 200 ? "OK" : "Other", body_n, c->shop->name,
                           r->close ? "Connection: close\r\n" : "", head ? "" : body);
    return send_all(c->fd, out, (size_t)n) && !r->close;
}

static bool answer_products(connection *c, const request *r, const char *id)
{
    const size_t count = sizeof(products) / sizeof(products[0]);
    char all[512] = "[";

    for (size_t i = 0; i < count; i++) {
        if (id && strcmp(products[i].id, id) == 0)
            return answer(c, r, 200, products[i].json);
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? "," : "", products[i].json);
    }
    strcat(all, "]");
    return id ? answer(c, r, 404, "{\"error\":\"no such product\"}") : answer(c, r, 200, all);
}

/* The cart of that id, or a free place for it; NULL when all are taken. Under the lock. */
static cart *find_cart(shop *s, const char *id)
{
    cart *open = NULL;

    for (size_t i = 0; i < CARTS; i++) {
        if (s->carts[i].there && strcmp(s->carts[i].id, id) == 0)
            return &s->carts[i];
        if (!s->carts[i].there && !open)
            open = &s->carts[i];
    }
    return open;
}

/* What the cart holds after the request, as a JSON text; returns the status. */
static int change_cart(shop *s, const request *r, const char *id, char *out, size_t cap)
{
    cart *found = find_cart(s, id);
    size_t n = 0;

    snprintf(out, cap, "null");
    if (strcmp(r->method, "PUT") == 0) {
        if (!found || r->body_n > BODY_MAX)
            return 507;
        snprintf(found->id, sizeof(found->id), "%s", id);
        memcpy(found->body, r->body, r->body_n + 1);
        found->there = true;
    } else if (!found || !found->there) {
        return 404;
    }
    if (strcmp(r->method, "DELETE") == 0 || strcmp(r->method, "POST") == 0)
        found->there = false;
    if (strcmp(r->method, "DELETE") != 0)
        add_json(out, cap, &n, found->body);
    return 200;
}

/* `id` ends where an order's path goes on. */
static bool answer_cart(connection *c, const request *r, char *id)
{
    char result[BODY_MAX * 6 + 8];
    const bool sells = strcmp(r->method, "POST") == 0;
    char *order = strchr(id, '/');

    if (order ? !sells || strcmp(order, "/order") != 0 : sells)
        return answer(c, r, 404, "null");
    if (order)
        *order = '\0';
    if (strcmp(id, "broken") == 0)
        return answer(c, r, 503, "{\"error\":\"this cart lost a wheel\"}");
    if (strlen(id) >= ID_MAX)
        return answer(c, r, 404, "null");
    pthread_mutex_lock(&c->shop->lock);
    const int status = change_cart(c->shop, r, id, result, sizeof(result));
    pthread_mutex_unlock(&c->shop->lock);
    return answer(c, r, status, result);
}

static bool answer_slowly(connection *c, const request *r, const char *query)
{
    const char *given = query ? strstr(query, "ms=") : NULL;
    long ms = given ? strtol(given + 3, NULL, 10) : 1000;

    ms = ms < 0 ? 0 : ms > 10000 ? 10000 : ms;
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
    return answer(c, r, 200, "\"slow\"");
}

/* True: the connection goes on. */
static bool serve_one(connection *c, request *r)
{
    char path[sizeof(r->target)];

    if (!read_head(c, r) || !read_body(c, r))
        return false;
    printf("%s: %s %s\n", c->shop->name, r->method, r->target);
    strcpy(path, r->target);
    char *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    if (strcmp(path, "/v1/products") == 0)
        return answer_products(c, r, NULL);
    if (strncmp(path, "/v1/products/", 13) == 0)
        return answer_products(c, r, path + 13);
    if (strncmp(path, "/v1/carts/", 10) == 0)
        return answer_cart(c, r, path + 10);
    if (strcmp(path, "/healthz") == 0)
        return answer(c, r, 200, "\"well\"");
    if (strcmp(path, "/v1/slow") == 0)
        return answer_slowly(c, r, query);
    return answer(c, r, 404, "{\"error\":\"nothing is here\"}");
}

static void *serve(void *self)
{
    connection *c = self;
    request *r = malloc(sizeof(*r));

    while (r && serve_one(c, r))
        continue;
    close(c->fd);
    free(r);
    free(c);
    return NULL;
}

static int listen_on(int port)
{
    const struct sockaddr_in at = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 512) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void start_serving(shop *s, int fd)
{
    connection *c = calloc(1, sizeof(*c));
    pthread_t thread;
    const int one = 1;

    if (c) {
        *c = (connection){ .shop = s, .fd = fd };
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (pthread_create(&thread, NULL, serve, c) == 0) {
            pthread_detach(thread);
            return;
        }
    }
    free(c);
    close(fd);
}

int main(int argc, char **argv)
{
    const int port = argc == 3 ? atoi(argv[2]) : 0;

    if (port < 1 || port > 65535) {
        fprintf(stderr, "usage: shop_upstream NAME PORT, as in: shop_upstream catalog-a 9001\n");
        return 2;
    }
    shop *s = calloc(1, sizeof(*s));
    const int listener = listen_on(port);
    if (!s || listener < 0) {
        fprintf(stderr, "shop_upstream: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
        free(s);
        return 1;
    }
    s->name = argv[1];
    pthread_mutex_init(&s->lock, NULL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s: listening on 127.0.0.1:%d\n", s->name, port);
    for (;;) {
        const int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            start_serving(s, fd);
        else if (errno == EMFILE || errno == ENFILE)
            nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
}
