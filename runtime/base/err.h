/* err.h - what an operator reads: where, what was expected, what to type next.
 * mg_error is one message; mg_report collects the many that a document can have. Pure: any thread, one at a
 * time on one report. */
#ifndef MG_BASE_ERR_H
#define MG_BASE_ERR_H

#include "base/json_out.h"
#include <stdio.h>

typedef enum mg_result {
    MG_OK = 0,
    MG_ERR_INVALID, /* input that breaks a rule */
    MG_ERR_LIMIT,   /* a bound was reached */
    MG_ERR_NOT_FOUND,
    MG_ERR_EXISTS,
    MG_ERR_IO,   /* the system said no */
    MG_ERR_BUSY, /* later, perhaps */
    MG_ERR_CLOSED,
    MG_ERR_TIMEOUT,
    MG_ERR_SCRIPT, /* Lua raised */
} mg_result;

#define MG_MUST_USE __attribute__((warn_unused_result))

/* The caller owns it by value. Text that does not fit is cut. */
typedef struct mg_error {
    mg_result code;
    char message[1024];
} mg_error;

#define MG_ERROR_INIT                                                                                        \
    {                                                                                                        \
        MG_OK, ""                                                                                            \
    }

/* Fills err (may be NULL) and returns `code`, so that `return mg_fail(err, ...)` reads well. */
mg_result mg_fail(mg_error *err, mg_result code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with strerror(error_number) behind it, MG_ERR_IO. */
mg_result mg_fail_errno(mg_error *err, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What a plugin did wrong while it was loaded. The caller owns it by value. Text that does not fit is cut. */
typedef struct mg_fault {
    int plugin;         /* its place in the plan; -1: it is of no plugin */
    int line;           /* 0: not known */
    char file[512];     /* "" not known */
    char message[1024]; /* without any of these */
} mg_fault;

typedef enum mg_severity { MG_SEVERITY_ERROR, MG_SEVERITY_WARNING } mg_severity;

/* One finding. Strings are the report's. `pointer` is the dotted path for people: services.cart.breaker. */
typedef struct mg_finding {
    mg_severity severity;
    char *code;              /* "out-of-range", "unknown-key", ... */
    char *file;              /* may be NULL */
    int line, column, width; /* 1-based; 0 = unknown */
    char *pointer;           /* may be NULL */
    char *message;
    char *hint;   /* may be NULL */
    char *source; /* the line of text the place is on; may be NULL */
} mg_finding;

typedef struct mg_report {
    mg_finding *findings; /* owned */
    size_t count, cap;
    size_t errors, warnings;
    size_t keeps; /* so many findings; 0: MG_REPORT_MAX */
    size_t files; /* how many were read for it */
    bool full;    /* more were found than it keeps */
} mg_report;

enum {
    MG_REPORT_MAX = 100, /* what a log should have of a document */
    MG_REPORT_ALL =
        100000, /* what a person who asks should see: all, but for a file that is something else */
};

#define MG_REPORT_INIT                                                                                       \
    {                                                                                                        \
        0                                                                                                    \
    }

/* Adds a finding and returns it, never NULL, to fill the place in; it holds until the next is added. Past
 * what the report keeps it is counted only. */
mg_finding *mg_report_add(mg_report *report, mg_severity severity, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void mg_finding_place(mg_finding *f, const char *file, int line, int column, int width, mg_str source);
void mg_finding_pointer(mg_finding *f, mg_str pointer);
void mg_finding_hint(mg_finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The texts of `moongate check`: place, severity[code], pointer, message, the source line with its carets,
 * hint. */
void mg_report_print(const mg_report *report, mg_text *out);
/* {"errors":[..],"warnings":[..]}, and "more":N where N were not kept. */
void mg_report_print_json(const mg_report *report, mg_text *out);
/* The members of that document, into a map that is open. */
void mg_report_add_json(const mg_report *report, mg_json_out *json);
void mg_report_fini(mg_report *report);

#endif
