/* hold: a transaction that stays open until it is told how to end, for the tests of the judge.
 *
 *   hold BOOTSTRAP TOPIC   produces one record into partition 0 of TOPIC in a transaction, prints `open`; then reads
 *                          `commit` or `abort` on stdin, does that and prints `ended`. Another end of stdin leaves
 *                          the transaction to the broker
 */
#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "hold: %s: %s\n", what, detail);
	exit(3);
}

static void check(const char *what, rd_kafka_error_t *error)
{
	if (error)
		die(what, rd_kafka_error_string(error));
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char err[256];
	if (rd_kafka_conf_set(conf, name, value, err, sizeof err) != RD_KAFKA_CONF_OK)
		die(name, err);
}

int main(int argc, char **argv)
{
	char err[256], id[64], line[16], value[] = "held";
	if (argc != 3)
		die("usage", "hold BOOTSTRAP TOPIC");
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	snprintf(id, sizeof id, "hold-%ld", (long)getpid());
	set(conf, "bootstrap.servers", argv[1]);
	set(conf, "transactional.id", id);
	set(conf, "log_level", "3"); /* what it retries is no news */
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof err);
	if (!rk)
		die("producer", err);
	check("init", rd_kafka_init_transactions(rk, 30000));
	check("begin", rd_kafka_begin_transaction(rk));
	rd_kafka_resp_err_t code = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(argv[2]), RD_KAFKA_V_PARTITION(0),
	                                             RD_KAFKA_V_VALUE(value, sizeof value - 1), RD_KAFKA_V_END);
	if (!code)
		code = rd_kafka_flush(rk, 30000);
	if (code)
		die("produce", rd_kafka_err2str(code));
	puts("open");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (strcmp(line, "commit\n") == 0)
			check("commit", rd_kafka_commit_transaction(rk, 30000));
		else if (strcmp(line, "abort\n") == 0)
			check("abort", rd_kafka_abort_transaction(rk, 30000));
		else
			die("what is", line);
		puts("ended");
		fflush(stdout);
	}
	rd_kafka_destroy(rk);
	return 0;
}
