/* log_target.h - where the lines of a log go: an inherited descriptor, a file, or nowhere. One thread at a
 * time uses a target. */
#ifndef MG_BASE_LOG_TARGET_H
#define MG_BASE_LOG_TARGET_H

#include "base/err.h"
#include "base/str.h"

typedef struct mg_log_target {
    int fd; /* -1: nowhere */
    bool owned;
    bool regular;      /* a regular file, which takes any amount at once; all else takes PIPE_BUF at most */
    uint64_t dev, ino; /* two descriptors with the same ones are the same pipe, terminal or file */
} mg_log_target;

/* Stdout or stderr, -1 for nowhere. The descriptor is never closed, and its flags are left alone: other
 * processes may share them. */
mg_log_target *mg_log_target_fd(int fd);
/* Opens a file for appending, and makes it if it is missing. Never waits, for a FIFO's reader neither. NULL
 * with errno in err->message's words: "cannot write PATH: ...". */
mg_log_target *mg_log_target_file(mg_str path, mg_error *err);
void mg_log_target_free(mg_log_target *target); /* NULL is fine */
bool mg_log_target_same(const mg_log_target *a, const mg_log_target *b);

#endif
