/* Environment readers/: the places of local readers and what they have not done with. Made by the first reader
 * of a store, apart from delivery/, so that a reader's commits never make the agent wait, nor the other way
 * round. */
#ifndef SL_STORE_READERS_H
#define SL_STORE_READERS_H
#include "format/reader.h"
#include "store/store.h"

#include <sidelog/reader.h>

enum { READERS_META, READERS_STATES, READERS_OPEN, READERS_DEAD, READERS_AUDIT, READERS_TABLES };

#define READERS_KEY_STORE "store"
#define READERS_KEY_VERSION "version"
#define READERS_KEY_LAST_ID "last_id" /* u32: the highest number given to a reader */
#define READERS_VERSION 1u

typedef void readers_problem_fn(void *arg, const char *text);
/* For verify: the law of each reader, the form of every entry, and the audit trail, delivery's too. */
sl_status readers_verify(sl_store *store, readers_problem_fn *fn, void *arg);

sl_readers *readers_new(void);            /* NULL: out of memory */
void readers_close(sl_readers *readers);  /* NULL is fine */

/* The environment, opened by the first call. SL_NOTFOUND: there is none, and `create` was not asked for.
 * SL_E_MISMATCH: it is another store's. It stays until readers_close. */
sl_status readers_env(sl_store *store, bool create, db_env **env);

/* What trim must keep for readers that hold it back: below this seq none needs anything; UINT64_MAX: there are
 * none. */
sl_status readers_hold(sl_store *store, uint64_t *seq);
/* The same of one reader: trim stops behind *seq. */
sl_status readers_held_seq(db_txn *txn, const sl_reader_state *state, uint64_t *seq);
/* After trim: dead letters of events below first_seq go. */
sl_status readers_forget_below(sl_store *store, uint64_t first_seq);

sl_status readers_check_name(const char *name);
/* State of reader `name`. SL_NOTFOUND with a detail. Slices are valid as long as the transaction's values. */
sl_status readers_state_get(db_txn *txn, const char *name, sl_reader_state *state);
sl_status readers_state_put(db_txn *txn, const char *name, const sl_reader_state *state);

/* Keys of READERS_OPEN and READERS_DEAD: 8 and 16 hexadecimal digits, the reader's number and the seq. */
#define READERS_KEY_LEN 24u
sl_slice readers_key(uint32_t id, uint64_t seq, char text[READERS_KEY_LEN + 1]);
bool readers_key_parse(sl_slice key, uint32_t *id, uint64_t *seq);

/* Walks a reader's entries in a table from seq `from` on, ascending. SL_E_CORRUPT for a damaged one. A callback
 * that returns other than SL_OK ends the walk with that status. */
typedef sl_status readers_entry_fn(void *arg, const sl_reader_entry *entry);
sl_status readers_walk(db_txn *txn, unsigned table, uint32_t id, uint64_t from, readers_entry_fn *fn, void *arg);
sl_status readers_entry_put(db_txn *txn, unsigned table, uint32_t id, const sl_reader_entry *entry);

/* One open reader of a name on this host: a lock on the file readers/NAME.lock, which also notes what it has in
 * hand (reader_lock.c). */
sl_status readers_lock(sl_store *store, const char *name, int *fd); /* SL_E_BUSY names the holder */
void readers_unlock(int fd);
/* Who holds it. *pid 0: nobody. */
void readers_holder(sl_store *store, const char *name, int64_t *pid, int64_t *since_us);

/* What is in hand, by slots 0, 1, 2 ...: written without a flush, for kills. A write that fails is passed over:
 * then a crash is not counted. */
void readers_hand_put(int fd, uint32_t slot, uint64_t seq); /* 0: nothing */
/* What the holder before had in hand when it ended. */
typedef struct readers_hand {
  uint64_t *seqs;     /* to free() */
  size_t count;       /* may be 0 */
  uint32_t reader;    /* the number of the reader that had it: the name may be another's now; 0: not known */
  uint64_t judged_by; /* the commit of that reader which counts the crash; 0: none was to yet */
} readers_hand;
sl_status readers_hand_get(int fd, readers_hand *hand);
/* Says by which commit the crash will be counted. Flushed. */
void readers_hand_judge(int fd, uint32_t reader, uint64_t commit);
/* Forgets all of it at once. */
void readers_hand_clear(int fd);
/* Says whose the next ones are. */
void readers_hand_own(int fd, uint32_t reader);
#endif
