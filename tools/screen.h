/* A view that takes the whole terminal for a while: its other screen, keys as they are pressed, and everything as
 * it was when it ends, however it ends, but for SIGKILL. One at a time. */
#ifndef TOOLS_SCREEN_H
#define TOOLS_SCREEN_H

#include "output.h"

/* Takes the terminal that stdout is; keys only where stdin is one, too. From then on SIGINT, SIGTERM, SIGHUP and
 * SIGQUIT come as KEY_END, Ctrl-Z gives the terminal back until the shell goes on with us, and what ends the
 * process otherwise (SIGSEGV, exit() ...) leaves it in order. */
void screen_open(output *o);
/* Gives it back. What was shown stays on the other screen. */
void screen_close(output *o);

typedef enum screen_key {
  KEY_TIME = 256, /* nothing was pressed in time */
  KEY_DRAW,       /* the size has changed, or the terminal is ours again: draw anew */
  KEY_END,        /* a signal asks to end, or nobody looks any more */
  KEY_UP, KEY_DOWN, KEY_LEFT, KEY_RIGHT, KEY_PAGE_UP, KEY_PAGE_DOWN
} screen_key;
/* Waits for a key, at most `ms`: a screen_key, or the character. */
int screen_wait(int64_t ms);
/* What was written since the last frame becomes one: drawn over the one before, its last line at the bottom. */
void screen_frame(output *o);
int screen_rows(void);
#endif
