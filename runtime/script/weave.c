/* weave.c - a pass over the tokens of Lua source that adds checks, and keeps every line where it is.
 *
 * Time: whatever runs for long passes one of three places again and again: the start of a block (after `do`
 * and `repeat`), the entry of a function (after its parameters) or a label. Checks stand there and nowhere
 * else. They stand behind labels and not before `goto`, because goto is a plain name in Lua 5.1
 * (`x = goto`), while `::` is always a label. A label at the end of its block gets none: a jump there leads
 * forward, and a statement behind it would make it illegal to jump over a local.
 *
 * Memory: a text that doubles in each round of a loop passes every cap between two looks. So a chain of
 * `a .. b .. c` becomes (__mg_cat3((a),(b),(c))), a function that knows how long the text will be before it
 * is made. An operand goes from one `..` to the next token that binds less; brackets and function bodies
 * nest, so a stack of frames knows where the operand that is being read began. Operands stand in parentheses,
 * because a call as the last argument would give all of its results; so does the call, because `return` would
 * make a tail call of it, and messages need the plugin's line.
 *
 * Lines: a tail call takes the frame of its caller away, and with it the line that a message is to name. So
 * `return ctx:f(..)` becomes `return __mg_keep(ctx:f(..))`, which gives what it gets, and so does the mistake
 * `return next()`. `return next(ctx)` is on every request's way, and as a plain call makes the compiled chain
 * a quarter longer: it stays. So do other tail calls: a plugin may recurse by them.
 *
 * The caller has compiled the source as it came, so syntax errors are reported by Lua, in Lua's words; what
 * is malformed here only has to stay within its bounds. */
#include "script/weave.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counter: two locals of the chunk that its functions reach as upvalues; about a nanosecond once compiled. A
 * function may have 60 upvalues and a chunk 200 locals, so a source at these limits does not compile with it.
 * Call: one global call at each place, which needs neither. */
static const char PROLOGUE[] = "local __mg_more=__mg_more local __mg_left=1 ";
static const char COUNTER[] = " if __mg_left==0 then __mg_left=__mg_more()end __mg_left=__mg_left-1 ";
static const char CALL[] = " __mg_spend(); ";

/* Lua compiles at most 200 nested levels. */
enum { FRAMES_MAX = 512, CHAIN_GROUPS_MAX = 64 };

typedef enum edit_kind {
    EDIT_CHECK,
    EDIT_BEGIN, /* "(__mg_catN((": a chain begins here */
    EDIT_NEXT,  /* "),(" for ".." */
    EDIT_GROUP, /* "),__mg_catN((" for "..": the rest of a long chain is one operand */
    EDIT_CLOSE, /* "))" and one more for each call */
    EDIT_KEEP,  /* "__mg_keep(" */
    EDIT_END    /* ")" of that */
} edit_kind;

/* What changes at a place of the source. */
typedef struct edit {
    const char *at;
    uint32_t order;
    uint16_t count; /* operands of a call; calls that end */
    uint8_t kind;
} edit;

/* What a frame is to the one around it, once it is closed. */
typedef enum opening {
    OPENED_BLOCK,   /* the end of a statement */
    OPENED_VALUE,   /* an operand that cannot be called: a function body, a table */
    OPENED_CALLABLE /* an operand that can: parentheses, arguments, an index */
} opening;

/* An open bracket or block, and the operand that is being read in it. */
typedef struct frame {
    const char *start; /* of the chain's first operand; NULL: nothing is read */
    uint32_t call;     /* index of the edit that began the innermost call of the chain */
    uint16_t calls;    /* of the chain; 0: no `..` so far */
    uint16_t operands; /* of the innermost call */
    bool complete;     /* an operand stands; what cannot go on with it begins a statement */
    bool callable;     /* it is a name, a call or in parentheses: a text or table behind it is an argument */
    bool member;       /* . or : came last */
    opening is;        /* to the frame around it */
    bool after_return; /* `return` came last */
    const char *returned; /* of `return ctx..`: where that begins, while it may be a call of ctx's */
    bool called;          /* what is returned ends with a call so far */
} frame;

