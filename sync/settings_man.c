/* The manual pages sidelogd(8) and sidelogd.yaml(5), from the table of settings. */
#include "settings_inner.h"

#include <string.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define VERSION TEXT_OF(SL_VERSION_MAJOR) "." TEXT_OF(SL_VERSION_MINOR)

static void roff(FILE *out, const char *text) {
  bool line_start = true;
  for (; *text; text++) {
    if (line_start && (*text == '.' || *text == '\'')) fputs("\\&", out);
    if (*text == '\\') fputs("\\e", out);
    else if (*text == '-') fputs("\\-", out);
    else if (*text == '~') fputs("\\(ti", out);
    else if (*text == '`') fputs("\\(oq", out);
    else putc(*text, out);
    line_start = *text == '\n';
  }
}

static void roff_item(FILE *out, const char *name, const char *argument) {
  fputs(".TP\n\\fB", out);
  roff(out, name);
  fputs("\\fR", out);
  if (argument) {
    fputs(" \\fI", out);
    roff(out, argument);
    fputs("\\fR", out);
  }
  putc('\n', out);
}

static void capital(const char *text, char *out, size_t cap) {
  snprintf(out, cap, "%s.\n", text);
  if (out[0] >= 'a' && out[0] <= 'z' && strncmp(out, "transactional", 13) != 0) out[0] = (char)(out[0] - 32);
}

static void man_row(FILE *out, const setting_row *row, bool option) {
  char text[400], range[200];
  if (option) roff_item(out, row->flag, row->type == TYPE_BOOL ? NULL : row->argument);
  else roff_item(out, row->path, row->argument);
  capital(row->text, text, sizeof text);
  roff(out, text);
  if (row->more) {
    roff(out, row->more);
    putc('\n', out);
  }
  setting_range(row, range, sizeof range);
  if (range[0]) {
    fputs("Range: ", out);
    roff(out, range);
    fputs(".\n", out);
  }
  if (row->preset && !(row->flags & SETTING_LINE_ONLY)) {
    fputs("Default: ", out);
    roff(out, row->preset);
    fputs(".\n", out);
  }
  if (row->flag && row->path) {
    fputs(option ? "In the file: " : "Option: ", out);
    roff(out, option ? row->path : row->flag);
    fputs(".\n", out);
  }
  if (!(row->flags & SETTING_RESTART)) fputs("SIGHUP takes a change.\n", out);
}

void settings_man(FILE *out) {
  fputs(".TH SIDELOGD 8 \"\" \"sidelog " VERSION "\" \"sidelog\"\n"
        ".SH NAME\nsidelogd \\- deliver the events of a sidelog store to Kafka, exactly once\n"
        ".SH SYNOPSIS\n.B sidelogd\n[\\fB\\-\\-store\\fR \\fIDIR\\fR] \\fB\\-\\-brokers\\fR "
        "\\fIHOST:PORT\\fR[,...] [\\fIOPTION\\fR]...\n.br\n.B sidelogd \\-\\-config\n\\fIFILE\\fR "
        "[\\fIOPTION\\fR]...\n"
        ".SH DESCRIPTION\n"
        "Reads the local event store that programs append to, and delivers each event to the topic it "
        "names: byte for byte, in order for each key, and in the mode exactly\\-once visible once to "
        "consumers with isolation.level=read_committed. While the cluster cannot be reached events wait "
        "in the store, for days if need be. It may be killed at any moment; the next start finds out what "
        "arrived.\n.PP\n"
        "One agent runs for a store; a second one says so and ends.\n.PP\n"
        "Settings come from the command line, from a YAML file and from the environment, in this order of rank.\n"
        ".BR sidelogd.yaml (5)\nhas all of them.\n"
        ".SH OPTIONS\n", out);
  for (size_t i = 0; i < settings_row_count; i++)
    if (settings_rows[i].flag) man_row(out, &settings_rows[i], true);
  for (size_t i = 0; i < settings_option_count; i++) {
    const setting_option *o = &settings_options[i];
    char text[200];
    roff_item(out, o->flag, o->argument);
    capital(o->text, text, sizeof text);
    roff(out, text);
  }
  fputs(".SH SIGNALS\n.TP\nSIGTERM, SIGINT\n"
        "End: the transaction at hand is committed within shutdown_timeout.\n.TP\nSIGHUP\n"
        "Read the configuration again, credentials and certificates too: they are used from the next connection "
        "on, which is made once nothing is in hand. What needs a restart is named in the log and stays as it is; "
        "a file with a problem changes nothing.\n.SH EXIT STATUS\n.TP\n0\n"
        "Ended as asked; with \\-\\-drain: nothing is pending of what was there at the start.\n.TP\n1\n"
        "A step repeated by \\-\\-replay\\-history went otherwise than it had been recorded.\n.TP\n2\n"
        "Usage or configuration.\n.TP\n3\n"
        "The store cannot be opened, read, written or locked (another agent holds it), or is full.\n.TP\n"
        "4\nSomething is wrong: with \\-\\-drain the agent is parked; \\-\\-check found something missing; "
        "\\-\\-adopt needs a choice.\n.TP\n5\n"
        "The timeout of \\-\\-drain ran out; \\-\\-adopt found no cluster that answers.\n"
        ".SH ENVIRONMENT\n.TP\nSIDELOG_STORE, XDG_STATE_HOME, HOME\n"
        "Where the store is when neither option nor file says so.\n.TP\nNOTIFY_SOCKET\n"
        "Set by systemd for Type=notify: the agent says READY=1 once the store is open, whether or not a "
        "broker can be reached.\n.SH EXAMPLES\n.nf\n.RS\n"
        "sidelogd \\-\\-brokers redpanda\\-0:9092\n"
        "sidelogd \\-\\-config /etc/sidelogd.yaml \\-\\-check\n"
        "sidelogd \\-\\-config /etc/sidelogd.yaml \\-\\-drain \\-\\-timeout 30\n"
        "sidelogd \\-\\-man | man \\-l \\-\n.RE\n.fi\n"
        ".SH SEE ALSO\n.BR sidelog (1),\n.BR sidelog\\-status (1),\n.BR sidelogd.yaml (5)\n", out);
}

