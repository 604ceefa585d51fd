"""check: every rule finds what it is for, and nothing else; and how long hops usually take."""
import datetime
import json
import pathlib
import sys
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

START = datetime.datetime(2026, 3, 1, 10, tzinfo=datetime.timezone.utc)


def line(event, kind, at=None, cause=None, story="story", **more):
    fields = {"event_id": event, "event_type": kind, "correlation_id": story, "topic": "t.v1", **more}
    if at is not None:
        then = START + datetime.timedelta(seconds=at)
        fields["timestamp"] = then.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if cause:
        fields["causation_id"] = cause
    return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()


def usual(pairs=40, kind="ASKED_REQUESTED", answer="ASKED_COMPLETED", span=0.1):
    """Other stories: a question and its answer a tenth of a second later."""
    lines = []
    for n in range(pairs):
        lines += [line(f"q{n}", kind, n, story=f"s{n}"), line(f"a{n}", answer, n + span, f"q{n}", story=f"s{n}")]
    return lines


class Rules(cli.Case):
    def found(self, store, *args, expect=(0, 4)):
        """{(kind, event id)}, and the summary."""
        done = store.lines("check", *args, expect=expect)
        self.assertEqual(done[-1]["findings"], len(done) - 1)
        return {(f["finding"], f["event_id"]) for f in done[:-1]}, done[-1]

    def check(self, *lines, expect):
        store = self.store()
        store.append_lines(list(lines))
        found, _ = self.found(store, "story")
        self.assertEqual(found, expect)
        return store

    def test_a_sound_story(self):
        # Quirks that are normal: a root that names itself or the correlation, whole seconds and milliseconds, no
        # time at all, a cause in another story, other fields in the payload.
        self.check(line("other", "X", 0, story="another"), line("r", "STEP", 1.0005, "story"),
                   line("s", "STEP", 1, "s"),
                   line("c", "STEP", 1, "r"), line("d", "STEP", 1.0, "r"), line("e", "STEP", None, "r"),
                   line("f", "STEP", 5, "other"),
                   line("g", "STEP", 6, "r",
                        payload={"event_type": "permission_check", "timestamp": "x", "tenant_id": "y"}),
                   expect=set())
        store = self.told()
        self.assertEqual(self.found(store, cli.CORRELATION[:9])[0], {("dead", cli.event_id(4))})

    def test_damage_is_not_taken_for_silence(self):
        """An answer that cannot be read is no missing one."""
        store = self.store()
        store.append_lines([*usual(), line("q", "ASKED_REQUESTED", 100),
                            line("a", "ASKED_COMPLETED", 100.1, "q", n=7)])
        store.call("reindex")
        path = store.path / "log" / "data.mdb"
        path.write_bytes(path.read_bytes().replace(b'"n": 7', b'"n": 8'))
        done = rig.run(store.argv("check", "story"), expect=(4,))
        self.assertIn("checksum", done.err)
        self.assertNotIn(b"no-answer", done.stdout)
        other = self.store()
        other.append_lines([line("q", "STEP", 1, n=7), line("a", "STEP", 2, "q")])
        other.call("reindex")
        path = other.path / "log" / "data.mdb"
        path.write_bytes(path.read_bytes().replace(b'"n": 7', b'"n": 8'))
        text = rig.run(other.argv("trace", "story"), expect=(4,)).stdout.decode()
        self.assertIn("its cause q cannot be read in this store", text)

    def test_many_findings_are_counted(self):
        store = self.store()
        store.append_lines([line("f", "A_FAILED", 1), line("g", "A_FAILED", 2), line("h", "A", 3, "gone"),
                            line("i", "A", 4, "gone")])
        self.assertEqual(store.call("check", "story", expect=(4,)).stdout.splitlines()[-2:],
                         [b"4 findings in 4 events of 1 correlation", b"2 failed, 2 orphan"])
        self.assertEqual(self.found(store, "story")[1]["by_finding"], {"failed": 2, "orphan": 2})

    def test_what_is_sound_says_so(self):
        store = self.store()
        store.append_lines([line("a", "STEP", 1)])
        self.assertEqual(store.call("check", "story").stdout, b"nothing is wrong with 1 event of 1 correlation\n")
        self.assertIn("no correlation id", store.call("check", "nothing", expect=(1,)).err)
        self.assertIn("--since", store.call("check", expect=(2,)).err)

    def test_orphans(self):
        store = self.check(line("a", "STEP", 1, "gone"), line("b", "STEP", 2, "a"), expect={("orphan", "a")})
        self.assertIn("nothing was ever trimmed", store.lines("check", "story", expect=(4,))[0]["text"])

    def test_an_orphan_of_what_was_trimmed(self):
        def version7(seconds):
            ms = int((datetime.datetime.now(datetime.timezone.utc).timestamp() + seconds) * 1000)
            return str(uuid.UUID(int=ms << 80 | 7 << 76 | 2 << 62 | self.random.getrandbits(62)))

        store = self.store()
        before, after = version7(-3600), version7(3600)
        store.append_lines([line("old", "STEP", 0, story="o"), line("kept", "STEP", 0, story="o"),
                            line("a", "STEP", 1, before),
                            line("b", "STEP", 2, after), line("c", "STEP", 3, "old")])
        store.call("reindex")
        cli.settle(store, "sent 0 0\n" * 5)
        store.call("trim", "--max-events", "4")
        texts = {f["event_id"]: f["text"] for f in store.lines("check", "story", expect=(4,))[:-1]}
        self.assertIn("before all that is kept; trimmed, or appended elsewhere", texts["a"])
        self.assertIn("it was appended elsewhere, or never", texts["b"])
        self.assertIn(": trimmed (events appended before", texts["c"])

    def test_a_circle(self):
        found, _ = self.found(self.circle(), "story")
        self.assertEqual(found, {("cycle", "a")})

    def circle(self):
        store = self.store()
        store.append_lines([line("a", "STEP", 1, "c"), line("b", "STEP", 2, "a"), line("c", "STEP", 3, "b")])
        return store

    def test_an_effect_before_its_cause(self):
        store = self.check(line("a", "STEP", 1.5), line("b", "STEP", 1.25025, "a"),
                           line("o", "STEP", 9, story="another"),
                           line("c", "STEP", 7.5, "o"), expect={("before-cause", "b"), ("before-cause", "c")})
        self.assertIn("occurred 250 ms before its cause", store.lines("check", "story", expect=(4,))[0]["text"])

    def test_a_duplicate(self):
        store = self.store()
        store.append_lines([line("a", "STEP", 1), line("a", "STEP", 1), line("a", "STEP", 1, topic="u.v1")])
        store.call("reindex")
        self.assertEqual([(f["finding"], f["seq"]) for f in store.lines("check", "story", expect=(4,))[:-1]],
                         [("duplicate", 2)])

    def test_failed_events(self):
        self.check(line("a", "STEP_FAILED", 1), line("b", "agent.routing.failed.v1", 2),
                   line("c", "FAILED_OVER", 3),
                   line("d", "stamp-workflow-failed.v2", 4), line("e", "UNFAILED", 5),
                   expect={("failed", i) for i in "abd"})

    def test_a_broken_envelope(self):
        store = self.store()
        for n, value in enumerate((b'{"a":', b'{"correlation_id":"other"}', b'{"timestamp":"soon"}', b"\x00\x01",
                                   b"plain", b"[1", b"", b"{}")):
            store.append("t.v1", value, event_id=f"e{n}", correlation="story")
        found, _ = self.found(store, "story")
        self.assertEqual(found, {("envelope", f"e{n}") for n in range(3)})

    def test_a_question_without_its_answer(self):
        late = [line("x", "ASKED_REQUESTED", 500)]
        self.check(*usual(), *late, expect={("no-answer", "x")})
        self.check(*usual(), *late, line("y", "ASKED_FAILED", 501), expect={("failed", "y")})
        # Where answers are not known to land here nobody is sure.
        self.check(*usual(pairs=4), *late, expect=set())
        self.check(*usual(), *(line(f"n{n}", "ASKED_REQUESTED", n, story=f"m{n}") for n in range(40)), *late,
                   expect=set())
        self.check(*usual(), line("x", "OTHER_REQUESTED", 500), expect=set())

    def test_a_question_that_is_young(self):
        store = self.store()
        now = (datetime.datetime.now(datetime.timezone.utc) - START).total_seconds()
        store.append_lines([*usual(span=3600.0), line("x", "ASKED_REQUESTED", now - 60)])
        self.assertEqual(self.found(store, "story")[0], set())

    def test_a_gap_beyond_the_usual(self):
        self.check(*usual(), line("x", "ASKED_REQUESTED", 500), line("y", "ASKED_COMPLETED", 503, "x"),
                   expect={("slow", "y")})
        self.check(*usual(), line("x", "ASKED_REQUESTED", 500), line("y", "ASKED_COMPLETED", 500.25, "x"),
                   expect=set())
        self.check(*usual(pairs=10), line("x", "ASKED_REQUESTED", 500), line("y", "ASKED_COMPLETED", 503, "x"),
                   expect=set())

    def test_a_gap_is_not_its_own_measure(self):
        store = self.store()
        store.append_lines([*usual(pairs=40), line("x", "ASKED_REQUESTED", 500),
                            line("y", "ASKED_COMPLETED", 503, "x")])
        self.assertEqual(self.found(store, "--since", "-1h")[0], {("slow", "y")})

    def test_all_since_a_time(self):
        store = self.store()
        store.append_lines([*usual(), line("x", "STEP", 1, "gone"), line("alone", "STEP_FAILED", 1, story=None),
                            line("fine", "STEP", 1, story=None)])
        found, summary = self.found(store, "--since", "-1h")
        self.assertEqual(found, {("orphan", "x"), ("failed", "alone")})
        self.assertEqual((summary["correlations"], summary["events"]), (41, 83))
        self.assertIn("no event was appended", store.call("check", "--since", "now", expect=(1,)).err)

    def test_as_people_see_it(self):
        store = self.told()
        store.append("t.v1", b'{"a":', event_id="broken", correlation=cli.CORRELATION,
                     causation="an-event-that-nobody-has-seen-here")
        for columns in (60, 80, 200):
            text = self.say(store, "check", cli.CORRELATION, columns=columns, expect=(4,))
            self.golden(f"check-{columns}.txt", text)
            for row in text.splitlines():
                self.assertLessEqual(len(row), columns, row)
        self.assertTrue(self.say(store, "check", cli.CORRELATION, unicode=False, expect=(4,)).isascii())


