/* weave.h - puts budget checks into the source of a plugin, because compiled Lua cannot be interrupted from
 * outside (ARCHITECTURE 5). The function that Lua calls, mg_weave, is declared in moongate.h. */
#ifndef MG_SCRIPT_WEAVE_H
#define MG_SCRIPT_WEAVE_H

#include "base/str.h"
#include "moongate.h"

enum { MG_WEAVE_SOURCE_MAX = 4 << 20 }; /* bytes of source */

/* Names that begin so are the weaver's: source that has one is refused. */
#define MG_WEAVE_RESERVED "__mg_"

#endif
