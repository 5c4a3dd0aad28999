/* watchdog.c - looks, asks for the line, tells, ends. Both clocks count: the one of the gateway, which may be
 * a spec's, and looks of this thread, so that a process that was stopped for an hour is not taken for one
 * that hangs. */
#include "gateway/watchdog.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/flusher.h"
#include "script/place.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

const char *const mg_watch_names[MG_WATCH_KINDS] = { "worker", "control", "builder", "log", "state" };

typedef enum stage {
    STAGE_GOES_ON,
    STAGE_ASKED, /* it stands still, and is asked where */
    STAGE_TOLD,
    STAGE_ENDS, /* told that the process ends: with the next look */
} stage;

typedef struct post {
    mg_watched conf;
    uint64_t beat, since_ns; /* the beat seen last, and since when */
    unsigned looks;          /* that saw no other */
    stage stage;
    bool asked;         /* once at least */
    atomic_bool placed; /* the thread itself has said where it is */
    mg_vm_place place;  /* its answer */
} post;

struct mg_watchdog {
    mg_log *log;           /* borrowed */
    const mg_clock *clock; /* borrowed */
    void (*end)(void);
    post **posts; /* owned */
    size_t count;
    uint64_t hangs[MG_WATCH_KINDS];
    pthread_mutex_t lock; /* of all of the above, for those who read along */
    mg_thread thread;
    int signal, wake;
    atomic_bool spares;
};

/* ---- where it stands ---- */

/* On the thread that stands still. */
static void on_ask(int number, siginfo_t *info, void *context)
{
    const int error = errno;
    post *p = info->si_value.sival_ptr;

    (void)number;
    (void)context;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid()) /* somebody else's signal */
        return;
    mg_vm_place_now(p->conf.site, &p->place);
    atomic_store_explicit(&p->placed, true, memory_order_release);
    errno = error;
}

static void ask(const mg_watchdog *dog, post *p)
{
    const union sigval value = { .sival_ptr = p };

    if (!dog->signal || !p->conf.site ||
        (p->asked && !atomic_load_explicit(&p->placed, memory_order_acquire)))
        return;
    p->asked = true;
    atomic_store_explicit(&p->placed, false, memory_order_relaxed);
    (void)pthread_sigqueue(p->conf.thread, dog->signal, value);
}

