/* What the files of the core share. Nobody else includes this. */
#ifndef SYNC_CORE_INNER_H
#define SYNC_CORE_INNER_H
#include "core/core.h"

/* --- topics (topics.c) --- */

typedef enum topic_health {
  TOPIC_UNKNOWN = 0, /* to be looked up before its first record */
  TOPIC_READY,
  TOPIC_SICK         /* cannot be written: its events go to a lane */
} topic_health;

/* A record that failed by its own fault: how often so far, and whether that is the end of it. One a topic is
 * enough: only the first unsettled record of a topic can be alone in a transaction, and it stays the first until
 * it is settled. (A table for all was searched for every slot of a transaction, and could overflow.) */
typedef struct trial {
  uint64_t seq;              /* 0: none; a settled seq is never asked for again */
  uint32_t attempts;
  int64_t first_us, last_us; /* wall clock */
  bool condemned;
  fault why;
} trial;

/* What a topic's settings say of a record: it is refused for sure. Believed once the broker itself has refused one
 * for the same reason under the same settings (suspect.c). */
typedef enum suspicion { SUSPECT_NOTHING = 0, SUSPECT_SIZE, SUSPECT_KEY, SUSPICIONS } suspicion;

typedef struct proof { bool there, refuted; fault_class class_; int32_t code; char name[48]; } proof;

/* Where nobody tells a topic's limit. */
typedef struct too_big {
  bool there;                  /* one was refused for its size: those larger than any that was taken go alone */
  size_t least;                /* what the smallest of them takes at most, once compressed; 0: none was weighed */
  int64_t at_us, wall_us;      /* when one of at least that size was refused last; monotonic, wall clock */
} too_big;

/* Narrowing down what breaks the transactions of one reader: at most so many records a transaction, doubling
 * with each success, until the reader has passed what was in the transaction that failed. */
typedef struct narrow {
  size_t events;           /* 0: off */
  uint64_t to;
  uint32_t mute;           /* its transactions in a row that failed and did not say why */
} narrow;

#define SEEN_PLACES 12 /* as many partitions are watched at once, in each topic */

typedef struct topic {
  char *name;              /* NUL-terminated, owned */
  size_t len;
  uint32_t index;          /* in the table's list */
  topic_health health;
  bool wanted;             /* among c->wanted */
  fault sick_of;           /* why it was SICK last */
  int64_t max_message_bytes; /* -1: unknown */
  bool needs_key;
  int64_t stamp_max_age_us;
  int64_t known_us, known_wall_us; /* when that was asked for; monotonic, wall clock */
  uint64_t asked_for, known_for;   /* for the sake of this seq; 0: none */
  proof proofs[SUSPICIONS];
  too_big too_big;
  size_t taken;            /* the largest record that was */
  bool restamps;           /* a record's time was refused: they are sent with the time of their sending */
  int32_t partitions;
  fault_rules rules;
  /* Its lane, if it has one. */
  bool has_lane;
  uint64_t lane_seq;       /* every event of the topic up to here is settled */
  int64_t lane_try_us;     /* monotonic: when to try again */
  narrow narrow;
  trial trial;
  /* How long it has been refused by a cluster that answers; an outage does not count (lanes.c). */
  int64_t max_age_us;      /* of its events in a lane; 0: none */
  int64_t oldest_us;       /* append time of the lane's first event; 0: not known */
  uint32_t refusals;       /* since it was last written */
  int64_t refused_wall_us; /* the first of them */
  int64_t refused_at_us;   /* the last of them, monotonic; 0: the brokers were away since */
  int64_t refused_us;      /* the time between them, as far as it counts */
  /* The last offsets of partitions that it was delivered to, by number modulo SEEN_PLACES: offsets that go back
     are those of another topic by the same name. */
  struct { int32_t partition; /* plus one; 0: none */ int64_t offset; } seen[SEEN_PLACES];
  bool back;               /* they went back, and the book does not say so yet: */
  uint32_t back_txn;       /* in the transaction of this number, */
  uint64_t back_seq;       /* from this seq on */
  bool expire;             /* the oldest events of its lane are to be set aside now */
  trial letter_trial;      /* of a dead letter's copy, where this is a dead-letter topic; seq: its number */
  size_t letter_refused;   /* the size of the smallest refused for it, where nobody tells the limit; 0: none */
  int64_t letter_refused_us; /* monotonic: when that was */
  bool keyless_refused;    /* nobody tells whether it is compacted, and a record without a key was refused */
  /* Lane as the transaction in hand would leave it. */
  bool next_has_lane;
  uint64_t next_lane_seq;
} topic;

