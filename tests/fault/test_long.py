"""The fault programs that every run of the unit tests starts in small, at their full length."""
import os
import unittest

import rig

HOUR = 3600


@unittest.skipUnless(rig.LONG, "long")
class AtLength(unittest.TestCase):
    def whole(self, program, *options):
        env = {**os.environ, "SIDELOG_LONG": "1", "SIDELOG_SEED": str(rig.SEED)}
        done = rig.run([rig.tool(f"tests/fault/{program}"), *options], expect=(0, 77), seconds=HOUR, env=env)
        if done.returncode == 77:
            self.skipTest(done.stdout.decode().strip())

    def test_twenty_thousand_kills(self):
        self.whole("kills", "20000")

    def test_power_cuts_by_the_ten_thousand(self):
        self.whole("power", "40")

    def test_leaders_killed_in_small_steps(self):
        self.whole("leader")

    def test_every_write_flush_allocation_and_map(self):
        self.whole("sweep")

    def test_a_full_store_at_every_write_flush_and_allocation(self):
        self.whole("space_sweep")

    def test_a_repair_at_every_write_flush_and_allocation(self):
        self.whole("repair_sweep")

    def test_a_reader_at_every_write_flush_and_allocation(self):
        self.whole("reader_sweep")

    def test_a_reader_killed_at_any_moment(self):
        self.whole("reader_kills")

    def test_dead_letters_sent_again_and_dropped_at_every_write(self):
        self.whole("dead_sweep")

    def test_disks_that_fill_block_by_block(self):
        self.whole("full")


if __name__ == "__main__":
    unittest.main()
