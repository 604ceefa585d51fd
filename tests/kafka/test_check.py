"""`sidelogd --check` on a real broker: what is missing is named, nothing is sent or changed, and a running
agent is not disturbed."""
import json
import time
import unittest

import check
import rig
import schema


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()
    rig.tool("tests/kafka/put")


def login(user, password=None):
    pairs = ("security.protocol=SASL_PLAINTEXT", "sasl.mechanisms=PLAIN", f"sasl.username={user}",
             f"sasl.password={password or user}")
    return [word for pair in pairs for word in ("-X", pair)]


class Check(rig.Rig):
    def check(self, store, *args, status=0, cluster=None):
        argv = [rig.sidelogd(), "--store", str(store.path), "--brokers", (cluster or self.cluster).brokers,
                "--check", "--json"]
        done = rig.run([*argv, *args], expect=(status,), seconds=120)
        self.found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([fault for one in self.found for fault in schema.faults(one, "verdict")], [])
        return self.found

    def verdict(self, what, subject=None):
        return next((one["verdict"] for one in self.found if one["check"] == what
                     and subject in (None, one["subject"])), None)

    def bad(self):
        return {(one["check"], one["subject"]) for one in self.found if one["verdict"] != "ok"}

    def text(self, what, subject=None):
        return next(one["text"] for one in self.found if one["check"] == what
                    and subject in (None, one["subject"]))


class Plain(Check):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def topics(self):
        """Without the brokers' own, which the first transaction of a cluster brings about."""
        return {name for name in self.cluster.call("topics", "--list").split() if name != "__transaction_state"}

    def test_before_the_first_event(self):
        store, progress = self.store(), self.topic("progress")
        before = self.topics()
        self.check(store, "--set", f"progress.topic={progress}")
        self.assertEqual({what for what, _ in self.bad()}, {"store"})  # there is none yet
        self.assertIn("may be created", self.text("progress topic", progress))
        self.assertFalse(store.path.exists())
        self.assertEqual(self.topics(), before)

    def test_nothing_is_sent_nor_an_agent_disturbed(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(20)).start()
        store.append_lines(rig.numbered(3000, rnd=self.random), topic=topic)
        rig.wait_until("some to arrive", lambda: store.delivered() >= 100, 40)
        for _ in range(4):
            self.check(store)
            self.assertEqual(self.verdict("write", "__sidelog_progress"), "ok")
        store.wait_settled(60, agent)
        status = store.status()[1]
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertNotIn("setback", agent.log())
        self.assertNotIn("FENCED", agent.log())
        self.assertEqual(agent.log().count(" delivering: "), 1, status)
        check.assert_exact(self, store, self.cluster)

    def test_topics_limits_and_rules(self):
        store, small, ruled = self.store(), self.topic("evt.small.v1"), self.topic("evt.ruled.v1")
        missing, clock = self.topic("evt.missing.v1"), self.topic("evt.clock.v1")
        self.cluster.topic(small, 2, max_message_bytes=2000)
        self.cluster.topic(ruled, 1)
        self.cluster.topic(clock, 1, message_timestamp_type="LogAppendTime")
        store.put_all([store.put(small, self.random.randbytes(size), key=b"k") for size in (10, 3000, 20)])
        store.append(missing, b"waits")
        store.append(clock, b"tick")
        config = store.side / "check.yaml"
        config.write_text(rig.yaml({"topics": [{"match": ruled}, {"match": "*"}]}))
        self.check(store, "--config", str(config))
        self.assertEqual(self.bad(), {("size", small)})
        self.assertIn("event 2 takes about", self.text("size", small))
        for topic in (small, ruled, clock):
            self.assertEqual(self.verdict("write", topic), "ok")
        self.assertIn("may be created", self.text("topic", missing))
        self.assertRegex(self.text("clock"), r"within \d+ ms")
        self.check(store, "--set", "new_topics.create=false", status=4)
        self.assertEqual(self.verdict("topic", missing), "missing")
        for committed in (small, ruled, clock):
            self.assertEqual(self.cluster.read(committed), [])
        self.assertNotIn(missing, self.topics())
        self.assertEqual(store.stats()["pending"], 5)

    def test_what_would_park_the_agent(self):
        store, topic, progress = self.store(), self.topic(), self.topic("progress")
        args = ("--set", f"progress.topic={progress}")
        self.cluster.topic(progress, 3)  # not compacted
        store.append(topic, b"one")
        agent = self.agent(store, *args)
        self.assertEqual(agent.drain(), 0, agent.log())
        self.check(store, *args, status=4)
        self.assertEqual(self.bad(), {("progress topic", progress)})
        self.assertIn("not compact", self.text("progress topic", progress))
        self.assertIn("it is this store's", self.text("marker", progress))
        self.cluster.call("topics", "--delete", "--topic", progress)
        self.check(store, *args, status=4)
        self.assertIn("marker-missing", self.text("progress topic", progress))
        self.cluster.topic(progress, 3, cleanup_policy="compact")
        self.check(store, *args, status=4)
        self.assertEqual(self.bad(), {("marker", progress)})

    def test_brokers_that_do_not_answer(self):
        store = self.store()
        argv = [rig.sidelogd(), "--store", str(store.path), "--check", "--brokers"]
        begun = time.monotonic()
        done = rig.run([*argv, "127.0.0.1:1"], expect=(4,))
        self.assertLess(time.monotonic() - begun, 6, "who is refused is told at once, not after ten seconds of silence")
        self.assertRegex(done.stdout.decode(),
                         "missing +brokers 127.0.0.1:1: _TRANSPORT: .*refused.* -> check address")
        done = rig.run([*argv, "no-such-host.invalid:9092"], expect=(4,))
        self.assertIn("_RESOLVE", done.stdout.decode())
        done = rig.run([*argv, "127.0.0.1:1", "-X", "sasl.username=u"], expect=(4,))
        self.assertIn("nobody logs in", done.stdout.decode())


