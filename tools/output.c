#include "output.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int window_width(bool tty) {
  const char *columns = getenv("COLUMNS");
  int width = columns ? atoi(columns) : 0;
  struct winsize size;
  if (width <= 0 && tty)
    width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  return width <= 0 ? 0 : width < 20 ? 20 : width;
}

term term_look(const char *colour) {
  term t = {.tty = isatty(STDOUT_FILENO) == 1};
  const char *kind = getenv("TERM"), *none = getenv("NO_COLOR");
  bool able = t.tty && !(none && *none) && kind && *kind && strcmp(kind, "dumb") != 0;
  t.colour = strcmp(colour, "always") == 0 || (strcmp(colour, "auto") == 0 && able);
  t.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  t.width = window_width(t.tty);
  return t;
}

style state_style(sl_state state) {
  static const style styles[SL_STATE_COUNT] = {
      [SL_PENDING] = STYLE_YELLOW, [SL_SENT] = STYLE_GREEN,      [SL_DUPLICATE] = STYLE_DIM,
      [SL_DEAD] = STYLE_RED,       [SL_DROPPED] = STYLE_MAGENTA,
  };
  return (unsigned)state < SL_STATE_COUNT ? styles[state] : STYLE_PLAIN;
}

void out_init(output *o, term t) { *o = (output){.term = t, .fd = STDOUT_FILENO}; }

void out_flush(output *o) {
  size_t done = 0;
  if (o->begin && o->pending.len < HELD_BYTES)
    return;
  if (o->begin)
    o->begin(o);
  while (!o->error && done < o->pending.len) {
    ssize_t n = write(o->fd, o->pending.data + done, o->pending.len - done);
    if (n >= 0)
      done += (size_t)n;
    else if (errno == EAGAIN)
      poll(&(struct pollfd){.fd = o->fd, .events = POLLOUT}, 1, -1);
    else if (errno != EINTR)
      o->error = errno;
  }
  text_clear(&o->pending);
}

void out_free(output *o) { text_free(&o->pending); }

void out_add(output *o, const void *data, size_t len) {
  if (o->error)
    return;
  text_add(&o->pending, data, len);
  if (o->pending.len >= HELD_BYTES)
    out_flush(o);
}

void out_puts(output *o, const char *words) { out_add(o, words, strlen(words)); }

