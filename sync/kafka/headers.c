/* A list of headers is an allocation for each and two more, made for each record and freed with it: half of what
 * the filling thread did in a backlog. So the lists of delivered records are kept. The next record mostly has the
 * same names, and values as long; then librdkafka's copies of the values are written over. The list is ours alone
 * from the report of its record to the next rd_kafka_producev, and the values lie in its own memory. With the
 * records that wait they stay below the limit of these. */
#include "handle.h"
#include <stdlib.h>
#include <string.h>

static bool rewrite(rd_kafka_headers_t *headers, const kafka_record *r) {
  const char *name;
  const void *value;
  size_t size;
  if (rd_kafka_header_cnt(headers) != r->header_count) return false;
  for (size_t i = 0; i < r->header_count; i++) {
    const sl_header *h = &r->headers[i];
    if (rd_kafka_header_get_all(headers, i, &name, &value, &size) || size != h->value.len) return false;
    if (strlen(name) != h->name.len || memcmp(name, h->name.data, h->name.len) != 0) return false;
    if (size > 0) memcpy((void *)(uintptr_t)value, h->value.data, size);
  }
  return true;
}

static rd_kafka_headers_t *take(kafka *k) {
  rd_kafka_headers_t *headers = k->spare[--k->spare_count];
  k->spare_bytes -= rd_kafka_header_cnt(headers) * HEADER_OVERHEAD;
  return headers;
}

rd_kafka_headers_t *headers_new(kafka *k, const kafka_record *r) {
  if (r->header_count == 0) return NULL;
  if (k->spare_count > 0) {
    rd_kafka_headers_t *spare = take(k);
    if (rewrite(spare, r)) return spare;
    rd_kafka_headers_destroy(spare);
  }
  rd_kafka_headers_t *headers = rd_kafka_headers_new(r->header_count);
  for (size_t i = 0; i < r->header_count; i++) {
    const sl_header *h = &r->headers[i];
    /* NULL would be a null value, not an empty one. */
    rd_kafka_header_add(headers, h->name.data, (ssize_t)h->name.len, h->value.data ? h->value.data : "",
                        (ssize_t)h->value.len);
  }
  return headers;
}

void headers_keep(kafka *k, rd_kafka_headers_t *headers) {
  const size_t bytes = rd_kafka_header_cnt(headers) * HEADER_OVERHEAD;
  if (k->spare_count == k->spare_cap) {
    const size_t cap = k->spare_cap ? k->spare_cap * 2 : 64;
    rd_kafka_headers_t **more = realloc(k->spare, cap * sizeof *more);
    if (more) k->spare = more;
    if (more) k->spare_cap = cap;
  }
  if (k->spare_count == k->spare_cap || k->waiting + k->spare_bytes + bytes > (size_t)k->options.queue_bytes) {
    rd_kafka_headers_destroy(headers);
    return;
  }
  k->spare[k->spare_count++] = headers;
  k->spare_bytes += bytes;
}

void headers_make_room(kafka *k, size_t bytes) {
  while (k->spare_count > 0 && k->waiting + k->spare_bytes + bytes > (size_t)k->options.queue_bytes)
    rd_kafka_headers_destroy(take(k));
}

void headers_forget(kafka *k) {
  while (k->spare_count > 0) rd_kafka_headers_destroy(take(k));
  free(k->spare);
  k->spare = NULL;
  k->spare_cap = 0;
}
