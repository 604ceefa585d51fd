/* The index: derived, disposable, in generations behind a watermark. Environment index/.
 * A generation covers consecutive seqs and lives in one slot of fixed tables; dropping it empties them. */
#ifndef SL_STORE_INDEX_H
#define SL_STORE_INDEX_H
#include "store/log.h"
#include "store/store.h"

/* Where index/ has its state, which begins with the watermark, a u64. Layout 1 called it "state": its sidelog
 * finds none, should it be at work. */
#define INDEX_STATE_NAME "generations"
/* Does its checksum hold? */
bool index_state_sound(sl_slice value);

sl_status index_open(sl_store *store);
void index_close(sl_index *index);

typedef struct index_view index_view;
/* Open the index view before the log view: everything at or below the watermark is then answered by the
 * index, everything above it by a scan, with no gap between. */
sl_status index_view_open(sl_store *store, index_view **view);
void index_view_close(index_view *view);
uint64_t index_view_watermark(const index_view *view);
uint64_t index_view_without_correlation(const index_view *view);

/* The first four are always indexed. The others are where they were asked for (sl_index_attributes_set), all in
 * one table of a generation: their numbers in the record are mixed into the keys. */
typedef enum index_attr {
  INDEX_EVENT = 0, INDEX_CORRELATION = 1, INDEX_CAUSATION = 2, INDEX_TYPE = 3,
  INDEX_KEY = 16 + 1, INDEX_TENANT = 16 + 3, INDEX_SOURCE = 16 + 4
} index_attr;
#define INDEX_SECONDARY_ATTR 16

/* The key under which a text stands. */
void index_key_of(index_attr attr, sl_slice text, uint8_t key[16]);
/* Of a record that was read whole. */
sl_slice index_text_of(index_attr attr, const sl_parts *parts);

/* Is the attribute of event `seq` in the index? *first and *last: the seqs around it of which the same is true. */
bool index_view_covers(const index_view *view, index_attr attr, uint64_t seq, uint64_t *first, uint64_t *last);
/* The secondary attributes in the generation of `seq` (SL_INDEX_*); 0: none, or no generation. */
uint32_t index_view_attributes(const index_view *view, uint64_t seq);

/* Seqs under the 16 byte key, ascending, from `from` (inclusive) on, at most `max`: candidates to confirm in
 * the log. *count < max means there are no more at or below the watermark. */
sl_status index_view_seqs(index_view *view, index_attr attr, const uint8_t key[16], uint64_t from,
                          uint64_t *seqs, size_t max, size_t *count);
/* The same, newest first, from `from` (inclusive) down. */
sl_status index_view_seqs_down(index_view *view, index_attr attr, const uint8_t key[16], uint64_t from,
                               uint64_t *seqs, size_t max, size_t *count);

/* Distinct keys of an attribute in [low, high], ascending, with one seq each, at most `max`. */
typedef struct index_key { uint8_t key[16]; uint64_t seq; } index_key;
sl_status index_view_keys(index_view *view, index_attr attr, const uint8_t low[16], const uint8_t high[16],
                          index_key *keys, size_t max, size_t *count);

/* The first event with this event's id in its topic; 0: it is the first (or beyond the watermark). */
sl_status index_view_duplicate_of(index_view *view, uint64_t seq, uint64_t *original);

/* Where no agent keeps the index fresh, whoever is there does (index_help.c). Never fails, waits for nobody, and
 * leaves the thread's detail as it was. After an append was acknowledged: where more than 20,000 events wait, one
 * append in 250 indexes 500 of them, or as many as it appended if those are more. */
void index_help_append(sl_store *store, uint64_t first_seq, uint64_t count);
/* After a query that scanned the events (watermark, last_seq] for want of an index: a thirty-second part. */
void index_help_query(sl_store *store, uint64_t watermark, uint64_t last_seq);

/* Drops generations that lie wholly below the log's first seq. */
sl_status index_drop_trimmed(sl_store *store);

/* For verify: is (attr, key, seq) there? SL_OK or SL_NOTFOUND. */
sl_status index_view_has(index_view *view, index_attr attr, const uint8_t key[16], uint64_t seq);
#endif
