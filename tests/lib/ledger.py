"""What was appended and what a read_committed consumer saw of it, for runs of hours: about 200 bytes an event.

Events are known by their id, not their seq: a restored store gives a seq twice. `n` is an event's number in
this ledger, in order of its append; within a key that is the order in which consumers must see it.
"""
import array
import base64
import threading
import zlib

UNSEEN = -1


class Ledger:
    def __init__(self, at_least_once=False):
        self.at_least_once = at_least_once
        self.lock = threading.Lock()
        self.numbers = {}  # event id -> n
        self.names, self.name_numbers = [], {}  # topics and keys, each text once
        self.topic, self.key, self.value = array.array("I"), array.array("I"), array.array("L")
        self.seq, self.partition, self.offset = array.array("Q"), array.array("h"), array.array("q")
        self.last, self.home, self.next = {}, {}, {}
        self.heard = []  # records to be judged: those seen before their acknowledgement was heard stay here
        self.records = self.duplicates = 0
        self.copies = set()  # (n, partition, offset) of a second copy: at-least-once may name it in the receipt
        self.lost_with_topic = set()  # n of events that may have gone with a deleted topic
        self.violations = []
        self.missing_from = 0  # below, everything was accounted for
        self.waiting = set()  # n below it that are not seen, and may be missing

    def __len__(self):
        return len(self.seq)

    def violation(self, kind, **detail):
        if len(self.violations) < 1000:
            self.violations.append({"kind": kind, **detail})

    def name(self, text):
        if text not in self.name_numbers:
            self.name_numbers[text] = len(self.names)
            self.names.append(text)
        return self.name_numbers[text]

    @staticmethod
    def id_of(text):
        return bytes.fromhex(text.replace("-", ""))

    def appended(self, seq, event_id, topic, key, value):
        with self.lock:
            n = len(self.seq)
            if self.numbers.setdefault(self.id_of(event_id), n) != n:
                self.violation("id-twice", event_id=event_id, seq=seq)
            self.topic.append(self.name(topic))
            self.key.append(self.name(key))
            self.value.append(zlib.crc32(value))
            self.seq.append(seq)
            self.partition.append(UNSEEN)
            self.offset.append(UNSEEN)

    def told(self, n):
        return {"n": n, "seq": self.seq[n], "topic": self.names[self.topic[n]], "key": self.names[self.key[n]],
                "seen": [self.partition[n], self.offset[n]]}

    # -- reading

    def starts(self):
        return "".join(f"{topic} {partition} {offset}\n" for (topic, partition), offset in self.next.items())

    def forget_places(self, topic):
        """The topic is deleted: what comes under its name is new."""
        for table in (self.next, self.last, self.home):
            for place in [p for p in table if p[0] == topic]:
                del table[place]

    def saw(self, record):
        """A record as kread prints it, in the order of its partition."""
        self.next[record["topic"], record["partition"]] = record["offset"] + 1
        self.records += 1
        self.heard.append(record)
        if len(self.heard) >= 5000:
            self.hear()

    def hear(self):
        """Judges what was seen and is known to have been appended."""
        with self.lock:  # or of two events of a key the later one could be known, the earlier not yet
            records, self.heard = self.heard, []
            for record in records:
                event_id = record["headers"].get("x-event-id", "")
                n = self.numbers.get(self.id_of(event_id)) if event_id else None
                if n is None:
                    self.heard.append(record)
                else:
                    self.judge(n, record)

    def start_over(self):
        """Before everything is read once more from the first record. Returns what end_over() needs."""
        before = self.partition, self.offset
        self.partition, self.offset = (array.array(a.typecode, [UNSEEN] * len(a)) for a in before)
        self.last, self.home, self.next, self.waiting = {}, {}, {}, set()
        self.records = self.duplicates = self.missing_from = 0
        self.copies.clear()
        return before

    def end_over(self, before):
        """The second reading must have found each event where the first did."""
        for record in self.heard:
            self.violation("foreign",
                           record={k: record[k] for k in ("topic", "partition", "offset", "key", "headers")})
        partition, offset = before
        for n in range(len(partition)):
            then, now = [partition[n], offset[n]], [self.partition[n], self.offset[n]]
            if n not in self.lost_with_topic and then != now and then[0] != UNSEEN:
                self.violation("moved", **self.told(n), before=then)

    def judge(self, n, record):
        topic, partition, offset = record["topic"], record["partition"], record["offset"]
        place = [partition, offset]
        first = self.partition[n] == UNSEEN
        if not first:
            self.duplicates += 1
            self.copies.add((n, *place))
            if not self.at_least_once:
                self.violation("duplicate", **self.told(n), again=place)
            return
        self.partition[n], self.offset[n] = partition, offset
        self.waiting.discard(n)
        key, value, headers = record["key"], base64.b64decode(record["value"] or ""), record["headers"]
        if (topic, key, zlib.crc32(value)) != (self.names[self.topic[n]], self.names[self.key[n]], self.value[n]):
            self.violation("changed", **self.told(n), record={k: record[k] for k in ("topic", "key")})
        dedup_key = f"{topic}/{headers['x-event-id']}"
        if headers.get("x-sidelog-seq") != str(self.seq[n]) or headers.get("x-dedup-key") != dedup_key:
            self.violation("header", **self.told(n), headers=headers)
        if self.home.setdefault((topic, key), partition) != partition:
            self.violation("key-in-two-partitions", **self.told(n), other=self.home[topic, key])
        before = self.last.get((topic, partition, key), -1)
        if n < before:
            self.violation("reorder", **self.told(n), behind=self.told(before))
        self.last[topic, partition, key] = max(n, before)

    # -- asking

    def account(self, until):
        """Everything below `until` has been delivered and read: what is not there is missing."""
        self.hear()
        for n in range(self.missing_from, until):
            if self.partition[n] == UNSEEN:
                self.waiting.add(n)
        self.missing_from = max(until, self.missing_from)
        for n in sorted(self.waiting - self.lost_with_topic):
            self.violation("missing", **self.told(n))
            self.waiting.discard(n)

    def receipts(self, objects, until):
        """objects: of `sidelog query --json`. How many named the place where the event was read."""
        true = 0
        for state in objects:
            n = self.numbers.get(self.id_of(state["event_id"]))
            if n is None or n >= until or self.seq[n] != state["seq"]:
                continue
            if state["status"] != "sent":
                self.violation("receipt", **self.told(n), status=state["status"])
            elif self.partition[n] != UNSEEN and state.get("offset") is not None:
                place = [state["partition"], state["offset"]]
                if place == [self.partition[n], self.offset[n]] or (n, *place) in self.copies:
                    true += 1
                else:
                    self.violation("receipt", **self.told(n), receipt=place)
        return true

    def counts(self):
        return {"appended": len(self), "seen": self.records, "duplicates": self.duplicates,
                "gone_with_their_topic": len(self.waiting & self.lost_with_topic),
                "violations": len(self.violations)}
