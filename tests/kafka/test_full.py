"""A store that fills while its broker stands still, with drop-oldest for one topic, and the broker comes back."""
import base64
import collections
import unittest

import check
import rig

CHUNK, CHUNKS, SIZE = 400, 30, 1000  # about 15 MB into a quota of 6


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()
    rig.Rig.cluster = rig.Cluster(set=["transaction.abort.timed.out.transaction.cleanup.interval.ms=500"])


def tearDownModule():
    rig.Rig.cluster.down()


class DropOldest(rig.Rig):
    def append(self, store, metrics, orders, chunks):
        for _ in range(chunks):
            many = [store.put(metrics, self.random.randbytes(SIZE), key=b"m%d" % (i % 5)) for i in range(CHUNK)]
            store.put_all([store.put(orders, self.random.randbytes(40), key=b"o"), *many])

    def test_a_frozen_broker_costs_only_what_the_policy_gives_up(self):
        store, metrics, orders = self.store(), self.topic("metrics.v1"), self.topic("orders.v1")
        self.cluster.topic(metrics)
        self.cluster.topic(orders)
        store.call("append", "--quota", "6M", "--topic", orders, "-", stdin=b"first")
        store.call("full", "--drop-oldest", metrics)
        agent = self.agent(store)
        agent.start()
        self.append(store, metrics, orders, 1)
        store.wait_settled(60, agent)
        self.cluster.pause()
        try:
            self.append(store, metrics, orders, CHUNKS)  # every one of them is taken
            full = store.stats()
            named = store.query("--status", "dropped", "--limit", "20")
        finally:
            self.cluster.resume()
        self.assertIsNone(check.law(full))
        self.assertGreater(full["dropped_full"], 2000, full)
        self.assertTrue(named)
        self.assertEqual({e["error_class"] for e in named}, {"DROPPED_STORE_FULL"})
        self.append(store, metrics, orders, 1)
        stats = store.wait_settled(120, agent)
        self.assertTrue(agent.running())
        self.assertIsNone(check.law(stats))
        self.assertEqual(stats["appended"], len(store.events) + 1)
        self.assertEqual(stats["dropped"], stats["dropped_full"])

        ledger = {e.seq: e for e in store.events}
        times = collections.Counter()
        for r in self.cluster.read(metrics, orders):
            seq = int(r["headers"]["x-sidelog-seq"])
            if seq == 1:
                continue
            times[seq] += 1
            self.assertEqual(base64.b64decode(r["value"]), ledger[seq].value)
        self.assertEqual(set(times.values()), {1}, "nothing twice")
        lost = [seq for seq, e in ledger.items() if seq not in times]
        self.assertEqual({ledger[seq].topic for seq in lost}, {metrics}, "other topics are complete")
        self.assertEqual(len(lost), stats["dropped"], "what did not arrive is what the books call dropped")
        for seq, event in store.everything().items():
            if seq > 1:
                self.assertEqual(event["status"], "sent" if seq in times else "dropped")
        store.verify()


if __name__ == "__main__":
    unittest.main()
