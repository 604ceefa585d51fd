#include "agent_word.h"

#include <stdio.h>
#include <string.h>
#include <yajl/yajl_tree.h>

static const char *const state_names[] = {"unknown", "starting", "connecting", "running", "draining",
                                          "backoff", "parked",   "stopping",   "stopped"};

const char *agent_state_text(agent_state state) { return state_names[state]; }

static yajl_val find(yajl_val root, const char *outer, const char *inner) {
  const char *path[] = {outer, inner, NULL};
  return yajl_tree_get(root, path, yajl_t_any);
}

static int64_t number(yajl_val root, const char *outer, const char *inner) {
  yajl_val v = find(root, outer, inner);
  return YAJL_IS_INTEGER(v) && YAJL_GET_INTEGER(v) > 0 ? YAJL_GET_INTEGER(v) : 0;
}

static void copy(char *out, size_t cap, yajl_val root, const char *outer, const char *inner) {
  const char *words = YAJL_GET_STRING(find(root, outer, inner));
  snprintf(out, cap, "%s", words ? words : "");
}

static void read_lanes(agent_word *w, yajl_val root) {
  yajl_val lanes = find(root, "lanes", NULL);
  if (!YAJL_IS_ARRAY(lanes))
    return;
  for (size_t i = 0; i < lanes->u.array.len && w->lane_count < AGENT_LANES_SHOWN; i++) {
    yajl_val from = lanes->u.array.values[i];
    agent_lane *lane = &w->lanes[w->lane_count];
    if (!YAJL_IS_OBJECT(from))
      continue;
    copy(lane->topic, sizeof lane->topic, from, "topic", NULL);
    copy(lane->code, sizeof lane->code, from, "code", NULL);
    copy(lane->text, sizeof lane->text, from, "text", NULL);
    lane->oldest_us = number(from, "oldest_us", NULL);
    lane->kept_bytes = number(from, "kept_bytes", NULL);
    w->lane_count += lane->topic[0] != '\0';
  }
}

void agent_word_read(agent_word *w, const char *json) {
  char state[32], error[8];
  *w = (agent_word){0};
  yajl_val root = yajl_tree_parse(json, error, sizeof error);
  if (YAJL_IS_OBJECT(root)) {
    w->said = true;
    copy(state, sizeof state, root, "state", NULL);
    for (size_t i = 1; i < sizeof state_names / sizeof *state_names; i++)
      if (strcmp(state, state_names[i]) == 0)
        w->state = (agent_state)i;
    w->state_since_us = number(root, "state_since_us", NULL);
    w->written_us = number(root, "written_us", NULL);
    w->last_commit_us = number(root, "last_commit_us", NULL);
    w->next_try_us = number(root, "next_try_us", NULL);
    w->held = YAJL_IS_TRUE(find(root, "held", NULL));
    w->pid = number(root, "pid", NULL);
    w->unreachable_since_us = number(root, "cluster", "unreachable_since_us");
    w->brokers_up = number(root, "cluster", "up");
    w->brokers_total = number(root, "cluster", "total");
    copy(w->brokers, sizeof w->brokers, root, "cluster", "brokers");
    copy(w->broker, sizeof w->broker, root, "cluster", "broker");
    copy(w->error_code, sizeof w->error_code, root, "error", "code");
    copy(w->error_text, sizeof w->error_text, root, "error", "text");
    copy(w->parked_text, sizeof w->parked_text, root, "parked", "text");
    copy(w->parked_remedy, sizeof w->parked_remedy, root, "parked", "remedy");
    read_lanes(w, root);
  }
  yajl_tree_free(root);
}
