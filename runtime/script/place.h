/* place.h - where the Lua of a thread is, told by that very thread when a signal asks it: for one that does
 * not come back. */
#ifndef MG_SCRIPT_PLACE_H
#define MG_SCRIPT_PLACE_H

#include "script/vm.h"

typedef struct mg_vm_place {
    bool in_lua;     /* false: the rest is empty */
    char plugin[64]; /* its name; "": none's code, or not known */
    char line[192];  /* "plugins/own/plugin.lua:7", the innermost of a plugin; "": not known */
    bool is_handler; /* `line` is not where it is, but where that plugin's handler begins */
} mg_vm_place;

/* For a signal's handler, on the thread of the site. Takes no lock and no memory. Compiled code does not keep
 * the stack that is walked in order at all times: the line may then be one that ran just before, and a fault
 * in the walk ends the walk. */
void mg_vm_place_now(const mg_vm_site *site, mg_vm_place *place);

#endif
