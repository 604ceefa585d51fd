/* What has to hold in a fault program, or it ends and says what it was at: the program's own text `what`. */
#ifndef SL_TESTS_MUST_H
#define SL_TESTS_MUST_H
#include "sidelog/sidelog.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(condition, ...)                                                                   \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      fprintf(stderr, "%s: ", what);                                                           \
      fprintf(stderr, __VA_ARGS__);                                                            \
      fprintf(stderr, " (%s)\n", sl_last_detail());                                            \
      exit(1);                                                                                 \
    }                                                                                          \
  } while (0)
#endif
