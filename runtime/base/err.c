/* err.c - one error by value, and the report that collects what is wrong with a document. */
#include "base/err.h"

#include "base/mem.h"

enum {
    GUTTER = 5,             /* digits of a line number, right-aligned */
    SOURCE_MAX_CHARS = 200, /* of a source line that is shown */
    SOURCE_MAX_BYTES = 4 * (SOURCE_MAX_CHARS + 1),
};

__attribute__((format(printf, 3, 0))) static void error_vset(mg_error *err, mg_result code,
                                                             const char *format, va_list args)
{
    if (!err)
        return;
    err->code = code;
    vsnprintf(err->message, sizeof(err->message), format, args);
}

mg_result mg_fail(mg_error *err, mg_result code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    error_vset(err, code, format, args);
    va_end(args);
    return code;
}

mg_result mg_fail_errno(mg_error *err, int error_number, const char *format, ...)
{
    char reason[128];
    va_list args;
    size_t n;

    va_start(args, format);
    error_vset(err, MG_ERR_IO, format, args);
    va_end(args);
    if (err) {
        n = strlen(err->message);
        snprintf(err->message + n, sizeof(err->message) - n, ": %s",
                 strerror_r(error_number, reason, sizeof(reason)));
    }
    return MG_ERR_IO;
}

__attribute__((format(printf, 1, 0))) static char *format_new(const char *format, va_list args)
{
    mg_text text = { 0 };

    mg_text_vaddf(&text, format, args);
    return text.p; /* now the finding's */
}

static void finding_fini(mg_finding *f)
{
    mg_free(f->code);
    mg_free(f->file);
    mg_free(f->pointer);
    mg_free(f->message);
    mg_free(f->hint);
    mg_free(f->source);
    *f = (mg_finding){ 0 };
}

/* The next free finding. Past what the report keeps there is one more, behind the last, which each further
 * find overwrites: callers need not care, and `count` does not tell of it. */
static mg_finding *next_finding(mg_report *report)
{
    if (report->count == report->cap) {
        const size_t cap = report->cap ? report->cap * 2 : 8;

        report->findings = mg_realloc(report->findings, cap * sizeof(*report->findings));
        memset(report->findings + report->cap, 0, (cap - report->cap) * sizeof(*report->findings));
        report->cap = cap;
    }
    if (report->count < (report->keeps ? report->keeps : MG_REPORT_MAX))
        return &report->findings[report->count++];
    report->full = true;
    finding_fini(&report->findings[report->count]);
    return &report->findings[report->count];
}

/* The pointer holds until the next is added. */
mg_finding *mg_report_add(mg_report *report, mg_severity severity, const char *code, const char *format, ...)
{
    mg_finding *f = next_finding(report);
    va_list args;

    if (severity == MG_SEVERITY_ERROR)
        report->errors++;
    else
        report->warnings++;
    f->severity = severity;
    f->code = mg_strdup(code);
    va_start(args, format);
    f->message = format_new(format, args);
    va_end(args);
    return f;
}

static void replace(char **field, char *value)
{
    mg_free(*field);
    *field = value;
}

void mg_finding_place(mg_finding *f, const char *file, int line, int column, int width, mg_str source)
{
    replace(&f->file, file ? mg_strdup(file) : NULL);
    f->line = line;
    f->column = column;
    f->width = width;
    source = mg_str_sub(source, 0, mg_str_find(source, '\n')); /* not found: SIZE_MAX, the whole */
    source = mg_str_trim(source, "\r");
    source =
        mg_str_sub(source, 0, SOURCE_MAX_BYTES); /* a file may be one line, and have a thousand mistakes */
    replace(&f->source, source.p ? mg_memdup0(source.p, source.n) : NULL);
}

void mg_finding_pointer(mg_finding *f, mg_str pointer)
{
    replace(&f->pointer, pointer.n ? mg_memdup0(pointer.p, pointer.n) : NULL);
}

void mg_finding_hint(mg_finding *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    replace(&f->hint, format_new(format, args));
    va_end(args);
}

