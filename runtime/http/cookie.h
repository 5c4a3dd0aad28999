/* cookie.h - one cookie of a request (RFC 6265 4.2). Pure: any thread. */
#ifndef MG_HTTP_COOKIE_H
#define MG_HTTP_COOKIE_H

#include "http/header.h"

/* The value of the first cookie of that name, quotes and all; MG_STR_NONE when there is none. Names are told
 * apart by case. Borrows the fields' memory. */
mg_str mg_cookie_get(const mg_fields *fields, mg_str name);

#endif
