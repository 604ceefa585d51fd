/* The life of a store that power.c records, and how its events are told. */
#ifndef SL_TESTS_POWER_LIFE_H
#define SL_TESTS_POWER_LIFE_H
#include <sidelog/sidelog.h>

#include <stdbool.h>

enum { POWER_EVENTS_MOST = 4096 };

/* What is promised, by record_note. */
enum note {
  NOTE_OPENED,    /* sl_open returned for the first time */
  NOTE_EVENT,     /* seq, number of the event: acknowledged as durable */
  NOTE_RELAXED,   /* the same, relaxed */
  NOTE_SYNCED,    /* seq: everything up to here is durable from now on */
  NOTE_MAY_TRIM,  /* seq: events up to here may be gone from now on */
  NOTE_SETTLED,   /* cursor, settled events: durable */
  NOTE_CURSOR     /* the named cursor: durable */
};

/* Lives with a store at `at`, and ends the process. `shared`: zero, in memory that processes made by fork
 * share. */
void power_live(const char *at, _Atomic uint64_t *shared);

/* Delivers what is there, and trims it; ends the process where that fails. */
void power_live_on(sl_store *s);

/* Each event has a number. Some repeat the event id of an earlier one: its number; else the event's own. */
uint64_t power_original_of(uint64_t n);
/* Is this record event `n`, byte for byte? */
bool power_is_event(const sl_record *r, uint64_t n);
#endif
