/* What happens when the store is full: the policy (stored in the log's meta, so that all processes agree), making
 * room by it, and the ballast. docs/space.md is for users. */
#ifndef SL_STORE_SPACE_H
#define SL_STORE_SPACE_H
#include "store/store.h"

typedef struct space_tries { unsigned made, nothing; } space_tries; /* of one append; zeroed at first */

/* An append of `bytes` met SL_E_FULL: makes room as the policy allows. True: try again. False: the append fails;
 * the thread's detail says why. Call it with no lock held and no transaction open. */
bool space_make_room(sl_store *store, uint64_t bytes, space_tries *tries);

/* The policy as it stands now. */
typedef struct space_policy {
  uint32_t flags;        /* SL_FULL_* */
  uint64_t ballast;      /* bytes; 0: none */
  size_t topics_len;
  char topics[SL_FULL_TOPICS_MAX]; /* globs, separated by commas */
} space_policy;
sl_status space_policy_read(sl_store *store, space_policy *policy);
/* Does one of the globs of drop-oldest match? */
bool space_drops(const space_policy *policy, sl_slice topic);

/* ---- drop-oldest (space_drop.c) ---- */

/* Replaces undelivered events of the policy's topics by tombstones, the oldest first, until about `bytes` are free
 * or a step's work is done. *dropped: how many. */
sl_status space_drop_oldest(sl_store *store, const space_policy *policy, uint64_t bytes, uint64_t *dropped);
/* Settles the tombstones at the cursor where no agent runs to do it, so that trim can remove them. *settled: how
 * many events the cursor moved on; 0 also when there is an agent, or an intent of unknown outcome. */
sl_status space_settle_tombstones(sl_store *store, uint64_t *settled);

/* What drop-oldest knows of the log without a look: from a start in [from, upto] nothing up to `upto` can go. */
typedef struct space_memo {
  pthread_mutex_t lock;
  uint64_t policy, from, upto;
} space_memo;

/* ---- ballast ---- */

/* Gives the ballast's blocks back to the disk, because it is full and the caller (trim, delivery, the indexer)
 * must write. False: there was none. Until it is back, appends leave a reserve of free pages in the log's file. */
bool space_release_ballast(sl_store *store);
/* Makes the ballast (again) where the policy wants one and the disk has room; quietly nothing else. */
void space_restore_ballast(sl_store *store);
uint64_t space_ballast_bytes(const sl_store *store); /* on disk now */
/* What the store's user may still take of its disk. False: the system does not say. */
bool space_disk_free(const sl_store *store, uint64_t *bytes);
#endif
