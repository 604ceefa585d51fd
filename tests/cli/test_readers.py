"""sidelog readers and dlq --reader: what a person sees of local readers and does with their dead letters."""
import json
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Readers(cli.Case):
    def read(self, store, words, name="billing", *options):
        """Each word says what becomes of the next event: ack, retry, final (and a code), or stop."""
        done = rig.run([rig.tool("tests/cli/reading"), str(store.path), name, *options],
                       stdin="\n".join(words).encode())
        return done.stdout.decode().split()

    def letters(self):
        """Six events: 1 and 4 done, 2 and 3 and 6 dead, 5 to be tried again."""
        store = self.store(parent="/tmp")
        for n in range(6):
            store.append("orders.v1" if n % 2 else "invoices.v1",
                         json.dumps({"n": n, "token": f"t0ken{n}"}).encode(), key=f"k{n}")
        self.read(store, ["ack", "final NO_AMOUNT", "final GONE", "ack", "retry BUSY", "final NO_AMOUNT"])
        return store

    def reader(self, store, *args):
        return store.lines("readers", *args)[0]

    def test_readers_says_where_each_is(self):
        store = self.letters()
        self.golden("readers-80.txt", self.say(store, "readers", columns=80))
        store.append("orders.v1", b"{}")
        told = self.reader(store, "billing")
        self.assertEqual({k: told[k]
                          for k in ("reader", "pid", "seq", "lag", "seen", "acked", "dead", "open", "retrying",
                                    "letters", "missed")},
                         {"reader": "billing", "pid": None, "seq": 6, "lag": 1, "seen": 6, "acked": 2, "dead": 3,
                          "open": 1,
                          "retrying": 1, "letters": 3, "missed": 0})
        self.assertTrue(told["balanced"])
        self.assertIsNone(told["topics"])
        (retry,) = told["retries"]
        self.assertEqual((retry["seq"], retry["attempts"], retry["error_code"]), (5, 1, "BUSY"))
        self.assertRegex(self.say(store, "readers", "billing"), r"  5 failed 1x, BUSY; again in \d")
        self.assertEqual(store.call("readers", "nobody", expect=(1,)).stdout, b"")
        store.call("readers", "forget", "billing")
        self.assertIn("there are no readers", store.call("readers", expect=(1,)).err)

    def test_status_says_when_a_reader_needs_a_look(self):
        store = self.letters()
        store.append("orders.v1", b"{}")
        cli.settle(store, "sent 0 1\n" * 7)
        self.read(store, ["ack"] * 6, "audit")
        words = store.call("status").stdout.decode()
        self.assertIn("readers  2, audit is behind by 1 event, 3 dead letters  -> sidelog readers",
                      " ".join(words.split(" ")))
        self.assertEqual(json.loads(store.call("status", "--json").stdout)["readers"],
                         {"readers": 2, "lag": 1, "letters": 3, "missed": 0})

    def test_forget(self):
        store = self.letters()
        store.call("readers", "forget", "billing")
        store.call("readers", "forget", "billing", expect=(1,))
        store.call("readers", "forgte", "billing", expect=(2,))
        self.assertEqual(self.read(store, ["ack"]), ["1"], "it begins anew")

    def test_dlq_is_about_the_reader_that_is_named(self):
        store = self.letters()
        self.assertEqual([e["seq"] for e in store.lines("dlq", "list", "--reader", "billing")], [2, 3, 6])
        self.assertEqual(store.lines("dlq", "list", expect=(1,)), [], "delivery has none")
        self.assertEqual([e["seq"]
                          for e in store.lines("dlq", "list", "--reader", "billing", "--topic", "orders.*")],
                         [2, 6])
        self.assertEqual([e["seq"] for e in store.lines("dlq", "list", "--reader", "billing", "error_code=GONE")],
                         [3])
        self.assertEqual([e["seq"] for e in store.lines("dlq", "list", "--reader", "billing", "-n", "2")], [3, 6])
        groups = {g["error"]: g["letters"]
                  for g in store.lines("dlq", "list", "--reader", "billing", "--by", "error")}
        self.assertEqual(groups, {"NO_AMOUNT": 2, "GONE": 1})
        (event,) = store.lines("dlq", "export", "3", "--reader", "billing")
        self.assertEqual((event["status"], event["error_code"], event["value"]["n"]), ("dead", "GONE", 2))
        for args in (("dlq", "list", "--reader", "nobody"), ("readers", "nobody"),
                     ("readers", "forget", "nobody")):
            self.assertEqual(store.call(*args, expect=(1,)).err,
                             f"sidelog: there is no reader nobody in the store at {store.path}; `sidelog readers` lists them\n")
        self.assertIn("there is no dead letter 1 of reader billing",
                      store.call("dlq", "show", "1", "--reader", "billing", expect=(1,)).err)
        words = store.call("dlq", "show", "2", "--reader", "billing").stdout.decode()
        for part in ("NO_AMOUNT", "failed last, try 1", "[redacted]"):
            self.assertIn(part, words)
        self.assertNotIn("t0ken", words)

    def test_replay_hands_letters_out_again_once(self):
        store = self.letters()
        self.assertIn("--all", store.call("dlq", "replay", "--reader", "billing", expect=(2,)).err)
        dry = store.lines("dlq", "replay", "--reader", "billing", "--all", "--dry-run")
        self.assertEqual([line["seq"] for line in dry], [2, 3, 6])
        done = store.lines("dlq", "replay", "--reader", "billing", "--topic", "orders.*")
        self.assertEqual([(line["seq"], line["result"]) for line in done], [(2, "replayed"), (6, "replayed")])
        store.call("dlq", "replay", "2", "--reader", "billing", expect=(1,))
        self.assertEqual(self.read(store, ["ack", "final AGAIN"]), ["2", "6"])
        self.assertEqual(self.reader(store)["acked"], 3)
        self.assertIn("replays      1", store.call("dlq", "show", "6", "--reader", "billing").stdout.decode())
        store.call("dlq", "replay", "6", "--reader", "billing", "--most", "1", expect=(6,))
        store.verify()

    def test_a_running_reader_is_handed_what_another_process_replays(self):
        store = self.store()
        store.append("t.v1", b"{}")
        reader = subprocess.Popen([rig.tool("tests/cli/reading"), str(store.path), "billing"],
                                  stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(reader.kill)
        reader.stdin.write("final X\n")
        reader.stdin.flush()
        rig.wait_until("a dead letter", lambda: [r["dead"] for r in store.lines("readers", expect=(0, 1))] == [1])
        self.assertEqual(self.reader(store)["pid"], reader.pid)
        self.assertIn("open already", store.call("readers", "forget", "billing", expect=(3,)).err)
        store.call("dlq", "replay", "1", "--reader", "billing")
        self.assertEqual(reader.communicate("ack\n", timeout=60)[0].split(), ["1", "1"])
        self.assertEqual((self.reader(store)["acked"], self.reader(store)["pid"]), (1, None))

    def test_a_drop_stays_in_the_audit_trail(self):
        store = self.letters()
        store.call("dlq", "drop", "3", "--reader", "billing", expect=(2,))
        store.call("dlq", "drop", "3", "--reader", "billing", "--reason", "test data")
        told = self.reader(store)
        self.assertEqual((told["dead"], told["dropped"], told["balanced"]), (2, 1, True))
        cli.settle(store, "dead C CODE 1 text\nsent 0 1\nsent 0 2\nsent 0 3\nsent 0 4\nsent 0 5\n")
        store.call("dlq", "drop", "1", "--reason", "not ours")
        store.append("orders.v1", b"{}")
        store.call("trim", "--max-events", "1")
        (mine,) = store.lines("dlq", "audit")
        self.assertEqual((mine["seq"], mine["reader"], mine["drop_reason"], mine["error_code"], mine["topic"]),
                         (1, None, "not ours", "CODE", "invoices.v1"))
        (its,) = store.lines("dlq", "audit", "--reader", "billing")
        self.assertEqual((its["seq"], its["reader"], its["drop_reason"], its["error_code"]),
                         (3, "billing", "test data", "GONE"))
        self.assertTrue(its["dropped_by"] and its["event_id"])
        self.assertEqual(store.lines("dlq", "audit", "--topic", "nothing", expect=(1,)), [])
        self.assertEqual(store.lines("dlq", "audit", "7", expect=(1,)), [])
        self.assertIn("takes a seq", store.call("dlq", "audit", "error_code=CODE", expect=(2,)).err)
        self.assertIn("not ours", store.call("dlq", "audit").stdout.decode())
        self.assertEqual(store.lines("dlq", "list", "--reader", "billing", expect=(1,)), [],
                         "their events are gone")
        store.verify()

    def test_trim_says_which_reader_holds_it(self):
        store = self.store()
        for _ in range(4):
            store.append("t.v1", b"{}")
        self.read(store, ["ack", "ack"], "slow", "hold")
        cli.settle(store, "sent 0 1\n" * 3)
        store.call("compact")  # readers/ is one of the files that it rewrites
        self.assertTrue(self.reader(store)["holds_trim"])
        words = store.call("trim", "--max-events", "1").stdout.decode()
        self.assertIn("reader slow holds trim back", words)
        self.assertEqual(store.stats()["first_seq"], 3)


if __name__ == "__main__":
    unittest.main()