class Diff(cli.Case):
    def test_two_stories(self):
        store = self.store()
        kinds = ("A_STARTED", "STEP", "STEP", "A_COMPLETED")
        store.append_lines([*(line(f"a{n}", kind, at, story="one") for n,
                              (kind, at) in enumerate(zip(kinds, (0, 1, 2, 3)))),
                            line("extra", "EXTRA", 1.5, story="one"), line("a1", "STEP", 1, story="one"),
                            *(line(f"b{n}", kind, at, story="two") for n,
                              (kind, at) in enumerate(zip(kinds, (60, 61, 65, 66)))),
                            line("more", "MORE", 67, story="two")])
        store.call("reindex")
        rows = store.lines("diff", "one", "two")
        self.assertEqual([(r["event_type"], r["a"] and r["a"]["after_us"], r["b"] and r["b"]["after_us"],
                           r["step_us"]) for r in rows],
                         [("A_STARTED", 0, 0, None), ("STEP", 1_000_000, 1_000_000, 0),
                          ("EXTRA", 1_500_000, None, None),
                          ("STEP", 2_000_000, 5_000_000, 3_000_000), ("A_COMPLETED", 3_000_000, 6_000_000, 0),
                          ("MORE", None, 7_000_000, None)])
        for columns in (60, 80, 200):
            text = self.say(store, "diff", "one", "two", columns=columns)
            self.golden(f"diff-{columns}.txt", text)
            for one in text.splitlines():
                self.assertLessEqual(len(one), columns)
        self.assertIn("no correlation id", store.call("diff", "one", "three", expect=(1,)).err)
        store.call("diff", "one", expect=(2,))
        self.assertEqual({r["step_us"] for r in store.lines("diff", "one", "one")}, {None, 0})


