/*
 * sidelog - an embedded, durable, append-only event store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * THE LAW OF THIS HEADER. It holds for every function below and is not repeated there.
 *
 * Arguments   The object comes first, then inputs, then options, then outputs.
 *             Options may be NULL; a zeroed struct is a valid default. Every public struct
 *             that the caller fills starts with `version`: leave it 0, or set it to the
 *             SL_*_VERSION you compiled against.
 * Text        Strings are pointer and length (sl_slice), never assumed to end in NUL, and
 *             are UTF-8. Plain `const char *` is used only for paths and for text that this
 *             library returns; those end in NUL.
 * Ownership   Inputs are copied before a function returns; the caller may free them at once.
 *             Only the functions ending in _open, _start and _new create something, and each names the
 *             function that ends it (sl_event_id_new needs none). Ending functions accept NULL.
 *             Nothing that this library returns is ever passed to free().
 * Failure     A function that can fail returns sl_status. On anything but SL_OK the outputs are
 *             untouched (unless the function says otherwise) and nothing half-done is left in
 *             the store (of an append see SL_E_UNCERTAIN, too). sl_last_detail() then says what
 *             happened, to which thing, and what to do.
 *             Each function lists what is worth a branch of its own. Any of them may also return
 *             SL_E_INVALID (an object or an output is NULL; a version or flag that this library does
 *             not know; a rule that stands beside the argument), SL_E_NOMEM, SL_E_IO, SL_E_CORRUPT,
 *             SL_E_MISMATCH, SL_E_VERSION (what is to be read was written by a newer sidelog),
 *             SL_E_ACCESS (the rights to a file were taken away), SL_E_BUSY (all reader slots of the
 *             store are taken) and SL_E_FORKED.
 * Threads     An sl_store may be used by any number of threads at once. An sl_iter belongs to one
 *             thread at a time. The library starts no thread, but for the one of sl_append_async,
 *             and one in sl_compact that ends with it. No thread may be ended inside a call, nor leave a
 *             callback but by its return (pthread_cancel, longjmp, an exception): locks and a transaction
 *             would stay behind. Nothing here may be called in a signal handler.
 * Processes   Any number of processes on one host (in one pid namespace) may have the same store
 *             open. One process opens a store once: a second sl_open returns SL_E_BUSY. After
 *             fork() the child must not use the parent's sl_store: every call returns SL_E_FORKED.
 *             (LMDB: a child's write transaction would silently commit over the parent's.)
 * Time        Microseconds since 1970-01-01T00:00:00Z, as int64_t, names ending in _us.
 * Manners     The library never prints, never exits, installs no signal handler and keeps no global
 *             state but the registry of open stores that the rule above needs.
 *
 * An append that returned SL_OK is on disk (in the default durability): it survives kill -9 of
 * any process and a power cut, whether or not Kafka, the agent or the network is up.
 */
#ifndef SIDELOG_H
#define SIDELOG_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(SL_API)
#define SL_API __attribute__((visibility("default")))
#elif !defined(SL_API)
#define SL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SL_VERSION_MAJOR 0
#define SL_VERSION_MINOR 1
#define SL_VERSION_PATCH 0

/* ---------------------------------------------------------------- status --- */

/* Values are part of the ABI: new ones are added at the end, none changes its meaning. */
typedef enum sl_status {
  SL_OK = 0,
  SL_NOTFOUND = 1,       /* nothing matches; the end of an iteration */
  SL_TIMEOUT = 2,        /* the time given ran out; nothing was changed */
  SL_E_INVALID = 3,      /* an argument breaks a rule stated here: a bug or bad input */
  SL_E_TOO_LARGE = 4,    /* the value is above max_value, or the attributes above 64 KiB */
  SL_E_FULL = 5,         /* the store's quota or the disk is full; the event was not stored */
  SL_E_NOMEM = 6,        /* out of memory (or address space) */
  SL_E_IO = 7,           /* the operating system refused a read, write or flush */
  SL_E_CORRUPT = 8,      /* a checksum or a structure does not hold: run `sidelog verify` */
  SL_E_VERSION = 9,      /* written by a newer format; nothing was touched */
  SL_E_BUSY = 10,        /* already open in this process, or held by somebody who must end first */
  SL_E_FORKED = 11,      /* the store was opened by the parent of this process */
  SL_E_AMBIGUOUS = 12,   /* a prefix fits several ids: see sl_resolve */
  SL_E_ACCESS = 13,      /* permission denied, or a read-only file system */
  SL_E_UNSUPPORTED = 14, /* this host or file system cannot hold a store (NFS, FUSE, big-endian ...) */
  SL_E_MISMATCH = 15,    /* the store's parts do not belong together (one was restored or replaced), or its files
                            were removed or replaced while this process had it open: open it anew */
  SL_E_NO_STORE = 16,    /* there is no store at that path (SL_OPEN_EXISTING) */
  SL_E_AGAIN = 17,       /* the queue of asynchronous appends is full; nothing was taken */
  SL_E_LIMIT = 18,       /* a limit that guards against loops is met (sl_replay) */
  SL_E_UNCERTAIN = 19    /* an append failed when it may have been on disk already: it is in the store, whole, or
                            not at all. Append it again under the same event id */
} sl_status;

