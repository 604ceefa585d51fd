"""The agent is killed at each step of a transaction, by name: of events with a dead one among them, of the dead
one's copy, of a replay; in an abort of each; while it writes at its start what became of the one before.
Whatever was half done, the next start finishes once. In at-least-once mode it finishes, and may say things
twice."""
import base64
import json
import os

import check
import rig

STEPS = ("produce", "flush", "flushed", "intent", "intended", "commit", "asked", "committed", "settle", "settled")
ABORT = ("abort", "aborting", "aborted")
UNMARKED = STEPS[:5]  # at least once there is no commit
SMALL = {"kafka": {"message.max.bytes": 3000}}  # what is larger is set aside by the client


def setUpModule():
    rig.Rig.cluster = rig.Cluster()


def tearDownModule():
    rig.Rig.cluster.down()


def poison(n):
    return json.dumps({"n": n, "correlation_id": f"k{n % 5}", "pad": "x" * 4000}).encode()


class Steps(rig.Rig):
    def killed_at(self, agent, kind, step, seconds=30, turn=1, meanwhile=None):
        """From its start to the step, in its n-th turn."""
        killer = {"LD_PRELOAD": rig.tool("tests/kafka/libkiller.so"), "SIDELOG_KILL": f"{kind}:{step}"}
        if turn > 1:
            killer["SIDELOG_KILL_TURN"] = str(turn)
        agent.env = {**os.environ, **killer}
        agent.start()
        if meanwhile:
            meanwhile()
        rig.wait_until(f"the agent to come to {kind}:{step}", lambda: not agent.running(), seconds)
        self.assertEqual(agent.process.returncode, -9, agent.log())
        self.assertIsNone(check.law(agent.store.stats()), f"{kind}:{step}")
        agent.env = None

    def append(self, store, topic, turn):
        lines = rig.numbered(6, turn * 10, rnd=self.random)
        lines[self.random.randrange(6)] = poison(turn * 10)
        store.append_lines(lines, topic=topic)

    def settle(self, store, agent, again=0):
        """`again`: so many letters more than there are dead, of replays that were refused."""
        agent.start()
        stats = store.wait_settled(60, agent)
        report = lambda: store.status()[1]["agent"]["report"] or {}
        copied = {"published": stats["dead"] + again, "waiting": 0}
        rig.wait_until("the copies", lambda: report().get("dead_letters") == copied, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertIsNone(check.law(stats))

    def assert_letters(self, topic, seqs):
        copies = sorted(int(c["headers"]["x-sidelog-seq"]) for c in self.cluster.read(f"{topic}.dlq"))
        self.assertEqual(copies, sorted(seqs), "each letter once")

    def test_events_and_their_letters(self):
        store, topic = self.store(), self.topic("evt.steps.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, config=SMALL)
        turn = 0
        for kind in ("event", "letter"):
            for step in STEPS if rig.LONG or kind == "event" else self.random.sample(STEPS, 7):
                self.append(store, topic, turn := turn + 1)
                self.killed_at(agent, kind, step)
                if rig.LONG:
                    self.settle(store, agent)
                    self.assert_letters(topic, [e["seq"] for e in store.query("--status", "dead")])
            self.settle(store, agent)
            dead = [e["seq"] for e in store.query("--status", "dead")]
            self.assertEqual(len(dead), turn)
            self.assert_letters(topic, dead)
            check.assert_exact(self, store, self.cluster, [topic], gone=dead)

    def test_a_lone_event_and_its_letter_in_one_transaction(self):
        """Once the agent knows the dead-letter topic, a lone event that fails goes there with its verdict: both
        or neither."""
        store, topic = self.store(), self.topic("evt.lone.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, config=SMALL)
        fail = lambda: store.append_lines([poison(len(store.events))], topic=topic)
        published = lambda: ((store.status()[1]["agent"]["report"] or {}).get("dead_letters")
                             or {}).get("published")

        def fail_when_the_first_is_there():
            rig.wait_until("the first copy", lambda: published() == len(store.events), 30)
            fail()
        steps = STEPS if rig.LONG else self.random.sample(STEPS, 2)
        for turn, step in enumerate(steps):
            fail()
            self.killed_at(agent, "letter", step, turn=2, meanwhile=fail_when_the_first_is_there)
            self.assertEqual(store.stats()["pending"], step != "settled",
                             f"{step}: its verdict has not been settled before")
        self.settle(store, agent)
        dead = [e["seq"] for e in store.query("--status", "dead")]
        self.assertEqual(len(dead), 2 * len(steps))
        self.assert_letters(topic, dead)
        store.verify()

    def test_replays(self):
        store, topic = self.store(), self.topic("evt.again.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        lines = rig.numbered(3 * len(STEPS) + 3, rnd=self.random)
        store.append_lines([poison(n) if n % 3 == 0 else line for n, line in enumerate(lines)], topic=topic)
        self.settle(store, self.agent(store, config=SMALL))
        dead = [e["seq"] for e in store.query("--status", "dead")]
        self.assertEqual(len(dead), len(STEPS) + 1)
        mended = self.agent(store)
        for seq, step in zip(dead, STEPS):
            store.call("dlq", "replay", seq)
            self.killed_at(mended, "replay", step)
        store.call("dlq", "replay", dead[-1])
        mended.start()
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(mended.terminate(), 0, mended.log())
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["appended"], stats["delivered"]), (len(store.events), len(store.events)))
        by_id, newest = {e.event_id: e for e in store.events}, {}
        records = self.cluster.read(topic)
        self.assertEqual(sorted(r["headers"]["x-event-id"] for r in records), sorted(by_id), "each once")
        for record in records:
            event = by_id[record["headers"]["x-event-id"]]
            self.assertEqual(base64.b64decode(record["value"]), event.value)
            seq = int(record["headers"]["x-sidelog-seq"])
            self.assertGreater(seq, newest.get((record["partition"], record["key"]), 0), "in order within its key")
            newest[record["partition"], record["key"]] = seq
        self.assert_letters(topic, dead)
        store.verify()

    def test_the_next_start_is_killed_too(self):
        """One was killed before its commit, and one behind it: what the next writes of that is an abandoned
        attempt, and a settled one."""
        store, topic = self.store(), self.topic("evt.start.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, config=SMALL)
        self.append(store, topic, 0)
        self.settle(store, agent)
        with self.assertRaises(rig.Deadline, msg="nothing is written where nothing was left"):
            self.killed_at(agent, "start", "note", seconds=3)
        agent.kill()
        halves = [(kind, half, step) for kind in ("event", "letter") for half in ("commit", "committed")
                  for step in ("note", "noted")]
        for turn, (kind, half, step) in enumerate(halves if rig.LONG else self.random.sample(halves, 3), 1):
            self.append(store, topic, turn)
            self.killed_at(agent, kind, half)
            self.killed_at(agent, "start", step)
            self.settle(store, agent)
            dead = [e["seq"] for e in store.query("--status", "dead")]
            self.assertEqual(len(dead), turn + 1)
            self.assert_letters(topic, dead)
        check.assert_exact(self, store, self.cluster, [topic], gone=dead)

    def test_aborts(self):
        """What only the broker refuses is aborted: an event, its copy (nor does the dead-letter topic take it),
        a replay."""
        store, topic = self.store(), self.topic("evt.abort.v1")
        self.cluster.topic(topic, 2, max_message_bytes=3000)
        self.cluster.topic(f"{topic}.dlq", 1, max_message_bytes=100)
        agent = self.agent(store)
        dead = lambda: [e["seq"] for e in store.query("--status", "dead")]
        steps = ABORT if rig.LONG else [self.random.choice(ABORT)]
        for turn, step in enumerate(steps):
            lines = rig.numbered(6, turn * 10, rnd=self.random)
            lines[self.random.randrange(6)] = rig.numbered(1, turn * 10, size=12000, rnd=self.random)[0]
            store.append_lines(lines, topic=topic)
            self.killed_at(agent, "event", step)
            self.killed_at(agent, "letter", step if rig.LONG else self.random.choice(ABORT))
        store.wait_settled(60, agent.start())
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertEqual(len(dead()), len(steps))
        for seq, step in zip(dead(), steps):
            store.call("dlq", "replay", seq)
            self.killed_at(agent, "replay", step)
        self.cluster.configure_topic(f"{topic}.dlq", max_message_bytes=1000000)
        self.settle(store, agent, len(steps))
        self.assertEqual(store.stats()["dead"], len(steps), "the replays were refused, too")
        check.assert_exact(self, store, self.cluster, [topic], gone=dead())
        copies = [c["headers"]["x-sidelog-seq"] for c in self.cluster.read(f"{topic}.dlq")]
        self.assertEqual(len(set(copies)), len(copies), "each letter once")
        self.cluster.configure_topic(topic, max_message_bytes=1000000)
        store.call("dlq", "replay", "--all")
        agent.start()
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertIsNone(check.law(store.stats()))
        seen = [r["headers"]["x-event-id"] for r in self.cluster.read(topic)]
        self.assertEqual(sorted(seen), sorted(e.event_id for e in store.events), "each once")
        store.verify()

    def test_at_least_once(self):
        store, topic = self.store(), self.topic("evt.least.v1")
        self.cluster.topic(topic, 2)
        self.cluster.topic(f"{topic}.dlq", 1)
        agent = self.agent(store, *rig.at_least_once(), config=SMALL)
        few = UNMARKED if rig.LONG else self.random.sample(UNMARKED, 2)
        kinds = [(kind, step) for kind in ("event", "letter") for step in few]
        for turn, (kind, step) in enumerate(kinds):
            self.append(store, topic, turn)
            self.killed_at(agent, kind, step)
        self.settle(store, agent)
        dead = [e["seq"] for e in store.query("--status", "dead")]
        self.assertEqual(len(dead), len(kinds))
        copies = {int(c["headers"]["x-sidelog-seq"]) for c in self.cluster.read(f"{topic}.dlq")}
        self.assertEqual(copies, set(dead), "each letter")
        check.assert_exact(self, store, self.cluster, [topic], gone=dead, at_least_once=True)
        mended = self.agent(store, *rig.at_least_once())
        for seq, step in zip(dead, few):
            store.call("dlq", "replay", seq)
            self.killed_at(mended, "replay", step)
        store.call("dlq", "replay", "--all", expect=(0, 6))  # some may be on their way
        mended.start()
        rig.wait_until("the replays to arrive", lambda: store.stats()["dead"] == 0, 60)
        self.assertEqual(mended.terminate(), 0, mended.log())
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["appended"], stats["delivered"]), (len(store.events), len(store.events)))
        seen = {r["headers"]["x-event-id"] for r in self.cluster.read(topic)}
        self.assertEqual(seen, {e.event_id for e in store.events})
        store.verify()
