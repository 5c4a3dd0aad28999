/* holds.h - what an exchange holds of limiters and breakers until it ends: permits, reservations,
 * charges of a wait that is not over, calls that a breaker let through. Each goes back once, whatever ends
 * the exchange. Its worker's thread only. */
#ifndef MG_GATEWAY_REQUEST_HOLDS_H
#define MG_GATEWAY_REQUEST_HOLDS_H

#include "base/arena.h"
#include "policy/breaker.h"
#include "policy/limiter.h"

/* As many as plugins may have at a time; the configuration's own rules are few and always have room. */
enum { MG_HOLDS_MAX = 64 };

typedef enum mg_hold_kind {
    MG_HOLD_PERMIT,  /* at the end: released */
    MG_HOLD_CHARGE,  /* a reservation: cancelled, or released when it is of a permit */
    MG_HOLD_WAITING, /* charged, and not yet let go on: cancelled */
    MG_HOLD_TICKET,  /* a breaker's: ended as a call that showed nothing */
} mg_hold_kind;

typedef struct mg_hold {
    struct mg_hold *next;
    mg_hold_kind kind;
    bool permit;     /* of a reservation: what it holds is one */
    uint64_t number; /* of a reservation: no other of its worker has it; else 0 */
    union {
        struct {
            mg_limiter *limiter; /* borrowed: shared */
            mg_limiter_answer answer;
            mg_limiter_waiter waiter; /* while its turn is to come */
        };
        struct {
            mg_breaker *breaker; /* borrowed: shared */
            uint64_t ticket;
        };
    };
} mg_hold;

/* All zero is an exchange that holds nothing. */
typedef struct mg_holds {
    mg_hold *first, *spare; /* arena */
    uint32_t count;
} mg_holds;

/* A place from the exchange's arena, its number 0; the caller fills the union. */
mg_hold *mg_holds_add(mg_holds *holds, mg_arena *arena, mg_hold_kind kind);
/* NULL: it went back already, or was another exchange's. */
mg_hold *mg_holds_find(const mg_holds *holds, uint64_t number);
mg_hold *mg_holds_find_ticket(const mg_holds *holds, const mg_breaker *breaker, uint64_t ticket);
/* Forgets it: what it stands for has been settled. */
void mg_holds_drop(mg_holds *holds, mg_hold *hold);
/* Its turn has come, or what was reserved is used: it stays charged. */
void mg_holds_keep(mg_holds *holds, mg_hold *hold);
/* Gives it back. False when there was nothing left to give: a bucket was charged again since. */
bool mg_holds_return(mg_holds *holds, mg_hold *hold, uint64_t policy_ns);
/* The wait is over: what was charged for it stays charged. */
void mg_holds_waited(mg_holds *holds);
/* When the last of the turns is that are waited for (policy clock); 0: none. */
uint64_t mg_holds_turn_ns(const mg_holds *holds);
/* The exchange is over; before its arena. */
void mg_holds_end(mg_holds *holds, uint64_t policy_ns);

#endif
