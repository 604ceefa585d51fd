/* Ends an agent by SIGKILL at a named step of a transaction: preloaded (LD_PRELOAD), it stands before the calls of
 * librdkafka and LMDB that the steps are made of.
 *
 * SIDELOG_KILL=KIND:STEP, KIND of what the transaction sends: event, letter (a dead one's copy), replay. STEP:
 *   produce         before its first record is handed over
 *   flush, flushed  before and after it waits for the broker to have them all
 *   intent, intended  before and after the intent, with the receipts, is written
 *   commit          before the commit is asked for
 *   asked           the commit has left for the broker, whose answer is never read
 *   committed       after the broker's answer, before the receipts count
 *   settle, settled before and after they do
 *   abort           before an abort is asked for
 *   aborting        it has left for the broker
 *   aborted         after the broker's answer
 * KIND start: before the agent's first transaction, when it writes what became of that of the one before (an
 * intent that is settled or abandoned, as the broker says):
 *   note, noted     before and after it is written
 * SIDELOG_KILL_TURN=N: in the Nth transaction of that kind.
 * SIDELOG_KILL_WITH=STOP: it is stopped there instead, once, and goes on when it is told to.
 */
#undef _GNU_SOURCE
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <librdkafka/rdkafka.h>
#include <lmdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef RTLD_NEXT
#define RTLD_NEXT ((void *)-1L)
#endif

enum { API_END_TXN = 26 };

static const char *_Atomic kind = "";
static atomic_int flushed, intended, committed, aborts; /* of the transaction in hand */
static atomic_int begun; /* the first one has */
static atomic_int turns; /* transactions of the wanted kind */
static atomic_int known; /* what became of the last agent's is */

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void step_of(const char *of, const char *name) {
  const char *wanted = getenv("SIDELOG_KILL");
  const size_t len = strlen(of);
  if (!wanted || len == 0 || strncmp(wanted, of, len) != 0 || wanted[len] != ':') return;
  const char *turn = getenv("SIDELOG_KILL_TURN"), *with = getenv("SIDELOG_KILL_WITH");
  if (strcmp(name, "produce") == 0) atomic_fetch_add(&turns, 1);
  if (strcmp(wanted + len + 1, name) != 0 || (turn && atomic_load(&turns) != atoi(turn))) return;
  if (!with || strcmp(with, "STOP") != 0) {
    kill(getpid(), SIGKILL);
    for (;;) pause(); /* it may take effect on another thread first */
  }
  static atomic_int once;
  if (atomic_exchange(&once, 1)) return;
  kill(getpid(), SIGSTOP);
}

static void step(const char *name) { step_of(atomic_load(&kind), name); }

static void begin(void) {
  atomic_store(&kind, "");
  atomic_store(&flushed, 0);
  atomic_store(&intended, 0);
  atomic_store(&committed, 0);
  atomic_store(&aborts, 0);
  atomic_store(&begun, 1);
}

rd_kafka_error_t *rd_kafka_begin_transaction(rd_kafka_t *rk) {
  rd_kafka_error_t *(*next)(rd_kafka_t *) = NULL;
  *(void **)&next = real("rd_kafka_begin_transaction");
  begin();
  return next(rk);
}

rd_kafka_error_t *rd_kafka_init_transactions(rd_kafka_t *rk, int timeout_ms) {
  rd_kafka_error_t *(*next)(rd_kafka_t *, int) = NULL;
  *(void **)&next = real("rd_kafka_init_transactions");
  rd_kafka_error_t *result = next(rk, timeout_ms);
  atomic_store(&known, 1);
  return result;
}

/* What a transaction sends is told by the headers that the agent adds. */
static void told_by(const rd_kafka_headers_t *headers) {
  const void *value;
  size_t size;
  if (!atomic_load(&begun) || atomic_load(&flushed)) begin(); /* at least once: there is nobody else to say so */
  if (!headers) return;
  const char *now = atomic_load(&kind), *is = now;
#define HAS(name) (rd_kafka_header_get_last(headers, name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
  if (HAS("dlq_topic")) is = "letter";
  else if (HAS("x-sidelog-replay-of") && strcmp(now, "letter") != 0) is = "replay";
  else if (HAS("x-dedup-key") && !now[0]) is = "event";
#undef HAS
  if (is == now) return;
  atomic_store(&kind, is);
  step("produce");
}

