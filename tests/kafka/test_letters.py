"""Dead letters on a real broker: each has one copy on its dead-letter topic, in the profile asked for and
without secrets, whatever is killed when; a dead-letter topic that cannot be written holds up nothing and is
tried again."""
import base64
import json
import os
import signal
import threading
import unittest

import check
import rig

CONFIG = {
    "refused_retry": "500ms",
    "topics": [
        {"match": "*.bridge.v1", "dead_letter_profile": "bridge"},
        {"match": "*.archon.v1", "dead_letter_profile": "archon", "dead_letter_topic": "{topic}.mine"},
        {"match": "*.alone.v1", "dead_letter_topic": "none"},
    ],
    "kafka": {"message.max.bytes": 3000},  # what is larger is refused by the client itself: poison that costs no abort
}


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


def poison(n, secret="", size=4000):
    return json.dumps({"n": n, "correlation_id": f"k{n % 5}", "api_key": secret, "pad": "x" * size}).encode()


class Letters(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def assert_copied_once(self, store, dlq, expected):
        copies = [{**c, "value": base64.b64decode(c["value"]).decode()} for c in self.cluster.read(dlq)]
        seqs = sorted(int(c["headers"]["x-sidelog-seq"]) for c in copies)
        self.assertEqual(seqs, sorted(expected))
        return copies

    def dead_of(self, store):
        return {e["seq"] for e in store.query("--status", "dead")}

    def letters_of(self, store):
        return (store.status()[1]["agent"]["report"] or {}).get("dead_letters")

    def test_each_has_one_copy_in_its_profile_without_secrets(self):
        store = self.store()
        topics = [self.topic(f"evt.{name}.v1") for name in ("infra", "bridge", "archon", "alone")]
        for topic in topics:
            store.append_lines([*rig.numbered(20, rnd=self.random), poison(1, "hunter2hunter2"), poison(2)],
                               topic=topic)
        agent = self.agent(store, config=CONFIG).start()
        stats = store.wait_settled(60, agent)
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["delivered"], stats["dead"]), (80, 8))
        dead = {topic: [e for e in store.query("--status", "dead") if e["topic"] == topic] for topic in topics}
        rig.wait_until("the copies", lambda: (self.letters_of(store) or {}).get("published") == 6, 30)
        self.assertEqual(self.letters_of(store)["waiting"], 2,
                         "those of the topic that has no dead-letter topic stay")
        # Until it has one. They were passed over, and waited for a restart.
        rules = [rule for rule in CONFIG["topics"] if rule["match"] != "*.alone.v1"]
        (store.side / "agent.yaml").write_text(rig.yaml({**CONFIG, "topics": rules}))
        os.kill(agent.process.pid, signal.SIGHUP)
        rig.wait_until("their copies", lambda: (self.letters_of(store) or {}).get("published") == 8, 30)
        self.assertEqual(agent.terminate(), 0, agent.log())
        infra, bridge, archon, alone = topics
        self.assert_copied_once(store, f"{alone}.dlq", [e["seq"] for e in dead[alone]])
        for dlq in (f"{infra}.dlq", f"{bridge}.dlq", f"{archon}.mine"):
            self.assertEqual(self.cluster.describe(dlq)["PartitionCount"], 1)
            self.assertEqual(self.cluster.describe(dlq)["Configs"]["retention.ms"], str(30 * 86400 * 1000))
        copies = [self.assert_copied_once(store, dlq, [e["seq"] for e in dead[topic]]) for topic, dlq in
                  ((infra, f"{infra}.dlq"), (bridge, f"{bridge}.dlq"), (archon, f"{archon}.mine"))]
        value = json.loads(copies[0][0]["value"])
        self.assertEqual(value["original_topic"], infra)
        self.assertEqual(value["error_type"], "MSG_SIZE_TOO_LARGE")
        self.assertEqual(value["failure_class"], "NON_RETRYABLE_VALIDATION")
        self.assertEqual(set(value["original_message"]) - {"value_omitted"},
                         {"key", "value", "offset", "partition"})
        headers = copies[0][0]["headers"]
        self.assertEqual(headers["original_topic"], infra)
        self.assertEqual(headers["dlq_topic"], f"{infra}.dlq")
        self.assertIn("failure_reason", headers)
        self.assertEqual(headers["x-event-id"], dead[infra][0]["event_id"])
        self.assertEqual(json.loads(copies[1][0]["value"])["original_topic"], bridge)
        self.assertIn("retry_attempts", json.loads(copies[1][0]["value"]))
        self.assertIsInstance(json.loads(copies[2][0]["value"])["error_timestamp"], float)
        for record in sum(copies, []):
            self.assertNotIn("hunter2", json.dumps(record))

    def test_a_topic_refuses_by_its_own_limit_and_the_value_comes_masked(self):
        """max.message.bytes of the topic is smaller than of its dead-letter topic: the copy has the value."""
        store, topic = self.store(), self.topic("evt.small.v1")
        self.cluster.topic(topic, 1, max_message_bytes=2000)
        big = json.dumps({"n": 1, "n_big": 12345678901234567890123, "correlation_id": "k",
                          "db_password": "s3cr3t-value",
                          "pad": f"{self.random.getrandbits(16000):x}"}).encode()
        store.append_lines([*rig.numbered(10, rnd=self.random), big, *rig.numbered(10, 11, rnd=self.random)],
                           topic=topic)
        agent = self.agent(store, "--set", "dead_letters.profile=bridge").start()
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (20, 1))
        rig.wait_until("the copy", lambda: (self.letters_of(store) or {}).get("published") == 1, 30)
        self.assertEqual(agent.terminate(), 0, agent.log())
        (copy,) = self.assert_copied_once(store, f"{topic}.dlq", [11])
        self.assertNotIn("s3cr3t-value", json.dumps(copy))
        self.assertIn(big.replace(b'"s3cr3t-value"', b'"[redacted]"').decode(), copy["value"],
                      "all else is byte for byte")
        self.assertEqual(store.call("show", "11", "--raw").stdout.rstrip(b"\n"), big, "the store has the truth")

    def test_a_dead_letter_topic_that_cannot_be_written_holds_up_nothing(self):
        """One of two dead-letter topics cannot exist: its name is taken by the limit of 249 characters minus
        the suffix, and creation is off. The other's letters and all events go on; once it exists its letters
        come, once each."""
        store, sick, well = self.store(), self.topic("evt.sick.v1"), self.topic("evt.well.v1")
        for topic in (sick, well, f"{well}.dlq"):
            self.cluster.topic(topic, 1)
        for turn in range(3):
            store.append_lines([poison(turn), *rig.numbered(10, turn * 20, rnd=self.random)], topic=sick)
            store.append_lines([poison(turn), *rig.numbered(10, turn * 20, rnd=self.random)], topic=well)
        agent = self.agent(store, "--set", "new_topics.create=false", config=CONFIG).start()
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (60, 6))
        rig.wait_until("the copies of the well one", lambda: (self.letters_of(store) or {}).get("published") == 3,
                       30)
        store.append_lines(rig.numbered(5, 100, rnd=self.random), topic=sick)
        store.wait_settled(30, agent)
        self.assertEqual(self.letters_of(store), {"published": 3, "waiting": 3})
        agent.kill()
        agent.start()
        self.cluster.topic(f"{sick}.dlq", 1)
        rig.wait_until("the rest of the copies", lambda: self.letters_of(store) == {"published": 6, "waiting": 0},
                       40)
        self.assertEqual(agent.terminate(), 0, agent.log())
        for topic in (sick, well):
            self.assert_copied_once(store, f"{topic}.dlq",
                                    [e["seq"] for e in store.query("--status", "dead") if e["topic"] == topic])
        check.assert_exact(self, store, self.cluster, [sick, well], gone=self.dead_of(store))

    def test_kills_between_any_two_steps(self):
        """Each letter has one copy for who reads committed, and the events are as exact as ever."""
        store, topic = self.store(), self.topic("evt.killed.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, *rig.txn_events(15), config=CONFIG)
        for turn in range(60 if rig.LONG else 12):
            lines = rig.numbered(15, turn * 20, rnd=self.random)
            lines[self.random.randrange(15)] = poison(turn)
            lines[self.random.randrange(15)] = poison(turn)
            store.append_lines(lines, topic=topic)
            agent.start()
            before = store.stats()["dead"]
            if turn % 3:
                rig.wait_until("a letter more",
                               lambda: store.stats()["dead"] > before or store.stats()["pending"] == 0, 30, 0.001)
            agent.kill()
        agent.start()
        stats = store.wait_settled(90, agent)
        self.assertIsNone(check.law(stats))
        rig.wait_until("no copy to wait",
                       lambda: self.letters_of(store) == {"published": stats["dead"], "waiting": 0}, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assert_copied_once(store, f"{topic}.dlq", [e["seq"] for e in store.query("--status", "dead")])
        check.assert_exact(self, store, self.cluster, [topic], gone=self.dead_of(store))
        store.verify()

    def test_replay_brings_every_mended_event_home_once(self):
        """The topic's limit shrinks under load and is raised again; the agent is killed while the replays go
        out, and the replay is asked for twice. What is dropped stays away."""
        store, topic = self.store(), self.topic("evt.mended.v1")
        self.cluster.topic(topic, 2, max_message_bytes=4000)
        lines = rig.numbered(60, rnd=self.random)
        for at in (5, 20, 33, 34, 59):
            lines[at] = json.dumps({"n": at, "correlation_id": f"k{at % 3}",
                                    "pad": f"{self.random.getrandbits(40000):x}"}).encode()
        store.append_lines(lines, topic=topic)
        agent = self.agent(store).start()
        stats = store.wait_settled(90, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (55, 5))
        rig.wait_until("the copies", lambda: (self.letters_of(store) or {}).get("published") == 5, 30)
        agent.kill()
        store.call("dlq", "drop", "60", "--reason", "not wanted any more")
        self.cluster.configure_topic(topic, max_message_bytes=1000000)
        self.assertEqual(len(store.lines("dlq", "replay", "--all")), 4)
        store.call("dlq", "replay", "--all", expect=(6,))  # all on their way
        for turn in range(4):
            agent.start()
            if turn:
                rig.wait_until("the agent to deliver",
                               lambda: "delivering" in agent.log() or store.stats()["dead"] == 0, 30, 0.001)
            agent.kill()
        agent.start()
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["appended"], stats["delivered"], stats["dropped"]), (60, 59, 1))
        store.verify()
        by_id = {e.event_id: e for e in store.events}
        seen = [r["headers"]["x-event-id"] for r in self.cluster.read(topic)]
        self.assertEqual(sorted(seen), sorted(i for i, e in by_id.items() if e.seq != 60),
                         "each once, the dropped one never")
        for record in self.cluster.read(topic):
            self.assertEqual(base64.b64decode(record["value"]), by_id[record["headers"]["x-event-id"]].value)
        self.assert_copied_once(store, f"{topic}.dlq", [6, 21, 34, 35, 60])

    def test_a_limit_that_shrinks_under_load(self):
        """max.message.bytes of a topic shrinks while events go there: what is too large becomes a dead letter,
        nothing else does. The limit is raised again, and a replay brings each home once; the others' order
        within their keys stays."""
        store, topic = self.store(), self.topic("evt.shrunk.v1")
        self.cluster.topic(topic, 2, max_message_bytes=100000)
        large, turns, enough = set(), [], threading.Event()

        def append_some():
            n = len(turns) * 100
            turns.append(n)
            added = store.append_lines([*rig.numbered(30, n, rnd=self.random),
                                        *rig.numbered(1, n + 50, size=8000, rnd=self.random),
                                        *rig.numbered(30, n + 60, rnd=self.random)], topic=topic)
            large.add(added[30].seq)

        def load():
            while not enough.is_set():
                append_some()

        agent = self.agent(store, *rig.txn_events(100)).start()
        append_some()
        store.wait_settled(30, agent)
        loader = threading.Thread(target=load)
        loader.start()
        try:
            self.cluster.configure_topic(topic, max_message_bytes=4000)
        finally:
            enough.set()
            loader.join()
        append_some()
        stats = store.wait_settled(90, agent)
        dead = self.dead_of(store)
        self.assertIsNone(check.law(stats))
        self.assertIn(max(large), dead)
        self.assertNotIn(min(large), dead)
        self.assertLessEqual(dead, large, "an innocent was harmed")
        check.assert_exact(self, store, self.cluster, [topic], gone=dead)
        rig.wait_until("the copies", lambda: self.letters_of(store) == {"published": len(dead), "waiting": 0}, 30)
        self.assert_copied_once(store, f"{topic}.dlq", dead)
        self.cluster.configure_topic(topic, max_message_bytes=100000)
        self.assertEqual(len(store.lines("dlq", "replay", "--all")), len(dead))
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["appended"], stats["delivered"]), (len(store.events), len(store.events)))
        seen = [r["headers"]["x-event-id"] for r in self.cluster.read(topic)]
        self.assertEqual(sorted(seen), sorted(e.event_id for e in store.events), "each once")

    def test_a_topic_whose_rule_is_to_wait(self):
        """Of two topics with the same small limit one has the rule that what is too large waits: none of its
        events is set aside, the others pass, and all arrive in order once the limit is raised."""
        store, waits, drops = self.store(), self.topic("evt.waits.v1"), self.topic("evt.drops.v1")
        for topic in (waits, drops):
            self.cluster.topic(topic, 2, max_message_bytes=4000)
            store.append_lines([*rig.numbered(20, rnd=self.random),
                                *rig.numbered(1, 20, size=8000, rnd=self.random),
                                *rig.numbered(20, 21, rnd=self.random)], topic=topic)
        rule = {"match": waits, "taxonomy": {"codes": {"MSG_SIZE_TOO_LARGE": "lane"}}}
        agent = self.agent(store, config={"refused_retry": "500ms", "topics": [rule]}).start()
        rig.wait_until("all but what waits", lambda: store.stats()["pending"] <= 21, 60)
        rig.wait_until("the lane and its reason",
                       lambda: "MSG_SIZE_TOO_LARGE" in json.dumps(store.status()[1]["agent"]["report"]), 30)
        stats = store.stats()
        self.assertEqual((stats["delivered"], stats["dead"], stats["pending"]), (60, 1, 21))
        self.cluster.configure_topic(waits, max_message_bytes=100000)
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (81, 1))
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster, [waits, drops], gone=self.dead_of(store))

    def test_at_least_once_publishes_too_and_a_drain_does_not_wait(self):
        store, topic = self.store(), self.topic("evt.loose.v1")
        store.append_lines([poison(1), *rig.numbered(10, rnd=self.random)], topic=topic)
        self.assertEqual(self.agent(store, *rig.at_least_once(), config=CONFIG).drain(), 0)
        self.assert_copied_once(store, f"{topic}.dlq", [1])
        self.cluster.topic(self.topic("evt.other.v1"), 1)
        store.append_lines([poison(2)], topic=self.topic("evt.other.v1"))
        agent = self.agent(store, *rig.at_least_once(), "--set", "new_topics.create=false", config=CONFIG)
        self.assertEqual(agent.drain(), 0, agent.log())
        self.assertEqual(store.stats()["dead"], 2)


if __name__ == "__main__":
    unittest.main()
