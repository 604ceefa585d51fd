/* writer: threads that append without end and say what was acknowledged, to be killed at any moment.
 *
 *   writer append STORE THREADS TAG   one line "SEQ EVENT_ID" on stdout for each acknowledged event
 *   writer check STORE                reads such lines on stdin; every one must be in the store, whole
 *
 * An event's value is made from its id alone, so the checker needs no record of what was written. Every tenth
 * append is a batch; its events must be there all or none.
 */
#include <sidelog/sidelog.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 7, MAX_VALUE = 1500, ID = 64 };

static sl_store *store;
static const char *tag;

static void die(const char *what)
{
	fprintf(stderr, "writer: %s: %s\n", what, sl_last_detail());
	exit(3);
}

static size_t make_value(const char *id, char *out)
{
	uint64_t h = 14695981039346656037u;
	for (const char *c = id; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211u;
	size_t len = (size_t)snprintf(out, MAX_VALUE, "{\"id\":\"%s\",\"pad\":\"", id);
	size_t pad = h % 1200;
	for (size_t i = 0; i < pad; i++) {
		h = h * 6364136223846793005u + 1442695040888963407u;
		out[len++] = (char)('a' + (h >> 33) % 26);
	}
	memcpy(out + len, "\"}", 2);
	return len + 2;
}

static void *append_for_ever(void *arg)
{
	int thread = (int)(intptr_t)arg;
	char ids[BATCH][ID], values[BATCH][MAX_VALUE], acks[BATCH * (ID + 24)], key[16];
	sl_event events[BATCH];
	snprintf(key, sizeof key, "key-%d", thread);
	for (unsigned long n = 0;; n++) {
		size_t count = n % 10 == 9 ? BATCH : 1;
		for (size_t i = 0; i < count; i++) {
			int used = snprintf(ids[i], ID, "%s.%d.%lu", tag, thread, n);
			if (count > 1)
				snprintf(ids[i] + used, ID - (size_t)used, ".%zu", i + 1);
			size_t len = make_value(ids[i], values[i]);
			events[i] = (sl_event){.topic = SL_STR("evt.written.v1"),
			                       .event_id = {ids[i], strlen(ids[i])},
			                       .correlation_id = {tag, strlen(tag)},
			                       .key = {key, strlen(key)},
			                       .value = {values[i], len}};
		}
		uint64_t seq;
		sl_status st = count == 1 ? sl_append(store, &events[0], &seq) : sl_append_many(store, events, count, &seq, NULL);
		if (st != SL_OK)
			die(sl_status_text(st));
		size_t used = 0;
		for (size_t i = 0; i < count; i++)
			used += (size_t)snprintf(acks + used, sizeof acks - used, "%" PRIu64 " %s\n", seq + i, ids[i]);
		/* one write of less than PIPE_BUF: lines of threads never mix, and what was written outlives us */
		if (write(STDOUT_FILENO, acks, used) != (ssize_t)used)
			exit(4);
	}
	return NULL;
}

static int append(int threads)
{
	pthread_t *t = calloc((size_t)threads, sizeof *t);
	for (int i = 1; i < threads; i++)
		if (pthread_create(&t[i], NULL, append_for_ever, (void *)(intptr_t)i) != 0)
			return 3;
	append_for_ever((void *)(intptr_t)0);
	free(t);
	return 0;
}

typedef struct {
	uint64_t seq;
	char id[ID];
	bool found;
} ack;

static int by_seq(const void *a, const void *b)
{
	uint64_t x = ((const ack *)a)->seq, y = ((const ack *)b)->seq;
	return x < y ? -1 : x > y;
}

static int check(void)
{
	ack *acks = NULL;
	size_t n = 0, cap = 0;
	char id[ID];
	uint64_t seq;
	while (scanf("%" SCNu64 " %63s", &seq, id) == 2) {
		if (n == cap) {
			cap = cap ? cap * 2 : 4096;
			acks = realloc(acks, cap * sizeof *acks);
			if (!acks)
				return 3;
		}
		acks[n].seq = seq;
		acks[n].found = false;
		memcpy(acks[n++].id, id, ID);
	}
	if (n)
		qsort(acks, n, sizeof *acks, by_seq);
	size_t bad = 0, events = 0, at = 0, part = 0;
	for (size_t i = 1; i < n; i++)
		if (acks[i].seq == acks[i - 1].seq) {
			printf("seq %" PRIu64 " was acknowledged twice: %s and %s\n", acks[i].seq, acks[i - 1].id, acks[i].id);
			bad++;
		}
	sl_iter *iter;
	const sl_record *r;
	sl_status st = sl_iter_start(store, NULL, &iter);
	if (st != SL_OK)
		die("sl_iter_start");
	char value[MAX_VALUE], batch[ID] = "";
	uint64_t last = 0;
	while ((st = sl_iter_next(iter, &r)) == SL_OK) {
		events++;
		if (last && r->seq != last + 1) {
			printf("seq %" PRIu64 " follows %" PRIu64 "\n", r->seq, last);
			bad++;
		}
		last = r->seq;
		snprintf(id, sizeof id, "%.*s", (int)r->event_id.len, (const char *)r->event_id.data);
		size_t len = make_value(id, value);
		if (r->value.len != len || memcmp(value, r->value.data, len) != 0) {
			printf("seq %" PRIu64 ": the value is not the one of %s\n", r->seq, id);
			bad++;
		}
		/* TAG.THREAD.N.I is the Ith of a batch: the others must stand beside it */
		const char *dot = strrchr(id, '.');
		int dots = 0;
		for (const char *c = id; *c; c++)
			dots += *c == '.';
		size_t index = dots == 3 && dot ? strtoul(dot + 1, NULL, 10) : 0;
		if (index != (part ? part + 1 : index ? 1 : 0) ||
		    (part && (strncmp(batch, id, (size_t)(dot - id)) != 0 || batch[dot - id] != '.'))) {
			printf("seq %" PRIu64 ": %s stands after part %zu of %s: a batch is torn\n", r->seq, id, part, batch);
			bad++;
		}
		part = index == BATCH ? 0 : index;
		memcpy(batch, id, ID);
		while (at < n && acks[at].seq < r->seq)
			at++;
		if (at < n && acks[at].seq == r->seq) {
			acks[at].found = true;
			if (strcmp(acks[at].id, id) != 0) {
				printf("seq %" PRIu64 " was acknowledged as %s and holds %s\n", r->seq, acks[at].id, id);
				bad++;
			}
		}
	}
	if (st != SL_NOTFOUND)
		die("sl_iter_next");
	if (part) {
		printf("the log ends inside a batch, at part %zu of %s\n", part, batch);
		bad++;
	}
	sl_iter_close(iter);
	for (size_t i = 0; i < n; i++)
		if (!acks[i].found) {
			printf("acknowledged and lost: seq %" PRIu64 " %s\n", acks[i].seq, acks[i].id);
			bad++;
		}
	printf("%zu acknowledged, %zu in the store, %zu problems\n", n, events, bad);
	free(acks);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	bool appends = argc == 5 && strcmp(argv[1], "append") == 0;
	if (!appends && !(argc == 3 && strcmp(argv[1], "check") == 0)) {
		fprintf(stderr, "usage: writer append STORE THREADS TAG | writer check STORE\n");
		return 2;
	}
	if (sl_open(argv[2], NULL, &store) != SL_OK)
		die("sl_open");
	if (!appends) {
		int code = check();
		sl_close(store);
		return code;
	}
	tag = argv[4];
	return append(atoi(argv[3]));
}
