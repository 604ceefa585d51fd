/* Events in the formats of other tools. */
#ifndef TOOLS_FORMATS_H
#define TOOLS_FORMATS_H

#include "story_ids.h"

typedef struct exporter exporter;

typedef struct format {
  const char *name;
  void (*begin)(exporter *e); /* each may be NULL */
  void (*put)(exporter *e, const sl_record *r);
  void (*end)(exporter *e);
  bool by_story;              /* events come story by story, each between story_begin and story_end */
  void (*story_begin)(exporter *e, sl_slice correlation);
  void (*story_end)(exporter *e);
} format;

struct exporter {
  tool *tool;
  output *out;
  json *json;
  const format *format;
  uint64_t stories;
  /* dot, mermaid: ids that were drawn, and causes that were named. */
  id_set drawn, named;
  /* jaeger: the sources of a story. */
  id_set sources;
};

/* NULL: there is none of this name. */
const format *format_find(const char *name);
/* "jsonl, csv, ..." */
void format_names(text *out);

extern const format format_jsonl, format_csv, format_cloudevents, format_otlp, format_jaeger, format_dot,
  format_mermaid;
#endif
