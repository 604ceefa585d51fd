/*
 * sidelog - readers: programs on this host that process the events of the log.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The law of sidelog.h holds here, too. A reader has a name and a durable place in the log. It hands out
 * events, oldest first, and is told of each what came of it:
 *
 *   sl_reader *reader;
 *   const sl_reader_event *event;
 *   sl_reader_open(store, "billing", NULL, &reader);
 *   while (sl_reader_next(reader, -1, &event) == SL_OK)
 *     if (work_on(event->record)) sl_reader_ack(reader, event->record->seq);
 *     else sl_reader_fail(reader, event->record->seq, &why, NULL);      later again, or a dead letter
 *
 * At least once  An event is handed out until it is acknowledged. What was acknowledged but not yet committed
 *                (see commit_events) is handed out again after a crash, and nothing else is. So what a program
 *                does with an event must bear to be done twice: record->seq, or store id and seq, tells that it
 *                has been done.
 * Order          The events of one key of one topic come in the order of the log, each when the one before it
 *                is decided; those without a key are all of one, their topic. An event that failed holds back
 *                only its own key while it waits for its next try, and not more than max_waiting events
 *                altogether: then the reader stands still until some of them are decided.
 * Dead letters   An event that failed for good, or as often as max_attempts allows, is set aside as a dead
 *                letter of this reader, and its key goes on. It stays with why, how often and when it failed,
 *                as long as its event is kept, until a person sends it again (sl_reader_replay) or gives it up
 *                (sl_reader_drop). It has nothing to do with the event's delivery to Kafka, nor with other
 *                readers.
 * Outages        A failure that is not the event's (SL_READER_OUTAGE) counts nothing: the reader rests and tries
 *                again, however long it lasts.
 * Crashes        A program that is killed with one event in hand has failed at it (class READER_CRASHED): an
 *                event that kills its readers becomes a dead letter as others do. Killed with several in hand,
 *                it is not known which one did it: nothing is counted, and those are handed out one by one when
 *                they come again.
 * Trim           A reader does not hold trim back unless it asks to (SL_READER_HOLD_TRIM). What was removed
 *                before the reader came to it is counted, exactly, and told with the next event
 *                (sl_reader_event.missed).
 * The law        seen = acked + dead + dropped + missed + open, at every commit, each event once
 *                (sl_reader_info).
 *
 * Failure        Each function may also return what any function of sidelog.h may; SL_E_VERSION also where
 *                readers/ was written by a newer sidelog, SL_E_ACCESS where a lock file cannot be opened.
 *
 * An event that was appended twice is handed out twice (record->duplicate_of tells, where the index knows); the
 * copy of an event that sl_replay made for Kafka is not handed out.
 */
#ifndef SIDELOG_READER_H
#define SIDELOG_READER_H

#include <sidelog/dead.h>
#include <sidelog/sidelog.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- reading --- */

typedef struct sl_reader sl_reader;

#define SL_READER_VERSION 1u
#define SL_READER_NAME_MAX 128u
#define SL_READER_FILTER_MAX 4096u

enum {
  SL_READER_HOLD_TRIM = 1u << 0,   /* sl_trim stops at what this reader has not decided yet, also while it is
                                      not open, until it is opened without this flag or deleted: the log may
                                      fill up by it. A trim that began before goes on to its end. Appends that
                                      make room in a full store (SL_FULL_DROP_DELIVERED) do not stop */
  SL_READER_FROM_NEWEST = 1u << 1, /* a new reader begins behind the newest event; else at the oldest that is
                                      kept */
  SL_READER_TOGETHER = 1u << 2,    /* events of one key are handed out without waiting for those before them to
                                      be decided, for programs that work in batches: they keep the order
                                      themselves. Behind one that failed, its key waits in any case; what of it
                                      is in hand already may be acknowledged, or put back by sl_reader_release */
  SL_READER_EXISTING = 1u << 3     /* SL_NOTFOUND where there is no such reader yet; else it is created */
};

typedef struct sl_reader_options {
  uint32_t version;
  uint32_t flags;          /* SL_READER_* */
  sl_slice topics;         /* globs separated by commas: events of these topics only; empty: of all. As it is
                              changed from one open to the next, it holds for what lies ahead of the reader */
  sl_slice types;          /* the same of event types. Both at most SL_READER_FILTER_MAX bytes */
  uint32_t max_attempts;   /* failures until an event is a dead letter, 1 to 1,000; 0: 5 */
  uint32_t max_waiting;    /* events that may wait: for their next try, or behind such a one; 1 to 100,000; 0:
                              10,000 */
  uint32_t max_in_hand;    /* events handed out and not decided, 1 to 10,000; 0: 1,000 */
  uint32_t commit_events;  /* decisions until they are committed, with one flush; 1 to 100,000; 0: 100 */
  int64_t commit_us;       /* or so long after the first of them; 0: 1 s. Looked at in each call; sl_reader_next
                              commits before it waits */
  int64_t backoff_us;      /* wait after the first failure, 1 us to a day; 0: 1 s. It doubles with each, half of it
                              random, */
  int64_t backoff_max_us;  /* up to this, at most a day; 0: 60 s */
} sl_reader_options;

