/* A reader for the tests of the command line: STORE NAME [hold]. Of each line of stdin, "ack", "retry CODE" or
 * "final CODE" is what becomes of the next event, whose seq it prints. */
#include "base/base.h"

#include <inttypes.h>
#include <sidelog/reader.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int fail(void) {
  fprintf(stderr, "reading: %s\n", sl_last_detail());
  return 1;
}

int main(int argc, char **argv) {
  sl_store *store;
  sl_reader *reader;
  const sl_reader_event *event;
  sl_reader_options options = SL_READER_OPTIONS_INIT;
  char line[300];
  options.flags = argc > 3 && strcmp(argv[3], "hold") == 0 ? SL_READER_HOLD_TRIM : 0;
  options.backoff_us = options.backoff_max_us = INT64_C(3600000000);
  if (argc < 3 || sl_open(argv[1], &(sl_options){.flags = SL_OPEN_EXISTING}, &store) != SL_OK) return fail();
  if (sl_reader_open(store, argv[2], &options, &reader) != SL_OK) return fail();
  while (fgets(line, sizeof line, stdin)) {
    char word[20] = "", code[256] = "";
    sscanf(line, "%19s %255s", word, code);
    if (sl_reader_next(reader, 10000, &event) != SL_OK) return fail();
    const uint64_t seq = event->record->seq;
    printf("%" PRIu64 "\n", seq);
    const sl_reader_failure why = {.flags = strcmp(word, "final") == 0 ? SL_READER_FINAL : 0,
                                   .error_code = sl_slice_of(code),
                                   .error_text = SL_STR("it broke, password=hunter2")};
    const bool good = strcmp(word, "ack") == 0;
    if ((good ? sl_reader_ack(reader, seq) : sl_reader_fail(reader, seq, &why, NULL)) != SL_OK) return fail();
  }
  sl_reader_close(reader);
  sl_close(store);
  return 0;
}
