"""Dead letters and replays on three brokers: the transaction's coordinator dies at each step of their commit;
topics are deleted and created again under load; rights, limits and passwords change as they do on one
broker."""
import json
import os
import pathlib
import signal
import sys
import threading
import types
import unittest

import check
import havoc
import rig

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import test_letters  # noqa: E402
import test_login  # noqa: E402
import test_rights  # noqa: E402

SMALL = {"kafka": {"message.max.bytes": 3000}, "refused_retry": "1s"}  # what is larger is set aside by the client


def poison(n):
    return json.dumps({"n": n, "correlation_id": f"k{n % 5}", "pad": "x" * 4000}).encode()


@unittest.skipUnless(rig.LONG, "long")
class Three(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(3)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def topic_tool(self, what, *topics):
        argv = [rig.tool("tests/kafka/ktopic"), "-b", self.cluster.brokers, what, *topics]
        return rig.run(argv, seconds=90).stdout.decode()

    def topics(self):
        return self.cluster.call("topics", "--list").split()

    def coordinator(self, store):
        return havoc.coordinator(types.SimpleNamespace(store=store, topic_tool=self.topic_tool))[1]

    def report(self, store):
        return store.status()[1]["agent"]["report"] or {}

    def dead(self, store):
        return [e["seq"] for e in store.query("--status", "dead")]

    def copied(self, store):
        return self.report(store).get("dead_letters") == {"published": len(self.dead(store)), "waiting": 0}

    def letters_at(self, topic):
        return sorted(int(c["headers"]["x-sidelog-seq"]) for c in self.cluster.read(f"{topic}.dlq"))

    def stopped_at(self, agent, step):
        """The agent runs from its start to the step, and stands still there."""
        agent.env = {**os.environ, "LD_PRELOAD": rig.tool("tests/kafka/libkiller.so"), "SIDELOG_KILL": step,
                     "SIDELOG_KILL_WITH": "STOP"}
        agent.start()
        about = pathlib.Path(f"/proc/{agent.process.pid}/stat")
        stands = lambda: about.read_text().rpartition(")")[2].split()[0] == "T"
        rig.wait_until(f"the agent to stand at {step}", stands, 60)

    def without_its_coordinator(self, store, agent, step, done):
        self.stopped_at(agent, step)
        which = self.coordinator(store)
        self.cluster.kill(which)
        os.kill(agent.process.pid, signal.SIGCONT)
        rig.wait_until(f"the end of what {step} interrupted", done, 120, 0.1)
        self.cluster.up(which)
        self.assertEqual(agent.terminate(60), 0, agent.log())
        self.assertIsNone(check.law(store.stats()), step)

    def test_the_coordinator_dies_in_the_commit(self):
        store, topic = self.store(), self.topic("evt.three.v1")
        self.cluster.topic(topic, 3)
        self.cluster.topic(f"{topic}.dlq", 1)
        steps = ("flush", "flushed", "intended", "commit", "asked", "committed")
        agent = self.agent(store, config=SMALL)
        for turn, step in enumerate(steps):
            lines = rig.numbered(20, turn * 30, rnd=self.random)
            lines[7] = poison(turn)
            store.append_lines(lines, topic=topic)
            self.without_its_coordinator(store, agent, f"letter:{step}",
                                         lambda: store.stats()["pending"] == 0 and self.copied(store))
            self.assertEqual(self.letters_at(topic), self.dead(store), "each letter once")
        dead = self.dead(store)
        self.assertEqual(len(dead), len(steps))
        check.assert_exact(self, store, self.cluster, [topic], gone=dead)
        mended = self.agent(store)
        for seq, step in zip(dead, steps):
            store.call("dlq", "replay", seq)
            left = store.stats()["dead"] - 1
            arrived = lambda left=left: store.stats()["dead"] == left
            self.without_its_coordinator(store, mended, f"replay:{step}", arrived)
        seen = [r["headers"]["x-event-id"] for r in self.cluster.read(topic)]
        self.assertEqual(sorted(seen), sorted(e.event_id for e in store.events), "each once")
        self.assertEqual(self.letters_at(topic), dead)
        store.verify()

    def test_topics_deleted_and_created_again_under_load(self):
        """First the events' topic, then the dead letters'. What a deleted topic held is gone with it, nothing
        else."""
        store, topic = self.store(), self.topic("evt.recreated.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, config=SMALL).start()
        enough, turns, trouble = threading.Event(), [], []

        def load():
            try:
                while not enough.wait(0.1):
                    turns.append(0)
                    lines = rig.numbered(30, len(turns) * 40, rnd=self.random)
                    store.append_lines([poison(len(turns)), *lines], topic=topic)
            except Exception as error:  # told below
                trouble.append(error)

        loader = threading.Thread(target=load)
        loader.start()
        marks = []
        try:
            for doomed in (topic, f"{topic}.dlq"):
                goal = len(turns) + 5
                rig.wait_until("some load", lambda goal=goal: len(turns) > goal or trouble, 60)
                self.topic_tool("delete", doomed)
                rig.wait_until("it to be there again", lambda doomed=doomed: doomed in self.topics(), 60)
                goal = len(turns) + 3
                rig.wait_until("some load", lambda goal=goal: len(turns) > goal or trouble, 60)
                marks.append(store.stats()["last_seq"])
        finally:
            enough.set()
            loader.join()
        self.assertEqual(trouble, [])
        store.append_lines([poison(0), *rig.numbered(30, rnd=self.random)], topic=topic)
        stats = store.wait_settled(120, agent)
        rig.wait_until("the copies", lambda: self.copied(store), 60)
        self.assertEqual(agent.terminate(60), 0, agent.log())
        self.assertIsNone(check.law(stats))
        guilty = [e.seq for e in store.events if len(e.value) > 4000]
        self.assertEqual(self.dead(store), guilty, "an innocent was harmed, or a guilty one was not")
        copies = self.letters_at(topic)
        self.assertEqual(copies, sorted(set(copies)), "none twice")
        self.assertEqual([s for s in copies if s > marks[1]], [s for s in guilty if s > marks[1]])
        last, seen = {}, []
        for record in self.cluster.read(topic):
            seq = int(record["headers"]["x-sidelog-seq"])
            seen.append(seq)
            place = record["partition"], record["key"]
            self.assertGreater(seq, last.get(place, 0), "in order within its key, once")
            last[place] = seq
        innocent = [e.seq for e in store.events if e.seq > marks[0] and e.seq not in set(guilty)]
        self.assertEqual(sorted(s for s in seen if s > marks[0]), innocent)
        store.verify()


class Guarded(test_rights.Rights, test_login.Login):
    """Brokers that hold to ACLs. Without --long one test each of rights, limits and credentials."""

    brokers = 3
    login = test_login.Passwords.login
    dead_of = test_letters.Letters.dead_of
    letters_of = test_letters.Letters.letters_of
    assert_copied_once = test_letters.Letters.assert_copied_once
    short = ("test_denied_topics_wait_in_lanes_and_drain_in_order", "test_a_limit_that_shrinks_under_load",
             "test_a_wrong_password_mended_by_sighup")

    def setUp(self):
        super().setUp()
        self.user = ()  # whom agents log in as that do not do it themselves
        if not rig.LONG and self._testMethodName not in self.short:
            self.skipTest("long")

    def agent(self, store, *args, **more):
        return super().agent(store, *self.user, *args, **more)

    def may_write(self, *topics):
        self.allow("Write", "Describe", "DescribeConfigs", "Create", topic=list(topics))

    def test_a_limit_that_shrinks_under_load(self):
        topic = self.topic("evt.shrunk.v1")
        self.user = test_rights.login("agent")
        self.may_write(topic, f"{topic}.dlq")
        test_letters.Letters.test_a_limit_that_shrinks_under_load(self)

    def test_a_wrong_password_mended_by_sighup(self):
        self.may_write(self.topic())
        test_login.Passwords.test_a_wrong_password_mended_by_sighup(self)

    def test_a_password_changed_at_the_brokers_under_load(self):
        self.may_write(self.topic())
        test_login.Passwords.test_a_password_changed_at_the_brokers_under_load(self)


if __name__ == "__main__":
    unittest.main()
