#include "hours.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define DAY_S 86400

static bool number(const char **at, int most, int *out) {
  int digits = 0;
  *out = 0;
  while (isdigit((unsigned char)**at) && digits < 2) {
    *out = *out * 10 + (*(*at)++ - '0');
    digits++;
  }
  return digits > 0 && !isdigit((unsigned char)**at) && *out <= most;
}

/* HH:MM, up to 24:00. */
static bool time_of_day(const char **at, int *minutes) {
  int h, m;
  if (!number(at, 24, &h) || **at != ':') return false;
  ++*at;
  if (!number(at, 59, &m) || (h == 24 && m > 0)) return false;
  *minutes = h * 60 + m;
  return true;
}

static const char *blanks(const char *at) { return at + strspn(at, " "); }

bool hours_parse(const char *text, hours *out, char *reason, size_t cap) {
  hours h = {0};
  for (const char *at = text;; at++) {
    int from, to;
    const char *begin = at = blanks(at);
    bool good = time_of_day(&at, &from);
    at = blanks(at);
    good = good && *at == '-';
    at = blanks(at + good);
    good = good && time_of_day(&at, &to);
    at = blanks(at);
    if (!good || (*at && *at != ',')) {
      snprintf(reason, cap, "\"%.40s\" is no span of time: HH:MM-HH:MM, 22:00-06:00 for example", begin);
      return false;
    }
    if (from % 1440 == to % 1440 || h.count == HOURS_MAX) {
      snprintf(reason, cap,
               h.count == HOURS_MAX ? "more than %d spans" : "a span of no length, or of a whole day", HOURS_MAX);
      return false;
    }
    h.list[h.count].from = from;
    h.list[h.count++].to = to;
    if (!*at) break;
  }
  *out = h;
  return true;
}

static bool within(int from, int to, int second) {
  return from <= to ? second >= from && second < to : second >= from || second < to;
}

int64_t hours_wait_us(const hours *h, int second) {
  int64_t wait = INT64_MAX;
  if (h->count == 0) return 0;
  for (size_t i = 0; i < h->count; i++) {
    const int from = h->list[i].from * 60 % DAY_S, to = h->list[i].to * 60;
    if (within(from, to, second)) return 0;
    const int64_t left = (from - second + DAY_S) % DAY_S;
    if (left < wait) wait = left;
  }
  return wait * 1000000;
}
