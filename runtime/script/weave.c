/* weave.c - a pass over the tokens of Lua source that adds checks and keeps every line where it is.
 *
 * Whatever runs for long passes one of three places again and again: the start of a block (after `do` and
 * `repeat`), the entry of a function (after its parameters) or a label. Checks stand there and nowhere else,
 * so no parser is needed. They stand behind labels and not before `goto`, because goto is a plain name in
 * Lua 5.1
 * (`x = goto`), while `::` is always a label. A label at the end of its block gets none: a jump there leads
 * forward, and a statement behind it would make it illegal to jump over a local.
 *
 * The caller has compiled the source as it came, so syntax errors are reported by Lua, in Lua's words; what
 * is malformed here only has to stay within its bounds. */
#include "script/weave.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* Counter: two locals of the chunk that its functions reach as upvalues; about a nanosecond once compiled. A
 * function may have 60 upvalues and a chunk 200 locals, so a source at these limits does not compile with it.
 * Call: one global call at each place, which needs neither. */
static const char PROLOGUE[] = "local __mg_more=__mg_more local __mg_left=1 ";
static const char COUNTER[] = " if __mg_left==0 then __mg_left=__mg_more()end __mg_left=__mg_left-1 ";
static const char CALL[] = " __mg_spend(); ";

typedef enum token {
    TOKEN_END,
    TOKEN_NAME, /* and keywords without meaning here */
    TOKEN_OTHER,
    TOKEN_CLOSE,     /* ) */
    TOKEN_SEMICOLON, /* ; */
    TOKEN_LABEL,     /* :: */
    TOKEN_OPEN,      /* do, repeat */
    TOKEN_SHUT,      /* end, else, elseif, until */
    TOKEN_FUNCTION,
    TOKEN_RESERVED,
    TOKEN_UNFINISHED, /* a comment or string without an end */
} token;

typedef struct weaver {
    const char *p, *end;
    const char *copied; /* source up to here is in out */
    uint32_t line;
    char *out;
    size_t room, n; /* n counts on where out is full */
    const char *check;
    bool in_parameters, in_label, after_label;
} weaver;

static void put(weaver *w, const char *p, size_t n)
{
    if (n && w->n + n <= w->room)
        memcpy(w->out + w->n, p, n);
    w->n += n;
}

static void copy_to(weaver *w, const char *p)
{
    put(w, w->copied, (size_t)(p - w->copied));
    w->copied = p;
}

static void check_at(weaver *w, const char *p)
{
    copy_to(w, p);
    put(w, w->check, strlen(w->check));
}

/* ---- tokens ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* As LuaJIT has it: every byte above ASCII may stand in a name. */
static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

static bool skips(weaver *w, char c)
{
    if (w->p == w->end || *w->p != c)
        return false;
    w->p++;
    return true;
}

static void step(weaver *w)
{
    w->line += *w->p == '\n';
    w->p++;
}

/* At "[": whether [[ or [=[ opens here; then everything to its end is passed and *closed says if there was
 * one. */
static bool skips_long(weaver *w, bool *closed)
{
    const char *p = w->p + 1;
    size_t level;

    while (p < w->end && *p == '=')
        p++;
    if (p == w->end || *p != '[')
        return false;
    level = (size_t)(p - w->p) - 1;
    for (w->p = p + 1; w->p < w->end; step(w)) {
        if (*w->p != ']' || (size_t)(w->end - w->p) < level + 2)
            continue;
        for (p = w->p + 1; *p == '=' && (size_t)(p - w->p) <= level;)
            p++;
        if (*p == ']' && (size_t)(p - w->p) == level + 1) {
            w->p = p + 1;
            *closed = true;
            return true;
        }
    }
    *closed = false;
    return true;
}

static void skip_line(weaver *w)
{
    while (w->p < w->end && *w->p != '\n' && *w->p != '\r')
        w->p++;
}

/* Behind "--". */
static bool skip_comment(weaver *w)
{
    bool closed;

    if (w->p < w->end && *w->p == '[' && skips_long(w, &closed))
        return closed;
    skip_line(w);
    return true;
}

static token quoted(weaver *w, char quote)
{
    while (w->p < w->end) {
        const char c = *w->p;

        step(w);
        if (c == quote)
            return TOKEN_OTHER;
        if (c == '\\' && w->p < w->end)
            step(w);
    }
    return TOKEN_UNFINISHED;
}

/* From its first digit. The sign of an exponent belongs to it: 1e-3, 0x1p+4. */
static token number(weaver *w, const char *start)
{
    const bool hex = w->end - start > 1 && start[0] == '0' && (start[1] | 0x20) == 'x';
    const char exponent = hex ? 'p' : 'e';

    while (w->p < w->end && (is_name(*w->p) || *w->p == '.' ||
                             ((*w->p == '-' || *w->p == '+') && (w->p[-1] | 0x20) == exponent)))
        w->p++;
    return TOKEN_OTHER;
}

