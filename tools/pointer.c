#include "bytes.h"
#include "pointer_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- memory --- */

static void *take(void *ctx, size_t size) {
  pointer *p = ctx;
  size = (size + 31) & ~(size_t)15; /* its size stands in front, for grow */
  size_t *at;
  if (size <= BLOCK - p->used) {
    at = (size_t *)(void *)(p->block + p->used);
    p->used += size;
  } else {
    struct spill *s = tool_alloc(sizeof *s + size);
    s->next = p->spills;
    p->spills = s;
    at = (size_t *)(void *)s->data;
  }
  at[0] = size - 16;
  return at + 2;
}

static void *grow(void *ctx, void *old, size_t size) {
  size_t had = old ? ((size_t *)old)[-2] : 0;
  if (old && size <= had)
    return old;
  void *fresh = take(ctx, size);
  if (had)
    memcpy(fresh, old, had);
  return fresh;
}

static void leave(void *ctx, void *memory) { (void)ctx, (void)memory; }

static void take_back(pointer *p) {
  while (p->spills) {
    struct spill *next = p->spills->next;
    free(p->spills);
    p->spills = next;
  }
  p->used = 0;
}

/* ----------------------------------------------------------------- parse --- */

static bool on_way(const pointer *p) { return p->on == p->depth; }

/* A value begins: does it lie on the way? */
static bool reach(pointer *p) {
  if (!on_way(p))
    return false;
  if (p->depth == 0)
    return true;
  if (p->array[p->depth]) {
    const token *t = &p->tokens[p->depth - 1];
    return p->place[p->depth]++ == t->at && t->is_place;
  }
  bool hit = p->hit;
  p->hit = false;
  return hit;
}

static bool at_end(const pointer *p) { return p->depth == p->count; }

static void keep(pointer *p, pointed kind, const void *data, size_t len) {
  const char *json = p->json.data;
  p->kind = kind;
  if (len == 0 || ((uintptr_t)data >= (uintptr_t)json && (uintptr_t)data < (uintptr_t)json + p->json.len)) {
    p->found = (sl_slice){data, len};
    return;
  }
  text_clear(&p->unescaped);
  text_add(&p->unescaped, data, len);
  p->found = (sl_slice){p->unescaped.data, len};
}

static int on_string(void *ctx, const unsigned char *data, size_t len) {
  pointer *p = ctx;
  if (reach(p) && at_end(p))
    keep(p, POINTED_TEXT, len ? (const void *)data : "", len);
  return 1;
}

static int on_number(void *ctx, const char *data, size_t len) {
  pointer *p = ctx;
  if (reach(p) && at_end(p))
    keep(p, POINTED_NUMBER, data, len);
  return 1;
}

static int on_word(pointer *p, const char *word) {
  if (reach(p) && at_end(p)) {
    p->kind = POINTED_WORD;
    p->found = slice_of(word);
  }
  return 1;
}

static int on_null(void *ctx) { return on_word(ctx, "null"); }
static int on_boolean(void *ctx, int value) { return on_word(ctx, value ? "true" : "false"); }

static int open_container(pointer *p, bool array) {
  bool hit = reach(p);
  if (hit && at_end(p)) {
    p->many = true;
    p->many_depth = p->depth;
    p->many_begin = yajl_get_bytes_consumed(p->parser) - 1;
  } else if (hit) {
    p->on++;
    p->array[p->on] = array;
    p->place[p->on] = 0;
    p->hit = false;
  }
  p->depth++;
  return 1;
}

static int on_map(void *ctx) { return open_container(ctx, false); }
static int on_array(void *ctx) { return open_container(ctx, true); }

static int on_key(void *ctx, const unsigned char *name, size_t len) {
  pointer *p = ctx;
  if (!on_way(p))
    return 1;
  const sl_slice wanted = p->tokens[p->depth - 1].name;
  p->hit = wanted.len == len && memcmp(wanted.data, name, len) == 0;
  if (p->hit)
    p->kind = POINTED_NOTHING; /* the last of a name counts, with all that stands in it */
  return 1;
}

static int on_close(void *ctx) {
  pointer *p = ctx;
  p->depth--;
  if (p->on > p->depth)
    p->on = p->depth;
  if (p->many && p->depth == p->many_depth) {
    p->many = false;
    p->kind = POINTED_MANY;
    p->found = (sl_slice){(const char *)p->json.data + p->many_begin,
                          yajl_get_bytes_consumed(p->parser) - p->many_begin};
  }
  return 1;
}