void out_printf(output *o, const char *format, ...) {
  char small[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(small, sizeof small, format, args);
  va_end(args);
  if (n > 0)
    out_add(o, small, (size_t)n < sizeof small ? (size_t)n : sizeof small - 1);
}

void out_blanks(output *o, int count) {
  for (; count > 0; count--)
    out_add(o, " ", 1);
}

void out_styled(output *o, style s, const char *words) {
  static const char *const codes[STYLE_COUNT] = {"", "1", "2", "31", "32", "33", "35", "36"};
  if (!o->term.colour || s == STYLE_PLAIN || !*words) {
    out_puts(o, words);
    return;
  }
  out_printf(o, "\033[%sm", codes[s]);
  out_puts(o, words);
  out_puts(o, "\033[0m");
}

void out_cell(output *o, style s, const char *words, int width, bool right) {
  int blanks = width - text_width(words);
  if (right)
    out_blanks(o, blanks);
  out_styled(o, s, words);
  if (!right)
    out_blanks(o, blanks);
}

void out_safe(output *o, style s, sl_slice bytes) {
  text safe = {0};
  text_add_safe(&safe, bytes, o->term.unicode);
  out_styled(o, s, text_str(&safe));
  text_free(&safe);
}

void out_wrapped(output *o, const char *words, int indent, bool begun) {
  int room = o->term.width ? o->term.width - indent : INT32_MAX, used = 0;
  while (*words) {
    size_t len = strcspn(words, " ");
    char *word = tool_copy(words, len);
    int width = text_width(word);
    if (used == 0 && !begun)
      out_blanks(o, indent);
    begun = false;
    if (used && used + 1 + width > room) {
      out_puts(o, "\n");
      out_blanks(o, indent);
      used = 0;
    }
    out_printf(o, "%s", used ? " " : "");
    out_puts(o, word);
    used += (used > 0) + width;
    free(word);
    words += len + (words[len] == ' ');
  }
  out_puts(o, "\n");
}

bool out_abandoned(output *o) {
  struct pollfd watch = {.fd = o->fd};
  if (!o->error && poll(&watch, 1, 0) == 1 && (watch.revents & (POLLERR | POLLNVAL)))
    o->error = EPIPE;
  return o->error != 0;
}

/* ----------------------------------------------------------------- table --- */

enum { TABLE_COLUMNS = 12, TABLE_LOOK = 200, TABLE_GAP = 2 };

typedef struct cell {
  style style;
  char *words;
} cell;

struct table {
  output *out;
  column columns[TABLE_COLUMNS];
  size_t count, at, rows;
  int width[TABLE_COLUMNS]; /* 0: the column is left out */
  bool settled;
  cell row[TABLE_COLUMNS];
  cell held[TABLE_LOOK][TABLE_COLUMNS];
};

table *table_new(output *o, const column *columns, size_t count) {
  table *t = tool_alloc(sizeof *t);
  *t = (table){.out = o, .count = count < TABLE_COLUMNS ? count : TABLE_COLUMNS};
  memcpy(t->columns, columns, t->count * sizeof *columns);
  return t;
}

static int total_width(const table *t) {
  int total = 0;
  for (size_t i = 0; i < t->count; i++)
    total += t->width[i] ? t->width[i] + TABLE_GAP : 0;
  return total ? total - TABLE_GAP : 0;
}

/* What does not fit is cut from the column of the least worth, down to its least width, then the next. */
static void fit(table *t) {
  int excess;
  bool tried[TABLE_COLUMNS] = {false};
  while (t->out->term.width && (excess = total_width(t) - t->out->term.width) > 0) {
    size_t pick = TABLE_COLUMNS;
    for (size_t i = 0; i < t->count; i++)
      if (!tried[i] && t->width[i] && (pick == TABLE_COLUMNS || t->columns[i].worth < t->columns[pick].worth))
        pick = i;
    if (pick == TABLE_COLUMNS)
      return;
    tried[pick] = true;
    int least = t->columns[pick].least, now = t->width[pick], want = now - excess;
    if (least == 0)
      t->width[pick] = want < 18 ? 0 : t->columns[pick].cut == CUT_BARE ? 18 : want;
    else if (t->columns[pick].cut == CUT_BARE) /* ids stand whole, or end where their groups do */
      t->width[pick] = least < now ? least : now;
    else
      t->width[pick] = want > least ? want : least < now ? least : now;
  }
}

static void cut_cell(const table *t, size_t i, text *words, bool title) {
  column_cut cut = title ? CUT_RIGHT : t->columns[i].cut;
  int width = t->width[i];
  if (cut == CUT_BARE && text_width(text_str(words)) > width) {
    text_cut(words, width + (t->out->term.unicode ? 1 : 2), false, t->out->term.unicode);
    words->len -= t->out->term.unicode ? strlen("\u2026") : 2;
    words->data[words->len] = 0;
  } else {
    text_cut(words, width, cut == CUT_LEFT, t->out->term.unicode);
  }
}

static void write_row(table *t, cell *row, bool title) {
  size_t last = 0;
  for (size_t i = 0; i < t->count; i++)
    if (t->width[i] && *row[i].words)
      last = i;
  bool first = true;
  for (size_t i = 0; i <= last; i++) {
    if (!t->width[i])
      continue;
    if (!first)
      out_blanks(t->out, TABLE_GAP);
    first = false;
    text words = {0};
    text_puts(&words, row[i].words);
    cut_cell(t, i, &words, title);
    if (i == last && !t->columns[i].right)
      out_styled(t->out, row[i].style, text_str(&words));
    else
      out_cell(t->out, row[i].style, text_str(&words), t->width[i], t->columns[i].right);
    text_free(&words);
  }
  out_puts(t->out, "\n");
}

static void free_row(const table *t, cell *row) {
  for (size_t i = 0; i < t->count; i++)
    free(row[i].words);
}

void table_settle(table *t) {
  if (t->settled || t->rows == 0)
    return;
  t->settled = true;
  for (size_t r = 0; r < t->rows; r++)
    for (size_t i = 0; i < t->count; i++) {
      int width = text_width(t->held[r][i].words);
      t->width[i] = width > t->width[i] ? width : t->width[i];
    }
  cell titles[TABLE_COLUMNS];
  for (size_t i = 0; i < t->count; i++) {
    int width = text_width(t->columns[i].title);
    if (t->width[i] && width > t->width[i])
      t->width[i] = width;
    titles[i] = (cell){STYLE_DIM, tool_copy(t->columns[i].title, strlen(t->columns[i].title))};
  }
  fit(t);
  write_row(t, titles, true);
  free_row(t, titles);
  for (size_t r = 0; r < t->rows; r++) {
    write_row(t, t->held[r], false);
    free_row(t, t->held[r]);
  }
}

void table_cell(table *t, style s, sl_slice bytes) {
  text safe = {0};
  text_add_safe(&safe, bytes, t->out->term.unicode);
  cell *row = t->settled ? t->row : t->held[t->rows];
  row[t->at++] = (cell){s, tool_copy(text_str(&safe), safe.len)};
  text_free(&safe);
  if (t->at < t->count)
    return;
  t->at = 0;
  if (t->settled) {
    write_row(t, row, false);
    free_row(t, row);
  } else if (++t->rows == TABLE_LOOK) {
    table_settle(t);
  }
}

void table_free(table *t) {
  if (t)
    table_settle(t);
  free(t);
}
