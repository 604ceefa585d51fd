/* kread: prints what a consumer of a Kafka topic sees, one JSON object a line, from the first record to the end.
 *
 * An eye for the tests that shares nothing with the code it judges: assigned by hand, no group, nothing committed.
 * It reads every partition up to the high watermark it found at the start. A read_committed reader may be held
 * below it by an open transaction; then kread waits until the transaction has ended, and says so if it does not in
 * time.
 *
 * The watermark is asked for with a read_uncommitted handle. librdkafka answers a read_committed one with the last
 * stable offset under the same name, and a commit returns before the broker has written its end into each
 * partition: kread then took a partition for read that held events it had not seen (6 of 9 "lost", once in
 * hundreds of runs).
 */
#include <librdkafka/rdkafka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { EXIT_USAGE = 2, EXIT_BROKER = 3, EXIT_NOT_STABLE = 5 };

typedef struct {
	char *topic;
	int32_t partition;
	int64_t from; /* the first offset to read */
	int64_t end;
	bool done;
} part;

typedef struct {
	part *v;
	size_t n, cap;
} parts;

static const char usage[] =
    "usage: kread -b HOST:PORT[,...] [options] TOPIC... | --all | --prefix TEXT\n"
    "  --all            every topic whose name does not start with __\n"
    "  --prefix TEXT    those whose name starts with TEXT\n"
    "  --uncommitted    isolation.level=read_uncommitted\n"
    "  --lso            stop where an open transaction holds a read_committed reader back, and exit 0\n"
    "  --hash           value as {\"length\",\"fnv64\"} instead of base64\n"
    "  --count          no records, one line per partition\n"
    "  --from FILE      lines `TOPIC PARTITION OFFSET`: where to begin, instead of at the first record\n"
    "  --timeout S      give up after S seconds (60)\n"
    "  -X KEY=VALUE     a librdkafka property\n"
    "exit: 0 read to the end, 2 usage, 3 no broker or topic, 5 not at the end in time\n";

static int64_t now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void die(int code, const char *what, const char *detail)
{
	fflush(stdout);
	fprintf(stderr, "kread: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
	exit(code);
}

/* ---- output ---- */

static size_t utf8_len(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	if (len > 1 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	                (s[0] == 0xf4 && s[1] > 0x8f)))
		return 0; /* overlong, surrogate, beyond the last */
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* Bytes that are not UTF-8 come out as \u00XX: enough to see them, never invalid JSON. */
static void put_string(const void *data, size_t n)
{
	const unsigned char *s = data;
	putchar('"');
	for (size_t i = 0; i < n;) {
		size_t len = utf8_len(s + i, n - i);
		if (s[i] == '"' || s[i] == '\\')
			printf("\\%c", s[i]);
		else if (len == 0 || s[i] < 0x20)
			printf("\\u%04x", s[i]);
		else
			fwrite(s + i, 1, len, stdout);
		i += len ? len : 1;
	}
	putchar('"');
}

static void put_base64(const unsigned char *s, size_t n)
{
	static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	putchar('"');
	for (size_t i = 0; i < n; i += 3) {
		uint32_t w = (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0);
		putchar(abc[w >> 18]);
		putchar(abc[w >> 12 & 63]);
		putchar(i + 1 < n ? abc[w >> 6 & 63] : '=');
		putchar(i + 2 < n ? abc[w & 63] : '=');
	}
	putchar('"');
}

static uint64_t fnv64(const unsigned char *s, size_t n)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ s[i]) * 1099511628211u;
	return h;
}

static void put_message(const rd_kafka_message_t *m, bool hash)
{
	printf("{\"topic\":\"%s\",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"key\":",
	       rd_kafka_topic_name(m->rkt), m->partition, m->offset, rd_kafka_message_timestamp(m, NULL));
	if (m->key)
		put_string(m->key, m->key_len);
	else
		printf("null");
	printf(",\"headers\":{");
	rd_kafka_headers_t *headers;
	if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
		const char *name;
		const void *value;
		size_t size;
		for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++) {
			if (i)
				putchar(',');
			put_string(name, strlen(name));
			putchar(':');
			if (value)
				put_string(value, size);
			else
				printf("null");
		}
	}
	printf("},\"value\":");
	if (!m->payload)
		printf("null");
	else if (hash)
		printf("{\"length\":%zu,\"fnv64\":\"%016" PRIx64 "\"}", m->len, fnv64(m->payload, m->len));
	else
		put_base64(m->payload, m->len);
	printf("}\n");
}

