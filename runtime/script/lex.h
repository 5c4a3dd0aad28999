/* lex.h - the tokens of Lua source as LuaJIT reads it, for the weaver. Only what the weaver tells apart has a
 * kind of its own. Any thread; a lexer is one thread's. */
#ifndef MG_SCRIPT_LEX_H
#define MG_SCRIPT_LEX_H

#include "base/str.h"

typedef enum mg_lex_token {
    MG_LEX_END, /* of the source */
    MG_LEX_NAME,
    MG_LEX_VALUE,  /* a number, nil, true, false or ... */
    MG_LEX_STRING, /* quoted or long */
    MG_LEX_CONCAT, /* .. */
    MG_LEX_MEMBER, /* . or : */
    MG_LEX_SIGN,   /* an operator that binds tighter than `..`, `not` among them */
    MG_LEX_BREAK,  /* what no operand of `..` contains: a comma, =, a comparison, a keyword such as `and` */
    MG_LEX_RETURN,
    MG_LEX_SEMICOLON,
    MG_LEX_LABEL, /* :: */
    MG_LEX_PAREN_OPEN,
    MG_LEX_PAREN_CLOSE,
    MG_LEX_BRACKET_OPEN,
    MG_LEX_BRACKET_CLOSE,
    MG_LEX_BRACE_OPEN,
    MG_LEX_BRACE_CLOSE,
    MG_LEX_FUNCTION,
    MG_LEX_IF,
    MG_LEX_DO,
    MG_LEX_REPEAT,
    MG_LEX_ELSE, /* else, elseif */
    MG_LEX_BLOCK_END,
    MG_LEX_UNTIL,
    MG_LEX_RESERVED,   /* a name of the weaver's */
    MG_LEX_UNFINISHED, /* a comment or string without an end */
} mg_lex_token;

/* Names that begin so are the weaver's. */
#define MG_LEX_RESERVED_PREFIX "__mg_"

typedef struct mg_lexer {
    const char *p, *end; /* borrowed: the source */
    uint32_t line;       /* of p */
} mg_lexer;

/* Begins behind what LuaJIT passes over in front of a file: a byte order mark, a first line that begins with
 * #. */
void mg_lexer_init(mg_lexer *lexer, const char *source, size_t n);
/* The next token; *start is where it begins, lexer->p is behind it. */
mg_lex_token mg_lexer_next(mg_lexer *lexer, const char **start);

#endif
