/* list.h - an intrusive, circular, doubly linked list. Pure: any thread, one at a time on one list. */
#ifndef MG_BASE_LIST_H
#define MG_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mg_list {
    struct mg_list *prev, *next;
} mg_list;

static inline void mg_list_init(mg_list *l)
{
    l->prev = l->next = l;
}

static inline bool mg_list_empty(const mg_list *l)
{
    return l->next == l;
}

/* A link that is {NULL, NULL} or alone is in no list. */
static inline bool mg_list_linked(const mg_list *l)
{
    return l->next && l->next != l;
}

static inline void mg_list_insert(mg_list *after, mg_list *l)
{
    l->prev = after;
    l->next = after->next;
    after->next->prev = l;
    after->next = l;
}

static inline void mg_list_push(mg_list *head, mg_list *l) /* at the tail */
{
    mg_list_insert(head->prev, l);
}

static inline void mg_list_push_front(mg_list *head, mg_list *l)
{
    mg_list_insert(head, l);
}

static inline void mg_list_remove(mg_list *l) /* harmless on one that is in no list */
{
    if (!l->next)
        return;
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->prev = l->next = l;
}

static inline mg_list *mg_list_pop(mg_list *head) /* the front, or NULL */
{
    mg_list *l = head->next;
    if (l == head)
        return NULL;
    mg_list_remove(l);
    return l;
}

#define MG_LIST_EACH(head, it)                                                                               \
    for (mg_list *it = (head)->next, *it##_next = it->next; it != (head);                                    \
         it = it##_next, it##_next = it->next)

#endif
