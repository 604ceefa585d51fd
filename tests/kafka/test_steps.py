"""The agent is killed at each step of a transaction, by name: of events with a dead one among them, of the dead one's
copy, of a replay. Whatever was half done, the next start finishes once."""
import base64
import json
import os

import check
import rig

STEPS = ("produce", "flush", "flushed", "intent", "intended", "commit", "asked", "committed", "settle", "settled")
SMALL = {"kafka": {"message.max.bytes": 3000}}  # what is larger is set aside by the client


def setUpModule():
    rig.Rig.cluster = rig.Cluster()


def tearDownModule():
    rig.Rig.cluster.down()


def poison(n):
    return json.dumps({"n": n, "correlation_id": f"k{n % 5}", "pad": "x" * 4000}).encode()


class Steps(rig.Rig):
    def killed_at(self, agent, kind, step):
        """From its start to the step."""
        killer = {"LD_PRELOAD": rig.tool("tests/kafka/libkiller.so"), "SIDELOG_KILL": f"{kind}:{step}"}
        agent.env = {**os.environ, **killer}
        agent.start()
        rig.wait_until(f"the agent to come to {kind}:{step}", lambda: not agent.running(), 30)
        self.assertEqual(agent.process.returncode, -9, agent.log())
        self.assertIsNone(check.law(agent.store.stats()), f"{kind}:{step}")
        agent.env = None

    def append(self, store, topic, turn):
        lines = rig.numbered(6, turn * 10, rnd=self.random)
        lines[self.random.randrange(6)] = poison(turn * 10)
        store.append_lines(lines, topic=topic)

    def settle(self, store, agent):
        agent.start()
        stats = store.wait_settled(60, agent)
        report = lambda: store.status()[1]["agent"]["report"] or {}
        copied = {"published": stats["dead"], "waiting": 0}
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
            for step in STEPS:
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