#ifdef __cplusplus
#define SL_READER_OPTIONS_INIT {}
#else
#define SL_READER_OPTIONS_INIT {0}
#endif

/* Opens reader `name` (1..128 of [a-zA-Z0-9._-]) of the store, creating it when it is not there. At most one
 * sl_reader of a name is open on a host, told by a file lock that ends with its process, however that ends (a
 * child that it forked, and that runs no other program, keeps the lock as long as it lives). sl_reader_close
 * ends it, before sl_close of its store. An sl_reader may be used by any number of threads at once. `options`
 * may be NULL: every topic and type from the oldest event on. Errors: SL_E_BUSY (it is open: the detail names
 * the process), SL_NOTFOUND (with SL_READER_EXISTING), SL_E_MISMATCH (it stands beyond the log's end: a part of
 * the store was replaced), SL_E_VERSION (readers/ was written by a newer sidelog), SL_E_FULL. */
SL_API sl_status sl_reader_open(sl_store *store, const char *name, const sl_reader_options *options,
                                sl_reader **reader);

/* Commits what was decided, puts back what is in hand (that is no failure), and ends the reader. Call
 * sl_reader_commit before to learn whether the commit worked. No other thread may be inside a call on it. NULL
 * is fine. */
SL_API void sl_reader_close(sl_reader *reader);

/* An event in hand. It and its record are valid until it is decided (sl_reader_ack, _fail, _release). */
typedef struct sl_reader_event {
  const sl_record *record;
  uint32_t attempts;       /* failures before this time; 0: none */
  uint32_t replays;        /* times that it was sent again after it had been a dead letter */
  uint64_t missed;         /* events that were removed before the reader came to them, since the event handed
                              out before this one. With a filter some of them may not have been the reader's */
} sl_reader_event;

/* The next event that may be worked on: one whose time for another try has come, else a new one. Waits up to
 * timeout_ms (0: only looks; negative: without end) for one, from whatever process; SL_TIMEOUT when there is
 * none, also when all that may be in hand is. Commits what was decided, in time (commit_us) or before it waits;
 * a commit that fails is returned here, and tried again with the next call. Events that cannot be read are set
 * aside as dead letters, class LOST_DAMAGED. SL_E_FULL, SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_reader_next(sl_reader *reader, int timeout_ms, const sl_reader_event **event);

/* Event `seq`, in hand, is done. Durable with the next commit: this call's, if commit_events or commit_us says
 * so. SL_E_INVALID: it is not in hand. SL_E_FULL, SL_E_IO: it is taken as done, but the commit failed and is
 * tried again with the next call. */
SL_API sl_status sl_reader_ack(sl_reader *reader, uint64_t seq);

#define SL_READER_FAILURE_VERSION 1u

enum {
  SL_READER_FINAL = 1u << 0, /* trying again cannot help: a dead letter at once */
  SL_READER_OUTAGE = 1u << 1 /* not the event's fault: what the program needs (its database, say) is not there.
                                Nothing is counted. The reader hands out nothing for a while, retry_after_us or its
                                own wait, which doubles until an event is acknowledged; then this event again */
};

typedef struct sl_reader_failure {
  uint32_t version;
  uint32_t flags;          /* SL_READER_FINAL or SL_READER_OUTAGE; 0: it is worth another try */
  sl_slice error_class;    /* up to 255 bytes of UTF-8; empty: NON_RETRYABLE with SL_READER_FINAL, else
                              RETRYABLE */
  sl_slice error_code;     /* the same, for programs and groups of letters; may be empty */
  sl_slice error_text;     /* for people, UTF-8; cut to 1,024 bytes; may be empty */
  int64_t retry_after_us;  /* instead of the reader's own wait, up to a day; 0: its own */
} sl_reader_failure;

/* Event `seq`, in hand, failed. It is handed out again after a wait, in its turn, or becomes a dead letter:
 * *dead (may be NULL) is 1 then, else 0. Commits, with all that was decided before: failures survive a crash.
 * `failure` may be NULL. SL_E_INVALID: it is not in hand, or a text breaks its rule. SL_E_FULL, SL_E_IO: as in
 * sl_reader_ack. */
SL_API sl_status sl_reader_fail(sl_reader *reader, uint64_t seq, const sl_reader_failure *failure, int *dead);

