/* Conditions as people type them: FIELD, an operator, VALUE. And the fields themselves, for whoever groups or
 * orders by one. Pure: knows records, not stores. docs/cli.md says what each means. */
#ifndef TOOLS_FILTER_H
#define TOOLS_FILTER_H

#include "pointer.h"

typedef enum field_id {
  FIELD_SEQ, FIELD_EVENT_ID, FIELD_EVENT_TYPE, FIELD_TOPIC, FIELD_CORRELATION_ID, FIELD_CAUSATION_ID,
  FIELD_APPENDED_AT, FIELD_OCCURRED_AT, FIELD_STATUS, FIELD_PARTITION, FIELD_OFFSET, FIELD_SETTLED_AT,
  FIELD_TENANT, FIELD_SOURCE, FIELD_KEY, FIELD_DUPLICATE_OF, FIELD_ERROR_CLASS, FIELD_ERROR_CODE,
  FIELD_ERROR_TEXT, FIELD_ATTEMPTS, FIELD_SIZE, FIELD_VALUE,
  FIELD_HEADER,  /* header.NAME */
  FIELD_POINTER, /* /a/b: into a value that is JSON */
  FIELD_COUNT
} field_id;

typedef struct field {
  field_id id;
  char *words;      /* as it was typed */
  sl_slice header;  /* its name, in words */
  pointer *pointer;
  uint32_t needs;   /* SL_FILTER_*: of a record, to be told */
} field;

/* False: `error` says in one line what is wrong. field_free ends it in both cases (idempotent). */
bool field_parse(field *f, const char *words, size_t len, char *error, size_t cap);
void field_free(field *f);
bool field_is_id(const field *f); /* one of an event's three */

typedef enum value_kind { VALUE_NONE, VALUE_TEXT, VALUE_NUMBER, VALUE_TIME } value_kind;
typedef struct field_value {
  value_kind kind;
  sl_slice text;   /* of text, and the digits of a number; belongs to the record, the field or `digits` */
  int64_t us;      /* of a time */
  char digits[24];
} field_value;
void field_get(field *f, const sl_record *r, field_value *out);

typedef enum filter_op {
  OP_EQUAL, OP_UNEQUAL, OP_LESS, OP_AT_MOST, OP_MORE, OP_AT_LEAST, OP_HAS, OP_HAS_NOT
} filter_op;

typedef struct filter {
  field field;
  filter_op op;
  char *words;          /* the whole condition */
  sl_slice value;       /* in words */
  bool literal;         /* has no * ? [ \ in it */
  bool plain;           /* stands in JSON as it is, if it is not escaped for no need */
  bool is_number, is_time;
  bool taken;           /* a query has it already (conditions.h) */
  int64_t us;
} filter;

bool filter_parse(filter *f, const char *words, int64_t now_us, char *error, size_t cap);
void filter_free(filter *f);
bool filter_match(filter *f, const sl_record *r, int64_t now_us);
#endif
