"""A store as format 1 wrote it, kept as it was: what it says, and that one goes on with it. docs/disk-format.md
tells what is in it. The archive never changes; a later version must open it, or be a new format that says
what to do."""
import json
import pathlib
import shutil
import sys
import tarfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

GOLDEN = rig.ROOT / "tests" / "golden"
CORRELATION = "0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f"


class Format1(cli.Case):
    def golden_store(self):
        store = self.store()
        with tarfile.open(GOLDEN / "store-1.tar.gz") as archive:
            archive.extractall(store.side)
        return store

    def check_books(self, store):
        stats = store.stats()
        known = dict(appended=13, delivered=6, duplicates=1, dead=1, dropped=1, pending=4, balanced=True,
                     first_seq=3, last_seq=13,
                     kept=11, trimmed=2, delivery_seq=10, lanes=1, bytes_quota=4 << 20)
        self.assertEqual({k: stats[k] for k in known}, known)
        return stats

    def test_what_it_says(self):
        store = self.golden_store()
        stats = self.check_books(store)
        self.assertEqual(stats["indexed_seq"], 0)  # its index is of layout 1: it is built anew
        self.assertEqual(store.call("export").stdout, (GOLDEN / "store-1.jsonl").read_bytes())
        seqs = [e["seq"] for e in store.lines("query", "--correlation", CORRELATION)]
        self.assertEqual(seqs, [3, 4, 5, 10, 12])
        self.assertEqual([e["seq"] for e in store.lines("query", "--causation", "0190a6c2-7c1e-7000")],
                         [5, 10, 12])
        self.assertEqual([e["seq"] for e in store.lines("query", "--event", "text id \u00e9")], [6])
        self.assertEqual([e["seq"] for e in store.lines("query", "--status", "pending")], [9, 11, 12, 13])
        self.assertEqual(store.call("show", "7", "--raw").stdout, b"\x00\x01\xfe")
        store.verify()

    def test_going_on_with_it(self):
        store = self.golden_store()
        self.assertTrue(store.call("append", "--topic", "evt.a.v1", "--event-id", "clamped",
                                   "new").stdout.startswith(b"14 "))
        store.call("reindex")
        self.assertEqual(store.lines("show", "14")[0]["duplicate_of"], 11)
        store.call("trim", "--max-events", "1")
        self.assertEqual(store.stats()["first_seq"], 9)  # the lane holds it
        store.verify()

    def test_its_index_is_disposable(self):
        store = self.golden_store()
        shutil.rmtree(store.path / "index")
        self.check_books(store)
        store.call("reindex")
        was = [json.loads(line) for line in (GOLDEN / "store-1.jsonl").read_bytes().splitlines()]
        self.assertEqual(store.lines("export"), was)
        store.verify()


if __name__ == "__main__":
    unittest.main()
