/* SQLite as a careful user would have it: WAL, flushed at each commit, 16-byte ids, prepared statements, the three
 * indexes that sidelog keeps, a page cache and a memory map that hold the working set. */
#include "engine.h"

#ifdef HAVE_SQLITE
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct sqlite {
  sqlite3 *db;
  sqlite3_stmt *begin, *commit, *insert, *by_event, *by_correlation, *count;
} sqlite;

static const char *const indexes[][2] = {
  {"CREATE INDEX IF NOT EXISTS events_event ON events (event_id)", "DROP INDEX events_event"},
  {"CREATE INDEX IF NOT EXISTS events_correlation ON events (correlation_id)", "DROP INDEX events_correlation"},
  {"CREATE INDEX IF NOT EXISTS events_causation ON events (causation_id)", "DROP INDEX events_causation"}};

#define COLUMNS "SELECT seq, appended_us, topic, type, event_id, correlation_id, causation_id, value FROM events "

static void ok(sqlite *s, int code, const char *what) {
  if (code != SQLITE_OK && code != SQLITE_DONE && code != SQLITE_ROW)
    stop("sqlite: %s: %s", what, sqlite3_errmsg(s->db));
}

static void run(sqlite *s, const char *sql) { ok(s, sqlite3_exec(s->db, sql, NULL, NULL, NULL), sql); }

static sqlite3_stmt *prepare(sqlite *s, const char *sql) {
  sqlite3_stmt *statement;
  ok(s, sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), sql);
  return statement;
}

static void step(sqlite *s, sqlite3_stmt *statement, const char *what) {
  ok(s, sqlite3_step(statement), what);
  sqlite3_reset(statement);
}

static void *sqlite_open(const char *folder, uint64_t events) {
  char path[4200];
  sqlite *s = need(calloc(1, sizeof *s));
  (void)events;
  make_folder(folder);
  snprintf(path, sizeof path, "%s/events.db", folder);
  ok(s, sqlite3_open(path, &s->db), path);
  run(s, "PRAGMA journal_mode = WAL");
  run(s, "PRAGMA synchronous = FULL");
  run(s, "PRAGMA cache_size = -262144");   /* 256 MiB */
  run(s, "PRAGMA mmap_size = 2147418112"); /* the most that SQLite takes by default */
  run(s, "CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, appended_us INTEGER NOT NULL, "
         "topic TEXT NOT NULL, type TEXT NOT NULL, event_id BLOB NOT NULL, correlation_id BLOB, "
         "causation_id BLOB, value BLOB NOT NULL)");
  for (int i = 0; i < 3; i++) run(s, indexes[i][0]);
  s->begin = prepare(s, "BEGIN IMMEDIATE");
  s->commit = prepare(s, "COMMIT");
  s->insert = prepare(s, "INSERT INTO events (appended_us, topic, type, event_id, correlation_id, causation_id, "
                         "value) VALUES (?, ?, ?, ?, ?, ?, ?)");
  s->by_event = prepare(s, COLUMNS "WHERE event_id = ? ORDER BY seq");
  s->by_correlation = prepare(s, COLUMNS "WHERE correlation_id = ? ORDER BY seq");
  s->count = prepare(s, "SELECT count(*) FROM events");
  return s;
}

static void sqlite_append(void *self, const event *events, size_t count) {
  sqlite *s = self;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (count > 1) step(s, s->begin, "begin"); /* one insert is a transaction of its own */
  for (size_t i = 0; i < count; i++) {
    const event *e = &events[i];
    sqlite3_bind_int64(s->insert, 1, (sqlite3_int64)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    sqlite3_bind_text(s->insert, 2, "bench.events.v1", -1, SQLITE_STATIC);
    sqlite3_bind_text(s->insert, 3, "EVENT_HAPPENED", -1, SQLITE_STATIC);
    sqlite3_bind_blob(s->insert, 4, e->event_id, 16, SQLITE_STATIC);
    sqlite3_bind_blob(s->insert, 5, e->correlation_id, 16, SQLITE_STATIC);
    sqlite3_bind_blob(s->insert, 6, e->causation_id, 16, SQLITE_STATIC);
    sqlite3_bind_blob(s->insert, 7, e->value, (int)e->value_len, SQLITE_STATIC);
    step(s, s->insert, "insert");
  }
  if (count > 1) step(s, s->commit, "commit");
}

static void sqlite_bulk(void *self, bool on) {
  sqlite *s = self;
  if (on) run(s, "PRAGMA synchronous = OFF");
  for (int i = 0; i < 3; i++) run(s, indexes[i][on]);
  run(s, "PRAGMA wal_checkpoint(TRUNCATE)");
  if (!on) run(s, "PRAGMA synchronous = FULL");
}

static void sqlite_find(void *self, char kind, uint64_t number, hits *out) {
  sqlite *s = self;
  uint8_t uuid[16];
  int code;
  event_uuid(number, kind, uuid);
  sqlite3_stmt *query = kind == 'e' ? s->by_event : s->by_correlation;
  sqlite3_bind_blob(query, 1, uuid, 16, SQLITE_STATIC);
  while ((code = sqlite3_step(query)) == SQLITE_ROW)
    hits_add(out, sqlite3_column_blob(query, 7), (size_t)sqlite3_column_bytes(query, 7));
  ok(s, code, "query");
  sqlite3_reset(query);
}

static uint64_t sqlite_count(void *self) {
  sqlite *s = self;
  ok(s, sqlite3_step(s->count), "count");
  const uint64_t count = (uint64_t)sqlite3_column_int64(s->count, 0);
  sqlite3_reset(s->count);
  return count;
}

static void sqlite_close(void *self) {
  sqlite *s = self;
  sqlite3_stmt *const all[] = {s->begin, s->commit, s->insert, s->by_event, s->by_correlation, s->count};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) sqlite3_finalize(all[i]);
  if (sqlite3_close(s->db) != SQLITE_OK) stop("sqlite: close: %s", sqlite3_errmsg(s->db));
  free(s);
}

const engine engine_sqlite = {.name = "sqlite", .package = "libsqlite3-dev", .open = sqlite_open,
                              .append = sqlite_append, .bulk = sqlite_bulk, .find = sqlite_find,
                              .count = sqlite_count, .close = sqlite_close};
#else
const engine engine_sqlite = {.name = "sqlite", .package = "libsqlite3-dev"};
#endif