/* ---- what to read ---- */

static void add_topic(parts *ps, const rd_kafka_metadata_topic_t *t)
{
	for (int i = 0; i < t->partition_cnt; i++) {
		if (ps->n == ps->cap) {
			ps->cap = ps->cap ? ps->cap * 2 : 64;
			ps->v = realloc(ps->v, ps->cap * sizeof *ps->v);
			if (!ps->v)
				die(1, "out of memory", NULL);
		}
		ps->v[ps->n++] = (part){.topic = strdup(t->topic), .partition = t->partitions[i].id};
	}
}

static bool wanted(const char *name, char *const *topics, int n, bool all, const char *prefix)
{
	if (all && strncmp(name, "__", 2) != 0)
		return true;
	if (prefix && strncmp(name, prefix, strlen(prefix)) == 0)
		return true;
	for (int i = 0; i < n; i++)
		if (strcmp(name, topics[i]) == 0)
			return true;
	return false;
}

static void find_parts(rd_kafka_t *rk, parts *ps, char *const *topics, int n, bool all, const char *prefix, int64_t deadline)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err;
	while ((err = rd_kafka_metadata(rk, 1, NULL, &md, 2000)) != RD_KAFKA_RESP_ERR_NO_ERROR)
		if (now_ms() > deadline)
			die(EXIT_BROKER, "no metadata from the brokers", rd_kafka_err2str(err));
	int found = 0;
	for (int i = 0; i < md->topic_cnt; i++)
		if (wanted(md->topics[i].topic, topics, n, all, prefix)) {
			found++;
			add_topic(ps, &md->topics[i]);
		}
	rd_kafka_metadata_destroy(md);
	if (found < n)
		die(EXIT_BROKER, "not every topic exists", NULL);
}

static void find_ends(rd_kafka_t *rk, parts *ps, int64_t deadline)
{
	for (size_t i = 0; i < ps->n; i++) {
		int64_t low, high;
		rd_kafka_resp_err_t err;
		while ((err = rd_kafka_query_watermark_offsets(rk, ps->v[i].topic, ps->v[i].partition, &low, &high, 2000)))
			if (now_ms() > deadline)
				die(EXIT_BROKER, ps->v[i].topic, rd_kafka_err2str(err));
		ps->v[i].end = high;
		ps->v[i].done = low == high || ps->v[i].from >= high;
	}
}

static part *find(parts *ps, const char *topic, int32_t partition)
{
	for (size_t i = 0; i < ps->n; i++)
		if (ps->v[i].partition == partition && strcmp(ps->v[i].topic, topic) == 0)
			return &ps->v[i];
	return NULL;
}

static void read_starts(parts *ps, const char *path)
{
	char topic[256];
	int32_t partition;
	int64_t from;
	FILE *file = fopen(path, "r");
	if (!file)
		die(EXIT_USAGE, path, strerror(errno));
	while (fscanf(file, "%255s %" SCNd32 " %" SCNd64, topic, &partition, &from) == 3) {
		part *p = find(ps, topic, partition);
		if (p)
			p->from = from;
	}
	fclose(file);
}

static void pause_part(rd_kafka_t *rk, const part *p)
{
	rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(one, p->topic, p->partition);
	rd_kafka_pause_partitions(rk, one);
	rd_kafka_topic_partition_list_destroy(one);
}

