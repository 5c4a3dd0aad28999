/* log_writer.c - one thread that writes what others hand over. A log's lines come in pieces on a stack, as
 * messages come to a mailbox: pushing is one compare-and-swap. The thread polls before it writes, and gives a
 * pipe no more than PIPE_BUF bytes at a time, which a pipe that polls as writable takes at once: so one stuck
 * target holds up neither the other log nor the end of the process. */
#include "base/log_writer.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/thread.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define AGAIN_NS       (10 * MG_NS_PER_MS) /* until a target that lied about taking bytes is asked again */
#define TELL_DROPS_NS  MG_NS_PER_S         /* between two events about dropped lines of one log */
#define TELL_ERRORS_NS (10 * MG_NS_PER_S)  /* between two events about errors of one log */

const char *const mg_log_names[MG_LOGS] = { "access", "events" };

typedef struct piece {
    struct piece *next;
    size_t n;
    char bytes[];
} piece;

typedef struct outlet {
    _Atomic(piece *) handed;      /* the newest first */
    _Atomic size_t queued_bytes;  /* of what was handed over and is not written */
    _Atomic uint64_t dropped;     /* lines */
    atomic_bool overfull;         /* lines were dropped since there was room last */
    _Atomic(mg_log_target *) aim; /* owned: the next target; NULL: the same as before */
    /* The rest is the writing thread's. */
    mg_log_target *target; /* owned */
    piece *first, **last;  /* the oldest first */
    size_t at;             /* bytes of the first piece that are written */
    bool fresh;            /* something has come since the target failed */
    int error;             /* errno of a target that failed last; 0: it took what it was given */
    uint64_t again_ns;     /* not written before */
    uint64_t told;         /* of the dropped lines */
    uint64_t told_ns, error_told_ns;
    bool error_told; /* of this trouble */
} outlet;

struct mg_log_writer {
    outlet outlets[MG_LOGS];
    mg_log *events;  /* owned */
    int wake, ended; /* eventfds; the thread writes to `ended` last of all */
    mg_thread thread;
    atomic_bool runs;        /* the thread does; else whoever hands over writes */
    _Atomic uint64_t at;     /* the number of the write that is being made; 0: none */
    uint64_t writes;         /* the writing thread's: how many there were */
    _Atomic uint64_t end_ns; /* when the thread ends whatever is left; 0: not yet */
    bool writing;            /* no thread runs, and the caller is in write_out already */
};

static uint64_t now_ns(void)
{
    return mg_clock_real.mono_ns(&mg_clock_real);
}

static uint64_t count_lines(const char *p, size_t n)
{
    const char *end = p + n;
    uint64_t count = 0;

    while ((p = memchr(p, '\n', (size_t)(end - p)))) {
        count++;
        p++;
    }
    return count;
}

/* ---- the queue ---- */

static void drop_lines(outlet *o, const char *p, size_t n)
{
    atomic_fetch_add_explicit(&o->dropped, count_lines(p, n), memory_order_relaxed);
}

static void tell(int eventfd)
{
    const uint64_t one = 1;

    (void)!write(eventfd, &one, sizeof one);
}

static void wake(mg_log_writer *writer)
{
    tell(writer->wake);
}

/* True when the thread has to hear of it. */
static bool push(outlet *o, mg_str lines)
{
    const size_t bytes = sizeof(piece) + lines.n;

    if (atomic_fetch_add(&o->queued_bytes, bytes) + bytes > MG_LOG_QUEUE_BYTES) {
        atomic_fetch_sub(&o->queued_bytes, bytes);
        drop_lines(o, lines.p, lines.n);
        return !atomic_exchange_explicit(&o->overfull, true, memory_order_relaxed);
    }
    piece *pushed = mg_alloc(bytes);
    piece *before = atomic_load_explicit(&o->handed, memory_order_relaxed);
    pushed->n = lines.n;
    memcpy(pushed->bytes, lines.p, lines.n);
    do
        pushed->next = before;
    while (!atomic_compare_exchange_weak_explicit(&o->handed, &before, pushed, memory_order_release,
                                                  memory_order_relaxed));
    return !before; /* not pushed->next: it may be written and gone */
}

