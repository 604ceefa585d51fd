#include "lives.h"

#include "must.h"
#include "tree.h"

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MOST = 64, SAID_MOST = 1 << 16, LIFE_SECONDS = 30 };
enum { WHOLE = 0, STRUCK = 42 }; /* how a child ends; MUST ends it otherwise */

char path[4200], what[128];
static char folder[4096];
static fault_kind kind;
static long nth;
static int says = -1;

bool lives_begin(const char *name) {
  const char *tmp = getenv("TMPDIR");
  if (!tmp) tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  snprintf(folder, sizeof folder, "%s/sidelog-%s.XXXXXX", tmp, name);
  if (!mkdtemp(folder)) return false;
  snprintf(path, sizeof path, "%s/store", folder);
  setvbuf(stdout, NULL, _IONBF, 0);
  return true;
}

int lives_end(void) {
  remove_tree(path);
  rmdir(folder);
  return 0;
}

bool lives_long(void) {
  const char *all = getenv("SIDELOG_LONG");
  return all && *all == '1';
}

/* ----------------------------------------------------------------- child --- */

void life_arm(void) { fault_arm(kind, nth); }
fault_kind life_kind(void) { return kind; }

void life_say(const char *word, uint64_t a, uint64_t b) {
  char line[LINE_MOST];
  const int len = snprintf(line, sizeof line, "%s %" PRIu64 " %" PRIu64 "\n", word, a, b);
  if (write(says, line, (size_t)len) != len) _exit(9);
}

void life_give_up(const char *call, sl_status status) {
  if (fault_struck()) {
    if (kind == FAULT_DISK_FULL && status == SL_E_FULL) _exit(STRUCK);
    if (kind == FAULT_META_GONE && (status == SL_E_IO || status == SL_E_UNCERTAIN)) _exit(STRUCK);
  }
  dprintf(2, "%s: %s: %s: %s\n", what, call, sl_status_text(status), sl_last_detail());
  _exit(3);
}

/* ---------------------------------------------------------------- parent --- */

/* False: a life without the fault. */
static bool one(const life_plan *plan) {
  static char said[SAID_MOST];
  int pipes[2], code;
  size_t len = 0;
  snprintf(what, sizeof what, "%s, number %ld", fault_names[kind], nth);
  remove_tree(path);
  if (plan->make) plan->make();
  MUST(pipe(pipes) == 0, "no pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    close(pipes[0]);
    says = pipes[1];
    alarm(LIFE_SECONDS); /* a life that hangs is told as one ended by SIGALRM */
    plan->live();
    _exit(fault_struck() ? STRUCK : WHOLE);
  }
  close(pipes[1]);
  for (ssize_t n; (n = read(pipes[0], said + len, sizeof said - 1 - len)) > 0;) len += (size_t)n;
  said[len] = 0;
  close(pipes[0]);
  waitpid(pid, &code, 0);
  const bool killed = WIFSIGNALED(code) && WTERMSIG(code) == SIGKILL && kind >= FAULT_KILL;
  MUST(killed || (WIFEXITED(code) && (WEXITSTATUS(code) == WHOLE || WEXITSTATUS(code) == STRUCK)),
       "the child ended with %s %d",
       WIFEXITED(code) ? "status" : "signal", WIFEXITED(code) ? WEXITSTATUS(code) : WTERMSIG(code));
  plan->judge(said, killed);
  return killed || WEXITSTATUS(code) == STRUCK;
}

void lives_run(const life_plan *plan, const fault_kind *kinds, size_t count, const char *only) {
  for (size_t i = 0; i < count; i++) {
    long lives = 1;
    kind = kinds[i];
    nth = only && strchr(only, ':') ? atol(strchr(only, ':') + 1) : 1;
    if (!fault_possible(kind) || (only && atoi(only) != (int)kind)) continue;
    for (; one(plan); lives++) nth += lives_long() || !plan->dense || nth < plan->dense ? 1 : nth / plan->part;
    printf("%s: %ld lives, sound\n", fault_names[kind], lives);
    MUST(lives > 1, "there is hardly anything to fail");
  }
}

void lives_run_all(const life_plan *plan, const char *only) {
  fault_kind kinds[FAULT_KINDS];
  size_t count = 0;
  for (int k = FAULT_NONE + 1; k < FAULT_KINDS; k++) kinds[count++] = (fault_kind)k;
  lives_run(plan, kinds, count, only);
}
