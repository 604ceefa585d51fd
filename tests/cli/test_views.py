"""What people see, at 60, 80 and 200 columns, with and without Unicode and colour."""
import json
import pathlib
import re
import sys
import unicodedata
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

ESCAPE = re.compile(rb"\x1b\[[0-9;]*[mK]")


def columns_of(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
               for c in line)


class Views(cli.Case):
    views = (("trace", "trace", cli.CORRELATION), ("query", "query"), ("show", "show", "5"),
             ("tail", "tail", "-n", "3"),
             ("stats", "stats"))

    def test_at_every_width(self):
        store = self.told()
        for name, *command in self.views:
            for columns in (60, 80, 120, 200, None):
                text = self.say(store, *command, columns=columns)
                with self.subTest(view=name, columns=columns):
                    self.golden(f"{name}-{columns or 'pipe'}.txt", text)
                    if columns and name in ("trace", "query", "tail"):
                        for line in text.splitlines():
                            self.assertLessEqual(columns_of(line), columns, line)

    def test_without_unicode(self):
        store = self.told()
        for name, *command in self.views:
            with self.subTest(name):
                text = self.say(store, *command, columns=120, unicode=False)
                self.assertTrue(text.isascii())
                self.golden(f"{name}-ascii.txt", text)

    def test_status(self):
        store = self.told()
        self.golden("status-pending.txt", self.say(store, "status", columns=80, expect=(4,)))
        cli.settle(store, "sent 1 77\n")
        self.golden("status-idle.txt", self.say(store, "status", columns=80))
        self.golden("status-60.txt", self.say(store, "status", columns=60))

    def test_how_much_room_there_is(self):
        store = self.told()
        self.assertIn("of 10 GiB", self.say(store, "status", expect=(4,)))
        self.assertEqual(json.loads(self.say(store, "status", "--json", expect=(4,)))["disk"]["bytes_quota"],
                         10 << 30)
        self.assertEqual(store.stats()["bytes_quota"], 10 << 30)
        for _ in range(13):
            self.say(store, "append", "--quota", "2M", "--topic", "t", "-", stdin=b"x" * 140_000)
        self.say(store, "reindex")
        cli.settle(store, "sent 1 1\n" * 14)
        self.assertEqual(json.loads(self.say(store, "status", "--json", expect=(4,)))["problems"], ["disk"])
        self.assertIn("of 2 MiB", self.say(store, "status", expect=(4,)))

    def test_colour_where_it_belongs(self):
        store = self.told()
        argv = store.argv("trace", cli.CORRELATION)
        self.assertIn(b"\x1b[32msent", cli.on_terminal(argv)[0])
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn(b"\x1b", cli.on_terminal(argv, env=cli.environment(**env))[0])
        self.assertNotIn(b"\x1b", cli.on_terminal([*argv, "--color", "never"])[0])
        self.assertNotIn("\x1b", self.say(store, "trace", cli.CORRELATION))
        self.assertIn("\x1b[32m", self.say(store, "trace", cli.CORRELATION, "--color=always"))

    def test_colour_changes_no_word(self):
        store = self.told()
        for columns in (60, 80, 140):
            out, code = cli.on_terminal(store.argv("trace", cli.CORRELATION), columns=columns)
            self.assertEqual(code, 0)
            self.assertEqual(ESCAPE.sub(b"", out).decode(),
                             self.say(store, "trace", cli.CORRELATION, columns=columns))