typedef struct topic_table {
  topic **list;            /* topics never move: slots point at them */
  size_t count, cap;
  uint32_t *hash;          /* open addressing: index + 1 */
  size_t hash_cap;
} topic_table;

topic *topics_get(topic_table *t, sl_slice name); /* finds or adds; NULL: out of memory */
topic *topics_find(const topic_table *t, sl_slice name);
void topics_free(topic_table *t);

/* --- retries (retry.c) --- */

/* What becomes of a record that failed by its own fault, by the rules of its topic. */
typedef struct ruling { fault_class class_; retry_rule retry; bool lane; } ruling;
ruling rule_on(const topic *tp, const fault *why);
/* Full jitter (uniform in [0, min(cap, base * 2^n)]), never below 1 ms. */
int64_t retry_delay(uint64_t *seed, retry_rule rule, uint32_t failures);

/* --- size and pace (pace.c) --- */

#define TARGET_MIN (16u << 10)
#define TARGET_START (256u << 10)
#define TARGET_NEAR (16u << 20)
typedef struct core core;
int64_t pace_timeout(const core_config *config, int64_t wish_us); /* within what is configured */
int64_t pace_timeout_most(const core_config *config);
void pace_connected(core *c, int64_t round_trip_us); /* to the brokers and back; 0: not known */
void pace_timeout_refused(core *c); /* by the cluster, or the handle did not come up for a reason of this host's */
void pace_claimed(core *c); /* a claim was committed */
void pace_learn(core *c);   /* a transaction was */

/* --- links that break (cuts.c) --- */

void cuts_start(core *c);      /* with what the last run learned */
void cuts_begin(core *c);      /* a transaction is about to be filled */
void cuts_seen(core *c);       /* a connection was lost */
void cuts_learn(core *c);      /* a transaction was committed */
void cuts_new_handle(core *c); /* one is about to be made */
void cuts_forget(core *c);

/* --- the transaction in hand (txn.c) --- */

typedef struct slot { /* one record of the transaction, and what is still open about it. Small: there are many */
  topic *topic;
  uint32_t size;           /* as core_record has it */
  uint32_t most;           /* suspect_most; along: the index of the copy's topic */
  uint32_t letter;         /* index + 1 into letters */
  uint8_t suspect;         /* suspicion */
  bool produced : 1;       /* handed to librdkafka: a delivery report is due */
  bool reported : 1;
  bool failed : 1;
  bool keyless : 1;
  bool whole : 1;          /* of a letter's copy: with its value */
  bool along : 1;          /* it is dead, and what was produced is the letter's copy */
} slot;

/* A fault as a dead letter wants it, with text of its own. */
typedef struct letter_text { sl_letter letter; char class_[40], name[48], text[256]; } letter_text;

