/* Text for people: what may reach a terminal, how wide it is, numbers and spans with their units. Pure. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <sidelog/sidelog.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growable text. Zeroed is valid and empty; out of memory ends the program with status 3 (a command line
 * has nothing better to do). text_free is idempotent. */
typedef struct text {
  char *data; /* ends in NUL once anything was added */
  size_t len, cap;
} text;

void text_add(text *out, const void *data, size_t len);
void text_puts(text *out, const char *words);
void text_printf(text *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_clear(text *out);
void text_free(text *out);
const char *text_str(const text *t); /* never NULL */
/* malloc that ends the program as above. */
void *tool_alloc(size_t size);
void *tool_grow(void *old, size_t size);
char *tool_copy(const void *data, size_t len); /* with a NUL */

static inline sl_slice slice_of(const char *words) {
  size_t n = 0;
  while (words && words[n])
    n++;
  return (sl_slice){words, n};
}
bool slice_eq(sl_slice a, sl_slice b);

/* The code point at data[0..len), len > 0, and its bytes. An invalid byte: returns -1, *size 1. */
int32_t utf8_next(const char *data, size_t len, size_t *size);
bool utf8_ok(sl_slice bytes);

/* Must this code point never reach a terminal as it is? Controls (C0, C1, DEL), bidi controls and other
 * invisible format characters, line separators, what is no character at all. */
bool char_is_hostile(int32_t point);

/* Adds bytes so that they are safe on one line of a terminal: \n \t \x1b \u{202e}, an invalid byte as \xff.
 * Without `unicode` every non-ASCII character is written as its \u{...}. */
void text_add_safe(text *out, sl_slice bytes, bool unicode);

/* Columns of a text that text_add_safe made. */
int text_width(const char *words);
/* Cuts a safe text to at most `width` columns, marking the cut with an ellipsis at the end (or, from_left, at
 * the beginning). Returns its width then. */
int text_cut(text *words, int width, bool from_left, bool unicode);

/* 1204113 -> "1,204,113". */
void text_count(text *out, uint64_t n);
/* "1 event", "1,204 events". */
void text_counted(text *out, uint64_t n, const char *one, const char *many);
/* 1, 2, 11 -> "1st", "2nd", "11th". */
void text_ordinal(text *out, uint64_t n);
/* "0 B", "812 KiB", "1.4 GiB". */
void text_bytes(text *out, uint64_t bytes);
/* A span: "740 us", "12 ms", "1.842 s", "14 min", "2 h 14 min", "3 d 04:12". */
void text_span(text *out, int64_t us);
/* When something will be full: "full in 3 d 04:12", "full in 4 years", "not full within 10 years". */
void text_full_in(text *out, int64_t us);
/* A span at the precision of a person's interest in the past: "just now", "0.2 s ago", "14 min ago". */
void text_ago(text *out, int64_t us);

/* The name of a topic without its environment, tenant, context and class, where it has them:
 * "dev.omninode_bridge.onex.evt.batch-processed.v1" -> "batch-processed.v1". */
sl_slice topic_short(sl_slice topic);

void text_base64(text *out, sl_slice bytes);
#endif
