"""sidelog dlq: lists, shows without secrets, replays and drops, each once, also when it is killed or refused
halfway."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check  # noqa: E402
import cli  # noqa: E402

DEAD = "dead NON_RETRYABLE_VALIDATION MSG_SIZE_TOO_LARGE 2 it is too large\n"
SECURITY = "dead NON_RETRYABLE_POLICY POLICY_VIOLATION 1 password=hunter2 is no policy\n"


class Dlq(cli.Case):
    def letters(self):
        """Five events: dead, sent, dead (another way), dead, pending."""
        store = self.store()
        for n, topic in enumerate(("a.v1", "a.v1", "b.v1", "a.v1", "a.v1")):
            store.append(topic, json.dumps({"n": n, "token": f"t0ken{n}"}).encode(),
                         headers={"authorization": "hunter2", "plain": "x"})
        cli.settle(store, DEAD + "sent 0 1\n" + SECURITY + DEAD)
        return store

    def seqs(self, store, *args, expect=(0,)):
        return [line["seq"] for line in store.lines("dlq", *args, expect=expect)]

    def test_list_names_and_groups(self):
        store = self.letters()
        self.assertEqual(self.seqs(store, "list"), [1, 3, 4])
        self.assertEqual(self.seqs(store, "list", "--topic", "b.*"), [3])
        for by, expected in (("error", {"MSG_SIZE_TOO_LARGE": 2, "POLICY_VIOLATION": 1}),
                             ("topic", {"a.v1": 2, "b.v1": 1}),
                             ("class", {"NON_RETRYABLE_VALIDATION": 2, "NON_RETRYABLE_POLICY": 1}),
                             ("type", {"a.v1": 2, "b.v1": 1})):
            found = {line[by]: line["letters"] for line in store.lines("dlq", "list", "--by", by)}
            self.assertEqual(found, expected)
        self.assertEqual(sum(line["letters"] for line in store.lines("dlq", "list", "--by", "time")), 3)
        self.assertEqual(self.seqs(store), [1, 3, 4], "nothing else asked, it lists them")
        words = store.call("dlq", "list").stdout.decode()
        self.assertIn("MSG_SIZE_TOO_LARGE", words)
        self.assertEqual(store.call("dlq", "list", "--topic", "none", expect=(1,)).stdout, b"")

    def test_where_there_is_none_it_is_said_what_there_is_none_of(self):
        store = self.letters()
        for args, words in ((("list", "--topic", "none"), "no dead letter meets these conditions"),
                            (("list", "key=x"), "no dead letter meets these conditions"),
                            (("show", "2"),
                             "there is no dead letter 2; `sidelog show 2` tells what became of that event")):
            self.assertEqual(store.call("dlq", *args, expect=(1,)).err, f"sidelog: {words}\n")
        store = self.store()
        store.append("a.v1", b"{}")
        for args in (("list",), ("list", "-n", "5"), ("replay", "--all")):
            self.assertEqual(store.call("dlq", *args, expect=(1,)).err,
                             f"sidelog: there are no dead letters in the store at {store.path}\n")

    def test_a_value_of_no_bytes_is_said(self):
        store = self.store()
        store.append("a.v1", b"")
        cli.settle(store, DEAD)
        self.assertIn("\nvalue        0 bytes\n", store.call("dlq", "show", "1").stdout.decode())

    def test_show_has_the_history_and_no_secret(self):
        store = self.letters()
        store.call("dlq", "replay", "3")
        words = store.call("dlq", "show", "3").stdout.decode()
        for part in ("POLICY_VIOLATION", "failed first", "set aside", "replayed as 6, pending", "plain: x",
                     "authorization: [redacted]"):
            self.assertIn(part, words)
        self.assertNotIn("t0ken", words)
        self.assertNotIn("hunter2", words)
        (shown,) = store.lines("dlq", "show", "3")
        self.assertEqual([(r["seq"], r["status"]) for r in shown["replays"]], [(6, "pending")])
        self.assertEqual((shown["seq"], shown["value"]), (3, {"n": 2, "token": "[redacted]"}))
        self.assertNotIn("hunter2", json.dumps(shown))
        self.assertIn("t0ken2", store.call("dlq", "export", "3").stdout.decode(), "the store has the truth")

    def test_show_tells_to_the_end(self):
        """How it died, that it was replayed, and where it arrived; or who gave it up, and why."""
        store = self.letters()
        store.call("dlq", "replay", "1")
        cli.settle(store, "sent 0 2\nsent 4 1729\n")
        store.call("dlq", "drop", "3", "--reason", "password=s3same was in it")
        words = store.call("dlq", "show", "1").stdout.decode()
        story = ["appended", "failed first", "failed last, try 2", "replayed as 6, sent", "delivered to [4]@1729"]
        self.assertEqual([line[37:].strip() for line in words.splitlines() if line[2:6].isdigit()], story)
        self.assertIn("MSG_SIZE_TOO_LARGE", words)
        (shown,) = store.lines("dlq", "show", "1")
        self.assertEqual((shown["status"], shown["offset"], shown["error_code"], shown["attempts"],
                          shown["replays"][0]["status"]),
                         ("sent", 1729, "MSG_SIZE_TOO_LARGE", 2, "sent"))
        words = store.call("dlq", "show", "3").stdout.decode()
        self.assertRegex(words, r"\n  20.*  set aside\n  20.*  dropped by .*: password=\[redacted\] was in it\n")
        self.assertNotIn("s3same", words + store.call("dlq", "show", "3", "--json").stdout.decode())
        self.assertEqual(self.seqs(store, "list"), [4], "it is no letter any more")
        self.assertEqual(store.call("dlq", "replay", "1", expect=(1,)).stdout, b"")

    def test_replay_sends_each_once(self):
        store = self.letters()
        before = store.stats()
        self.assertEqual([line["result"] for line in store.lines("dlq", "replay", "--all", "--dry-run")],
                         ["would be replayed"] * 3)
        self.assertEqual(store.stats()["last_seq"], before["last_seq"])
        done = store.lines("dlq", "replay", "--topic", "a.*")
        self.assertEqual([(line["seq"], line["copy"]) for line in done], [(1, 6), (4, 7)])
        dry = store.call("dlq", "replay", "--all", "--dry-run", expect=(6,))
        self.assertEqual(dry.stdout.decode().splitlines(), ["3 would be replayed"])
        self.assertIn("event 1 is on its way already, as 6", dry.err)
        rest = store.call("dlq", "replay", "--all", expect=(6,))
        self.assertEqual(rest.stdout.decode().splitlines(), ["3 replayed as 8"])
        self.assertIn("on its way already", rest.err)
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["appended"], stats["dead"], stats["pending"]), (5, 3, 1))
        cli.settle(store, "sent 0 2\nsent 0 3\nsent 0 4\n" + DEAD)
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertEqual((stats["delivered"], stats["dead"], stats["pending"]), (4, 1, 0))
        self.assertEqual(self.seqs(store, "list"), [3], "its replay failed again, and is no letter of its own")
        store.verify()

    def test_who_dropped_it_is_the_person_and_not_root(self):
        store = self.letters()
        if os.geteuid() != 0:
            self.skipTest("not root")
        with unittest.mock.patch.dict(os.environ, {"SUDO_USER": "alice"}):
            store.call("dlq", "drop", "1", "--reason", "test data")
        self.assertEqual(store.lines("dlq", "audit")[0]["dropped_by"], "root, sudo by alice")

    def test_drop_wants_a_reason_and_keeps_it(self):
        store = self.letters()
        self.assertIn("--reason", store.call("dlq", "drop", "1", expect=(2,)).err)
        self.assertIn("--all", store.call("dlq", "drop", "--reason", "x", expect=(2,)).err)
        store.call("dlq", "drop", "1", "--reason", "test data")
        store.call("dlq", "drop", "1", "--reason", "test data", expect=(1,))
        (event,) = store.query("--status", "dropped")
        self.assertEqual((event["seq"], event["drop_reason"], event["error_code"]),
                         (1, "test data", "MSG_SIZE_TOO_LARGE"))
        self.assertTrue(event["dropped_by"])
        self.assertEqual(self.seqs(store, "list"), [3, 4])
        self.assertIsNone(check.law(store.stats()))
        store.verify()

    def killed_at_each_write(self, *command):
        """The command is killed at its 1st, 2nd, ... write until one run gets through; then it is run again to
        its end."""
        store = self.store()
        for n in range(6):
            store.append("a.v1", b"{}")
        cli.settle(store, DEAD * 6)
        for n in range(1, 200):
            argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                    f"inject=pwrite64,pwritev,fdatasync:signal=KILL:when={n}",
                    *store.argv("dlq", *command)]
            code = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
            stats = store.stats()
            self.assertIsNone(check.law(stats))
            if code not in (-signal.SIGKILL, 128 + signal.SIGKILL):
                break
        self.assertGreater(n, 4, "it was killed a few times")
        return store

    @unittest.skipUnless(os.access("/usr/bin/strace", os.X_OK), "strace is not installed")
    def test_killed_between_any_two_writes_a_replay_goes_on(self):
        store = self.killed_at_each_write("replay", "--all", "--most", "1000")
        store.call("dlq", "replay", "--all", expect=(0, 6))
        copies = [e["replay_of"] for e in store.everything().values() if "replay_of" in e]
        self.assertEqual(sorted(copies), [1, 2, 3, 4, 5, 6], "one copy on its way for each")
        store.verify()

    @unittest.skipUnless(os.access("/usr/bin/strace", os.X_OK), "strace is not installed")
    def test_killed_between_any_two_writes_a_drop_goes_on(self):
        store = self.killed_at_each_write("drop", "--all", "--reason", "r")
        store.call("dlq", "drop", "--all", "--reason", "r", expect=(0, 1))
        stats = store.stats()
        self.assertEqual((stats["dropped"], stats["dead"]), (6, 0))
        store.verify()


if __name__ == "__main__":
    unittest.main()