typedef struct weaver {
    mg_lexer lexer;
    const char *last; /* end of the last token */
    edit *edits;      /* owned */
    uint32_t edit_count, edit_room;
    frame frames[FRAMES_MAX];
    uint32_t depth;
    const char *check;
    bool in_parameters, in_label, after_label, too_deep;
} weaver;

static frame *top_frame(weaver *w)
{
    return &w->frames[w->depth];
}

static uint32_t add_edit(weaver *w, edit_kind kind, const char *at)
{
    if (w->edit_count == w->edit_room) {
        w->edit_room = w->edit_room ? w->edit_room * 2 : 64;
        w->edits = mg_realloc(w->edits, w->edit_room * sizeof *w->edits);
    }
    w->edits[w->edit_count] = (edit){ at, w->edit_count, 0, (uint8_t)kind };
    return w->edit_count++;
}

/* ---- chains of `..` ---- */

/* The chain that is being read ends with the last token. */
static void end_chain(weaver *w)
{
    frame *f = top_frame(w);

    if (f->calls) {
        w->edits[f->call].count = f->operands;
        const uint32_t close = add_edit(w, EDIT_CLOSE, w->last);
        w->edits[close].count = f->calls;
    }
    f->start = NULL;
    f->calls = 0;
    f->complete = f->callable = f->member = false;
}

static void begin_operand(weaver *w, const char *start)
{
    frame *f = top_frame(w);

    if (f->complete)
        end_chain(w); /* two operands in a row: a statement ends between them */
    if (!f->start)
        f->start = start;
}

static void end_operand(frame *f, bool callable)
{
    f->complete = true;
    f->callable = callable;
    f->member = false;
}

static void next_operand(weaver *w, const char *dots)
{
    frame *f = top_frame(w);

    f->complete = false;
    if (!f->start)
        return; /* malformed */
    if (!f->calls) {
        f->call = add_edit(w, EDIT_BEGIN, f->start);
        f->calls = f->operands = 1;
    }
    if (f->operands == MG_WEAVE_OPERANDS - 1 && f->calls < CHAIN_GROUPS_MAX) {
        w->edits[f->call].count = MG_WEAVE_OPERANDS;
        f->call = add_edit(w, EDIT_GROUP, dots);
        f->calls++;
        f->operands = 1;
        return;
    }
    (void)add_edit(w, EDIT_NEXT, dots);
    f->operands++;
}

static void open_frame(weaver *w, opening is)
{
    if (w->depth + 1 == FRAMES_MAX) {
        w->too_deep = true;
        return;
    }
    w->depth++;
    *top_frame(w) = (frame){ .is = is };
}

static void close_frame(weaver *w)
{
    end_chain(w);
    if (!w->depth)
        return; /* malformed */
    const opening closed = top_frame(w)->is;
    w->depth--;
    if (closed == OPENED_BLOCK)
        end_chain(w);
    else
        end_operand(top_frame(w), closed == OPENED_CALLABLE);
}

/* A ( or { behind an operand that may be called is its arguments; else it begins an operand. */
static void open_bracket(weaver *w, mg_lex_token is, const char *start)
{
    const frame *f = top_frame(w);
    const bool suffix = f->complete && (f->callable || is == MG_LEX_BRACKET_OPEN);

    if (!suffix)
        begin_operand(w, start);
    open_frame(w, is == MG_LEX_BRACE_OPEN && !suffix ? OPENED_VALUE : OPENED_CALLABLE);
}

