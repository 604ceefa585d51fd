/* put: appends what the command line cannot say (binary keys and headers, values up to the ceiling), and times a lone event.
 *
 *   put STORE              reads lines `TOPIC KEY VALUE [NAME=HEX...]` on stdin and prints `SEQ EVENT_ID` for each;
 *                          KEY is - (none) or =HEX, VALUE is =HEX or @FILE. One event after the other, a commit each
 *   put STORE lone N TOPIC N times: waits until nothing is pending, appends one event, prints the microseconds until
 *                          the store calls it sent
 */
#include <sidelog/sidelog.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HEADERS = 3000, LINE = 1 << 20 };

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "put: %s: %s\n", what, detail);
	exit(3);
}

static int64_t now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void nap(int us)
{
	struct timespec ts = {0, us * 1000L};
	nanosleep(&ts, NULL);
}

/* Decodes in place: two digits become one byte. */
static sl_slice hex(char *text)
{
	size_t n = strlen(text) / 2;
	unsigned char *out = (unsigned char *)text;
	for (size_t i = 0; i < n; i++) {
		unsigned value;
		if (sscanf(text + 2 * i, "%2x", &value) != 1)
			die("not hexadecimal", text);
		out[i] = (unsigned char)value;
	}
	return SL_BYTES(out, n);
}

static sl_slice file(const char *path)
{
	FILE *f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END) != 0)
		die("cannot read", path);
	size_t size = (size_t)ftell(f);
	rewind(f);
	char *data = malloc(size + 1);
	if (!data || fread(data, 1, size, f) != size)
		die("cannot read", path);
	fclose(f);
	return SL_BYTES(data, size);
}

static void put_line(sl_store *store, char *line)
{
	static sl_header headers[HEADERS];
	char id[SL_ID_MAX], *save = NULL;
	sl_event e = SL_EVENT_INIT;
	char *topic = strtok_r(line, " \n", &save), *key = strtok_r(NULL, " \n", &save), *value = strtok_r(NULL, " \n", &save);
	if (!topic || !key || !value)
		die("a line wants", "TOPIC KEY VALUE");
	e.topic = SL_BYTES(topic, strlen(topic));
	if (*key == '=')
		e.key = hex(key + 1);
	e.value = *value == '@' ? file(value + 1) : hex(value + 1);
	for (char *word; (word = strtok_r(NULL, " \n", &save)) && e.header_count < HEADERS;) {
		char *equals = strchr(word, '=');
		if (!equals)
			die("a header wants", "NAME=HEX");
		headers[e.header_count++] = (sl_header){SL_BYTES(word, equals - word), hex(equals + 1)};
	}
	e.headers = headers;
	static unsigned count;
	snprintf(id, sizeof id, "put-%ld-%lld-%u", (long)getpid(), (long long)now_us(), ++count);
	e.event_id = SL_BYTES(id, strlen(id));
	uint64_t seq;
	if (sl_append(store, &e, &seq) != SL_OK)
		die("append", sl_last_detail());
	printf("%" PRIu64 " %s\n", seq, id);
	fflush(stdout);
	if (*value == '@')
		free((void *)(uintptr_t)e.value.data);
}

static uint64_t pending(sl_store *store)
{
	sl_stats s;
	if (sl_stats_get(store, &s) != SL_OK)
		die("stats", sl_last_detail());
	return s.pending;
}

static void settle(sl_store *store)
{
	int64_t end = now_us() + 30000000;
	while (pending(store) > 0) {
		if (now_us() > end)
			die("lone", "still pending after 30 s");
		nap(100);
	}
}

static void lone(sl_store *store, int count, const char *topic)
{
	sl_event e = SL_EVENT_INIT;
	e.topic = SL_BYTES(topic, strlen(topic));
	e.value = SL_STR("{\"alone\":true}");
	for (int i = 0; i < count; i++) {
		settle(store);
		nap(100000); /* idle */
		int64_t begun = now_us();
		if (sl_append(store, &e, NULL) != SL_OK)
			die("append", sl_last_detail());
		settle(store);
		printf("%lld\n", (long long)(now_us() - begun));
	}
}

int main(int argc, char **argv)
{
	static char line[LINE];
	sl_store *store;
	sl_options o = {.max_value = SL_MAX_VALUE};
	if (argc != 2 && !(argc == 5 && strcmp(argv[2], "lone") == 0))
		die("usage", "put STORE | put STORE lone N TOPIC");
	if (sl_open(argv[1], &o, &store) != SL_OK)
		die("open", sl_last_detail());
	if (argc == 5)
		lone(store, atoi(argv[3]), argv[4]);
	else
		while (fgets(line, sizeof line, stdin))
			put_line(store, line);
	sl_close(store);
	return 0;
}