/* A short English name of a status ("store full"). Never NULL. Any thread. */
SL_API const char *sl_status_text(sl_status status);

/* What happened, to which thing, and what to do: one line of UTF-8 about the last call of this
 * thread that did not return SL_OK. Never NULL; "" if there was none. Valid until this thread's
 * next call into the library. */
SL_API const char *sl_last_detail(void);

/* "0.1.0" of the library that is running (the header's is SL_VERSION_*). */
SL_API const char *sl_version(void);

/* ---------------------------------------------------------------- slices --- */

typedef struct sl_slice {
  const void *data; /* may be NULL when len is 0 */
  size_t len;
} sl_slice;

#ifdef __cplusplus
#define SL_BYTES(ptr, length) (sl_slice{(ptr), (size_t)(length)})
#else
#define SL_BYTES(ptr, length) ((sl_slice){(ptr), (size_t)(length)})
#endif
#define SL_STR(literal) SL_BYTES((literal), sizeof(literal) - 1) /* string literals only */

typedef struct sl_header {
  sl_slice name;  /* 1..255 bytes of UTF-8 */
  sl_slice value; /* any bytes */
} sl_header;

/* ------------------------------------------------------------------ open --- */

typedef struct sl_store sl_store;

#define SL_OPTIONS_VERSION 1u

enum {
  SL_OPEN_EXISTING = 1u << 0,   /* do not create: SL_E_NO_STORE when there is none */
  SL_OPEN_OWN_COMMITS = 1u << 1 /* this process's appends commit one by one, never together with others' */
};

typedef enum sl_durability {
  SL_DURABLE = 0, /* flushed before the append returns: survives kill -9 and a power cut */
  SL_RELAXED = 1  /* survives kill -9; a power cut may drop the last commits, never corrupts */
} sl_durability;

#define SL_NONE UINT64_MAX /* where 0 means "the default": none at all */

typedef struct sl_options {
  uint32_t version;
  uint32_t flags;           /* SL_OPEN_* */
  sl_durability durability; /* of this process's appends */
  uint32_t max_value;       /* bytes; 0: 1,000,000; at most 16 MiB. Of this process's appends */
  uint64_t quota_bytes;     /* of log/ on disk; 0: keep the store's (10 GiB when created); 1 MiB to
                               16 TiB. A value other than 0 is stored and holds for all processes. */
  uint64_t preallocate;     /* bytes of the log written with zeros at creation, so that later flushes
                               need fewer file system journal commits; 0: 64 MiB; SL_NONE: none */
  const char *group;        /* name or number of a group that may use the store (folders 0770, files
                               0660); NULL: the owner only (0700, 0600). Used at creation. */
  uint64_t async_bytes;     /* encoded bytes that may wait in sl_append_async's queue; 0: 16 MiB. One
                               event larger than that is taken when nothing else waits */
} sl_options;

/* Opens the store in folder `path`, creating it (and missing parent folders) when it is not there.
 * sl_close ends it.
 * Errors: SL_E_BUSY (this process has it open; or another has it for itself, to compact it, for longer
 * than the 10 s that this call waits), SL_E_NO_STORE, SL_E_ACCESS, SL_E_VERSION,
 * SL_E_MISMATCH (a cursor or watermark at or beyond the log's next seq: a part was replaced),
 * SL_E_CORRUPT (a data file shorter than its own meta page says, or not LMDB's), SL_E_UNSUPPORTED
 * (network or FUSE file system; not a 64-bit little-endian host), SL_E_NOMEM, SL_E_IO, SL_E_INVALID,
 * SL_E_FULL (no room to create). */
SL_API sl_status sl_open(const char *path, const sl_options *options, sl_store **store);

/* Ends every use of the store. No other thread may be inside a call on it, and its iterators must
 * have been closed. In a forked child it only frees memory. */
SL_API void sl_close(sl_store *store);

/* The store's identity: 16 random bytes made at creation, as a lower-case UUID ending in NUL.
 * Valid until sl_close. */
SL_API const char *sl_store_id(const sl_store *store);

/* The path given to sl_open. Valid until sl_close. */
SL_API const char *sl_store_path(const sl_store *store);

/* ---------------------------------------------------------------- append --- */

#define SL_EVENT_VERSION 1u
#define SL_MAX_VALUE (16u << 20)      /* the ceiling of sl_options.max_value */
#define SL_DEFAULT_MAX_VALUE 1000000u
#define SL_MAX_ATTRIBUTES (64u << 10) /* key, headers, tenant, source, topic, type, long ids: encoded */

enum {
  /* In place of the store's durability (sl_options); both: durable. Of a batch the strictest event decides. */
  SL_EVENT_DURABLE = 1u << 0,
  SL_EVENT_RELAXED = 1u << 1
};

