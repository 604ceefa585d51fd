/* The service manager's side of sd_notify: a datagram socket by path, and an abstract one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"

static int listen_at(const char *name) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  size_t len = strlen(name);
  memcpy(at.sun_path, name, len);
  if (name[0] == '@') at.sun_path[0] = 0;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] != '@'));
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
  setenv("NOTIFY_SOCKET", name, 1);
  return fd;
}

static const char *heard(int fd) {
  static char text[1024];
  ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
  text[n > 0 ? n : 0] = 0;
  return text;
}

static void words_arrive(int fd) {
  assert_true(notify_ready());
  assert_string_equal(heard(fd), "READY=1");
  assert_true(notify_stopping());
  assert_string_equal(heard(fd), "STOPPING=1");
  assert_true(notify_reloading());
  long long at = 0;
  assert_int_equal(sscanf(heard(fd), "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
  assert_true(at > 0);
}

static void by_path(void **state) {
  (void)state;
  char name[64];
  snprintf(name, sizeof name, "/tmp/sidelog-notify-%d", (int)getpid());
  int fd = listen_at(name);
  words_arrive(fd);
  close(fd);
  assert_false(notify_ready()); /* nobody listens any more */
  unlink(name);
  assert_false(notify_ready());
}

static void abstract(void **state) {
  (void)state;
#ifdef __linux__
  char name[64];
  snprintf(name, sizeof name, "@sidelog-notify-%d", (int)getpid());
  int fd = listen_at(name);
  words_arrive(fd);
  close(fd);
#else
  skip();
#endif
}

static void without_a_manager(void **state) {
  (void)state;
  static const char *const values[] = {"", "/", "@", "vsock:2:1234", "relative/path"};
  unsetenv("NOTIFY_SOCKET");
  assert_false(notify_ready());
  assert_false(notify_reloading());
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    setenv("NOTIFY_SOCKET", values[i], 1);
    assert_false(notify_stopping());
  }
  char longer[300];
  memset(longer, '/', sizeof longer);
  longer[sizeof longer - 1] = 0;
  setenv("NOTIFY_SOCKET", longer, 1);
  assert_false(notify_stopping());
}

/* A manager that does not read must not stop the agent. */
static void nothing_blocks(void **state) {
  (void)state;
  char name[64];
  snprintf(name, sizeof name, "/tmp/sidelog-notify-%d", (int)getpid());
  int fd = listen_at(name);
  int sent = 0;
  while (sent < 100000 && notify_ready()) sent++;
  assert_true(sent > 0 && sent < 100000);
  close(fd);
  unlink(name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(by_path),
    cmocka_unit_test(abstract),
    cmocka_unit_test(without_a_manager),
    cmocka_unit_test(nothing_blocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