/* Takes what was handed over. What comes for a target is a reason to try it again, for both logs. */
static void collect(mg_log_writer *writer, outlet *o)
{
    piece *newest = atomic_exchange_explicit(&o->handed, NULL, memory_order_acquire), *oldest = NULL;
    piece **end = newest ? &newest->next : NULL;

    if (!newest)
        return;
    while (newest) {
        piece *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    *o->last = oldest;
    o->last = end;
    for (outlet *other = writer->outlets; other < writer->outlets + MG_LOGS; other++)
        other->fresh |= other == o || mg_log_target_same(other->target, o->target);
}

static void pop(outlet *o)
{
    piece *first = o->first;

    o->first = first->next;
    o->at = 0;
    if (!o->first)
        o->last = &o->first;
    atomic_fetch_sub(&o->queued_bytes, sizeof(piece) + first->n);
    mg_free(first);
}

static bool is_torn(const outlet *o)
{
    return o->first && o->at && o->first->bytes[o->at - 1] != '\n';
}

/* Drops all that waits but the rest of a line that is written in part. */
static void drop_queue(outlet *o)
{
    while (o->first && !is_torn(o)) {
        drop_lines(o, o->first->bytes + o->at, o->first->n - o->at);
        pop(o);
    }
    if (!o->first)
        return;
    const char *end = memchr(o->first->bytes + o->at, '\n', o->first->n - o->at);
    const size_t keep = (size_t)(end + 1 - o->first->bytes);
    drop_lines(o, o->first->bytes + keep, o->first->n - keep);
    atomic_fetch_sub(&o->queued_bytes, o->first->n - keep);
    o->first->n = keep;
    while (o->first->next) {
        piece *next = o->first->next;
        drop_lines(o, next->bytes, next->n);
        atomic_fetch_sub(&o->queued_bytes, sizeof(piece) + next->n);
        o->first->next = next->next;
        mg_free(next);
    }
    o->last = &o->first->next;
}

static void drop_torn(outlet *o)
{
    const char *end = memchr(o->first->bytes + o->at, '\n', o->first->n - o->at);
    const size_t after = (size_t)(end + 1 - o->first->bytes);

    drop_lines(o, o->first->bytes + o->at, after - o->at);
    o->at = after;
    if (o->at == o->first->n)
        pop(o);
}

/* ---- writing ---- */

/* To a file all of a piece; to all else as many whole lines as go into PIPE_BUF, or that much of a longer
 * one. */
static mg_str next_bytes(const outlet *o)
{
    const mg_str left = { o->first->bytes + o->at, o->first->n - o->at };

    if (o->target->regular || left.n <= PIPE_BUF)
        return left;
    const char *end = memrchr(left.p, '\n', PIPE_BUF);
    return mg_str_sub(left, 0, end ? (size_t)(end + 1 - left.p) : PIPE_BUF);
}

/* Says once for each trouble that a log cannot be written, and why. */
static void tell_trouble(mg_log_writer *writer, outlet *o, const char *why)
{
    const mg_log_name log = (mg_log_name)(o - writer->outlets);
    const uint64_t now = now_ns();

    if (log == MG_LOG_EVENTS || o->error_told ||
        (o->error_told_ns && now - o->error_told_ns < TELL_ERRORS_NS))
        return;
    o->error_told = true;
    o->error_told_ns = now;
    mg_log_write(writer->events, MG_LOG_ERROR, "log_failed",
                 "the %s log cannot be written: %s; its lines are dropped until it can", mg_log_names[log],
                 why);
}

/* The target cannot be written: what waits for it is dropped, and it is tried again with the next lines. */
static void fail(mg_log_writer *writer, outlet *failed, int error)
{
    for (outlet *o = writer->outlets; o < writer->outlets + MG_LOGS; o++) {
        if (o != failed && !mg_log_target_same(o->target, failed->target))
            continue;
        drop_queue(o);
        o->error = error;
        o->fresh = false;
    }
    tell_trouble(writer, failed, strerror(error));
}

/* One write. False when the target takes no more for now. */
static bool write_some(mg_log_writer *writer, outlet *o)
{
    const mg_str bytes = next_bytes(o);

    atomic_store_explicit(&writer->at, ++writer->writes, memory_order_relaxed);
    const ssize_t n = write(o->target->fd, bytes.p, bytes.n);
    atomic_store_explicit(&writer->at, 0, memory_order_relaxed);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN) {
        o->again_ns = now_ns() + AGAIN_NS;
        return false;
    }
    if (n <= 0) {
        fail(writer, o, n < 0 ? errno : EIO);
        return false;
    }
    o->error = 0;
    o->error_told = false;
    o->at += (size_t)n;
    if (o->at == o->first->n)
        pop(o);
    return true;
}

static bool takes_bytes(const mg_log_target *target)
{
    struct pollfd fd = { target->fd, POLLOUT, 0 };

    return target->fd >= 0 && poll(&fd, 1, 0) > 0;
}