int main(int argc, char **argv)
{
	char err[512];
	bool all = false, hash = false, lso = false, count = false;
	const char *prefix = NULL, *brokers = NULL, *starts = NULL;
	long timeout = 60;
	char **topics = calloc((size_t)argc, sizeof *topics);
	int ntopics = 0;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const char *const settings[][2] = {{"group.id", "kread"},          {"enable.auto.commit", "false"},
	                                   {"isolation.level", "read_committed"}, {"enable.partition.eof", "true"},
	                                   {"check.crcs", "true"},         {"auto.offset.reset", "earliest"},
	                                   {"fetch.wait.max.ms", "50"},    {"fetch.message.max.bytes", "8388608"},
	                                   {"receive.message.max.bytes", "200000000"},
	                                   {"log.connection.close", "false"}};
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], err, sizeof err))
			die(EXIT_USAGE, err, NULL);

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		bool more = i + 1 < argc;
		if (!strcmp(a, "-b") && more)
			brokers = argv[++i];
		else if (!strcmp(a, "--all"))
			all = true;
		else if (!strcmp(a, "--prefix") && more)
			prefix = argv[++i];
		else if (!strcmp(a, "--uncommitted"))
			rd_kafka_conf_set(conf, "isolation.level", "read_uncommitted", err, sizeof err);
		else if (!strcmp(a, "--lso"))
			lso = true;
		else if (!strcmp(a, "--hash"))
			hash = true;
		else if (!strcmp(a, "--count"))
			count = true;
		else if (!strcmp(a, "--from") && more)
			starts = argv[++i];
		else if (!strcmp(a, "--timeout") && more)
			timeout = strtol(argv[++i], NULL, 10);
		else if (!strcmp(a, "-X") && more) {
			char *kv = argv[++i], *eq = strchr(kv, '=');
			if (!eq)
				die(EXIT_USAGE, "-X takes KEY=VALUE", NULL);
			*eq = 0;
			if (rd_kafka_conf_set(conf, kv, eq + 1, err, sizeof err))
				die(EXIT_USAGE, err, NULL);
		} else if (a[0] != '-')
			topics[ntopics++] = argv[i];
		else {
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (!brokers || (!all && !prefix && !ntopics)) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	int64_t deadline = now_ms() + timeout * 1000;
	rd_kafka_conf_set(conf, "bootstrap.servers", brokers, err, sizeof err);
	parts ps = {0};
	rd_kafka_conf_t *all_records = rd_kafka_conf_dup(conf);
	rd_kafka_conf_set(all_records, "isolation.level", "read_uncommitted", err, sizeof err);
	rd_kafka_t *measure = rd_kafka_new(RD_KAFKA_CONSUMER, all_records, err, sizeof err);
	if (!measure)
		die(EXIT_USAGE, err, NULL);
	find_parts(measure, &ps, topics, ntopics, all, prefix, deadline);
	if (starts)
		read_starts(&ps, starts);
	find_ends(measure, &ps, deadline);
	rd_kafka_destroy(measure);

	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, err, sizeof err);
	if (!rk)
		die(EXIT_USAGE, err, NULL);
	rd_kafka_poll_set_consumer(rk);

	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)ps.n + 1);
	size_t left = 0;
	uint64_t *counts = calloc(ps.n + 1, sizeof *counts);
	for (size_t i = 0; i < ps.n; i++)
		if (!ps.v[i].done) {
			rd_kafka_topic_partition_list_add(list, ps.v[i].topic, ps.v[i].partition)->offset =
			    ps.v[i].from ? ps.v[i].from : RD_KAFKA_OFFSET_BEGINNING;
			left++;
		}
	if (left)
		rd_kafka_assign(rk, list);
	rd_kafka_topic_partition_list_destroy(list);

	while (left && now_ms() < deadline) {
		rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 200);
		if (!m)
			continue;
		part *p = m->rkt ? find(&ps, rd_kafka_topic_name(m->rkt), m->partition) : NULL;
		bool ended = false;
		if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && p && !p->done) {
			if (m->offset < p->end) {
				counts[p - ps.v]++;
				if (!count)
					put_message(m, hash);
			}
			ended = m->offset + 1 >= p->end;
		} else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && p && !p->done) {
			ended = lso || m->offset >= p->end;
		} else if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR && p) {
			fprintf(stderr, "kread: %s[%" PRId32 "]: %s\n", p->topic, p->partition, rd_kafka_message_errstr(m));
		}
		if (ended) {
			p->done = true;
			left--;
			pause_part(rk, p);
		}
		rd_kafka_message_destroy(m);
	}
	if (count)
		for (size_t i = 0; i < ps.n; i++)
			printf("{\"topic\":\"%s\",\"partition\":%" PRId32 ",\"records\":%" PRIu64 ",\"end\":%" PRId64 "}\n", ps.v[i].topic,
			       ps.v[i].partition, counts[i], ps.v[i].end);
	if (fflush(stdout) != 0)
		die(1, "cannot write", strerror(errno));
	int code = 0;
	for (size_t i = 0; i < ps.n; i++)
		if (!ps.v[i].done) {
			fprintf(stderr, "kread: %s[%" PRId32 "] not read to its end %" PRId64 " within %ld s: no broker, or an open transaction\n",
			        ps.v[i].topic, ps.v[i].partition, ps.v[i].end, timeout);
			code = EXIT_NOT_STABLE;
		}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	for (size_t i = 0; i < ps.n; i++)
		free(ps.v[i].topic);
	free(ps.v);
	free(counts);
	free(topics);
	return code;
}
