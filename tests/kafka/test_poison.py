"""Events that only the broker refuses, many of them: one of a kind costs a transaction, those behind it nothing;
no innocent is harmed, and once the cause is mended a replay brings each home."""
import datetime
import json
import os
import time
import unittest
import unittest.mock

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
        all_of_them = ("none", "gzip", "zstd", "snappy")
        for codec in all_of_them if rig.LONG else (self.random.choice(("gzip", "zstd")), "snappy"):
            config = {"kafka": {"compression.type": codec}}
            self.run_through({self.topic(f"evt.{codec}.v1"): self.small()}, config)

    def test_a_segment_that_is_smaller_than_a_record(self):
        store, topic = self.store(), self.topic("evt.segment.v1")
        self.cluster.topic(topic, 1, max_message_bytes=3000000, segment_bytes=1048576)
        lines = rig.numbered(20, rnd=self.random)
        for at in range(3, 20, 5):
            lines[at] = rig.numbered(1, at, size=1200000, rnd=self.random)[0]
        store.append_lines(lines, topic, "--max-value", "2M")
        agent = self.agent(store, config={"kafka": {"compression.type": "none"}}).start()
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (16, 4))
        self.assertLessEqual(self.aborted(store, 4), 1)
        self.assertEqual(agent.terminate(), 0, agent.log())
        dead = store.query("--status", "dead")
        self.assertEqual({d["error_code"] for d in dead}, {"RECORD_LIST_TOO_LARGE"})
        check.assert_exact(self, store, self.cluster, gone={d["seq"] for d in dead})

    def long_ago(self):
        """What is appended within was appended an hour ago."""
        told = int((time.time() - 3600) * 1000000)
        clock = {"LD_PRELOAD": rig.tool("tests/cli/libclock.so"), "SIDELOG_CLOCK": str(told)}
        return unittest.mock.patch.dict(os.environ, clock)

    def test_an_outage_longer_than_a_topic_looks_back(self):
        store, topic = self.store(), self.topic("evt.late.v1")
        self.cluster.topic(topic, 1, message_timestamp_before_max_ms=600000)
        with self.long_ago():
            store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
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

    def test_a_topic_that_looks_back_less_than_it_did(self):
        """The agent knows another setting: what is refused for its time is sent with that of its sending; none
        is lost."""
        store, topic = self.store(), self.topic("evt.shorter.v1")
        self.cluster.topic(topic, 2)
        agent = self.agent(store).start()
        store.append_lines(rig.numbered(10, rnd=self.random), topic=topic)
        store.wait_settled(30, agent)
        self.cluster.configure_topic(topic, message_timestamp_before_max_ms=600000)
        with self.long_ago():
            store.append_lines(rig.numbered(1, 10, rnd=self.random), topic=topic)
            store.append_lines(rig.numbered(400, 11, rnd=self.random), topic=topic)
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (411, 0))
        self.assertLessEqual(self.aborted(store, 0), 1)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def prose(self, size):
        """Becomes smaller by any codec, and by each a little."""
        words = ("order", "invoice", "cancelled", "Amsterdam", "warehouse")
        text = " ".join(f"{self.random.choice(words)} {self.random.getrandbits(40):x}" for _ in range(size // 12))
        return json.dumps({"correlation_id": "k", "pad": text[:size]}).encode()

    def test_so_near_to_the_limit_that_libraries_could_differ(self):
        """Each is judged as the broker would, and after a few of them it need not be asked."""
        codecs = ("lz4", "gzip", "zstd", "snappy")
        for codec in codecs if rig.LONG else (self.random.choice(codecs),):
            limit = 3000
            events = [self.prose(size) for size in range(3200, 11000, 60)]
            self.random.shuffle(events)

            def drained(name, config, events=events, codec=codec, limit=limit):
                store, topic = self.store(), self.topic(f"evt.near-{name}-{codec}.v1")
                self.cluster.topic(topic, 1, max_message_bytes=limit)
                store.append_lines(events, topic=topic)
                agent = self.agent(store, config={"kafka": {"compression.type": codec}, **config}).start()
                stats = store.wait_settled(90, agent)
                aborts = self.aborted(store, stats["dead"])
                self.assertEqual(agent.terminate(), 0, agent.log())
                dead = {d["seq"] for d in store.query("--status", "dead")}
                check.assert_exact(self, store, self.cluster, [topic], gone=dead)
                return {e.value for e in store.events if e.seq in dead}, aborts

            dead, aborts = drained("a", {})
            self.assertTrue(10 < len(dead) < len(events) - 10, f"{codec}: {len(dead)} of {len(events)}")
            self.assertLessEqual(aborts, 4, codec)
            if rig.LONG:  # with a retry it is the broker that decides each time; the name of the topic is as long
                rule = {"taxonomy": {"NON_RETRYABLE_VALIDATION": "1 retry, 1ms..1ms"}}
                asked, _ = drained("b", rule)
                self.assertEqual(dead, asked, codec)

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
