/* How large the batch of a single record is: what the broker measures against max.message.bytes. Exact without
 * compression. With it the record is compressed here as librdkafka would, by the same libraries, or, for snappy,
 * by the same rules. Theirs may be of another version than ours. So the requests that leave are watched: two
 * records, each alone in its request, of different sizes and each of exactly the size that was foretold, and the
 * codec is taken for the same from then on. Before that a little is taken off, and of snappy nothing is said. */
#include "handle.h"
#include "snappy.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef SIDELOG_LZ4
#include <lz4frame.h>
#endif
#ifdef SIDELOG_ZLIB
#include <zlib.h>
#endif
#ifdef SIDELOG_ZSTD
#include <zstd.h>
#endif

#define BATCH_HEADER 61
#define PIECE 65536
#define DOUBT 64 /* one part in so many */
#define SURE 2   /* sizes foretold */

/* Takes the bytes of a record one after the other; counts what a codec makes of them. */
typedef struct scale {
  size_t whole, packed;
  bool broken; /* the codec cannot say */
  bool (*take)(struct scale *s, const void *data, size_t len, bool last);
  uint8_t *out; /* thrown away; of snappy the block that is not full */
  size_t cap, len;
#ifdef SIDELOG_LZ4
  LZ4F_cctx *lz4;
#endif
#ifdef SIDELOG_ZLIB
  z_stream gzip;
#endif
#ifdef SIDELOG_ZSTD
  ZSTD_CStream *zstd;
#endif
} scale;

static void put(scale *s, const void *data, size_t len) {
  s->whole += len;
  for (size_t at = 0; at < len && s->take && !s->broken; at += PIECE)
    s->broken = !s->take(s, (const uint8_t *)data + at, len - at < PIECE ? len - at : PIECE, false);
}

static size_t varint(int64_t value, uint8_t out[10]) {
  uint64_t z = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
  size_t n = 0;
  for (; z >= 0x80; z >>= 7) out[n++] = (uint8_t)(z | 0x80);
  out[n++] = (uint8_t)z;
  return n;
}

static void put_number(scale *s, int64_t value) {
  uint8_t bytes[10];
  put(s, bytes, varint(value, bytes));
}

static size_t size_of(int64_t value) {
  uint8_t bytes[10];
  return varint(value, bytes);
}

static size_t size_of_bytes(const void *data, size_t len) {
  return size_of(data ? (int64_t)len : -1) + (data ? len : 0);
}

static void put_bytes(scale *s, const void *data, size_t len) {
  put_number(s, data ? (int64_t)len : -1);
  if (data) put(s, data, len);
}

/* The first record of a batch of format 2. */
static void put_record(scale *s, const kafka_record *r) {
  size_t len = 3 + size_of_bytes(r->key.data, r->key.len) + size_of_bytes(r->value.data, r->value.len) +
               size_of((int64_t)r->header_count);
  for (size_t i = 0; i < r->header_count; i++)
    len += size_of_bytes(r->headers[i].name.data, r->headers[i].name.len) +
           size_of((int64_t)r->headers[i].value.len) + r->headers[i].value.len;
  put_number(s, (int64_t)len);
  put(s, "\0\0", 3); /* attributes, and its distance to itself in time and place */
  put_bytes(s, r->key.data, r->key.len);
  put_bytes(s, r->value.data, r->value.len);
  put_number(s, (int64_t)r->header_count);
  for (size_t i = 0; i < r->header_count; i++) {
    const sl_header *h = &r->headers[i];
    put_bytes(s, h->name.data, h->name.len);
    put_number(s, (int64_t)h->value.len);
    put(s, h->value.data, h->value.len);
  }
}

#ifdef SIDELOG_LZ4
static bool count_lz4(scale *s, size_t made) {
  if (LZ4F_isError(made)) return false;
  s->packed += made;
  return true;
}

static bool take_lz4(scale *s, const void *data, size_t len, bool last) {
  if (last) return count_lz4(s, LZ4F_compressEnd(s->lz4, s->out, s->cap, NULL));
  return count_lz4(s, LZ4F_compressUpdate(s->lz4, s->out, s->cap, data, len, NULL));
}

static bool begin_lz4(scale *s, int level) {
  const LZ4F_preferences_t how = {.frameInfo = {.blockMode = LZ4F_blockIndependent}, .compressionLevel = level};
  s->cap = LZ4F_compressBound(PIECE, &how) + 1024;
  s->out = malloc(s->cap);
  if (!s->out || LZ4F_isError(LZ4F_createCompressionContext(&s->lz4, LZ4F_VERSION))) return false;
  s->take = take_lz4;
  return count_lz4(s, LZ4F_compressBegin(s->lz4, s->out, s->cap, &how));
}
#endif

