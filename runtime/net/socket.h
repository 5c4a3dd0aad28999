/* socket.h - the network of a loop as the kernel's calls; only loop.c includes it. Results as in mg_loop_ops.
 */
#ifndef MG_NET_SOCKET_H
#define MG_NET_SOCKET_H

#include "net/loop.h"

int mg_socket_listen(mg_loop *loop, const mg_addr *addr, int backlog, bool reuse_port);
int mg_socket_accept(mg_loop *loop, int fd, mg_addr *peer);
int mg_socket_connect(mg_loop *loop, const mg_addr *addr);
int mg_socket_connect_error(mg_loop *loop, int fd);
ssize_t mg_socket_recv(mg_loop *loop, int fd, void *bytes, size_t n);
ssize_t mg_socket_peek(mg_loop *loop, int fd, void *bytes, size_t n);
ssize_t mg_socket_send(mg_loop *loop, int fd, const struct iovec *parts, int count);
void mg_socket_shutdown_write(mg_loop *loop, int fd);
void mg_socket_close(mg_loop *loop, int fd, bool reset);
bool mg_socket_local_addr(mg_loop *loop, int fd, mg_addr *addr);
bool mg_socket_pipe(mg_loop *loop, int ends[2]);
ssize_t mg_socket_splice(mg_loop *loop, int from, int to, size_t n);

#endif
