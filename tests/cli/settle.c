/* Does to a store what an agent does after a delivery, without a broker: for the tests of what people see.
 *
 *   settle STORE < verdicts     one line for each event behind the cursor, in order:
 *     sent PARTITION OFFSET | duplicate SEQ | dead CLASS CODE TRIES TEXT... | dropped CLASS CODE TRIES TEXT...
 *   settle STORE --hold REPORT  holds the store as an agent would, with the report of a file, until stdin ends
 */
#include "delivery/delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 2000, WORD = 128 };

typedef struct fate { char class[WORD], code[WORD], words[WORD]; sl_letter letter; } fate;

static int die(const char *what) {
  fprintf(stderr, "settle: %s: %s\n", what, sl_last_detail());
  return 1;
}

static sl_slice slice(const char *words) { return (sl_slice){words, strlen(words)}; }

static bool read_letter(const char *line, fate *f, delivery_verdict *v) {
  unsigned tries;
  if (sscanf(line, "%*s %127s %127s %u %127[^\n]", f->class, f->code, &tries, f->words) != 4)
    return false;
  f->letter = (sl_letter){.seq = v->seq, .attempts = tries, .first_failure_us = 1, .last_failure_us = 1,
                          .error_class = slice(f->class), .error_code = slice(f->code),
                          .error_text = slice(f->words), .topic = SL_STR("t")};
  v->letter = &f->letter;
  return true;
}

static bool read_verdict(const char *line, fate *f, delivery_verdict *v) {
  v->partition = -1;
  v->verdict = strncmp(line, "sent", 4) == 0        ? SL_VERDICT_SENT
               : strncmp(line, "duplicate", 9) == 0 ? SL_VERDICT_DUPLICATE
               : strncmp(line, "dead", 4) == 0      ? SL_VERDICT_DEAD
                                                    : SL_VERDICT_DROPPED;
  if (v->verdict == SL_VERDICT_SENT)
    return sscanf(line, "sent %" SCNd32 " %" SCNd64, &v->partition, &v->place) == 2;
  if (v->verdict == SL_VERDICT_DUPLICATE)
    return sscanf(line, "duplicate %" SCNd64, &v->place) == 1;
  return read_letter(line, f, v);
}

static int settle(sl_store *store, sl_delivery *d) {
  static fate fates[MOST];
  static delivery_verdict verdicts[MOST];
  char line[1024];
  size_t count = 0;
  const delivery_state *now = delivery_state_get(d);
  delivery_attempt attempt = {.progress = now->cursor, .verdicts = verdicts, .marked = true};
  if (sl_index_advance(store, 0, NULL) != SL_OK)
    return die("index");
  while (count < MOST && fgets(line, sizeof line, stdin)) {
    verdicts[count].seq = now->cursor.seq + count + 1;
    if (!read_verdict(line, &fates[count], &verdicts[count])) {
      fprintf(stderr, "settle: not understood: %s", line);
      return 1;
    }
    count++;
  }
  attempt.progress.seq += count;
  attempt.progress.attempt = now->last_attempt + 1;
  attempt.count = count;
  return delivery_record(d, &attempt) == SL_OK ? 0 : die("record");
}

static int hold(sl_delivery *d, const char *path) {
  static char report[64 << 10];
  FILE *file = fopen(path, "rb");
  size_t len = file ? fread(report, 1, sizeof report, file) : 0;
  if (file)
    fclose(file);
  if (len && delivery_report_set(d, (sl_slice){report, len}) != SL_OK)
    return die("report");
  puts("held");
  fflush(stdout);
  while (getchar() != EOF) {}
  return 0;
}

int main(int argc, char **argv) {
  sl_store *store = NULL;
  sl_delivery *d = NULL;
  if (argc < 2 || sl_open(argv[1], &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK)
    return die("open");
  int code = delivery_open(store, &d) != SL_OK ? die("delivery") : argc == 4 ? hold(d, argv[3]) : settle(store, d);
  delivery_close(d);
  sl_close(store);
  return code;
}
