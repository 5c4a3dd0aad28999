/* protocol.h - what a server's connections speak: a table of functions, chosen for each connection when it is
 * accepted. The server knows its connections through it alone. On the loop of the server. */
#ifndef MG_NET_PROTOCOL_H
#define MG_NET_PROTOCOL_H

#include "net/conn.h"

typedef struct mg_protocol {
    /* Takes the descriptor of a client that has its place, as a connection that mg_conn_server_add adds. */
    void (*open)(mg_conn_server *server, int fd, const mg_addr *peer, bool trusted);
    /* There is no place: one answer that needs no connection, then the end. */
    void (*turn_away)(mg_conn_server *server, int fd);
    /* The server drains: a connection that waits for nothing is let go, one with work to do ends behind that. */
    void (*drain)(mg_conn_entry *entry);
    /* Ends now, whatever it was at. */
    void (*cut)(mg_conn_entry *entry);
} mg_protocol;

extern const mg_protocol mg_protocol_h1;

/* The connection is the server's, and counted; and is it no more: its place is free again. */
void mg_conn_server_add(mg_conn_server *server, mg_conn_entry *entry, const mg_protocol *protocol);
void mg_conn_server_remove(mg_conn_server *server, mg_conn_entry *entry);
/* Behind the end of one, with nothing of it on the stack: the last one of a drain is told. */
void mg_conn_server_settle(mg_conn_server *server);

#endif
