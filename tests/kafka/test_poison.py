"""Events that only the broker refuses, many of them: one of a kind costs a transaction, those behind it nothing;
no innocent is harmed, and once the cause is mended a replay brings each home."""
import datetime
import json
import time
import unittest

import check
import rig


def setUpModule():
    rig.Rig.cluster = rig.Cluster()


def tearDownModule():
    rig.Rig.cluster.down()


class Poison(rig.Rig):
    def aborted(self, store, dead):
        """How often, as told when each of so many dead letters has its copy."""
        report = lambda: store.status()[1]["agent"]["report"] or {}
        copied = {"published": dead, "waiting": 0}
        rig.wait_until("the copies", lambda: report().get("dead_letters") == copied, 30)
        return report()["transactions"]["aborted"]

    def large(self, n):
        return rig.numbered(1, n, size=12000, rnd=self.random)[0]  # not half of it is left by any codec

    def small(self):
        return {"max_message_bytes": 3000}, self.large, {"max_message_bytes": 1000000}

    def keyless(self, n):
        return json.dumps({"n": n, "pad": "no key"}).encode()

    def mixed(self, poison):
        lines = rig.numbered(400, rnd=self.random)
        for at in range(3, 400, 10):
            lines[at] = poison(at)
        return lines

    def run_through(self, kinds, config):
        """kinds: {topic: (its settings, poison, its settings once mended)}."""
        store = self.store()
        for topic, (settings, poison, _) in kinds.items():
            self.cluster.topic(topic, 2, **settings)
            store.append_lines(self.mixed(poison), topic=topic)
        agent = self.agent(store, config=config).start()
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (360 * len(kinds), 40 * len(kinds)))
        guilty = {e.seq for e in store.events if len(e.value) > 5000 or b"no key" in e.value}
        dead = {e["seq"]: e for e in store.query("--status", "dead")}
        self.assertEqual(set(dead), guilty, "an innocent was harmed")
        check.assert_exact(self, store, self.cluster, list(kinds), gone=guilty)
        aborted = self.aborted(store, len(guilty))
        self.assertLessEqual(aborted, 4 * len(kinds), "one of a kind and a topic, and what finding it took")
        unsent = [e for e in dead.values() if "not sent" in e["error_text"]]
        self.assertGreaterEqual(len(unsent), 39 * len(kinds) - 2)
        for topic, (_, _, mended) in kinds.items():
            self.cluster.configure_topic(topic, **mended)
        store.call("dlq", "replay", "--all")
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertIsNone(check.law(store.stats()))
        seen = [r["headers"]["x-event-id"] for r in self.cluster.read(*kinds)]
        self.assertEqual(sorted(seen), sorted(e.event_id for e in store.events), "each once")

    def test_too_large_and_without_a_key(self):
        keyed = {"cleanup_policy": "compact"}, self.keyless, {"cleanup_policy": "delete"}
        self.run_through({self.topic("evt.packed.v1"): self.small(), self.topic("evt.keyed.v1"): keyed}, None)

    def test_other_codecs(self):
        for codec in ("none", "gzip", "zstd") if rig.LONG else (self.random.choice(("gzip", "zstd")),):
            config = {"kafka": {"compression.type": codec}}
            self.run_through({self.topic(f"evt.{codec}.v1"): self.small()}, config)

    def test_an_outage_longer_than_a_topic_looks_back(self):
        store, topic = self.store(), self.topic("evt.late.v1")
        self.cluster.topic(topic, 1, message_timestamp_before_max_ms=10000)
        store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
        time.sleep(11)  # the length of the outage
        store.append_lines(rig.numbered(50, 50, rnd=self.random), topic=topic)
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        self.assertEqual(store.stats()["dead"], 0)
        _, records = check.assert_exact(self, store, self.cluster)
        newest = store.events[-1].seq
        appended = {e["seq"]: e["appended_at"] for e in store.query("-n", "100")}
        stamp = {int(r["headers"]["x-sidelog-seq"]): r["timestamp"] for r in records}
        exact = datetime.datetime.fromisoformat(appended[newest].replace("Z", "+00:00")).timestamp() * 1000
        self.assertLess(abs(stamp[newest] - exact), 2, "a young one has the time of its append")

    def test_the_limit_to_the_byte(self):
        """What the agent weighs is what the broker measures: of events that grow by a byte both take the same."""
        def grown(sizes):
            return [json.dumps({"correlation_id": "k", "pad": "x" * size}).encode() for size in sizes]

        def drained(name, sizes, config):
            store, topic = self.store(), self.topic(f"evt.grown-{name}.v1")  # its name is in a header
            self.cluster.topic(topic, 1, max_message_bytes=3000)
            store.append_lines([*rig.numbered(100, rnd=self.random), *grown(sizes)], topic=topic)
            agent = self.agent(store, config={"kafka": {"compression.type": "none"}, **config}).start()
            stats = store.wait_settled(60, agent)
            aborts = self.aborted(store, stats["dead"])
            self.assertEqual(agent.terminate(), 0, agent.log())
            dead = {store.events[d["seq"] - 1].seq for d in store.query("--status", "dead")}
            return {len(e.value) for e in store.events[100:] if e.seq not in dead}, aborts

        taken, aborts = drained("a", range(2600, 2800), {})
        self.assertTrue(20 < len(taken) < 180, len(taken))
        self.assertEqual(taken, set(range(min(taken), max(taken) + 1)))
        self.assertEqual(aborts, 1, "one refusal was enough")
        last = max(taken) - len(grown([0])[0])
        # With a retry it is the broker that decides each time.
        rule = {"taxonomy": {"NON_RETRYABLE_VALIDATION": "1 retry, 1ms..1ms"}}
        asked, _ = drained("b", range(last - 1, last + 3), rule)
        self.assertEqual(max(asked), max(taken))


if __name__ == "__main__":
    unittest.main()
