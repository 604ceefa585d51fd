"""What the network does: links that are cut, fall silent, lose answers or are slow. The judge is the same as
ever."""
import time
import unittest

import check
import proxy
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


class Link(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.link = proxy.Proxy()
        cls.cluster = rig.Cluster(advertise=str(cls.link.port))
        cls.link.to(cls.cluster.call("ports").split()[0])

    @classmethod
    def tearDownClass(cls):
        cls.link.close()
        cls.cluster.down()

    def tearDown(self):
        self.link.rate, self.link.refuse, self.link.delay = 0, False, 0
        self.link.cut()
        self.link.hold_requests = self.link.hold_answers = False

    def filled(self, count, *args, size=60):
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(count, size=size, rnd=self.random), topic=topic)
        return store, topic, self.agent(store, *args).start()

    def test_answers_lost_with_the_agent(self):
        # The broker does what it is asked, the answer never arrives, the agent dies: was that commit done?
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(50))
        for turn in range(8):
            store.append_lines(rig.numbered(400, turn * 400, rnd=self.random), topic=topic)
            agent.start()
            self.progress(store, agent, self.random.randrange(1, 200))
            self.link.hold_answers = True
            time.sleep(self.random.uniform(0.02, 0.2))  # as many requests as fit go out unanswered
            agent.kill()
            self.link.cut()
            self.link.hold_answers = False
        self.assertEqual(agent.drain(90), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_answers_lost_and_connections_cut(self):
        # The same with an agent that lives: it must find out, not send again.
        store, _, agent = self.filled(4000, *rig.txn_events(50))
        for _ in range(8):
            self.progress(store, agent, self.random.randrange(1, 200))
            self.link.hold_answers = True
            time.sleep(self.random.uniform(0.02, 0.3))  # as many requests as fit go out unanswered
            self.link.cut()
            self.link.hold_answers = False
        store.wait_settled(120, agent)
        self.assertEqual(store.stats()["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_slow_link_still_delivers(self):
        # 1.8 MB that does not compress, at a rate that no transaction of all of it could keep up with.
        self.link.rate = 60_000 if rig.LONG else 200_000
        store, _, agent = self.filled(1800, size=1000)
        store.wait_settled(240 if rig.LONG else 60, agent)
        self.assertEqual(store.stats()["dead"], 0)
        self.link.rate = 0
        check.assert_exact(self, store, self.cluster)

    def test_long_round_trips(self):
        # As over a satellite: longer than the agent first waits for a broker's answer, and five of them a third of
        # what a transaction may take. So it may take longer, from the first one on.
        self.link.delay = 1.0 if rig.LONG else 0.4
        self.link.cut()
        store, _, agent = self.filled(300, "--set", "transactions.timeout=8s")
        store.wait_settled(120, agent)
        self.assertEqual(store.stats()["dead"], 0)
        report = store.status()[1]["agent"]["report"]["transactions"]
        self.assertEqual((report["handles"], report["aborted"]), (2, 0), agent.log())
        self.link.delay = 0
        self.link.cut()
        check.assert_exact(self, store, self.cluster)

    @unittest.skipUnless(rig.LONG, "long")
    def test_a_link_that_is_cut_all_the_time(self):
        # Batches of a megabyte would take longer to cross than any of its connections lives.
        self.link.rate, self.link.delay = 128_000, 0.1
        self.link.cut()
        before = self.link.carried[0]
        store, _, agent = self.filled(3000, size=1000)
        until = time.monotonic() + 120
        while store.delivered() < 3000 and time.monotonic() < until:
            time.sleep(self.random.uniform(2, 5))
            self.link.cut()
        store.wait_settled(1, agent)
        self.assertLess(self.link.carried[0] - before, 3000 * 1000 * 1.7, agent.log())  # with headers and all: little in vain
        self.assertEqual(store.stats()["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.link.rate = self.link.delay = 0
        self.link.cut()
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
