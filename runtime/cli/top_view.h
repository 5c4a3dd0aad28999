/* top_view.h - one picture of what a gateway does, out of two samples of its documents. Pure. */
#ifndef MG_CLI_TOP_VIEW_H
#define MG_CLI_TOP_VIEW_H

#include "text/tree.h"

/* The documents of one moment; each may be NULL, and nothing in them is trusted to be there. */
typedef struct mg_top_sample {
    const mg_node *about, *routes, *services, *limiters, *rollouts;
} mg_top_sample;

typedef struct mg_top_screen {
    unsigned width;  /* columns; at least MG_TOP_WIDTH_MIN are used */
    unsigned height; /* lines; 0: as many as it takes */
    bool colour;
    bool all_endpoints; /* else only those that something is wrong with */
    const char *note;   /* in the first line, at its right; may be NULL */
} mg_top_screen;

enum { MG_TOP_WIDTH_MIN = 40 };

/* Lines, each ended by "\n", appended. Without `before` rates are left out. */
void mg_top_render(const mg_top_sample *now, const mg_top_sample *before, const mg_top_screen *screen,
                   mg_text *out);

/* A picture as what a terminal of that height is to be sent, over what stands there. */
void mg_top_frame(mg_str picture, unsigned height, mg_text *out);

#endif
