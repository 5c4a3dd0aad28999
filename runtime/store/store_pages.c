/* store_pages.c - whether the pages of a store's file are put together as LMDB puts them (mdb.c of 0.9, "Page
 * Headers" and "Node"): it does not ask, and moves bytes by the numbers that it finds. Pages that are free
 * were in use once and are judged with the others. */
#include "store/store_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

enum { BRANCH = 1, LEAF = 2 }; /* flags of a page */
enum { ELSEWHERE = 1 };        /* flag of a node: its value has pages of its own, their number stands here */
enum { FIRST_PAGE = 2 };       /* those before it say where the others are */

typedef struct page_head {
    uint64_t number;
    uint16_t pad, flags;
    uint16_t lower, upper; /* between them is room; node offsets stand before, nodes behind */
} page_head;

typedef struct node_head {
    uint16_t low, high; /* of the value's size in a leaf, of a page number in a branch; little endian */
    uint16_t flags, key_bytes;
} node_head;

static size_t node_bytes(const node_head *node, unsigned page_flags)
{
    size_t n = sizeof *node + node->key_bytes;

    if (page_flags & LEAF)
        n += node->flags & ELSEWHERE ? sizeof(uint64_t) : (size_t)node->low | (size_t)node->high << 16;
    return n + (n & 1);
}

static bool is_sound(const char *page, const page_head *head, size_t page_bytes)
{
    size_t sum = 0;

    if (head->lower < sizeof *head || head->lower & 1 || head->lower > head->upper ||
        head->upper > page_bytes)
        return false;
    for (size_t at = sizeof *head; at < head->lower; at += sizeof(uint16_t)) {
        uint16_t offset;
        node_head node;
        memcpy(&offset, page + at, sizeof offset);
        if (offset < head->upper || offset & 1 || offset + sizeof node > page_bytes)
            return false;
        memcpy(&node, page + offset, sizeof node);
        const size_t n = node_bytes(&node, head->flags);
        if (offset + n > page_bytes)
            return false;
        sum += n;
    }
    return sum == page_bytes - head->upper;
}

/* A page that does not bear its own number belongs to a long value, or was never written. */
static bool is_judged(const page_head *head, uint64_t number)
{
    return head->number == number && (head->flags == BRANCH || head->flags == LEAF);
}

int mg_store_look_at_pages(MDB_env *env)
{
    MDB_envinfo info;
    MDB_stat is;
    mdb_filehandle_t fd;
    int rc;

    if ((rc = mdb_env_info(env, &info)) || (rc = mdb_env_stat(env, &is)) || (rc = mdb_env_get_fd(env, &fd)))
        return rc;
    char *page = mg_calloc(1, is.ms_psize);
    for (size_t number = FIRST_PAGE; rc == 0 && number <= info.me_last_pgno; number++) {
        page_head head;
        const ssize_t n = pread(fd, page, is.ms_psize, (off_t)(number * is.ms_psize));
        if (n < 0)
            rc = errno;
        if (n != (ssize_t)is.ms_psize)
            break; /* the end: what lacks is read as zeros */
        memcpy(&head, page, sizeof head);
        if (is_judged(&head, number) && !is_sound(page, &head, is.ms_psize))
            rc = MDB_CORRUPTED;
    }
    mg_free(page);
    return rc;
}
