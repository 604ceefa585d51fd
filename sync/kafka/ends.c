/* Where partitions end, whatever their number: one request a broker, since the agent asks before it delivers. An
 * end is the high watermark: the handle reads uncommitted (conf.c), so an open transaction of somebody's does not
 * make a partition look shorter than it is, and a topic recreated. What was not answered stays -1, which says
 * nothing. */
#include "handle.h"

fault kafka_ends(kafka *k, kafka_place *places, size_t count, int timeout_ms) {
  if (count == 0) return (fault){0};
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
  for (size_t i = 0; i < count; i++) {
    places[i].end = -1;
    rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition)->offset = RD_KAFKA_OFFSET_END;
  }
  /* One request a broker, whatever the number of topics. */
  const rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(k->rk, list, timeout_ms);
  for (size_t i = 0; i < count && !err; i++) {
    const rd_kafka_topic_partition_t *one =
      rd_kafka_topic_partition_list_find(list, places[i].topic, places[i].partition);
    if (one && !one->err && one->offset >= 0) places[i].end = one->offset;
  }
  rd_kafka_topic_partition_list_destroy(list);
  return err ? fault_of_handle(k->rk, err, "the ends of %zu partitions", count) : (fault){0};
}