/* Follows mg_log_writer_aim. */
static void follow_aim(mg_log_writer *writer, outlet *o)
{
    mg_log_target *aim = atomic_exchange_explicit(&o->aim, NULL, memory_order_acquire);

    if (!aim)
        return;
    while (o->first && o->fresh && takes_bytes(o->target) && write_some(writer, o))
        ;
    if (is_torn(o)) /* its rest would be no line in the new target */
        drop_torn(o);
    mg_log_target_free(o->target);
    o->target = aim;
    o->fresh = true;
    o->error = 0;
    o->again_ns = 0;
}

/* A line that the other log has written in part to the same target comes first. */
static bool has_turn(const mg_log_writer *writer, const outlet *o)
{
    for (const outlet *other = writer->outlets; other < writer->outlets + MG_LOGS; other++)
        if (other != o && is_torn(other) && mg_log_target_same(other->target, o->target))
            return false;
    return true;
}

static bool wants_to_write(const mg_log_writer *writer, outlet *o)
{
    if (o->first && o->target->fd < 0)
        while (o->first)
            pop(o); /* the log is off */
    return o->first && o->fresh && has_turn(writer, o);
}

static bool has_room(const outlet *o)
{
    return !o->error &&
           atomic_load_explicit(&o->queued_bytes, memory_order_relaxed) <= MG_LOG_QUEUE_BYTES / 2;
}

/* Says at once that lines are being dropped because the target takes none or too few, where the events go
 * elsewhere. How many they were is told later. */
static void tell_overfull(mg_log_writer *writer, outlet *o)
{
    if (!atomic_load_explicit(&o->overfull, memory_order_relaxed))
        return;
    if (has_room(o))
        atomic_store_explicit(&o->overfull, false, memory_order_relaxed);
    else if (!o->error && !mg_log_target_same(o->target, writer->outlets[MG_LOG_EVENTS].target))
        tell_trouble(writer, o, "its reader has stopped, or is too slow");
}

/* Says how many lines were dropped, once there is room again. Returns when to look again; UINT64_MAX: not
 * before something happens. */
static uint64_t tell_drops(mg_log_writer *writer, outlet *o, uint64_t now)
{
    const uint64_t dropped = atomic_load_explicit(&o->dropped, memory_order_relaxed);
    const mg_log_name log = (mg_log_name)(o - writer->outlets);

    if (dropped == o->told || !has_room(o) || !has_room(&writer->outlets[MG_LOG_EVENTS]))
        return UINT64_MAX;
    if (o->told_ns && now - o->told_ns < TELL_DROPS_NS)
        return o->told_ns + TELL_DROPS_NS;
    const uint64_t count = dropped - o->told;
    o->told = dropped;
    o->told_ns = now;
    mg_log_write(writer->events, MG_LOG_WARN, "log_lines_dropped",
                 "%llu line%s of the %s log %s dropped while it could not be written",
                 (unsigned long long)count, count == 1 ? "" : "s", mg_log_names[log],
                 count == 1 ? "was" : "were");
    return UINT64_MAX;
}

static int timeout_ms(uint64_t now, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX)
        return -1;
    return until_ns <= now ? 0 : (int)mg_min_u64(mg_ms_ceil(until_ns - now), INT_MAX);
}

/* Waits until something may be written or was handed over, `until_ns` at most, and makes one write to each
 * target that takes some. True when anything was written. */
static bool write_out(mg_log_writer *writer, uint64_t until_ns)
{
    struct pollfd fds[MG_LOGS + 1] = { { writer->wake, POLLIN, 0 } };
    const uint64_t now = now_ns();
    bool wrote = false;
    uint64_t woken;

    for (int log = 0; log < MG_LOGS; log++) {
        outlet *o = &writer->outlets[log];
        collect(writer, o);
        follow_aim(writer, o);
        tell_overfull(writer, o);
        until_ns = mg_min_u64(until_ns, tell_drops(writer, o, now));
    }
    for (int log = 0; log < MG_LOGS; log++) {
        outlet *o = &writer->outlets[log];
        const bool wants = wants_to_write(writer, o);
        if (wants && o->again_ns > now)
            until_ns = mg_min_u64(until_ns, o->again_ns);
        fds[log + 1] = (struct pollfd){ wants && o->again_ns <= now ? o->target->fd : -1, POLLOUT, 0 };
    }
    if (poll(fds, MG_LOGS + 1, timeout_ms(now, until_ns)) <= 0)
        return false;
    if (fds[0].revents)
        (void)!read(writer->wake, &woken, sizeof woken);
    for (int log = 0; log < MG_LOGS; log++) {
        outlet *o = &writer->outlets[log];
        if (fds[log + 1].revents && wants_to_write(writer, o)) /* the other one may have torn or failed */
            wrote |= write_some(writer, o);
    }
    return wrote;
}