typedef struct sl_event {
  uint32_t version;
  uint32_t flags;          /* SL_EVENT_* */
  sl_slice topic;          /* required; a legal Kafka topic name: 1..249 of [a-zA-Z0-9._-], not . or .. */
  sl_slice type;           /* empty: the topic's name; up to 255 bytes of UTF-8 */
  sl_slice event_id;       /* empty: a UUIDv7 (RFC 9562) is made. A UUID in canonical lower-case text
                              is stored as 16 bytes; any other text of 1..255 bytes without a NUL,
                              verbatim */
  sl_slice correlation_id; /* empty: none; else as event_id */
  sl_slice causation_id;   /* empty: none; else as event_id. The event_id of the cause */
  sl_slice key;            /* the record key in Kafka, decides the partition and is the unit of order.
                              Empty with data NULL: no key; empty otherwise: an empty key. Up to 32 KiB */
  sl_slice tenant;         /* empty: none; up to 255 bytes */
  sl_slice source;         /* empty: none; up to 255 bytes */
  const sl_header *headers;
  size_t header_count;
  sl_slice value;          /* any bytes, kept and delivered byte for byte */
  int64_t occurred_at_us;  /* the producer's own time of the event; 0: unknown */
} sl_event;

#ifdef __cplusplus
#define SL_EVENT_INIT {}
#else
#define SL_EVENT_INIT {0}
#endif

/* A text form of an id: up to 255 bytes and a NUL. */
#define SL_ID_MAX 256

/* Appends one event. When it returns SL_OK the event is as durable as the store's durability, or the event's own,
 * promises. Appends of several threads and processes at once share a commit, and its flush (group commit): who
 * finds another one committing waits for that commit and the next one at most. Alone it commits at once. *seq (may
 * be NULL) is its sequence number: dense, ascending, never reused.
 * Errors: SL_E_INVALID (which field and rule: sl_last_detail), SL_E_TOO_LARGE, SL_E_FULL, SL_E_IO, SL_E_NOMEM,
 * SL_E_FORKED, SL_E_MISMATCH (the store's files were removed: nothing is acknowledged into them): the event is not
 * in the store. SL_E_UNCERTAIN: it may be, since the disk failed in the middle of the commit and when the log was
 * asked afterwards, or the process that committed for others was killed and the log cannot be asked. Append the
 * event again under the same event id (give it one of its own, sl_event_id_new): if it was there, the second one
 * becomes a duplicate and is not delivered. */
SL_API sl_status sl_append(sl_store *store, const sl_event *event, uint64_t *seq);

/* Appends `count` events (1..65,536, together at most 256 MiB) in order, in one commit: all or none. *first_seq
 * (may be NULL) is the first one's seq, the others follow densely. `bad` (may be NULL) is set on SL_E_INVALID
 * and SL_E_TOO_LARGE to the position of the first event that breaks a rule (or takes the batch above 256 MiB:
 * SL_E_TOO_LARGE), and then nothing is stored. Errors as sl_append; a count out of range is SL_E_INVALID and
 * leaves `bad` alone. */
SL_API sl_status sl_append_many(sl_store *store, const sl_event *events, size_t count,
                                uint64_t *first_seq, size_t *bad);

/* Told of one asynchronous append, once: `seq` on SL_OK; else why not, and `detail` as sl_last_detail (valid
 * during the call). Called on the library's thread, one at a time, in the order of the appends. It may append
 * (sl_append_async, sl_append); sl_append_wait is SL_E_INVALID there, sl_close does nothing, and while it runs no
 * other append is decided. */
typedef void sl_append_fn(void *arg, sl_status status, uint64_t seq, const char *detail);

/* Takes an append and returns at once, whatever the disk is doing; `fn` (may be NULL) is called when the event
 * is as durable as it shall be, or cannot be (`arg` must live until then). Events of one thread are appended in
 * its order; appended_at_us is the time of the commit. Everything that has gathered while one commit ran goes
 * into the next. The first call starts a thread, which sl_close ends after it has decided what was taken; a
 * process that is killed loses what was not decided.
 * Errors, none of which calls `fn`: SL_E_INVALID, SL_E_TOO_LARGE, SL_E_AGAIN (async_bytes wait already: the
 * disk is slower than you), SL_E_NOMEM, SL_E_FORKED. */
SL_API sl_status sl_append_async(sl_store *store, const sl_event *event, sl_append_fn *fn, void *arg);

/* Waits until every asynchronous append taken before this call is decided and its callback has returned, or
 * timeout_ms has passed (SL_TIMEOUT; negative: without end). SL_E_INVALID (in a callback), SL_E_FORKED. */
SL_API sl_status sl_append_wait(sl_store *store, int timeout_ms);

/* Checks an event against the rules of sl_event and the store's max_value, without storing it. SL_E_INVALID,
 * SL_E_TOO_LARGE, SL_E_FORKED. */
SL_API sl_status sl_event_check(const sl_store *store, const sl_event *event);