typedef struct txn {
  bool open;               /* FILL has begun */
  bool begun;              /* kafka_begin succeeded */
  bool claim;              /* no events, new incarnation */
  bool cut;                /* more was waiting: it ended by its size */
  bool stop;               /* take no more */
  bool refused;            /* the book refused it as it stands */
  bool broken;             /* the handle refused something that is nobody's own fault: see why */
  topic *lane;             /* NULL: the main reader */
  bool expire;             /* sets aside what the lane has kept too long; produces nothing */
  size_t scouted;          /* records looked at for the sake of their topics alone */
  uint64_t scouted_bytes;  /* of what size */
  bool copies;             /* of dead letters: a slot's seq is the letter's number */
  size_t along;            /* copies of letters of its own: then nothing else is produced */
  bool along_slim;         /* the next one goes without its value */
  uint32_t number;         /* in the tags: tells its reports from an earlier transaction's */
  delivery_verdict *verdicts;
  slot *slots;
  size_t count, cap;
  letter_text *letters;
  size_t letter_count, letter_cap;
  size_t produced, outstanding, failed;
  uint64_t bytes, under_way; /* of what is produced, of what is outstanding */
  uint64_t from, to;       /* seqs that were offered to it */
  uint64_t looked_to;      /* every seq up to here has its verdict */
  int64_t appended_us;     /* of the record produced last */
  int64_t begun_us;        /* first record */
  /* The first failed delivery that says something of its own, and where. */
  fault why;
  size_t why_slot;
  size_t named;            /* failures that say more than _PURGE */
  bool transport;          /* a transport error since the commit or abort began */
  bool watched;            /* its offsets have been looked at */
  int64_t op_us;           /* when that began */
} txn;

static inline void txn_sends(txn *t, const slot *s) {
  t->outstanding++;
  t->under_way += s->size;
}
static inline void txn_has(txn *t, const slot *s) { /* its report, or a refusal of the handle */
  t->outstanding--;
  t->under_way -= s->size;
}

/* --- what may go to the brokers (flow.c) --- */

typedef struct flow { double bytes, events; int64_t at_us; } flow; /* below zero: debt */

struct core {
  core_config config;
  core_phase phase;
  int64_t phase_us;
  core_op op;              /* under way; OP_NONE: none */
  int64_t now_us, wall_us, wake_at;
  bool clock_known;
  int64_t clock_us;        /* wall clock less monotonic time and sleep, at the last step */
  int64_t clock_ahead_us;  /* by so much the wall clock was set forward, */
  int64_t clock_before_us; /* from this time on */
  bool handle;             /* the driver has one */
  bool claimed, stopping, drained;
  bool drain_expired;
  uint32_t drain_again;    /* handles that a drain took for letters whose refusal was not told */
  bool stale;              /* the handle is known to be dead, or its connections are: see why */
  fault stale_why;

  /* the book, as of the last operation that changed it */
  sl_progress cursor;      /* lanes live in the topics */
  uint64_t last_attempt;
  bool has_intent, ever_delivered;
  sl_buf cursor_bytes, intent_bytes, marker_bytes;
  char cluster_id[64];

  uint64_t last_seq, indexed_seq;
  int64_t pending_since_us; /* monotonic: when the first event behind the cursor was seen; 0: none */
  int64_t behind_since_us; /* the same for events that the transaction in hand will not take; 0: none */
  topic_table topics;
  topic *wanted[CORE_TOPICS_MAX]; /* looked up before the next FILL */
  const char *wanted_names[CORE_TOPICS_MAX];
  size_t wanted_count;
  int64_t looked_us;       /* when all topics were to be looked up anew */
  int64_t asked_us, asked_wall_us; /* when the wanted ones were asked for */
  uint64_t lanes_full_to;  /* lanes keep too much of the log up to here */
  size_t lane_turn;
  bool lane_last;          /* a lane had the last turn */

  txn txn;
  delivery_attempt attempt;
  delivery_copy *copies;   /* of the attempt */
  size_t copy_cap;
  delivery_recreated *recreated; /* of the attempt */
  size_t recreated_cap;
  sl_lane *lanes;          /* of the attempt, sorted */
  size_t lane_cap;
  sl_buf marker;           /* the attempt's progress, encoded */

