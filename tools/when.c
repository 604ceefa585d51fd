#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const int64_t SECOND = 1000000;

static bool digits(const char **p, int count, int *out) {
  int value = 0;
  for (int i = 0; i < count; i++) {
    if ((*p)[i] < '0' || (*p)[i] > '9')
      return false;
    value = value * 10 + ((*p)[i] - '0');
  }
  *p += count;
  *out = value;
  return true;
}

/* Days since 1970-01-01 of a civil date (proleptic Gregorian calendar). */
static int64_t civil_days(int64_t y, int m, int d) {
  y -= m <= 2;
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int month_days(int year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

/* A fraction of a second, digits beyond the sixth dropped. */
static bool fraction(const char **p, int64_t *us) {
  int64_t unit = SECOND / 10;
  *us = 0;
  if (**p != '.')
    return true;
  for ((*p)++; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
    *us += (**p - '0') * unit;
  return (*p)[-1] != '.';
}

typedef struct clock_time {
  int hour, minute, second;
  int64_t us;
} clock_time;

static bool clock_parse(const char **p, clock_time *t) {
  *t = (clock_time){0};
  if (!digits(p, 2, &t->hour) || *(*p)++ != ':' || !digits(p, 2, &t->minute))
    return false;
  if (**p == ':') {
    (*p)++;
    if (!digits(p, 2, &t->second) || !fraction(p, &t->us))
      return false;
  }
  return t->hour < 24 && t->minute < 60 && t->second <= 60;
}

static bool local_us(int year, int month, int day, const clock_time *t, int64_t *us) {
  struct tm tm = {.tm_year = year - 1900,
                  .tm_mon = month - 1,
                  .tm_mday = day,
                  .tm_hour = t->hour,
                  .tm_min = t->minute,
                  .tm_sec = t->second,
                  .tm_isdst = -1};
  time_t at = mktime(&tm);
  *us = (int64_t)at * SECOND + t->us;
  return at != (time_t)-1 || tm.tm_year == 69;
}

static bool date_parse(const char *p, int64_t *us) {
  int year, month, day;
  clock_time t = {0};
  if (!digits(&p, 4, &year) || *p++ != '-' || !digits(&p, 2, &month) || *p++ != '-' || !digits(&p, 2, &day))
    return false;
  if (month < 1 || month > 12 || day < 1 || day > month_days(year, month))
    return false;
  if (*p == 0)
    return local_us(year, month, day, &t, us);
  if (*p != 'T' && *p != 't' && *p != ' ')
    return false;
  p++;
  if (!clock_parse(&p, &t))
    return false;
  if (*p == 0)
    return local_us(year, month, day, &t, us);
  int64_t offset = 0;
  if (*p == 'Z' || *p == 'z') {
    p++;
  } else if (*p == '+' || *p == '-') {
    int hours, minutes, sign = *p++ == '-' ? -1 : 1;
    if (!digits(&p, 2, &hours) || *p++ != ':' || !digits(&p, 2, &minutes) || hours > 23 || minutes > 59)
      return false;
    offset = sign * (hours * 3600 + minutes * 60);
  }
  *us = (civil_days(year, month, day) * 86400 + t.hour * 3600 + t.minute * 60 + t.second - offset) * SECOND +
        t.us;
  return *p == 0;
}

static bool day_parse(const char *p, int64_t now_us, int64_t *us) {
  int back;
  if (strncmp(p, "today", 5) == 0) {
    back = 0;
    p += 5;
  } else if (strncmp(p, "yesterday", 9) == 0) {
    back = 1;
    p += 9;
  } else {
    return false;
  }
  clock_time t = {0};
  if (*p == ' ') {
    p++;
    if (!clock_parse(&p, &t))
      return false;
  }
  if (*p)
    return false;
  time_t now = (time_t)(now_us / SECOND);
  struct tm tm;
  if (!localtime_r(&now, &tm))
    return false;
  return local_us(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday - back, &t, us);
}

/* The last time that it was that o'clock. */
static bool oclock_parse(const char *p, int64_t now_us, int64_t *us) {
  time_t now = (time_t)(now_us / SECOND);
  clock_time t;
  struct tm tm;
  if (!clock_parse(&p, &t) || *p || !localtime_r(&now, &tm) ||
      !local_us(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, &t, us))
    return false;
  return *us <= now_us || local_us(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday - 1, &t, us);
}

bool span_parse(const char *p, int64_t *us) {
  static const struct {
    const char *name;
    int64_t us;
  } units[] = {
      {"ms", 1000},    {"us", 1},         {"s", 1000000},     {"min", 60000000},
      {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}, {"w", 604800000000},
  };
  int64_t sum = 0;
  if (*p == 0)
    return false;
  while (*p) {
    int64_t number = 0, unit = 0;
    const char *begin = p;
    for (; *p >= '0' && *p <= '9'; p++) {
      if (number > INT64_MAX / 10 - 10)
        return false;
      number = number * 10 + (*p - '0');
    }
    if (p == begin)
      return false;
    for (size_t i = 0; unit == 0 && i < sizeof units / sizeof *units; i++) {
      size_t len = strlen(units[i].name);
      if (strncmp(p, units[i].name, len) == 0 && (p[len] == 0 || (p[len] >= '0' && p[len] <= '9'))) {
        unit = units[i].us;
        p += len;
      }
    }
    if (unit == 0 || number > (INT64_MAX - sum) / unit)
      return false;
    sum += number * unit;
  }
  *us = sum;
  return true;
}

bool when_parse(const char *text, int64_t now_us, int64_t *us) {
  int64_t value;
  if (strcmp(text, "now") == 0) {
    *us = now_us;
    return true;
  }
  if (text[0] == '-') {
    if (!span_parse(text + 1, &value))
      return false;
    *us = now_us - value;
    return true;
  }
  if (text[0] == '@') {
    int64_t seconds = 0, part = 0;
    const char *p = text + 1;
    for (; *p >= '0' && *p <= '9' && seconds < INT64_MAX / SECOND / 10; p++)
      seconds = seconds * 10 + (*p - '0');
    if (p == text + 1 || !fraction(&p, &part) || *p)
      return false;
    *us = seconds * SECOND + part;
    return true;
  }
  if (!day_parse(text, now_us, &value) && !oclock_parse(text, now_us, &value) && !date_parse(text, &value))
    return false;
  *us = value;
  return true;
}

bool number_parse(const char *text, uint64_t *number) {
  uint64_t value = 0;
  if (*text == 0)
    return false;
  for (; *text; text++) {
    uint64_t digit = (uint64_t)(*text - '0');
    if (*text < '0' || *text > '9' || value > (UINT64_MAX - digit) / 10)
      return false;
    value = value * 10 + digit;
  }
  *number = value;
  return true;
}

bool size_parse(const char *text, uint64_t *bytes) {
  static const char letters[] = "KMGTP";
  char number[24];
  size_t n = strspn(text, "0123456789");
  uint64_t value, unit = 1;
  if (n == 0 || n >= sizeof number)
    return false;
  memcpy(number, text, n);
  number[n] = 0;
  if (!number_parse(number, &value))
    return false;
  const char *p = text + n;
  if (*p == ' ')
    p++;
  char upper = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
  const char *letter = *p ? strchr(letters, upper) : NULL;
  if (letter) {
    const char *rest = p + 1;
    bool decimal = strcmp(rest, "B") == 0 || strcmp(rest, "b") == 0;
    if (!decimal && *rest && strcmp(rest, "iB") != 0)
      return false;
    for (int i = 0; i <= letter - letters; i++)
      unit *= decimal ? 1000 : 1024;
  } else if (*p && strcmp(p, "B") != 0) {
    return false;
  }
  if (value > UINT64_MAX / unit)
    return false;
  *bytes = value * unit;
  return true;
}

static int64_t floor_second(int64_t us) { return us >= 0 ? us / SECOND : -((-us + SECOND - 1) / SECOND); }

void when_rfc3339(int64_t us, char out[WHEN_MAX]) {
  time_t at = (time_t)floor_second(us);
  struct tm tm = {0};
  gmtime_r(&at, &tm);
  snprintf(out, WHEN_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
           tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us - at * SECOND));
}

void when_local(int64_t us, char out[WHEN_MAX], bool precise) {
  time_t at = (time_t)floor_second(us);
  int part = (int)(us - at * SECOND);
  struct tm tm = {0};
  char day[32], end[32];
  localtime_r(&at, &tm);
  strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm);
  long offset = tm.tm_gmtoff / 60, size = offset < 0 ? -offset : offset;
  if (precise)
    snprintf(end, sizeof end, ".%06d %c%02ld:%02ld", part, offset < 0 ? '-' : '+', size / 60 % 100,
             size % 60);
  else
    snprintf(end, sizeof end, ".%03d", part / 1000);
  snprintf(out, WHEN_MAX, "%s%s", day, end);
}

void when_brief(int64_t us, int64_t now_us, char out[WHEN_MAX]) {
  time_t at = (time_t)floor_second(us), now = (time_t)floor_second(now_us);
  struct tm tm = {0}, today = {0};
  localtime_r(&at, &tm);
  localtime_r(&now, &today);
  if (tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday)
    snprintf(out, WHEN_MAX, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec,
             (int)(us - at * SECOND) / 1000);
  else if (tm.tm_year == today.tm_year)
    snprintf(out, WHEN_MAX, "%02d-%02d %02d:%02d", tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min);
  else
    snprintf(out, WHEN_MAX, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}
