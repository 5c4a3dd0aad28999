/* run.c - serves in the foreground, and turns signals into what the gateway does: HUP reloads, USR1 opens
 * logs again, TERM, INT and QUIT drain, a second one ends at once. No thread that hangs holds up the end. */
#include "base/log_writer.h"
#include "base/mem.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "gateway/gateway.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    GRACE_MS = 1000,  /* for what must be over, once it must be */
    SAVING_MS = 2000, /* for the store and the logs, where a thread hangs */
};

typedef struct options {
    const char *file, *to, *listen;
    const char *sets[MG_CLI_SETS + 1];
    size_t set_count;
    bool verbose, quiet; /* or the log's level follows the configuration */
} options;

typedef struct runner {
    const options *opt;
    int stopped[2]; /* a pipe: written when the gateway has stopped */
} runner;

static mg_config *read_config(void *self, mg_report *report)
{
    const options *opt = self;
    const mg_config_env env = { .set = opt->sets, .set_count = opt->set_count };

    if (opt->to)
        return mg_config_for_proxy(opt->to, opt->listen, report);
    return mg_config_load_file(opt->file, &env, report);
}

static void on_stopped(void *self)
{
    const runner *r = self;

    (void)!write(r->stopped[1], "", 1);
}

/* The soft limit is raised to the hard one: connections need descriptors. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static const int heard[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGQUIT };

/* Blocked before any thread is, so that none is interrupted and no signal ends the process undrained; SIGPIPE
 * and SIGXFSZ too, which writes report as errors. */