static const char *severity_name(mg_severity severity)
{
    return severity == MG_SEVERITY_ERROR ? "error" : "warning";
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* A document may hold what moves a terminal's cursor; a report about it must not. */
static void add_visible(mg_text *out, const char *text)
{
    for (; *text; text++) {
        if (is_control((unsigned char)*text))
            mg_text_addf(out, "\\x%02x", (unsigned char)*text);
        else
            mg_text_add_char(out, *text);
    }
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80; /* of a UTF-8 sequence: takes no column */
}

/* The line as it stands, except that what is not visible becomes '?', which keeps the columns. Returns the
 * characters shown. */
static int add_source(mg_text *out, const char *source)
{
    int shown = 0;

    for (; *source; source++) {
        if (!is_continuation(*source) && shown++ == SOURCE_MAX_CHARS) {
            mg_text_add_c(out, " ...");
            return SOURCE_MAX_CHARS;
        }
        mg_text_add_char(out, is_control((unsigned char)*source) && *source != '\t' ? '?' : *source);
    }
    return shown;
}

/* Blanks up to the column, with tabs where the source has tabs, then the carets. */
static void add_carets(mg_text *out, const mg_finding *f, int shown)
{
    const char *at = f->source;
    int width = f->width > 0 ? f->width : 1;

    for (int column = 1; column < f->column; column++) {
        mg_text_add_char(out, *at == '\t' ? '\t' : ' ');
        if (*at)
            at++;
        while (is_continuation(*at))
            at++;
    }
    if (width > shown - f->column + 1)
        width = shown - f->column + 1 > 1 ? shown - f->column + 1 : 1;
    while (width-- > 0)
        mg_text_add_char(out, '^');
}

static void add_excerpt(mg_text *out, const mg_finding *f)
{
    int shown;

    mg_text_addf(out, "%*d | ", GUTTER, f->line);
    shown = add_source(out, f->source);
    mg_text_add_char(out, '\n');
    if (f->column < 1 || f->column > shown + 1)
        return;
    mg_text_addf(out, "%*s | ", GUTTER, "");
    add_carets(out, f, shown);
    mg_text_add_char(out, '\n');
}

static void add_place(mg_text *out, const mg_finding *f)
{
    if (!f->file)
        return;
    add_visible(out, f->file);
    if (f->line > 0)
        mg_text_addf(out, ":%d", f->line);
    if (f->line > 0 && f->column > 0)
        mg_text_addf(out, ":%d", f->column);
    mg_text_add_c(out, ": ");
}

static void add_finding(mg_text *out, const mg_finding *f)
{
    add_place(out, f);
    mg_text_addf(out, "%s[%s] ", severity_name(f->severity), f->code);
    if (f->pointer) {
        add_visible(out, f->pointer);
        mg_text_add_c(out, ": ");
    }
    add_visible(out, f->message);
    mg_text_add_char(out, '\n');
    if (f->source && f->line > 0)
        add_excerpt(out, f);
    if (f->hint) {
        mg_text_addf(out, "%*s = ", GUTTER, "");
        add_visible(out, f->hint);
        mg_text_add_char(out, '\n');
    }
}

void mg_report_print(const mg_report *report, mg_text *out)
{
    for (size_t i = 0; i < report->count; i++)
        add_finding(out, &report->findings[i]);
    if (report->full)
        mg_text_addf(out, "... and %zu more%s\n", report->errors + report->warnings - report->count,
                     report->keeps ? "" : ": moongate check tells all");
}

static void add_field(mg_json_out *json, const char *name, const char *value)
{
    if (value)
        mg_json_out_text(json, name, mg_str_of(value));
}

static void add_number(mg_json_out *json, const char *name, int value)
{
    if (value > 0)
        mg_json_out_i64(json, name, value);
}

static void add_json_finding(mg_json_out *json, const mg_finding *f)
{
    mg_json_out_map(json, NULL);
    mg_json_out_text(json, "code", mg_str_of(f->code));
    add_field(json, "pointer", f->pointer);
    add_field(json, "message", f->message);
    add_field(json, "hint", f->hint);
    add_field(json, "file", f->file);
    add_number(json, "line", f->line);
    add_number(json, "column", f->column);
    mg_json_out_end(json);
}

static void add_json_list(mg_json_out *json, const char *key, const mg_report *report, mg_severity severity)
{
    mg_json_out_list(json, key);
    for (size_t i = 0; i < report->count; i++)
        if (report->findings[i].severity == severity)
            add_json_finding(json, &report->findings[i]);
    mg_json_out_end(json);
}

void mg_report_add_json(const mg_report *report, mg_json_out *json)
{
    add_json_list(json, "errors", report, MG_SEVERITY_ERROR);
    add_json_list(json, "warnings", report, MG_SEVERITY_WARNING);
    if (report->full)
        mg_json_out_u64(json, "more", report->errors + report->warnings - report->count);
}

void mg_report_print_json(const mg_report *report, mg_text *out)
{
    mg_json_out json = { .text = out };

    mg_json_out_map(&json, NULL);
    mg_report_add_json(report, &json);
    mg_json_out_end(&json);
}

void mg_report_fini(mg_report *report)
{
    for (size_t i = 0; i < report->cap; i++)
        finding_fini(&report->findings[i]);
    mg_free(report->findings);
    *report = (mg_report){ 0 };
}
