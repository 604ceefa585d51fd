#include "classify.h"
#include "kafka.h"
#include <stdio.h>

#define TRANSIENT CLASS_RETRYABLE_TRANSIENT
#define DEPENDENCY CLASS_RETRYABLE_DEPENDENCY
#define VALIDATION CLASS_NON_RETRYABLE_VALIDATION
#define POLICY CLASS_NON_RETRYABLE_POLICY
#define SECURITY CLASS_NON_RETRYABLE_SECURITY
#define IDEMPOTENCY CLASS_NON_RETRYABLE_IDEMPOTENCY

#define OK_ROW(code, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_NONE, CLASS_NONE, false, remark}
#define RECORD(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_RECORD, class_, false, remark}
#define TOPIC(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_TOPIC, class_, false, remark}
#define PRODUCER(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_PRODUCER, class_, false, remark}
#define FENCED(code, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_PRODUCER, DEPENDENCY, true, remark}
#define CONNECTION(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_CONNECTION, class_, false, remark}
#define CLUSTER(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_CLUSTER, class_, false, remark}
#define AGENT(code, class_, remark) {RD_KAFKA_RESP_ERR_##code, SCOPE_AGENT, class_, false, remark}

/* The rule where a code could be read two ways: the reading that keeps the event. A needless retry costs
 * time, a needless dead letter costs an event. So only what a broker or librdkafka says of the record itself
 * has the scope of a record, and codes of protocols that we do not speak (groups, delegation tokens) are the
 * agent's. */