  /* dead letters that wait for their copy to be published */
  uint64_t last_letter;    /* the highest number */
  bool letters_wait;       /* some do */
  uint64_t letters_from;   /* the first number not yet looked at, this time round */
  int64_t letters_try_us;  /* monotonic: no look before; 0: at once */
  int64_t letters_again_us; /* the earliest time that a topic of those passed over is tried again; 0: none was */
  bool letters_last;       /* they had the last turn */
  int64_t letters_us;      /* monotonic: when that was; 0: never */
  bool letters_put_off;    /* once since then, for the coordinator's sake (txn_settled) */
  int64_t along_us;        /* monotonic: before it no copy goes along with its verdict */
  bool letters_anew;       /* all of them are to be looked at again */

  narrow narrow, letters_narrow; /* of the main reader, and of letters; lanes have their own */

  flow flow;
  int64_t closed_us;       /* no transaction for so long: not the time of day; 0: now */

  /* size and pace */
  uint64_t target_bytes;
  double bytes_per_s, events_per_s;
  int64_t timeout_us;
  int64_t doubt_us;        /* by the timeout that the handle was made with */
  int64_t timeout_accepted_us; /* the last one that the cluster took */
  bool timeout_refused;    /* it takes none that is longer */
  bool kept_long;          /* longer for what round trips do not tell: an event that took too long, cuts */
  uint32_t quick;          /* transactions in a row that had no need of a longer one */
  int64_t fixed_us;        /* of a transaction's time: its round trips, whatever it carries; 0: not known */
  int64_t queue_bytes;
  int64_t batch_bytes;     /* what every topic takes; 0: any */
  int64_t round_trip_us;   /* to the brokers and back, seen while connecting; 0: not known */
  int64_t connected_us;    /* monotonic: when that was */
  /* Connections that are lost in a transaction, one soon after the other. */
  uint32_t cuts;
  int64_t first_cut_us, cut_us; /* monotonic: of the first of them, the last */
  int64_t gap_us;          /* the link breaks, and mostly lasts so long; 0: it does not */
  uint64_t room_bytes;     /* no more may be under way then; 0: any */

  /* faults and waiting */
  uint32_t failures;       /* in a row, without a settled transaction between */
  fault last_fault;
  int64_t last_fault_us, last_commit_us, next_try_us;
  core_phase after_destroy; /* BACKOFF, PARKED or STOPPED */
  bool destroy_after_settle;
  core_renewal recreate;   /* the handle no longer fits: a new one before the next transaction */
  core_renewal renewed;    /* what the present one was made for */
  int64_t hold_us;         /* no transaction before this time: a record's own back-off */
  uint32_t timeouts;       /* single events in a row that did not cross in time */
  uint32_t book_failures;  /* attempts in a row that could not be written */
  uint32_t refusals;       /* attempts in a row that the book refused as they stood */
  core_park park;
  bool park_probes;        /* it may mend itself */
  bool only_looks;         /* the marker is read before INIT_TXN */
  uint32_t fences;         /* how often another producer took our transactional id from us, after we had claimed */
  uint64_t fenced_handle;  /* the number of the last handle that it befell */
  int64_t fenced_us;       /* and when */
  sl_buf marker_there;
  uint64_t transactions, aborts, handles, expired;
  uint64_t partition_changes;
  uint32_t changed_topic;  /* index of the topic that changed last */
  int32_t partitions_were;
  uint64_t offsets_back;   /* how often a topic's offsets went back */
  uint32_t back_topic;     /* the last one, and from where to where */
  int64_t back_from, back_to;
  struct history *history; /* hears of every call; NULL: nobody does. Pointers added to core go into image.c */
};

/* How long the next transaction must wait for its share of the link; 0: not at all. */
int64_t flow_wait_us(core *c);
/* Does one more record of `size` bytes fit? */
bool flow_has_room(const core *c, size_t size);
/* sign 1: a record goes out; -1: it did not. */
void flow_take(core *c, size_t size, int sign);