/* Puts event `seq`, in hand, back without a failure: it is handed out again at its turn. SL_E_INVALID: it is
 * not in hand. */
SL_API sl_status sl_reader_release(sl_reader *reader, uint64_t seq);

/* Makes all that was decided durable: one commit, or none if there is nothing. SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_reader_commit(sl_reader *reader);

/* ------------------------------------------------------------ looking on --- */

/* A reader as it was committed last. */
typedef struct sl_reader_info {
  const char *name;        /* ends in NUL; it and the slices are valid during the call */
  sl_slice topics, types;  /* its filter; empty: all */
  uint32_t flags;          /* SL_READER_HOLD_TRIM, SL_READER_TOGETHER */
  uint32_t max_attempts;
  int64_t pid;             /* of the process that has it open; 0: none has */
  int64_t since_us;        /* since when */
  int64_t created_us, committed_us;

  uint64_t seq;            /* every event up to here has been seen */
  uint64_t lag;            /* events of the log beyond it, of any topic and type */
  int64_t oldest_us;       /* appended_at_us of the first of them; 0: none */

  /* The law: seen = acked + dead + dropped + missed + open. The first five are lifetime totals, committed
   * together; open is counted from records, and so is waiting_dead. */
  uint64_t seen;           /* events that met the filter, and all that were missed */
  uint64_t acked;
  uint64_t dead;           /* dead letters: those that wait for a person, and those whose event was trimmed
                              since */
  uint64_t dropped;        /* dead letters given up by sl_reader_drop */
  uint64_t missed;         /* events removed by trim, or given up by a full store, before the reader was done
                              with them */
  uint64_t open;           /* in hand, waiting for another try, or behind such a one */
  int balanced;            /* 1: the law holds */

  uint64_t waiting_dead;   /* dead letters that are kept */
  uint64_t retrying;       /* of `open`: those that have failed */
  uint64_t held_seq;       /* SL_READER_HOLD_TRIM: trim stops behind this one; else 0 */
} sl_reader_info;

typedef void sl_reader_info_fn(void *arg, const sl_reader_info *info);

/* Tells of reader `name`, in one call of `fn`. SL_NOTFOUND: there is no such reader. */
SL_API sl_status sl_reader_info_get(sl_store *store, const char *name, sl_reader_info_fn *fn, void *arg);

/* All readers of the store, by name. `fn` may call other functions of this library. SL_E_CORRUPT: one of them
 * is damaged; the others were told. */
SL_API sl_status sl_readers_each(sl_store *store, sl_reader_info_fn *fn, void *arg);

/* Forgets reader `name`, its place and its dead letters; the audit trail stays. Also one whose state is damaged.
 * SL_NOTFOUND; SL_E_BUSY: it is open; SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_reader_delete(sl_store *store, const char *name);

/* ----------------------------------------------------------- dead letters --- */

/* A dead letter of a reader, or an event that failed and is to be tried again. */
typedef struct sl_reader_letter {
  uint64_t seq;
  int dead;                /* 1: a dead letter; 0: it is tried again, not before next_us */
  int64_t next_us;
  uint32_t attempts;       /* failures, since it was sent again last */
  uint32_t replays;        /* times that it was sent again */
  int64_t first_failure_us, last_failure_us;
  sl_slice topic;          /* slices are valid during the call */
  sl_slice error_class, error_code, error_text;
} sl_reader_letter;

typedef void sl_reader_letter_fn(void *arg, const sl_reader_letter *letter);

/* The dead letters of reader `name` whose event is kept, ascending, and with `retrying` those that are tried
 * again, too (in front of them). `fn` may call other functions of this library. SL_NOTFOUND: there is no such
 * reader. */
SL_API sl_status sl_reader_letters(sl_store *store, const char *name, int retrying, sl_reader_letter_fn *fn,
                                   void *arg);

/* Hands dead letter `seq` of reader `name` to that reader again, as if for the first time, beside it or while
 * it is not open. Once: while it is on its way, another replay is refused. `options` may be NULL; its `most`
 * guards against loops. SL_NOTFOUND: no such reader, or no such letter. SL_E_BUSY: it is on its way.
 * SL_E_LIMIT: it was sent again as often as `most` allows. SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_reader_replay(sl_store *store, const char *name, uint64_t seq,
                                  const sl_replay_options *options);

/* Gives dead letter `seq` of reader `name` up, for good, with who and why (1 to 255 bytes of UTF-8 each), which
 * stay in the audit trail (sl_drops_each). SL_NOTFOUND: no such reader or letter. SL_E_INVALID: a text breaks
 * its rule. SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_reader_drop(sl_store *store, const char *name, uint64_t seq, sl_slice who, sl_slice why);

#ifdef __cplusplus
}
#endif
#endif
