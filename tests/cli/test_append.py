"""append: one event, and streams of lines."""
import array
import base64
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import termios
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Single(cli.Case):
    def test_everything_that_was_given_comes_back(self):
        store = self.store()
        done = store.call("append", "--topic", "a.v1", "--type", "T", "--correlation", "c", "--causation", "k",
                          "--event-id",
                          "e", "--key", "key", "--tenant", "t", "--source", "s", "--header", "h=v=w", "--header",
                          "h=",
                          "--occurred-at", "2026-03-01T10:00:00.25Z", '{"a":1}')
        self.assertEqual(done.stdout, b"1 e\n")
        event = store.lines("show", "e")[0]
        for name, value in dict(seq=1, event_id="e", event_type="T", topic="a.v1", correlation_id="c",
                                causation_id="k", key="key",
                                tenant="t", source="s", status="pending",
                                occurred_at="2026-03-01T10:00:00.250000Z",
                                value={"a": 1}).items():
            self.assertEqual(event[name], value)
        self.assertEqual(event["headers"], [{"name": "h", "value": "v=w"}, {"name": "h", "value": ""}])

    def test_data_from_everywhere(self):
        store = self.store()
        path = store.side / "data"
        path.write_bytes(b"\x00\xff\n")
        store.call("append", "--topic", "a", "@" + str(path))
        store.call("append", "--topic", "a", "-", stdin=b"\x00\xff\n")
        store.call("append", "--topic", "a", stdin=b"\x00\xff\n")
        store.call("append", "--topic", "a", "--", "-not an option")
        store.call("append", "--topic", "a", "")
        values = [store.call("show", n, "--raw").stdout for n in range(1, 6)]
        self.assertEqual(values, [b"\x00\xff\n"] * 3 + [b"-not an option", b""])
        events = store.lines("export")
        self.assertEqual(base64.b64decode(events[0]["value_base64"]), b"\x00\xff\n")
        self.assertNotIn("value", events[0])

    def test_json_that_is_kept_as_it_is(self):
        store = self.store()
        value = b'{"n":12345678901234567890123, "e":1e400,"s":"\\u0000\\ud800"}'
        store.append("a", value)
        self.assertIn(value, store.call("export").stdout)
        broken = b'{\n "a": 1\n}'
        store.append("a", broken)
        event = store.lines("show", "2")[0]
        self.assertEqual(event["value"], {"a": 1})
        self.assertEqual(base64.b64decode(event["value_base64"]), broken)

    def test_its_id_as_json(self):
        got = json.loads(self.store().call("append", "--json", "--topic", "a", "x").stdout)
        self.assertEqual(got["seq"], 1)
        self.assertEqual(len(got["event_id"]), 36)

    def test_what_goes_with_lines_only(self):
        store = self.store()
        for option in ("--ack", "--strict", "--progress"):
            self.assertEqual(store.call("append", "--topic", "a", option, "x", expect=None).returncode, 2)
        self.assertEqual(store.call("append", "--jsonl", "--event-id", "e", expect=None).returncode, 2)
        self.assertFalse(store.path.exists(), "a usage error must not create a store")


