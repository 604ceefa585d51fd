"""tests/reliability.py at a length for every run: each kind of fault once on one broker, those of a cluster on
three of the older Kafka line. With --long more often, all of them on both, without transactions, and beside
consumers with aiokafka."""
import json
import os
import subprocess
import sys
import unittest

import rig

SCRIPT = rig.ROOT / "tests" / "reliability.py"
CLUSTER = "coordinator-killed,coordinator-moved,every-broker-killed"


class Reliability(unittest.TestCase):
    def prove(self, *args, program=SCRIPT):
        result = rig.Store()  # for its folder
        self.addCleanup(result.remove)
        path = result.side / "result.json"
        argv = [sys.executable, str(program), *map(str, args), "--json", str(path)]
        if program == SCRIPT:
            argv += ["--seed", str(rig.SEED)]
        env = {**os.environ, "SIDELOG_BUILD": str(rig.BUILD)}
        done = subprocess.run(rig.dying_with_us(argv), capture_output=True, stdin=subprocess.DEVNULL, env=env,
                              check=False)
        words = (done.stdout + done.stderr).decode()
        self.assertEqual(done.returncode, 0, words[-6000:])
        told = json.loads(path.read_text())
        self.assertEqual(told["violations"], [])
        self.assertGreater(told["events"]["appended"], 1000)
        return told

    def faults(self, *args):
        told = self.prove(*args)
        events = told["events"]
        self.assertEqual(events["duplicates"], 0)
        self.assertEqual(events["seen"], events["appended"] - events["gone_with_their_topic"])
        self.assertGreater(told["looks_at_the_law"], 20)
        self.assertLess(told["longest_pause_between_tries_s"], 10, "an agent tries again within two seconds or so")
        for what, took in told["resumed_after"].items():
            rig.figure(f"delivery resumed after {what}: {took['p50_s']} s, at most {took['max_s']} s ({took['count']} times)")
        return told

    def test_every_kind_of_fault(self):
        told = self.faults("--each", 4 if rig.LONG else 1)
        missing = set(told["not_possible_here"]) - set(CLUSTER.split(","))
        self.assertLessEqual(missing, {"disk-full"}, "that one needs the right to mount")
        for what in ("commits held", "commits sent again", "zombies", "stores restored",
                     "transactional ids expired", "topics deleted", "transactions given up by the brokers"):
            self.assertGreater(told["what_happened"].get(what, 0), 0, what)
        self.assertGreater(told["true_receipts"], 1000)

    def test_faults_of_three_brokers(self):
        told = self.faults("--brokers", 3, "--each", 1,
                           *(() if rig.LONG else ("--only", CLUSTER, "--kafka", "3.9.1")))
        self.assertGreater(told["what_happened"]["coordinators moved"], 1)

    @unittest.skipUnless(rig.LONG, "long")
    def test_the_older_broker(self):
        self.faults("--kafka", "3.9.1", "--each", 2)
        self.faults("--kafka", "3.9.1", "--brokers", 3, "--each", 1)

    @unittest.skipUnless(rig.LONG, "long")
    def test_a_cluster_known_by_its_address(self):
        cluster = rig.Cluster()
        self.addCleanup(cluster.down)
        self.faults("--brokers-at", cluster.brokers, "--each", 1)
        left = cluster.call("topics", "--list").split()
        self.assertEqual([name for name in left if not name.startswith("__")], [],
                         "it leaves the cluster as it was")

    @unittest.skipUnless(rig.LONG, "long")
    def test_without_transactions(self):
        told = self.prove("--mode", "at-least-once", "--each", 3)
        self.assertGreater(told["events"]["duplicates"], 0, "then the other mode proves nothing either")

    @unittest.skipUnless(rig.LONG, "long")
    def test_consumers_with_aiokafka(self):
        told = self.prove("--each", 1, "--aiokafka")
        if not told["readers"]:
            self.skipTest("aiokafka could not be fetched")
        by_default, committed = told["readers"]["aiokafka with its defaults"], told["readers"]["aiokafka read_committed"]
        self.assertGreater(by_default["repeats"], 0)
        self.assertEqual((committed["repeats"], committed["missing"], committed["out of order"]), (0, 0, 0))

    @unittest.skipUnless(rig.LONG, "long")
    def test_an_outage(self):
        told = self.prove("--minutes", 2, program=SCRIPT.with_name("outage.py"))
        self.assertLess(told["memory_most"]["RssAnon"], 64)
        rig.figure(f"after 2 minutes without a broker the first event arrived in {told['first_event_after_s']} s, "
                   f"all {told['events_appended_meanwhile']} in {told['all_drained_after_s']} s")


if __name__ == "__main__":
    unittest.main()
