/* Standard output, and what is known of the terminal. */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include "text.h"

typedef struct term {
  bool tty;     /* stdout is a terminal */
  bool colour;
  bool unicode; /* the locale is UTF-8 */
  int width;    /* columns; 0: no limit (no terminal, no COLUMNS) */
} term;

/* Looks at stdout, COLUMNS, NO_COLOR, TERM and the locale. `colour` is "auto", "always" or "never". */
term term_look(const char *colour);

typedef enum style {
  STYLE_PLAIN,
  STYLE_BOLD,
  STYLE_DIM,
  STYLE_RED,
  STYLE_GREEN,
  STYLE_YELLOW,
  STYLE_MAGENTA,
  STYLE_CYAN,
  STYLE_COUNT
} style;
style state_style(sl_state state);

/* Buffered stdout. After the first failure everything is a no-op and `error` keeps errno: EPIPE means that
 * the reader has seen enough. */
typedef struct output {
  term term;
  int fd;
  int error;
  text pending;
  /* Not NULL: nothing is written until it is more than HELD_BYTES. Then this is called; it sets itself NULL, and
   * may set fd: for a pager. Who ends with less writes it by pager_finish. */
  void (*begin)(struct output *o);
} output;
enum { HELD_BYTES = 64 << 10 };

void out_init(output *o, term t);
void out_flush(output *o);
void out_free(output *o);
void out_add(output *o, const void *data, size_t len);
void out_puts(output *o, const char *words);
void out_printf(output *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Words in a style, if there is colour. Must be safe for a terminal already. */
void out_styled(output *o, style s, const char *words);
/* The same, padded with blanks to `width` columns (at the left with `right`). */
void out_cell(output *o, style s, const char *words, int width, bool right);
/* Foreign bytes, made safe. */
void out_safe(output *o, style s, sl_slice bytes);
void out_blanks(output *o, int count);
/* Safe words in lines of at most the terminal's width, each behind an indent; with `begun` that of the first is
 * written. */
void out_wrapped(output *o, const char *words, int indent, bool begun);
/* Has the reader of stdout gone away? For commands that wait. */
bool out_abandoned(output *o);

/* A table that fits the terminal: the first rows decide the widths, then it streams. */
/* CUT_BARE: no ellipsis marks it, for a prefix of an id serves as it is. */
typedef enum column_cut { CUT_RIGHT, CUT_LEFT, CUT_BARE } column_cut;
typedef struct column {
  const char *title;
  bool right;     /* numbers */
  column_cut cut;
  int least;      /* columns it can be cut to; 0: it can go altogether */
  int worth;      /* the column of the least worth is cut first */
} column;

typedef struct table table;
table *table_new(output *o, const column *columns, size_t count);
/* The next cell of the row; made safe and copied. After the last column the row is done. */
void table_cell(table *t, style s, sl_slice bytes);
/* Writes the rows held back; the widths are fixed from here on. */
void table_settle(table *t);
void table_free(table *t); /* settles; accepts NULL */
#endif