static const classify_row rows[] = {
  OK_ROW(NO_ERROR, "success"),

  /* librdkafka's own */
  CONNECTION(_BAD_MSG, TRANSIENT, "a response that could not be read"),
  CONNECTION(_BAD_COMPRESSION, TRANSIENT, "fetched data that could not be unpacked"),
  PRODUCER(_DESTROY, TRANSIENT, "the handle is being destroyed"),
  PRODUCER(_FAIL, TRANSIENT, "says nothing more: a new handle"),
  CONNECTION(_TRANSPORT, TRANSIENT, "no broker, or the connection broke"),
  AGENT(_CRIT_SYS_RESOURCE, DEPENDENCY, "this machine has no more threads, memory or descriptors"),
  CONNECTION(_RESOLVE, TRANSIENT, "DNS"),
  CONNECTION(_MSG_TIMED_OUT, TRANSIENT,
             "an outage, not the message: it waited longer than message.timeout.ms"),
  CONNECTION(_PARTITION_EOF, TRANSIENT, "not an error: the end of a partition"),
  RECORD(_UNKNOWN_PARTITION, TRANSIENT,
         "the topic was created again with fewer: ours name none, the client chose it"),
  AGENT(_FS, DEPENDENCY, "a local file"),
  TOPIC(_UNKNOWN_TOPIC, DEPENDENCY, "missing; it may be created"),
  CONNECTION(_ALL_BROKERS_DOWN, TRANSIENT, "outage"),
  AGENT(_INVALID_ARG, VALIDATION, "a call or a property of ours is wrong"),
  CONNECTION(_TIMED_OUT, TRANSIENT, "no answer in time"),
  CONNECTION(_QUEUE_FULL, TRANSIENT, "our own queue: poll and try again"),
  TOPIC(_ISR_INSUFF, DEPENDENCY, "too few replicas in sync"),
  CONNECTION(_NODE_UPDATE, TRANSIENT, "a broker has a new address"),
  CLUSTER(_SSL, SECURITY, "TLS: certificate, name or protocol"),
  CONNECTION(_WAIT_COORD, TRANSIENT, "waiting for a coordinator"),
  AGENT(_UNKNOWN_GROUP, VALIDATION, "groups are not used"),
  PRODUCER(_IN_PROGRESS, TRANSIENT, "a call before this one has not ended"),
  PRODUCER(_PREV_IN_PROGRESS, TRANSIENT, "the same call runs on another thread"),
  AGENT(_EXISTING_SUBSCRIPTION, VALIDATION, "groups are not used"),
  AGENT(_ASSIGN_PARTITIONS, VALIDATION, "groups are not used"),
  AGENT(_REVOKE_PARTITIONS, VALIDATION, "groups are not used"),
  PRODUCER(_CONFLICT, TRANSIENT, "another transactional call has not ended"),
  PRODUCER(_STATE, TRANSIENT, "the handle is in another state than we thought: a new one"),
  AGENT(_UNKNOWN_PROTOCOL, VALIDATION, "security.protocol"),
  AGENT(_NOT_IMPLEMENTED, VALIDATION, "this librdkafka cannot"),
  CLUSTER(_AUTHENTICATION, SECURITY, "SASL: mechanism, name or password"),
  CONNECTION(_NO_OFFSET, TRANSIENT, "no stored offset"),
  PRODUCER(_OUTDATED, TRANSIENT, "an answer to a request that no longer matters"),
  CONNECTION(_TIMED_OUT_QUEUE, TRANSIENT, "timed out before it was sent"),
  CLUSTER(_UNSUPPORTED_FEATURE, POLICY, "the broker is too old for what we need, such as transactions"),
  CONNECTION(_WAIT_CACHE, TRANSIENT, "waiting for metadata"),
  PRODUCER(_INTR, TRANSIENT, "interrupted"),
  RECORD(_KEY_SERIALIZATION, VALIDATION, "serializer"),
  RECORD(_VALUE_SERIALIZATION, VALIDATION, "serializer"),
  RECORD(_KEY_DESERIALIZATION, VALIDATION, "deserializer"),
  RECORD(_VALUE_DESERIALIZATION, VALIDATION, "deserializer"),
  CONNECTION(_PARTIAL, TRANSIENT, "a response was cut"),
  AGENT(_READ_ONLY, VALIDATION, "a read-only property"),
  CONNECTION(_NOENT, TRANSIENT, "not found in a cache"),
  CONNECTION(_UNDERFLOW, TRANSIENT, "a response was too short"),
  AGENT(_INVALID_TYPE, VALIDATION, "a property of another type"),
  CONNECTION(_RETRY, TRANSIENT, "try again"),
  PRODUCER(_PURGE_QUEUE, TRANSIENT, "says nothing: its transaction was given up; ask the transaction why"),
  PRODUCER(_PURGE_INFLIGHT, TRANSIENT, "says nothing: its transaction was given up; ask the transaction why"),
  PRODUCER(_FATAL, TRANSIENT, "the handle is dead; the cause is in its fatal error"),
  PRODUCER(_INCONSISTENT, TRANSIENT, "a batch that may be half written: a new handle, reconcile"),
  PRODUCER(_GAPLESS_GUARANTEE, TRANSIENT,
           "a record failed and later ones must not pass it: again from the cursor"),
  AGENT(_MAX_POLL_EXCEEDED, VALIDATION, "groups are not used"),
  CONNECTION(_UNKNOWN_BROKER, TRANSIENT, "a broker that metadata does not know yet"),
  AGENT(_NOT_CONFIGURED, VALIDATION, "a property is missing"),
  FENCED(_FENCED, "a newer producer has our transactional id, or the coordinator ended our transaction"),
  AGENT(_APPLICATION, VALIDATION, "reported by the application"),
  AGENT(_ASSIGNMENT_LOST, VALIDATION, "groups are not used"),
  PRODUCER(_NOOP, TRANSIENT, "nothing was done"),
  CLUSTER(_AUTO_OFFSET_RESET, POLICY, "the offset is not in the partition: another topic or cluster"),

  /* the broker's */
  CONNECTION(UNKNOWN, TRANSIENT, "the broker failed without a reason"),
  CLUSTER(OFFSET_OUT_OF_RANGE, POLICY, "the offset is not in the partition: another topic or cluster"),
  CONNECTION(INVALID_MSG, TRANSIENT, "checksum: damaged on the way"),
  TOPIC(UNKNOWN_TOPIC_OR_PART, DEPENDENCY, "missing; it may be created"),
  CONNECTION(INVALID_MSG_SIZE, TRANSIENT, "a request was damaged on the way"),
  CONNECTION(LEADER_NOT_AVAILABLE, TRANSIENT, "an election is under way"),
  CONNECTION(NOT_LEADER_FOR_PARTITION, TRANSIENT, "the leader moved"),
  CONNECTION(REQUEST_TIMED_OUT, TRANSIENT, "the broker ran out of time"),
  CONNECTION(BROKER_NOT_AVAILABLE, TRANSIENT, "the broker is down"),
  CONNECTION(REPLICA_NOT_AVAILABLE, TRANSIENT, "a replica is down"),
  RECORD(MSG_SIZE_TOO_LARGE, VALIDATION,
         "larger than the topic, or message.max.bytes, takes; a batch fails as one"),
  CONNECTION(STALE_CTRL_EPOCH, TRANSIENT, "the controller moved"),
  AGENT(OFFSET_METADATA_TOO_LARGE, VALIDATION, "groups are not used"),
  CONNECTION(NETWORK_EXCEPTION, TRANSIENT, "the broker was cut off before it answered"),
  CONNECTION(COORDINATOR_LOAD_IN_PROGRESS, DEPENDENCY, "the coordinator is starting"),
  CONNECTION(COORDINATOR_NOT_AVAILABLE, DEPENDENCY, "the coordinator is away"),
  CONNECTION(NOT_COORDINATOR, DEPENDENCY, "the coordinator moved"),
  TOPIC(TOPIC_EXCEPTION, VALIDATION, "an illegal or internal topic"),
  RECORD(RECORD_LIST_TOO_LARGE, VALIDATION, "a batch larger than a segment"),
  TOPIC(NOT_ENOUGH_REPLICAS, DEPENDENCY, "fewer in sync than min.insync.replicas"),
  TOPIC(NOT_ENOUGH_REPLICAS_AFTER_APPEND, DEPENDENCY, "written, but on fewer than min.insync.replicas"),
  AGENT(INVALID_REQUIRED_ACKS, VALIDATION, "acks"),
  AGENT(ILLEGAL_GENERATION, VALIDATION, "groups are not used"),
  AGENT(INCONSISTENT_GROUP_PROTOCOL, VALIDATION, "groups are not used"),
  AGENT(INVALID_GROUP_ID, VALIDATION, "groups are not used"),
  AGENT(UNKNOWN_MEMBER_ID, VALIDATION, "groups are not used"),
  AGENT(INVALID_SESSION_TIMEOUT, VALIDATION, "groups are not used"),
  AGENT(REBALANCE_IN_PROGRESS, VALIDATION, "groups are not used"),
  AGENT(INVALID_COMMIT_OFFSET_SIZE, VALIDATION, "groups are not used"),
  TOPIC(TOPIC_AUTHORIZATION_FAILED, SECURITY, "no right to write, describe or create the topic"),
  CLUSTER(GROUP_AUTHORIZATION_FAILED, SECURITY, "no right to a group"),
  CLUSTER(CLUSTER_AUTHORIZATION_FAILED, SECURITY, "no right to the cluster: IdempotentWrite, Create"),
  RECORD(INVALID_TIMESTAMP, VALIDATION, "outside the range that the topic takes"),
  CLUSTER(UNSUPPORTED_SASL_MECHANISM, SECURITY, "sasl.mechanisms"),
  CLUSTER(ILLEGAL_SASL_STATE, SECURITY, "the SASL handshake went wrong"),
  CLUSTER(UNSUPPORTED_VERSION, POLICY, "the broker does not speak a request that we need"),
  TOPIC(TOPIC_ALREADY_EXISTS, TRANSIENT, "somebody else created it: fine"),
  TOPIC(INVALID_PARTITIONS, VALIDATION, "the number of partitions to create"),
  TOPIC(INVALID_REPLICATION_FACTOR, DEPENDENCY, "more replicas than brokers; brokers may come back"),
  TOPIC(INVALID_REPLICA_ASSIGNMENT, VALIDATION, "an assignment of replicas"),
  TOPIC(INVALID_CONFIG, VALIDATION, "a setting of the topic to create"),
  CONNECTION(NOT_CONTROLLER, TRANSIENT, "the controller moved; surfaces at once, also on produce"),
  TOPIC(INVALID_REQUEST, VALIDATION, "the broker cannot accept what was asked of the topic"),
  TOPIC(UNSUPPORTED_FOR_MESSAGE_FORMAT, POLICY, "the topic's message format is too old"),
  TOPIC(POLICY_VIOLATION, POLICY, "a policy of the cluster forbids it"),
  PRODUCER(OUT_OF_ORDER_SEQUENCE_NUMBER, DEPENDENCY, "a sequence was lost: again from the cursor"),
  RECORD(DUPLICATE_SEQUENCE_NUMBER, IDEMPOTENCY, "the broker has it already"),
  FENCED(INVALID_PRODUCER_EPOCH,
         "a newer producer has our transactional id, or the coordinator ended our transaction"),
  PRODUCER(INVALID_TXN_STATE, DEPENDENCY, "the coordinator ended the transaction already"),
  PRODUCER(INVALID_PRODUCER_ID_MAPPING, DEPENDENCY, "the transactional id expired: a new handle"),
  AGENT(INVALID_TRANSACTION_TIMEOUT, VALIDATION, "longer than the broker's transaction.max.timeout.ms"),
  CONNECTION(CONCURRENT_TRANSACTIONS, TRANSIENT,
             "the coordinator still ends the transaction before; surfaces at once"),
  CONNECTION(TRANSACTION_COORDINATOR_FENCED, DEPENDENCY, "the coordinator moved"),
  CLUSTER(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, SECURITY, "no right to write with our transactional id"),
  CLUSTER(SECURITY_DISABLED, SECURITY, "the broker has no security"),
  PRODUCER(OPERATION_NOT_ATTEMPTED, TRANSIENT, "another part of the same request failed"),
  TOPIC(KAFKA_STORAGE_ERROR, DEPENDENCY, "the broker's disk is full or broken"),
  TOPIC(LOG_DIR_NOT_FOUND, DEPENDENCY, "the broker's disk is away"),
  CLUSTER(SASL_AUTHENTICATION_FAILED, SECURITY, "name or password"),
  PRODUCER(UNKNOWN_PRODUCER_ID, DEPENDENCY,
           "the broker forgot us, its retention passed: again from the cursor"),
  CONNECTION(REASSIGNMENT_IN_PROGRESS, TRANSIENT, "partitions are being moved"),
  CLUSTER(DELEGATION_TOKEN_AUTH_DISABLED, SECURITY, "delegation tokens"),
  CLUSTER(DELEGATION_TOKEN_NOT_FOUND, SECURITY, "delegation tokens"),
  CLUSTER(DELEGATION_TOKEN_OWNER_MISMATCH, SECURITY, "delegation tokens"),
  CLUSTER(DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, SECURITY, "delegation tokens"),
  CLUSTER(DELEGATION_TOKEN_AUTHORIZATION_FAILED, SECURITY, "delegation tokens"),
  CLUSTER(DELEGATION_TOKEN_EXPIRED, SECURITY, "delegation tokens"),
  CLUSTER(INVALID_PRINCIPAL_TYPE, SECURITY, "delegation tokens"),
  AGENT(NON_EMPTY_GROUP, VALIDATION, "groups are not used"),
  AGENT(GROUP_ID_NOT_FOUND, VALIDATION, "groups are not used"),
  CONNECTION(FETCH_SESSION_ID_NOT_FOUND, TRANSIENT, "fetch"),
  CONNECTION(INVALID_FETCH_SESSION_EPOCH, TRANSIENT, "fetch"),
  CONNECTION(LISTENER_NOT_FOUND, TRANSIENT, "the leader has no listener of this name, yet"),
  TOPIC(TOPIC_DELETION_DISABLED, POLICY, "topics are not deleted by us"),
  CONNECTION(FENCED_LEADER_EPOCH, TRANSIENT, "the leader moved; not our fencing"),
  CONNECTION(UNKNOWN_LEADER_EPOCH, TRANSIENT, "the leader moved"),
  TOPIC(UNSUPPORTED_COMPRESSION_TYPE, POLICY, "compression.type"),
  CONNECTION(STALE_BROKER_EPOCH, TRANSIENT, "a broker restarted"),
  CONNECTION(OFFSET_NOT_AVAILABLE, TRANSIENT, "a new leader does not know its end yet"),
  AGENT(MEMBER_ID_REQUIRED, VALIDATION, "groups are not used"),
  CONNECTION(PREFERRED_LEADER_NOT_AVAILABLE, TRANSIENT, "election"),
  AGENT(GROUP_MAX_SIZE_REACHED, VALIDATION, "groups are not used"),
  AGENT(FENCED_INSTANCE_ID, VALIDATION, "groups are not used; not our fencing"),
  CONNECTION(ELIGIBLE_LEADERS_NOT_AVAILABLE, DEPENDENCY, "no replica may lead"),
  CONNECTION(ELECTION_NOT_NEEDED, TRANSIENT, "election"),
  CONNECTION(NO_REASSIGNMENT_IN_PROGRESS, TRANSIENT, "reassignment"),
  AGENT(GROUP_SUBSCRIBED_TO_TOPIC, VALIDATION, "groups are not used"),
  RECORD(INVALID_RECORD, VALIDATION,
         "the broker refuses the record: no key in a compacted topic, or its policy"),
  CONNECTION(UNSTABLE_OFFSET_COMMIT, TRANSIENT, "groups are not used"),
  CONNECTION(THROTTLING_QUOTA_EXCEEDED, TRANSIENT, "a quota: later"),
  FENCED(PRODUCER_FENCED,
         "a newer producer has our transactional id, or the coordinator ended our transaction"),
  TOPIC(RESOURCE_NOT_FOUND, DEPENDENCY, "what was asked for is not there"),
  TOPIC(DUPLICATE_RESOURCE, VALIDATION, "asked twice in one request"),
  CLUSTER(UNACCEPTABLE_CREDENTIAL, SECURITY, "credentials"),
  CLUSTER(INCONSISTENT_VOTER_SET, DEPENDENCY, "the controllers' own"),
  CLUSTER(INVALID_UPDATE_VERSION, POLICY, "features"),
  CLUSTER(FEATURE_UPDATE_FAILED, POLICY, "features"),
  CLUSTER(PRINCIPAL_DESERIALIZATION_FAILURE, SECURITY, "the controller could not read who we are"),
};

const classify_row *classify_find(rd_kafka_resp_err_t code) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].code == code) return &rows[i];
  return NULL;
}

fault kafka_classify(int32_t code) {
  fault f = {0};
  const classify_row *row = classify_find((rd_kafka_resp_err_t)code);
  f.code = code;
  f.scope = row ? row->scope : SCOPE_CONNECTION;
  f.class_ = row ? row->class_ : CLASS_RETRYABLE_TRANSIENT;
  f.fenced = row && row->fenced;
  if (f.scope == SCOPE_NONE) return f;
  if (row)
    snprintf(f.name, sizeof f.name, "%s", rd_kafka_err2name((rd_kafka_resp_err_t)code));
  else
    snprintf(f.name, sizeof f.name, "CODE_%d", (int)code);
  snprintf(f.text, sizeof f.text, "%s", rd_kafka_err2str((rd_kafka_resp_err_t)code));
  return f;
}
