/* The table of commands: what each takes, needs and says of itself. */
#include "tool.h"

#include <string.h>

const command command_table[] = {
  {"append", "[DATA|@FILE|-]", "append an event, or a stream of JSON lines",
   "Appends one event and prints its seq and event id. When that is printed the\n"
   "event is on disk (--relaxed: with the operating system), whether or not the\n"
   "agent or Kafka is up. DATA is the value;\n"
   "@FILE reads it from a file, - (or nothing) from standard input. Every byte is\n"
   "kept and delivered as it is.\n"
   "\n"
   "With --jsonl every line of FILE or - is one JSON envelope, and the stored\n"
   "value is that line without its newline (and one carriage return before it).\n"
   "Blank lines are skipped. event_id, event_type, correlation_id, causation_id,\n"
   "tenant_id, source, timestamp and topic are found in it, under their usual\n"
   "aliases, at the top or in the payload. --topic, --type, --tenant and --source\n"
   "fill what a line lacks; a missing event id is made, a missing type is the\n"
   "topic's name. The Kafka key is the line's correlation id, so that a story\n"
   "stays in order, unless --key or --no-key says otherwise. A bad line is\n"
   "reported with its number and passed over, and the exit status is 6; --strict\n"
   "stops there, before anything of its batch is stored. Lines are made durable in\n"
   "batches that follow the input: a lone line at once, a backlog by the thousand.",
   "sidelog append --topic orders.created.v1 --correlation 0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f '{}'\n"
   "sidelog append --topic invoices.v1 --key c-42 --header x-tenant=acme @invoice.pdf\n"
   "sidelog append --jsonl --ack events.jsonl\n"
   "producer | sidelog append --jsonl --topic app.log.v1 -",
   OPTIONS(OPT_TOPIC, OPT_TYPE, OPT_CORRELATION, OPT_CAUSATION, OPT_EVENT_ID, OPT_KEY, OPT_NO_KEY, OPT_TENANT,
           OPT_SOURCE, OPT_HEADER, OPT_OCCURRED_AT, OPT_JSONL, OPT_ACK, OPT_STRICT, OPT_PROGRESS,
           OPT_MAX_VALUE, OPT_QUOTA, OPT_GROUP, OPT_RELAXED),
   0, 1, NEED_NOTHING, run_append},
  {"query", "[FIELD=VALUE]...", "list, count or group events by any field",
   "Lists the events that meet every condition, in order of seq. FIELD is a member\n"
   "of `--json` (event_type, source, status, size ...), header.NAME, or a JSON\n"
   "pointer into the value (/payload/agent_name, /items/0/id). = takes globs (*, ?,\n"
   "[a-z]), != is its contrary, <, <=, > and >= compare numbers digit by digit and\n"
   "times, ~ means contains, in upper or lower case, and !~ its contrary. FIELD=*:\n"
   "it is there. Ids may be unique prefixes. TIME is RFC 3339, 2026-11-22 14:00\n"
   "(local; --utc), 14:00, -15m, -2h, -3d, today, yesterday 14:00 or @EPOCH. -n N\n"
   "with --order or --group-by: the first N. When nothing is found, it is said why.",
   "sidelog query --correlation 0190a6c2-7c1e\n"
   "sidelog query --type '*_FAILED' --since -2h\n"
   "sidelog query --status dead,pending --topic 'orders.*' -n 20\n"
   "sidelog query /payload/agent_name=polly '/payload/confidence<0.5' --since today\n"
   "sidelog query event_type~failed header.x-tenant=acme --count\n"
   "sidelog query --since -1h --group-by event_type\n"
   "sidelog query --order -size -n 10",
   OPTIONS(FILTER_OPTIONS, OPT_LIMIT, OPT_VALUE, OPT_COUNT, OPT_GROUP_BY, OPT_ORDER), 0, ANY_NUMBER, NEED_STORES,
   run_query, true},
  {"show", "EVENT", "show one event whole",
   "Shows everything about an event: ids, times, what became of it, headers and\n"
   "value. EVENT is an event id, a unique prefix of one, or a seq. --raw writes\n"
   "the value alone, byte for byte. An event id that stands in several topics\n"
   "shows each.",
   "sidelog show 0190a6c2-7c1e-7d5b\n"
   "sidelog show 1041\n"
   "sidelog show 1041 --raw | jq .payload",
   OPTIONS(OPT_RAW), 1, 1, NEED_STORES, run_show, true},
  {"trace", "[CORRELATION]", "the story of one correlation id",
   "Tells what happened under a correlation id: when, with the gaps between events\n"
   "and the largest marked; what caused what, as a tree; and what became of each\n"
   "event. Times are when events occurred, or were appended where they carry no\n"
   "time of their own. CORRELATION may be a unique prefix; an event id tells the\n"
   "story that the event is part of; other correlations that it led to are named.\n"
   "--cause, --effects and --path follow causes through all correlations; they take\n"
   "an event id or a seq. --times is a table: when an event occurred, how long after\n"
   "its cause, after the event before it, from there to its append, and from that to\n"
   "the broker's acknowledgement.\n"
   "\n"
   "Several --store are one story, a bundle's .jsonl among them; --store NAME=DIR\n"
   "names one. How their clocks differ is told by causes and effects, said, and\n"
   "taken out of the times, which are then marked ~ (--no-skew: they stay).",
   "sidelog trace 0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f\n"
   "sidelog trace 0190a6c2-7c1e --times\n"
   "sidelog trace --cause 0190a6c2-7c1e-7000-8000-000000000004\n"
   "sidelog trace --path 0190a6c2-7c1e-7000 0190a6c2-7c1f-7000\n"
   "sidelog trace 0190a6c2-7c1e --json\n"
   "sidelog trace 0190a6c2-7c1e --store ./orders --store colleague.jsonl",
   OPTIONS(OPT_CAUSE, OPT_EFFECTS, OPT_PATH, OPT_TIMES, OPT_NO_SKEW, OPT_VALUE), 0, 1, NEED_STORES, run_trace,
   true},
  {"check", "[CORRELATION]", "what is wrong with a story, or with all since a time",
   "Looks for what is out of the ordinary: an orphan (its cause is not in this\n"
   "store), a cycle of causes, an effect before its cause (clocks differ), a\n"
   "duplicate, a question that nothing answered in its usual time, a gap far beyond\n"
   "the usual of that hop, dead, dropped and failed events, a broken envelope. What\n"
   "is usual is learned from the newest 500,000 events, and a rule that cannot be\n"
   "sure is silent. The exit status is 4 when there are findings, 0 when there are\n"
   "none. CORRELATION may be a prefix, or an event of the story.",
   "sidelog check 0190a6c2-7c1e\n"
   "sidelog check --since -1h --json",
   OPTIONS(OPT_SINCE, OPT_NO_SKEW), 0, 1, NEED_STORES, run_check, true},
  {"diff", "A B", "two stories side by side",
   "Shows what one correlation did and the other did not, and where time differs:\n"
   "when each event came after the first of its story, and how much longer, or\n"
   "shorter, the step from the common event before it took in B. Events are the same\n"
   "when type and topic are, the first with the first, the second with the second.",
   "sidelog diff 0190a6c2-7c1e 0190a6b0-0000",
   OPTIONS(OPT_NO_SKEW), 2, 2, NEED_STORES, run_diff, true},
  {"tail", "[FIELD=VALUE]...", "the newest events; -f follows",
   "Lists the newest events (10, or -n N) that meet the conditions of `sidelog\n"
   "query`. With -f it goes on with new ones as they become durable, from whatever\n"
   "process, until interrupted. With --cursor it goes on behind what it showed last\n"
   "under this NAME, also after a kill; what was trimmed meanwhile is said. A cursor\n"
   "does not hold trim back.",
   "sidelog tail\n"
   "sidelog tail -f --topic 'orders.*'\n"
   "sidelog tail -f -n 0 --json --value\n"
   "sidelog tail -f --cursor alerts --json 'event_type~failed' | notify",
   OPTIONS(FILTER_OPTIONS, OPT_LIMIT, OPT_FOLLOW, OPT_CURSOR, OPT_VALUE), 0, ANY_NUMBER, NEED_STORE, run_tail},
  {"stats", "", "the books: what was appended and what became of it",
   "Prints the conservation law, appended = delivered + duplicates + dead +\n"
   "dropped + pending, which holds at every instant, and what the store holds. The\n"
   "exit status is 4 when the law does not hold. --hops tells for each pair of\n"
   "event types that follow each other under a correlation how often, and the time\n"
   "between them: in 50, 95 and 99 of 100 cases, and the longest.",
   "sidelog stats\n"
   "sidelog stats --json | jq .pending\n"
   "sidelog stats --hops --since -1d",
   OPTIONS(OPT_HOPS, OPT_SINCE, OPT_UNTIL, OPT_LIMIT, OPT_NO_SKEW), 0, 0, NEED_STORES, run_stats, true},
  {"status", "", "is everything all right?",
   "One look: the agent, its connection, the backlog, dead letters, the disk, the\n"
   "law. The first line says whether all is well; the exit status is 0 when it is\n"
   "and 4 when not. Not well is: the law does not hold, events are pending and no\n"
   "agent runs, the agent cannot reach its brokers, is parked or does not answer,\n"
   "a topic waits apart in a lane, or less than a tenth of the quota is left. Dead\n"
   "letters are said, but wait for a person without alarm; so does an agent that\n"
   "is not running while nothing is pending.",
   "sidelog status\n"
   "sidelog status --json || alert",
   NULL, 0, 0, NEED_STORE, run_status},
  {"dlq", "[list|show|replay|drop|export|audit] [EVENT] [FIELD=VALUE]...",
   "dead letters: see them, send them again, give them up",
   "Dead letters are events that cannot be delivered as they are. EVENT is a seq or\n"
   "an event id (a unique prefix); conditions are those of `sidelog query`.\n"
   "\n"
   "list    which, with the error; --by groups them. `sidelog dlq` alone does it\n"
   "show    one, with its history; secrets are masked\n"
   "replay  sends letters again, once the cause is mended: a copy of each, with the\n"
   "        same key, headers and event id. However often it is asked for, an event\n"
   "        is delivered once; stopped halfway, the same command goes on. A letter\n"
   "        that fails again stays dead, and is replayed at most --most times\n"
   "drop    gives letters up, with a --reason\n"
   "export  whole, as `sidelog export` writes events; nothing is masked\n"
   "audit   what was dropped, by whom and why; it is kept when the event is trimmed\n"
   "\n"
   "With --reader NAME the same of a local reader (`sidelog readers`); there replay\n"
   "hands a letter to that reader again, once.",
   "sidelog dlq list --by error\n"
   "sidelog dlq show 1041\n"
   "sidelog dlq replay --topic 'orders.*' --dry-run\n"
   "sidelog dlq replay --all\n"
   "sidelog dlq drop 1041 --reason 'test data'\n"
   "sidelog dlq list --reader billing",
   OPTIONS(FILTER_OPTIONS, OPT_LIMIT, OPT_BY, OPT_ALL, OPT_DRY_RUN, OPT_REASON, OPT_MOST, OPT_READER), 0,
   ANY_NUMBER, NEED_STORE, run_dlq},
  {"readers", "[forget] [NAME]", "local readers: where they are, and what they left",
   "Readers are programs on this host that process the events (sidelog/reader.h). Of\n"
   "each: the process that has it open, how many events lie ahead of it, how many\n"
   "are in hand or wait for another try, its dead letters, and how many events were\n"
   "trimmed before it came to them. Its law, seen = acked + dead + dropped + missed\n"
   "+ open, holds at every commit; the exit status is 4 when one does not. Of one\n"
   "that is named also what is to be tried again, and when.\n"
   "\n"
   "forget NAME removes a reader that is not open, with its place and dead letters.",
   "sidelog readers\n"
   "sidelog readers billing --json\n"
   "sidelog dlq list --reader billing\n"
   "sidelog readers forget billing",
   NULL, 0, 2, NEED_STORE, run_readers},
  {"top", "", "a live view: status, rates, the slowest steps",
   "Shows every second what `sidelog status` says, how many events a second are\n"
   "appended and delivered, and which steps from one event type to the next are the\n"
   "slowest in the newest 5,000 events. q ends it, space pauses, s sorts, ? has the\n"
   "other keys; then the terminal is as it was. Without a terminal it looks once.",
   "sidelog top",
   NULL, 0, 0, NEED_STORE, run_top},
  {"export", "[FIELD=VALUE]...", "whole events, as JSON lines or in other tools' formats",
   "Writes events with headers and value, one JSON object a line, in order of seq;\n"
   "conditions as in `sidelog query`. A value that is JSON stands under \"value\" as\n"
   "it is, any other under \"value_base64\". --format writes for others: csv,\n"
   "cloudevents (a JSON object a line), otlp and jaeger (traces; an event is a span\n"
   "without length), dot and mermaid (what caused what, as a drawing).",
   "sidelog export > events.jsonl\n"
   "sidelog export --correlation 0190a6c2-7c1e --since -1d\n"
   "sidelog export --correlation 0190a6c2-7c1e --format dot | dot -Tsvg > story.svg",
   OPTIONS(FILTER_OPTIONS, OPT_LIMIT, OPT_FORMAT), 0, ANY_NUMBER, NEED_STORES, run_export, true},
  {"bundle", "CORRELATION", "a story as a web page, for somebody else",
   "Writes one correlation as a page that needs nothing else: what caused what and\n"
   "when, what became of each event, and every field and value. It opens without a\n"
   "network, loads nothing and runs no script. Beside it go the events as JSON\n"
   "lines, as `sidelog export` writes them. Secrets of well-known shapes are masked\n"
   "in both unless --no-redact. Only you can read the files.",
   "sidelog bundle 0190a6c2-7c1e\n"
   "sidelog bundle 0190a6c2-7c1e --out incident.html",
   OPTIONS(OPT_OUT, OPT_NO_REDACT, OPT_NO_SKEW), 1, 1, NEED_STORES, run_bundle},
  {"verify", "", "read everything and check it",
   "Reads every record's checksum, both directions of the index, every receipt,\n"
   "and counts the law anew, in a second process that damage may end. Safe while\n"
   "everything runs. The exit status is 4 when something is wrong; `sidelog repair`\n"
   "then copies what is readable.",
   "sidelog verify",
   NULL, 0, 0, NEED_NOTHING, run_verify},
  {"repair", "", "copy what is readable of a damaged store into a new one",
   "Reads a damaged store page by page, writes what holds its checksums into a new\n"
   "store at --into, and says seq by seq what was lost and why. The damaged store\n"
   "is only read; its agent and producers must not run. The new one has the same\n"
   "id, seqs, times and values, and delivery goes on where it was. A pending event\n"
   "that is lost is dropped, and counted so; a settled one counts as trimmed. If\n"
   "the delivery state cannot be trusted nothing is made; --delivery none leaves\n"
   "it behind: the new store has a new id and sends every event again. Where the\n"
   "damage leaves two forms of a topic's name, --name says which one is right. The\n"
   "exit status is 4 when something was lost, 3 when no store was made, 2 when\n"
   "none was and the command line is what to change.",
   "sidelog repair --store damaged --into repaired\n"
   "sidelog repair --store damaged --into repaired --delivery none --json",
   OPTIONS(OPT_INTO, OPT_DELIVERY, OPT_NAME), 0, 0, NEED_NOTHING, run_repair},
  {"reindex", "", "build the index again from the log",
   "Throws the index away and builds it from the log while everything else runs;\n"
   "queries stay complete meanwhile. What became of events never changes by it.\n"
   "--attributes sets what the index holds beside event id, correlation id,\n"
   "causation id and type, from then on: key, tenant and source, several with\n"
   "commas, or none. Queries by others read every event.",
   "sidelog reindex\n"
   "sidelog reindex --attributes tenant,source",
   OPTIONS(OPT_ATTRIBUTES), 0, 0, NEED_STORE, run_reindex},
  {"trim", "", "remove old events that are settled",
   "Removes the oldest events by age, size or number (at least one is asked for),\n"
   "never one that is pending or not yet indexed. Says what was removed and what\n"
   "holds the rest.",
   "sidelog trim --older-than 7d\n"
   "sidelog trim --max-bytes 2G --max-events 1000000",
   OPTIONS(OPT_OLDER_THAN, OPT_MAX_BYTES, OPT_MAX_EVENTS), 0, 0, NEED_STORE, run_trim},
  {"full", "", "what happens when the store is full",
   "Shows the policy of a full store, or sets it for all who append. refuse: an\n"
   "append fails and nothing is lost. drop-delivered-early: settled events go\n"
   "before their time, oldest first. --drop-oldest names topics whose oldest\n"
   "UNDELIVERED events go where that is not enough; each is counted and stays as a\n"
   "record without its value. The ballast is a file that is given up when the disk\n"
   "itself is full, so that trim and the agent can write.",
   "sidelog full\n"
   "sidelog full --when-full drop-delivered-early\n"
   "sidelog full --drop-oldest 'metrics.*,debug.v1' --ballast 4M\n"
   "sidelog full --when-full refuse",
   OPTIONS(OPT_WHEN_FULL, OPT_DROP_OLDEST, OPT_BALLAST), 0, 0, NEED_STORE, run_full},
  {"compact", "", "give free space in the files back to the disk",
   "Rewrites the store's files without the space that trim has freed in them, and\n"
   "prints their size before and after. Nobody may have the store open: stop the\n"
   "agent and the producers first. Needs room for a copy of what is in use.",
   "sidelog compact",
   NULL, 0, 0, NEED_NOTHING, run_compact},
  {"completion", "SHELL", "completion for bash, zsh or fish",
   "Prints a script that completes commands, options and the ids of recent events.",
   "eval \"$(sidelog completion bash)\"\n"
   "eval \"$(sidelog completion zsh)\"\n"
   "sidelog completion fish | source",
   NULL, 1, 1, NEED_NOTHING, run_completion},
  {"help", "[COMMAND]", "explain a command",
   "Explains a command, or lists them. --man prints the manual page; the one that is\n"
   "installed (man sidelog-trace) has more.",
   "sidelog help append\n"
   "man sidelog-append\n"
   "sidelog help append --man | man -l -",
   OPTIONS(OPT_MAN), 0, 1, NEED_NOTHING, run_help, true},
};

const size_t command_count = sizeof command_table / sizeof *command_table;

const command *command_find(const char *name) {
  for (size_t i = 0; i < command_count; i++)
    if (strcmp(command_table[i].name, name) == 0)
      return &command_table[i];
  return NULL;
}
