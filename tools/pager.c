#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pager; /* 0: none runs */
static int pager_in = -1;

static const char *pager_command(void) {
  const char *command = getenv("SIDELOG_PAGER");
  return command ? command : getenv("PAGER");
}

/* The pager has the keyboard: it decides when it is enough. It sees the end of what there is, and is waited for,
 * so that the shell does not read the same keys. Only functions that are safe in a handler. */
static void on_signal(int number) {
  close(pager_in);
  while (pager > 0 && waitpid(pager, NULL, 0) < 0 && errno == EINTR) continue;
  _exit(128 + number);
}

static void watch_signals(void) {
  const struct sigaction action = {.sa_handler = on_signal};
  const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
}

/* In the child. A simple command is started directly, so that it is known when there is none. */
static void become(const char *command) {
  char *words[16], *copy = tool_copy(command, strlen(command));
  size_t count = 0;
  if (strpbrk(command, "|&;<>()$`\\\"'*?[#~=%\n")) {
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    return;
  }
  for (char *word = strtok(copy, " \t"); word && count < 15; word = strtok(NULL, " \t")) words[count++] = word;
  words[count] = NULL;
  execvp(words[0], words);
}

/* 0, or what errno says why not. */
static int start(const char *command) {
  int ends[2], failed[2], why = 0;
  if (pipe(ends) != 0)
    return errno;
  if (pipe(failed) != 0) {
    why = errno;
    close(ends[0]);
    close(ends[1]);
    return why;
  }
  const int inner[] = {ends[0], ends[1], failed[0], failed[1]};
  for (size_t i = 0; i < 4; i++) fcntl(inner[i], F_SETFD, FD_CLOEXEC);
  const pid_t pid = fork();
  if (pid == 0) {
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    dup2(ends[0], STDIN_FILENO);
    setenv("LV", "-c", 0);
    become(command);
    why = errno;
    _exit(write(failed[1], &why, sizeof why) == sizeof why ? 127 : 126);
  }
  if (pid < 0)
    why = errno;
  close(ends[0]);
  close(failed[1]);
  while (pid > 0 && read(failed[0], &why, sizeof why) < 0 && errno == EINTR) continue;
  close(failed[0]);
  if (why) {
    close(ends[1]);
    if (pid > 0)
      waitpid(pid, NULL, 0);
    return why;
  }
  pager = pid;
  pager_in = ends[1];
  watch_signals();
  return 0;
}

static void begin(output *o) {
  const char *command = pager_command();
  o->begin = NULL;
  const int why = start(command ? command : "less -FRX");
  if (why == 0)
    o->fd = pager_in;
  else if (command)
    fprintf(stderr, "sidelog: cannot start the pager %s: %s\n", command, strerror(why));
}

/* Rows that the text takes on the screen; escapes of colour have no width. */
static size_t rows_of(const text *words, int width) {
  size_t rows = 0;
  text line = {0};
  for (const char *p = text_str(words), *end = p + words->len; p < end; p++) {
    if (*p == '\033') {
      p += strcspn(p, "m");
    } else if (*p == '\n') {
      rows += 1 + (size_t)(text_width(text_str(&line)) > 0 ? (text_width(text_str(&line)) - 1) / width : 0);
      text_clear(&line);
    } else {
      text_add(&line, p, 1);
    }
  }
  text_free(&line);
  return rows;
}

static bool fits(const output *o) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
    return true;
  return rows_of(&o->pending, size.ws_col) < size.ws_row;
}

void pager_offer(output *o) {
  const char *kind = getenv("TERM"), *command = pager_command();
  if (!o->term.tty || !kind || !*kind || strcmp(kind, "dumb") == 0)
    return;
  if (command && (command[strspn(command, " \t")] == 0 || strcmp(command, "cat") == 0))
    return;
  o->begin = begin;
}

void pager_finish(output *o) {
  if (o->begin && !fits(o))
    o->begin(o);
  o->begin = NULL;
  out_flush(o);
  if (pager <= 0)
    return;
  close(pager_in);
  while (waitpid(pager, NULL, 0) < 0 && errno == EINTR) continue;
  pager = 0;
  o->fd = STDOUT_FILENO;
}