class Traces(cli.Case):
    def trace(self, *events, columns=100):
        """events: (id, cause, second)"""
        store = self.store()
        store.append_lines([json.dumps({
            "event_id": i, **({"causation_id": cause} if cause else {}), "correlation_id": "story",
            "topic": "t.v1",
            "event_type": f"TYPE_{i}",
            **({"timestamp": f"2026-03-01T10:00:{at:06.3f}Z"} if at is not None else {}),
        }).encode() for i, cause, at in events])
        return self.say(store, "trace", "story", columns=columns)

    def test_a_circle(self):
        text = self.trace(("a", "b", 1), ("b", "c", 2), ("c", "a", 3))
        self.assertIn("its causes form a circle", text)
        self.assertEqual(text.count("TYPE_"), 3)

    def test_several_roots(self):
        text = self.trace(("a", "story", 1), ("b", "b", 2), ("c", None, 3), ("d", "b", 4))
        self.assertRegex(text, r"(?m)TYPE_b.*\n.*└ TYPE_d.*\n.* TYPE_c")

    def test_a_cause_from_elsewhere(self):
        store = self.store()
        store.append("t.v1", b"{}", event_id="other", correlation="another story")
        store.append("t.v1", b"{}", event_id="a", causation="other", correlation="story")
        store.append("t.v1", b"{}", event_id="b", causation="never-seen", correlation="story")
        text = self.say(store, "trace", "story", columns=160)
        self.assertIn("caused by seq 1 of correlation another story", text)
        self.assertIn("its cause never-seen is not in this store", text)

    def test_an_effect_before_its_cause(self):
        self.assertIn("500 ms before its cause: clocks differ", self.trace(("a", None, 2), ("b", "a", 1.5)))

    def test_a_duplicate(self):
        store = self.store()
        for _ in range(2):
            store.append("t.v1", b"{}", event_id="a", correlation="story")
        store.call("reindex")
        self.assertIn("duplicate of 1", self.say(store, "trace", "story"))
        cli.settle(store, "sent 0 0\nduplicate 1\n")
        self.assertRegex(self.say(store, "trace", "story"), "duplicate +of 1")

    def test_events_without_a_time_of_their_own(self):
        self.assertIn("1 event carries no time of its own", self.trace(("a", None, 1), ("b", None, None)))

    def test_by_an_event_of_the_story(self):
        store = self.told()
        done = rig.run(store.argv("trace", cli.event_id(3)))
        self.assertIn("is an event", done.err)
        self.assertIn(cli.CORRELATION.encode(), done.stdout)

    def walks(self):
        """a <- b <- d <- f of one story, c <- e of another that b led to."""
        store = self.store()
        store.append_lines([json.dumps({"event_id": i, "event_type": f"TYPE_{i}", "correlation_id": story,
                                        "topic": "t.v1",
                                        "timestamp": f"2026-03-01T10:00:0{at:.3f}Z",
                                        **({"causation_id": cause} if cause else {})}).encode()
                            for i, cause, story,
                            at in (("a", None, "one", 1), ("b", "a", "one", 2), ("c", "b", "two", 3.5),
                                   ("d", "b", "one", 3),
                                   ("e", "c", "two", 4), ("f", "d", "one", 9), ("x", "y", "three", 1),
                                   ("y", "x", "three", 2))])
        return store

    def test_causes_effects_and_paths(self):
        store = self.walks()
        for args, ids in ((("--cause", "e"), "abce"), (("--cause", "a"), "a"), (("--effects", "b"), "bcdef"),
                          (("--effects", "f"), "f"),
                          (("--path", "a", "e"), "abce"), (("--path", "e", "a"), "abce"),
                          (("--path", "e", "f"), "bcdef"), (("--path", "d", "d"), "d"),
                          (("--cause", "x"), "xy"), (("--effects", "x"), "xy"), (("--path", "x", "y"), "xy")):
            with self.subTest(args):
                self.assertEqual("".join(e["event_id"] for e in store.lines("trace", *args)), ids)
                self.assertEqual(self.say(store, "trace", *args).count("TYPE_"), len(ids))
        for args, ids in ((("--cause", "5"), "abce"), (("--effects", "2"), "bcdef"),
                          (("--path", "5", "f"), "bcdef")):
            self.assertEqual("".join(e["event_id"] for e in store.lines("trace", *args)), ids,
                             "an event may be named by its seq")
        self.assertIn("there is no event 9 in this store", store.call("trace", "--cause", "9", expect=(1,)).err)
        self.assertIn("both come from b", store.call("trace", "--path", "e", "f").err)
        self.assertIn("no chain of causes", store.call("trace", "--path", "a", "x", expect=(1,)).err)
        self.assertIn("of correlation two", self.say(store, "trace", "--cause", "e", columns=120))
        self.assertIn("no event id", store.call("trace", "--cause", "nobody", expect=(1,)).err)
        for args in (("--cause", "a", "one"), ("--path", "a"), ("--cause", "a", "--effects", "b"), ()):
            store.call("trace", *args, expect=(2,))

    def test_other_stories_are_named(self):
        store = self.walks()
        self.assertIn("led to seq 3 of correlation two", self.say(store, "trace", "one"))
        self.assertIn("caused by seq 2 of correlation one", self.say(store, "trace", "two"))

    def test_times(self):
        store = self.told()
        for columns in (60, 80, 200):
            text = self.say(store, "trace", cli.CORRELATION, "--times", columns=columns)
            for line in text.splitlines():
                self.assertLessEqual(columns_of(line), columns)
            self.assertIn("10:00:01.630", text)
            self.assertIn("+1.618 s", text)

    def test_a_deep_chain(self):
        count = 3000
        text = self.trace(*((f"e{n}", f"e{n - 1}" if n else None, n / 100) for n in range(count)), columns=80)
        self.assertEqual(text.count("pending"), count + 1)
        for line in text.splitlines():
            self.assertLessEqual(columns_of(line), 80)


