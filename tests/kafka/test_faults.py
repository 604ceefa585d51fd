"""Faults on a real broker. After each: nothing missing, nothing twice, no key out of order, the books in
balance."""
import threading
import time
import unittest

import check
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


class Looker(threading.Thread):
    """Asks for the books without a pause: they balance at every look."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store, self.over, self.looks, self.error = store, threading.Event(), 0, None
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                problem = check.law(self.store.stats())
                if problem:
                    raise AssertionError(f"at look {self.looks}: {problem}")
                self.looks += 1
        except Exception as error:  # told by the test, which joins
            self.error = error

    def finish(self, test):
        self.over.set()
        self.join(60)
        if self.error:
            raise self.error
        test.assertGreater(self.looks, 5)


class AgentKills(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def kill_again_and_again(self, kills, *args, at_least_once=False):
        store = self.store()
        topics = [self.topic(f"evt.{name}.v1") for name in ("orders", "stock")]
        agent = self.agent(store, *rig.txn_events(self.random.choice((40, 150, 400))), *args)
        feeder = rig.random.Random(self.seed)
        for turn in range(kills):
            store.append_lines(rig.numbered(feeder.randrange(200, 900), rnd=feeder), topic=feeder.choice(topics))
            before = store.stats()
            agent.start()
            if self.random.random() < 0.65:
                goal = before["delivered"] + self.random.randrange(1, max(2, before["pending"]))
                stats = rig.wait_until(f"{goal} delivered (turn {turn})",
                                       lambda goal=goal: self.look(store, agent, goal), 40)
                self.assertIsNone(check.law(stats))
            else:
                time.sleep(self.random.uniform(0, 0.6))  # a random moment, whatever the agent does just then
            agent.kill()
            self.assertIsNone(check.law(store.stats()))
        self.assertEqual(agent.drain(90), 0, agent.log())
        stats, _ = check.assert_exact(self, store, self.cluster, at_least_once=at_least_once)
        self.assertEqual(stats["dead"], 0)

    def look(self, store, agent, goal):
        self.assertTrue(agent.running(), agent.log()[-2000:])
        stats = store.stats()
        return stats if stats["delivered"] >= goal else None

    def test_twenty_kills_during_a_drain(self):
        self.kill_again_and_again(20)

    @unittest.skipUnless(rig.LONG, "long")
    def test_a_hundred_kills(self):
        self.kill_again_and_again(100)

    def test_kills_in_at_least_once(self):
        self.kill_again_and_again(60 if rig.LONG else 8, *rig.at_least_once(), at_least_once=True)

class BrokerFaults(rig.Rig):
    def new_cluster(self, *args, **options):
        cluster = rig.Cluster(*args, **options)
        self.addCleanup(cluster.down)
        self.cluster = cluster
        return cluster

    def test_a_broker_killed_and_restarted_during_a_drain(self):
        cluster = self.new_cluster()
        store = self.store()
        topics = [self.topic("evt.a.v1"), self.topic("evt.b.v1")]
        for topic in topics:
            store.append_lines(rig.numbered(6000, rnd=self.random), topic=topic)
        agent = self.agent(store, *rig.txn_events(100)).start()
        looker = Looker(store)
        for fault in (cluster.kill, cluster.stop, cluster.kill):
            self.progress(store, agent, self.random.randrange(50, 800))
            fault(1)
            store.append_lines(rig.numbered(100, rnd=self.random), topic=topics[0])
            self.assertIsNone(check.law(store.stats()))
            cluster.up(1)
        stats = store.wait_settled(120, agent)
        looker.finish(self)
        self.assertEqual(stats["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, cluster)

    def test_at_least_once_with_a_broker_killed(self):
        cluster = self.new_cluster()
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(5000, rnd=self.random), topic=topic)
        agent = self.agent(store, *rig.txn_events(100), *rig.at_least_once()).start()
        self.progress(store, agent, self.random.randrange(50, 800))
        cluster.kill(1)
        store.append_lines(rig.numbered(500, 5000, rnd=self.random), topic=topic)
        cluster.up(1)
        stats = store.wait_settled(120, agent)
        self.assertEqual(stats["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, cluster, at_least_once=True)

    def test_an_outage_from_the_start(self):
        cluster = self.new_cluster(up=False)
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(1000, rnd=self.random), topic=topic)
        agent = self.agent(store).start()
        rig.wait_until("the agent to report the outage", lambda: self.unreachable(store), 30, 0.1)
        store.append_lines(rig.numbered(1000, 1000, rnd=self.random), topic=topic)
        code, _ = store.status()
        self.assertEqual(code, 4, "status must not be well in an outage")
        self.assertEqual(len(store.query("--topic", topic, "--status", "pending", "-n", "5")), 5)
        if rig.LONG:
            time.sleep(60)  # the length of the outage is what is tested
        cluster.up()
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["dead"], stats["delivered"]), (0, 2000))
        check.assert_exact(self, store, cluster)
        self.assertEqual(store.status()[0], 0)
        cluster.kill()  # with nothing to send: all was said to be well, until there was
        rig.wait_until("the agent to report this one too", lambda: self.unreachable(store), 20, 0.1)
        self.assertIn(b"unreachable for", store.call("status", expect=(4,)).stdout)

    def unreachable(self, store):
        code, status = store.status()
        return code == 4 and "127.0.0.1" in str(status)

    def test_drain_gives_up_at_its_timeout(self):
        cluster = self.new_cluster(up=False)
        store, topic = self.store(), self.topic()
        store.append(topic, b"waits")
        agent = self.agent(store)
        begun = time.monotonic()
        self.assertEqual(agent.drain(3), 5, agent.log())
        self.assertLess(time.monotonic() - begun, 15)
        self.assertEqual(store.stats()["pending"], 1)
        cluster.up()
        self.assertEqual(agent.drain(60), 0, agent.log())
        check.assert_exact(self, store, cluster)

    def test_sigterm_while_the_broker_is_away(self):
        cluster = self.new_cluster()
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(4000, rnd=self.random), topic=topic)
        agent = self.agent(store, *rig.txn_events(100)).start()
        self.progress(store, agent, 100)
        cluster.pause(1)
        store.append_lines(rig.numbered(200, rnd=self.random), topic=topic)
        rig.wait_until("the broker to be silent",
                       lambda: store.delivered() == (time.sleep(0.5), store.delivered())[1])
        begun = time.monotonic()
        agent.terminate(40)
        self.assertLess(time.monotonic() - begun, 8, "a silent broker takes the whole shutdown_timeout of 10 s")
        cluster.resume(1)
        self.assertEqual(agent.drain(90), 0, agent.log())
        check.assert_exact(self, store, cluster)


if __name__ == "__main__":
    unittest.main()
