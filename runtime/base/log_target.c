/* log_target.c - where the lines of a log go. */
#include "base/log_target.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static mg_log_target *target_new(int fd, bool owned)
{
    mg_log_target *target = MG_NEW(mg_log_target);
    struct stat st;

    *target = (mg_log_target){ .fd = fd, .owned = owned };
    if (fd >= 0 && fstat(fd, &st) == 0) {
        target->regular = S_ISREG(st.st_mode);
        target->dev = st.st_dev;
        target->ino = st.st_ino;
    }
    return target;
}

mg_log_target *mg_log_target_fd(int fd)
{
    return target_new(fd, false);
}

/* A FIFO is opened for reading too: nobody need read it yet, and a reader that leaves may come back. */
mg_log_target *mg_log_target_file(mg_str path, mg_error *err)
{
    char name[4096];
    struct stat st;

    snprintf(name, sizeof name, "%.*s", MG_STR_ARGS(path));
    const bool fifo = stat(name, &st) == 0 && S_ISFIFO(st.st_mode);
    const int fd =
        open(name, (fifo ? O_RDWR : O_WRONLY) | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    if (fd >= 0)
        return target_new(fd, true);
    mg_fail_errno(err, errno, "cannot write %s", name);
    return NULL;
}

void mg_log_target_free(mg_log_target *target)
{
    if (target && target->owned)
        close(target->fd);
    mg_free(target);
}

bool mg_log_target_same(const mg_log_target *a, const mg_log_target *b)
{
    return a->fd >= 0 && b->fd >= 0 && a->dev == b->dev && a->ino == b->ino;
}
