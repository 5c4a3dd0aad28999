/* match.h - Lua patterns, bounded: what string.find, match, gmatch and gsub of plugins run on. The function
 * that Lua calls, mg_pattern_find, and its mg_match are declared in moongate.h. Any thread. */
#ifndef MG_SCRIPT_MATCH_H
#define MG_SCRIPT_MATCH_H

#include "moongate.h"

enum {
    MG_MATCH_DEPTH_MAX = 200, /* nested items, as in LuaJIT: past it a pattern is too complex */
};

#endif
