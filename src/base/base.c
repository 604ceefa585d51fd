/* Statuses and their texts, the detail of the last failure, buffers. */
#include "base/base.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DETAIL_SIZE 1024

static _Thread_local char last_detail[DETAIL_SIZE];

/* A detail is one line of UTF-8 whatever went into it (names from damaged files, a producer's bytes):
 * control characters become blanks, bytes that are no UTF-8 become '?', a cut character is dropped. */
static void clean_detail(char *text, bool cut) {
  size_t len = strlen(text);
  for (size_t i = 0; i < len; i++)
    if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f) text[i] = ' ';
  for (size_t i = 0;; text[i++] = '?') {
    i += sl_utf8_prefix((sl_slice){text + i, len - i});
    if (i == len) return;
    if (cut && len - i < 4 && (uint8_t)text[i] >= 0xc2) {
      text[i] = 0;
      return;
    }
  }
}

/* Formats into a buffer of its own first: an argument may point into the present detail. */
static void SL_PRINTF(1, 0) set_detail(const char *format, va_list args, bool keep_old) {
  char text[DETAIL_SIZE];
  int saved = errno;
  int n = vsnprintf(text, sizeof text, format, args);
  size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  bool cut = n >= (int)sizeof text;
  text[len] = 0;
  if (keep_old && last_detail[0] && !cut) {
    n = snprintf(text + len, sizeof text - len, ": %s", last_detail);
    cut = n >= (int)(sizeof text - len);
  }
  clean_detail(text, cut);
  memcpy(last_detail, text, strlen(text) + 1);
  errno = saved;
}

sl_status sl_fail(sl_status status, const char *format, ...) {
  va_list args;
  const size_t len = strlen(format);
  if (len < DETAIL_SIZE && !memchr(format, '%', len)) { /* as at the end of every iteration */
    memcpy(last_detail, format, len + 1);
    clean_detail(last_detail, false);
    return status;
  }
  va_start(args, format);
  set_detail(format, args, false);
  va_end(args);
  return status;
}

sl_status sl_fail_context(sl_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  set_detail(format, args, true);
  va_end(args);
  return status;
}

sl_status sl_status_of_errno(int err) {
  switch (err) {
    case ENOSPC:
#ifdef EDQUOT
    case EDQUOT:
#endif
      return SL_E_FULL;
    case EACCES:
    case EPERM:
    case EROFS:
      return SL_E_ACCESS;
    case ENOMEM:
      return SL_E_NOMEM;
    default:
      return SL_E_IO;
  }
}

const char *sl_last_detail(void) { return last_detail; }

const char *sl_status_text(sl_status status) {
  switch (status) {
    case SL_OK: return "ok";
    case SL_NOTFOUND: return "not found";
    case SL_TIMEOUT: return "timed out";
    case SL_E_INVALID: return "invalid argument";
    case SL_E_TOO_LARGE: return "too large";
    case SL_E_FULL: return "store full";
    case SL_E_NOMEM: return "out of memory";
    case SL_E_IO: return "input/output error";
    case SL_E_CORRUPT: return "damaged data";
    case SL_E_VERSION: return "newer format version";
    case SL_E_BUSY: return "in use";
    case SL_E_FORKED: return "store belongs to the parent process";
    case SL_E_AMBIGUOUS: return "ambiguous";
    case SL_E_ACCESS: return "access denied";
    case SL_E_UNSUPPORTED: return "not supported here";
    case SL_E_MISMATCH: return "parts of the store do not belong together";
    case SL_E_NO_STORE: return "no store there";
    case SL_E_LIMIT: return "limit met";
    case SL_E_UNCERTAIN: return "stored or not, which cannot be told";
    case SL_E_AGAIN: return "queue full, try again";
  }
  return "unknown status";
}

const char *sl_state_text(sl_state state) {
  switch (state) {
    case SL_PENDING: return "pending";
    case SL_SENT: return "sent";
    case SL_DUPLICATE: return "duplicate";
    case SL_DEAD: return "dead";
    case SL_DROPPED: return "dropped";
  }
  return "unknown";
}

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *sl_version(void) { return VERSION_TEXT(SL_VERSION_MAJOR, SL_VERSION_MINOR, SL_VERSION_PATCH); }

void *sl_buf_extend(sl_buf *buf, size_t len) {
  if (buf->failed) return NULL;
  if (len > buf->cap - buf->len || !buf->data) {
    size_t need = buf->len + len;
    if (need < len || need > SIZE_MAX / 2) {
      buf->failed = true;
      return NULL;
    }
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap < need) cap *= 2;
    uint8_t *data = realloc(buf->lent ? NULL : buf->data, cap);
    if (!data) {
      buf->failed = true;
      return NULL;
    }
    if (buf->lent) memcpy(data, buf->data, buf->len);
    buf->lent = false;
    buf->data = data;
    buf->cap = cap;
  }
  void *where = buf->data + buf->len;
  buf->len += len;
  return where;
}

void sl_buf_append(sl_buf *buf, const void *data, size_t len) {
  if (len == 0) return;
  void *where = sl_buf_extend(buf, len);
  if (where) memcpy(where, data, len);
}

void sl_buf_free(sl_buf *buf) {
  if (!buf->lent) free(buf->data);
  *buf = (sl_buf){0};
}
