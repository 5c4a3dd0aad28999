/* top.c - what a running gateway does, drawn anew every second: the terminal, the keys, the samples. */
#include "cli/client.h"
#include "cli/top_view.h"
#include "text/units.h"

#include "base/time.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { INTERVAL_MS = 1000, INTERVAL_MS_MIN = 100, INTERVAL_MS_MAX = 60 * 1000, DOCUMENTS = 5, WIDTH = 80 };

typedef struct options {
    mg_client client;
    uint64_t interval_ms;
    bool once, json, colour, all_endpoints;
} options;

/* What the gateway said at one moment. */
typedef struct sample {
    mg_arena arena;
    mg_top_sample view; /* in the arena */
    bool taken;
    mg_str texts[DOCUMENTS]; /* in the arena: the documents as they came */
} sample;

static const char *const document_names[DOCUMENTS] = { "about", "routes", "services", "limiters",
                                                       "rollouts" };
static const char *const targets[DOCUMENTS] = { "/v1", "/v1/routes", "/v1/services", "/v1/limiters?top=8",
                                                "/v1/rollouts" };

/* ---- samples ---- */

static void sample_free(sample *s)
{
    if (s->taken)
        mg_arena_fini(&s->arena);
    *s = (sample){ 0 };
}

static int take_document(const options *opt, sample *s, int which, const char **why)
{
    const mg_node **places[DOCUMENTS] = { &s->view.about, &s->view.routes, &s->view.services,
                                          &s->view.limiters, &s->view.rollouts };
    mg_client_answer answer;
    int status = mg_client_try(&opt->client, "GET", mg_str_of(targets[which]), MG_STR_NONE, &answer, why);

    if (status == MG_EXIT_OK && answer.status == 200) {
        s->texts[which] = mg_str_trim(mg_arena_str(&s->arena, answer.body), "\n");
        *places[which] = mg_client_json(&opt->client, &s->arena, &answer);
        status = *places[which] ? MG_EXIT_OK : MG_EXIT_FAILED;
    } else if (status == MG_EXIT_OK) {
        *why = "its admin listener has no such document; is it another version?";
        status = MG_EXIT_FAILED;
    }
    mg_client_answer_fini(&answer);
    return status;
}

static int sample_take(const options *opt, sample *s, const char **why)
{
    int status = MG_EXIT_OK;

    *s = (sample){ .taken = true };
    mg_arena_init(&s->arena, NULL, 0);
    for (int i = 0; i < DOCUMENTS && status == MG_EXIT_OK; i++)
        status = take_document(opt, s, i, why);
    if (status != MG_EXIT_OK)
        sample_free(s);
    return status;
}

static int fail(const options *opt, int status, const char *why)
{
    if (status == MG_EXIT_UNREACHABLE)
        return mg_client_unreachable(&opt->client, why);
    fprintf(stderr, "moongate top: %s\n", why);
    return status;
}

/* ---- one picture ---- */

static void print_json(const sample *s)
{
    mg_text text = { 0 };
    mg_json_out json = { .text = &text };

    mg_json_out_map(&json, NULL);
    for (int i = 0; i < DOCUMENTS; i++)
        mg_json_out_json(&json, document_names[i], s->texts[i]);
    mg_json_out_end(&json);
    puts(text.p);
    mg_text_fini(&text);
}

/* COLUMNS where there is no terminal to ask. */
static unsigned width_of(unsigned known)
{
    const char *columns = getenv("COLUMNS");
    uint64_t width;

    if (known)
        return known;
    return columns && mg_str_u64(mg_str_of(columns), &width) && width <= 1000 ? (unsigned)width : WIDTH;
}

static void print_once(const options *opt, const sample *now, const sample *before)
{
    struct winsize size = { 0 };
    mg_text out = { 0 };

    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    const mg_top_screen screen = { .width = width_of(size.ws_col),
                                   .colour = opt->colour,
                                   .all_endpoints = opt->all_endpoints };
    mg_top_render(&now->view, &before->view, &screen, &out);
    fwrite(out.p, 1, out.n, stdout);
    mg_text_fini(&out);
}

