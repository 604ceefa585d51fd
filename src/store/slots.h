/*
 * The slots through which producers hand their records to whoever commits next (group.c), in memory that all
 * processes with the store open share: the file log/slots. Where it cannot be had, the threads of one process share
 * private memory of the same form.
 *
 * At any time at most one thread of all processes has the lead. A slot's life:
 *
 *      FREE ──claim──► CLAIMED ──publish──► READY ──take──► TAKEN ──┬──► DONE       its records are committed
 *        ▲                └──wait──► WAITING                        └──► REJECTED   they are not, its owner tries alone
 *        └── released by its owner, from CLAIMED, WAITING, DONE, REJECTED and FAILED (only of private slots: the
 *            commit failed in a way that only tickets could tell of, and private slots write none)
 *
 *   S1  Only who has the lead changes a slot that is READY or TAKEN; only its owner one in any other state.
 *   S2  A TAKEN slot without a living leader is decided by the log alone: its ticket stands there, written in one
 *       transaction with its records, or its records do not. So a leader may be killed at any instruction.
 *   S3  A ticket is used once: an entry in the log is never taken for that of another append.
 *   S4  A slot whose owner is dead is freed by a later leader. Its records may have been committed: an append that
 *       never returned may or may not have happened.
 *
 * Nothing here outlives the processes: whoever opens the store alone makes the file anew, so that slots which were
 * READY in a power cut are not appended after it. Correctness never rests on the lead: LMDB's writer lock is what
 * keeps two commits apart.
 */
#ifndef SL_STORE_SLOTS_H
#define SL_STORE_SLOTS_H
#include "store/store.h"

#include <stdatomic.h>

#define SLOT_COUNT 64u
#define SLOT_BYTES 16384u /* of framed records: larger batches wait for the lead with their records at home */

typedef enum slot_state {
  SLOT_FREE, SLOT_CLAIMED, SLOT_WAITING, SLOT_READY, SLOT_TAKEN, SLOT_DONE, SLOT_REJECTED, SLOT_FAILED
} slot_state;

typedef struct append_slot {
  _Alignas(64) _Atomic uint32_t owner; /* pid; 0: free */
  _Atomic uint32_t state;              /* slot_state */
  uint64_t ticket;
  uint64_t first_seq;                  /* DONE; FAILED: the sl_status; REJECTED: not 0, the commit may be on disk */
  int64_t since_us;                    /* when its owner began to wait (monotonic) */
  int64_t now_us;                      /* the rest as in group_batch */
  uint32_t len, count;
  uint32_t relaxed, renumber;
} append_slot;

typedef struct slots slots;

/* Maps log/slots. `fresh`: this process is alone (store_lock.h) and makes it anew. Where that is not possible the
 * slots are private. NULL: out of memory. */
slots *slots_open(sl_store *store, bool fresh);
/* After store_lock_share: takes the file that another one, alone in the moment between, has put in its place. False:
 * out of memory. */
bool slots_settle(sl_store *store, slots *s);
void slots_close(slots *s);
bool slots_shared(const slots *s);

append_slot *slots_at(slots *s, unsigned i);
uint8_t *slots_bytes(slots *s, unsigned i); /* SLOT_BYTES */

/* ---- owners ---- */

/* A free slot, CLAIMED, or -1. */
int slots_claim(slots *s);
/* CLAIMED -> READY with a new ticket; its fields and bytes are filled in. */
void slots_publish(slots *s, unsigned i);
/* -> WAITING: its owner has records of its own to commit and wants the lead. */
void slots_queue(slots *s, unsigned i);
void slots_release(slots *s, unsigned i);

/* Counts the times that the lead was given up. Read it before you look at your slot and try for the lead; then
 * sleep on it: whatever comes after the reading wakes the sleep. */
uint32_t slots_round(slots *s);
void slots_sleep(slots *s, int i, uint32_t round); /* i: your slot; -1: none */

typedef enum slots_lead { LEAD_HELD, LEAD_TAKEN, LEAD_BROKEN } slots_lead;
/* Tries for the lead, for the owner of slot `i` (-1: none); one that was WAITING is CLAIMED then. LEAD_HELD: somebody
 * has it, or it is another one's turn.
 * LEAD_BROKEN: it cannot be had any more; each commits alone. */
slots_lead slots_try_lead(slots *s, int i);

/* ---- the leader ---- */

/* What a leader has waited so far, and for how many appends; begins as zeros. */
typedef struct linger { int64_t waited_us; unsigned have; } linger;

/* With `have` appends in hand, may others of those who were here last time still come? Then, unless one has come already,
 * it waits a moment for them, with its processor given to others; but no longer than 80 us in all, what it takes to write
 * those who come not counted, and not at all when alone. */
bool slots_linger(slots *s, unsigned have, linger *l);
/* READY slots of living owners, as a mask; frees those of owners that have long been dead. */
uint64_t slots_ready(slots *s);
/* READY -> TAKEN. */
void slots_take(slots *s, uint64_t mask);
/* Slots left TAKEN by a leader that is dead, as a mask. */
uint64_t slots_left(slots *s);
/* TAKEN -> READY. */
void slots_untake(slots *s, unsigned i);
/* TAKEN -> DONE, REJECTED or FAILED. */
void slots_decide(slots *s, unsigned i, slot_state state, uint64_t first_seq);
/* Gives up the lead: tells whose turn it is (the longest WAITING, else READY), wakes all. `units`: how many appends
 * this leader committed together. */
void slots_end_lead(slots *s, unsigned units);
#endif
