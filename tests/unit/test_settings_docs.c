/* Help, man page, documents and examples agree with the table, with the Kafka room, and with the terminal. */
#include "settings_help.h"

static char *made(void (*write)(FILE *)) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  write(out);
  fclose(out);
  return text;
}

static void every_setting_is_in_help(void **state) {
  (void)state;
  char *help = made(settings_help);
  for (size_t i = 0; i < settings_row_count; i++) {
    const char *name = settings_rows[i].flag ? settings_rows[i].flag : settings_rows[i].path;
    if (!strstr(help, name)) fail_msg("--help lacks %s", name);
  }
  for (size_t i = 0; i < settings_option_count; i++) assert_non_null(strstr(help, settings_options[i].flag));
  for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
    if (strlen(line) > 80) fail_msg("wider than 80 columns: %s", line);
  free(help);
}

/* roff writes hyphens as \- */
static char *plain(char *roff) {
  char *to = roff;
  for (char *from = roff; *from; from++)
    if (!(from[0] == '\\' && from[1] == '-')) *to++ = *from;
  *to = 0;
  return roff;
}

static void wanted(const char *page, const char *name) {
  char item[100];
  snprintf(item, sizeof item, ".TP\n\\fB%s\\fR", name);
  if (!strstr(page, item)) fail_msg("the man page lacks %s", name);
}

static void every_setting_is_in_the_man_pages(void **state) {
  (void)state;
  char *agent = plain(made(settings_man)), *yaml = plain(made(settings_man_yaml));
  for (size_t i = 0; i < settings_row_count; i++) {
    if (settings_rows[i].path) wanted(yaml, settings_rows[i].path);
    if (settings_rows[i].flag) wanted(agent, settings_rows[i].flag);
  }
  for (size_t i = 0; i < settings_topic_row_count; i++) wanted(yaml, settings_topic_rows[i].path);
  for (size_t i = 0; i < settings_option_count; i++) wanted(agent, settings_options[i].flag);
  free(agent);
  free(yaml);
}

/* roff control lines are only those we write: a text that begins with a dot would vanish. */
static void roff_is_good(void (*page)(FILE *)) {
  static const char *const known[] = {".TH ", ".SH ", ".SS ", ".TP", ".PP", ".B ", ".BR ", ".br", ".nf", ".fi",
      ".RS", ".RE"};
  char *man = made(page);
  for (char *line = strtok(man, "\n"); line; line = strtok(NULL, "\n")) {
    bool good = line[0] != '.' && line[0] != '\'';
    for (size_t i = 0; i < sizeof known / sizeof *known && !good; i++)
      good = strncmp(line, known[i], strlen(known[i])) == 0;
    if (!good) fail_msg("not a macro of ours: %s", line);
  }
  free(man);
}

static void the_man_pages_are_roff(void **state) {
  (void)state;
  roff_is_good(settings_man);
  roff_is_good(settings_man_yaml);
}

static void configuration_md_is_up_to_date(void **state) {
  (void)state;
  static const char begin[] = "<!-- made from the table of settings: begin -->\n";
  static const char end[] = "\n<!-- made from the table of settings: end -->\n";
  char *text = slurp(DOCS_DIR "/configuration.md"), *want = made(settings_markdown);
  char *from = strstr(text, begin), *to = from ? strstr(from, end) : NULL;
  assert_non_null(to);
  *to = 0;
  if (strcmp(from + sizeof begin - 1, want) != 0)
    fail_msg("docs/configuration.md is behind the table: run BUILD/sync/sidelogd-docs update "
        "docs/configuration.md");
  free(text);
  free(want);
}

