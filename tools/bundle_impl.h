/* What the two halves of bundle_file.h share: how a file is kept in memory. */
#ifndef TOOLS_BUNDLE_IMPL_H
#define TOOLS_BUNDLE_IMPL_H

#include "bundle_file.h"

enum { BUNDLE_PARTS_MOST = 32 };

typedef enum order { BY_EVENT, BY_CORRELATION, BY_CAUSATION, ORDERS } order;

typedef struct entry {
  uint64_t at, seq;        /* where its line begins */
  uint64_t hash[ORDERS];   /* of its ids; 0: none */
  uint32_t len, part;
} entry;

struct bundle_file {
  char *path;
  int fd;
  entry *entries;          /* by part and seq */
  size_t count, cap;
  uint32_t *by[ORDERS];    /* places in entries, by hash and place */
  struct part {
    char *name;
    size_t head;           /* + 1; 0: no head */
    size_t in_head;
    size_t first, count;
  } parts[BUNDLE_PARTS_MOST];
  size_t part_count;
  bundle_head *heads;
  size_t head_count;
};

/* 0: of no id. */
uint64_t bundle_hash(sl_slice id);
sl_slice bundle_id_of(const sl_record *r, order by);
#endif
