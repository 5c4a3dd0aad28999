/* h1_wire.h - what the files of h1 share: faults, field lines, and what the fields of one connection say.
 * Private to them. Pure: any thread, one at a time on one reader or message. */
#ifndef MG_HTTP_H1_WIRE_H
#define MG_HTTP_H1_WIRE_H

#include "http/h1.h"

enum {
    MG_H1_OPTIONS_MAX = 32, /* of Connection, in all of its fields: each costs a walk over the fields */
};

/* Fills *fault and returns false, so that `return mg_h1_fail(..)` reads well. */
static inline bool mg_h1_fail(mg_h1_fault *fault, uint16_t status, const char *why)
{
    *fault = (mg_h1_fault){ .status = status, .why = why };
    return false;
}

/* The end of the start line that begins at `line`: its CR, behind which the LF stands. NULL with a fault when
 * there is none, or a bare CR or LF. */
char *mg_h1_line_end(char *line, const char *end, mg_h1_fault *fault);

/* Field lines (RFC 9112 5) from `at` up to the blank line, which must be the last two bytes before `end`.
 * Names are lower-cased in place. Fields are added to *out as they stand, framing ones too. Sets *odd when a
 * line is no plain one: letters, digits and "-", a colon, one blank, and visible ASCII or blanks. */
bool mg_h1_read_fields(mg_arena *arena, uint32_t limit, char *at, const char *end, mg_fields *out, bool *odd,
                       mg_h1_fault *fault);

/* What the fields say that belong to this connection or frame the message. */
typedef struct mg_h1_hop {
    mg_str host, upgrade, expect; /* of the last one; {NULL, 0} without */
    uint64_t length;
    uint32_t keep_alive_s;
    uint16_t hosts, upgrades, expects; /* how many fields */
    uint16_t options_n;
    bool has_length, chunked;
    bool close, keep_alive, upgrade_named; /* Connection options */
    bool te_trailers;
    bool keep_alive_none;              /* Keep-Alive: timeout=0 */
    bool strips;                       /* mg_h1_strip has something to do */
    bool odd;                          /* framed in a way that no plain head is: see mg_h1_reading */
    mg_str options[MG_H1_OPTIONS_MAX]; /* lower-case names of fields to remove */
} mg_h1_hop;

/* Reads them; the fields stay as they are. `is_request` where the two directions differ. */
bool mg_h1_read_hop(mg_arena *arena, const mg_fields *fields, bool is_request, uint8_t minor, mg_h1_hop *hop,
                    mg_h1_fault *fault);
/* Removes what must not be passed on. */
void mg_h1_strip(mg_fields *fields, mg_arena *arena, const mg_h1_hop *hop);

/* What the strict reading found, for the second judge.
 *
 * It is asked about every head that is not plain. A plain one has HTTP/1.1, a known method or a status from
 * 200 up, a path without bytes that have to be escaped, plain field lines, and of the fields that frame a
 * message or speak to this connection: Host, Keep-Alive, Content-Length of up to 18 digits, Connection with
 * close and keep-alive, and from upstreams Transfer-Encoding: chunked. Builds for tests ask about plain heads
 * too (MG_JUDGE_PLAIN_HEADS), and end the process where the two differ. */
typedef struct mg_h1_reading {
    const char *from;        /* the first byte of the start line */
    size_t n;                /* up to the end of the head */
    const mg_fields *fields; /* all of them, before mg_h1_strip */
    mg_str target;           /* requests */
    mg_str method;           /* requests; empty for responses */
    uint16_t status;         /* responses */
    uint8_t minor;
    bool odd; /* its start line or a field line is no plain one */
} mg_h1_reading;

/* True when http-parser reads the same, or the head is plain. */
bool mg_h1_tokeniser_agrees(const mg_h1_reading *ours, const mg_h1_hop *hop);

#endif
