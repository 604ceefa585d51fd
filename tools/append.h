/* What both kinds of append share: headers from options, the batch. */
#ifndef TOOLS_APPEND_H
#define TOOLS_APPEND_H

#include "tool.h"

/* The --header options. False after saying what is wrong. free() *headers; the texts belong to the options.
 */
bool append_headers(tool *t, sl_header **headers, size_t *count);
/* --max-value or its default. Already checked by tool_open. */
size_t append_max_value(tool *t);
/* Opens FILE (or standard input for "-" and NULL). -1 after saying why. */
int append_open(tool *t, const char *file);

/* Events with their bytes, gathered for one commit; refilled without new memory once it has grown. */
typedef struct batch {
  sl_event *events;
  uint64_t *lines;
  uint32_t *missing; /* SL_ENVELOPE_* of each */
  size_t count, bytes;
  struct batch_block *blocks;
} batch;

enum { BATCH_EVENTS = 4096, BATCH_BYTES = 4 << 20 };

void batch_init(batch *b);
void batch_free(batch *b);
void batch_clear(batch *b);
bool batch_full(const batch *b);
/* A copy that lives until batch_clear. */
sl_slice batch_copy(batch *b, sl_slice bytes);
/* Adds an event, copying everything but its headers. */
void batch_add(batch *b, const sl_event *event, uint64_t line, uint32_t missing);
#endif