class Rights(Check):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(sasl=True)
        cls.cluster.extra = login("admin")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def allow(self, *operations, prefixed=False, **resource):
        words = [word for op in operations for word in ("--operation", op)]
        for name, value in resource.items():
            words += [f"--{name.replace('_', '-')}", value]
        if prefixed:
            words += ["--resource-pattern-type", "prefixed"]
        self.cluster.call("acls", "--add", "--allow-principal", "User:agent", *words)

    def test_each_right_that_is_missing_is_named(self):
        store, topic, readonly = self.store(), self.topic("evt.free.v1"), self.topic("evt.readonly.v1")
        progress, agent = self.topic("progress"), (*login("agent"), "--set",
                                                   f"progress.topic={self.topic('progress')}")
        for one in (topic, readonly):
            self.cluster.topic(one, 2)
            store.append(one, b"waits")
        self.check(store, *login("agent", "guess"), status=4)
        self.assertIn("_AUTHENTICATION", self.text("brokers"))
        self.check(store, *agent, status=4)
        self.assertIn("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", self.text("transactions"))
        self.allow("Write", "Describe", transactional_id="sidelog-", prefixed=True)
        self.check(store, *agent, status=4)
        self.assertEqual(self.bad(),
                         {("progress topic", progress), ("topic", topic), ("topic", readonly),
                          ("create topics", None)})
        self.cluster.topic(progress, 2, cleanup_policy="compact")
        self.allow("Describe", "DescribeConfigs", topic=progress)
        self.allow("Write", "Describe", topic=topic)
        self.allow("Describe", "DescribeConfigs", topic=readonly)
        self.check(store, *agent, status=4)
        self.assertEqual(self.bad(),
                         {("write", progress), ("marker", progress), ("size", topic), ("write", readonly),
                          ("create topics", None)})
        self.assertIn("TOPIC_AUTHORIZATION_FAILED", self.text("write", readonly))
        self.allow("Write", topic=progress)
        self.check(store, *agent, status=4)
        self.assertIn("TOPIC_AUTHORIZATION_FAILED", self.text("marker", progress))
        self.allow("Read", topic=progress)
        self.allow("DescribeConfigs", topic=topic)
        self.allow("Write", "Create", topic=self.prefix, prefixed=True)
        self.allow("Create", topic="sidelog-check")
        self.check(store, *agent)
        self.assertEqual(self.bad(), set())
        for one in (topic, readonly, progress):
            self.assertEqual(self.cluster.read(one), [])


if __name__ == "__main__":
    unittest.main()
