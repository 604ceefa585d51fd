/* Looking through many bytes, quickly where the processor has vectors. Pure. */
#ifndef TOOLS_BYTES_H
#define TOOLS_BYTES_H

#include <stddef.h>

/* Where needle[0..needle_len) first stands in text[0..len); NULL: nowhere. An empty needle stands at the
 * beginning. */
const char *bytes_find(const char *text, size_t len, const char *needle, size_t needle_len);
/* The first byte of text[0..len) that ends or interrupts the plain run of a JSON string: a quote, a backslash, or
 * one below 0x20. text + len: there is none. */
const char *bytes_plain_end(const char *text, size_t len);
#endif
