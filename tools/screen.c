#include "screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const char enter[] = "\033[?1049h\033[?25l", leave[] = "\033[?25h\033[?1049l";
static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int deaths[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGSYS, SIGXCPU};

static struct termios before;
static bool keys;                    /* stdin is a terminal whose modes are ours to change */
static volatile sig_atomic_t ours;   /* the terminal is, at this moment */
static volatile sig_atomic_t ending, stopping, continued, changed;
static sigset_t while_waiting;       /* the mask in which signals are heard */
static char typed[64];
static size_t typed_len;

/* Only what a handler may do. */
static void give_back(void) {
  if (!ours)
    return;
  ours = 0;
  if (write(STDOUT_FILENO, leave, sizeof leave - 1) < 0) /* nobody is left to see it */
    return;
  if (keys)
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void take(void) {
  struct termios raw = before;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C and Ctrl-Z stay signals */
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  ours = 1;
  if (keys)
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  if (write(STDOUT_FILENO, enter, sizeof enter - 1) < 0)
    ending = 1;
}

static void on_end(int number) { (void)number, ending = 1; }
static void on_stop(int number) { (void)number, stopping = 1; }
static void on_continue(int number) { (void)number, continued = 1; }
static void on_change(int number) { (void)number, changed = 1; }

static void on_death(int number) {
  give_back();
  signal(number, SIG_DFL);
  raise(number);
}

static void listen(int number, void (*handler)(int), sigset_t *heard) {
  const struct sigaction action = {.sa_handler = handler};
  sigaction(number, &action, NULL);
  if (heard)
    sigaddset(heard, number);
}

void screen_open(output *o) {
  sigset_t heard;
  out_flush(o);
  keys = tcgetattr(STDIN_FILENO, &before) == 0;
  sigemptyset(&heard);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) listen(ends[i], on_end, &heard);
  listen(SIGTSTP, on_stop, &heard);
  listen(SIGCONT, on_continue, &heard);
  listen(SIGWINCH, on_change, &heard);
  for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) listen(deaths[i], on_death, NULL);
  sigprocmask(SIG_BLOCK, &heard, &while_waiting); /* they are heard while it waits, and in no other place */
  atexit(give_back);
  take();
}

void screen_close(output *o) {
  out_flush(o);
  give_back();
}

/* As the shell expects: stopped with the terminal in order, and on again when it says so. */
static void stop(void) {
  sigset_t these;
  stopping = 0;
  give_back();
  sigemptyset(&these);
  sigaddset(&these, SIGTSTP);
  sigaddset(&these, SIGCONT);
  signal(SIGTSTP, SIG_DFL);
  raise(SIGTSTP);
  sigprocmask(SIG_UNBLOCK, &these, NULL); /* here it stops, and goes on */
  listen(SIGTSTP, on_stop, NULL);
  sigprocmask(SIG_BLOCK, &these, NULL);
  continued = 1;
}

/* The next key of what was typed. False: there is no whole one. */
static bool next_key(int *key) {
  static const struct { const char *sequence; int key; } known[] = {
    {"\033[A", KEY_UP}, {"\033OA", KEY_UP}, {"\033[B", KEY_DOWN}, {"\033OB", KEY_DOWN}, {"\033[C", KEY_RIGHT},
    {"\033OC", KEY_RIGHT},
    {"\033[D", KEY_LEFT}, {"\033OD", KEY_LEFT}, {"\033[5~", KEY_PAGE_UP}, {"\033[6~", KEY_PAGE_DOWN}};
  if (typed_len == 0)
    return false;
  size_t len = 1;
  *key = (unsigned char)typed[0];
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const size_t n = strlen(known[i].sequence);
    if (typed_len >= n && memcmp(typed, known[i].sequence, n) == 0) {
      *key = known[i].key;
      len = n;
    }
  }
  if (*key == '\033') /* a sequence that means nothing here */
    len = typed_len;
  typed_len -= len;
  memmove(typed, typed + len, typed_len);
  return true;
}

int screen_wait(int64_t ms) {
  int key;
  struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
  if (!next_key(&key)) {
    struct pollfd watch[2] = {{.fd = keys ? STDIN_FILENO : -1, .events = POLLIN}, {.fd = STDOUT_FILENO}};
    const int ready = ending ? -1 : ppoll(watch, 2, &time, &while_waiting);
    if (ready > 0 && (watch[1].revents & (POLLERR | POLLNVAL | POLLHUP)))
      ending = 1;
    if (ready > 0 && watch[0].revents) {
      const ssize_t got = read(STDIN_FILENO, typed + typed_len, sizeof typed - typed_len);
      typed_len += got > 0 ? (size_t)got : 0;
      if (got == 0)
        ending = 1;
    }
    if (stopping)
      stop();
    if (ending)
      return KEY_END;
    if (continued)
      take(); /* also after a SIGSTOP, of which it did not know: the shell has set modes of its own */
    if (continued || changed) {
      continued = changed = 0;
      return KEY_DRAW;
    }
    if (!next_key(&key))
      return KEY_TIME;
  }
  return key;
}

int screen_rows(void) {
  struct winsize size;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1 ? size.ws_row : 24;
}

void screen_frame(output *o) {
  text frame = {0};
  const int rows = screen_rows() - 1;
  const char *p = text_str(&o->pending), *end = p + o->pending.len;
  const char *foot = end;
  while (foot > p && (foot == end || foot[-1] != '\n')) foot--; /* the last line goes to the bottom */
  text_puts(&frame, "\033[H");
  int row = 0;
  for (; row < rows && p < foot; row++) {
    size_t len = strcspn(p, "\n");
    text_add(&frame, p, len);
    text_puts(&frame, "\033[K\n");
    p += len + 1;
  }
  text_puts(&frame, "\033[J");
  text_printf(&frame, "\033[%d;1H", rows + 1);
  text_add(&frame, foot, strcspn(foot, "\n"));
  text_clear(&o->pending);
  out_add(o, frame.data, frame.len);
  out_flush(o);
  text_free(&frame);
}