/* What doors.c lets in: the functions of core.h without the recorder. */
void core_take(core *c, const core_event *e, core_actions *out); /* core_step */
core_offer_result txn_offer(core *c, const core_record *record, int64_t now_us, uint64_t *tag);
core_offer_result txn_offer_dropped(core *c, uint64_t seq, sl_slice name, sl_slice class_, sl_slice text,
                                    int64_t dropped_us);
core_offer_result txn_letter_ready(core *c, sl_slice name, int64_t now_us);
core_offer_result txn_offer_letter(core *c, uint64_t number, sl_slice name, size_t size, int64_t now_us,
                                   bool *slim, uint64_t *tag);
bool txn_letter_gone(core *c, uint64_t number, sl_slice name);
bool txn_queue_full(core *c, size_t size);
bool txn_refused(core *c, uint64_t tag, const fault *why, int64_t wall_us);
void txn_delivered(core *c, uint64_t tag, int32_t partition, int64_t offset, const fault *why);

/* --- records that the broker would refuse (suspect.c) --- */

/* So near to its topic's limit that it is to be weighed first. */
bool suspect_unweighed(const topic *tp, const core_record *r);
suspicion suspect_of(const topic *tp, const core_record *r);
/* Does nobody tell the topic's settings, so that only refusals do? */
bool suspect_by_refusal(const topic *tp, suspicion s);
/* It is refused as surely as the one that proved it, and may be set aside at once. */
bool suspect_is_proved(const topic *tp, suspicion s);
/* Are the topic's settings known as they are since it was appended? */
bool suspect_is_fresh(const topic *tp, const core_record *r, int64_t now_us);
/* Where they are not told: was another one refused since it was appended? */
bool suspect_was_seen(const topic *tp, const core_record *r, int64_t now_us);
/* What to write into its letter. */
fault suspect_fault(const topic *tp, const core_record *r, suspicion s);
/* How many bytes it takes at most, once compressed; 0: who knows. */
size_t suspect_most(const core_record *r);
/* The broker refused a record, alone in its transaction. */
void suspect_note(core *c, topic *tp, const slot *s, const fault *why);
/* Is it a refusal for the size? */
bool suspect_is_of_size(const fault *why);
/* Another one of its topic was refused for its size, and none as large was taken; or without a key, as it is. */
bool suspect_is_doubtful(const topic *tp, const core_record *r);
/* The topic took the record: what is suspected of others may not be so, or it has other rules than we know. */
void suspect_taken(topic *tp, const slot *s);
/* The topic was looked up. */
void suspect_settings(core *c, topic *tp, const core_topic_result *r);

/* core.c */
void core_enter(core *c, core_phase phase);
void core_fault(core *c, const fault *why);

/* --- what is done next (next.c): each adds its action to `out` --- */

core_action *core_act(core *c, core_actions *out, core_phase phase, core_op op);
void core_connect(core *c, core_actions *out); /* with a new handle unless there is one */
void core_look_up(core *c, core_actions *out); /* the wanted topics */
void core_flush(core *c, core_actions *out);
void core_intent(core *c, core_actions *out);
/* Ends the handle, then waits (BACKOFF), parks or stops. */
void core_destroy(core *c, core_actions *out, core_phase after);
void core_go_park(core *c, core_actions *out, core_park park);
void core_back_off(core *c);
void core_reached(core *c); /* a broker answers: the rest of the wait may be for nothing */
void core_rest(core *c, core_actions *out, int status); /* the core has come to rest, for ever */
int core_rest_status(const core *c);
/* No transaction is in hand: begins the next, or waits until there is one. */
void core_idle(core *c, core_actions *out);
bool core_nothing_to_drain(const core *c);
void core_earlier(int64_t *wake, int64_t at); /* the earlier of the two that is not 0 */