static int run_once(const options *opt)
{
    sample before, now = { 0 };
    const char *why;
    int status = sample_take(opt, &before, &why);

    if (status != MG_EXIT_OK)
        return fail(opt, status, why);
    if (!opt->json) { /* rates need two */
        (void)poll(NULL, 0, (int)opt->interval_ms);
        status = sample_take(opt, &now, &why);
    }
    if (status != MG_EXIT_OK)
        status = fail(opt, status, why);
    else if (opt->json)
        print_json(&before);
    else
        print_once(opt, &now, &before);
    sample_free(&before);
    sample_free(&now);
    return status;
}

/* ---- the terminal ---- */

typedef struct terminal {
    struct termios before; /* as it was found */
    int signals;           /* INT, TERM, TSTP, WINCH as a descriptor */
} terminal;

static void show_text(const char *text)
{
    size_t n = strlen(text);

    while (n) {
        const ssize_t written = write(STDOUT_FILENO, text, n);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            text += written;
            n -= (size_t)written;
        }
    }
}

/* Keys one by one and unseen; a screen of its own, without a cursor, that cuts lines instead of wrapping. */
static void enter(const terminal *t)
{
    struct termios raw = t->before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    show_text("\033[?1049h\033[?25l\033[?7l");
}

static void leave(const terminal *t)
{
    show_text("\033[?7h\033[?25h\033[?1049l");
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

static bool open_terminal(terminal *t)
{
    sigset_t set;

    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &t->before) != 0)
        return false;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGWINCH);
    sigprocmask(SIG_BLOCK, &set, NULL);
    t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return t->signals >= 0;
}

/* False when it is time to go. */
static bool take_signals(const terminal *t)
{
    struct signalfd_siginfo info;

    while (read(t->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGTSTP) {
            leave(t);
            raise(SIGSTOP);
            enter(t);
        } else if (info.ssi_signo != SIGWINCH) {
            return false;
        }
    }
    return true;
}

typedef enum key { KEY_NONE, KEY_QUIT, KEY_ENDPOINTS } key;

static key read_key(bool *hung_up)
{
    char bytes[16];
    const ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);

    *hung_up = got < 0 && errno != EAGAIN && errno != EINTR;
    for (ssize_t i = 0; i < got; i++) {
        if (bytes[i] == 'q' || bytes[i] == 'Q' || bytes[i] == 4)
            return KEY_QUIT;
        if (bytes[i] == 'e')
            return KEY_ENDPOINTS;
    }
    return KEY_NONE;
}

static void draw(const options *opt, const sample *now, const sample *before, const char *note)
{
    struct winsize size = { 0 };
    mg_text picture = { 0 }, out = { 0 };

    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    const mg_top_screen screen = { .width = width_of(size.ws_col),
                                   .height = size.ws_row ? size.ws_row : 24,
                                   .colour = opt->colour,
                                   .all_endpoints = opt->all_endpoints,
                                   .note = note };
    mg_top_render(&now->view, before->taken ? &before->view : NULL, &screen, &picture);
    mg_top_frame(mg_text_str(&picture), screen.height, &out);
    show_text(out.p);
    mg_text_fini(&picture);
    mg_text_fini(&out);
}

