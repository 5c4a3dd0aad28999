/* pipe.h - pipes of the kernel, through which the bytes of a body go from one socket to another without being
 * copied. Each loop has a few, and whoever finds none copies. On the loop's thread. */
#ifndef MG_NET_PIPE_H
#define MG_NET_PIPE_H

#include "net/loop.h"

enum { MG_PIPES_MAX = 32 }; /* of a loop, unless less is set; two descriptors each */

typedef struct mg_pipe mg_pipe;
struct mg_pipe {
    mg_pipe *next;   /* of those that rest */
    int write, read; /* owned: descriptors */
    size_t n;        /* bytes in it */
};

typedef struct mg_pipes {
    mg_pipe *resting; /* owned: empty ones */
    unsigned open;    /* resting or taken */
    unsigned max;
} mg_pipes;

/* An empty pipe, the taker's until mg_pipe_give. NULL: all are taken, or the process has no descriptors left,
 * or the loop has no pipes (mg_loop_ops.splice). */
mg_pipe *mg_pipe_take(mg_pipes *pipes, mg_loop *loop);
/* One with bytes in it is closed: nobody wants them. */
void mg_pipe_give(mg_pipes *pipes, mg_loop *loop, mg_pipe *pipe);
/* All that rest are closed; none may be taken. */
void mg_pipes_fini(mg_pipes *pipes, mg_loop *loop);

#endif
