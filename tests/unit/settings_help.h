/* Reads settings from a line and a file given as text, and keeps what was said about them. */
#ifndef TESTS_SETTINGS_HELP_H
#define TESTS_SETTINGS_HELP_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "settings_inner.h"

typedef struct parsed {
  settings s;
  settings_action action;
  int status;
  char *said; /* without the file's folder */
} parsed;

#define YAML_FILE "sidelogd.yaml"

static inline void write_file(const char *path, const char *text, size_t len) {
  FILE *f = fopen(path, "we");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, len, f), len);
  assert_int_equal(fclose(f), 0);
  chmod(path, 0600);
}

/* `line` is split at blanks. `yaml` NULL: no file. Runs in a folder of its own (see in_own_folder). */
static inline parsed parse(const char *yaml, const char *line, kafka_property_check *check) {
  enum { ARGS = 40 };
  const char *argv[ARGS + 1] = {"sidelogd"};
  char *words = strdup(line);
  int argc = 1;
  if (yaml) {
    write_file(YAML_FILE, yaml, strlen(yaml));
    argv[argc++] = "--config";
    argv[argc++] = YAML_FILE;
  }
  for (char *save = NULL, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
    assert_true(argc < ARGS);
    argv[argc++] = w;
  }
  parsed p = {0};
  size_t len = 0;
  FILE *errors = open_memstream(&p.said, &len);
  p.status = settings_parse_checked(&p.s, &p.action, argc, (char **)(uintptr_t)argv, check, errors);
  fclose(errors);
  free(words);
  return p;
}

static inline void parsed_free(parsed *p) {
  settings_free(&p->s);
  free(p->said);
  p->said = NULL;
}

/* Group set-up: an empty folder to work in, and an environment that says nothing. */
static inline int in_own_folder(void **state) {
  (void)state;
  char folder[] = "/tmp/sidelog-settings-XXXXXX";
  if (!mkdtemp(folder) || chdir(folder) != 0) return -1;
  unsetenv("SIDELOG_STORE");
  unsetenv("XDG_STATE_HOME");
  setenv("HOME", "/home/tester", 1);
  return 0;
}
static inline int leave_folder(void **state) {
  (void)state;
  char folder[256];
  unlink(YAML_FILE);
  return getcwd(folder, sizeof folder) && chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static inline char *slurp(const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) fail_msg("cannot read %s", path);
  enum { MOST = 1 << 20 };
  char *text = calloc(1, MOST);
  assert_non_null(text);
  text[fread(text, 1, MOST - 1, f)] = 0;
  fclose(f);
  return text;
}
#endif