/* Makes a UUIDv7 (RFC 9562 section 5.7) in canonical text with its NUL. For callers that need the
 * event id before the append. Thread safe. SL_E_IO when the system has no random bytes. */
SL_API sl_status sl_event_id_new(char out[37]);

/* Flushes what relaxed appends of any process left unflushed. SL_E_FULL (the disk had promised more than it has),
 * SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_sync(sl_store *store);

/* ------------------------------------------------------ records and state --- */

/* What has become of an event. Each event is in exactly one state at every instant, and
 * appended = delivered + duplicates + dead + dropped + pending. */
typedef enum sl_state {
  SL_PENDING = 0,   /* not yet known to be committed on the broker */
  SL_SENT = 1,      /* committed on the broker, at partition and offset (-1: unknown) */
  SL_DUPLICATE = 2, /* same event id in the same topic as an earlier event; never sent */
  SL_DEAD = 3,      /* can never be delivered as it is; kept as a dead letter */
  SL_DROPPED = 4    /* given up on purpose, by whom and why is in the receipt */
} sl_state;
#define SL_STATE_COUNT 5
#define SL_STATE_BIT(state) (1u << (state))

/* "pending", "sent", "duplicate", "dead", "dropped". Never NULL. */
SL_API const char *sl_state_text(sl_state state);

/* An event as it stands in the store. All slices belong to the iterator that returned it. */
typedef struct sl_record {
  uint64_t seq;
  int64_t appended_at_us; /* wall clock of the append (of the commit, where that came a minute later) */
  int64_t occurred_at_us; /* 0: unknown */
  sl_slice topic, type;
  sl_slice event_id, correlation_id, causation_id; /* text; empty: none */
  sl_slice key;                                     /* data NULL: no key */
  sl_slice tenant, source;
  const sl_header *headers;
  size_t header_count;
  sl_slice value;

  /* Its delivery. */
  sl_state state;
  int64_t settled_at_us;   /* when the state was reached; 0 while pending or unknown */
  int32_t partition;       /* SL_SENT: where, or -1: not known; else -1 */
  int64_t offset;          /* SL_SENT: where, or -1 if the broker did not say; else -1 */
  uint64_t duplicate_of;   /* seq of the first event with this id in this topic; 0: none known.
                              Can be set while still SL_PENDING: the indexer knows before delivery. */
  uint32_t attempts;       /* SL_DEAD: deliveries tried */
  sl_slice error_class;    /* SL_DEAD, SL_DROPPED: e.g. "NON_RETRYABLE_VALIDATION"; else empty */
  sl_slice error_code;     /* e.g. "MSG_SIZE_TOO_LARGE"; else empty */
  sl_slice error_text;     /* for people; else empty */
  int32_t error_number;    /* SL_DEAD: librdkafka's number of the code, or 0 */
  int64_t first_failure_us, last_failure_us; /* SL_DEAD; else 0 */
  uint64_t replay_of;      /* a copy of that dead event, delivered in its place (sl_replay); 0: it is none */
  sl_slice dropped_by, drop_reason; /* SL_DROPPED by a person (sl_dead_drop); else empty */
  int topic_recreated;     /* 1: SL_SENT, to a topic of this name that was deleted and created again since: what
                              lies at its partition and offset now, if anything, is another record */
} sl_record;

/* ----------------------------------------------------------------- query --- */

typedef struct sl_iter sl_iter;

#define SL_QUERY_VERSION 1u

enum {
  SL_QUERY_FOLLOW = 1u << 0, /* SL_NOTFOUND is not the end: call sl_iter_next again later */
  SL_QUERY_NEWEST = 1u << 1  /* with limit: the newest matches instead of the oldest; still returned in
                                ascending seq. Not together with SL_QUERY_FOLLOW */
};

/* All conditions that are set must hold. Ids are whole ids (see sl_resolve for prefixes). */
typedef struct sl_query {
  uint32_t version;
  uint32_t flags;          /* SL_QUERY_* */
  sl_slice event_id;
  sl_slice correlation_id;
  sl_slice causation_id;
  sl_slice type;           /* glob: * any run, ? one character, [a-z] a set, \ escapes */
  sl_slice topic;          /* glob */
  sl_slice tenant;         /* exact */
  sl_slice source;         /* exact */
  sl_slice key;            /* exact */
  uint32_t states;         /* SL_STATE_BIT()s; 0: every state */
  int64_t since_us;        /* appended_at_us >= since_us; 0: no bound */
  int64_t until_us;        /* appended_at_us < until_us; 0: no bound */
  uint64_t first_seq;      /* 0: from the oldest event kept */
  uint64_t last_seq;       /* 0: to the newest */
  uint64_t limit;          /* 0: no limit */
} sl_query;

#ifdef __cplusplus
#define SL_QUERY_INIT {}
#else
#define SL_QUERY_INIT {0}
#endif

