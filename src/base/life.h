/* Which process this is: what a process has made its children must not use, however they were made. */
#ifndef SL_BASE_LIFE_H
#define SL_BASE_LIFE_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct sl_life {
  uint64_t number; /* 0: this system has only the pid */
  pid_t pid;
} sl_life;

/* This process's life. */
sl_life sl_life_now(void);
/* Is this process still the one? No system call where there are pages that a child finds empty. Any thread. */
bool sl_life_goes_on(const sl_life *life);
#endif
