"""A cluster with ACLs: a topic that may not be written goes to a lane, everything else arrives, and the lane
drains in order once the right is given."""
import unittest

import check
import rig

LOGIN = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanisms=PLAIN"]


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


def login(user):
    return [word for setting in (*LOGIN, f"sasl.username={user}", f"sasl.password={user}")
            for word in ("-X", setting)]


class Rights(rig.Rig):
    brokers = 1

    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(cls.brokers, sasl=True)
        cls.cluster.extra = login("admin")
        # What every agent needs, whatever its topics.
        cls.allow("Write", "Describe", transactional_id="*")
        cls.allow("Read", "Write", "Describe", "Create", "DescribeConfigs", topic="__sidelog_progress")

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    @classmethod
    def allow(cls, *operations, kind="--allow-principal", **resources):
        """All in one call: each takes a Java program its second or two."""
        words = [word for op in operations for word in ("--operation", op)]
        for name, values in resources.items():
            for value in [values] if isinstance(values, str) else values:
                words += [f"--{name.replace('_', '-')}", value]
        cls.cluster.call("acls", "--add", kind, "User:agent", *words)

    def agent_of(self, store, *args):
        return self.agent(store, *login("agent"), "--set", "refused_retry=1s", *args)

    def test_denied_topics_wait_in_lanes_and_drain_in_order(self):
        free, unseen, readonly = self.topic("evt.free.v1"), self.topic("evt.unseen.v1"), self.topic("evt.readonly.v1")
        for topic in (free, unseen, readonly):
            self.cluster.topic(topic, 3)
        self.allow("Write", "Describe", "DescribeConfigs", topic=free)
        self.allow("Describe", "DescribeConfigs", topic=readonly)
        store = self.store()
        for turn in range(4):
            for topic in self.random.sample((free, unseen, readonly), 3):
                store.append_lines(rig.numbered(100, turn * 100, rnd=self.random), topic=topic)
        agent = self.agent_of(store, *rig.txn_events(70)).start()
        rig.wait_until("the free topic to arrive",
                       lambda: store.stats()["delivered"] >= 400 or not agent.running(), 60)
        self.assertTrue(agent.running(), agent.log())
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["delivered"], stats["pending"], stats["dead"]), (400, 800, 0))
        self.assertEqual(len(self.cluster.read(free)), 400)
        code, status = store.status()
        self.assertEqual(code, 4, f"a waiting lane is not well: {status}")
        for topic in (unseen, readonly):  # the agent writes its report once a second
            rig.wait_until(f"the status to name {topic}", lambda: f"{topic} cannot be written" in store.call(
                "status", expect=(4,)).stdout.decode().replace("\n         ", " "), 30)
        # What comes now goes the same ways, also over a restart, which has only the book to go by.
        agent.kill()
        agent.start()
        for topic in (readonly, free, unseen):
            store.append_lines(rig.numbered(50, 400, rnd=self.random), topic=topic)
        rig.wait_until("more of the free topic to arrive", lambda: store.stats()["delivered"] >= 450, 60)
        self.assertIsNone(check.law(store.stats()))
        self.allow("Write", "Describe", "DescribeConfigs", topic=[unseen, readonly])
        stats = store.wait_settled(100, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (1350, 0))
        rig.wait_until("status 0", lambda: store.status()[0] == 0, 20, 0.2)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_lane_that_waits_too_long(self):
        # The denied topic's events die of their age, with the reason; the rest flows; what is younger when the
        # rights return is delivered in order.
        free, denied, patient = self.topic("evt.free.v1"), self.topic("evt.denied.v1"), self.topic("evt.patient.v1")
        for topic in (free, denied, patient):
            self.cluster.topic(topic, 3)
        self.allow("Write", "Describe", "DescribeConfigs", topic=free)
        self.allow("Describe", "DescribeConfigs", topic=[denied, patient])
        store = self.store()
        old = store.append_lines(rig.numbered(300, rnd=self.random), topic=denied)
        store.append_lines(rig.numbered(20, rnd=self.random), topic=patient)
        store.append_lines(rig.numbered(100, rnd=self.random), topic=free)
        config = {"lanes": {"max_age": "12s"}, "topics": [{"match": patient, "lane_max_age": "never"}],
                  "refused_retry": "1s"}
        agent = self.agent(store, *login("agent"), config=config).start()
        told = []

        def all_dead():
            report = store.status()[1]["agent"]["report"] or {"lanes": []}
            told.extend(lane for lane in report["lanes"] if lane["topic"] == denied)
            return store.stats()["dead"] == 300

        rig.wait_until("the dead letters", all_dead, 150, 0.2)
        self.assertTrue(any(lane["oldest_us"] and lane["max_age_us"] == 12_000_000 for lane in told), told[:3])
        self.assertIn("lane-expired", agent.log())
        dead = store.query("--status", "dead")
        self.assertEqual({e["seq"] for e in dead}, {e.seq for e in old})
        self.assertEqual({e["error_code"] for e in dead}, {"LANE_TOO_OLD"})
        self.assertIn("refused since 20", dead[0]["error_text"])
        self.assertIsNone(check.law(store.stats()))
        young = store.append_lines(rig.numbered(60, 300, rnd=self.random), topic=denied)
        self.allow("Write", topic=[denied, patient])
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (180, 300))
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster, gone={e.seq for e in old})
        self.assertEqual(len(self.cluster.read(denied)), len(young))

    def test_a_denied_dead_letter_topic_keeps_its_letters_here(self):
        # They stay, counted; events and other letters go on. Once the right is given each is published, once.
        sick, well = self.topic("evt.sick.v1"), self.topic("evt.well.v1")
        for topic in (sick, well, f"{sick}.dlq", f"{well}.dlq"):
            self.cluster.topic(topic, 1)
        self.allow("Write", "Describe", "DescribeConfigs", topic=[sick, well, f"{well}.dlq"])
        self.allow("Describe", "DescribeConfigs", topic=f"{sick}.dlq")
        store = self.store()
        for turn in range(3):
            for topic in (sick, well):
                store.append_lines([*rig.numbered(20, turn * 50, rnd=self.random),
                                    *rig.numbered(1, turn * 50 + 30, size=4000)], topic=topic)
        agent = self.agent_of(store, "-X", "message.max.bytes=3000").start()

        def letters():
            return (store.status()[1]["agent"]["report"] or {}).get("dead_letters")

        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (120, 6))
        rig.wait_until("the others' letters", lambda: letters() == {"published": 3, "waiting": 3}, 40)
        store.append_lines(rig.numbered(10, 200, rnd=self.random), topic=sick)
        stats = store.wait_settled(30, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (130, 6))
        self.assertEqual(letters(), {"published": 3, "waiting": 3})
        self.allow("Write", topic=f"{sick}.dlq")
        rig.wait_until("the rest", lambda: letters() == {"published": 6, "waiting": 0}, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        dead = store.query("--status", "dead")
        for topic in (sick, well):
            copied = [int(c["headers"]["x-sidelog-seq"]) for c in self.cluster.read(f"{topic}.dlq")]
            self.assertEqual(sorted(copied), sorted(e["seq"] for e in dead if e["topic"] == topic))
        check.assert_exact(self, store, self.cluster, [sick, well], gone={e["seq"] for e in dead})

    def test_poison_where_no_setting_may_be_read(self):
        """Without DescribeConfigs nobody tells the limit: refusals do, of what is as large."""
        topic = self.topic("evt.untold.v1")
        self.cluster.topic(topic, 2, max_message_bytes=3000)
        self.cluster.topic(f"{topic}.dlq", 1)
        self.allow("Write", "Describe", topic=[topic, f"{topic}.dlq"])
        store = self.store()
        lines = rig.numbered(600, rnd=self.random)
        guilty = range(3, 600, 10)
        for at in guilty:
            lines[at] = rig.numbered(1, at, size=self.random.randrange(8000, 20000), rnd=self.random)[0]
        store.append_lines(lines, topic=topic)
        agent = self.agent_of(store, "-X", "batch.size=3000").start()
        stats = store.wait_settled(90, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (540, 60))
        report = lambda: store.status()[1]["agent"]["report"] or {}
        rig.wait_until("the copies", lambda: report().get("dead_letters") == {"published": 60, "waiting": 0}, 60)
        self.assertLess(report()["transactions"]["aborted"], 30, "fewer than one for each of them")
        self.assertEqual(agent.terminate(), 0, agent.log())
        dead = {e["seq"] for e in store.query("--status", "dead")}
        self.assertEqual(dead, {store.events[at].seq for at in guilty})
        check.assert_exact(self, store, self.cluster, [topic], gone=dead)

    def test_a_right_withdrawn_in_the_middle(self):
        free, lost = self.topic("evt.free.v1"), self.topic("evt.lost.v1")
        for topic in (free, lost):
            self.cluster.topic(topic, 3)
        self.allow("Write", "Describe", "DescribeConfigs", topic=[free, lost])
        store = self.store()
        agent = self.agent_of(store).start()
        for topic in (free, lost):
            store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
        store.wait_settled(30, agent)
        self.allow("Write", kind="--deny-principal", topic=lost)
        for turn in range(1, 4):
            for topic in (lost, free):
                store.append_lines(rig.numbered(50, turn * 50, rnd=self.random), topic=topic)
        rig.wait_until("the free topic to arrive", lambda: store.stats()["delivered"] >= 250, 60)
        stats = store.stats()
        self.assertEqual((stats["delivered"], stats["pending"], stats["dead"]), (250, 150, 0))
        self.cluster.call("acls", "--remove", "--force", "--deny-principal", "User:agent", "--operation", "Write",
                          "--topic", lost)
        stats = store.wait_settled(100, agent)
        self.assertEqual(stats["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_progress_topic_that_may_not_be_written(self):
        # librdkafka says nothing but _PURGE of it. The agent parks and says which topic, and goes on once it may.
        topic, progress = self.topic(), self.topic("progress")
        for name in (topic, progress):
            self.cluster.topic(name, 3)
        self.allow("Write", "Describe", "DescribeConfigs", topic=topic)
        self.allow("Read", "Describe", "DescribeConfigs", topic=progress)
        store = self.store()
        store.append_lines(rig.numbered(20, rnd=self.random), topic=topic)
        agent = self.agent_of(store, "--set", f"progress.topic={progress}").start()
        rig.wait_until("the agent to park", lambda: "parked" in agent.log(), 30)
        report = store.status()[1]["agent"]["report"]
        self.assertIn(progress, report["error"]["text"], report)
        self.assertEqual(store.stats()["pending"], 20)
        self.allow("Write", topic=progress)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_wrong_credentials_park_and_lose_nothing(self):
        topic = self.topic()
        self.cluster.topic(topic, 3)
        self.allow("Write", "Describe", "DescribeConfigs", topic=topic)
        store = self.store()
        store.append_lines(rig.numbered(20, rnd=self.random), topic=topic)
        wrong = self.agent(store, *login("agent"), "-X", "sasl.password=guess")
        self.assertEqual(wrong.drain(30), 4, wrong.log())
        self.assertIn("credentials", wrong.log())
        self.assertEqual(store.stats()["pending"], 20)
        agent = self.agent_of(store)
        self.assertEqual(agent.drain(30), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