class Hostile(cli.Case):
    """Whatever was appended, the terminal stays as it was and JSON stays JSON."""

    evil = "\x1b[31m\x1b]0;title\x07\x9b2J\u202eabc\u2066\u200b\r\n\t\x7f\U000e0041"

    def evil_store(self):
        store = self.store()
        fields = {"event_id": "id" + self.evil, "event_type": "T" + self.evil, "correlation_id": "c" + self.evil,
                  "causation_id": "k" + self.evil, "tenant_id": self.evil, "source": self.evil,
                  "payload": {self.evil: self.evil}}
        store.append_lines([json.dumps(fields, ensure_ascii=False).encode(), json.dumps(fields).encode()],
                           topic="evil.v1")
        store.append("evil.v1", self.evil.encode() + b"\xff\xfe\x00", headers={"h": "\x1b[2J\u202e"},
                     key="\x1b[0m")
        store.append("evil.v1", b"[" * 200 + b"]" * 200)
        return store

    def assert_harmless(self, data, colour=b""):
        for line in ESCAPE.sub(b"", data).decode("utf-8", "strict").split("\n"):
            for c in line:
                self.assertTrue(c >= " " and not 0x7f <= ord(c) < 0xa0
                                and unicodedata.category(c) not in ("Cf", "Zl", "Zp", "Cc"),
                                f"{c!r} in {line!r}")

    def test_on_a_terminal(self):
        store = self.evil_store()
        ids = [e["seq"] for e in store.query()]
        commands = [("query",), ("tail",), ("check", "c" + self.evil), ("check", "--since", "-1h"),
                    ("diff", "c" + self.evil, "c" + self.evil),
                    ("query", "--group-by", "source"), ("query", "--group-by", "value"), ("stats", "--hops"),
                    ("trace", "c" + self.evil, "--times"),
                    ("trace", "--cause", "id" + self.evil), ("query", "--order", "source"),
                    ("trace", "c" + self.evil), ("status",), ("stats",), ("export",),
                    ("query", "--json", "--value"), *(("show", i) for i in ids),
                    *(("show", i, "--json") for i in ids)]
        for command in commands:
            for columns in (60, 200):
                with self.subTest(command=command, columns=columns):
                    out, _ = cli.on_terminal(store.argv(*command), columns=columns)
                    self.assertTrue(out)
                    self.assert_harmless(out)

    def test_errors_are_harmless_too(self):
        store = self.evil_store()
        for command in (("show", self.evil), ("trace", self.evil), ("query", "--event", self.evil), (self.evil,),
                        ("--" + self.evil,), ("query", "--since", self.evil),
                        ("append", "--topic", self.evil, "x")):
            out, code = cli.on_terminal(store.argv(*command))
            self.assertNotEqual(code, 0)
            self.assert_harmless(out)

    def test_json_is_json(self):
        store = self.evil_store()
        for event in store.lines("export"):
            self.assertEqual(event["topic"], "evil.v1")
        first = store.lines("show", "1")[0]
        self.assertEqual(first["event_id"], "id" + self.evil)
        self.assertEqual(first["value"]["payload"], {self.evil: self.evil})

    def test_what_is_almost_json(self):
        """The parser takes a vertical tab and a form feed for blanks; JSON does not have them."""
        store = self.store()
        for value in (b'{"a":\x0b1}', b'{"a":\x0c1}', b"[1,\x0b2]"):
            store.append("t.v1", value)
        for event in store.lines("export"):
            self.assertNotIn("value", event)
            self.assertIn("value_base64", event)
        out, _ = cli.on_terminal(store.argv("show", 1))
        self.assert_harmless(out)

    def test_raw_is_raw(self):
        store = self.evil_store()
        for event in store.events:
            self.assertEqual(store.call("show", event.seq, "--raw").stdout, event.value)


if __name__ == "__main__":
    unittest.main()