/* Starts a query. Results come in ascending seq, each once. It answers from the index up to its watermark and
 * scans the log beyond it, so it is complete with or without an agent; events appended after sl_iter_start may or
 * may not be seen (with FOLLOW: they are, in turn). query NULL: every event. Every event that it returns has been
 * checked by its checksum. One that a condition on type, topic, state or time passes over has not, because that
 * would read its value: where a damaged header no longer meets the condition, the event is passed over without a
 * word. sl_verify reads everything.
 * sl_iter_close ends it.
 * Errors: SL_E_INVALID, SL_E_NOMEM, SL_E_CORRUPT, SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_iter_start(sl_store *store, const sl_query *query, sl_iter **iter);

/* Moves to the next event. *record stays valid until the next call on this iterator.
 * SL_NOTFOUND: no more (now). SL_E_CORRUPT: a record fails its checksum; the detail names its seq,
 * and the next call goes on behind it. Reads in short transactions of its own, so an iterator may be
 * kept open for days without holding disk space. */
SL_API sl_status sl_iter_next(sl_iter *iter, const sl_record **record);

/* What a condition of the caller's own looks at: what it may read of the record it is given. Without any: seq,
 * times, topic, type and ids, and then a scan reads nothing else. */
enum {
  SL_FILTER_WHOLE = 1u << 0,      /* key, tenant, source, headers and value too */
  SL_FILTER_FATE = 1u << 1,       /* what became of it: state and all behind it; implies SL_FILTER_WHOLE */
  SL_FILTER_ATTRIBUTES = 1u << 2, /* key, tenant, source and headers, but not the value: much quicker */
  SL_FILTER_NO_IDS = 1u << 3      /* none of the three ids, which may then be empty: a scan leaves them out */
};
#define SL_FILTERS_MAX 6u

/* A condition of the caller's own: 0: the event does not meet it. It is called inside a read transaction: it must
 * be quick and call nothing of this library on this store. The record and its slices are valid during the call
 * alone; what was not asked for is empty. */
typedef int sl_filter_fn(void *arg, const sl_record *record);

/* Adds a condition to an iterator. It is called after the query's conditions on ids, names and times have held,
 * and (with SL_FILTER_*) those on state, key, tenant and source; conditions that need less come first, else in the
 * order in which they were added. `arg` must live as long as the iterator. SL_E_INVALID: sl_iter_next was called
 * already, or there are SL_FILTERS_MAX. */
SL_API sl_status sl_iter_filter(sl_iter *iter, uint32_t needs, sl_filter_fn *fn, void *arg);

/* Does a text fit a glob, as in sl_query? 1 or 0. Any thread. */
SL_API int sl_glob_fits(sl_slice glob, sl_slice text);

/* How many events this iteration has looked at in the log so far (matched or not). */
SL_API uint64_t sl_iter_scanned(const sl_iter *iter);

/* How many events, from the query's first_seq (0: from what was there at the first look) on, were trimmed before
 * this iteration came to them. Not with SL_QUERY_NEWEST. */
SL_API uint64_t sl_iter_trimmed(const sl_iter *iter);

/* Ends an iteration, and the record that it returned last. Before sl_close of its store. NULL is fine. */
SL_API void sl_iter_close(sl_iter *iter);

typedef enum sl_id_kind { SL_ID_EVENT = 0, SL_ID_CORRELATION = 1, SL_ID_CAUSATION = 2 } sl_id_kind;

/* Finds the ids of a kind that are `text` or begin with it. An exact match wins alone. Prefixes (at
 * least 4 hexadecimal digits, hyphens as in the canonical text) find UUIDs; other ids need their whole
 * text. Writes up to `max` NUL-terminated ids to `out` (ascending) and the number found to *count;
 * finding more than `max` stops the search with *count = max.
 * SL_OK: exactly one. SL_NOTFOUND: none. SL_E_AMBIGUOUS: several, out and *count ARE set.
 * SL_E_INVALID: text is empty or longer than an id. */
SL_API sl_status sl_resolve(sl_store *store, sl_id_kind kind, sl_slice text,
                            char (*out)[SL_ID_MAX], size_t max, size_t *count);

/* Waits until an event with a seq above `after` is durable in the log, from any process, or
 * `timeout_ms` has passed (SL_TIMEOUT; 0: only look; negative: wait without end). *last_seq (may be NULL)
 * is the newest seq then, also with SL_TIMEOUT. With sl_iter_next this follows the log. SL_E_IO,
 * SL_E_FORKED. */
SL_API sl_status sl_wait(sl_store *store, uint64_t after, int timeout_ms, uint64_t *last_seq);

/* --------------------------------------------------------- named cursors --- */

/* A named cursor is the durable place of who looks on (`sidelog tail --cursor`): the last seq it has dealt with.
 * It does not hold trim back. Names are 1..128 of [a-zA-Z0-9._-]. Programs that process events, with retries and
 * dead letters, have sidelog/reader.h. */

/* The place of cursor `name`. SL_NOTFOUND: there is no such cursor. */
SL_API sl_status sl_cursor_get(sl_store *store, const char *name, uint64_t *seq);

