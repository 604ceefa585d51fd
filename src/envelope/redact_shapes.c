/* The shapes of secrets: one table, and what cannot be said in a row of it. */
#include "redact_shapes.h"

#include <ctype.h>

typedef enum charset { UPPER_NUM, ALNUM, WORD /* alphanumeric, - and _ */, HEX, BASE64 } charset;

/* prefix, then at least so many of the set. */
typedef struct shape { const char *prefix; charset set; size_t least; } shape;

static const shape shapes[] = {
  {"sk-", WORD, 16},         /* OpenAI, Anthropic (sk-ant-), others alike */
  {"AIza", WORD, 30},        /* Google */
  {"ya29.", WORD, 20},       /* Google OAuth */
  {"AKIA", UPPER_NUM, 16},   /* AWS */
  {"ASIA", UPPER_NUM, 16},   {"AROA", UPPER_NUM, 16},  {"AIDA", UPPER_NUM, 16},
  {"ghp_", ALNUM, 30},       /* GitHub */
  {"gho_", ALNUM, 30},       {"ghu_", ALNUM, 30},      {"ghs_", ALNUM, 30}, {"ghr_", ALNUM, 30},
  {"github_pat_", WORD, 22},
  {"glpat-", WORD, 20},      /* GitLab */
  {"gldt-", WORD, 20},       {"glrt-", WORD, 20},
  {"xoxb-", WORD, 10},       /* Slack */
  {"xoxp-", WORD, 10},       {"xoxa-", WORD, 10},      {"xoxr-", WORD, 10}, {"xoxs-", WORD, 10},
  {"xapp-", WORD, 10},
  {"sk_live_", ALNUM, 10},   /* Stripe */
  {"sk_test_", ALNUM, 10},   {"rk_live_", ALNUM, 10},  {"rk_test_", ALNUM, 10}, {"whsec_", ALNUM, 16},
  {"npm_", ALNUM, 30},       {"hf_", ALNUM, 30},
};

static bool in_set(charset set, unsigned char c) {
  switch (set) {
  case UPPER_NUM: return isupper(c) || isdigit(c);
  case ALNUM: return isalnum(c);
  case WORD: return isalnum(c) || c == '-' || c == '_';
  case HEX: return isdigit(c) || (c >= 'a' && c <= 'f');
  case BASE64: return isalnum(c) || c == '+' || c == '/' || c == '=' || c == '-' || c == '_' || c == '.';
  }
  return false;
}

static size_t run_of(const unsigned char *p, size_t len, charset set) {
  size_t n = 0;
  while (n < len && in_set(set, p[n])) n++;
  return n;
}

static bool begins(const unsigned char *p, size_t len, const char *word) {
  size_t n = strlen(word);
  for (size_t i = 0; i < n; i++)
    if (i >= len || tolower(p[i]) != tolower((unsigned char)word[i])) return false;
  return true;
}

static size_t table_shape(const unsigned char *p, size_t len) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    const size_t n = strlen(shapes[i].prefix);
    if (len < n || memcmp(p, shapes[i].prefix, n) != 0) continue;
    const size_t run = run_of(p + n, len - n, shapes[i].set);
    if (run >= shapes[i].least) return n + run;
  }
  return 0;
}

/* Three runs with dots between, the first a JSON object in base64. *whole: the length of that first run. A run
 * without a dot behind it holds no token, wherever in it one looks. */
static size_t jwt(const unsigned char *p, size_t len, size_t *whole) {
  if (len < 20 || memcmp(p, "eyJ", 3) != 0) return 0;
  size_t at = *whole = run_of(p, len, WORD);
  if (at < 10 || at >= len || p[at] != '.') return 0;
  const size_t body = run_of(p + at + 1, len - at - 1, WORD);
  if (body < 4) return 0;
  at += 1 + body;
  if (at < len && p[at] == '.') at += 1 + run_of(p + at + 1, len - at - 1, WORD);
  return at;
}

/* Z.ai: 32 hexadecimal digits, a dot, 16 and more alphanumerics. */
static size_t dotted_hex(const unsigned char *p, size_t len) {
  if (run_of(p, len, HEX) != 32 || len < 49 || p[32] != '.') return 0;
  const size_t tail = run_of(p + 33, len - 33, ALNUM);
  return tail >= 16 ? 33 + tail : 0;
}

static const unsigned char *find(const unsigned char *p, size_t len, const char *word) {
  return memmem(p, len, word, strlen(word));
}

/* To the end line, or to the end of the text where it was cut. */
static size_t pem(const unsigned char *p, size_t len) {
  if (len < 11 || memcmp(p, "-----BEGIN ", 11) != 0) return 0;
  const unsigned char *end = find(p, len, "-----END ");
  if (!end) return len;
  const size_t head = (size_t)(end - p) + 9;
  const unsigned char *close = find(p + head, len - head, "-----");
  return close ? (size_t)(close - p) + 5 : len;
}

size_t shape_at(sl_slice text, size_t at, size_t *keep, size_t *barren) {
  const unsigned char *all = text.data, *p = all + at;
  const size_t len = text.len - at;
  *keep = 0;
  if (*p == '-') return pem(p, len);
  if (*p == ':' && len > 3 && p[1] == '/' && p[2] == '/') { /* scheme://user:PASSWORD@host */
    size_t user = 3;
    while (user < len && !strchr(":@/?# \t\r\n\"'", p[user])) user++;
    if (user >= len || p[user] != ':') return 0;
    size_t end = user + 1, host = 0;
    for (; end < len && !strchr("/ \t\r\n\"'", p[end]); end++)
      if (p[end] == '@') host = end;
    if (host <= user + 1) return 0;
    *keep = user + 1;
    return host;
  }
  if (at > 0 && (isalnum(all[at - 1]) || all[at - 1] == '_')) return 0;
  if (!isalnum(*p)) return 0;
  size_t n = table_shape(p, len), whole = 0;
  if (n == 0 && at >= *barren) {
    n = jwt(p, len, &whole);
    if (n == 0) *barren = at + whole;
  }
  if (n == 0) n = dotted_hex(p, len);
  if (n > 0) return n;
  const size_t word = begins(p, len, "bearer ") ? 7 : begins(p, len, "basic ") ? 6 : 0;
  if (word == 0) return 0;
  const size_t run = run_of(p + word, len - word, BASE64);
  if (run < 8) return 0;
  *keep = word;
  return word + run;
}

bool redact_name(sl_slice name) {
  static const char *const ends[] = {"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey",
                                     "privatekey", "accesskey", "secretkey", "signingkey", "encryptionkey",
                                     "authkey", "authorization", "credential", "credentials", "connectionstring",
                                     "cookie", "accesskeyid", "dsn"};
  char plain[64];
  size_t n = 0;
  const unsigned char *p = name.data;
  if (name.len > 255) return false;
  for (size_t i = name.len; i-- > 0 && n < sizeof plain;) /* from the end, where the word is */
    if (isalnum(p[i])) plain[n++] = (char)tolower(p[i]);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    const size_t len = strlen(ends[i]);
    size_t k = 0;
    while (k < len && k < n && plain[k] == ends[i][len - 1 - k]) k++;
    if (k == len) return true;
  }
  return false;
}