static const yajl_callbacks callbacks = {
  .yajl_null = on_null,
  .yajl_boolean = on_boolean,
  .yajl_number = on_number, /* as text: no number is too large */
  .yajl_string = on_string,
  .yajl_start_map = on_map,
  .yajl_map_key = on_key,
  .yajl_end_map = on_close,
  .yajl_start_array = on_array,
  .yajl_end_array = on_close};

bool text_may_have(sl_slice json, sl_slice plain, bool has_slash) {
  if (bytes_find(json.data, json.len, plain.data, plain.len))
    return true;
  if (!memchr(json.data, '\\', json.len))
    return false;
  return bytes_find(json.data, json.len, "\\u", 2) || (has_slash && bytes_find(json.data, json.len, "\\/", 2));
}

/* Can it be there at all? Exact: a name that is not there as it is must be escaped somewhere to be there. */
static bool may_have(const pointer *p, sl_slice json) {
  return p->must.len == 0 || text_may_have(json, slice_of(text_str(&p->must)), p->has_slash);
}

pointed pointer_find(pointer *p, sl_slice json, sl_slice *found) {
  if (json.len == 0 || !may_have(p, json))
    return POINTED_NOTHING;
  if (!pointer_walk(p, json))
    return pointer_find_slowly(p, json, found);
  if (p->kind != POINTED_NOTHING)
    *found = p->found;
  return p->kind;
}

pointed pointer_find_slowly(pointer *p, sl_slice json, sl_slice *found) {
  yajl_alloc_funcs memory = {take, grow, leave, p};
  p->json = json;
  p->depth = p->on = 0;
  p->hit = p->many = false;
  p->kind = POINTED_NOTHING;
  p->parser = yajl_alloc(&callbacks, &memory, p);
  yajl_config(p->parser, yajl_dont_validate_strings, 1);
  bool fine = yajl_parse(p->parser, json.data, json.len) == yajl_status_ok &&
              yajl_complete_parse(p->parser) == yajl_status_ok;
  take_back(p);
  if (!fine || p->kind == POINTED_NOTHING)
    return POINTED_NOTHING;
  *found = p->found;
  return p->kind;
}

/* --------------------------------------------------------------- pointer --- */

/* A place in an array: digits without a leading zero. */
static void as_place(token *t) {
  const char *digits = t->name.data;
  t->is_place = t->name.len > 0 && t->name.len < 10 && (digits[0] != '0' || t->name.len == 1);
  for (size_t i = 0; i < t->name.len && t->is_place; i++) {
    t->is_place = digits[i] >= '0' && digits[i] <= '9';
    t->at = t->at * 10 + (size_t)(digits[i] - '0');
  }
}

/* The last name on the way that no array has for a place stands in the text in quotes, unless escapes are in
 * it. */
static void know_must(pointer *p) {
  size_t i = p->count;
  while (i > 0 && p->tokens[i - 1].is_place)
    i--;
  if (i == 0)
    return;
  const sl_slice name = p->tokens[i - 1].name;
  const unsigned char *c = name.data;
  for (size_t k = 0; k < name.len; k++) {
    if (c[k] < 0x20 || c[k] == '"' || c[k] == '\\')
      return; /* always escaped */
    p->has_slash = p->has_slash || c[k] == '/';
  }
  text_puts(&p->must, "\"");
  text_add(&p->must, name.data, name.len);
  text_puts(&p->must, "\"");
}

static bool split(pointer *p, sl_slice words) {
  const char *from = words.data, *end = from + words.len;
  char *to = p->names;
  while (from < end) {
    if (*from++ != '/' || p->count == TOKENS)
      return false;
    token *t = &p->tokens[p->count++];
    char *begin = to;
    for (; from < end && *from != '/'; from++) {
      if (*from == '~' && (from + 1 == end || (from[1] != '0' && from[1] != '1')))
        return false;
      *to++ = *from != '~' ? *from : *++from == '1' ? '/' : '~';
    }
    t->name = (sl_slice){begin, (size_t)(to - begin)};
    as_place(t);
  }
  return true;
}

pointer *pointer_new(sl_slice words) {
  pointer *p = tool_alloc(sizeof *p);
  *p = (pointer){.names = tool_alloc(words.len + 1), .block = tool_alloc(BLOCK)};
  if (!split(p, words)) {
    pointer_free(p);
    return NULL;
  }
  know_must(p);
  return p;
}

void pointer_free(pointer *p) {
  if (!p)
    return;
  take_back(p);
  text_free(&p->must);
  text_free(&p->unescaped);
  free(p->names);
  free(p->block);
  free(p);
}