void mg_watchdog_hear(const mg_watchdog *dog)
{
    sigset_t set;

    if (!dog || !dog->signal)
        return;
    sigemptyset(&set);
    sigaddset(&set, dog->signal);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

uint64_t mg_watchdog_number(const void *self)
{
    return atomic_load_explicit((const _Atomic uint64_t *)self, memory_order_relaxed);
}

/* ---- telling ---- */

static const mg_vm_place *place_of(const post *p)
{
    static const mg_vm_place nowhere = { 0 };

    return p->asked && atomic_load_explicit(&p->placed, memory_order_acquire) ? &p->place : &nowhere;
}

static void add_name(const post *p, mg_text *out)
{
    switch (p->conf.kind) {
    case MG_WATCH_WORKER: mg_text_addf(out, "worker %u", p->conf.index); return;
    case MG_WATCH_CONTROL: mg_text_add_c(out, "the control thread"); return;
    case MG_WATCH_BUILDER: mg_text_add_c(out, "the builder's thread"); return;
    case MG_WATCH_STATE:
        mg_text_addf(out, "a write to state/%s", p->conf.index == MG_FLUSH_LEDGER ? "ledger" : "policy");
        return;
    default: mg_text_add_c(out, "a write of the log's thread");
    }
}

static uint64_t seconds_of(const mg_watchdog *dog, const post *p)
{
    return (dog->clock->mono_ns(dog->clock) - p->since_ns) / MG_NS_PER_S;
}

/* "worker 1 has stood still for 2 s, in plugin own, plugins/own/plugin.lua:7" */
static void add_line(const mg_watchdog *dog, const post *p, mg_text *out)
{
    const mg_vm_place *place = place_of(p);

    add_name(p, out);
    mg_text_addf(out, " has stood still for %llu s", (unsigned long long)seconds_of(dog, p));
    if (place->plugin[0])
        mg_text_addf(out, ", in plugin %s", place->plugin);
    if (place->is_handler)
        mg_text_addf(out, ", whose handler begins at %s", place->line);
    else if (place->line[0])
        mg_text_addf(out, "%s, %s", place->plugin[0] ? "" : ", in a plugin", place->line);
    else if (!place->plugin[0] && p->asked && atomic_load_explicit(&p->placed, memory_order_acquire))
        mg_text_add_c(out, place->in_lua ? ", in Lua" : ", outside of plugins");
}

static void tell(mg_watchdog *dog, const post *p, mg_log_level level, const char *more)
{
    const mg_vm_place *place = place_of(p);
    const mg_log_member members[] = { { "plugin", mg_str_of(place->plugin) },
                                      { "line", mg_str_of(place->line) } };
    mg_text text = { 0 };

    add_line(dog, p, &text);
    mg_log_write_with(dog->log, level, "hang", members, mg_countof(members), "%.*s%s",
                      MG_STR_ARGS(mg_text_str(&text)), more);
    mg_text_fini(&text);
}

static void tell_goes_on(mg_watchdog *dog, const post *p)
{
    mg_text name = { 0 };

    add_name(p, &name);
    mg_log_write(dog->log, MG_LOG_WARN, "hang_over", "%.*s goes on after %llu s",
                 MG_STR_ARGS(mg_text_str(&name)), (unsigned long long)seconds_of(dog, p));
    mg_text_fini(&name);
}

/* ---- looking ---- */

static bool stands_for(const mg_watchdog *dog, const post *p, unsigned ms)
{
    return p->looks >= ms / MG_WATCH_LOOK_MS &&
           dog->clock->mono_ns(dog->clock) - p->since_ns >= ms * MG_NS_PER_MS;
}

static void go_on(mg_watchdog *dog, post *p, uint64_t beat)
{
    if (p->stage >= STAGE_TOLD)
        tell_goes_on(dog, p);
    p->beat = beat;
    p->since_ns = dog->clock->mono_ns(dog->clock);
    p->looks = 0;
    p->stage = STAGE_GOES_ON;
}

static void stand(mg_watchdog *dog, post *p)
{
    p->looks++;
    switch (p->stage) {
    case STAGE_GOES_ON:
        if (!stands_for(dog, p, MG_WATCH_STILL_MS))
            return;
        ask(dog, p);
        p->stage = STAGE_ASKED;
        return;
    case STAGE_ASKED:
        dog->hangs[p->conf.kind]++;
        tell(dog, p, p->conf.kind == MG_WATCH_WORKER ? MG_LOG_ERROR : MG_LOG_WARN, "");
        p->stage = STAGE_TOLD;
        return;
    case STAGE_TOLD:
        if (p->conf.kind != MG_WATCH_WORKER || atomic_load(&dog->spares) ||
            !stands_for(dog, p, MG_WATCH_END_MS))
            return;
        tell(dog, p, MG_LOG_ERROR, ": the process ends, to be started again");
        p->stage = STAGE_ENDS; /* the log's thread has until the next look */
        return;
    case STAGE_ENDS: dog->end();
    }
}

void mg_watchdog_look(mg_watchdog *dog)
{
    pthread_mutex_lock(&dog->lock);
    for (size_t i = 0; i < dog->count; i++) {
        post *p = dog->posts[i];
        const uint64_t beat = p->conf.beat(p->conf.self);
        if (!beat || beat != p->beat)
            go_on(dog, p, beat);
        else
            stand(dog, p);
    }
    pthread_mutex_unlock(&dog->lock);
}

void mg_watchdog_spare(mg_watchdog *dog)
{
    if (dog)
        atomic_store(&dog->spares, true);
}

void mg_watchdog_write(mg_watchdog *dog, mg_text *out)
{
    if (!dog)
        return;
    pthread_mutex_lock(&dog->lock);
    for (size_t i = 0; i < dog->count; i++) {
        if (dog->posts[i]->stage < STAGE_TOLD)
            continue;
        add_line(dog, dog->posts[i], out);
        mg_text_add_char(out, '\n');
    }
    pthread_mutex_unlock(&dog->lock);
}

uint64_t mg_watchdog_hangs(mg_watchdog *dog, mg_watch_kind kind)
{
    pthread_mutex_lock(&dog->lock);
    const uint64_t hangs = dog->hangs[kind];
    pthread_mutex_unlock(&dog->lock);
    return hangs;
}

/* ---- the thread ---- */

static void run_watchdog(void *self)
{
    mg_watchdog *dog = self;
    struct pollfd ended = { dog->wake, POLLIN, 0 };

    while (poll(&ended, 1, MG_WATCH_LOOK_MS) <= 0)
        mg_watchdog_look(dog);
}

mg_watchdog *mg_watchdog_new(mg_log *log, const mg_clock *clock, int signal, void (*end)(void))
{
    mg_watchdog *dog = MG_NEW(mg_watchdog);

    dog->log = log;
    dog->clock = clock;
    dog->signal = signal;
    dog->end = end ? end : abort;
    dog->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MG_CHECK(dog->wake >= 0 && pthread_mutex_init(&dog->lock, NULL) == 0);
    return dog;
}

void mg_watchdog_watch(mg_watchdog *dog, const mg_watched *watched)
{
    post *p = MG_NEW(post);

    *p = (post){ .conf = *watched, .since_ns = dog->clock->mono_ns(dog->clock) };
    pthread_mutex_lock(&dog->lock);
    dog->posts = mg_realloc(dog->posts, (dog->count + 1) * sizeof *dog->posts);
    dog->posts[dog->count++] = p;
    pthread_mutex_unlock(&dog->lock);
}

mg_result mg_watchdog_start(mg_watchdog *dog, mg_error *err)
{
    struct sigaction action = { .sa_sigaction = on_ask, .sa_flags = SA_SIGINFO | SA_RESTART };

    sigemptyset(&action.sa_mask);
    if (dog->signal)
        MG_CHECK(sigaction(dog->signal, &action, NULL) == 0);
    return mg_thread_start(&dog->thread, "watchdog", MG_THREAD_STACK_SMALL, run_watchdog, dog, err);
}

void mg_watchdog_stop(mg_watchdog *dog)
{
    const uint64_t one = 1;

    if (!dog->thread.runs)
        return;
    (void)!write(dog->wake, &one, sizeof one);
    mg_thread_join(&dog->thread);
}

void mg_watchdog_free(mg_watchdog *dog)
{
    if (!dog)
        return;
    mg_watchdog_stop(dog);
    for (size_t i = 0; i < dog->count; i++)
        mg_free(dog->posts[i]);
    mg_free(dog->posts);
    pthread_mutex_destroy(&dog->lock);
    close(dog->wake);
    mg_free(dog);
}
