/* How many events have which value of a field. Pure. */
#ifndef TOOLS_GROUPS_H
#define TOOLS_GROUPS_H

#include "text.h"

enum { GROUPS_MOST = 1000000 };

typedef struct group {
  sl_slice value; /* data NULL: the field is not there */
  uint64_t count, first_seq, last_seq;
  int64_t newest_us;
} group;

typedef struct groups {
  group *items;
  size_t count, cap;
  size_t *slots, mask;
  uint64_t left_out; /* events of values beyond GROUPS_MOST */
} groups;

/* Zeroed is empty. The value is copied. groups_free is idempotent. */
void groups_add(groups *g, sl_slice value, uint64_t seq, int64_t at_us);
/* The largest first, then by value. Nothing is added afterwards. */
void groups_sort(groups *g);
void groups_free(groups *g);
#endif