/* Waits for a key, a signal or the next second. False when it is time to go. */
static bool wait_turn(options *opt, const terminal *t, uint64_t until_ns)
{
    for (;;) {
        struct pollfd fds[2] = { { t->signals, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
        const uint64_t now_ns = mg_clock_real.mono_ns(&mg_clock_real);
        bool hung_up = false;

        if (now_ns >= until_ns)
            return true;
        const int ready = poll(fds, 2, (int)mg_ms_ceil(until_ns - now_ns));
        if (ready <= 0)
            continue;
        if (fds[0].revents && !take_signals(t))
            return false;
        const key pressed = fds[1].revents ? read_key(&hung_up) : KEY_NONE;
        if (pressed == KEY_QUIT || hung_up || (fds[1].revents & (POLLHUP | POLLNVAL)))
            return false;
        if (pressed == KEY_ENDPOINTS)
            opt->all_endpoints = !opt->all_endpoints;
        return true; /* drawn again: a key or another size */
    }
}

/* The latest sample and the one before it. A gateway that is away leaves the last picture, and says so. */
static void turn(const options *opt, sample *now, sample *before, bool *away)
{
    const char *why;
    sample fresh;

    *away = sample_take(opt, &fresh, &why) != MG_EXIT_OK;
    if (*away)
        return;
    sample_free(before);
    *before = *now;
    *now = fresh;
}

static void run_screen(options *opt, const terminal *t, sample *now)
{
    uint64_t due_ns = mg_clock_real.mono_ns(&mg_clock_real) + opt->interval_ms * MG_NS_PER_MS;
    sample before = { 0 };
    bool away = false;

    enter(t);
    for (;;) {
        draw(opt, now, &before, away ? "the gateway is away, q quits" : "e endpoints, q quits");
        if (!wait_turn(opt, t, due_ns))
            break;
        const uint64_t now_ns = mg_clock_real.mono_ns(&mg_clock_real);
        if (now_ns < due_ns)
            continue;
        turn(opt, now, &before, &away);
        due_ns = now_ns + opt->interval_ms * MG_NS_PER_MS;
    }
    leave(t);
    sample_free(&before);
}

static int run_live(options *opt)
{
    terminal t;
    sample now;
    const char *why;
    const int status = sample_take(opt, &now, &why);

    if (status != MG_EXIT_OK)
        return fail(opt, status, why);
    if (!open_terminal(&t)) {
        sample_free(&now);
        return mg_cli_usage("top", "there is no terminal to draw on: give --once");
    }
    run_screen(opt, &t, &now);
    sample_free(&now);
    close(t.signals);
    return MG_EXIT_OK;
}

/* ---- arguments ---- */

static int take_interval(options *opt, const char *value)
{
    mg_error err = MG_ERROR_INIT;

    if (!value || mg_units_duration(mg_str_of(value), &opt->interval_ms, &err) != MG_OK)
        return mg_cli_usage("top", "--interval takes a duration such as 1s");
    if (opt->interval_ms < INTERVAL_MS_MIN || opt->interval_ms > INTERVAL_MS_MAX)
        return mg_cli_usage("top", "--interval is from 100ms to 60s");
    return MG_EXIT_OK;
}

static int take_option(options *opt, mg_args *args, const char *arg)
{
    const char *value;
    int status = MG_EXIT_OK;

    if (strcmp(arg, "--once") == 0)
        opt->once = true;
    else if (mg_args_value(args, arg, "--interval", &value))
        return take_interval(opt, value);
    else if (!mg_client_option(&opt->client, args, arg, &status))
        return mg_cli_usage("top", "unknown option \"%s\"", arg);
    return status;
}

int mg_cli_top(mg_args *args)
{
    options opt = { .interval_ms = INTERVAL_MS };
    const char *no_colour = getenv("NO_COLOR");
    int status = MG_EXIT_OK;

    mg_client_init(&opt.client, "top", args);
    for (const char *arg; status == MG_EXIT_OK && (arg = mg_args_next(args));)
        status = take_option(&opt, args, arg);
    if (status == MG_EXIT_OK)
        status = mg_client_find(&opt.client);
    if (status != MG_EXIT_OK)
        return status;
    opt.json = args->json;
    opt.all_endpoints = args->verbose;
    opt.colour = !args->no_colour && !(no_colour && *no_colour) && isatty(STDOUT_FILENO);
    return opt.once || opt.json ? run_once(&opt) : run_live(&opt);
}
