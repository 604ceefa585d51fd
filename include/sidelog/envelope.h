/*
 * Reading the fields of a JSON event envelope. SPDX-License-Identifier: Apache-2.0
 *
 * The law of sidelog.h holds here too. Parsing never changes the bytes: numbers stay text, the value
 * that is stored is the line itself. What RFC 8259 allows is accepted: numbers of any size, every escape
 * (\u0000 and lone surrogates too), nesting to 1,000 levels.
 */
#ifndef SIDELOG_ENVELOPE_H
#define SIDELOG_ENVELOPE_H

#include <sidelog/sidelog.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sl_envelope_reader sl_envelope_reader;

#define SL_ENVELOPE_MAX_DEPTH 1000

/* What was missing, or not as a strict contract would have it; none of these refuses the line. */
enum {
  SL_ENVELOPE_NO_EVENT_ID = 1u << 0,
  SL_ENVELOPE_NO_TYPE = 1u << 1,
  SL_ENVELOPE_NO_CORRELATION = 1u << 2,
  SL_ENVELOPE_BAD_TIMESTAMP = 1u << 3, /* there, but not RFC 3339 (or epoch seconds/milliseconds) */
  SL_ENVELOPE_NO_TOPIC = 1u << 4
};

/* A reader keeps its buffers between lines; one thread at a time. Ended by sl_envelope_reader_free. */
SL_API sl_status sl_envelope_reader_new(sl_envelope_reader **reader);
SL_API void sl_envelope_reader_free(sl_envelope_reader *reader);

/* Finds the fields of one JSON object in `json` and fills `event`: topic, type, event_id, correlation_id,
 * causation_id, tenant, source, occurred_at_us and value (= json); its other fields become empty. Aliases,
 * first found wins, each looked for at the top level, then in `payload` (type is never taken from the payload
 * when the envelope has one; timestamp, tenant and event_type inside a payload are domain fields when the top
 * level has its own):
 *   event_id        event_id | envelope_id
 *   type            event_type
 *   correlation_id  correlation_id, also context.correlation_id and metadata.correlation_id
 *   causation_id    causation_id
 *   tenant          tenant_id | tenant, also metadata.tenant_id
 *   source          source | service | source_service | source_node_id | source_tool
 *                   (an object: its "service"), also metadata.source_node
 *   timestamp       timestamp | event_timestamp | envelope_timestamp | emitted_at
 *   topic           topic, at the top level only (a payload's own "topic" must not decide the way it goes)
 * A field that is null, empty or not a string counts as not there (a number is taken as its text for ids, if
 * it has at most 255 characters).
 * Of a name that stands twice the last counts (as most parsers have it). A string with the escape of a lone
 * surrogate, which has no UTF-8 form, or of NUL, which no id may have, is taken with its escapes as they
 * stand.
 * `missing` (may be NULL) gets SL_ENVELOPE_* bits. The slices in `event` belong to the reader until its
 * next call or to `json`.
 * SL_E_INVALID: not a JSON object, not UTF-8, nested too deep; the detail has position and reason.
 * SL_E_TOO_LARGE: longer than SL_MAX_VALUE. SL_E_NOMEM. */
SL_API sl_status sl_envelope_read(sl_envelope_reader *reader, sl_slice json, sl_event *event,
                                  uint32_t *missing);

#ifdef __cplusplus
}
#endif
#endif
