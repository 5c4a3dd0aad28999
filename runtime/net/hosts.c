/* hosts.c - hosts(5). A lookup is rare, once a name and TTL, and the file is small: there is no index, only
 * the text. */
#include "net/hosts.h"
#include "base/mem.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct mg_hosts {
    char *path; /* owned */
    mg_text text;
    struct stat seen;
};

mg_hosts *mg_hosts_new(const char *path)
{
    mg_hosts *hosts = MG_NEW(mg_hosts);

    hosts->path = mg_strdup(path);
    return hosts;
}

void mg_hosts_free(mg_hosts *hosts)
{
    if (!hosts)
        return;
    mg_text_fini(&hosts->text);
    mg_free(hosts->path);
    mg_free(hosts);
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_dev == b->st_dev;
}

/* What is past the bound is not seen; a pipe or a folder is no hosts file. */
static void refresh(mg_hosts *hosts)
{
    struct stat now = { 0 };
    ssize_t n = 0;

    if (stat(hosts->path, &now) == 0 && unchanged(&now, &hosts->seen))
        return;
    mg_text_clear(&hosts->text);
    hosts->seen = now;
    if (!S_ISREG(now.st_mode))
        return;
    const int fd = open(hosts->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    do {
        char part[4096];
        if ((n = read(fd, part, sizeof(part))) > 0)
            mg_text_add(&hosts->text, mg_str_make(part, (size_t)n));
    } while (n > 0 && hosts->text.n < MG_HOSTS_MAX_BYTES);
    close(fd);
}

/* Cuts the next word off; false at the end of the line. */
static bool next_word(mg_str *line, mg_str *word)
{
    size_t at = 0, from;

    while (at < line->n && strchr(" \t\r\f\v", line->p[at]))
        at++;
    for (from = at; at < line->n && !strchr(" \t\r\f\v", line->p[at]);)
        at++;
    *word = mg_str_sub(*line, from, at);
    *line = mg_str_sub(*line, at, line->n);
    return word->n > 0;
}

bool mg_hosts_find(mg_hosts *hosts, mg_str name, mg_resolved *answer)
{
    mg_str rest, line, word;

    refresh(hosts);
    *answer = (mg_resolved){ 0 };
    answer->ttl_s = MG_HOSTS_TTL_S;
    rest = mg_text_str(&hosts->text);
    while (mg_str_cut(&rest, '\n', &line)) {
        mg_addr addr;
        line = mg_str_sub(line, 0, mg_min_u64(line.n, mg_str_find(line, '#')));
        if (!next_word(&line, &word) || !mg_addr_from_ip(&addr, word, 0))
            continue;
        while (next_word(&line, &word))
            if (mg_str_eq_nocase(word, name))
                mg_resolved_add(answer, &addr);
    }
    return answer->count > 0;
}