/* Every property that the Kafka room sets by a literal stands in configuration.md with that value. */
static void driver_defaults_are_documented(void **state) {
  (void)state;
  char *source = slurp(DOCS_DIR "/../sync/kafka/conf.c"), *text = slurp(DOCS_DIR "/configuration.md");
  static const char *const starts[] = {"\n  {\"", "set(b, \""};
  size_t found = 0;
  for (size_t k = 0; k < 2; k++)
    for (char *at = source; (at = strstr(at, starts[k]));) {
      at += strlen(starts[k]);
      char name[80], value[80], row[200];
      int used = 0;
      if (sscanf(at, "%79[a-z.]\", \"%79[^\"]\"%n", name, value, &used) != 2 || !used) continue;
      found++;
      snprintf(row, sizeof row, "`%s` | `%s`", name, value);
      if (!strstr(text, row)) fail_msg("docs/configuration.md lacks | %s |", row);
    }
  assert_true(found > 15);
  free(source);
  free(text);
}

static void the_example_files_are_fine(void **state) {
  (void)state;
  char *yaml = slurp(DOCS_DIR "/sidelogd.example.yaml");
  parsed p = parse(yaml, "", NULL);
  assert_string_equal(p.said, "");
  assert_int_equal(p.status, 0);
  assert_int_equal(p.s.topic_count, 2);
  parsed_free(&p);
  free(yaml);
  yaml = slurp(DOCS_DIR "/sidelogd.edge.yaml");
  p = parse(yaml, "", NULL);
  assert_string_equal(p.said, "");
  assert_int_equal(p.s.queue_bytes, 4 << 20);
  parsed_free(&p);
  free(yaml);
}

/* Every ```yaml block of configuration.md is a configuration. */
static void examples_in_the_documents_are_fine(void **state) {
  (void)state;
  char *text = slurp(DOCS_DIR "/configuration.md");
  size_t found = 0;
  for (char *at = text; (at = strstr(at, "```yaml\n")); found++) {
    at += strlen("```yaml\n");
    char *end = strstr(at, "```");
    assert_non_null(end);
    char *yaml = strndup(at, (size_t)(end - at));
    parsed p = parse(yaml, "", NULL);
    if (p.status || *p.said) fail_msg("%s\n%s", yaml, p.said);
    parsed_free(&p);
    free(yaml);
    at = end + 3;
  }
  assert_true(found > 0);
  free(text);
}

static void the_unit_starts_what_there_is(void **state) {
  (void)state;
  char *unit = slurp(DOCS_DIR "/sidelogd.service"), line[200];
  char *at = strstr(unit, "\nExecStart=/usr/local/bin/sidelogd ");
  assert_non_null(at);
  assert_int_equal(sscanf(at, "\nExecStart=/usr/local/bin/sidelogd %199[^\n]", line), 1);
  parsed p = parse(NULL, line, NULL);
  assert_string_equal(p.said, "/etc/sidelog/sidelogd.yaml: cannot be read: No such file or directory\n");
  parsed_free(&p);

  int stop = 0;
  p = parse(NULL, "--brokers b", NULL);
  at = strstr(unit, "\nTimeoutStopSec=");
  assert_int_equal(sscanf(at ? at : "", "\nTimeoutStopSec=%d", &stop), 1);
  assert_true(stop * INT64_C(1000000) > p.s.shutdown_timeout_us);
  parsed_free(&p);

  /* Started again for ever, as it says: by itself systemd gives up after five quick ends. */
  assert_non_null(strstr(unit, "\nRestart=always"));
  at = strstr(unit, "\nStartLimitIntervalSec=0");
  assert_non_null(at);
  assert_true(at < strstr(unit, "\n[Service]")); /* elsewhere it is not heard */
  free(unit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_setting_is_in_help),
    cmocka_unit_test(every_setting_is_in_the_man_pages),
    cmocka_unit_test(the_man_pages_are_roff),
    cmocka_unit_test(configuration_md_is_up_to_date),
    cmocka_unit_test(driver_defaults_are_documented),
    cmocka_unit_test(the_example_files_are_fine),
    cmocka_unit_test(examples_in_the_documents_are_fine),
    cmocka_unit_test(the_unit_starts_what_there_is),
  };
  return cmocka_run_group_tests(tests, in_own_folder, leave_folder);
}
