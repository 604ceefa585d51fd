/* JSON for machines: one object a line, always valid UTF-8, never a control character, whatever the bytes. */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include "output.h"

typedef struct json json;

/* Writes to `o`. json_free ends it; accepts NULL. */
json *json_new(output *o);
void json_free(json *j);

void json_open(json *j); /* { */
void json_close(json *j); /* }; the outermost one ends the line */
void json_array_open(json *j);
void json_array_close(json *j);
void json_key(json *j, const char *name);

void json_text(json *j, const char *name, sl_slice bytes); /* invalid bytes become U+FFFD */
void json_words(json *j, const char *name, const char *words);
void json_text_or_null(json *j, const char *name, sl_slice bytes); /* empty: null */
/* Any bytes: under `name` when they are UTF-8, else as name_base64. */
void json_bytes(json *j, const char *name, sl_slice bytes);
void json_u64(json *j, const char *name, uint64_t n);
void json_i64(json *j, const char *name, int64_t n);
void json_bool(json *j, const char *name, bool b);
void json_null(json *j, const char *name);
void json_item(json *j, const char *words); /* in an array */
void json_raw(json *j, sl_slice object); /* after json_key: JSON as it is; null when it is none */
void json_time(json *j, const char *name, int64_t us); /* RFC 3339, microseconds, UTC */
/* Under "value" the bytes as JSON, verbatim but for line breaks between tokens, which become blanks; under
 * "value_base64" the bytes themselves when they are no JSON or hold line breaks. */
void json_value(json *j, sl_slice bytes);

enum { JSON_VALUE = 1, JSON_HEADERS = 2 };
/* One event, with its fate: the members documented in docs/cli.md. `parts`: JSON_VALUE, JSON_HEADERS. */
void json_record(json *j, const sl_record *r, int parts);
/* The same without its end, for more members. `store` (may be NULL): the name of the source that it is of. */
void json_record_begin(json *j, const char *store, const sl_record *r, int parts);

/* Is it one JSON text (RFC 8259)? Numbers of any size, depth to 1,000. */
bool json_valid(sl_slice bytes);
bool json_valid_deep(sl_slice bytes, int depth); /* ... to another depth */
/* Valid JSON in lines for people; strings and numbers keep their text, hostile characters become escapes. */
void json_pretty(text *out, sl_slice bytes, bool unicode);
/* The inside of a JSON string. ascii: every character that could disturb a terminal, and all non-ASCII,
 * escaped. */
void json_escape(text *out, sl_slice bytes, bool ascii);
#endif