class Lines(cli.Case):
    def feed(self, store, data, *args, expect=(0,)):
        return store.call("append", "--jsonl", *args, "-", stdin=data, expect=expect)

    def test_a_slow_producer_is_acknowledged_line_by_line(self):
        store = self.store()
        with subprocess.Popen(store.argv("append", "--jsonl", "--ack", "--topic", "a"), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as feed:
            for n in range(5):
                feed.stdin.write(b'{"event_id":"e%d"}\n' % n)
                feed.stdin.flush()
                self.assertEqual(feed.stdout.readline(), b"%d e%d\n" % (n + 1, n))
            feed.stdin.write(b'{"event_id":"half')
            feed.stdin.flush()
            unread = array.array("i", [1])
            rig.wait_until("the half line to be read",
                           lambda: not fcntl.ioctl(feed.stdin, termios.FIONREAD, unread)
                           and unread[0] == 0, 10)
            self.assertEqual(store.stats()["appended"], 5)
            feed.stdin.write(b'"}')
            feed.stdin.close()
            self.assertEqual(feed.stdout.readline(), b"6 half\n")
        self.assertEqual(feed.returncode, 0)

    def test_a_backlog_goes_in_batches(self):
        store = self.store()
        lines = [b'{"n":%d}' % n for n in range(20000)]
        done = self.feed(store, b"\n".join(lines), "--topic", "a", "--ack")
        self.assertEqual(done.stdout.count(b"\n"), 20000)
        self.assertEqual(store.call("show", "20000", "--raw").stdout, lines[-1])

    def test_what_a_line_lacks_is_filled(self):
        store = self.store()
        self.feed(store,
                  b'{"event_id":"x"}\n{"topic":"own","event_type":"OWN","tenant_id":"own","source":"own"}\n',
                  "--topic", "t",
                  "--type", "T", "--tenant", "n", "--source", "s", "--header", "h=1")
        one, two = store.lines("export")
        self.assertEqual([one[k] for k in ("topic", "event_type", "tenant", "source")], ["t", "T", "n", "s"])
        self.assertEqual([two[k] for k in ("topic", "event_type", "tenant", "source")],
                         ["own"] + ["OWN"] + ["own"] * 2)
        self.assertEqual(two["headers"], [{"name": "h", "value": "1"}])
        self.feed(store, b'{"topic":"only.topic"}\n')
        self.assertEqual(store.lines("show", "3")[0]["event_type"], "only.topic")

    def test_keys(self):
        store, line = self.store(), b'{"topic":"t","correlation_id":"c"}\n'
        self.feed(store, line + b'{"topic":"t"}\n')
        self.feed(store, line, "--key", "k")
        self.feed(store, line, "--no-key")
        self.assertEqual([e.get("key") for e in store.query()], ["c", None, "k", None])

    def test_the_value_is_the_line(self):
        store = self.store()
        lines = [b'{"a":1}', b' {"a" : 2 } ', b'{"a":3}\r', "{\"a\":\"\u00fc\"}".encode()]
        self.feed(store, b"\r\n".join(lines) + b"\n\n \t\r\n", "--topic", "t")
        self.assertEqual([store.call("show", n + 1, "--raw").stdout for n in range(4)], lines)

    def test_bad_lines_are_named_and_the_rest_is_stored(self):
        store = self.store()
        done = self.feed(store, b'{"event_id":"a"}\nbad\n{"event_id":"b"}\n[1]\n{"event_id":"c"}', "--topic", "t",
                         "--ack", expect=(6,))
        self.assertEqual(done.stdout, b"1 a\n2 b\n3 c\n")
        self.assertIn("line 2:", done.err)
        self.assertIn("line 4:", done.err)
        self.assertIn("2 lines were rejected", done.err)

    def test_strict(self):
        store = self.store()
        done = self.feed(store, b'{"event_id":"a"}\nbad\n{"event_id":"b"}\n', "--topic", "t", "--strict",
                         expect=(6,))
        self.assertIn("nothing from line 1 on is stored", done.err)
        self.assertEqual(store.stats()["appended"], 0)
        with subprocess.Popen(store.argv("append", "--jsonl", "--strict", "--ack", "--topic", "t"),
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as feed:
            feed.stdin.write(b'{"event_id":"a"}\n')
            feed.stdin.flush()
            self.assertEqual(feed.stdout.readline(), b"1 a\n")
            _, err = feed.communicate(b'bad\n{"event_id":"b"}\n')
        self.assertEqual(feed.returncode, 6)
        self.assertIn(b"1 line was stored before", err)

    def test_a_missing_correlation_is_counted(self):
        done = self.feed(self.store(), b'{"a":1}\n{"correlation_id":"c"}\n{"a":2}\n', "--topic", "t")
        self.assertEqual(done.err.count("\n"), 1)
        self.assertIn("2 lines have no correlation id", done.err)

    def test_acknowledgements_as_json(self):
        store = self.store()
        done = self.feed(store, b'\n{"event_id":"a"}\nbad\n{"event_id":"b"}\n', "--topic", "t", "--ack", "--json",
                         expect=(6,))
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()],
                         [{"line": 2, "seq": 1, "event_id": "a"}, {"line": 4, "seq": 2, "event_id": "b"}])
        done = self.feed(store, b'{"event_id":"c"}\n', "--topic", "t", "--json")
        self.assertEqual(json.loads(done.stdout),
                         {"appended": 1, "rejected": 0, "without_correlation": 1, "first_seq": 3, "last_seq": 3})

    def test_a_line_of_a_gigabyte_takes_little_memory(self):
        store, size = self.store(), 200 if not rig.LONG else 1000
        code = ("import resource,subprocess,sys;r=subprocess.run(sys.argv[1:]).returncode;"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,file=sys.stderr);sys.exit(r)")
        with subprocess.Popen([sys.executable, "-c", code,
                               *store.argv("append", "--jsonl", "--ack", "--topic", "t")],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as feed:
            def write():
                block = b"x" * (1 << 20)
                feed.stdin.write(b'{"event_id":"a"}\n{"a":"')
                for _ in range(size):
                    feed.stdin.write(block)
                feed.stdin.write(b'"}\n{"event_id":"b"}\n')
                feed.stdin.close()
            thread = threading.Thread(target=write)
            thread.start()
            out, err = feed.stdout.read(), feed.stderr.read().decode()
            thread.join()
        self.assertEqual(feed.wait(), 6)
        self.assertEqual(out, b"1 a\n2 b\n")
        self.assertIn("line 2: longer than max_value", err)
        self.assertLess(int(err.split()[-1]), 64 << 10, "KiB resident")

    def test_larger_values_by_option(self):
        store = self.store()
        line = json.dumps({"a": "x" * 2_000_000}).encode()
        self.feed(store, line, "--topic", "t", "--max-value", "3M")
        self.assertEqual(store.call("show", "1", "--raw").stdout, line)
        for size in ("17M", "0", "x"):
            self.assertEqual(store.call("append", "--topic", "t", "--max-value", size, "x",
                                        expect=None).returncode, 2)

    def test_a_full_store_says_where_to_go_on(self):
        store = self.store()
        lines = [b'{"event_id":"e%d","p":"%s"}' % (n, b"x" * 4000) for n in range(600)]
        done = store.call("append", "--quota", "2M", "--jsonl", "--ack", "--topic", "t", "-",
                          stdin=b"\n".join(lines), expect=(3,))
        stored = done.stdout.count(b"\n")
        self.assertGreater(stored, 100)
        self.assertIn(f"lines 1 to {stored} are stored, line {stored + 1} and later ones are not", done.err)
        self.assertIn("full", done.err)
        self.assertIn(f"{stored} lines have no correlation id",
                      done.err)  # of those that are stored, not of those that were read
        self.assertEqual(store.stats()["appended"], stored)

    def test_whoever_reads_the_acknowledgements_goes_away(self):
        store = self.store()
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(store.argv("append", "--jsonl", "--ack", "--topic", "t"), input=b'{"a":1}\n',
                              stdout=write,
                              stderr=subprocess.PIPE, check=False)
        os.close(write)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"which is stored", done.stderr)

    def test_progress_on_a_terminal_only(self):
        store = self.store()
        path = store.side / "lines"
        path.write_bytes(b'{"correlation_id":"c"}\n' * 50000)
        argv = store.argv("append", "--jsonl", "--progress", "--topic", "t", path)
        out, code = cli.on_terminal(argv)
        self.assertEqual(code, 0)
        self.assertTrue(out.endswith(b"\n"))
        done = rig.run(argv)
        self.assertEqual(done.err, "")


if __name__ == "__main__":
    unittest.main()
