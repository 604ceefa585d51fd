/* The library's allocations fail one by one (meson.build: wrapped_malloc). One thread. */
#ifndef TESTS_FAIL_MALLOC_H
#define TESTS_FAIL_MALLOC_H
#include <stdbool.h>
#include <stddef.h>

static long countdown = -1; /* the allocation that fails, counted from now; -1: none */
static bool fails_now(void) { return countdown >= 0 && countdown-- == 0; }

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size) { return fails_now() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) { return fails_now() ? NULL : __real_calloc(count, size); }
void *__wrap_realloc(void *old, size_t size) { return fails_now() ? NULL : __real_realloc(old, size); }
#endif
