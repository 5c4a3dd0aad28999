/* hosts.h - the hosts file, kept as text and looked through; for the resolver. The thread of the resolver's
 * loop; reads the file there. */
#ifndef MG_NET_HOSTS_H
#define MG_NET_HOSTS_H

#include "net/resolver.h"

typedef struct mg_hosts mg_hosts;

enum { MG_HOSTS_MAX_BYTES = 4 << 20, MG_HOSTS_TTL_S = 5 };

mg_hosts *mg_hosts_new(const char *path); /* copied; the file need not exist */
void mg_hosts_free(mg_hosts *hosts);
/* The addresses of a name; reads the file again when it has changed. False when it is
 * not in it. */
bool mg_hosts_find(mg_hosts *hosts, mg_str name, mg_resolved *answer);

#endif
