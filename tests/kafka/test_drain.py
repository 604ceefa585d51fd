"""The main job on a real broker: what was appended arrives once, unchanged and in order, and the books say
where."""
import json
import shutil
import subprocess
import time
import unittest

import check
import events
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()
    rig.Rig.cluster = rig.Cluster()


def tearDownModule():
    rig.Rig.cluster.down()


class Plain(rig.Rig):
    def test_catalogue_events_arrive_byte_for_byte(self):
        store = self.store()
        sent = [{**event, "topic": self.prefix + event["topic"]}
                for event in events.generate(1500, seed=self.seed)]
        store.append_lines([json.dumps(e, ensure_ascii=False).encode() for e in sent])
        self.assertEqual(store.stats()["pending"], 1500)
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        _, records = check.assert_exact(self, store, self.cluster)
        by_event = {(r["topic"], r["headers"]["x-event-id"]): r for r in records}
        for event in sent:
            headers = by_event[event["topic"], event["event_id"]]["headers"]
            self.assertEqual(headers.get("x-correlation-id"),
                             event.get("correlation_id") or event.get("context", {}).get("correlation_id"))
            self.assertEqual(headers.get("x-causation-id"), event.get("causation_id"))
            self.assertEqual(headers.get("x-tenant"), event.get("tenant_id"))

    def test_what_was_learned_of_the_size_survives_a_kill(self):
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(6000, size=900, rnd=self.random), topic=topic)
        agent = self.agent(store).start()
        store.wait_settled(60, agent)

        def grown():  # the agent writes its report once a second
            target = store.status()[1]["agent"]["report"]["transactions"]["target_bytes"]
            return target > 1 << 20 and target
        learned = rig.wait_until("the size to grow with a backlog", grown, 30)
        agent.kill()
        again = self.agent(store, brokers="127.0.0.1:9").start()  # nobody there: nothing new can be learned

        def target():
            report = store.status()[1]["agent"]["report"]
            return report["pid"] == again.process.pid and report["transactions"]["target_bytes"]
        self.assertGreaterEqual(rig.wait_until("the new agent's report", target), learned // 4)

    def test_any_bytes_key_and_headers(self):
        store, topic = self.store(), self.topic()
        values = [
            b'{"big":12345678901234567890,"e":1e400,"esc":"\\u0000\\ud83d\\ude00","a":1,"a":2}',
            bytes(range(256)), b"", b"\n\n{\r\n", b"x" * 900_000, "\u00fcn\u00efc\u00f6d\u00e9 \u2713".encode(),
        ]
        for i, value in enumerate(values):
            store.append(topic, value, key=f"k\u00e9y-{i % 2}", tenant="acme", correlation="case-7",
                         causation="cause-1",
                         headers={"x-mine": f"v{i}", "trace": "a=b;c"})
        store.append(topic, b"no key")
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        _, records = check.assert_exact(self, store, self.cluster)
        keyed = [r for r in records if r["key"] is not None]
        self.assertEqual(len(keyed), len(values))
        self.assertEqual(len(records), len(values) + 1, "an event without a key must have none in Kafka")
        for record in keyed:
            self.assertEqual(record["headers"]["x-tenant"], "acme")
            self.assertEqual(record["headers"]["x-correlation-id"], "case-7")
            self.assertEqual(record["headers"]["x-causation-id"], "cause-1")

    def test_a_missing_topic_is_created_as_the_catalogue_says(self):
        store, topic = self.store(), self.topic()
        store.append(topic, b"{}")
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        made = self.cluster.describe(topic)
        self.assertEqual(made["PartitionCount"], 3)
        self.assertEqual(made["Configs"].get("retention.ms"), "604800000")
        self.assertEqual(made["Configs"].get("cleanup.policy", "delete"), "delete")

    def test_receipts_answer_queries_offline(self):
        store, topic = self.store(), self.topic()
        lines = [json.dumps({"event_id": f"e-{self.prefix}{i}", "n": i, "correlation_id": "chain-1"}).encode()
                 for i in range(40)]
        store.append_lines(lines, topic=topic)
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        seen = {r["headers"]["x-event-id"]: r for r in self.cluster.read(topic)}
        found = store.query("--correlation", "chain-1", "-n", "100")
        self.assertEqual([e["seq"] for e in found], sorted(e["seq"] for e in found))
        self.assertEqual(len(found), 40)
        for event in found:
            record = seen[event["event_id"]]
            self.assertEqual((event["status"], event["topic"], event["partition"], event["offset"]),
                             ("sent", topic, record["partition"], record["offset"]))

    def test_a_duplicate_id_is_counted_and_never_sent(self):
        store, topic, other = self.store(), self.topic(), self.topic("evt.other.v1")
        first = store.append(topic, b'{"n":1}', event_id="same-id")
        store.append(other, b'{"n":2}', event_id="same-id")
        second = store.append(topic, b'{"n":3}', event_id="same-id")
        store.append(topic, b'{"n":4}', event_id="another-id")
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        third = store.append(topic, b'{"n":5}', event_id="same-id")
        self.assertEqual(agent.drain(), 0, agent.log())
        stats, _ = check.assert_exact(self, store, self.cluster, gone={second.seq, third.seq})
        self.assertEqual((stats["delivered"], stats["duplicates"]), (3, 2))
        for duplicate in (second, third):
            state = store.everything()[duplicate.seq]
            self.assertEqual(state["status"], "duplicate")
            self.assertEqual(state.get("duplicate_of"), first.seq)

    def test_two_stores_share_topics_and_marker(self):
        stores = [self.store(), self.store()]
        topic = self.topic()
        agents = [self.agent(s).start() for s in stores]
        for turn in range(6):
            for store in stores:
                store.append_lines(rig.numbered(200, turn * 200, rnd=self.random), topic=topic)
        for store, agent in zip(stores, agents):
            store.wait_settled(agent=agent)
            self.assertEqual(agent.terminate(), 0, agent.log())
        for store in stores:
            check.assert_exact(self, store, self.cluster)
        self.assertEqual(len(self.cluster.read(topic)), 2400)

    def test_at_least_once_delivers_everything_in_order(self):
        store = self.store()
        topic = self.topic()
        agent = self.agent(store, *rig.at_least_once(), *rig.txn_events(200))
        for turn in range(5):
            store.append_lines(rig.numbered(600, turn * 600, rnd=self.random), topic=topic)
            goal = store.delivered() + self.random.randrange(1, 500)
            agent.start()
            rig.wait_until(f"{goal} delivered", lambda goal=goal: store.delivered() >= goal)
            agent.kill()
        self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster, at_least_once=True)

    def test_switching_modes_keeps_every_event_once(self):
        store, topic = self.store(), self.topic()
        for turn, extra in enumerate(([], rig.at_least_once(), [], rig.at_least_once())):
            store.append_lines(rig.numbered(100, turn * 100, rnd=self.random), topic=topic)
            agent = self.agent(store, *extra)
            self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