/* Sets it, durably; creates it if need be. It may move back (to read again), never beyond the log's
 * newest seq (SL_E_INVALID). SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_cursor_set(sl_store *store, const char *name, uint64_t seq);

/* Forgets it. SL_NOTFOUND if there was none. SL_E_FULL, SL_E_IO. */
SL_API sl_status sl_cursor_delete(sl_store *store, const char *name);

/* ------------------------------------------------------------ statistics --- */

typedef struct sl_stats {
  /* The conservation law: appended = delivered + duplicates + dead + dropped + pending.
   * The first five are lifetime totals; pending is counted from the log's records, not subtracted. */
  uint64_t appended, delivered, duplicates, dead, dropped, pending;
  int balanced;                /* 1: the law holds */

  uint64_t first_seq;          /* oldest event kept; 0: none */
  uint64_t last_seq;           /* newest event; 0: none yet */
  uint64_t kept;               /* events in the log now */
  uint64_t trimmed;            /* events removed by trim, ever (each had been settled before) */
  uint64_t delivery_seq;       /* the delivery cursor: all up to here are settled (lanes aside) */
  uint64_t indexed_seq;        /* the index's watermark */
  uint64_t without_correlation;/* among the indexed and kept events */
  uint64_t lanes;              /* topics that drain apart from the main cursor */
  int64_t oldest_pending_us;   /* appended_at_us of the oldest pending event; 0: none, or unknown */
  int64_t newest_us;           /* appended_at_us of the newest event; 0: none */

  uint64_t bytes_used;         /* bytes of log/ that hold data */
  uint64_t bytes_quota;
  uint64_t bytes_on_disk;      /* allocated by all files of the store */
  uint64_t readers;            /* read transactions open now, in all processes */
  uint64_t reader_lag;         /* transactions the oldest of them is behind: large values keep space */

  uint64_t bytes_free;         /* bytes of log/'s file that hold nothing and are used again before it grows */
  uint64_t bytes_reserved;     /* kept from appends: the quota's reserve for trim, and the ballast file */
  uint64_t bytes_per_s;        /* appended a second, over the last ten minutes (or since the first event, where
                                  the store is younger); 0: unknown: nothing was appended, or for less than 10 s */
  uint64_t dropped_full;       /* events that a full store gave up undelivered, ever (sl_full_policy) */
  int64_t full_in_us;          /* until appends would meet a full quota, or the end of the disk where that is
                                  nearer, at that rate if nothing were trimmed; -1: the rate is unknown */
} sl_stats;

/* A consistent look, also while producers, agent and trim run. SL_E_CORRUPT, SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_stats_get(sl_store *store, sl_stats *stats);

/* ----------------------------------------------------------------- agent --- */

/* Is a sync agent holding the store now? SL_OK: yes, *pid and *since_us (each may be NULL) say which and
 * since when. SL_NOTFOUND: no. Told by a file lock, so a killed agent is seen at once. SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_agent_alive(sl_store *store, int64_t *pid, int64_t *since_us);

/* The agent's last word on how it is: one JSON object (docs/agent.md), written by a running agent at every
 * change of state, and at least every four seconds. Copies at most `cap` bytes to `json` and a NUL if it fits;
 * *len is its whole length. SL_NOTFOUND: no agent ever ran. SL_E_IO, SL_E_FORKED. */
SL_API sl_status sl_agent_report(sl_store *store, char *json, size_t cap, size_t *len);

/* ------------------------------------------------------------ full store --- */

#define SL_FULL_VERSION 1u
#define SL_FULL_TOPICS_MAX 4096u

enum {
  SL_FULL_DROP_DELIVERED = 1u << 0 /* settled events go, oldest first, whatever trim would keep them for */
};

/* What an append does that meets a full quota or disk, before it fails with SL_E_FULL. Stored in the store: it
 * holds for all processes. A new store refuses. */
typedef struct sl_full_policy {
  uint32_t version;
  uint32_t flags;          /* SL_FULL_*; 0: refuse */
  sl_slice drop_oldest;    /* topics, as globs separated by commas ("metrics.*,debug.v1"). Where removing settled
                              events is not enough, UNDELIVERED events of these go, oldest first: each is counted
                              (sl_stats.dropped_full), and stays as a record in state SL_DROPPED without its value,
                              key, headers, tenant and source. Never one that is being sent. Implies
                              SL_FULL_DROP_DELIVERED. Empty: what is undelivered never goes. A store that ever had
                              such a policy is of format 2, which a sidelog from before it refuses */
  uint64_t ballast_bytes;  /* a file that keeps room on the disk and is given up when the disk is full, so that
                              trim and the agent can write; 0: 1 MiB; SL_NONE: no such file; at most 1 GiB */
} sl_full_policy;

/* Sets the policy, durably, for all processes from their next append on. SL_E_INVALID: a glob is empty or can fit
 * no topic, drop_oldest has more than SL_FULL_TOPICS_MAX bytes, or the ballast is above its bound. SL_E_FULL,
 * SL_E_IO. */
