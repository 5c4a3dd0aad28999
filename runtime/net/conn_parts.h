/* conn_parts.h - what the files of a client connection share: conn.c, conn_in.c, conn_out.c, conn_server.c.
 * Nobody else includes it. Whatever calls out may end the connection: enter before, leave after, and look at
 * `gone` in between. */
#ifndef MG_NET_CONN_PARTS_H
#define MG_NET_CONN_PARTS_H

#include "net/conn.h"
#include "net/wire.h"

enum { MG_CONN_DRAIN_BYTES = 64 * 1024 }; /* of a body nobody wants, to keep the connection */

typedef enum mg_conn_state {
    CONN_IDLE,     /* no byte of a head yet */
    CONN_HEAD,     /* a part of one */
    CONN_EXCHANGE, /* being answered; or tunnelled */
    CONN_DRAIN,    /* answered; the rest of its body is read and dropped */
    CONN_LINGER,   /* FIN sent; what still comes is dropped */
} mg_conn_state;

struct mg_conn {
    mg_wire wire;
    mg_timer timer;
    mg_list link;
    mg_conn_server *server; /* borrowed */
    mg_exchange *x;         /* borrowed: the owner's; NULL between exchanges */
    mg_body_sink sink;      /* of the response body */
    mg_body_source source;  /* of the request body */
    mg_h1_body body;        /* the request body on its way in */
    uint64_t begun_ns;      /* the turn in which the last request began */
    uint64_t progress_ns;   /* the client's last byte in or out while it was waited for */
    uint64_t out_left;      /* of an MG_H1_LENGTH response */
    uint32_t dropped;       /* bytes, in DRAIN and LINGER */
    mg_conn_state state;
    uint8_t out_framing;
    bool keep_alive; /* the client may send another request */
    bool last;       /* this response is the connection's last */
    bool body_open;  /* the request body has not ended */
    bool skips_body; /* of a tunnel: the request's body, which nobody wants, comes before its bytes */
    bool awaits_100; /* the client sends no body before it is told to go on: no move of its own is due */
    bool head_out, end_out; /* of the response: handed over, complete */
    bool tunnel;
    bool peer_trusted;
    bool gone; /* closed; freed when the stack has unwound */
    uint8_t minor;
    char peer[48];
    uint8_t peer_n;
};

static inline mg_loop *mg_conn_loop(const mg_conn *conn)
{
    return conn->server->net->loop;
}

/* ---- the connection ---- */

/* The place of a connection that closes is free again. */
void mg_conn_leave_gates(mg_conn_server *server);
/* A new one of the server, which takes the descriptor and has its place. */
void mg_conn_open(mg_conn_server *server, int fd, const mg_addr *peer, bool trusted);
static inline void mg_conn_enter(mg_conn *conn)
{
    mg_wire_enter(&conn->wire);
}
/* The outermost one frees a connection that is gone. */
void mg_conn_leave(mg_conn *conn);
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

extern const mg_body_source mg_conn_source; /* of the request body: the start of every conn->source */
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

extern const mg_body_sink mg_conn_sink; /* of the response body: the start of every conn->sink */
extern const mg_client_ops mg_conn_client;
/* Sends what is held; finishes, resumes or breaks as that goes. */
void mg_conn_flush(mg_conn *conn);
/* The response is complete and sent: the exchange is over for this side. */
void mg_conn_finish(mg_conn *conn);

#endif
