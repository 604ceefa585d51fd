"""Topics that change while events flow to them: more partitions, smaller messages; many that are new at once."""
import collections
import time
import unittest

import check
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()
    rig.Rig.cluster = rig.Cluster()


def tearDownModule():
    rig.Rig.cluster.down()


def murmur2(data):
    """Kafka's partitioner hash (org.apache.kafka.common.utils.Utils.murmur2), from its published definition."""
    m, mask, n = 0x5BD1E995, 0xFFFFFFFF, len(data)
    h = (0x9747B28C ^ n) & mask
    for i in range(0, n - n % 4, 4):
        k = int.from_bytes(data[i:i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = data[n - n % 4:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def java_partition(key, partitions):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


class Changes(rig.Rig):
    def test_partitions_are_added_under_load(self):
        store, topic = self.store(), self.topic()
        self.cluster.topic(topic, 3)
        agent = self.agent(store, *rig.txn_events(100), "-X", "topic.metadata.refresh.interval.ms=1000").start()
        store.append_lines(rig.numbered(2000, keys=40, rnd=self.random), topic=topic)
        self.progress(store, agent, 300)
        self.cluster.call("topics", "--alter", "--topic", topic, "--partitions", "6")
        at = 2000

        def told():
            nonlocal at
            store.append_lines(rig.numbered(200, at, keys=40, rnd=self.random), topic=topic)
            at += 200
            return "partitions-changed" in agent.log()

        rig.wait_until("the agent to notice the new partitions, without a restart", told, 60, 0.2)
        self.assertIn("had 3 partitions and has 6", agent.log())
        store.wait_settled(90, agent)
        rig.wait_until("the report to count it",
                       lambda: store.status()[1]["agent"]["report"]["partition_changes"] == 1, 20, 0.2)
        after = store.append_lines(rig.numbered(400, at, keys=40, rnd=self.random), topic=topic)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        # Every record lies where the Java client puts its key, among three partitions or among six; what came
        # after the alert, among six. Within each partition the order of a key holds; nothing is missing or twice.
        records = self.cluster.read(topic)
        for r in records:
            self.assertIn(r["partition"], {java_partition(r["key"], 3), java_partition(r["key"], 6)})
        late = {e.seq for e in after}
        self.assertEqual([r for r in records if int(r["headers"]["x-sidelog-seq"]) in late
                          and r["partition"] != java_partition(r["key"], 6)], [])
        verdict = check.judge(store.events, records, check.store_of(store.events, records), store.everything())
        moved = [entry for entry in verdict.reorders if entry[1] == "key in two partitions"]
        self.assertTrue(moved, "some keys had to move")
        verdict.reorders = [entry for entry in verdict.reorders if entry not in moved]
        self.assertFalse(verdict.problems(), verdict.problems())

    def test_the_largest_message_shrinks_and_grows_under_load(self):
        store, topic = self.store(), self.topic()
        self.cluster.topic(topic, 3, max_message_bytes=100000)
        agent = self.agent(store, *rig.txn_events(200)).start()
        store.append_lines(rig.numbered(600, rnd=self.random), topic=topic)
        large = store.append(topic, self.random.randbytes(20000), key="big")
        store.wait_settled(60, agent)
        self.cluster.configure_topic(topic, max_message_bytes=5000)
        store.append_lines(rig.numbered(600, 600, rnd=self.random), topic=topic)
        dies = store.append(topic, self.random.randbytes(20000), key="big")
        store.append_lines(rig.numbered(600, 1200, rnd=self.random), topic=topic)
        stats = store.wait_settled(90, agent)
        self.assertEqual((stats["dead"], stats["delivered"]), (1, 1801), "the innocents around it arrive")
        self.cluster.configure_topic(topic, max_message_bytes=100000)
        lives = store.append(topic, self.random.randbytes(20000), key="big")
        stats = store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertEqual(stats["dead"], 1)
        _, records = check.assert_exact(self, store, self.cluster, gone={dies.seq})
        seen = collections.Counter(int(r["headers"]["x-sidelog-seq"]) for r in records)
        self.assertEqual((seen[large.seq], seen[dies.seq], seen[lives.seq]), (1, 0, 1))

    def assert_receipts_know(self, store, topic, after):
        """Every receipt names a place where its event was read, but those that say that their topic is gone;
        and those are exactly the ones from before."""
        read = {int(r["headers"]["x-sidelog-seq"]): (r["partition"], r["offset"])
                for r in self.cluster.read(topic)}
        self.assertEqual(sorted(read), [e.seq for e in after])
        told = store.query("--topic", topic)
        self.assertEqual({o["seq"]: (o["partition"], o["offset"]) for o in told if not o.get("topic_recreated")},
                         read)
        self.assertEqual(len(told), len(store.events))
        self.assertIn("of a topic since deleted and created again",
                      store.call("show", str(store.events[0].seq)).stdout.decode())

    def test_a_topic_created_again_is_noticed(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store, "--set", "new_topics.partitions=1").start()
        store.append_lines(rig.numbered(500, rnd=self.random), topic=topic)
        store.wait_settled(60, agent)
        self.cluster.call("topics", "--delete", "--topic", topic)
        after = store.append_lines(rig.numbered(50, 500, rnd=self.random), topic=topic)
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (550, 0))
        rig.wait_until("the agent to notice", lambda: "topic-recreated" in agent.log(), 20)
        rig.wait_until("the report to count it",
                       lambda: store.status()[1]["agent"]["report"]["topics_recreated"] == 1, 20, 0.2)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assert_receipts_know(store, topic, after)

    def test_a_topic_created_again_with_fewer_partitions(self):
        # The client had chosen one for a lone event that was there no more, and the event became a dead letter. In exactly-once
        # librdkafka asks for the partition again until the transaction's timeout.
        for mode in (rig.at_least_once(), *([[]] if rig.LONG else [])):
            with self.subTest(mode=mode):
                store, topic = self.store(), self.topic(f"evt.fewer{len(mode)}.v1")
                self.cluster.topic(topic, 12)
                agent = self.agent(store, *mode).start()
                store.append_lines(rig.numbered(50, keys=20, rnd=self.random), topic=topic)
                store.wait_settled(60, agent)
                for partitions in (1, 12, 1):  # whether the client hears of it in time is chance
                    rig.run([rig.tool("tests/kafka/ktopic"), "-b", self.cluster.internal, "delete", topic])
                    self.cluster.topic(topic, partitions)
                    key = next(k for k in (f"k{i}" for i in range(99)) if java_partition(k, 12) > 0)
                    store.append(topic, b"lone", key=key)
                    store.wait_settled(60, agent)
                self.assertEqual(agent.terminate(), 0, agent.log())
                self.assertEqual((store.stats()["dead"], store.stats()["delivered"]), (0, 53))

    def test_a_topic_created_again_while_no_agent_ran_is_noticed(self):
        store, topic, other = self.store(), self.topic(), self.topic("evt.others.v1")
        agent = self.agent(store, "--set", "new_topics.partitions=2").start()
        for name in (topic, other):
            store.append_lines(rig.numbered(300, rnd=self.random), topic=name)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.cluster.call("topics", "--delete", "--topic", topic)
        for again in range(2):  # what is marked already is not told again
            after = store.append_lines(rig.numbered(20, 300 + 20 * again, rnd=self.random), topic=topic)
            store.append_lines(rig.numbered(20, 300 + 20 * again, rnd=self.random), topic=other)
            agent.start()
            store.wait_settled(60, agent)
            self.assertEqual(agent.terminate(), 0, agent.log())
            self.assertEqual(agent.log(whole=True).count("topic-recreated"), 1, agent.log(whole=True))
            if again == 0:
                read = self.cluster.read(topic)
                self.assertEqual(sorted(int(r["headers"]["x-sidelog-seq"]) for r in read), [e.seq for e in after])
        marked = {o["seq"] for o in store.query() if o.get("topic_recreated")}
        self.assertEqual(marked, {e.seq for e in store.events if e.topic == topic} - {
            int(r["headers"]["x-sidelog-seq"]) for r in self.cluster.read(topic)})

    def test_a_hundred_new_topics_are_prepared_together(self):
        store = self.store()
        topics = [self.topic(f"evt.n{i}.v1") for i in range(100)]
        store.put_all([store.put(topic, f"{turn} {topic}".encode(), key=b"k") for turn in range(3)
                       for topic in topics])
        agent = self.agent(store, "--set", "new_topics.partitions=1")
        begun = time.monotonic()
        self.assertEqual(agent.drain(120), 0, agent.log()[-3000:])
        took = time.monotonic() - begun
        rig.figure(f"100 new topics of one partition created and 300 events delivered in {took:.1f} s")
        self.assertIn("100 topics", agent.log())
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
