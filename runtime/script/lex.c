/* lex.c - Lua's tokens, as LuaJIT's lexer finds them (lj_lex.c; Lua 5.1 manual 2.1 and LuaJIT's extensions).
 */
#include "script/lex.h"

#include "base/mem.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* As LuaJIT has it: every byte above ASCII may stand in a name. */
static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

static bool skips(mg_lexer *lexer, char c)
{
    if (lexer->p == lexer->end || *lexer->p != c)
        return false;
    lexer->p++;
    return true;
}

static void step_lexer(mg_lexer *lexer)
{
    lexer->line += *lexer->p == '\n';
    lexer->p++;
}

/* At "[": whether [[ or [=[ opens here; then everything to its end is passed and *closed says if there was
 * one. */
static bool skips_long(mg_lexer *lexer, bool *closed)
{
    const char *p = lexer->p + 1;
    size_t level;

    while (p < lexer->end && *p == '=')
        p++;
    if (p == lexer->end || *p != '[')
        return false;
    level = (size_t)(p - lexer->p) - 1;
    for (lexer->p = p + 1; lexer->p < lexer->end; step_lexer(lexer)) {
        if (*lexer->p != ']' || (size_t)(lexer->end - lexer->p) < level + 2)
            continue;
        for (p = lexer->p + 1; *p == '=' && (size_t)(p - lexer->p) <= level;)
            p++;
        if (*p == ']' && (size_t)(p - lexer->p) == level + 1) {
            lexer->p = p + 1;
            *closed = true;
            return true;
        }
    }
    *closed = false;
    return true;
}

static void skip_line(mg_lexer *lexer)
{
    while (lexer->p < lexer->end && *lexer->p != '\n' && *lexer->p != '\r')
        lexer->p++;
}

/* Behind "--". */
static bool skip_comment(mg_lexer *lexer)
{
    bool closed;

    if (lexer->p < lexer->end && *lexer->p == '[' && skips_long(lexer, &closed))
        return closed;
    skip_line(lexer);
    return true;
}

static mg_lex_token quoted(mg_lexer *lexer, char quote)
{
    while (lexer->p < lexer->end) {
        const char c = *lexer->p;

        step_lexer(lexer);
        if (c == quote)
            return MG_LEX_STRING;
        if (c == '\\' && lexer->p < lexer->end)
            step_lexer(lexer);
    }
    return MG_LEX_UNFINISHED;
}

/* From its first digit. The sign of an exponent belongs to it: 1e-3, 0x1p+4. */
static mg_lex_token number(mg_lexer *lexer, const char *start)
{
    const bool hex = lexer->end - start > 1 && start[0] == '0' && (start[1] | 0x20) == 'x';
    const char exponent = hex ? 'p' : 'e';

    while (lexer->p < lexer->end &&
           (is_name(*lexer->p) || *lexer->p == '.' ||
            ((*lexer->p == '-' || *lexer->p == '+') && (lexer->p[-1] | 0x20) == exponent)))
        lexer->p++;
    return MG_LEX_VALUE;
}

/* `goto` is a plain name in Lua 5.1 (`x = goto`). */
static mg_lex_token name(mg_lexer *lexer, const char *start)
{
    static const struct {
        char text[9];
        mg_lex_token is;
    } known[] = {
        { "and", MG_LEX_BREAK },     { "break", MG_LEX_BREAK },   { "do", MG_LEX_DO },
        { "else", MG_LEX_ELSE },     { "elseif", MG_LEX_ELSE },   { "end", MG_LEX_BLOCK_END },
        { "false", MG_LEX_VALUE },   { "for", MG_LEX_BREAK },     { "function", MG_LEX_FUNCTION },
        { "if", MG_LEX_IF },         { "in", MG_LEX_BREAK },      { "local", MG_LEX_BREAK },
        { "nil", MG_LEX_VALUE },     { "not", MG_LEX_SIGN },      { "or", MG_LEX_BREAK },
        { "repeat", MG_LEX_REPEAT }, { "return", MG_LEX_RETURN }, { "then", MG_LEX_BREAK },
        { "true", MG_LEX_VALUE },    { "until", MG_LEX_UNTIL },   { "while", MG_LEX_BREAK },
    };
    size_t n;

    while (lexer->p < lexer->end && is_name(*lexer->p))
        lexer->p++;
    n = (size_t)(lexer->p - start);
    if (n >= sizeof(MG_LEX_RESERVED_PREFIX) - 1 &&
        memcmp(start, MG_LEX_RESERVED_PREFIX, sizeof(MG_LEX_RESERVED_PREFIX) - 1) == 0)
        return MG_LEX_RESERVED;
    for (size_t i = 0; i < mg_countof(known); i++) {
        if (n == strlen(known[i].text) && memcmp(start, known[i].text, n) == 0)
            return known[i].is;
    }
    return MG_LEX_NAME;
}

static mg_lex_token dots(mg_lexer *lexer)
{
    if (lexer->p < lexer->end && is_digit(*lexer->p))
        return number(lexer, lexer->p - 1);
    if (!skips(lexer, '.'))
        return MG_LEX_MEMBER;
    return skips(lexer, '.') ? MG_LEX_VALUE : MG_LEX_CONCAT;
}

static mg_lex_token symbol(mg_lexer *lexer, char c)
{
    switch (c) {
    case '(': return MG_LEX_PAREN_OPEN;
    case ')': return MG_LEX_PAREN_CLOSE;
    case '[': return MG_LEX_BRACKET_OPEN;
    case ']': return MG_LEX_BRACKET_CLOSE;
    case '{': return MG_LEX_BRACE_OPEN;
    case '}': return MG_LEX_BRACE_CLOSE;
    case ';': return MG_LEX_SEMICOLON;
    case ':': return skips(lexer, ':') ? MG_LEX_LABEL : MG_LEX_MEMBER;
    case '.': return dots(lexer);
    case '"':
    case '\'': return quoted(lexer, c);
    case '+':
    case '-':
    case '*':
    case '/':
    case '%':
    case '^':
    case '#': return MG_LEX_SIGN;
    default: return MG_LEX_BREAK;
    }
}

void mg_lexer_init(mg_lexer *lexer, const char *source, size_t n)
{
    *lexer = (mg_lexer){ source, source + n, 1 };
    if (n >= 3 && memcmp(lexer->p, "\xef\xbb\xbf", 3) == 0)
        lexer->p += 3;
    if (lexer->p < lexer->end && *lexer->p == '#')
        skip_line(lexer);
}

mg_lex_token mg_lexer_next(mg_lexer *lexer, const char **start)
{
    bool closed;

    while (lexer->p < lexer->end) {
        *start = lexer->p;
        if (is_digit(*lexer->p))
            return number(lexer, *start);
        if (is_name(*lexer->p))
            return name(lexer, *start);
        if (*lexer->p == '[' && skips_long(lexer, &closed))
            return closed ? MG_LEX_STRING : MG_LEX_UNFINISHED;
        if (*lexer->p == '-' && lexer->end - lexer->p > 1 && lexer->p[1] == '-') {
            lexer->p += 2;
            if (!skip_comment(lexer))
                return MG_LEX_UNFINISHED;
            continue;
        }
        step_lexer(lexer);
        if (**start != ' ' && (**start < '\t' || **start > '\r'))
            return symbol(lexer, **start);
    }
    *start = lexer->end;
    return MG_LEX_END;
}