static bool was_handed(const mg_log_writer *writer)
{
    for (const outlet *o = writer->outlets; o < writer->outlets + MG_LOGS; o++)
        if (atomic_load_explicit(&o->handed, memory_order_relaxed))
            return true;
    return false;
}

static bool is_done(const mg_log_writer *writer)
{
    for (const outlet *o = writer->outlets; o < writer->outlets + MG_LOGS; o++)
        if (o->first && o->fresh)
            return false;
    return !was_handed(writer);
}

static void run_writer(void *self)
{
    mg_log_writer *writer = self;

    for (;;) {
        const uint64_t end_ns = atomic_load(&writer->end_ns);
        if (end_ns && (is_done(writer) || now_ns() >= end_ns))
            break;
        write_out(writer, end_ns ? end_ns : UINT64_MAX);
    }
    tell(writer->ended);
}

/* ---- for everyone ---- */

static void write_at_once(mg_log_writer *writer)
{
    if (writer->writing)
        return;
    writer->writing = true;
    while (write_out(writer, 0) || was_handed(writer))
        ;
    writer->writing = false;
}

void mg_log_writer_hand(mg_log_writer *writer, mg_log_name log, mg_str lines)
{
    if (!lines.n)
        return;
    MG_CHECK(lines.p[lines.n - 1] == '\n');
    const bool news = push(&writer->outlets[log], lines);
    if (!atomic_load_explicit(&writer->runs, memory_order_relaxed))
        write_at_once(writer);
    else if (news)
        wake(writer);
}

void mg_log_writer_aim(mg_log_writer *writer, mg_log_name log, mg_log_target *target)
{
    mg_log_target_free(atomic_exchange_explicit(&writer->outlets[log].aim, target, memory_order_acq_rel));
    if (atomic_load_explicit(&writer->runs, memory_order_relaxed))
        wake(writer);
    else
        write_at_once(writer);
}

uint64_t mg_log_writer_at(const mg_log_writer *writer)
{
    return atomic_load_explicit(&writer->at, memory_order_relaxed);
}

uint64_t mg_log_writer_dropped(const mg_log_writer *writer, mg_log_name log)
{
    return atomic_load_explicit(&writer->outlets[log].dropped, memory_order_relaxed);
}

static void hand_event(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_log_writer_hand(self, MG_LOG_EVENTS, line);
}

mg_log *mg_log_writer_events(mg_log_writer *writer)
{
    return writer->events;
}

mg_log_writer *mg_log_writer_new(mg_log_level level, bool pretty)
{
    mg_log_writer *writer = MG_NEW(mg_log_writer);

    for (outlet *o = writer->outlets; o < writer->outlets + MG_LOGS; o++) {
        o->target = mg_log_target_fd(-1);
        o->last = &o->first;
    }
    writer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    writer->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MG_CHECK(writer->wake >= 0 && writer->ended >= 0);
    writer->events = mg_log_new(level, &mg_clock_real, hand_event, writer);
    mg_log_set_pretty(writer->events, pretty);
    return writer;
}

mg_result mg_log_writer_start(mg_log_writer *writer, mg_error *err)
{
    atomic_store(&writer->runs, true);
    const mg_result result =
        mg_thread_start(&writer->thread, "log", MG_THREAD_STACK_SMALL, run_writer, writer, err);
    if (result != MG_OK)
        atomic_store(&writer->runs, false);
    return result;
}

/* Waits for the end of the thread: a little longer than it writes, whatever is done to any clock. False when
 * it sits in a write that does not return. */
static bool join(mg_log_writer *writer)
{
    struct pollfd ended = { writer->ended, POLLIN, 0 };
    int n;

    do
        n = poll(&ended, 1, MG_LOG_LAST_MS + MG_LOG_LAST_MS / 4);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        mg_thread_join(&writer->thread);
    else
        mg_thread_detach(&writer->thread);
    return n == 1;
}

void mg_log_writer_free(mg_log_writer *writer)
{
    if (!writer)
        return;
    const uint64_t end_ns = now_ns() + MG_LOG_LAST_MS * MG_NS_PER_MS;
    atomic_store(&writer->end_ns, end_ns);
    if (!atomic_load(&writer->runs)) {
        run_writer(writer);
    } else {
        wake(writer);
        if (!join(writer))
            return; /* the thread may use it still; the process is about to end */
    }
    for (outlet *o = writer->outlets; o < writer->outlets + MG_LOGS; o++) {
        collect(writer, o);
        while (o->first)
            pop(o);
        mg_log_target_free(o->target);
        mg_log_target_free(atomic_load(&o->aim));
    }
    close(writer->wake);
    close(writer->ended);
    mg_log_free(writer->events);
    mg_free(writer);
}