class Life(rig.Rig):
    def test_a_lone_event_after_an_idle_time_arrives_alone(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store).start()
        store.append(topic, b"first")
        store.wait_settled(agent=agent)
        idle = 90 if rig.LONG else 4
        time.sleep(idle)  # the idle time is what is tested
        store.append(topic, b"lone")
        store.wait_settled(seconds=10, agent=agent)
        check.assert_exact(self, store, self.cluster)

    def test_a_second_agent_is_turned_away(self):
        store, topic = self.store(), self.topic()
        store.append(topic, b"1")
        first = self.agent(store).start()
        store.wait_settled(agent=first)
        done = rig.run([rig.sidelogd(), "--store", str(store.path), "--brokers", self.cluster.brokers],
                       expect=None, seconds=20)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("another agent", done.err)
        self.assertIn(str(first.process.pid), done.err)
        self.assertTrue(first.running())
        store.append(topic, b"2")
        store.wait_settled(agent=first)
        check.assert_exact(self, store, self.cluster)

    def test_drain_without_anything_ends_at_once(self):
        store, topic = self.store(), self.topic()
        store.append(topic, b"1")
        agent = self.agent(store)
        self.assertEqual(agent.drain(), 0, agent.log())
        self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_sigterm_ends_a_busy_agent_cleanly(self):
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(6000, rnd=self.random), topic=topic)
        agent = self.agent(store, *rig.txn_events(100)).start()
        rig.wait_until("some events to be delivered", lambda: store.delivered() > 300)
        begun = time.monotonic()
        self.assertEqual(agent.terminate(20), 0, agent.log())
        self.assertLess(time.monotonic() - begun, 15)
        self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_status_says_when_all_is_well(self):
        store, topic = self.store(), self.topic()
        store.append(topic, b"1")
        agent = self.agent(store).start()
        store.wait_settled(agent=agent)
        rig.wait_until("status 0", lambda: store.status()[0] == 0, 10)
        agent.kill()
        store.append(topic, b"2")
        self.assertEqual(store.status()[0], 4, "no agent runs and an event waits: that is not well")

    def test_trim_by_retention_keeps_the_books(self):
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(500, rnd=self.random), topic=topic)
        agent = self.agent(store, config={"retention": {"age": "1s"}}).start()
        store.wait_settled(agent=agent)
        before = store.stats()
        records = self.cluster.read(topic)
        rig.wait_until("trim", lambda: store.stats()["kept"] <= 1, 60, 0.2)
        after = store.stats()
        for field in ("appended", "delivered", "duplicates", "dead", "dropped", "pending"):
            self.assertEqual(after[field], before[field])
        self.assertIsNone(check.law(after))
        store.append(topic, b"after the trim")
        store.wait_settled(agent=agent)
        self.assertEqual(store.stats()["delivered"], 501)
        self.assertEqual(len(self.cluster.read(topic)), len(records) + 1)
        self.assertEqual(agent.terminate(), 0, agent.log())
        store.verify()