static int open_signals(void)
{
    sigset_t set;

    mg_thread_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigemptyset(&set);
    for (size_t i = 0; i < mg_countof(heard); i++)
        sigaddset(&set, heard[i]);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* False for a signal that wants the end. */
static bool hear(mg_gateway *gateway, mg_log *log, uint32_t signal)
{
    switch (signal) {
    case SIGHUP: mg_gateway_reload(gateway); return true;
    case SIGUSR1: mg_gateway_reopen_logs(gateway); return true;
    case SIGUSR2:
        mg_log_write(log, MG_LOG_WARN, "signal",
                     "USR2: to change the program while it runs is not in this version; start the new one "
                     "and send TERM");
        return true;
    default: return false;
    }
}

static void set_timer(int timer, uint64_t ms)
{
    const struct itimerspec when = { .it_value = { .tv_sec = (time_t)(ms / 1000),
                                                   .tv_nsec = (long)(ms % 1000) * (long)MG_NS_PER_MS } };

    (void)timerfd_settime(timer, 0, &when, NULL);
}

/* The next signal, as far as it is one; 0: none. */
static uint32_t next_signal(int signals)
{
    struct signalfd_siginfo info;

    return read(signals, &info, sizeof info) == (ssize_t)sizeof info ? info.ssi_signo : 0;
}

/* False when the gateway has not stopped though it should have long since, or when a third signal is tired of
 * waiting for that. */
static bool wait_for_end(mg_gateway *gateway, mg_log *log, const runner *r, int signals)
{
    const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct pollfd fds[] = { { signals, POLLIN, 0 }, { r->stopped[0], POLLIN, 0 }, { timer, POLLIN, 0 } };
    unsigned ends = 0;

    while (!fds[1].revents && !fds[2].revents && ends < 3) {
        if (poll(fds, mg_countof(fds), -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        const uint32_t signal = fds[0].revents ? next_signal(signals) : 0;
        if (!signal || hear(gateway, log, signal))
            continue;
        mg_gateway_drain(gateway);
        set_timer(timer, GRACE_MS + (ends++ ? 0 : mg_gateway_drain_ms(gateway)));
    }
    close(timer);
    return fds[1].revents;
}

static void end_at_last(void *self)
{
    (void)self;
    (void)poll(NULL, 0, SAVING_MS);
    _exit(MG_EXIT_FAILED);
}

/* A thread hangs, with what it holds: what is not on disk yet is written, if it can be, and nothing is freed.
 */
static void end_without(mg_gateway *gateway, mg_log_writer *writer)
{
    mg_thread last;

    if (mg_thread_start(&last, "end", MG_THREAD_STACK_SMALL, end_at_last, NULL, NULL) == MG_OK)
        mg_gateway_save(gateway);
    mg_log_writer_free(writer);
    _exit(MG_EXIT_FAILED);
}

/* Findings go to stderr, but nobody who has stopped to read that holds up a gateway: false when they were
 * cut. */
static bool print_findings(const mg_report *report)
{
    struct pollfd out = { STDERR_FILENO, POLLOUT, 0 };
    mg_text text = { 0 };
    size_t at = 0;

    mg_report_print(report, &text);
    while (at < text.n && poll(&out, 1, GRACE_MS) > 0) {
        const ssize_t n = write(STDERR_FILENO, text.p + at, mg_min_u64(text.n - at, PIPE_BUF));
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            break;
    }
    const bool whole = at == text.n;
    mg_text_fini(&text);
    return whole;
}

/* An address in use or a store that cannot be opened is the machine's. */
static bool is_fault_of_the_document(const mg_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        if (report->findings[i].severity == MG_SEVERITY_ERROR &&
            strcmp(report->findings[i].code, "bind") != 0 && strcmp(report->findings[i].code, "start") != 0)
            return true;
    return false;
}

static bool start_gateway(mg_gateway *gateway, mg_log_writer *writer, runner *r, mg_error *err)
{
    if (pipe(r->stopped) != 0) {
        (void)mg_fail_errno(err, errno, "cannot make a pipe (see ulimit -n)");
        return false;
    }
    mg_gateway_on_stopped(gateway, on_stopped, r);
    return mg_log_writer_start(writer, err) == MG_OK && mg_gateway_start(gateway, NULL, NULL, err) == MG_OK;
}

static int serve(const options *opt, mg_config *config, mg_report *report)
{
    runner r = { .opt = opt };
    mg_error err = MG_ERROR_INIT;
    const mg_log_level level = opt->verbose ? MG_LOG_DEBUG : opt->quiet ? MG_LOG_ERROR : config->log_level;
    mg_log_writer *writer = mg_log_writer_new(level, isatty(STDERR_FILENO));
    const mg_gateway_options wanted = { .log = mg_log_writer_events(writer),
                                        .log_level_follows = !opt->verbose && !opt->quiet,
                                        .log_writer = writer,
                                        .hang_signal = SIGRTMIN,
                                        .read_config = read_config,
                                        .self = (void *)(uintptr_t)opt };
    const int signals = open_signals();

    mg_log_writer_aim(writer, MG_LOG_EVENTS, mg_log_target_fd(STDERR_FILENO));
    raise_descriptors();
    mg_gateway *gateway = mg_gateway_new(&wanted, config, report);
    if (!print_findings(report))
        mg_log_write(
            wanted.log, MG_LOG_WARN, "config",
            "what was found in the configuration did not go to stderr whole: moongate check tells it");
    if (!gateway) {
        mg_log_writer_free(writer);
        return is_fault_of_the_document(report) ? MG_EXIT_INVALID : MG_EXIT_FAILED;
    }
    if (!start_gateway(gateway, writer, &r, &err)) {
        fprintf(stderr, "moongate run: %s\n", err.message);
        mg_gateway_free(gateway);
        mg_log_writer_free(writer);
        return MG_EXIT_FAILED;
    }
    const bool stopped = wait_for_end(gateway, wanted.log, &r, signals);
    if (!mg_gateway_wait(gateway, stopped ? GRACE_MS : 0))
        end_without(gateway, writer);
    mg_gateway_free(gateway);
    mg_log_writer_free(writer);
    close(signals);
    close(r.stopped[0]);
    close(r.stopped[1]);
    return MG_EXIT_OK;
}

static bool parse(mg_args *args, options *opt, int *status)
{
    const char *value = "";

    for (const char *arg; (arg = mg_args_next(args));) {
        if (mg_args_value(args, arg, "-c", &value) || mg_args_value(args, arg, "--config", &value)) {
            opt->file = value;
        } else if (mg_args_value(args, arg, "--to", &value)) {
            opt->to = value;
        } else if (mg_args_value(args, arg, "--listen", &value)) {
            opt->listen = value;
        } else if (mg_args_value(args, arg, "--set", &value)) {
            if (opt->set_count == MG_CLI_SETS)
                return *status = mg_cli_usage("run", "at most %d --set", MG_CLI_SETS), false;
            opt->sets[opt->set_count++] = value;
        } else if (!mg_args_global(args, arg)) {
            return *status = mg_cli_usage("run", "unknown option \"%s\"", arg), false;
        }
        if (!value)
            return *status = mg_cli_usage("run", "%s needs a value", arg), false;
    }
    if (opt->listen && !opt->to)
        return *status = mg_cli_usage("run", "--listen goes with --to; a file names its listeners itself"),
               false;
    if (opt->to && opt->set_count)
        return *status = mg_cli_usage("run", "--set changes keys of a file: give -c in place of --to"), false;
    if (args->json)
        return *status = mg_cli_usage("run", "--json is for check and version in this build"), false;
    opt->quiet = args->quiet;
    opt->verbose = args->verbose;
    if (opt->to && opt->file)
        return *status = mg_cli_usage("run", "--to serves without a file: leave -c out"), false;
    if (!opt->file)
        opt->file = "moongate.yaml";
    return true;
}

int mg_cli_run(mg_args *args)
{
    options opt = { 0 };
    mg_report report = MG_REPORT_INIT;
    int status = MG_EXIT_OK;

    if (!parse(args, &opt, &status))
        return status;
    mg_config *config = read_config(&opt, &report);
    if (config) {
        status = serve(&opt, config, &report);
    } else {
        (void)print_findings(&report);
        status = MG_EXIT_INVALID;
    }
    mg_report_fini(&report);
    return status;
}