/* The functions of the transaction in hand: txn.c, recreated.c (offsets), blame.c. */
void txn_reset(core *c);
void txn_free(core *c);
/* For the files that offer to it. txn_add_slot: NULL: no memory. */
slot *txn_add_slot(txn *t, uint64_t seq, topic *tp, uint8_t verdict);
void txn_drop_last(txn *t); /* the last slot was not to be */
void txn_not_sent(core *c, slot *s); /* the handle did not take it, so it does not go over the link */
/* The slot becomes a dead letter, or one that was dropped. False: no memory. */
bool txn_add_letter(core *c, size_t index, const fault *why, uint32_t attempts, int64_t first_us, int64_t last_us);
bool txn_is_late(const core *c, int64_t now_us); /* what is under way just fits into its time */
core_offer_result txn_stop(txn *t, bool cut); /* it takes no more; cut: there is more */
core_offer_result txn_settle_as(txn *t, uint64_t seq, topic *tp, uint8_t verdict, int64_t place);
narrow *txn_narrow(core *c); /* of the reader that it is filled by */
/* Turns the transaction into c->attempt and c->marker. False: out of memory. */
bool txn_seal(core *c);
/* Before the intent, when it is known where everything lies: adds to the attempt which topics were created again.
 * That stays until the book has it. */
void txn_note_recreated(core *c);
/* Offsets of the topic went back: it is another one of that name. */
void txn_offsets_back(core *c, topic *tp, int64_t from, int64_t to);
/* The book has the attempt, with what it says of topics that were created again. */
void txn_noted(core *c);
/* The brokers were away, or the host slept: the time since the last refusal does not count. */
void topics_forget_refusals(core *c);
void topics_want(core *c, topic *tp); /* no-op when it is wanted already, or too many are */
void topics_want_none(core *c);
/* It was looked up. False: the fault is not this topic's own. */
bool topic_take_result(core *c, topic *tp, const core_topic_result *r);
/* Keeps what was delivered in order before the first failure (at-least-once). */
void txn_cut_at_failure(core *c);
/* Learns from a failed transaction: whom to blame, how to go on. Says the scope to act on. */
fault_scope txn_blame(core *c, const fault *why);
/* It was open for too long, so the coordinator ended it: the next one is smaller. False: it was not. */
bool txn_blame_time(core *c);
/* After SETTLE: narrowing, size and pace follow. */
void txn_settled(core *c);
bool book_load(core *c, const delivery_state *book);
int64_t book_pause(core *c); /* before the book is written again after a failure */
/* --- lanes (lanes.c) --- */

#define EXPIRE_MAX 1000 /* events set aside unsent in one transaction */

/* Its events go to a lane from here on; it is tried again in probe_us. */
void topic_sicken(core *c, topic *tp, const fault *why);
size_t lanes_next(const core *c); /* as many as the transaction in hand would leave */
int lanes_by_topic(const void *a, const void *b); /* the order of sl_lane in progress, for qsort */
/* Skips the record to its topic's lane, opening it with this very transaction if need be: every earlier event of
 * the topic is settled by then, so the lane begins right before this one and order is kept. */
core_offer_result lane_take(core *c, uint64_t seq, topic *tp, int64_t appended_us);
/* The lane's events are set aside from its oldest on, until one may still wait. */
core_offer_result lane_offer_expired(core *c, const core_record *r, topic *tp);
/* The lanes are those of the book; nothing else sets them. */
bool lanes_load(core *c, const sl_lane *lanes, size_t count);

/* --- copies of dead letters (letters.c) --- */

/* A copy was refused for itself: again, without the value. Refused again, its topic takes no letters for now. */
void letter_blame(core *c, topic *tp, uint64_t number, const fault *why);
/* The broker refused this copy, alone: those as large go without value. False: it tells nothing of others. */
bool letter_note_refused(core *c, const slot *s, const fault *why);
void letter_note_taken(core *c, const slot *s);
bool letters_seal(core *c); /* the transaction's copies, for the attempt. False: no memory */
/* A copy that would have gone along was refused before it was sent. True: again, without the value. */
bool along_refused(core *c, const fault *why);
void letter_finish(letter_text *l); /* its letter points at its texts from here on, until the list grows */
#endif
