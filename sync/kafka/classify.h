/* What each librdkafka code means for delivery: one row a code, and rows for every code there is. */
#ifndef SYNC_KAFKA_CLASSIFY_H
#define SYNC_KAFKA_CLASSIFY_H
#include "core/fault.h"
#include <librdkafka/rdkafka.h>
#include <stddef.h>

typedef struct classify_row {
  rd_kafka_resp_err_t code;
  fault_scope scope;
  fault_class class_;
  bool fenced;
  const char *remark; /* why this scope and class; shown by the golden table */
} classify_row;

/* NULL: the table does not name it (the golden test fails then). */
const classify_row *classify_find(rd_kafka_resp_err_t code);
#endif