/* The kinds of arguments that the agent gives, and no other. */
rd_kafka_resp_err_t rd_kafka_producev(rd_kafka_t *rk, ...) {
  static rd_kafka_error_t *(*next)(rd_kafka_t *, const rd_kafka_vu_t *, size_t);
  if (!next) *(void **)&next = real("rd_kafka_produceva");
  rd_kafka_vu_t given[16];
  size_t count = 0;
  va_list args;
  va_start(args, rk);
  for (rd_kafka_vtype_t type; (type = va_arg(args, rd_kafka_vtype_t)) != RD_KAFKA_VTYPE_END; count++) {
    if (count == sizeof given / sizeof *given) abort();
    rd_kafka_vu_t *vu = &given[count];
    *vu = (rd_kafka_vu_t){.vtype = type};
    switch (type) {
      case RD_KAFKA_VTYPE_RKT: vu->u.rkt = va_arg(args, rd_kafka_topic_t *); break;
      case RD_KAFKA_VTYPE_PARTITION: vu->u.i32 = va_arg(args, int32_t); break;
      case RD_KAFKA_VTYPE_MSGFLAGS: vu->u.i = va_arg(args, int); break;
      case RD_KAFKA_VTYPE_VALUE:
      case RD_KAFKA_VTYPE_KEY:
        vu->u.mem.ptr = va_arg(args, void *);
        vu->u.mem.size = va_arg(args, size_t);
        break;
      case RD_KAFKA_VTYPE_HEADERS: told_by(vu->u.headers = va_arg(args, rd_kafka_headers_t *)); break;
      case RD_KAFKA_VTYPE_TIMESTAMP: vu->u.i64 = va_arg(args, int64_t); break;
      case RD_KAFKA_VTYPE_OPAQUE: vu->u.ptr = va_arg(args, void *); break;
      default: abort();
    }
  }
  va_end(args);
  rd_kafka_error_t *error = next(rk, given, count);
  const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
  rd_kafka_error_destroy(error);
  return code;
}

rd_kafka_resp_err_t rd_kafka_flush(rd_kafka_t *rk, int timeout_ms) {
  rd_kafka_resp_err_t (*next)(rd_kafka_t *, int) = NULL;
  *(void **)&next = real("rd_kafka_flush");
  step("flush");
  const rd_kafka_resp_err_t result = next(rk, timeout_ms);
  step("flushed");
  atomic_store(&flushed, 1);
  return result;
}

rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *rk, int timeout_ms) {
  rd_kafka_error_t *(*next)(rd_kafka_t *, int) = NULL;
  *(void **)&next = real("rd_kafka_commit_transaction");
  step("commit");
  rd_kafka_error_t *result = next(rk, timeout_ms);
  step("committed");
  atomic_store(&committed, 1);
  return result;
}

rd_kafka_error_t *rd_kafka_abort_transaction(rd_kafka_t *rk, int timeout_ms) {
  rd_kafka_error_t *(*next)(rd_kafka_t *, int) = NULL;
  *(void **)&next = real("rd_kafka_abort_transaction");
  step("abort");
  atomic_store(&aborts, 1);
  rd_kafka_error_t *result = next(rk, timeout_ms);
  step("aborted");
  return result;
}

int mdb_txn_commit(MDB_txn *txn) {
  static int (*next)(MDB_txn *);
  if (!next) *(void **)&next = real("mdb_txn_commit");
  const char *path = NULL;
  mdb_env_get_path(mdb_txn_env(txn), &path);
  const int in_book = path && strstr(path, "delivery") != NULL;
  const int settles = in_book && atomic_load(&committed), plans = in_book && !settles && atomic_load(&flushed);
  const int starts = in_book && atomic_load(&known) && !atomic_load(&begun);
  if (starts) step_of("start", "note");
  if (settles) step("settle");
  if (plans && !atomic_load(&intended)) step("intent");
  const int result = next(txn);
  if (plans && !atomic_exchange(&intended, 1)) step("intended");
  if (settles) step("settled");
  if (starts) step_of("start", "noted");
  return result;
}

static void end_txn_has_left(void) { step(atomic_load(&aborts) ? "aborting" : "asked"); }

/* A request begins with its length and its kind. */
static int is_end_txn(const struct iovec *parts, size_t count) {
  unsigned char head[6];
  size_t have = 0;
  for (size_t i = 0; i < count && have < sizeof head; i++)
    for (size_t k = 0; k < parts[i].iov_len && have < sizeof head; k++)
      head[have++] = ((const unsigned char *)parts[i].iov_base)[k];
  return have == sizeof head && head[4] == 0 && head[5] == API_END_TXN;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  static ssize_t (*next)(int, const struct msghdr *, int);
  if (!next) *(void **)&next = real("sendmsg");
  const ssize_t sent = next(fd, message, flags);
  if (sent > 0 && is_end_txn(message->msg_iov, message->msg_iovlen)) end_txn_has_left();
  return sent;
}

ssize_t send(int fd, const void *data, size_t len, int flags) {
  static ssize_t (*next)(int, const void *, size_t, int);
  if (!next) *(void **)&next = real("send");
  const ssize_t sent = next(fd, data, len, flags);
  const struct iovec part = {(void *)(size_t)data, len};
  if (sent > 0 && is_end_txn(&part, 1)) end_txn_has_left();
  return sent;
}
