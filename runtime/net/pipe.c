/* pipe.c - the pipes of a loop. */
#include "net/pipe.h"

#include "base/check.h"
#include "base/mem.h"

static void close_pipe(mg_pipes *pipes, mg_loop *loop, mg_pipe *pipe)
{
    loop->ops->close(loop, pipe->write, false);
    loop->ops->close(loop, pipe->read, false);
    mg_free(pipe);
    pipes->open--;
}

mg_pipe *mg_pipe_take(mg_pipes *pipes, mg_loop *loop)
{
    mg_pipe *pipe = pipes->resting;
    int ends[2];

    if (pipe) {
        pipes->resting = pipe->next;
        return pipe;
    }
    if (pipes->open >= pipes->max || !loop->ops->splice || !loop->ops->pipe(loop, ends))
        return NULL;
    pipe = MG_NEW(mg_pipe);
    pipe->read = ends[0];
    pipe->write = ends[1];
    pipes->open++;
    return pipe;
}

void mg_pipe_give(mg_pipes *pipes, mg_loop *loop, mg_pipe *pipe)
{
    if (pipe->n) {
        close_pipe(pipes, loop, pipe);
        return;
    }
    pipe->next = pipes->resting;
    pipes->resting = pipe;
}

void mg_pipes_fini(mg_pipes *pipes, mg_loop *loop)
{
    while (pipes->resting) {
        mg_pipe *pipe = pipes->resting;
        pipes->resting = pipe->next;
        close_pipe(pipes, loop, pipe);
    }
    MG_CHECK(pipes->open == 0);
}