static token name(weaver *w, const char *start)
{
    static const struct {
        char text[9];
        token is;
    } known[] = { { "do", TOKEN_OPEN },          { "repeat", TOKEN_OPEN }, { "end", TOKEN_SHUT },
                  { "else", TOKEN_SHUT },        { "elseif", TOKEN_SHUT }, { "until", TOKEN_SHUT },
                  { "function", TOKEN_FUNCTION } };
    size_t n;

    while (w->p < w->end && is_name(*w->p))
        w->p++;
    n = (size_t)(w->p - start);
    if (n >= sizeof(MG_WEAVE_RESERVED) - 1 &&
        memcmp(start, MG_WEAVE_RESERVED, sizeof(MG_WEAVE_RESERVED) - 1) == 0)
        return TOKEN_RESERVED;
    for (size_t i = 0; i < mg_countof(known); i++) {
        if (n == strlen(known[i].text) && memcmp(start, known[i].text, n) == 0)
            return known[i].is;
    }
    return TOKEN_NAME;
}

static token dots(weaver *w)
{
    if (w->p < w->end && is_digit(*w->p))
        return number(w, w->p - 1);
    if (skips(w, '.'))
        (void)skips(w, '.');
    return TOKEN_OTHER;
}

static token symbol(weaver *w, char c)
{
    switch (c) {
    case ')': return TOKEN_CLOSE;
    case ';': return TOKEN_SEMICOLON;
    case ':': return skips(w, ':') ? TOKEN_LABEL : TOKEN_OTHER;
    case '.': return dots(w);
    case '"':
    case '\'': return quoted(w, c);
    default: return TOKEN_OTHER;
    }
}

/* The next token; *start is where it begins. */
static token next(weaver *w, const char **start)
{
    bool closed;

    while (w->p < w->end) {
        *start = w->p;
        if (is_digit(*w->p))
            return number(w, *start);
        if (is_name(*w->p))
            return name(w, *start);
        if (*w->p == '[' && skips_long(w, &closed))
            return closed ? TOKEN_OTHER : TOKEN_UNFINISHED;
        if (*w->p == '-' && w->end - w->p > 1 && w->p[1] == '-') {
            w->p += 2;
            if (!skip_comment(w))
                return TOKEN_UNFINISHED;
            continue;
        }
        step(w);
        if (**start != ' ' && (**start < '\t' || **start > '\r'))
            return symbol(w, **start);
    }
    *start = w->end;
    return TOKEN_END;
}

/* ---- checks ---- */

static void weave_token(weaver *w, token is, const char *start)
{
    if (is == TOKEN_LABEL) {
        w->after_label = w->in_label;
        w->in_label = !w->in_label;
        return;
    }
    if (w->after_label && is != TOKEN_SEMICOLON) {
        w->after_label = false;
        if (is != TOKEN_SHUT && is != TOKEN_END)
            check_at(w, start);
    }
    if (is == TOKEN_OPEN || (is == TOKEN_CLOSE && w->in_parameters))
        check_at(w, w->p);
    if (is == TOKEN_CLOSE)
        w->in_parameters = false;
    if (is == TOKEN_FUNCTION)
        w->in_parameters = true;
}

/* What LuaJIT passes over in front of a file: a byte order mark and a first line that begins with #. */
static void skip_head(weaver *w)
{
    if (w->end - w->p >= 3 && memcmp(w->p, "\xef\xbb\xbf", 3) == 0)
        w->p += 3;
    if (w->p < w->end && *w->p == '#')
        skip_line(w);
    w->copied = w->p;
}

int32_t mg_weave(const char *source, uint32_t n, int how, char *out, uint32_t room, char *error256)
{
    weaver w = { .p = source,
                 .end = source + n,
                 .line = 1,
                 .out = out,
                 .room = room,
                 .check = how == MG_WEAVE_COUNTER ? COUNTER : CALL };
    const char *start;
    token is;

    if (n > MG_WEAVE_SOURCE_MAX) {
        snprintf(error256, 256, "the source has %u bytes; at most %d are loaded: split it into modules", n,
                 MG_WEAVE_SOURCE_MAX);
        return -1;
    }
    skip_head(&w);
    if (how == MG_WEAVE_COUNTER)
        put(&w, PROLOGUE, sizeof(PROLOGUE) - 1);
    else if (w.copied != source)
        put(&w, " ", 1); /* a second byte order mark is a name, and must not come first now */
    do {
        is = next(&w, &start);
        if (is == TOKEN_RESERVED || is == TOKEN_UNFINISHED) {
            snprintf(error256, 256, "%u: %s", w.line,
                     is == TOKEN_RESERVED ? "names that begin with " MG_WEAVE_RESERVED
                                            " are the gateway's: choose another"
                                          : "a string or comment has no end");
            return -1;
        }
        weave_token(&w, is, start);
    } while (is != TOKEN_END);
    copy_to(&w, w.end);
    return (int32_t)w.n;
}
