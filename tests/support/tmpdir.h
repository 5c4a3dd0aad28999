/* tmpdir.h - a directory of a test's own, gone with it. */
#ifndef MG_TESTS_SUPPORT_TMPDIR_H
#define MG_TESTS_SUPPORT_TMPDIR_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TMPDIR_PATH_BYTES = 256 };

static inline void tmpdir_make(char path[TMPDIR_PATH_BYTES])
{
    const char *base = getenv("TMPDIR");

    if (snprintf(path, TMPDIR_PATH_BYTES, "%s/moongate-test-XXXXXX", base ? base : "/tmp") >=
            TMPDIR_PATH_BYTES ||
        !mkdtemp(path)) {
        perror("mkdtemp");
        abort();
    }
}

/* With all in it; what is not there is fine. */
static inline void tmpdir_remove(const char *path)
{
    DIR *dir = opendir(path);

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char child[TMPDIR_PATH_BYTES + 260];
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
        if (lstat(child, &st) == 0 && S_ISDIR(st.st_mode))
            tmpdir_remove(child);
        else
            unlink(child);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

#endif