static void read_chain(weaver *w, mg_lex_token is, const char *start)
{
    frame *f = top_frame(w);

    switch (is) {
    case MG_LEX_NAME:
        if (!f->member)
            begin_operand(w, start);
        end_operand(f, true);
        return;
    case MG_LEX_VALUE:
        begin_operand(w, start);
        end_operand(f, false);
        return;
    case MG_LEX_STRING:
        if (f->complete && f->callable)
            return; /* an argument */
        begin_operand(w, start);
        end_operand(f, false);
        return;
    case MG_LEX_MEMBER: f->member = true; return;
    case MG_LEX_SIGN:
        if (!f->start)
            f->start = start;
        f->complete = false;
        return;
    case MG_LEX_CONCAT: next_operand(w, start); return;
    case MG_LEX_PAREN_OPEN:
    case MG_LEX_BRACKET_OPEN:
    case MG_LEX_BRACE_OPEN: open_bracket(w, is, start); return;
    case MG_LEX_PAREN_CLOSE:
    case MG_LEX_BRACKET_CLOSE:
    case MG_LEX_BRACE_CLOSE:
    case MG_LEX_BLOCK_END:
    case MG_LEX_UNTIL: close_frame(w); return;
    case MG_LEX_FUNCTION:
        begin_operand(w, start);
        open_frame(w, OPENED_VALUE);
        return;
    case MG_LEX_IF:
    case MG_LEX_DO:
    case MG_LEX_REPEAT:
        end_chain(w);
        open_frame(w, OPENED_BLOCK);
        return;
    default: end_chain(w); return;
    }
}

/* ---- what is returned ---- */

static bool ends_return(mg_lex_token is)
{
    return is == MG_LEX_BLOCK_END || is == MG_LEX_ELSE || is == MG_LEX_UNTIL || is == MG_LEX_SEMICOLON ||
           is == MG_LEX_END;
}

static void keep_frame(weaver *w, const frame *f)
{
    const mg_str text = mg_str_make(f->returned, (size_t)(w->last - f->returned));

    if (text.p[0] == 'n' && !mg_str_eq(text, MG_STR("next()")))
        return;
    (void)add_edit(w, EDIT_KEEP, f->returned);
    (void)add_edit(w, EDIT_END, w->last);
}

/* Before the token changes the frames. */
static void read_return(weaver *w, mg_lex_token is, const char *start)
{
    frame *f = top_frame(w);

    if (f->after_return && is == MG_LEX_NAME) {
        const mg_str name = mg_str_make(start, (size_t)(w->lexer.p - start));
        f->returned = mg_str_eq(name, MG_STR("ctx")) || mg_str_eq(name, MG_STR("next")) ? start : NULL;
        f->called = false;
    } else if (f->returned && ends_return(is)) {
        if (f->called)
            keep_frame(w, f);
        f->returned = NULL;
    } else if (is == MG_LEX_PAREN_OPEN || is == MG_LEX_BRACE_OPEN || is == MG_LEX_STRING) {
        f->called = true;
    } else if (is == MG_LEX_MEMBER || is == MG_LEX_BRACKET_OPEN) {
        f->called = false;
    } else if (is != MG_LEX_NAME) {
        f->returned = NULL;
    }
    f->after_return = is == MG_LEX_RETURN;
}

/* ---- checks ---- */

static void add_checks(weaver *w, mg_lex_token is, const char *start)
{
    if (is == MG_LEX_LABEL) {
        w->after_label = w->in_label;
        w->in_label = !w->in_label;
        return;
    }
    if (w->after_label && is != MG_LEX_SEMICOLON) {
        w->after_label = false;
        if (is != MG_LEX_BLOCK_END && is != MG_LEX_ELSE && is != MG_LEX_UNTIL && is != MG_LEX_END)
            (void)add_edit(w, EDIT_CHECK, start);
    }
    if (is == MG_LEX_DO || is == MG_LEX_REPEAT || (is == MG_LEX_PAREN_CLOSE && w->in_parameters))
        (void)add_edit(w, EDIT_CHECK, w->lexer.p);
    if (is == MG_LEX_PAREN_CLOSE)
        w->in_parameters = false;
    if (is == MG_LEX_FUNCTION)
        w->in_parameters = true;
}