SL_API sl_status sl_full_policy_set(sl_store *store, const sl_full_policy *policy);

/* The policy that is in force. `topics` is where drop_oldest points to afterwards. ballast_bytes is never 0
 * (SL_NONE: no such file). */
SL_API sl_status sl_full_policy_get(sl_store *store, sl_full_policy *policy, char topics[SL_FULL_TOPICS_MAX]);

/* ------------------------------------------------- index, trim and verify --- */

/* Indexes up to `max_events` (0: all there are) of the events behind the watermark; *watermark (may be
 * NULL) is the new one. Several callers take turns. Producers never wait for it. The agent calls this
 * all the time. Where no agent runs, queries that had to scan more than 5,000 events help when they are done, and
 * when 20,000 wait so does one append in 250, with 500 events (or as many as it appended) after its own is
 * durable; neither fails by it. Each call also does the share of merging that its events owe, after they are in:
 * some milliseconds, a few hundred after 20,000 events. SL_E_FULL, SL_E_IO, SL_E_CORRUPT (the detail
 * names the event that cannot be read; the watermark stops before it), SL_E_FORKED. */
SL_API sl_status sl_index_advance(sl_store *store, uint64_t max_events, uint64_t *watermark);

/* Attributes of events that the index can hold beside event id, correlation id, causation id and type. Queries
 * by an attribute that is not in the index scan. */
enum { SL_INDEX_KEY = 1u << 1, SL_INDEX_TENANT = 1u << 3, SL_INDEX_SOURCE = 1u << 4 };

/* Sets which of them (SL_INDEX_*, 0: none) the index of this store holds, for all processes: of events indexed
 * from now on, and of older ones after sl_reindex. An index that is lost begins without any. SL_E_INVALID
 * (unknown bits), SL_E_FULL. */
SL_API sl_status sl_index_attributes_set(sl_store *store, uint32_t attributes);

/* Which of them it holds of the events that are indexed from now on. */
SL_API sl_status sl_index_attributes_get(sl_store *store, uint32_t *attributes);

/* Throws the index away and builds it again from the log, in steps, while everything else runs; queries
 * stay complete meanwhile (they scan). Verdicts already delivered never change. Errors as
 * sl_index_advance. */
SL_API sl_status sl_reindex(sl_store *store);

#define SL_TRIM_VERSION 1u

typedef struct sl_trim_topic {
  sl_slice topic;      /* glob; the first that fits decides */
  int64_t max_age_us;  /* 0: no limit by age */
} sl_trim_topic;

typedef struct sl_trim_policy {
  uint32_t version;
  uint32_t flags;               /* 0 */
  int64_t max_age_us;           /* events appended longer ago than this go; 0: no limit by age */
  uint64_t max_bytes;           /* keep at most so many bytes used in log/; oldest go first; 0: no limit */
  uint64_t max_events;          /* keep at most so many events; 0: no limit */
  const sl_trim_topic *topics;  /* own ages of topics; they do not shield an event from the other two */
  size_t topic_count;
  uint64_t budget;              /* remove at most so many events in this call; 0: no limit */
} sl_trim_policy;

typedef struct sl_trim_result {
  uint64_t removed;             /* events */
  uint64_t held;                /* 1: stopped at an event that is pending, not yet indexed, or held by a reader
                                   (SL_READER_HOLD_TRIM) */
  uint64_t first_seq;           /* oldest event kept afterwards; 0: none */
} sl_trim_result;

/* Removes settled events by policy (NULL: none, only what an earlier trim left is tidied up): never one that is
 * pending, in an unfinished delivery, not yet indexed, held by a reader that asked for it, or the newest. Works in
 * small transactions so that producers hardly wait. `result` may be NULL. SL_E_INVALID (a negative age, a topic
 * without a name), SL_E_FULL, SL_E_IO, SL_E_VERSION (readers/ is of a newer sidelog: what its readers hold cannot
 * be told), SL_E_FORKED. */
SL_API sl_status sl_trim(sl_store *store, const sl_trim_policy *policy, sl_trim_result *result);

#define SL_COMPACT_VERSION 1u

typedef struct sl_compact_options {
  uint32_t version;
  uint32_t flags;               /* 0 */
} sl_compact_options;

typedef struct sl_compact_result {
  uint64_t bytes_before, bytes_after; /* on disk, of the data files */
} sl_compact_result;

/* Rewrites the files of the store at `path` without their free pages, which trim leaves in them for later use.
 * No process may have the store open, this one neither, and who opens it meanwhile waits up to 10 s. Needs room
 * for a copy of what is in use. A crash at any moment leaves each file whole, old or new. `result` may be NULL.
 * SL_E_BUSY (the store is open), SL_E_NO_STORE, SL_E_ACCESS, SL_E_VERSION, SL_E_FULL, SL_E_UNSUPPORTED (no
 * flock). */
SL_API sl_status sl_compact(const char *path, const sl_compact_options *options, sl_compact_result *result);

