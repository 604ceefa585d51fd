/* Which story does a person mean, and which ids were met already. */
#ifndef TOOLS_STORY_IDS_H
#define TOOLS_STORY_IDS_H

#include "room.h"
#include "tool.h"

/* A correlation id, a unique prefix of one, or an event of the story (its id, a prefix, or its seq). 0, or an exit
 * status after saying why. */
int story_resolve(tool *t, const char *typed, char id[SL_ID_MAX]);
/* Appended when, in one source? 0: it is not there. */
int64_t appended_at(tool *t, size_t from, uint64_t seq);

/* Distinct texts, in the order in which they came. Zeroed is empty. */
typedef struct id_set {
  char **items;
  size_t count, mask;
  uint32_t *slots;
  room item_room, slot_room;
  room_texts texts;
} id_set;
bool id_set_add(id_set *set, sl_slice id); /* false: it was there */
size_t id_set_find(const id_set *set, sl_slice id); /* its place; set->count: it is not there */
void id_set_free(id_set *set);             /* idempotent */
#endif