/* ---- what comes out ---- */

typedef struct output {
    char *p;
    size_t room, n; /* n counts on where there is no room */
} output;

static void put_source(output *out, const char *p, size_t n)
{
    if (n && out->n + n <= out->room)
        memcpy(out->p + out->n, p, n);
    out->n += n;
}

static int by_place(const void *a, const void *b)
{
    const edit *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Returns how many bytes of the source it stands for. */
static size_t put_edit(output *out, const edit *e, const char *check)
{
    char text[32];

    switch ((edit_kind)e->kind) {
    case EDIT_CHECK: put_source(out, check, strlen(check)); return 0;
    case EDIT_BEGIN:
    case EDIT_GROUP:
        put_source(out, text,
                   (size_t)snprintf(text, sizeof text, "%s__mg_cat%u((", e->kind == EDIT_GROUP ? ")," : "(",
                                    (unsigned)e->count));
        return e->kind == EDIT_GROUP ? 2 : 0;
    case EDIT_NEXT: put_source(out, "),(", 3); return 2;
    case EDIT_CLOSE:
        for (unsigned i = 0; i < e->count + 2U; i++)
            put_source(out, ")", 1);
        return 0;
    case EDIT_KEEP: put_source(out, "__mg_keep(", 10); return 0;
    case EDIT_END: put_source(out, ")", 1); return 0;
    }
    return 0;
}

static void put_all(output *out, weaver *w, const char *from)
{
    if (w->edit_count)
        qsort(w->edits, w->edit_count, sizeof *w->edits, by_place);
    for (uint32_t i = 0; i < w->edit_count; i++) {
        put_source(out, from, (size_t)(w->edits[i].at - from));
        from = w->edits[i].at + put_edit(out, &w->edits[i], w->check);
    }
    put_source(out, from, (size_t)(w->lexer.end - from));
}

static bool read_all(weaver *w, char *error256)
{
    const char *start;
    mg_lex_token is;

    do {
        is = mg_lexer_next(&w->lexer, &start);
        if (is == MG_LEX_RESERVED || is == MG_LEX_UNFINISHED) {
            snprintf(error256, 256, "%u: %s", w->lexer.line,
                     is == MG_LEX_RESERVED ? "names that begin with " MG_LEX_RESERVED_PREFIX
                                             " are the gateway's: choose another"
                                           : "a string or comment has no end");
            return false;
        }
        read_return(w, is, start);
        read_chain(w, is, start);
        add_checks(w, is, start);
        w->last = w->lexer.p;
        if (w->too_deep) {
            snprintf(error256, 256, "%u: blocks and brackets nest too deep", w->lexer.line);
            return false;
        }
    } while (is != MG_LEX_END);
    return true;
}

int32_t mg_weave(const char *source, uint32_t n, int how, char *out, uint32_t room, char *error256)
{
    output to = { out, room, 0 };
    int32_t bytes = -1;
    weaver *w;

    if (n > MG_WEAVE_SOURCE_MAX) {
        snprintf(error256, 256, "the source has %u bytes; at most %d are loaded: split it into modules", n,
                 MG_WEAVE_SOURCE_MAX);
        return -1;
    }
    w = MG_NEW(weaver);
    w->check = how == MG_WEAVE_COUNTER ? COUNTER : CALL;
    mg_lexer_init(&w->lexer, source, n);
    const char *from = w->last = w->lexer.p;
    if (how == MG_WEAVE_COUNTER)
        put_source(&to, PROLOGUE, sizeof(PROLOGUE) - 1);
    else if (from != source)
        put_source(&to, " ", 1); /* a second byte order mark is a name, and must not come first now */
    if (read_all(w, error256)) {
        put_all(&to, w, from);
        bytes = (int32_t)to.n;
    }
    mg_free(w->edits);
    mg_free(w);
    return bytes;
}
