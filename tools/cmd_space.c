/* full and compact: what the store does when it is full, and its files without what they no longer need. */
#include "tool.h"

#include <string.h>

/* "refuse", "drop-delivered-early". */
static bool mode_given(tool *t, sl_full_policy *policy) {
  const char *mode = option_text(&t->given, OPT_WHEN_FULL);
  if (!mode)
    return true;
  if (strcmp(mode, "refuse") == 0) {
    if (option_has(&t->given, OPT_DROP_OLDEST) && policy->drop_oldest.len > 0) {
      tool_fail(t, EXIT_USAGE,
                "--when-full refuse drops nothing, and --drop-oldest names what to drop: give one of them");
      return false;
    }
    policy->flags &= ~(uint32_t)SL_FULL_DROP_DELIVERED;
    policy->drop_oldest = (sl_slice){0};
  } else if (strcmp(mode, "drop-delivered-early") == 0) {
    policy->flags |= SL_FULL_DROP_DELIVERED;
  } else {
    tool_fail(t, EXIT_USAGE, "--when-full is refuse or drop-delivered-early, not %s", mode);
    return false;
  }
  return true;
}

static bool ballast_given(tool *t, sl_full_policy *policy) {
  uint64_t bytes = 0;
  if (!option_has(&t->given, OPT_BALLAST))
    return true;
  if (!tool_size(t, OPT_BALLAST, &bytes))
    return false;
  policy->ballast_bytes = bytes ? bytes : SL_NONE; /* a person who writes 0 means none */
  return true;
}

static void show(tool *t, const sl_full_policy *p) {
  bool drops = p->drop_oldest.len > 0;
  const char *mode = p->flags & SL_FULL_DROP_DELIVERED ? "drop-delivered-early" : "refuse";
  uint64_t ballast = p->ballast_bytes == SL_NONE ? 0 : p->ballast_bytes;
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_words(j, "when_full", mode);
    json_text(j, "drop_oldest", p->drop_oldest);
    json_u64(j, "ballast_bytes", ballast);
    json_close(j);
    json_free(j);
    return;
  }
  text words = {0};
  text_printf(&words, "when full   %s", mode);
  text_puts(&words, "\ndrop oldest ");
  if (drops)
    text_add_safe(&words, p->drop_oldest, t->out.term.unicode);
  else
    text_puts(&words, "none: what is undelivered never goes");
  text_puts(&words, "\nballast     ");
  if (ballast)
    text_bytes(&words, ballast);
  else
    text_puts(&words, "none");
  out_printf(&t->out, "%s\n", text_str(&words));
  text_free(&words);
}

int run_full(tool *t) {
  char topics[SL_FULL_TOPICS_MAX];
  sl_full_policy policy = {0};
  sl_status st = sl_full_policy_get(t->store, &policy, topics);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot read the policy");
  bool change = option_has(&t->given, OPT_WHEN_FULL) || option_has(&t->given, OPT_DROP_OLDEST) ||
                option_has(&t->given, OPT_BALLAST);
  if (option_has(&t->given, OPT_DROP_OLDEST)) {
    const char *globs = option_text(&t->given, OPT_DROP_OLDEST);
    policy.drop_oldest = SL_BYTES(globs, strlen(globs));
  }
  if (!mode_given(t, &policy) || !ballast_given(t, &policy))
    return EXIT_USAGE;
  if (change) {
    st = sl_full_policy_set(t->store, &policy);
    if (st == SL_E_INVALID)
      return tool_fail(t, EXIT_USAGE, "%s", sl_last_detail());
    if (st == SL_OK)
      st = sl_full_policy_get(t->store, &policy, topics);
    if (st != SL_OK)
      return tool_fail_status(t, st, "cannot set the policy");
  }
  show(t, &policy);
  return EXIT_DONE;
}

int run_compact(tool *t) {
  sl_compact_result result = {0};
  sl_status st = sl_compact(t->path, NULL, &result);
  if (st != SL_OK)
    return tool_fail_status(t, st, "cannot compact");
  if (t->json) {
    json *j = json_new(&t->out);
    json_open(j);
    json_u64(j, "bytes_before", result.bytes_before);
    json_u64(j, "bytes_after", result.bytes_after);
    json_close(j);
    json_free(j);
    return EXIT_DONE;
  }
  text words = {0};
  text_bytes(&words, result.bytes_before);
  text_puts(&words, " before, ");
  text_bytes(&words, result.bytes_after);
  text_puts(&words, " after");
  out_printf(&t->out, "%s\n", text_str(&words));
  text_free(&words);
  return EXIT_DONE;
}
