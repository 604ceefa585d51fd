/* Build tool: documents made from the table of settings.
 *   sidelogd-docs man | man-yaml | help | markdown     writes to standard output
 *   sidelogd-docs update FILE               replaces what stands between the two marks in FILE */
#include "settings.h"

#include <stdlib.h>
#include <string.h>

static const char begin_mark[] = "<!-- made from the table of settings: begin -->\n";
static const char end_mark[] = "<!-- made from the table of settings: end -->\n";

static char *read_all(const char *path) {
  FILE *file = fopen(path, "re");
  if (!file) return NULL;
  enum { MOST = 1 << 20 };
  char *text = calloc(1, MOST + 1);
  if (text) text[fread(text, 1, MOST, file)] = 0;
  fclose(file);
  return text;
}

static int update(const char *path) {
  char *text = read_all(path);
  char *begin = text ? strstr(text, begin_mark) : NULL, *end = begin ? strstr(begin, end_mark) : NULL;
  if (!end) {
    fprintf(stderr, "sidelogd-docs: %s cannot be read, or lacks its two marks\n", path);
    free(text);
    return 2;
  }
  FILE *out = fopen(path, "we");
  if (out) {
    fwrite(text, 1, (size_t)(begin - text) + sizeof begin_mark - 1, out);
    settings_markdown(out);
    fputs("\n", out);
    fputs(end, out);
  }
  free(text);
  return out && fclose(out) == 0 ? 0 : 3;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "man") == 0) return settings_man(stdout), 0;
  if (argc == 2 && strcmp(argv[1], "man-yaml") == 0) return settings_man_yaml(stdout), 0;
  if (argc == 2 && strcmp(argv[1], "help") == 0) return settings_help(stdout), 0;
  if (argc == 2 && strcmp(argv[1], "markdown") == 0) return settings_markdown(stdout), 0;
  if (argc == 3 && strcmp(argv[1], "update") == 0) return update(argv[2]);
  fputs("usage: sidelogd-docs man | man-yaml | help | markdown | update FILE\n", stderr);
  return 2;
}
