"""Unusual events and unusual situations on a real broker: bytes of every kind, huge values, many topics, topics
made anew, frozen agents, copies of a live store."""
import os
import shutil
import signal
import time
import unittest

import check
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()
    rig.Rig.cluster = rig.Cluster(set=["transaction.abort.timed.out.transaction.cleanup.interval.ms=500"])


def tearDownModule():
    rig.Rig.cluster.down()


class Bytes(rig.Rig):
    def test_keys_headers_and_values_of_any_kind(self):
        store, topic = self.store(), self.topic()
        every = bytes(range(256))
        odd = [
            store.put(topic, b"no key"), store.put(topic, b"", key=b""), store.put(topic, b"", key=None),
            store.put(topic, every, key=every,
                      headers={"binary": every, "empty": b"", "nul": b"\0", "utf8": "\u2713".encode()}),
            store.put(topic, b"\0", key=b"\0"), store.put(topic, b"\xff\xfe", key=b"\xff"),
            store.put(topic, b"long key", key=self.random.randbytes(32 << 10)),
            store.put(topic, b"many headers", headers={f"h{i}": bytes([i & 255]) for i in range(2000)}),
            store.put(topic, b"ours", headers={"x-tenant": b"mine", "x-correlation-id": b"\1\2"}),
        ]
        store.put_all(odd)
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        _, records = check.assert_exact(self, store, self.cluster)
        by_id = {r["headers"]["x-event-id"]: r for r in records}
        for event in store.events:
            self.assertEqual(by_id[event.event_id]["key"], event.key, "no key and an empty key are not the same")

    def test_the_headers_of_later_transactions(self):
        # The lists of delivered records are used again: for names and lengths like theirs, and for others.
        store, topic, other = self.store(), self.topic(), self.topic("evt.others.v1")
        names = [("a",), ("a", "b"), ("b", "a"), ("ab",), (), ("a", "a-longer-name", "b")]
        puts = []
        for i in range(600):
            shape = names[i // 100] if i % 7 else self.random.choice(names)
            headers = {name: self.random.randbytes(self.random.choice((4, 4, 4, 0, 5))) for name in shape}
            puts.append(store.put(other if i % 5 == 0 else topic, b"%d" % i, key=b"k", headers=headers))
        store.put_all(puts)
        agent = self.agent(store, *rig.txn_events(40))
        self.assertEqual(agent.drain(), 0, agent.log())
        _, records = check.assert_exact(self, store, self.cluster)
        by_id = {r["headers"]["x-event-id"]: r for r in records}
        for event in store.events:
            ours = {"x-event-id": event.event_id, "x-dedup-key": f"{event.topic}/{event.event_id}", "x-sidelog-seq": str(event.seq)}
            headers = dict(by_id[event.event_id]["headers"])
            self.assertEqual(len(headers.pop("x-sidelog-store")), 36)
            self.assertEqual(headers, event.headers | ours)

    def test_values_up_to_the_ceiling_with_a_small_queue(self):
        store, topic = self.store(), self.topic()
        self.cluster.topic(topic, 3, max_message_bytes=17_000_000, segment_bytes=32 << 20)
        sizes = [10, 1_000_000, 5 << 20, 100, 1_000_000, 16 << 20, 3, (1 << 20) - 1, 1 << 20, (1 << 20) + 1,
                 12 << 20, 7]
        store.put_all([store.put(topic, self.random.randbytes(size), key=b"k%d" % (i % 2)) for i,
                       size in enumerate(sizes)])
        agent = self.agent(store, "--set", "transactions.queue=1MiB", *rig.txn_events(4))
        self.assertEqual(agent.drain(90), 0, agent.log())
        stats, _ = check.assert_exact(self, store, self.cluster)
        self.assertEqual(stats["delivered"], len(sizes))

    def test_two_hundred_topics(self):
        store = self.store()
        topics = [self.topic(f"evt.n{i}.v1") for i in range(200)]
        store.put_all([store.put(topic, f"{turn} {topic}".encode(), key=b"k") for turn in range(4)
                       for topic in topics])
        agent = self.agent(store)
        begun = time.monotonic()
        self.assertEqual(agent.drain(120), 0, agent.log()[-3000:])
        rig.figure(f"200 new topics created and 800 events delivered in {time.monotonic() - begun:.1f} s")
        check.assert_exact(self, store, self.cluster)


class Situations(rig.Rig):
    def test_the_marker_topic_deleted_under_load(self):
        store, topic = self.store(), self.topic()
        progress = self.topic("progress")
        agent = self.agent(store, *rig.txn_events(50), "--set", f"progress.topic={progress}").start()
        store.append_lines(rig.numbered(4000, rnd=self.random), topic=topic)
        self.progress(store, agent, 200)
        self.cluster.call("topics", "--delete", "--topic", progress)
        store.append_lines(rig.numbered(500, 4000, rnd=self.random), topic=topic)
        rig.wait_until("the agent to park", lambda: "parked" in agent.log(), 60)
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["dead"], stats["lanes"]), (0, 0), "no event and no topic is to blame")
        self.assertEqual(store.status()[0], 4)
        self.assertEqual(agent.terminate(), 0, agent.log())

    def test_a_recorded_run_replays_step_for_step(self):
        # Two agents' lives, a kill in the middle of one, an oversize event and an absent topic: every part of what
        # debug.history kept gives the same results again.
        store, topic, absent = self.store(), self.topic(), self.topic("absent")
        self.cluster.topic(topic, 3, max_message_bytes=3000)
        path = store.side / "history"
        agent = self.agent(store, *rig.txn_events(100), "--set", f"debug.history={path}", "--set",
                           "debug.history_size=64KiB",
                           "--set", "new_topics.create=false").start()
        lines = rig.numbered(4000, rnd=self.random)
        store.append_lines(lines[:2000], topic=topic)
        store.append(absent, b"waits")
        store.append(topic, self.random.randbytes(9000))
        self.progress(store, agent, 500)
        agent.kill()
        parts = {}

        def keep(life):
            for part in (p for p in (path, path.with_name("history.1")) if p.exists()):
                parts[f"{part.name} of life {life}"] = part.read_bytes()

        keep(1)
        agent.start()
        store.append_lines(lines[2000:], topic=topic)
        rig.wait_until("all but the absent topic's event", lambda: store.stats()["pending"] == 1, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        keep(2)
        self.assertIn("history.1 of life 2", parts, "it is bounded")
        calls = 0
        for name, data in parts.items():
            part = store.side / "part"
            part.write_bytes(data)
            done = rig.run([rig.sidelogd(), "--replay-history", str(part)])
            verdict = done.stdout.decode().splitlines()[-1]
            self.assertIn("each gave what was recorded", verdict, name)
            calls += int(verdict.split()[1])
            self.assertNotIn(lines[0][:40], data, "no value is in it")
        rig.figure(f"{calls} calls of the core recorded by a real agent in {sum(map(len, parts.values()))} bytes, and replayed")
        self.assertGreater(calls, 2000)
        broken = bytearray(parts["history of life 2"])
        broken[-20] ^= 1
        part.write_bytes(broken)
        self.assertIn(rig.run([rig.sidelogd(), "--replay-history", str(part)], expect=(0, 1)).returncode, (0, 1))
        self.assertEqual(rig.run([rig.sidelogd(), "--replay-history", str(store.side / "agent.log")],
                                 expect=None).returncode, 3)

    def copy(self, store, agent):
        """A copy as a snapshot of the disk would make it: of one instant."""
        clone = self.store()
        os.kill(agent.process.pid, signal.SIGSTOP)
        try:
            shutil.copytree(store.path, clone.path)
        finally:
            os.kill(agent.process.pid, signal.SIGCONT)
        return clone

    def test_a_store_copied_while_it_delivers(self):
        # The copy's agent comes later: it parks, the first goes on, although it was fenced for a moment.
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(50)).start()
        for turn in range(3):
            store.append_lines(rig.numbered(4000, turn * 4000, rnd=self.random), topic=topic)
            self.progress(store, agent, 200)
            clone = self.copy(store, agent)
            self.progress(store, agent, 200)
            second = self.agent(clone, *rig.txn_events(50))
            self.assertEqual(second.drain(40), 4, second.log())
            self.assertIn("parked", second.log())
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_reload_under_load(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(50),
                           config={"new_topics": {"partitions": 2}, "report_interval": "200ms"})
        agent.start()
        store.append_lines(rig.numbered(4000, rnd=self.random), topic=topic)
        for turn in range(20):
            (store.side / "agent.yaml").write_text(rig.yaml({"new_topics": {"partitions": 2 + turn % 3},
                                                             "report_interval": "100ms"}))
            os.kill(agent.process.pid, signal.SIGHUP)
            self.progress(store, agent, 20)
        rig.wait_until("the last reload", lambda: agent.log().count("reloaded:") >= 1, 10)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