class Judge(rig.Rig):
    """The judge itself: what it has not seen is not there."""

    def hold(self, topic):
        """A transaction with one record, open until it is told how to end."""
        held = subprocess.Popen(rig.dying_with_us([rig.tool("tests/kafka/hold"), self.cluster.brokers, topic]),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(held.communicate)
        self.assertEqual(held.stdout.readline(), "open\n")

        def end(how):
            held.stdin.write(how + "\n")
            held.stdin.flush()
            self.assertEqual(held.stdout.readline(), "ended\n")

        return end

    def test_it_waits_for_an_open_transaction(self):
        # A commit returns before the broker has written its end into the partitions: what is read right after it
        # may still be open. That is no proof that nothing is there.
        topic = self.topic()
        self.cluster.topic(topic, 1)
        end = self.hold(topic)
        with self.assertRaises(rig.Failed) as unread:
            self.cluster.read(topic, seconds=2)
        self.assertIn("open transaction", str(unread.exception))
        self.assertEqual(self.cluster.read(topic, extra=["--lso"]), [])
        end("commit")
        self.assertEqual(len(self.cluster.read(topic)), 1)

    def test_it_passes_an_aborted_transaction(self):
        topic = self.topic()
        self.cluster.topic(topic, 1)
        self.hold(topic)("abort")
        self.assertEqual(self.cluster.read(topic), [])
        self.assertEqual(len(self.cluster.read(topic, committed=False)), 1)


class Parked(rig.Rig):
    def refuse(self, store, agent):
        pending = store.stats()["pending"]
        self.assertEqual(agent.drain(30), 4, agent.log())
        self.assertIn("parked", agent.log())
        self.assertEqual(store.stats()["pending"], pending)
        self.assertIsNone(check.law(store.stats()))

    def test_a_restored_store_parks_instead_of_losing_events(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store)
        store.append_lines(rig.numbered(100, rnd=self.random), topic=topic)
        self.assertEqual(agent.drain(), 0, agent.log())
        backup = store.side / "backup"
        shutil.copytree(store.path, backup)
        store.append_lines(rig.numbered(80, 100, rnd=self.random), topic=topic)
        self.assertEqual(agent.drain(), 0, agent.log())
        shutil.rmtree(store.path)
        backup.rename(store.path)
        store.append_lines(rig.numbered(120, 1000, rnd=self.random), topic=topic)
        self.refuse(store, agent)
        self.assertEqual(len(self.cluster.read(topic)), 180)

    def test_of_a_store_and_its_clone_one_parks(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store)
        store.append_lines(rig.numbered(100, rnd=self.random), topic=topic)
        self.assertEqual(agent.drain(), 0, agent.log())
        clone = self.store()
        shutil.copytree(store.path, clone.path)
        clone.append_lines(rig.numbered(50, 100, rnd=self.random), topic=topic)
        second = self.agent(clone)
        self.assertEqual(second.drain(), 0, second.log())
        store.append_lines(rig.numbered(50, 500, rnd=self.random), topic=topic)
        self.refuse(store, agent)
        self.assertEqual(len(self.cluster.read(topic)), 150)

    def test_a_foreign_cluster_parks(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store)
        store.append_lines(rig.numbered(20, rnd=self.random), topic=topic)
        self.assertEqual(agent.drain(), 0, agent.log())
        other = rig.Cluster()
        self.addCleanup(other.down)
        store.append_lines(rig.numbered(20, 20, rnd=self.random), topic=topic)
        lost = self.agent(store, brokers=other.brokers)
        self.refuse(store, lost)
        self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


class Poison(rig.Rig):
    def test_an_oversize_record_is_set_aside_and_the_rest_goes_on(self):
        store, topic = self.store(), self.topic()
        self.cluster.topic(topic, 3, max_message_bytes=20000)
        lines = rig.numbered(300, size=400, rnd=self.random)
        poison = []
        for at in (40, 41, 200, 299):
            lines[at] = json.dumps({"n": at, "pad": f"{self.random.getrandbits(160_000):x}"}).encode()
            poison.append(at)
        added = store.append_lines(lines, topic=topic)
        dead = {added[at].seq for at in poison}
        agent = self.agent(store)
        self.assertEqual(agent.drain(90), 0, agent.log())
        stats, _ = check.assert_exact(self, store, self.cluster, gone=dead)
        self.assertEqual((stats["delivered"], stats["dead"]), (296, 4))
        self.assertIn("connected anew, since a topic takes smaller batches", agent.log())
        for event in store.query("--status", "dead", "-n", "10"):
            self.assertIn(event["seq"], dead)
            self.assertIn("SIZE_TOO_LARGE", json.dumps(event))
            self.assertIn("NON_RETRYABLE_VALIDATION", json.dumps(event))
        self.assertEqual(len(store.query("--status", "dead", "-n", "10")), 4)
        # A refused batch must cost no innocent a second try: theirs came out of sequence, and were purged or kept
        # for 15 s.
        self.assertNotIn("_PURGE", agent.log())
        self.assertNotIn("_TIMED_OUT", agent.log())
        for seq in dead:  # none is set aside in silence
            self.assertRegex(agent.log(), rf"dead-letter: event {seq} of {topic}: .*SIZE_TOO_LARGE")

    def test_a_limit_lowered_while_draining(self):
        store, topic = self.store(), self.topic()
        self.cluster.topic(topic, 3)
        agent = self.agent(store).start()
        store.append_lines(rig.numbered(50, size=400, rnd=self.random), topic=topic)
        store.wait_settled(agent=agent)
        self.cluster.configure_topic(topic, max_message_bytes=5000)
        big = store.append(topic, f"{self.random.getrandbits(80_000):x}".encode(), key="k1")
        store.append_lines(rig.numbered(100, 50, size=400, rnd=self.random), topic=topic)
        store.wait_settled(seconds=90, agent=agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        stats, _ = check.assert_exact(self, store, self.cluster, gone={big.seq})
        self.assertEqual(stats["dead"], 1)


if __name__ == "__main__":
    unittest.main()
