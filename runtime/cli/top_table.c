/* top_table.c - a section's rows are gone through twice: once to see how wide its columns are, and then to
 * draw those that fit. */
#include "cli/top_table.h"

#include "base/mem.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX = 40, NAME_TEXT = 20 };

static const char *code_of(mg_top_paint colour)
{
    static const char *const codes[] = { [MG_TOP_PLAIN] = "",
                                         [MG_TOP_BOLD] = "\033[1m",
                                         [MG_TOP_DIM] = "\033[2m",
                                         [MG_TOP_RED] = "\033[31m",
                                         [MG_TOP_YELLOW] = "\033[33m" };

    return codes[colour];
}

size_t mg_top_columns_of(mg_str text)
{
    size_t columns = 0;

    for (size_t i = 0; i < text.n; i++)
        columns += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return columns;
}

void mg_top_add_cut(mg_text *out, mg_str text, size_t columns)
{
    const bool cut = mg_top_columns_of(text) > columns;
    size_t left = cut && columns ? columns - 1 : columns;

    for (size_t i = 0; i < text.n; i++) {
        const bool starts = ((unsigned char)text.p[i] & 0xc0) != 0x80;
        const size_t control = mg_str_control(text, i);
        if (starts && !left)
            break;
        left -= starts;
        mg_text_add_char(out, control ? '.' : text.p[i]);
        i += control > 1;
    }
    if (cut && columns)
        mg_text_add_char(out, '~');
}

static void pad(mg_text *out, size_t columns)
{
    for (size_t i = 0; i < columns; i++)
        mg_text_add_char(out, ' ');
}

void mg_top_text(mg_top_page *page, mg_str text, int columns, mg_top_paint colour)
{
    const size_t room = (size_t)(columns < 0 ? -columns : columns);
    const size_t used = mg_top_columns_of(text);
    const size_t gap = used < room ? room - used : 0;
    const bool painted = page->colour && colour != MG_TOP_PLAIN;

    if (columns < 0)
        pad(page->out, gap);
    if (painted)
        mg_text_add_c(page->out, code_of(colour));
    mg_top_add_cut(page->out, text, room);
    if (painted)
        mg_text_add_c(page->out, "\033[0m");
    if (columns > 0)
        pad(page->out, gap);
}

void mg_top_write_number(double number, char text[32])
{
    static const char *const units[] = { "", "k", "M", "G", "T", "P", "E" };
    unsigned unit = 0;

    if (number < 0) {
        snprintf(text, 32, "-");
    } else if (number < 99999.5) {
        snprintf(text, 32, "%.*f", number < 9.95 && number != floor(number) ? 1 : 0, number);
    } else {
        for (; number >= 999.5 && unit + 1 < mg_countof(units); unit++)
            number /= 1000;
        if (number >= 999.5)
            snprintf(text, 32, "huge");
        else
            snprintf(text, 32, "%.*f%s", number < 99.95 ? 1 : 0, number, units[unit]);
    }
}

void mg_top_end_line(mg_top_page *page)
{
    while (page->out->n && page->out->p[page->out->n - 1] == ' ')
        page->out->n--;
    mg_text_add_char(page->out, '\n');
    page->lines++;
}

/* ---- tables ---- */

/* A column and the gap before it, which is wider where its text begins there. */
static void widen(mg_top_page *page, unsigned column, mg_str text)
{
    const unsigned needs = (unsigned)mg_top_columns_of(text) + (page->columns[column].width > 0 ? 2 : 1);

    if (needs > page->widths[column])
        page->widths[column] = needs;
}

void mg_top_begin_table(mg_top_page *page, const mg_top_column *columns, unsigned count)
{
    page->columns = columns;
    page->count = count;
    page->at = 0;
    page->measures = true;
    for (unsigned i = 0; i < count; i++) {
        page->widths[i] = (unsigned)abs(columns[i].width);
        widen(page, i, mg_str_of(columns[i].name));
    }
}

void mg_top_cell(mg_top_page *page, mg_str text, mg_top_paint colour)
{
    const unsigned at = page->at++;

    if (page->measures) {
        if (at)
            widen(page, at - 1, text);
    } else if (at == 0) {
        mg_top_text(page, text, (int)page->name_width, colour);
    } else if (page->widths[at - 1] && page->columns[at - 1].width > 0) {
        pad(page->out, 2);
        mg_top_text(page, text, (int)page->widths[at - 1] - 2, colour);
    } else {
        mg_top_text(page, text, -(int)page->widths[at - 1], colour);
    }
}

void mg_top_number(mg_top_page *page, double number, mg_top_paint colour)
{
    char text[32];

    if (isinf(number))
        snprintf(text, sizeof text, "long");
    else
        mg_top_write_number(number, text);
    mg_top_cell(page, mg_str_of(text), colour);
}

void mg_top_end_row(mg_top_page *page)
{
    page->at = 0;
    if (!page->measures)
        mg_top_end_line(page);
}

void mg_top_draw_table(mg_top_page *page, const char *name)
{
    unsigned sum = 0, least;

    for (unsigned i = 0; i < page->count; i++)
        sum += page->widths[i];
    while (sum && sum + MG_TOP_NAME_MIN > page->width) {
        least = page->count;
        for (unsigned i = 0; i < page->count; i++)
            if (page->widths[i] &&
                (least == page->count || page->columns[i].stays < page->columns[least].stays))
                least = i;
        sum -= page->widths[least];
        page->widths[least] = 0;
    }
    page->name_width = page->width - sum < NAME_MAX ? page->width - sum : NAME_MAX;
    page->measures = false;
    if (page->count && page->widths[page->count - 1] &&
        page->columns[page->count - 1].width > 0) { /* text at the end takes the rest */
        page->name_width = page->name_width < NAME_TEXT ? page->name_width : NAME_TEXT;
        page->widths[page->count - 1] =
            page->width - (sum - page->widths[page->count - 1]) - page->name_width;
    }
    mg_top_end_line(page);
    mg_top_cell(page, mg_str_of(name), MG_TOP_BOLD);
    for (unsigned i = 0; i < page->count; i++)
        mg_top_cell(page, mg_str_of(page->columns[i].name), MG_TOP_BOLD);
    mg_top_end_row(page);
}

void mg_top_add_part(mg_text *line, size_t columns, mg_str part)
{
    if (mg_top_columns_of(mg_text_str(line)) + mg_top_columns_of(part) <= columns)
        mg_text_add(line, part);
}

void mg_top_add_count(mg_text *line, size_t columns, const char *what, double number)
{
    char text[32];
    mg_text part = { 0 };

    mg_top_write_number(number, text);
    mg_text_addf(&part, "   %s %s", what, text);
    mg_top_add_part(line, columns, mg_text_str(&part));
    mg_text_fini(&part);
}