typedef struct sl_verify_report {
  uint64_t events;        /* records read */
  uint64_t bad_records;   /* checksum or structure wrong */
  uint64_t index_entries; /* entries read */
  uint64_t index_errors;  /* an entry without its event, or an event without its entry */
  uint64_t receipts;
  uint64_t receipt_errors;
  uint64_t sequence_errors; /* records missing that no trim removed */
  uint64_t problems;      /* all of them; 0: the store is sound */
} sl_verify_report;

/* Called for each problem with one line of text. */
typedef void sl_verify_fn(void *arg, const char *text);

/* Reads everything: every record's checksum, both directions of every index up to the watermark, receipts
 * against the delivery cursor, the conservation law by counting. Safe while everything runs. It reads in this
 * process: LMDB trusts its pages, so damaged ones, or a file cut short while it is open, can end the process by
 * a signal; `sidelog verify` therefore reads in a second process.
 * SL_OK: read to the end (see report->problems). `fn` may be NULL. Other statuses: could not read on. A data
 * file that is shorter than its meta page says is refused by sl_open already. */
SL_API sl_status sl_verify(sl_store *store, sl_verify_fn *fn, void *arg, sl_verify_report *report);

/* ---------------------------------------------------------------- repair --- */

#define SL_REPAIR_VERSION 1u

enum {
  /* Leave the old delivery state behind: the new store gets an id of its own, and every event kept is pending,
   * so what had been delivered already is sent again. Without it a delivery state that cannot be trusted is an
   * error: a store made with a guessed one would skip events or repeat them unseen. */
  SL_REPAIR_NO_DELIVERY = 1u << 0
};

typedef struct sl_repair_options {
  uint32_t version;
  uint32_t flags; /* SL_REPAIR_* */
  const char *const *names; /* topics and types to believe where the store holds one under two forms; else such
                               a name is an error, which tells both */
  size_t name_count;
} sl_repair_options;

typedef enum sl_repair_kind {
  SL_REPAIR_LOST_PENDING = 0, /* events that were pending and cannot be read: tombstones stand for them, and
                                 they are dropped, class LOST_DAMAGED */
  SL_REPAIR_LOST_SETTLED = 1, /* events that were settled and cannot be read: they count as trimmed */
  SL_REPAIR_RECOVERED = 2,    /* events found outside of the damaged tree; if they are settled, trim may have
                                 removed them before, and they are back */
  SL_REPAIR_RECEIPTS = 3,     /* settled events whose receipt or letter is lost: dropped, class LOST_DAMAGED */
  SL_REPAIR_NAMES = 4,        /* topics and types */
  SL_REPAIR_LOG = 5,          /* anything else of log/ */
  SL_REPAIR_DELIVERY = 6      /* anything else of delivery/ */
} sl_repair_kind;

/* "lost-pending", "lost-settled", "recovered", "receipts", "names", "log", "delivery". Never NULL. */
SL_API const char *sl_repair_kind_text(sl_repair_kind kind);

typedef struct sl_repair_report {
  uint64_t events;       /* copied, byte for byte */
  uint64_t recovered;    /* of them: found outside of the damaged tree */
  uint64_t lost_pending, lost_settled;
  uint64_t first_seq, last_seq; /* of the new store */
  uint64_t receipts_lost;
  uint64_t findings;     /* calls of fn */
  int delivery_kept;     /* 1: cursor, receipts, letters and totals were taken over */
  int end_unknown;       /* 1: the newest count of events is lost: some may have followed last_seq */
} sl_repair_report;

/* One finding: of events first_seq to last_seq, or of none (both 0). */
typedef void sl_repair_fn(void *arg, sl_repair_kind kind, uint64_t first_seq, uint64_t last_seq,
                          const char *text);

/* Copies what can be read of the damaged store in folder `source` into a new store at `target`, which must not
 * exist, and says what was lost. The source is only ever read, page by page, and needs no more than its
 * log/data.mdb; of its index only the store's id and how far it went (the new one is built). Nobody may have the
 * source open. The new store has the old one's id, seqs, times, ids and values; it is made beside `target` and
 * moved there when it is whole and has been verified. `options`, `fn` and `report` may be NULL. SL_E_NO_STORE: no
 * log/data.mdb. SL_E_BUSY: a process has the source open. SL_E_INVALID: the target exists. SL_E_MISMATCH: the
 * delivery state cannot be trusted, or is another store's; the detail says why (see SL_REPAIR_NO_DELIVERY).
 * SL_E_AMBIGUOUS: a topic or type stands there in two forms (see names). SL_E_CORRUPT: nothing can be found in the
 * file at all. SL_E_VERSION, SL_E_FULL; SL_E_ACCESS, SL_E_UNSUPPORTED: of the target, as in sl_open. */
SL_API sl_status sl_repair(const char *source, const char *target, const sl_repair_options *options,
                           sl_repair_fn *fn, void *arg, sl_repair_report *report);

#ifdef __cplusplus
}
#endif
#endif
