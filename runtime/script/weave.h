/* weave.h - puts checks of budgets into the source of a plugin, because compiled Lua cannot be interrupted
 * from outside (docs/architecture.md 7). The function that Lua calls, mg_weave, is declared in moongate.h.
 * Any thread. */
#ifndef MG_SCRIPT_WEAVE_H
#define MG_SCRIPT_WEAVE_H

#include "base/str.h"
#include "moongate.h"
#include "script/lex.h"

enum {
    MG_WEAVE_SOURCE_MAX = 4 << 20, /* bytes of source */
    MG_WEAVE_OPERANDS = 8          /* of one call that stands for `..`; a longer chain nests calls */
};

#endif
