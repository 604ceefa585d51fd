#include "hook.h"

#include <stdio.h>

#ifdef SIDELOG_WEBHOOK
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <string.h>

#define CONNECT_MS 5000L
#define TOTAL_MS 10000L

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
  (void)a, (void)b, (void)c, (void)d;
  const atomic_bool *stop = arg;
  return atomic_load(stop);
}

static size_t swallow(char *data, size_t size, size_t count, void *arg) {
  (void)data, (void)arg;
  return size * count;
}

/* Loaded where somebody asks for it: with what it needs in turn it takes 4 MiB, of an agent that may have 24. */
#define FUNCTIONS(X) \
  X(curl_global_init) X(curl_global_cleanup) X(curl_slist_append) X(curl_slist_free_all) X(curl_easy_init) \
  X(curl_easy_setopt) X(curl_easy_perform) X(curl_easy_getinfo) X(curl_easy_strerror) X(curl_easy_cleanup)
#undef curl_easy_setopt
#undef curl_easy_getinfo
#define DECLARE(name) static __typeof__(name) *p_##name;
FUNCTIONS(DECLARE)

static bool find(void *library, const char *name, void *to) {
  void *at = dlsym(library, name);
  memcpy(to, &at, sizeof at); /* C has no conversion of it to a function's address */
  return at != NULL;
}

static bool load(void) {
  static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"};
  void *library = NULL;
  for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++)
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
#define FIND(name) && find(library, #name, &p_##name)
  return library FUNCTIONS(FIND);
}

static bool loaded;

bool hook_setup(void) {
  loaded = load();
  return !loaded || p_curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

void hook_end(void) {
  if (loaded) p_curl_global_cleanup();
}

static struct curl_slist *headers_of(const char *header) {
  struct curl_slist *list = p_curl_slist_append(NULL, "Content-Type: application/json");
  /* An Expect of curl's would make it wait a second for some servers. */
  struct curl_slist *more = list ? p_curl_slist_append(list, "Expect:") : NULL;
  if (more && header) more = p_curl_slist_append(more, header);
  if (!more) p_curl_slist_free_all(list);
  return more;
}

bool hook_post(const char *url, const char *header, sl_slice body, const atomic_bool *stop, char *why,
               size_t cap) {
  if (!loaded) {
    snprintf(why, cap, "libcurl is not installed here");
    return false;
  }
  char error[CURL_ERROR_SIZE] = "";
  long status = 0;
  CURL *c = p_curl_easy_init();
  struct curl_slist *headers = c ? headers_of(header) : NULL;
  CURLcode code = headers ? CURLE_OK : CURLE_OUT_OF_MEMORY;
#define SET(option, value) \
  if (code == CURLE_OK) code = p_curl_easy_setopt(c, option, value)
  SET(CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
  SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  SET(CURLOPT_NOSIGNAL, 1L);
  SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
  SET(CURLOPT_TIMEOUT_MS, TOTAL_MS);
  SET(CURLOPT_FOLLOWLOCATION, 0L);
  SET(CURLOPT_USERAGENT, "sidelogd");
  SET(CURLOPT_HTTPHEADER, headers);
  SET(CURLOPT_POSTFIELDSIZE, (long)body.len);
  SET(CURLOPT_POSTFIELDS, (const char *)body.data);
  SET(CURLOPT_WRITEFUNCTION, swallow);
  SET(CURLOPT_NOPROGRESS, 0L);
  SET(CURLOPT_XFERINFOFUNCTION, on_progress);
  SET(CURLOPT_XFERINFODATA, (void *)stop);
  SET(CURLOPT_ERRORBUFFER, error);
#undef SET
  if (code == CURLE_OK) code = p_curl_easy_perform(c);
  if (code == CURLE_OK) code = p_curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
  const bool taken = code == CURLE_OK && status >= 200 && status < 300;
  if (code != CURLE_OK) snprintf(why, cap, "%s", error[0] ? error : p_curl_easy_strerror(code));
  else if (!taken) snprintf(why, cap, "it answered with HTTP status %ld", status);
  p_curl_slist_free_all(headers);
  if (c) p_curl_easy_cleanup(c);
  return taken;
}

#else

bool hook_setup(void) { return true; }

void hook_end(void) {}

bool hook_post(const char *url, const char *header, sl_slice body, const atomic_bool *stop, char *why,
               size_t cap) {
  (void)url, (void)header, (void)body, (void)stop;
  snprintf(why, cap, "this sidelogd was built without libcurl");
  return false;
}

#endif
