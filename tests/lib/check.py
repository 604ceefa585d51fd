"""The judge: what a consumer saw against what was appended."""
import base64
import collections


class Verdict:
    def __init__(self):
        self.missing, self.duplicates, self.reorders, self.changed, self.foreign, self.receipts = [], [], [], [], [], []

    def problems(self):
        out = []
        for name, what in (
            ("missing", "appended, not seen by the consumer"),
            ("duplicates", "seen more than once"),
            ("reorders", "out of order within its key"),
            ("changed", "value, topic, key or header not what was appended"),
            ("foreign", "seen, never appended or not to be sent"),
            ("receipts", "receipt not where the consumer saw it"),
        ):
            found = getattr(self, name)
            if found:
                out.append(f"{len(found)} {what}, first: {found[:3]}")
        return out


def store_of(events, records):
    """The id the agent put into the headers of these events: taken from a record, so that no program is asked."""
    ids = {e.event_id: e.topic for e in events}
    return next((r["headers"].get("x-sidelog-store") for r in records
                 if ids.get(r["headers"].get("x-event-id")) == r["topic"]), None)


def records_of(records, store_id):
    return [r for r in records if r["headers"].get("x-sidelog-store") == store_id
            and not r["topic"].startswith("__sidelog")]


def judge(events, records, store_id, settled=None, gone=(), at_least_once=False):
    """events: the ledger; records: of kread; settled: {seq: object of export}, to compare receipts;
    gone: seqs that must not arrive (duplicates, dead letters). Only this store's records are looked at."""
    v = Verdict()
    expected = {e.seq: e for e in events if e.seq not in gone}
    places = collections.defaultdict(list)
    last, home = {}, {}
    for r in records_of(records, store_id):
        seq = int(r["headers"]["x-sidelog-seq"])
        place = (r["topic"], r["partition"], r["offset"])
        event = expected.get(seq)
        if event is None:
            v.foreign.append((seq, *place))
            continue
        first_time = seq not in places
        places[seq].append(place)
        if r["topic"] != event.topic:
            v.changed.append((seq, "topic", r["topic"], event.topic))
        value = base64.b64decode(r["value"]) if r["value"] is not None else None
        if value != event.value:
            v.changed.append((seq, "value", value, event.value))
        if event.key is not None and r["key"] != event.key:
            v.changed.append((seq, "key", r["key"], event.key))
        headers = r["headers"]
        if headers.get("x-event-id") != event.event_id:
            v.changed.append((seq, "x-event-id", headers.get("x-event-id"), event.event_id))
        if "x-dedup-key" not in headers:
            v.changed.append((seq, "x-dedup-key", None, "present"))
        for name, text in event.headers.items():
            if headers.get(name) != text:
                v.changed.append((seq, name, headers.get(name), text))
        # In one partition a key's events come in the order of their seqs. At-least-once may go back and repeat,
        # so there only the first arrivals count.
        if first_time or not at_least_once:
            lane = (r["topic"], r["partition"], r["key"])
            if seq <= last.get(lane, 0) and first_time:
                v.reorders.append((seq, "after", last[lane], *place))
            last[lane] = max(last.get(lane, 0), seq)
        if r["key"] is not None:
            partition = home.setdefault((r["topic"], r["key"]), r["partition"])
            if partition != r["partition"]:
                v.reorders.append((seq, "key in two partitions", partition, r["partition"]))
    for seq, event in expected.items():
        if seq not in places:
            v.missing.append((seq, event.topic, event.event_id))
        elif len(places[seq]) > 1 and not at_least_once:
            v.duplicates.append((seq, places[seq]))
    if settled is not None:
        for seq, found in places.items():
            state = settled.get(seq)
            if state is None or state["status"] != "sent":
                v.receipts.append((seq, "status", state and state["status"]))
            elif state.get("offset") is not None and (state["topic"], state["partition"],
                                                      state["offset"]) not in found:
                v.receipts.append((seq, (state["partition"], state["offset"]), found))
    return v


def law(stats):
    """The conservation law, recomputed here instead of believed."""
    parts = {k: stats[k] for k in ("delivered", "duplicates", "dead", "dropped", "pending")}
    if stats["appended"] != sum(parts.values()) or stats.get("balanced") is not True:
        return f"out of balance: appended {stats['appended']} != {parts}, balanced says {stats.get('balanced')}"
    return None


def assert_exact(test, store, cluster, topics=None, gone=(), settled=True, appended=None, at_least_once=False,
                 receipts=True):
    """Everything of a store arrived once, unchanged and in order; its books agree; it is sound. Returns (stats,
    records)."""
    stats = store.stats()
    problem = law(stats)
    test.assertIsNone(problem, problem)
    if settled:
        test.assertEqual(stats["pending"], 0, stats)
    test.assertEqual(stats["appended"], len(store.events) if appended is None else appended)
    topics = topics or sorted({e.topic for e in store.events if e.seq not in gone})
    records = cluster.read(*topics)
    everything = store.everything()
    store_id = store_of(store.events, records)
    verdict = judge(store.events, records, store_id, everything if receipts else None, gone, at_least_once)
    problems = verdict.problems()
    if verdict.missing:  # lost, or not there yet: it is wrong either way, but not the same thing is
        records = cluster.read(*topics)
        again = judge(store.events, records, store_of(store.events, records), gone=gone)
        problems.append(f"of the missing, {len(again.missing)} are missing in a second reading too")
    test.assertFalse(problems, "\n".join(map(str, problems)))
    store.verify()
    return stats, records