#ifdef SIDELOG_ZLIB
static bool take_gzip(scale *s, const void *data, size_t len, bool last) {
  s->gzip.next_in = (Bytef *)(uintptr_t)data;
  s->gzip.avail_in = (uInt)len;
  do {
    s->gzip.next_out = s->out;
    s->gzip.avail_out = (uInt)s->cap;
    if (deflate(&s->gzip, last ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_ERROR) return false;
    s->packed += s->cap - s->gzip.avail_out;
  } while (s->gzip.avail_out == 0);
  return true;
}

static bool begin_gzip(scale *s, int level) {
  enum { WINDOW = 15, WITH_HEADER = 16, MEMORY = 8 };
  s->cap = PIECE;
  s->out = malloc(s->cap);
  if (!s->out) return false;
  if (deflateInit2(&s->gzip, level, Z_DEFLATED, WINDOW + WITH_HEADER, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
    return false;
  s->take = take_gzip;
  return true;
}
#endif

#ifdef SIDELOG_ZSTD
static bool take_zstd(scale *s, const void *data, size_t len, bool last) {
  ZSTD_inBuffer in = {data, len, 0};
  size_t left = 1;
  while (last ? left > 0 : in.pos < in.size) {
    ZSTD_outBuffer out = {s->out, s->cap, 0};
    left = last ? ZSTD_endStream(s->zstd, &out) : ZSTD_compressStream(s->zstd, &out, &in);
    if (ZSTD_isError(left)) return false;
    s->packed += out.pos;
  }
  return true;
}

static bool begin_zstd(scale *s, int level) {
  s->cap = PIECE;
  s->out = malloc(s->cap);
  s->zstd = ZSTD_createCStream();
  if (!s->out || !s->zstd || ZSTD_isError(ZSTD_initCStream(s->zstd, level))) return false;
  s->take = take_zstd;
  return true;
}
#endif

static bool take_snappy(scale *s, const void *data, size_t len, bool last) {
  const uint8_t *from = data;
  while (len > 0) {
    const size_t room = s->cap - s->len, n = len < room ? len : room;
    memcpy(s->out + s->len, from, n);
    s->len += n;
    from += n;
    len -= n;
    if (s->len < s->cap) break;
    s->packed += snappy_block_size(s->out, s->len);
    s->len = 0;
  }
  if (!last) return true;
  if (s->len > 0) s->packed += snappy_block_size(s->out, s->len);
  for (size_t whole = s->whole; whole > 0; whole >>= 7) s->packed++;
  return true;
}

static bool begin_snappy(scale *s) {
  s->cap = SNAPPY_BLOCK;
  s->out = malloc(s->cap);
  s->take = take_snappy;
  return s->out != NULL;
}

static bool begin(scale *s, const char *codec, int level) {
  if (strcmp(codec, "snappy") == 0) return begin_snappy(s);
#ifdef SIDELOG_LZ4
  if (strcmp(codec, "lz4") == 0) return begin_lz4(s, level > 0 ? level : 0);
#endif
#ifdef SIDELOG_ZLIB
  if (strcmp(codec, "gzip") == 0) return begin_gzip(s, level >= 0 && level <= 9 ? level : Z_DEFAULT_COMPRESSION);
#endif
#ifdef SIDELOG_ZSTD
  if (strcmp(codec, "zstd") == 0) return begin_zstd(s, level > 0 ? level : 3);
#endif
  (void)level;
  return strcmp(codec, "none") == 0;
}

static void end(scale *s) {
#ifdef SIDELOG_LZ4
  if (s->lz4) LZ4F_freeCompressionContext(s->lz4);
#endif
#ifdef SIDELOG_ZLIB
  deflateEnd(&s->gzip);
#endif
#ifdef SIDELOG_ZSTD
  ZSTD_freeCStream(s->zstd);
#endif
  free(s->out);
}

static const char *property(const kafka *k, const char *name, char *value, size_t cap) {
  return rd_kafka_conf_get(rd_kafka_conf(k->rk), name, value, &cap) == RD_KAFKA_CONF_OK ? value : "";
}

/* --- is it what librdkafka does? --- */

/* Sizes of requests: of the record weighed last, and of one that was as foretold. */
static atomic_size_t foretold, told;

static struct { char codec[32]; int level; unsigned sizes; size_t last; } sure;

void weigh_sent(size_t size, int version) {
  if (version < 9 && size > 0 && size == atomic_load(&foretold)) atomic_store(&told, size);
}

/* Of a Produce request, before its version 9, that holds this batch alone. */
static size_t request_size(const kafka *k, const char *topic, size_t batch) {
  char client[256];
  const size_t id = k->options.transactional_id ? strlen(k->options.transactional_id) : 0;
  return 4 + 2 + 2 + 4 + 2 + strlen(property(k, "client.id", client, sizeof client)) + 2 + id + 2 + 4 + 4 + 2 +
         strlen(topic) + 4 + 4 + 4 + batch;
}

static bool is_sure(const char *codec, int level) {
  const size_t size = atomic_exchange(&told, 0);
  if (strcmp(sure.codec, codec) != 0 || sure.level != level) {
    memset(&sure, 0, sizeof sure);
    snprintf(sure.codec, sizeof sure.codec, "%s", codec);
    sure.level = level;
  } else if (size > 0 && size != sure.last && sure.sizes < SURE) {
    sure.sizes++;
    sure.last = size;
  }
  return sure.sizes >= SURE;
}

bool kafka_weigh(const kafka *k, const kafka_record *record, size_t *whole, size_t *least) {
  char codec[32] = "", level[16];
  scale s = {0};
  property(k, "compression.codec", codec, sizeof codec);
  const int at_level = atoi(property(k, "compression.level", level, sizeof level));
  const bool exact = is_sure(codec, at_level);
  s.broken = !begin(&s, codec, at_level);
  put_record(&s, record);
  const bool packs = s.take != NULL;
  if (packs && !s.broken) s.broken = !s.take(&s, NULL, 0, true);
  end(&s);
  *whole = BATCH_HEADER + s.whole;
  const bool packed = packs && !s.broken && s.packed < s.whole; /* else it is sent as it is */
  atomic_store(&foretold, packed ? request_size(k, record->topic, BATCH_HEADER + s.packed) : 0);
  if (s.broken) *least = 0;
  else if (exact) *least = BATCH_HEADER + (packed ? s.packed : s.whole);
  else if (strcmp(codec, "snappy") == 0) *least = 0;
  else if (!packed) *least = *whole;
  else *least = BATCH_HEADER + s.packed - s.packed / DOUBT;
  return !s.broken && (exact || !packs);
}
