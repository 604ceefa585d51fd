"""What befalls the agent's own host: names that do not resolve, a broker behind another address, a lid that was
closed."""
import os
import pathlib
import re
import subprocess
import time
import unittest

import check
import proxy
import rig

NAME = "kafka.test"


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


def may_mount():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


class Host(rig.Rig):
    """The broker is known by name alone; the agent has a hosts file of its own, in a mount namespace."""

    @classmethod
    def setUpClass(cls):
        cls.link = proxy.Proxy(host="127.0.0.2")
        cls.cluster = rig.Cluster(up=False, advertise=str(cls.link.port))
        path = pathlib.Path(cls.cluster.dir) / "broker-1" / "server.properties"
        text = path.read_text()
        path.write_text(text.replace("advertised.listeners=CLIENT://127.0.0.1:",
                                     f"advertised.listeners=CLIENT://{NAME}:"))
        cls.cluster.up()
        cls.link.to(cls.cluster.call("ports").split()[0])
        # The judge comes in by another door, which needs no name.
        cls.cluster.brokers = re.search(r"advertised.listeners=.*INTERNAL://(127.0.0.1:\d+)", text).group(1)

    @classmethod
    def tearDownClass(cls):
        cls.link.close()
        cls.cluster.down()

    def named_agent(self, store, *args):
        hosts, switch = store.side / "hosts", store.side / "nsswitch.conf"
        hosts.write_text("127.0.0.1 localhost\n")
        switch.write_text("hosts: files\n")
        agent = self.agent(store, *args, brokers=f"{NAME}:{self.link.port}")
        mounts = f'mount --bind "{hosts}" /etc/hosts && mount --bind "{switch}" /etc/nsswitch.conf && exec "$@"'
        agent.argv = ["unshare", "--mount", "sh", "-c", mounts, "sh", *agent.argv]
        return agent, hosts

    @unittest.skipUnless(may_mount(), "no right to a mount namespace")
    def test_names_that_do_not_resolve(self):
        store, topic = self.store(), self.topic()
        store.append_lines(rig.numbered(200, rnd=self.random), topic=topic)
        agent, hosts = self.named_agent(store)
        agent.start()
        rig.wait_until("the agent to say that it reaches nobody", lambda: "broker-unreachable" in agent.log(), 60)
        hosts.write_text(f"127.0.0.1 localhost\n127.0.0.2 {NAME}\n")
        store.wait_settled(60, agent)
        # It fails again under load, and the connections with it.
        store.append_lines(rig.numbered(2000, 200, rnd=self.random), topic=topic)
        hosts.write_text("127.0.0.1 localhost\n")
        self.link.cut()
        store.append_lines(rig.numbered(200, 2200, rnd=self.random), topic=topic)
        rig.wait_until("the agent to lose it", lambda: agent.log().count("broker-unreachable") >= 2, 60)
        self.assertTrue(agent.running())
        self.assertEqual(store.stats()["dead"], 0)
        hosts.write_text(f"127.0.0.1 localhost\n127.0.0.2 {NAME}\n")
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["dead"], stats["lanes"]), (0, 0))
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    @unittest.skipUnless(may_mount(), "no right to a mount namespace")
    def test_a_broker_that_moves_to_another_address(self):
        store, topic = self.store(), self.topic()
        agent, hosts = self.named_agent(store, *rig.txn_events(50))
        hosts.write_text(f"127.0.0.2 {NAME}\n")
        agent.start()
        store.append_lines(rig.numbered(3000, rnd=self.random), topic=topic)
        self.progress(store, agent, 300)
        moved = proxy.Proxy(host="127.0.0.3", port=self.link.port).to(self.link.target)
        self.addCleanup(moved.close)
        self.link.refuse = True
        try:
            hosts.write_text(f"127.0.0.3 {NAME}\n")
            self.link.cut()
            stats = store.wait_settled(60, agent)
        finally:
            self.link.refuse = False
        self.assertEqual((stats["dead"], stats["lanes"]), (0, 0))
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_host_that_sleeps(self):
        store, topic = self.store(), self.topic()
        slept = store.side / "slept"
        slept.write_text("0")
        agent = self.agent(store, *rig.txn_events(50))
        agent.argv = ["env", f"LD_PRELOAD={rig.BUILD / 'tests/kafka/libsleeper.so'}", f"SIDELOG_SLEPT={slept}",
                      *agent.argv]
        agent.start()

        def handles():
            report = store.status()[1]["agent"]["report"]
            return report["transactions"]["handles"] if report else 0

        store.append_lines(rig.numbered(3000, rnd=self.random), topic=topic)
        for nap in range(1, 4):
            self.progress(store, agent, 200)
            before = handles()
            slept.write_text(str(3600 * nap))
            rig.wait_until("it to notice",
                           lambda count=nap: agent.log().count("the host slept for 3600 s") == count, 30)
            rig.wait_until("new connections", lambda count=before: handles() > count, 30)
            store.append_lines(rig.numbered(200, 3000 + 200 * nap, rnd=self.random), topic=topic)
        stats = store.wait_settled(60, agent)
        self.assertEqual(stats["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    @unittest.skipUnless(rig.LONG, "long")
    def test_a_host_that_sleeps_while_the_queue_is_full(self):
        # No report comes from a dead connection: who waited for room waited for its timeout, a minute.
        store, topic = self.store(), self.topic()
        slept = store.side / "slept"
        slept.write_text("0")
        agent = self.agent(store, "--set", "transactions.queue=1MiB")
        agent.argv = ["env", f"LD_PRELOAD={rig.BUILD / 'tests/kafka/libsleeper.so'}", f"SIDELOG_SLEPT={slept}",
                      *agent.argv]
        agent.start()
        store.append_lines(rig.numbered(4000, size=2000, rnd=self.random), topic=topic)
        rig.wait_until("its transactions to be larger than the queue", lambda: store.delivered() >= 3000, 30)
        self.cluster.pause(1)
        self.addCleanup(self.cluster.resume, 1)
        store.append_lines(rig.numbered(2000, 4000, size=2000, rnd=self.random), topic=topic)
        used = lambda: pathlib.Path(f"/proc/{agent.process.pid}/stat").read_text().split()[13:15]
        rig.wait_until("it to wait", lambda: used() == (time.sleep(0.6), used())[1], 30)
        slept.write_text("3600")
        rig.wait_until("it to give the connection up", lambda: "RESUMED" in agent.log(), 10)
        self.cluster.resume(1)
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def skewed(self, store):
        """Of the agent and of who appends."""
        ahead = store.side / "ahead"
        ahead.write_text("7200")
        env = ["env", f"LD_PRELOAD={rig.BUILD / 'tests/kafka/libsleeper.so'}", f"SIDELOG_AHEAD={ahead}"]
        plain, store.argv = store.argv, lambda *args: [*env, *plain(*args)]
        return env, ahead

    def test_a_clock_two_hours_ahead_of_a_topic(self):
        # A topic may take no record from more than an hour ahead of its broker's clock. Each event became a dead
        # letter; now all wait, in order, for somebody to set the clock.
        store, topic, progress = self.store(), self.topic(), self.topic("progress")
        self.cluster.topic(topic, 3, message_timestamp_after_max_ms=3600000)
        self.cluster.topic(progress, 1, message_timestamp_after_max_ms=2**63 - 1, cleanup_policy="compact")
        env, ahead = self.skewed(store)
        agent = self.agent(store, "--set", "refused_retry=1s", "--set", f"progress.topic={progress}")
        agent.argv = [*env, *agent.argv]
        agent.start()
        store.append_lines(rig.numbered(30, rnd=self.random), topic=topic)
        rig.wait_until("the lane", lambda: store.stats()["lanes"] == 1 or store.stats()["dead"], 60)
        store.append_lines(rig.numbered(30, 30, rnd=self.random), topic=topic)
        stats = store.stats()
        self.assertEqual((stats["dead"], stats["delivered"], stats["pending"]), (0, 0, 60), agent.log())
        self.assertIn("INVALID_TIMESTAMP", agent.log())
        ahead.write_text("0")
        stats = store.wait_settled(60, agent)
        self.assertEqual((stats["dead"], stats["delivered"]), (0, 60))
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_clock_two_hours_ahead_of_all_topics(self):
        # As it is by default since Kafka 4. The progress topic refuses it first: the agent parks before it sends
        # an event.
        store, topic, progress = self.store(), self.topic(), self.topic("progress")
        for name, policy in ((topic, "delete"), (progress, "compact")):
            self.cluster.topic(name, 3, message_timestamp_after_max_ms=3600000, cleanup_policy=policy)
        env, ahead = self.skewed(store)
        agent = self.agent(store, "--set", "refused_retry=1s", "--set", f"progress.topic={progress}")
        agent.argv = [*env, *agent.argv]
        agent.start()
        store.append_lines(rig.numbered(30, rnd=self.random), topic=topic)
        rig.wait_until("the agent to park", lambda: "parked: refused" in agent.log(), 60)
        self.assertIn("clock", agent.log())
        self.assertEqual(store.stats()["pending"], 30)
        ahead.write_text("0")
        store.wait_settled(60, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