void settings_man_yaml(FILE *out) {
  fputs(".TH SIDELOGD.YAML 5 \"\" \"sidelog " VERSION "\" \"sidelog\"\n"
        ".SH NAME\nsidelogd.yaml \\- the configuration of sidelogd\n"
        ".SH DESCRIPTION\nYAML, read with \\fBsidelogd \\-\\-config\\fR \\fIFILE\\fR and again at SIGHUP. "
        "\\fBsidelogd \\-\\-config\\fR \\fIFILE\\fR \\fB\\-\\-check\\-config\\fR says what is wrong in it, with "
        "line and column, \\fB\\-\\-print\\-config\\fR what holds in the end.\n", out);
  fputs(".SH SETTINGS\nIn the YAML file, with a dot for each level of the map, or as \\fB\\-\\-set\\fR "
        "\\fINAME=VALUE\\fR. The command line goes before the file, the file before the environment.\n"
        "A duration is 500ms, 15s, 1h30m or 7d; a size 500kB or 32MiB (a bare number is bytes).\n", out);
  const char *group = "";
  for (size_t i = 0; i < settings_row_count; i++) {
    if (!settings_rows[i].path) continue;
    if (strcmp(group, settings_rows[i].group) != 0) fprintf(out, ".SS %s\n", group = settings_rows[i].group);
    man_row(out, &settings_rows[i], false);
  }
  fputs(".SS Rules for topics\n", out);
  roff_item(out, "topics", "LIST");
  fputs("A list of maps. The first whose match fits a topic decides; what it leaves out is as for the "
        "others. SIGHUP takes a change.\n.RS\n", out);
  for (size_t i = 0; i < settings_topic_row_count; i++) {
    char text[200];
    roff_item(out, settings_topic_rows[i].path, settings_topic_rows[i].argument);
    capital(settings_topic_rows[i].text, text, sizeof text);
    roff(out, text);
  }
  fputs(".RE\n.SS Properties of librdkafka\n", out);
  roff_item(out, "kafka", "MAP");
  fputs("Any property of librdkafka, as security.protocol or sasl.password. Those that the protocol "
        "depends on are refused with the reason; one that this librdkafka does not know is a warning.\n"
        ".SH FILES\n.TP\n\\(ti/.local/state/sidelog/default\nthe store, where nothing names another\n"
        ".SH EXAMPLES\n.nf\n.RS\nbrokers: redpanda\\-0:9092,redpanda\\-1:9092\n"
        "retention:\n  age: 7d\ntopics:\n  \\- match: \"*.audit.*\"\n    retention: 90d\nkafka:\n"
        "  security.protocol: sasl_ssl\n  sasl.mechanisms: SCRAM\\-SHA\\-512\n  sasl.username: orders\n"
        "  sasl.password: secret\n.RE\n.fi\n.SH SEE ALSO\n.BR sidelogd (8),\n.BR sidelog (1)\n", out);
}
