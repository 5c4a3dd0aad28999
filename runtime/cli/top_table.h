/* top_table.h - lines of a terminal and tables as wide as what stands in them. Names may be cut, and end in
 * "~" then; figures never are: they are scaled to five characters, and a column of them that has no room is
 * left out. Pure: any thread, one at a time on one table. */
#ifndef MG_CLI_TOP_TABLE_H
#define MG_CLI_TOP_TABLE_H

#include "base/str.h"

typedef enum mg_top_paint { MG_TOP_PLAIN, MG_TOP_BOLD, MG_TOP_DIM, MG_TOP_RED, MG_TOP_YELLOW } mg_top_paint;

enum { MG_TOP_NAME_MIN = 12, MG_TOP_COLUMNS_MAX = 10 };

typedef struct mg_top_column {
    const char *name;
    int width;      /* at least, with the gap before it; negative: right-aligned */
    unsigned stays; /* where there is no room, the column that stays least is left out first */
} mg_top_column;

/* Zeroed, then the first line filled in. */
typedef struct mg_top_page {
    mg_text *out; /* borrowed */
    bool colour;
    unsigned width, lines;
    /* The table that is measured or drawn; its first column is the name. */
    const mg_top_column *columns;                               /* borrowed */
    unsigned count, at, name_width, widths[MG_TOP_COLUMNS_MAX]; /* 0: left out */
    bool measures;
} mg_top_page;

/* How many columns a text takes, as far as one can tell without tables: characters. */
size_t mg_top_columns_of(mg_str text);
/* Appends text in at most so many columns. What came from outside may hold anything: nothing of it reaches
 * the terminal as an order. */
void mg_top_add_cut(mg_text *out, mg_str text, size_t columns);
/* At most five characters: 1.5, 1234, 12.3k, 123M; "-" below 0. */
void mg_top_write_number(double number, char text[32]);
/* Appends one more part to a line, if it fits whole. */
void mg_top_add_part(mg_text *line, size_t columns, mg_str part);
/* Such a part: "   WHAT NUMBER". */
void mg_top_add_count(mg_text *line, size_t columns, const char *what, double number);

/* Text outside a table, left-aligned in `columns`; right-aligned where they are negative. */
void mg_top_text(mg_top_page *page, mg_str text, int columns, mg_top_paint colour);
void mg_top_end_line(mg_top_page *page);

/* From here to mg_top_draw_table rows are measured, behind it drawn. Nothing is written before. */
void mg_top_begin_table(mg_top_page *page, const mg_top_column *columns, unsigned count);
/* The next cell of a row; the first is its name. */
void mg_top_cell(mg_top_page *page, mg_str text, mg_top_paint colour);
void mg_top_number(mg_top_page *page, double number, mg_top_paint colour);
void mg_top_end_row(mg_top_page *page);
/* Leaves out what does not fit beside the shortest name, and draws a blank line and the head. */
void mg_top_draw_table(mg_top_page *page, const char *name);

#endif
