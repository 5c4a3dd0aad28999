/* abi.c - which ABI this is: the hash of moongate.h's part for Lua. A VM whose Lua side was cut from another
 * header refuses to start. */
#include "mg_abi.h"

const char *mg_abi_hash(void)
{
    return MG_ABI_HASH;
}