class Hops(cli.Case):
    def test_hops(self):
        store = self.store()
        store.append_lines([*usual(pairs=99), *usual(pairs=0), line("x", "ASKED_REQUESTED", 500),
                            line("y", "ASKED_COMPLETED", 510)])
        hop, = store.lines("stats", "--hops")
        self.assertEqual((hop["from"], hop["to"], hop["count"], hop["max_us"]),
                         ("ASKED_REQUESTED", "ASKED_COMPLETED", 100, 10_000_000))
        for percentile in ("p50_us", "p95_us", "p99_us"):
            self.assertLessEqual(abs(hop[percentile] - 100_000), 3200)
        self.assertRegex(self.say(store, "stats", "--hops", columns=80),
                         r"ASKED_REQUESTED +ASKED_COMPLETED +100 +10\d ms")
        self.assertIn("follow each other", store.call("stats", "--hops", "--until", "-1h", expect=(1,)).err)
        self.assertIn("--hops", store.call("stats", "--since", "-1h", expect=(2,)).err)

    def test_percentiles_are_close(self):
        store = self.store()
        spans = sorted(int(10 ** self.random.uniform(0, 9)) for _ in range(500))
        store.append_lines([text for n, us in enumerate(spans) for text in
                            (line(f"a{n}", "A_EVENT", 0, story=f"s{n}"),
                             line(f"b{n}", "B_EVENT", us / 1e6, story=f"s{n}"))])
        hop, = store.lines("stats", "--hops")
        for percent in (50, 95, 99):
            true = spans[500 * percent // 100 - 1]
            self.assertLessEqual(abs(hop[f"p{percent}_us"] - true), true * 0.033 + 1)


if __name__ == "__main__":
    unittest.main()
