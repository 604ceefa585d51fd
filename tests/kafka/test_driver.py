"""The Kafka room without the agent, against a real broker: driver_check's scenarios, of which each says what
was wrong."""
import os
import unittest

import rig

ALWAYS = ("connect-and-topics", "bytes", "commit-and-abort", "fencing")
LONG = ("strangers", "lone-latency", "outage", "silence")


class Driver(unittest.TestCase):
    def run_scenarios(self, names, env=None, **options):
        cluster = rig.Cluster(**options)
        self.addCleanup(cluster.down)
        env = {**os.environ, "SIDELOG_BROKER_SH": str(rig.BROKER), **(env or {})}
        done = rig.run([rig.tool("tests/kafka/driver_check"), cluster.brokers, cluster.dir, *names], expect=(0, 1),
                       seconds=300, env=env)
        said = done.stdout.decode()
        self.assertEqual(done.returncode, 0, said + done.err)
        for name in names:
            self.assertIn(f"\nok {name} (", "\n" + said)

    def test_on_one_broker(self):
        self.run_scenarios(ALWAYS + LONG if rig.LONG else ALWAYS)

    @unittest.skipUnless(rig.LONG, "long")
    def test_rights(self):
        self.run_scenarios(("security",), {"SIDELOG_SASL": "1"}, sasl=True)


if __name__ == "__main__":
    unittest.main()
