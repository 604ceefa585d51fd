/* What a record that failed by its own fault may spend, as the configuration writes it: "6 retries, 100ms..5s" for
 * a class, "MSG_SIZE_TOO_LARGE=lane, INVALID_RECORD=retry" for single codes. */
#include "settings_inner.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* A pause holds up the whole agent (only one transaction is in hand), so it is short, whatever anybody writes. */
#define RETRIES_MOST 100
#define PAUSE_LEAST INT64_C(1000)
#define PAUSE_MOST INT64_C(60000000)

static const char *skip_blanks(const char *p) { return p + strspn(p, " \t"); }

static bool read_pauses(const char *text, retry_rule *out) {
  char low[32];
  const char *dots = strstr(text, "..");
  if (!dots || dots == text || (size_t)(dots - text) >= sizeof low) return false;
  memcpy(low, text, (size_t)(dots - text));
  low[dots - text] = 0;
  int64_t base, cap;
  if (!setting_duration(low, &base) || !setting_duration(dots + 2, &cap)) return false;
  if (base < PAUSE_LEAST || base > cap || cap > PAUSE_MOST) return false;
  out->base_us = base;
  out->cap_us = cap;
  return true;
}

bool taxonomy_rule(const char *text, retry_rule *out, char *reason, size_t cap) {
  char quoted[SETTING_QUOTE];
  retry_rule rule = *out;
  char *end;
  const char *p = skip_blanks(text);
  const long count = isdigit((unsigned char)*p) ? strtol(p, &end, 10) : -1;
  if (count >= 0) {
    p = skip_blanks(end);
    if (strncmp(p, "retries", 7) == 0) p += 7;
    else if (strncmp(p, "retry", 5) == 0) p += 5;
    p = skip_blanks(p);
    if (*p == ',') p = skip_blanks(p + 1);
  }
  if (count < 0 || count > RETRIES_MOST || (*p && !read_pauses(p, &rule))) {
    setting_quote(text, quoted, sizeof quoted);
    snprintf(reason, cap, "'%s' is not of the form 6 retries, 100ms..5s (0..%d retries, pauses of 1ms..1m)",
             quoted, RETRIES_MOST);
    return false;
  }
  rule.budget = (uint32_t)count;
  *out = rule;
  return true;
}

static int class_of(const char *name) {
  for (int i = CLASS_RETRYABLE_TRANSIENT; i < FAULT_CLASSES; i++)
    if (strcmp(fault_class_text((fault_class)i), name) == 0) return i;
  return -1;
}

static bool treatment_of(const char *word, uint8_t *out, char *reason, size_t cap) {
  static const struct { const char *word; uint8_t treatment; } words[] = {
    {"default", TREAT_BY_CLASS}, {"dead-letter", TREAT_DEAD_LETTER}, {"lane", TREAT_LANE},
    {"retry", TREAT_AS + CLASS_RETRYABLE_TRANSIENT}};
  char quoted[SETTING_QUOTE];
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(words[i].word, word) == 0) return *out = words[i].treatment, true;
  const int class_ = class_of(word);
  setting_quote(word, quoted, sizeof quoted);
  if (class_ == CLASS_NON_RETRYABLE_SECURITY || class_ == CLASS_NON_RETRYABLE_IDEMPOTENCY)
    return snprintf(reason, cap, "%s is never a single record's; write dead-letter, lane or retry", quoted), false;
  if (class_ < 0)
    return snprintf(reason, cap, "'%s' is none of dead-letter, lane, retry, default, or a class such as "
                    "RETRYABLE_DEPENDENCY", quoted), false;
  *out = (uint8_t)(TREAT_AS + class_);
  return true;
}

static bool code_of(const char *name, int *at, char *reason, size_t cap) {
  char quoted[SETTING_QUOTE];
  *at = fault_record_code(name);
  if (*at >= 0) return true;
  int n = snprintf(reason, cap, "'%s' does not tell of a single record, so it is treated alike for all, or "
                   "exactness and order would break; those that do: ", setting_quote(name, quoted, sizeof quoted));
  for (int i = 0; i < FAULT_RECORD_CODES && n > 0 && (size_t)n < cap; i++)
    n += snprintf(reason + n, cap - (size_t)n, "%s%s", i ? ", " : "", fault_record_codes[i]);
  return false;
}

bool taxonomy_codes(const char *text, uint8_t codes[FAULT_RECORD_CODES], char *reason, size_t cap) {
  uint8_t made[FAULT_RECORD_CODES];
  memcpy(made, codes, sizeof made);
  for (const char *p = skip_blanks(text); *p;) {
    char name[64], word[64];
    int used = 0, at;
    if (sscanf(p, "%63[A-Za-z0-9_] = %63[A-Za-z0-9_-]%n", name, word, &used) != 2) {
      char quoted[SETTING_QUOTE];
      return snprintf(reason, cap, "'%s' is not of the form CODE=TREATMENT, CODE=TREATMENT",
                      setting_quote(p, quoted, sizeof quoted)), false;
    }
    uint8_t treatment;
    if (!code_of(name, &at, reason, cap) || !treatment_of(word, &treatment, reason, cap)) return false;
    made[at] = treatment;
    p = skip_blanks(p + used);
    if (*p && *p != ',') return snprintf(reason, cap, "lacks a comma between two codes"), false;
    if (*p) p = skip_blanks(p + 1);
  }
  memcpy(codes, made, sizeof made);
  return true;
}

void settings_rules(const settings *s, sl_slice topic, fault_rules *out) {
  const topic_rule rule = settings_topic(s, topic);
  char reason[512]; /* all of it was read once before */
  *out = fault_rules_default;
  for (int i = 0; i < TAXONOMY_CLASSES; i++) {
    retry_rule *to = &out->of[CLASS_RETRYABLE_TRANSIENT + i];
    if (s->taxonomy[i]) taxonomy_rule(s->taxonomy[i], to, reason, sizeof reason);
    if (rule.taxonomy[i]) taxonomy_rule(rule.taxonomy[i], to, reason, sizeof reason);
  }
  if (s->taxonomy_codes) taxonomy_codes(s->taxonomy_codes, out->codes, reason, sizeof reason);
  if (rule.taxonomy_codes) taxonomy_codes(rule.taxonomy_codes, out->codes, reason, sizeof reason);
}
