/* What the settings_*.c files share. Nobody else includes this but their tests. */
#ifndef SYNC_SETTINGS_INNER_H
#define SYNC_SETTINGS_INNER_H
#include "settings.h"

/* ------------------------------------------------------------- the table --- */

typedef enum setting_type {
  TYPE_BOOL,     /* bool */
  TYPE_INT32,    /* int32_t */
  TYPE_INT64,    /* int64_t */
  TYPE_SIZE,     /* int64_t, bytes: 32MiB, 1GB */
  TYPE_DURATION, /* int64_t, microseconds: 15s, 1h30m */
  TYPE_ENUM,     /* an enum: the place in `names` */
  TYPE_TEXT,     /* char *, as are the following; min and max bound its length */
  TYPE_PATH,     /* a leading ~/ is the home folder */
  TYPE_BROKERS,  /* host[:port][,...] */
  TYPE_TOPIC,    /* a legal topic name */
  TYPE_HOURS,    /* spans of the day: hours.h */
  TYPE_TEMPLATE, /* a topic name in which {topic} may stand once for another's, or none */
  TYPE_RETRIES,  /* taxonomy_rule */
  TYPE_CODES     /* taxonomy_codes; in the file a map */
} setting_type;

enum {
  SETTING_RESTART = 1,    /* cannot change while running */
  SETTING_LINE_ONLY = 2,  /* has no place in the file (path is NULL) */
  SETTING_SECONDS = 4,    /* a duration whose bare number means seconds */
  SETTING_REQUIRED = 8,   /* of a topic rule */
  SETTING_SECRET = 16     /* its value is never shown */
};

typedef struct setting_row {
  const char *group;         /* heading in --help */
  const char *path;          /* in the file and for --set */
  const char *flag;          /* on the command line, with its hyphens; NULL: only through --set */
  setting_type type;
  size_t offset;             /* in settings, or in topic_rule */
  int64_t min, max;          /* of the value as stored, or of a text's length */
  const char *preset;        /* the default as one would write it; NULL: none */
  const char *word;          /* a word for a value outside the range ("forever"); NULL: none */
  int64_t word_value;
  const char *const *names;  /* of an enum, NULL at the end */
  unsigned flags;
  const char *argument;      /* what stands for the value in --help */
  const char *text;          /* one line, no full stop */
  const char *more;          /* whole sentences; NULL: none */
} setting_row;

extern const setting_row settings_rows[];
extern const size_t settings_row_count;
extern const setting_row settings_topic_rows[]; /* of one entry of `topics:`; offsets in topic_rule */
extern const size_t settings_topic_row_count;

/* Maps at the top of the file that hold rows, then topics and kafka; NULL at the end. */
extern const char *const settings_groups[];

/* Options that are no settings. */
typedef struct setting_option {
  const char *flag, *letter;
  const char *argument; /* in brackets: only as FLAG=VALUE, or none */
  const char *text;
} setting_option;
extern const setting_option settings_options[];
extern const size_t settings_option_count;

const setting_row *settings_row_of_path(const char *path);
/* The known path (or group, among settings_rows) nearest to `path`, or NULL when none is near. */
const char *settings_nearest(const setting_row *rows, size_t count, const char *path);
size_t settings_distance(const char *a, const char *b, size_t limit); /* edits from a to b; limit + 1: more */

/* ---------------------------------------------------------------- values --- */

/* Sets row's field of the struct at `base` from text. On failure `reason` says why, the field stays as it
 * is. */
bool setting_assign(const setting_row *row, void *base, const char *text, char *reason, size_t cap);
/* The field as one would write it. Texts are copied as they are; NULL gives "". */
void setting_format(const setting_row *row, const void *base, char *out, size_t cap);
/* The range for people ("1..1,000,000", "1s..15m", "exactly-once, at-least-once"); "" when there is none. */
void setting_range(const setting_row *row, char *out, size_t cap);
bool setting_equal(const setting_row *row, const void *a, const void *b);
const char *setting_type_text(const setting_row *row);
bool setting_is_text(const setting_row *row);

bool setting_duration(const char *text, int64_t *us); /* 500ms, 1h30m; 0 needs no unit */

/* "6 retries, 100ms..5s": what it leaves out stays as it is in *out. "A=lane, B=retry" for some of
 * fault_record_codes. On failure `reason` says why and nothing changes. */
bool taxonomy_rule(const char *text, retry_rule *out, char *reason, size_t cap);
bool taxonomy_codes(const char *text, uint8_t codes[FAULT_RECORD_CODES], char *reason, size_t cap);

#define SETTING_NO_TOPIC "none"
#define SETTING_TOPIC_MARK "{topic}"

/* -------------------------------------------------------------- problems --- */

/* Where the text in hand came from. `file` NULL: the option `option` of the command line. */
typedef struct setting_place {
  const char *file;
  size_t line, column; /* from 1 */
  const char *option;
} setting_place;

typedef struct problems {
  FILE *out;
  size_t errors, warnings;
} problems;

void problem(problems *problems, setting_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void warning(problems *problems, setting_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Text that came from outside, fit for one line of a message: control characters become '?', long ones are
 * cut. Returns `out`. */
const char *setting_quote(const char *text, char *out, size_t cap);
enum { SETTING_QUOTE = 96 };

/* ---------------------------------------------------------------- pieces --- */

/* Adds one property, or replaces it. Refuses those that the protocol owns. */
void settings_kafka_set(settings *settings, problems *problems, setting_place place, const char *name,
                        const char *value);
/* Rules between settings, once all are read. `place` is the file or the command line. */
void settings_kafka_finish(const settings *settings, problems *problems, setting_place place);
const char *settings_kafka_canonical(const char *name); /* of two names of one property, one */
/* Do the maps say the same, whatever their order, of the properties of one kind? */
bool settings_kafka_same(const settings *a, const settings *b, bool login);
/* Swaps the login properties of the two maps. False: out of memory, nothing was moved. */
bool settings_kafka_swap_login(settings *now, settings *next);
void settings_kafka_markdown(FILE *out);                /* what is refused, and why */

/* Reads a whole YAML document. Stops at a syntax error, goes on behind any other problem. */
void settings_read_yaml(settings *settings, problems *problems, const char *file, const char *data,
                        size_t len);
#endif
