"""Where store and cluster do not fit the agent parks, `sidelogd --adopt` says what follows from each choice,
and does what was chosen; then the agent goes on. One test a reason of docs/delivery.md, "Parked"."""
import base64
import os
import shutil
import signal
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


class Adopt(rig.Rig):
    def adopt(self, store, choice=None, status=0, cluster=None, args=()):
        flag = "--adopt" if choice is None else f"--adopt={choice}"
        argv = [rig.sidelogd(), "--store", str(store.path), "--brokers", (cluster or self.cluster).brokers, flag,
                *args]
        done = rig.run(argv, expect=(status,), seconds=90)
        self.assertIsNone(check.law(store.stats()))
        return done.stdout.decode() + done.err

    def deliver(self, store, topic, count, start=0, args=()):
        store.append_lines(rig.numbered(count, start, rnd=self.random), topic=topic)
        agent = self.agent(store, *args)
        self.assertEqual(agent.drain(), 0, agent.log())

    def parks(self, store, reason, cluster=None, args=()):
        agent = self.agent(store, *args, brokers=cluster and cluster.brokers)
        self.assertEqual(agent.drain(), 4, agent.log())
        self.assertIn(reason, agent.log())
        self.assertIn("--adopt", agent.log())

    def copied(self, store):
        clone = self.store()
        shutil.copytree(store.path, clone.path)
        clone.events = list(store.events)
        return clone

    def restored(self, more_after):
        """A store whose backup knew 40 delivered and 30 pending events; the lost one delivered those and 50
        more."""
        store, topic = self.store(), self.topic()
        self.deliver(store, topic, 40)
        store.append_lines(rig.numbered(30, 40, rnd=self.random), topic=topic)
        backup = self.copied(store)
        self.deliver(store, topic, 50, 70)
        if more_after:
            backup.append_lines(rig.numbered(more_after, 1000, rnd=self.random), topic=topic)
        self.parks(backup, "marker-ahead")
        return store, backup, topic

    def test_a_restored_backup_goes_on_where_the_cluster_is(self):
        lost, backup, topic = self.restored(25)
        words = self.adopt(backup, status=4)
        self.assertIn("trust-cluster", words)
        self.assertIn("30 events, up to seq 70", words)
        self.assertIn("The other 25 events", words)
        self.adopt(backup, "accept-cluster", status=2)
        parked = lambda: backup.status()[1]["agent"]["report"]["parked"]
        self.assertEqual(parked()["reason"], "marker-ahead")
        self.adopt(backup, "trust-cluster")
        self.assertIsNone(parked())
        agent = self.agent(backup)
        self.assertEqual(agent.drain(), 0, agent.log())
        stats = backup.stats()
        self.assertEqual((stats["delivered"], stats["dead"], stats["pending"]), (95, 0, 0))
        # As consumers see it: everything of the lost store, then what came after the restore, each once.
        records = [r for r in self.cluster.read(topic)]
        ids = [r["headers"]["x-event-id"] for r in records]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), {e.event_id for e in lost.events} | {e.event_id for e in backup.events})
        backup.verify()
        self.assertIn("nothing to decide", self.adopt(backup))
        self.deliver(backup, topic, 10, 2000)

    def test_a_restored_backup_that_trusts_itself_sends_again(self):
        _, backup, topic = self.restored(5)
        words = self.adopt(backup, status=4)
        self.assertIn("Sent twice: up to 30 events", words)
        self.adopt(backup, "trust-store")
        agent = self.agent(backup)
        self.assertEqual(agent.drain(), 0, agent.log())
        ids = [r["headers"]["x-event-id"] for r in self.cluster.read(topic)]
        self.assertEqual(len(ids) - len(set(ids)), 30)
        self.assertLessEqual({e.event_id for e in backup.events}, set(ids))
        backup.verify()

    def test_a_backup_with_lanes(self):
        # In the backup two topics wait in lanes; later one of them was delivered, and a third got a lane.
        store = self.store()
        a, b, c = (self.topic(f"evt.{name}.v1") for name in "abc")
        self.cluster.topic(a, 3)
        closed = ("--set", "new_topics.create=false", "--set", "refused_retry=1s")
        for turn in range(3):
            for topic in (a, b, c):
                store.append_lines(rig.numbered(10, turn * 10, rnd=self.random), topic=topic)
        agent = self.agent(store, *closed).start()
        rig.wait_until("a to arrive", lambda: store.delivered() >= 30, 40)
        self.assertEqual(agent.terminate(), 0, agent.log())
        backup = self.copied(store)
        self.assertEqual(backup.stats()["lanes"], 2)
        self.cluster.topic(b, 3)
        agent.start()
        rig.wait_until("b to arrive", lambda: store.delivered() >= 60, 40)
        store.append_lines(rig.numbered(10, 30, rnd=self.random), topic=a)
        rig.wait_until("a to arrive", lambda: store.delivered() >= 70, 40)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.parks(backup, "marker-ahead")
        self.adopt(backup, "trust-cluster")
        stats = backup.stats()
        self.assertEqual((stats["delivered"], stats["pending"], stats["lanes"]), (60, 30, 1))
        backup.verify()
        agent = self.agent(backup)
        self.assertEqual(agent.drain(), 0, agent.log())
        ids = [r["headers"]["x-event-id"] for r in self.cluster.read(a, b, c)]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), {e.event_id for e in store.events})

    def test_a_copy_gets_an_identity_of_its_own(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(50)).start()
        store.append_lines(rig.numbered(200, rnd=self.random), topic=topic)
        store.wait_settled(60, agent)
        os.kill(agent.process.pid, signal.SIGSTOP)
        clone = self.copied(store)
        os.kill(agent.process.pid, signal.SIGCONT)
        store.append_lines(rig.numbered(100, 200, rnd=self.random), topic=topic)
        store.wait_settled(60, agent)
        cloned = len(clone.events)
        clone.append_lines(rig.numbered(70, 5000, rnd=self.random), topic=topic)
        self.parks(clone, "marker-ahead")
        self.assertIn("as-new", self.adopt(clone, status=4))
        self.adopt(clone, "as-new", status=2, args=("--set", "transactions.id=shared"))
        self.adopt(clone, "as-new")
        second = self.agent(clone, *rig.txn_events(50))
        self.assertEqual(second.drain(), 0, second.log())
        store.append_lines(rig.numbered(100, 300, rnd=self.random), topic=topic)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertNotIn("parked", agent.log())
        check.assert_exact(self, store, self.cluster)
        # What the copy appended itself arrived under an id of its own.
        records = {r["headers"]["x-event-id"]: r for r in self.cluster.read(topic)}
        own = {records[e.event_id]["headers"]["x-sidelog-store"] for e in clone.events[cloned:]}
        self.assertEqual(len(own), 1)
        self.assertNotEqual(own, {check.store_of(store.events, records.values())})
        clone.verify()

    def test_a_deleted_progress_topic(self):
        self.deleted_progress_topic()

    def test_a_progress_topic_created_again_with_fewer_partitions(self):
        self.deleted_progress_topic(again=1)

    def deleted_progress_topic(self, again=None):
        store, topic, progress = self.store(), self.topic(), self.topic("progress")
        args = ("--set", f"progress.topic={progress}")
        self.deliver(store, topic, 60, args=args)
        self.cluster.call("topics", "--delete", "--topic", progress)
        if again:
            self.cluster.topic(progress, again, cleanup_policy="compact")
        store.append_lines(rig.numbered(20, 60, rnd=self.random), topic=topic)
        self.parks(store, "marker-missing", args=args)
        words = self.adopt(store, status=4, args=args)
        self.assertIn("the 20 events behind seq 60", words)
        self.assertIn("Sent twice: none. Never sent: none.", words)
        self.adopt(store, "trust-cluster", status=2, args=args)
        self.adopt(store, "trust-store", args=args)
        agent = self.agent(store, *args)
        self.assertEqual(agent.drain(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def in_doubt(self, step):
        """A store whose agent ended at that step of its third transaction, and what its progress topic had been
        given by then."""
        store, topic, progress = self.store(), self.topic(), f"t{self.random.randrange(1 << 32):08x}.progress"
        self.cluster.topic(progress, 1, cleanup_policy="compact")
        args = ("--set", f"progress.topic={progress}", "--set",
                "transactions.timeout=60s")  # nothing ends by itself
        self.deliver(store, topic, 20, args=args)
        self.deliver(store, topic, 10, 20, args=args)
        store.append_lines(rig.numbered(10, 30, rnd=self.random), topic=topic)
        agent = self.agent(store, *args)
        agent.env = {**os.environ, "LD_PRELOAD": rig.tool("tests/kafka/libkiller.so"), "SIDELOG_KILL": step}
        agent.start()
        rig.wait_until("the agent to end", lambda: not agent.running(), 30)
        agent.env = None
        *_, before, lost = self.cluster.read(progress, committed=False)
        return store, agent, progress, before, lost["offset"]

    def lose_the_newest(self, progress, before, behind):
        """The topic has the marker before the newest where it was, and `behind` records more. Who can fill it
        on."""
        rig.run([rig.tool("tests/kafka/ktopic"), "-b", self.cluster.internal, "delete", progress])
        self.cluster.topic(progress, 1, cleanup_policy="compact")
        # A progress topic is a topic: other stores' records, and that marker, and the end of their transaction.
        forger = self.store()
        other = lambda: forger.put(progress, b"", key=b"another")
        marker = forger.put(progress, base64.b64decode(before["value"]), key=before["key"].encode())
        forger.put_all([*(other() for _ in range(before["offset"])), marker, *(other() for _ in range(behind))])
        self.assertEqual(self.agent(forger).drain(), 0)
        self.assertIn((before["offset"], before["value"]),
                      [(r["offset"], r["value"]) for r in self.cluster.read(progress)])
        return forger

    @unittest.skipUnless(rig.LONG, "long")
    def test_no_record_where_the_newest_marker_was_and_no_topic_of_its_events(self):
        # Nobody will ever answer for events of a topic that is deleted: it waited for that.
        store, agent, progress, before, lost = self.in_doubt("event:intended")
        self.lose_the_newest(progress, before, lost - before["offset"] - 1)
        rig.run([rig.tool("tests/kafka/ktopic"), "-b", self.cluster.internal, "delete", self.topic()])
        self.assertEqual(agent.drain(30), 0, agent.log())
        self.assertEqual(len(self.cluster.read(self.topic())), 10)

    def test_a_backup_in_doubt_whose_marker_compaction_has_taken(self):
        # The original goes on from there. The copy said that the topic had lost records, for which the only choice
        # is to send all again.
        store, agent, progress, before, lost = self.in_doubt("event:committed")
        args = ("--set", f"progress.topic={progress}")
        backup = self.copied(store)
        self.deliver(store, self.topic(), 20, 40, args=args)
        newest = self.cluster.read(progress)[-1]
        for behind in (lost - before["offset"] - 1, 0):  # none is where it was; it ends before that
            with self.subTest(behind=behind):
                self.lose_the_newest(progress, {**newest, "offset": before["offset"]}, behind)
                self.assertIn("marker-ahead", self.checked(backup, args))
                self.parks(backup, "marker-ahead", args=args)
                self.assertIn("10 events, up to seq 40", self.adopt(backup, status=4, args=args))
        self.adopt(backup, "trust-cluster", args=args)
        self.deliver(backup, self.topic(), 5, 1000, args=args)
        ids = [r["headers"]["x-event-id"] for r in self.cluster.read(self.topic())]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), {e.event_id for e in (*store.events, *backup.events)})
        backup.verify()

    def checked(self, store, args):
        argv = [rig.sidelogd(), "--store", str(store.path), "--brokers", self.cluster.brokers, "--check", *args]
        return rig.run(argv, expect=(4,)).stdout.decode()

    def follows(self, store, agent, args):
        words = self.adopt(store, status=4, args=args)
        self.assertIn("marker-missing", words)
        self.assertIn("Sent twice: up to 10 events", words)
        self.adopt(store, "trust-store", args=args)
        self.assertEqual(agent.drain(), 0, agent.log())
        store.verify()

    def test_a_broker_that_lacks_the_newest_marker(self):
        # A commit in doubt had happened, and who leads the progress topic now knows only the marker before it: cut
        # off while the others went on, or it lost its last records. The agent took that for an abort, and sent all
        # again.
        store, agent, progress, before, lost = self.in_doubt("event:committed")
        args = ("--set", f"progress.topic={progress}")
        forger = self.lose_the_newest(progress, before, 0)
        self.assertEqual(lost, before["offset"] + 2)
        self.assertIn("MARKER_BEHIND", self.checked(store, args))  # which writes nothing there itself
        agent.start()
        rig.wait_until("the agent to see it",
                       lambda: "MARKER_BEHIND" in agent.log() or store.stats()["pending"] == 0, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertEqual(len(self.cluster.read(self.topic())), 40, "each once")
        self.assertEqual(store.stats()["pending"], 10)
        # Other stores go on there: a record of theirs has its place. That was believed.
        forger.put_all([forger.put(progress, b"", key=b"another")])
        self.assertEqual(self.agent(forger).drain(), 0)
        self.assertIn("MARKER_LOST", self.checked(store, args))
        self.assertEqual(agent.drain(), 4, agent.log())
        self.assertIn("marker-missing", agent.log())
        self.assertIn(f"MARKER_LOST: {progress} [0] lost records", self.adopt(store, status=4, args=args))
        self.assertEqual(len(self.cluster.read(self.topic())), 40, "each once")
        self.follows(store, agent, args)

    def test_no_record_where_the_newest_marker_was(self):
        # The end of another's transaction has its place, which readers do not see. Compaction leaves the same
        # behind of one that was aborted, long ago; so the events tell which it was.
        for step, arrived in (("event:committed", True), *([("event:intended", False)] if rig.LONG else [])):
            with self.subTest(step):
                store, agent, progress, before, lost = self.in_doubt(step)
                args = ("--set", f"progress.topic={progress}")
                self.lose_the_newest(progress, before, lost - before["offset"] - 1)
                if arrived:
                    self.assertIn("MARKER_LOST", self.checked(store, args))
                    self.assertEqual(agent.drain(), 4, agent.log())
                    self.assertIn("has arrived", self.adopt(store, status=4, args=args))
                    self.assertEqual(len(self.cluster.read(self.topic())), 40, "each once")
                    self.follows(store, agent, args)
                else:
                    self.assertEqual(agent.drain(), 0, agent.log())
                    check.assert_exact(self, store, self.cluster)
                self.prefix = f"t{self.random.randrange(1 << 32):08x}."

    def test_another_cluster(self):
        store, topic = self.store(), self.topic()
        self.deliver(store, topic, 40)
        backup = self.copied(store)
        store.append_lines(rig.numbered(15, 40, rnd=self.random), topic=topic)
        other = rig.Cluster()
        self.addCleanup(other.down)
        self.parks(store, "foreign-cluster", cluster=other)
        words = self.adopt(store, status=4, cluster=other)
        self.assertIn("accept-cluster", words)
        self.assertIn("Never sent here: the 40 events", words)
        self.adopt(store, "accept-cluster", cluster=other)
        agent = self.agent(store, brokers=other.brokers)
        self.assertEqual(agent.drain(), 0, agent.log())
        records = other.read(topic)
        verdict = check.judge(store.events[40:], records, check.store_of(store.events, records),
                              store.everything())
        self.assertFalse(verdict.problems(), verdict.problems())
        self.assertEqual(store.stats()["delivered"], 55)
        store.verify()
        store.append_lines(rig.numbered(1, 55, rnd=self.random), topic=topic)
        self.parks(store, "foreign-cluster")  # now the first one is
        self.a_backup_of_before_the_move(backup, other)
        self.moved_before_anything_was_delivered(other)

    def a_backup_of_before_the_move(self, backup, other):
        # It counted on from its own last attempt, below the marker that it had been told to accept.
        def attempt():
            newest = other.read("__sidelog_progress")[-1]
            numbers = base64.b64decode(newest["value"])[1:5]  # version, seq, letters, attempt
            self.assertLess(max(numbers), 128)  # so small that each is its byte
            return numbers[3]

        before = attempt()
        backup.append_lines(rig.numbered(1, 5000, rnd=self.random), topic=self.topic())
        self.adopt(backup, "accept-cluster", cluster=other)
        agent = self.agent(backup, brokers=other.brokers)
        self.assertEqual(agent.drain(), 0, agent.log())
        self.assertGreater(attempt(), before + 1, "behind the claim")

    def moved_before_anything_was_delivered(self, other):
        # At least once it kept the first cluster in mind, and parked at its second start on the one it delivered
        # to.
        store, topic, args = self.store(), self.topic(), ("--set", "mode=at-least-once")
        agent = self.agent(store, *args, brokers=other.brokers).start()
        rig.wait_until("the agent to connect", lambda: "delivering" in agent.log(), 30)
        self.assertEqual(agent.terminate(), 0, agent.log())
        for start in (0, 10):
            self.deliver(store, topic, 10, start, args=args)
        store.append_lines(rig.numbered(1, 20, rnd=self.random), topic=topic)
        self.parks(store, "foreign-cluster", cluster=other, args=args)

    @unittest.skipUnless(rig.LONG, "each turn is a new producer: half a minute")
    def test_two_stores_with_one_transactional_id(self):
        # They fenced each other for ever, each in turn a little: nobody was told why it was so slow.
        args = ("--set", f"transactions.id={self.topic('shared')}")
        stores = [self.store() for _ in range(2)]
        topics = [self.topic() for _ in stores]
        agents = [self.agent(store, *args).start() for store in stores]
        for turn in range(200):
            for store, topic in zip(stores, topics):
                store.append_lines(rig.numbered(1, turn, rnd=self.random), topic=topic)
            if any("parked: shared-id" in agent.log() for agent in agents):
                break
            for store, agent in zip(stores, agents):
                rig.wait_until("it to be settled, or parked", lambda s=store, a=agent: s.stats()["pending"] == 0 or
                               "parked: shared-id" in a.log(), 60)
        parked = [i for i, agent in enumerate(agents) if "parked: shared-id" in agent.log()]
        self.assertEqual(len(parked), 1, agents[0].log()[-3000:])
        other = 1 - parked[0]
        self.assertIn("transactions.id", agents[parked[0]].log())
        self.assertEqual(stores[parked[0]].status()[1]["agent"]["report"]["parked"]["reason"], "shared-id")
        stores[other].wait_settled(60, agents[other])
        for agent in agents:
            self.assertEqual(agent.terminate(), 0, agent.log())
        agent = self.agent(stores[parked[0]])  # with an id of its own
        self.assertEqual(agent.drain(), 0, agent.log())
        for store, topic in zip(stores, topics):
            check.assert_exact(self, store, self.cluster)

    def test_beside_an_agent_it_refuses(self):
        store, topic = self.store(), self.topic()
        self.deliver(store, topic, 5)
        agent = self.agent(store).start()
        rig.wait_until("the agent to deliver", lambda: "delivering" in agent.log(), 30)
        self.assertIn("another agent", self.adopt(store, status=3))
        self.assertIn("another agent", self.adopt(store, "as-new", status=3))
        self.assertEqual(agent.terminate(), 0, agent.log())

    def test_nothing_to_decide_and_no_such_choice(self):
        store, topic = self.store(), self.topic()
        self.deliver(store, topic, 5)
        self.assertIn("nothing to decide", self.adopt(store))
        self.assertIn("nothing to decide", self.adopt(store, "trust-store"))
        self.assertIn("is no choice", self.adopt(store, "hope", status=2))
        self.deliver(store, topic, 5, 5)
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
