/* config_env.c - the real world of a configuration: files, the environment, patterns. */
#include "config/config_build.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ_BYTES = 64 << 10,
    PIPE_WAIT_MS =
        5000, /* for the next bytes of a pipe: a reload and the end of the process wait behind it */
};

/* One read, which waits for a pipe's writer for a while, but not for there to be one. */
static mg_result read_part(int fd, const char *path, mg_text *text, ssize_t *n, mg_error *err)
{
    struct pollfd pipe = { fd, POLLIN, 0 };

    mg_text_reserve(text, READ_BYTES);
    do
        *n = read(fd, text->p + text->n, READ_BYTES);
    while (*n < 0 && (errno == EINTR || (errno == EAGAIN && poll(&pipe, 1, PIPE_WAIT_MS) != 0)));
    if (*n < 0 && errno == EAGAIN)
        return mg_fail(err, MG_ERR_IO, "cannot read %s: it is a pipe, and nothing came for %d s", path,
                       PIPE_WAIT_MS / 1000);
    return *n < 0 ? mg_fail_errno(err, errno, "cannot read %s", path) : MG_OK;
}

static mg_result read_all(int fd, const char *path, size_t max_bytes, mg_text *text, mg_error *err)
{
    for (;;) {
        ssize_t n;
        const mg_result result = read_part(fd, path, text, &n, err);
        if (result != MG_OK || n == 0)
            return result;
        text->n += (size_t)n;
        if (text->n > max_bytes)
            return mg_fail(err, MG_ERR_LIMIT, "%s is larger than %zu bytes", path, max_bytes);
    }
}

/* A pipe will do (`<(..)`), a folder or a device will not. */
static mg_result open_file(const char *path, int *fd, mg_error *err)
{
    struct stat st;

    if (strcmp(path, "-") == 0) {
        *fd = dup(STDIN_FILENO);
        return *fd >= 0 ? MG_OK : mg_fail_errno(err, errno, "cannot read standard input");
    }
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* without, a FIFO waits for a writer */
    if (*fd < 0)
        return mg_fail(err, errno == ENOENT ? MG_ERR_NOT_FOUND : MG_ERR_IO, "cannot open %s: %s", path,
                       strerror(errno));
    if (fstat(*fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)))
        return MG_OK;
    close(*fd);
    return mg_fail(err, MG_ERR_IO, "cannot read %s: it is %s", path,
                   S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
}

static mg_result real_read_file(void *self, const char *path, size_t max_bytes, mg_arena *arena, mg_str *out,
                                mg_error *err)
{
    mg_text text = { 0 };
    mg_result result;
    int fd = -1;

    (void)self;
    result = open_file(path, &fd, err);
    if (result != MG_OK)
        return result;
    result = read_all(fd, path, max_bytes, &text, err);
    close(fd);
    if (result == MG_OK)
        *out = mg_arena_str(arena, mg_text_str(&text));
    mg_text_fini(&text);
    return result;
}

static const char *real_getenv(void *self, const char *name)
{
    (void)self;
    return getenv(name);
}

static mg_result real_glob(void *self, const char *pattern, mg_arena *arena, const char ***paths,
                           size_t *count, mg_error *err)
{
    glob_t found = { 0 };
    const int code = glob(pattern, GLOB_ERR, NULL, &found);

    (void)self;
    *count = 0;
    if (code != 0 && code != GLOB_NOMATCH) {
        globfree(&found);
        return mg_fail(err, MG_ERR_IO, "cannot look for %s", pattern);
    }
    *paths = MG_ARENA_NEW_N(arena, const char *, found.gl_pathc + 1);
    for (size_t i = 0; code == 0 && i < found.gl_pathc; i++)
        (*paths)[(*count)++] = mg_arena_strdup(arena, found.gl_pathv[i]);
    globfree(&found);
    return MG_OK;
}

const mg_config_env mg_config_env_real = {
    .read_file = real_read_file,
    .getenv = real_getenv,
    .glob = real_glob,
};
