"""No request of a transaction is under way any more when the transaction is ended: the end, which goes by a
connection of its own, would overtake it, and what arrives behind the end may become valid with the next one."""
import signal
import unittest

import check
import links
import rig


class Holding(links.Links):
    """Holds the first request for one topic behind one for another."""

    before = behind = b"\0"
    armed = False

    def frame(self, pair, sink, key, frame):
        if key == links.PRODUCE and self.before in frame:
            self.armed = True
        elif key == links.PRODUCE and self.armed and self.behind in frame and not self.captured.is_set():
            self.hold_key = links.PRODUCE
        super().frame(pair, sink, key, frame)

    def hold_behind(self, before, behind):
        self.captured.clear()
        self.armed = False
        self.before, self.behind = before.encode(), behind.encode()


class Overtaken(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def refused_while_held(self, store, agent, proxy, poison, other, turn):
        """One event that the broker refuses, and another topic's, in one transaction. False: they went the
        other way round."""
        proxy.hold_behind(poison, other)
        agent.process.send_signal(signal.SIGSTOP)
        store.append_lines(rig.numbered(1, turn * 10, size=12000, rnd=self.random), topic=poison)
        store.append_lines(rig.numbered(3, turn * 10 + 1, rnd=self.random), topic=other)
        agent.process.send_signal(signal.SIGCONT)
        return proxy.captured.wait(5)

    def test_an_abort_waits_for_what_is_under_way(self):
        store, poison, other = self.store(), self.topic("evt.refused.v1"), self.topic("evt.beside.v1")
        self.cluster.topic(poison, 1)
        self.cluster.topic(other, 1)
        proxy = Holding()
        self.addCleanup(proxy.close)
        agent = self.agent(store, config={"kafka": {"compression.type": "none"}})
        agent.env = proxy.env()
        agent.start()
        store.append_lines(rig.numbered(1, rnd=self.random), topic=poison)
        store.append_lines(rig.numbered(1, 1, rnd=self.random), topic=other)
        store.wait_settled(30, agent)
        self.cluster.configure_topic(poison, max_message_bytes=3000)  # the agent knows another limit
        held = self.refused_while_held(store, agent, proxy, poison, other, 1)
        self.assertTrue(held, agent.log())
        ends = proxy.seen.get(links.END_TXN, 0)
        try:
            rig.wait_until("the end of the transaction", lambda: proxy.seen.get(links.END_TXN, 0) > ends, 3)
            overtaken = True
        except rig.Deadline:
            overtaken = False
        proxy.release()
        self.assertFalse(overtaken, "an EndTxn went out while a Produce request had no answer")
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["delivered"], stats["dead"]), (5, 1))
        self.assertEqual(agent.terminate(), 0, agent.log())
        dead = {d["seq"] for d in store.query("--status", "dead")}
        check.assert_exact(self, store, self.cluster, [poison, other], gone=dead)


if __name__ == "__main__":
    unittest.main()
