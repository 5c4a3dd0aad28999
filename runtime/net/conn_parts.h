/* conn_parts.h - what the files of a client connection of HTTP/1 share: conn.c, conn_in.c, conn_out.c.
 * Nobody else includes it. Whatever calls out may end the connection: enter before, leave after, and look at
 * its state in between. The thread of its loop. */
#ifndef MG_NET_CONN_PARTS_H
#define MG_NET_CONN_PARTS_H

#include "net/conn.h"
#include "net/protocol.h"
#include "net/wire.h"

enum { MG_CONN_DRAIN_BYTES = 64 * 1024 }; /* at most, of a body nobody wants, to keep the connection */

/* What the connection is at. Changed by mg_conn_to alone. */
typedef enum mg_conn_state {
    CONN_IDLE,     /* no byte of a head yet */
    CONN_HEAD,     /* a part of one */
    CONN_EXCHANGE, /* being answered; or tunnelled */
    CONN_DRAIN,    /* answered; the rest of its body is read and dropped */
    CONN_LINGER,   /* FIN sent; what still comes is dropped */
    CONN_GONE,     /* closed; freed when the stack has unwound */
} mg_conn_state;

/* What the client sends behind the head. Changed by mg_conn_request_to alone. */
typedef enum mg_conn_request {
    CONN_NO_BODY, /* there is none, or it has ended */
    CONN_ASKS,    /* a body that is sent once the client was told to go on: no move of its own is due */
    CONN_BODY,    /* its body */
    CONN_SKIPS,   /* its body, which nobody wants, before the bytes of a tunnel */
    CONN_TUNNELS, /* the bytes of a tunnel */
} mg_conn_request;

/* What was sent of the answer. Changed by mg_conn_answer_to alone. */
typedef enum mg_conn_answer {
    CONN_UNANSWERED,
    CONN_ANSWERS,  /* the head was handed over */
    CONN_ANSWERED, /* all of it was; bytes may be held */
    CONN_SHUT,     /* the end of a tunnel, which was sent on */
} mg_conn_answer;

/* What follows the exchange. Only ever raised, by mg_conn_ends. */
typedef enum mg_conn_fate {
    CONN_STAYS, /* perhaps another request */
    CONN_LAST,  /* the end; what the client still sends is read and dropped, so that no RST overtakes it */
    CONN_LAST_WORD, /* the end, at once */
} mg_conn_fate;

typedef struct mg_conn mg_conn;

/* What a connection needs while it has an exchange, in that exchange's arena: an idle one takes no memory for
 * it. Of no use once mg_conn_part was called. */
typedef struct mg_conn_side {
    mg_conn *conn;         /* borrowed */
    mg_body_sink sink;     /* of the response body */
    mg_body_source source; /* of the request body */
    mg_h1_body *body;  /* the request body, or the bytes of a tunnel, on their way in; NULL: none ever came */
    uint64_t out_left; /* bytes of an MG_H1_LENGTH response that are still to be sent; once it has a head */
    mg_h1_info info;   /* of the request's head */
    mg_h1_framing out_framing;
} mg_conn_side;

struct mg_conn {
    mg_wire wire;
    mg_conn_entry entry;
    mg_timer timer;
    mg_conn_server *server; /* borrowed */
    mg_exchange *x;         /* borrowed: the owner's; NULL between exchanges */
    mg_conn_side *side;     /* of x, in its arena; NULL without one */
    uint64_t begun_ns;      /* the turn in which the last request began */
    uint64_t progress_ns;   /* the client's last byte in or out while it was waited for */
    uint32_t drain_left;    /* bytes of the request's body that are still to come, in DRAIN */
    uint32_t dropped;       /* bytes, in LINGER */
    mg_conn_state state : 8;
    mg_conn_request request : 8;
    mg_conn_answer answer : 8;
    mg_conn_fate fate : 8;
    bool peer_trusted;
    uint8_t peer_n;
    char peer[]; /* address of the other end, as text: there is as much room as it takes */
};

/* An idle connection has this one piece of memory. malloc adds 8 bytes and rounds up to 16; libevent and the
 * loop's table of descriptors take 40 more: half a KiB is the bound for all of it. */
enum { MG_CONN_PEER_MAX = 45, MG_CONN_IDLE_MAX = 456 }; /* bytes: an IPv6 address; the whole piece */
_Static_assert(sizeof(void *) != 8 || offsetof(mg_conn, peer) + MG_CONN_PEER_MAX <= MG_CONN_IDLE_MAX,
               "an idle connection takes at most half a KiB");

/* The head of a 101 was handed over. */
static inline bool mg_conn_is_tunnel(const mg_conn *conn)
{
    return conn->x && conn->x->tunnel && conn->answer != CONN_UNANSWERED;
}

static inline mg_loop *mg_conn_loop(const mg_conn *conn)
{
    return conn->server->net->loop;
}

/* ---- the connection ---- */

void mg_conn_to(mg_conn *conn, mg_conn_state state);
void mg_conn_request_to(mg_conn *conn, mg_conn_request request);
void mg_conn_answer_to(mg_conn *conn, mg_conn_answer answer);
void mg_conn_ends(mg_conn *conn, mg_conn_fate fate);

/* The client has sent less than all of its request, or of its tunnel. */
static inline bool mg_conn_has_body(const mg_conn *conn)
{
    return conn->request != CONN_NO_BODY;
}

static inline void mg_conn_enter(mg_conn *conn)
{
    mg_wire_enter(&conn->wire);
}
/* The outermost one frees a connection that is gone. */
void mg_conn_leave(mg_conn *conn);
/* Parts the exchange from its client side and returns it, or NULL. */
mg_exchange *mg_conn_part(mg_conn *conn);
/* Closes the descriptor and leaves the server's list. */
void mg_conn_close(mg_conn *conn, bool reset);
/* The client left or is given up: closes, and tells the owner of an exchange that is not over. */
void mg_conn_abort(mg_conn *conn, mg_reset reason, bool reset);
/* Behind a response: another request, the rest of this one, or the end. */
void mg_conn_next(mg_conn *conn);
void mg_conn_set_timer(mg_conn *conn, uint64_t after_ns);
/* The client has moved. */
void mg_conn_progress(mg_conn *conn);
/* From now on the client is waited for. */
void mg_conn_await(mg_conn *conn);

/* ---- what it reads ---- */

extern const mg_body_source mg_conn_source; /* of the request body: the start of every side->source */
extern const mg_wire_ops mg_conn_wire;
bool mg_conn_is_unread(mg_conn *conn);
bool mg_conn_is_put_off(mg_conn *conn);
/* What comes from now on is the tunnel's. */
void mg_conn_open_tunnel(mg_conn *conn);
/* Begins an exchange whose request has not been read. */
void mg_conn_attach(mg_conn *conn);
/* Its owner answers with the fault, and the connection ends behind that. */
void mg_conn_refuse(mg_conn *conn, const mg_h1_fault *fault);

/* ---- what it writes ---- */

extern const mg_body_sink mg_conn_sink; /* of the response body: the start of every side->sink */
extern const mg_client_ops mg_conn_client;
/* Sends what is held; finishes, resumes or breaks as that goes. */
void mg_conn_flush(mg_conn *conn);
/* The response is complete and sent: the exchange is over for this side. */
void mg_conn_finish(mg_conn *conn);

#endif
