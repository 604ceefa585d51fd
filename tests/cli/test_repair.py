"""verify of a store that kills its reader, and repair: what people do with a damaged store, end to end."""
import json
import pathlib
import re
import shutil
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Damaged(cli.Case):
    def data(self, store, part="log"):
        return store.path / part / "data.mdb"

    def change(self, store, what, by, part="log"):
        """Each place that holds `what`: pages of older transactions hold copies."""
        path = self.data(store, part)
        bytes_ = path.read_bytes()
        self.assertIn(what, bytes_)
        path.write_bytes(bytes_.replace(what, by))

    def repair(self, store, *args, expect=(0,)):
        self.into = store.side / "repaired"
        done = rig.run([rig.sidelog(), "--store", store.path, "repair", "--into", self.into, *args], expect=expect,
                       env=cli.environment())
        return done

    def mended(self):
        return rig.run([rig.sidelog(), "--store", self.into, "verify"], env=cli.environment())

    def test_a_store_that_kills_its_reader(self):
        store = self.told()
        path = self.data(store)
        bytes_ = bytearray(path.read_bytes())
        # LMDB believes the length of an entry, also 15 MB more than there are: flags 0, a key of 8 bytes, seq 3
        for node in re.finditer(re.escape(struct.pack("<HHQ", 0, 8, 3)), bytes(bytes_)):
            at, more = node.start() - 4, 15 << 20
            struct.pack_into("<I", bytes_, at, struct.unpack_from("<I", bytes_, at)[0] + more)
            length = node.end() + 36
            struct.pack_into("<I", bytes_, length, struct.unpack_from("<I", bytes_, length)[0] + more)
        path.write_bytes(bytes_)
        path.open("r+b").truncate(len(bytes_.rstrip(b"\0")) + 4096 & ~4095)
        done = store.call("verify", expect=(4,))
        self.assertRegex(done.err, "ended with signal|checksum|damaged")
        self.assertNotIn("Traceback", done.err)
        self.repair(store, expect=(4,))
        self.mended()

    def test_what_is_lost_is_said(self):
        store = self.told()
        self.change(store, b'"n":2}', b'"n":9}')
        self.change(store, b'"n":6}', b'"n":9}')
        store.call("verify", expect=(4,))
        before = self.data(store).read_bytes()
        done = self.repair(store, expect=(4,))
        out = done.stdout.decode()
        self.assertRegex(out, r"lost-settled +event 3: its record fails its checksum")
        self.assertRegex(out, r"lost-pending +event 7: its record fails its checksum")
        self.assertRegex(out, r"events kept +5\b")
        self.assertEqual(self.data(store).read_bytes(), before, "the damaged store is not touched")
        self.assertIn(b"sound", self.mended().stdout)
        shutil.rmtree(self.into)
        lines = [json.loads(line) for line in self.repair(store, "--json", expect=(4,)).stdout.splitlines()]
        self.assertEqual([(x["finding"], x["first_seq"], x["last_seq"]) for x in lines[:-1]],
                         [("lost-settled", 3, 3), ("lost-pending", 7, 7)])
        self.assertEqual({k: lines[-1][k]
                          for k in ("events", "lost_pending", "lost_settled", "delivery_kept", "last_seq")},
                         {"events": 5, "lost_pending": 1, "lost_settled": 1, "delivery_kept": True, "last_seq": 7})

    def test_the_rest_is_as_it_was(self):
        store = self.told()
        whole = [json.loads(line) for line in store.call("export").stdout.splitlines()]
        shutil.rmtree(store.path / "index")
        self.assertIn(b"repaired into", self.repair(store).stdout)
        done = rig.run([rig.sidelog(), "--store", self.into, "export"], env=cli.environment())
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], whole)

    def test_a_lost_delivery_state(self):
        store = self.told()
        shutil.rmtree(store.path / "delivery")
        store.call("stats", expect=(3,))
        done = self.repair(store, expect=(3,))
        self.assertIn("--delivery none", done.err)
        self.assertFalse(self.into.exists())
        done = self.repair(store, "--delivery", "none")
        self.assertIn(b"sent again", done.stdout)
        stats = json.loads(rig.run([rig.sidelog(), "--store", self.into, "stats", "--json"],
                                   env=cli.environment()).stdout)
        self.assertEqual((stats["pending"], stats["delivered"], stats["balanced"]), (7, 0, True))

    def test_mistakes(self):
        store = self.told()
        self.assertIn("--into", store.call("repair", expect=(2,)).err)
        self.assertIn("some",
                      store.call("repair", "--into", store.side / "x", "--delivery", "some", expect=(2,)).err)
        self.assertIn("exists", store.call("repair", "--into", store.path, expect=(2, 3)).err)
        self.assertIn("data.mdb",
                      rig.run([rig.sidelog(), "--store", store.side, "repair", "--into", store.side / "x"],
                              expect=(3,), env=cli.environment()).err)


if __name__ == "__main__":
    unittest.main()
