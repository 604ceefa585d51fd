"""What the agent costs: memory, descriptors, processor time, the way of a lone event. The figures are told
(SIDELOG_FIGURES=FILE); only what does not depend on the machine's speed is judged."""
import os
import pathlib
import statistics
import time
import unittest

import check
import proxy
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


def descriptors(agent):
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


def written(agent):
    """Bytes the agent caused to be written so far."""
    text = pathlib.Path(f"/proc/{agent.process.pid}/io").read_text()
    return int(text.split("\nwrite_bytes:")[1].split()[0])


class Figures(rig.Rig):
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
        self.link.refuse = False

    def test_a_lone_event(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store).start()
        store.append(topic, b"first")
        store.wait_settled(agent=agent)
        count = 300 if rig.LONG else 40
        done = rig.run([rig.tool("tests/kafka/put"), str(store.path), "lone", str(count), topic], seconds=count)
        took = sorted(int(line) / 1000 for line in done.stdout.split())
        self.assertEqual(len(took), count)
        rig.figure(f"lone event, append to settled receipt: p50 {statistics.median(took):.1f} ms, "
                   f"p95 {took[int(count * 0.95)]:.1f} ms, max {took[-1]:.1f} ms ({count} events, through a proxy)")

    def test_idle_costs_next_to_nothing(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store).start()
        store.append(topic, b"first")
        store.wait_settled(agent=agent)
        rig.wait_until("the log to be written", lambda: "delivering" in agent.log())
        time.sleep(1)  # until it rests
        before, bytes_before, begun = agent.processor(), written(agent), time.monotonic()
        time.sleep(30 if rig.LONG else 8)  # the idle time is what is measured
        seconds = time.monotonic() - begun
        share = (agent.processor() - before) / seconds
        rig.figure(f"idle agent: {share * 100:.2f} % of a processor, {(written(agent) - bytes_before) / seconds / 1024:.1f} KiB/s "
                   f"written, {agent.memory():.1f} MiB resident, {descriptors(agent)} descriptors")
        self.assertLess(share, 0.03)

    def test_memory_while_a_backlog_drains(self):
        store, topic = self.store(), self.topic()
        count = 300_000 if rig.LONG else 60_000
        for start in range(0, count, 20_000):
            store.append_lines(rig.numbered(20_000, start, size=900, rnd=self.random), topic=topic)
        agent = self.agent(store)
        begun = time.monotonic()
        agent.start()
        goals = [count * part // 4 for part in (1, 2, 3, 4)]
        seen = []
        for goal in goals:
            rig.wait_until(f"{goal} delivered", lambda goal=goal: store.delivered() >= goal or not agent.running(),
                           240)
            self.assertTrue(agent.running(), agent.log())
            seen.append(agent.memory())
        most = agent.memory("VmHWM")
        anonymous = agent.memory("RssAnon")
        rig.figure(f"backlog of {count:,} events of 1 KB drained in {time.monotonic() - begun:.1f} s; resident at each quarter "
                   f"{', '.join(f'{m:.0f}' for m in seen)} MiB, at most {most:.0f} MiB, {anonymous:.0f} MiB of it not the store's file")
        self.assertEqual(agent.terminate(), 0, agent.log())

    def test_descriptors_and_memory_over_many_handles(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store, *rig.txn_events(40)).start()
        store.append_lines(rig.numbered(200, rnd=self.random), topic=topic)
        store.wait_settled(agent=agent)
        turns = 200 if rig.LONG else 30
        first = None
        for turn in range(turns):
            store.append_lines(rig.numbered(400, turn * 400, rnd=self.random), topic=topic)
            self.progress(store, agent, self.random.randrange(1, 200))
            self.link.cut()
            if turn == 4:
                store.wait_settled(60, agent)
                first = (descriptors(agent), agent.memory("RssAnon"))
        stats = store.wait_settled(60, agent)
        last = (descriptors(agent), agent.memory("RssAnon"))
        handles = agent.log().count(" delivering: ")
        rig.figure(f"{turns} cut connections, {handles} handles: descriptors {first[0]} -> {last[0]}, "
                   f"memory {first[1]:.1f} -> {last[1]:.1f} MiB")
        self.assertLessEqual(last[0], first[0] + 4)
        self.assertEqual(stats["dead"], 0)
        check.assert_exact(self, store, self.cluster)

    def test_memory_over_an_outage_with_producers(self):
        store, topic = self.store(), self.topic()
        agent = self.agent(store).start()
        store.append_lines(rig.numbered(2000, size=200, rnd=self.random), topic=topic)
        store.wait_settled(agent=agent)
        self.link.refuse = True
        self.link.cut()
        store.append_lines(rig.numbered(1000, size=200, rnd=self.random), topic=topic)
        rig.wait_until("the outage to be noticed", lambda: store.status()[0] == 4, 60, 0.2)
        before, cpu, begun = agent.memory("RssAnon"), agent.processor(), time.monotonic()
        turns = 60 if rig.LONG else 6
        for turn in range(turns):
            store.append_lines(rig.numbered(5000, turn * 5000, size=200, rnd=self.random), topic=topic)
            time.sleep(1)  # the outage goes on
        after, seconds = agent.memory("RssAnon"), time.monotonic() - begun
        rig.figure(f"outage of {seconds:.0f} s with {turns * 5000:,} events appended: memory {before:.1f} -> {after:.1f} MiB, "
                   f"{(agent.processor() - cpu) / seconds * 100:.1f} % of a processor, {descriptors(agent)} descriptors")
        self.assertLess(after, before + 16)
        self.link.refuse = False
        stats = store.wait_settled(90, agent)
        self.assertEqual(stats["dead"], 0)
        check.assert_exact(self, store, self.cluster)


if __name__ == "__main__":
    unittest.main()
