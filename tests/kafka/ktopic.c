/* ktopic: makes and deletes topics of a cluster that is known by its address only, waits until they are there, says who
 * leads.
 *
 *   ktopic -b HOST:PORT[,...] [-X KEY=VALUE ...] create TOPIC PARTITIONS [KEY=VALUE ...]   if it is not there; then as await
 *   ktopic -b HOST:PORT[,...] [-X KEY=VALUE ...] delete TOPIC...   those that are there; waits until they are gone
 *   ktopic -b HOST:PORT[,...] [-X KEY=VALUE ...] await TOPIC...    until each is there with a leader for each partition
 *   ktopic -b HOST:PORT[,...] [-X KEY=VALUE ...] leaders TOPIC     lines `PARTITION BROKER`
 * exit: 0 done, 2 usage, 3 not within 60 seconds, 4 refused
 */
#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(int code, const char *what, const char *detail)
{
	fprintf(stderr, "ktopic: %s: %s\n", what, detail);
	exit(code);
}

/* How many of the topics are there, whole. */
static int present(rd_kafka_t *rk, char **topics, int n, bool with_leaders)
{
	const struct rd_kafka_metadata *md;
	if (rd_kafka_metadata(rk, 1, NULL, &md, 5000))
		return -1;
	int found = 0;
	for (int i = 0; i < md->topic_cnt; i++)
		for (int j = 0; j < n; j++)
			if (strcmp(md->topics[i].topic, topics[j]) == 0) {
				bool whole = md->topics[i].partition_cnt > 0;
				for (int p = 0; p < md->topics[i].partition_cnt; p++)
					whole &= md->topics[i].partitions[p].leader >= 0;
				found += whole || !with_leaders;
			}
	rd_kafka_metadata_destroy(md);
	return found;
}

static int tell_leaders(rd_kafka_t *rk, const char *topic)
{
	const struct rd_kafka_metadata *md;
	int code = 3;
	if (rd_kafka_metadata(rk, 1, NULL, &md, 10000))
		return code;
	for (int i = 0; i < md->topic_cnt; i++)
		if (strcmp(md->topics[i].topic, topic) == 0) {
			code = 0;
			for (int p = 0; p < md->topics[i].partition_cnt; p++)
				printf("%d %d\n", md->topics[i].partitions[p].id, md->topics[i].partitions[p].leader);
		}
	rd_kafka_metadata_destroy(md);
	return code;
}

static void delete(rd_kafka_t *rk, rd_kafka_queue_t *queue, char **topics, int n)
{
	rd_kafka_DeleteTopic_t **gone = calloc((size_t)n, sizeof *gone);
	for (int i = 0; i < n; i++)
		gone[i] = rd_kafka_DeleteTopic_new(topics[i]);
	rd_kafka_DeleteTopics(rk, gone, (size_t)n, NULL, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10000);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_DeleteTopic_destroy_array(gone, (size_t)n);
	free(gone);
}

static void create(rd_kafka_t *rk, rd_kafka_queue_t *queue, const char *topic, int partitions, char **settings, int n)
{
	char err[256];
	rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, partitions, -1, err, sizeof err);
	if (!made)
		die(2, topic, err);
	for (int i = 0; i < n; i++) {
		char *equals = strchr(settings[i], '=');
		if (!equals)
			die(2, "a setting is KEY=VALUE", settings[i]);
		*equals = 0;
		rd_kafka_NewTopic_set_config(made, settings[i], equals + 1);
	}
	rd_kafka_CreateTopics(rk, &made, 1, NULL, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 60000);
	if (!event)
		die(3, topic, "no answer within 60 seconds");
	if (rd_kafka_event_error(event))
		die(3, topic, rd_kafka_event_error_string(event));
	size_t count;
	const rd_kafka_topic_result_t **results =
		rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
	rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[0]);
	if (error && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		die(4, topic, rd_kafka_topic_result_error_string(results[0]));
	rd_kafka_event_destroy(event);
	rd_kafka_NewTopic_destroy(made);
}

int main(int argc, char **argv)
{
	char err[256];
	int at = 1;
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
	for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
		const char *name = "bootstrap.servers", *value = argv[at + 1];
		if (strcmp(argv[at], "-X") == 0) {
			char *equals = strchr(argv[at + 1], '=');
			if (!equals)
				die(2, "-X takes KEY=VALUE", argv[at + 1]);
			*equals = 0;
			name = argv[at + 1];
			value = equals + 1;
		}
		if (rd_kafka_conf_set(conf, name, value, err, sizeof err))
			die(2, name, err);
	}
	bool gone = at < argc && strcmp(argv[at], "delete") == 0;
	bool leaders = at < argc && strcmp(argv[at], "leaders") == 0;
	bool made = at + 2 < argc && strcmp(argv[at], "create") == 0;
	if (at + 1 >= argc || (!gone && !leaders && !made && strcmp(argv[at], "await") != 0))
		die(2, "usage", "ktopic -b HOST:PORT [-X KEY=VALUE] create|delete|await|leaders TOPIC...");
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof err);
	if (!rk)
		die(2, "client", err);
	if (leaders)
		return tell_leaders(rk, argv[at + 1]);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	char **topics = argv + at + 1;
	int n = made ? 1 : argc - at - 1, code = 3;
	if (made)
		create(rk, queue, topics[0], atoi(argv[at + 2]), argv + at + 3, argc - at - 3);
	for (time_t end = time(NULL) + 60; code && time(NULL) < end;) {
		if (gone)
			delete (rk, queue, topics, n);
		int there = present(rk, topics, n, !gone);
		code = there == (gone ? 0 : n) ? 0 : 3;
		if (code)
			usleep(50000);
	}
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
	if (code)
		fprintf(stderr, "ktopic: not done within 60 seconds\n");
	return code;
}
