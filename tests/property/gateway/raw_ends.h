/* raw_ends.h - what random runs draw, say and send. Stands behind the `run` and the `reader` of who includes
 * it: a run has its world `w`, its `rand`, its `seed` and whether anything has `moved`, a reader its texts
 * `in`, `head` and `body`. */
#ifndef TEST_RAW_ENDS_H
#define TEST_RAW_ENDS_H

#define wrong(r, ...)                                                                                        \
    do {                                                                                                     \
        printf("SEED=%llu: ", (unsigned long long)(r)->seed);                                                \
        printf(__VA_ARGS__);                                                                                 \
        printf("\n");                                                                                        \
        fflush(stdout);                                                                                      \
        abort();                                                                                             \
    } while (0)

static inline uint64_t below(run *r, uint64_t n)
{
    return mg_rand_below(&r->rand, n);
}

static inline bool one_in(run *r, uint64_t n)
{
    return below(r, n) == 0;
}

static inline void drop(run *r, int *fd, bool hard)
{
    r->w.outside->ops->close(r->w.outside, *fd, hard);
    *fd = -1;
    r->moved = true;
}

static inline bool push(run *r, int fd, const mg_text *out, size_t *sent, size_t stop_at)
{
    mg_loop *loop = r->w.outside;
    const size_t end = stop_at < out->n ? stop_at : out->n;

    if (*sent >= end)
        return true;
    const size_t most = one_in(r, 3) ? 1 + below(r, 40) : 1 + below(r, 20000);
    const struct iovec part = { out->p + *sent, (size_t)mg_min_u64(most, end - *sent) };
    const ssize_t n = loop->ops->send(loop, fd, &part, 1);
    if (n < 0)
        return errno == EAGAIN || errno == ENOTCONN;
    *sent += (size_t)n;
    r->moved |= n > 0;
    return true;
}

static inline bool field(const reader *rd, const char *name, char *value, size_t cap)
{
    char wanted[64];

    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = rd->head.p ? strstr(rd->head.p, wanted) : NULL;
    if (!at)
        return false;
    at += strlen(wanted);
    const size_t n = (size_t)(strstr(at, "\r\n") - at);
    MG_CHECK(n < cap);
    memcpy(value, at, n);
    value[n] = '\0';
    return true;
}

static inline void reader_fini(reader *rd)
{
    mg_text_fini(&rd->in);
    mg_text_fini(&rd->body);
    mg_text_fini(&rd->head);
}

#endif
