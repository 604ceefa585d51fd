"""Several stores in one look, and bundles of stores that are elsewhere: one story, whose event is whose, and
what is known of their clocks."""
import json
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402
from test_views import columns_of  # noqa: E402

HOST_OF = {"orchestrator": "laptop", "onextree": "server", "stamper": "server"}
# As cli.STORY, but what goes to the server comes back.
STORY = tuple((n, {5: 4, 6: 5}.get(n, cause), *more) for n, cause, *more in cli.STORY)
FATES = {"laptop": "sent 2 1041\nsent 0 318\nsent 2 1042\n",
         "server": "sent 0 318\nsent 1 2207\n"
                   "dead NON_RETRYABLE_VALIDATION MSG_SIZE_TOO_LARGE 1 1,204,113 bytes are too many\n"}


def line(event_id, cause, at, correlation="story", host="a", **more):
    """An event at so many seconds, as its host's clock had them."""
    return json.dumps({"event_id": event_id, "event_type": more.pop("event_type", f"TYPE_{event_id}"),
                       "topic": more.pop("topic", "t.v1"),
                       "correlation_id": correlation, **({"causation_id": cause} if cause else {}), "source": host,
                       "timestamp": f"2026-03-01T10:{int(at) // 60:02}:{at % 60:09.6f}Z", **more}).encode()


class Case(cli.Case):
    def one(self, name, lines, fates=None):
        """A store in a folder of that name."""
        side = self.side()
        store = rig.Store(path=side / name)
        self.addCleanup(store.remove)
        if lines:
            store.append_lines(lines)
        if fates:
            cli.settle(store, fates)
        return store

    def side(self):
        """One folder for the stores of a test; what fits a line must not depend on where this run keeps its
        folders."""
        if not hasattr(self, "folder"):
            holder = rig.Store(parent="/tmp")
            self.addCleanup(holder.remove)
            self.folder = holder.side
        return self.folder

    def hosts(self, behind=1.75):
        """The story of cli.STORY on two hosts, the server's clock so far behind."""
        lines = {"laptop": [], "server": []}
        for (*_, source), told in zip(STORY, self.told_lines(behind)):
            lines[HOST_OF[source]].append(told)
        return [self.one(name, lines[name], FATES[name]) for name in ("laptop", "server")]

    @staticmethod
    def told_lines(behind=1.75):
        return [line(cli.event_id(n), cli.CORRELATION if cause is None else cli.event_id(cause),
                     30 + at - (behind if HOST_OF[source] == "server" else 0),
                     cli.CORRELATION, source, event_type=kind, topic=cli.BRIDGE + topic) for n, cause, at, topic,
                kind, source in STORY]

    def ask(self, sources, *args, expect=(0,), stdin=None, columns=None, **env):
        argv = [rig.sidelog(), *(f"--store={getattr(s, 'path', s)}" for s in sources), *map(str, args)]
        done = rig.run(argv, expect=expect, stdin=stdin, env=cli.environment(columns, **env))
        done.text = done.stdout.decode("utf-8", "backslashreplace")
        return done

    def lines(self, sources, *args, expect=(0,), **more):
        return [json.loads(one)
                for one in self.ask(sources, *args, "--json", expect=expect, **more).stdout.splitlines()]

    def bundle(self, store, correlation, name, *args):
        path = self.side() / f"{name}.jsonl"
        self.ask([store], "bundle", correlation, "--out", path.with_suffix(".html"), *args)
        return path


class Story(Case):
    def test_at_every_width(self):
        hosts = self.hosts()
        for name, *command in (("trace", "trace", cli.CORRELATION), ("raw", "trace", cli.CORRELATION, "--no-skew"),
                               ("query", "query"),
                               ("show", "show", cli.event_id(4)),
                               ("diff", "diff", cli.CORRELATION, cli.CORRELATION),
                               ("check", "check", cli.CORRELATION),
                               ("times", "trace", cli.CORRELATION, "--times")):
            for columns in (60, 80, 200):
                with self.subTest(view=name, columns=columns):
                    text = self.ask(hosts, *command, columns=columns, expect=(0, 4)).text
                    if name != "times":
                        self.golden(f"several-{name}-{columns}.txt", text)
                    for one in text.splitlines():
                        if name != "show" and not re.match("[AB]  ", one):
                            self.assertLessEqual(columns_of(one), columns, one)
        text = self.ask(hosts, "trace", cli.CORRELATION, columns=120, LC_ALL="C").text
        self.assertTrue(text.isascii())
        self.golden("several-trace-ascii.txt", text)

    def test_the_clock_is_said_and_used(self):
        hosts = self.hosts()
        text = self.ask(hosts, "trace", cli.CORRELATION).text
        self.assertIn("clock of server is 0.131 s..1.752 s behind laptop (from 4 causes); its times are told 942 ms "
                      "later (~)", text)
        self.assertNotIn("before its cause", text)
        raw = self.ask(hosts, "trace", cli.CORRELATION, "--no-skew").text
        self.assertNotIn("~", raw)
        self.assertIn("132 ms before its cause: clocks differ", raw)
        *events, last = self.lines(hosts, "trace", cli.CORRELATION)
        self.assertEqual([c | {"text": ""} for c in last["clocks"]],
                         [{"store": "server", "than": "laptop", "ahead_least_us": -1_752_000 + 1,
                           "ahead_most_us": -131_001, "causes": 4,
                           "contradicts": False, "shift_us": -941_500, "text": ""}])
        # Times of events are as they were written.
        self.assertEqual(next(e["occurred_at"] for e in events if e["event_id"] == cli.event_id(2)),
                         "2026-03-01T10:00:29.880000Z")
        self.assertEqual({e["event_id"]: e["store"] for e in events},
                         {cli.event_id(n): HOST_OF[source] for n, *_, source in STORY})

    def test_causes_join_across_stores(self):
        a = self.one("a", [line("1", None, 1, "one"), line("3", "2", 3, "one"), line("5", "4", 5, "two")])
        b = self.one("b", [line("2", "1", 2, "one"), line("4", "3", 4, "two")])
        self.assertIn("is not in this store", self.ask([a], "trace", "one").text)
        text = self.ask([a, b], "trace", "one").text
        self.assertNotIn("is not in", text)
        self.assertRegex(text, r"TYPE_1.* a .*\n.*└ TYPE_2 .* b .*\n.*  └ TYPE_3 .* a ")
        self.assertIn("led to seq 2 of b of correlation two", text)
        self.assertIn("caused by seq 2 of a of correlation one", self.ask([b, a], "trace", "two").text)
        for args, ids in ((("--cause", "5"), "12345"), (("--effects", "1"), "12345"),
                          (("--path", "2", "5"), "2345")):
            with self.subTest(args):
                self.assertEqual({e["event_id"] for e in self.lines([a, b], "trace", *args)[:-1]}, set(ids))
        other = self.one("d", [line("x", None, 1), line("y", None, 2)])
        self.assertIn("seq 2 is of several", self.ask([other, a], "trace", "--cause", 2, expect=(2,)).err)
        self.assertEqual(self.ask([a, b], "check", "one").text.split("\n")[0],
                         "nothing is wrong with 3 events of 1 correlation")
        self.assertIn("orphan", self.ask([b], "check", "one", expect=(4,)).text)
        gone = self.one("c", [line("x", "gone", 1, "one")])
        text = self.ask([a, b, gone], "check", "one", expect=(4,)).text
        self.assertIn("its cause gone is not in any of these stores, and was trimmed from none",
                      re.sub(r"\s+", " ", text))

    def test_three_hosts(self):
        """a asks b, b asks c, and back: b is 5 s ahead, c half a second behind b."""
        ahead = {"a": 0, "b": 5, "c": 4.5}
        lines = {h: [] for h in ahead}
        for n, (host, at) in enumerate((("a", 10), ("b", 10.1), ("c", 10.2), ("b", 10.3), ("a", 10.4))):
            lines[host].append(line(f"e{n}", f"e{n - 1}" if n else None, at + 0.0005 + ahead[host], host=host))
        hosts = [self.one(h, lines[h]) for h in ahead]
        text = self.ask(hosts, "trace", "story").text
        self.assertIn("clock of b is 4.900 s..5.100 s ahead of a (from 2 causes); its times are told 5.000 s "
                      "earlier (~)", text)
        self.assertIn("clock of c is 4.300 s..4.700 s ahead of a (by way of others); its times are told 4.500 s "
                      "earlier (~)", text)
        self.assertEqual(re.findall(r"TYPE_e\d", text), [f"TYPE_e{n}" for n in range(5)])
        self.assertIn("~+0.200", text)
        # Whichever comes first, what is known is the same.
        self.assertIn("clock of a is 4.900 s..5.100 s behind b",
                      self.ask([hosts[1], hosts[0]], "trace", "story").text)
        found = self.lines(hosts, "check", "story", expect=(4,))
        self.assertEqual([(f["finding"], f["store"]) for f in found[:-1]], [("clocks", "b"), ("clocks", "c")])

    def test_what_is_not_known_is_not_said(self):
        a = self.one("a", [line("1", None, 1), line("2", None, 9)])
        b = self.one("b", [line("3", None, 2)])
        self.assertIn("how the clock of b differs is not known: no cause joins it to another",
                      self.ask([a, b], "trace", "story").text)
        one_way = self.one("c", [line("4", "1", 2.5)])
        text = self.ask([a, one_way], "trace", "story").text
        self.assertRegex(text, r"clock of c is at most 1\.50\d s ahead of a \(from 1 cause, one way only\)")
        self.assertNotIn("~", text)
        early = self.one("d", [line("5", "1", 0.25)])
        self.assertIn("at least 0.749 s behind a (from 1 cause, one way only); its times are told 750 ms later "
                      "(~)",
                      self.ask([a, early], "trace", "story").text)

    def test_other_stories_tell_of_the_clocks_too(self):
        """A story with causes one way only, beside others that bound the clocks on both sides, and more
        closely."""
        a, b = [line("q", None, 10)], [line("r", "q", 9.4)]  # of `story`: b is behind by 0.6 s at least
        a += [line("x", None, 20, "other"), line("z", "y", 20.1, "other")]
        b += [line("y", "x", 19.3, "other")]
        a, b = self.one("a", a), self.one("b", b)
        clock = self.lines([a, b], "trace", "story")[-1]["clocks"][0]
        self.assertEqual((clock["ahead_most_us"], clock["ahead_least_us"], clock["causes"]),
                         (-700_000 + 999, -800_000 - 999, 3))
        self.assertIn("clock of b is 0.699 s..0.801 s behind a (from 3 causes)",
                      self.ask([a, b], "trace", "story").text)
        self.assertIn("0.699 s..0.801 s behind", self.ask([a, b], "check", "story", expect=(0, 4)).text)

    def test_what_contradicts_the_story_is_left_out(self):
        """In another story a clock had been set meanwhile."""
        a = self.one("a",
                     [line("q", None, 10), line("s", "r", 10.5), line("x", None, 20, "other"),
                      line("z", "y", 20.1, "other")])
        b = self.one("b", [line("r", "q", 9.4), line("y", "x", 900, "other")])
        clock = self.lines([a, b], "trace", "story")[-1]["clocks"][0]
        self.assertEqual((clock["contradicts"], clock["causes"]), (False, 2))

    def test_a_copy_among_other_stories_tells_nothing(self):
        """It has the time of the host that it came from."""
        copy = line("y", "x", 25, "other")
        a = self.one("a", [line("q", None, 10), line("x", None, 20, "other"), copy])
        b = self.one("b", [line("r", "q", 9.4), copy, line("w", "y", 24, "other")])
        clock = self.lines([a, b], "trace", "story")[-1]["clocks"][0]
        self.assertEqual((clock["ahead_most_us"], clock["causes"]), (-600_000 + 999, 1))

    def test_clocks_that_contradict_themselves(self):
        a = self.one("a", [line("1", None, 1), line("4", "3", 8)])
        b = self.one("b", [line("2", "1", 0.5), line("3", None, 9)])
        text = self.ask([a, b], "trace", "story").text
        self.assertIn("the clocks of a and b cannot be told", text)
        self.assertIn("before its cause: clocks differ", text)
        self.assertNotIn("~", text)
        self.assertIn("clocks", {f.get("finding") for f in self.lines([a, b], "check", "story", expect=(4,))})


class Graphs(Case):
    """A graph that is spread over stores is the graph that it is in one."""

    def test_spread_over_stores(self):
        stories, ids = ("red", "green"), [f"n{n}" for n in range(60)]
        graph = [(i,
                  self.random.choice([None, i, f"gone{n}", *[self.random.choice(ids[:n] or ids)] * 7,
                                      *[self.random.choice(ids)] * 2]),
                  self.random.choice(stories)) for n, i in enumerate(ids)]
        lines = [line(i, cause, n / 10, story) for n, (i, cause, story) in enumerate(graph)]
        whole, parts = self.one("whole", lines), ([], [], [])
        for one in lines:
            self.random.choice(parts).append(one)
        spread = [self.one(f"part{k}", part) for k, part in enumerate(parts) if part]
        spread[-1] = self.bundle_of_all(spread[-1])
        self.random.shuffle(spread)

        def findings(sources, story):
            lines = self.lines(sources, "check", story, "--no-skew", expect=(0, 4))
            return sorted((f["finding"], f["event_id"]) for f in lines[:-1]
                          if f["finding"] not in ("clocks", "before-cause"))

        for story in stories:
            drawn = [re.findall(r"\+(\d+\.\d+) .*?((?:[│├└ ] ?)*)(TYPE_n\d+)",
                                self.ask(s, "trace", story, "--no-skew").text) for s in ([whole], spread)]
            self.assertEqual(len(drawn[0]), sum(of == story for *_, of in graph))
            self.assertEqual(drawn[0], drawn[1])
            self.assertEqual(findings([whole], story), findings(spread, story))
        for i in self.random.sample(ids, 5):
            for args in (("--cause", i), ("--effects", i), ("--path", ids[0], i)):
                with self.subTest(args):
                    alone = self.ask([whole], "trace", *args, "--json", expect=(0, 1))
                    together = self.ask(spread, "trace", *args, "--json", expect=(alone.returncode,))
                    names = [sorted(e["event_id"] for e in map(json.loads, t.text.splitlines()) if "event_id" in e)
                             for t in (alone, together)]
                    self.assertEqual(names[0], names[1])

    def bundle_of_all(self, store):
        path = self.side() / "all.jsonl"
        path.write_bytes(store.call("export").stdout)
        return path


class Copies(Case):
    def pair(self):
        both = line("1", None, 1, host="x")
        a = self.one("a", [both, line("2", "1", 2)], "sent 0 7\n")
        b = self.one("b", [line("3", "1", 3), both], "sent 1 5\n")
        return a, b

    def test_an_event_in_both_comes_once_with_both_fates(self):
        a, b = self.pair()
        text = self.ask([a, b], "trace", "story").text
        self.assertEqual(text.count("TYPE_1"), 1)
        self.assertIn("3 events", text.split("\n")[0])
        self.assertIn("also in b: pending", text)
        self.assertIn("also in a: sent t.v1[0]@7", self.ask([b, a], "trace", "story").text)
        events = self.lines([a, b], "query")
        self.assertEqual(sorted(e["event_id"] for e in events), ["1", "2", "3"])
        self.assertEqual([(c["store"], c["seq"], c["status"]) for e in events for c in e.get("also_in", ())],
                         [("b", 2, "pending")])
        self.assertRegex(self.ask([a, b], "query").text, r"a\+b +1 +sent\+pending")
        self.assertEqual(self.ask([a, b], "query", "--count").text, "3\n")
        self.assertEqual([(g["value"], g["count"]) for g in self.lines([a, b], "query", "--group-by", "source")],
                         [("a", 2), ("x", 1)])
        self.assertIn("a, also in b: pending", self.ask([a, b], "show", "1").text)
        self.assertEqual(len(self.lines([a, b], "export")), 3)
        self.ask([a, b], "check", "story")

    def test_a_condition_that_one_copy_meets_finds_it(self):
        a, b = self.pair()
        self.assertEqual([(e["store"], e["event_id"])
                          for e in self.lines([a, b], "query", "status=pending", "event_id=1")], [("b", "1")])
        self.assertEqual([e["store"] for e in self.lines([b, a], "query", "status=sent", "event_id=1")], ["a"])

    def test_another_event_under_the_same_id(self):
        a = self.one("a", [line("1", None, 1, n=1), line("2", "1", 2)])
        b = self.one("b", [line("1", None, 1, n=2)])
        text = self.ask([a, b], "trace", "story").text
        self.assertEqual(text.count("TYPE_1"), 2)
        self.assertIn("differs from seq 1 of a of the same id", text)
        found = self.lines([a, b], "check", "story", expect=(4,))
        self.assertEqual([(f["finding"], f["store"], f["event_id"]) for f in found[:-1]],
                         [("differs", "a", "1"), ("differs", "b", "1")])
        self.assertEqual(len(self.lines([a, b], "query", "event_id=1")), 2)

    def test_limits_and_order(self):
        a, b = (self.one(name, [line(f"{name}{n}", None, n) for n in range(9)]) for name in "ab")
        everything = self.lines([a, b], "query")
        self.assertEqual(len(everything), 18)
        self.assertEqual(everything, sorted(everything, key=lambda e: (e["appended_at"], e["store"], e["seq"])))
        for n in (1, 5, 17, 30):
            self.assertEqual(self.lines([a, b], "query", "-n", n), everything[-n:])
        self.assertEqual([e["event_id"] for e in self.lines([a, b], "query", "--order", "-occurred_at", "-n", 3)],
                         ["b8", "a8", "b7"])
        self.assertEqual([e["event_id"] for e in self.lines([b, a], "query", "--order", "event_id", "-n", 2)],
                         ["a0", "a1"])

    def test_the_newest_behind_many_copies(self):
        """What came late to a relay, in which copies of old events are newer still."""
        old = [line(f"a{n}", None, n) for n in range(60)]
        a, b = self.one("a", old), self.one("b", [line(f"b{n}", None, n) for n in range(5)] + old)
        everything = [e["event_id"] for e in self.lines([a, b], "query")]
        self.assertEqual(everything, [f"a{n}" for n in range(60)] + [f"b{n}" for n in range(5)])
        for n in (1, 3, 6, 40, 64, 65, 66, 1000):
            self.assertEqual([e["event_id"] for e in self.lines([a, b], "query", "-n", n)], everything[-n:])
            self.assertEqual([e["event_id"] for e in self.lines([a, b], "query", "-n", n, "source~a")],
                             everything[-n:])


class Manners(Case):
    def test_mistakes_are_explained(self):
        a, b = self.one("a", [line("1", None, 1)]), self.one("b", [line("2", None, 1)])
        for sources, args, code, words in (
                ([a, a], ("trace", "story"), 2, "are the same store: give each once"),
                ([a, self.side() / "." / "a"], ("query",), 2, "are the same store"),
                ([a, self.side() / "none"], ("query",), 3, "none"),
                ([f"x={a.path}", f"x={b.path}"], ("query",), 2, "two stores are called x"),
                ([a, b], ("stats",), 2, "several go with --hops"),
                ([a, b], ("tail",), 2, "tail is of one store"),
                ([a, b], ("append", "--topic", "t", "x"), 2, "append is of one store"),
                ([a, b], ("trace", "nobody"), 1, "in any of these stores"),
                ([a, b], ("query", "source=nobody"), 1, "no event in these 2 stores meets"),
                ([a, b], ("show", "99"), 1, "no event 99 in these 2 stores")):
            with self.subTest(args=args, words=words):
                self.assertIn(words, self.ask(sources, *args, expect=(code,)).err)

    def test_names(self):
        first, second = self.one("x/sidelog/default",
                                 [line("1", None, 1)]), self.one("y/sidelog/default", [line("2", None, 1)])
        self.assertEqual({e["store"] for e in self.lines([first, second], "query")}, {"x", "y"})
        self.assertEqual({e["store"] for e in self.lines([f"here={first.path}", second], "query")}, {"here", "y"})
        third = self.one("z/x", [line("3", None, 1)])
        self.assertEqual([e["store"] for e in self.lines([first, third], "query", "--order", "event_id")],
                         ["x", "z"])
        odd = self.one("a=b", [line("4", None, 1)])  # a folder of that name is no NAME=PATH
        done = subprocess.run([rig.sidelog(), "--store", "a=b", "query", "--count"], cwd=self.side(),
                              capture_output=True, check=True)
        self.assertEqual((done.stdout, odd.path.name), (b"1\n", "a=b"))

    def test_hops_across_stores(self):
        a = self.one("a", [line(f"q{n}", None, n, f"s{n}", event_type="ASKED") for n in range(1, 5)])
        b = self.one("b", [line(f"r{n}", f"q{n}", n + 0.25, f"s{n}", event_type="TOLD") for n in range(1, 5)])
        self.assertEqual([(h["from"], h["to"], h["count"], h["max_us"])
                          for h in self.lines([a, b], "stats", "--hops")], [("ASKED", "TOLD", 4, 250_000)])

    def asked_and_answered(self, count=30, behind=1.3):
        """Stories that go from a to b and back, a quarter of a second each way."""
        a, b = [], []
        for n in range(count):
            a += [line(f"q{n}", None, n + 5, f"s{n}", event_type="ASKED"),
                  line(f"t{n}", f"r{n}", n + 5.5, f"s{n}", event_type="DONE")]
            b += [line(f"r{n}", f"q{n}", n + 5.25 - behind, f"s{n}", event_type="TOLD")]
        return self.one("a", a), self.one("b", b)

    def as_if_appended(self, store):
        """Its events in a file, each appended a millisecond after it occurred, by its host's clock."""
        path = self.side() / f"{store.path.name}.jsonl"
        events = [json.loads(one) for one in store.call("export").stdout.splitlines()]
        for event in events:
            event["appended_at"] = event["occurred_at"][:-5] + "999Z"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return path

    def test_usual_times_are_each_stores_own(self):
        """Between two clocks nothing is slow for sure; and that they differ is said once."""
        found = self.lines(self.asked_and_answered(), "check", "--since", "-1h", expect=(4,))
        self.assertEqual([(f["finding"], f["store"]) for f in found[:-1]], [("clocks", "b")])
        self.assertEqual(found[-1]["correlations"], 30)

    def test_hops_are_told_by_one_clock(self):
        stores = [self.as_if_appended(store) for store in self.asked_and_answered()]
        hops = {(h["from"], h["to"]): h for h in self.lines(stores, "stats", "--hops")}
        for pair in (("ASKED", "TOLD"), ("TOLD", "DONE")):
            self.assertEqual(hops[pair]["count"], 30)
            self.assertAlmostEqual(hops[pair]["p50_us"], 250_000, delta=10_000)
        self.assertIn("clock of b is 1.050 s..1.551 s behind a (from 60 causes)",
                      re.sub(r"1\.0[45]\d", "1.050", self.ask(stores, "stats", "--hops").err))
        raw = self.lines(stores, "stats", "--hops", "--no-skew")
        self.assertNotIn(250_000, [h["p50_us"] // 10_000 * 10_000 for h in raw])

    def test_exports_name_the_store(self):
        hosts = self.hosts()
        rows = self.ask(hosts, "export", "--format", "csv").text.splitlines()
        self.assertTrue(rows[0].endswith(",store"))
        self.assertEqual({row.rsplit(",", 1)[1] for row in rows[1:]}, {"laptop", "server"})
        for name, words in (("otlp", '"sidelog.store"'), ("jaeger", '"key":"store"'), ("dot", "seq 3 of server"),
                            ("mermaid", "seq 3 of server")):
            self.assertIn(words, self.ask(hosts, "export", "--format", name).text)
        self.assertNotIn("not among these", self.ask(hosts, "export", "--format", "dot").text)


class Bundles(Case):
    def test_a_bundle_is_a_store(self):
        """What a store says, its bundle says."""
        store = self.hosts()[1]
        store.append("t.v1", b"\xff\x00", key="k", tenant="acme", headers={"h": "v", "e": "\x1b"},
                     correlation=cli.CORRELATION, causation="gone")
        store.append("t.v1", b"[1,\n2]", correlation=cli.CORRELATION)
        store.append("t.v1", b"", correlation=cli.CORRELATION)
        store.append("t.v1", b"[" * 999 + b"]" * 999, correlation=cli.CORRELATION)
        path = self.bundle(store, cli.CORRELATION, "b", "--no-redact")
        whole = self.side() / "whole.jsonl"
        whole.write_bytes(store.call("export").stdout)
        for args in (("trace", cli.CORRELATION), ("trace", cli.CORRELATION[:9], "--times"),
                     ("trace", "--cause", cli.event_id(3)[:-1] + "3"),
                     ("query",), ("query", "-n", 2), ("query", "status=dead"),
                     ("query", "--type", "*_CREATED", "--json", "--value"), ("query", "key=k"),
                     ("query", "header.h=v", "--count"), ("query", "--group-by", "event_type"),
                     ("query", "--order", "-size", "-n", 3),
                     ("show", cli.event_id(4)), ("show", 2), ("show", 4, "--raw"), ("show", 5, "--raw"),
                     ("export",), ("export", "--format", "csv"),
                     ("export", "--format", "jaeger"), ("stats", "--hops"),
                     ("diff", cli.CORRELATION, cli.CORRELATION), ("query", "--since", "-1h", "status!=sent"),
                     ("query", "--correlation", "0190a6c2", "seq>2"), ("trace", "nobody")):
            here = self.ask([store], *args, expect=(0, 1))
            for file in (path, whole):
                if file == whole and args[0] == "trace":
                    continue  # what is in line only a bundle says
                with self.subTest(args=args, file=file.name):
                    text = self.ask([file], *args, expect=(here.returncode,)).text
                    self.assertNotIn("sidelog dlq", text)  # there is none in a bundle
                    hint = re.compile(r"\n *-> sidelog (dlq )?show \S+\n")
                    self.assertEqual(cli.steady(hint.sub("\n", text.replace("in this bundle", "in this store"))),
                                     cli.steady(hint.sub("\n", here.text)))

    def test_beside_a_store_it_says_the_same(self):
        a, b = self.hosts()
        bundle = self.bundle(b, cli.CORRELATION, "b")
        for args in (("trace", cli.CORRELATION), ("trace", cli.CORRELATION, "--times"), ("query",),
                     ("check", cli.CORRELATION), ("diff", cli.CORRELATION, cli.CORRELATION),
                     ("trace", cli.CORRELATION, "--json"), ("check", cli.CORRELATION, "--json"), ("export",),
                     ("show", cli.event_id(4)), ("stats", "--hops"),
                     ("export", "--format", "mermaid"), ("trace", "--effects", cli.event_id(1))):
            with self.subTest(args):
                live = self.ask([a, f"server={b.path}"], *args, expect=(0, 4))
                text = self.ask([a, f"server={bundle}"], *args, expect=(live.returncode,)).text
                self.assertEqual(cli.steady(re.sub(r"; of a bundle made [-\d]+ [:.\d]+", "", text)),
                                 cli.steady(live.text))

    def test_a_bundle_of_several(self):
        a, b = self.hosts()
        both = self.side() / "both.jsonl"
        self.ask([a, b], "bundle", cli.CORRELATION, "--out", both.with_suffix(".html"))
        page = both.with_suffix(".html").read_text()
        for words in ("<b>server</b>: 3 events; clock of server is 0.131 s..1.752 s behind laptop",
                      "seq 3 of server", "<th>store", 'id="e1-3"', '"#e1-3"'):
            self.assertIn(words, page)
        for args in (("trace", cli.CORRELATION, "--json"), ("query",), ("check", cli.CORRELATION, "--json"),
                     ("export",)):
            with self.subTest(args):
                live = self.ask([a, b], *args, expect=(0, 4))
                self.assertEqual(self.ask([both], *args, expect=(live.returncode,)).text, live.text)
        self.assertEqual({e["store"] for e in self.lines([f"x={both}"], "query")}, {"x.laptop", "x.server"})
        # A bundle of a bundle, beside one of the stores.
        again = self.side() / "again.jsonl"
        self.ask([both], "bundle", cli.CORRELATION, "--out", again.with_suffix(".html"))
        events = self.lines([f"live={b.path}", again], "query")
        self.assertEqual({(e["store"], *(c["store"] for c in e.get("also_in", ()))) for e in events},
                         {("live", "server"), ("laptop",)})
        self.assertEqual(len(events), 7)

    def test_what_was_masked_is_no_other_event(self):
        secret = line("1", None, 1, payload={"password": "hunter2hunter2"})
        a, b = self.one("a", [secret]), self.one("b", [secret, line("2", "1", 2)])
        bundle = self.bundle(b, "story", "b")
        self.assertNotIn("hunter2", bundle.read_text())
        events = self.lines([a, f"b={bundle}"], "query")
        self.assertEqual([c["store"] for e in events for c in e.get("also_in", ()) if "differs" not in c], ["b"])
        self.ask([a, f"b={bundle}"], "check", "story")
        other = self.one("c", [line("1", None, 1, payload={"password": "hunter2hunter2", "n": 2})])
        self.assertIn("differs",
                      {f.get("finding")
                       for f in self.lines([other, f"b={bundle}"], "check", "story", expect=(4,))})

    def test_an_orphan_in_a_bundle(self):
        store = self.one("a", [line("1", None, 1, "other"), line("2", "1", 2)])
        bundle = self.bundle(store, "story", "b")
        text = re.sub(r"\s+", " ", self.ask([bundle], "check", "story", expect=(4,)).text)
        self.assertIn("its cause 1 is not in this bundle: ", text)
        self.assertIn("is a bundle, which holds a part of its store", text)

    def test_from_a_pipe(self):
        store = self.hosts()[1]
        bundle = self.bundle(store, cli.CORRELATION, "b")
        self.assertEqual(len(self.lines(["-"], "query", stdin=bundle.read_bytes())), 3)
        done = subprocess.run(["bash", "-c", f"{rig.sidelog()} --store <(cat {bundle}) query --count"],
                              capture_output=True, check=True)
        self.assertEqual(done.stdout, b"3\n")

    def test_what_needs_a_store_says_so(self):
        bundle = self.bundle(self.hosts()[1], cli.CORRELATION, "b")
        for args, words in ((("tail",), "is a bundle, and tail needs a store"), (("status",), "needs a store"),
                            (("stats",), "not of a bundle"),
                            (("trim", "--max-events", 1), "needs a store")):
            self.assertIn(words, self.ask([bundle], *args, expect=(2,)).err)


class Damage(Case):
    """Whatever is in the file, what can be read is read, and the rest is said."""

    def file(self, *lines, name="x.jsonl", end=b"\n"):
        path = self.side() / name
        path.write_bytes(b"\n".join(lines) + end)
        return path

    @staticmethod
    def event(n, **more):
        return json.dumps({"seq": n, "event_id": f"e{n}", "event_type": "T", "topic": "t.v1",
                           "correlation_id": "story", "causation_id": None,
                           "appended_at": f"2026-03-01T10:00:{n % 60:02}.000000Z", "status": "pending"}
                          | more).encode()

    def test_a_bad_line_is_said_and_passed_over(self):
        good = [self.event(1), self.event(2)]
        for bad, words in ((b"nonsense", "is no JSON"), (b"[1]", "is no JSON object"), (b'{"seq":3', "is no JSON"),
                           (b"\xff\xfe", "is no JSON"),
                           (self.event(3, status="lost"), "in status"),
                           (self.event(3, appended_at="soon"), "in appended_at"),
                           (self.event(3, appended_at="-1h"), "in appended_at"), (self.event(-3), "in seq"),
                           (self.event(3, seq=1.5), "in seq"),
                           (self.event(3, seq=12345678901234567890123), "in seq"),
                           (self.event(3, event_id=7), "in event_id"), (self.event(3, topic=None), "lacks topic"),
                           (self.event(3, headers={"a": 1}), "in headers"),
                           (self.event(3, headers=[1]), "in headers"),
                           (self.event(3, value_base64="***"), "in value_base64"),
                           (self.event(3, value_base64="QQ="), "in value_base64"),
                           (self.event(3, partition=1 << 40), "in partition"),
                           (b"{" + b'"a":[' * 1200 + b"]" * 1200 + b"}", "is no JSON"),
                           (self.event(3).replace(b"T", b"\xc3("), "is no JSON"), (b"\x00" * 100, "is no JSON"),
                           (b'"' * 100, "is no JSON")):
            with self.subTest(bad=bad[:60]):
                path = self.file(good[0], bad, good[1])
                done = self.ask([path], "query", expect=(4,))
                self.assertIn(f"{path}: line 2 ", done.err)
                self.assertIn(words, done.err)
                self.assertEqual([e["seq"] for e in self.lines([path], "query", expect=(4,))], [1, 2])

    def test_what_else_may_stand_in_it(self):
        path = self.file(self.event(2), b"", self.event(1) + b"\r", b'{"clocks":[]}',
                         self.event(3, unknown={"a": [1, "}"]}, causation_id="e1"), end=b"")
        self.assertEqual([e["seq"] for e in self.lines([path], "query")], [1, 2, 3])
        self.assertIn("└ T", self.ask([path], "trace", "story").text)

    def test_a_file_that_is_no_bundle_is_said_once(self):
        page = self.file(b"<!doctype html>", *[b"<p>story</p>"] * 50, name="x.html")
        done = self.ask([page], "trace", "story", expect=(3,))
        self.assertEqual(done.err.count("\n"), 1, done.err)
        self.assertIn("nor the .jsonl file that `sidelog bundle`", done.err)
        # What comes before all that can be read is said, too.
        late = self.file(b"nonsense", self.event(1))
        self.assertIn("line 1 is no JSON; passed over", self.ask([late], "query", expect=(4,)).err)

    def test_a_later_form_is_refused(self):
        path = self.file(b'{"sidelog_bundle":2,"stores":[]}', self.event(1))
        self.assertIn("is a bundle of a later form than this sidelog reads (1): use a newer sidelog",
                      self.ask([path], "query", expect=(3,)).err)
        for nothing in (b"", b"\n\n", b"hello", b"{}", b'{"sidelog_bundle":1}'):
            self.assertIn("has no event in it", self.ask([self.file(nothing)], "query", expect=(3,)).err)

    def test_a_file_that_was_cut(self):
        store = self.one("s", [line(str(n), None, n) for n in range(5)])
        whole = self.bundle(store, "story", "b").read_bytes()
        lines = whole.splitlines(True)
        cut = self.file(b"".join(lines[:4]), name="cut.jsonl", end=b"")
        done = self.ask([cut], "query", expect=(4,))
        self.assertIn("cut.jsonl is cut short", done.err)
        self.assertEqual(done.text.count("TYPE_"), 3)
        less = self.file(b"".join(lines[:2] + lines[3:]), name="less.jsonl", end=b"")
        self.assertIn("events are missing that it once had", self.ask([less], "query", expect=(4,)).err)
        for size in self.random.sample(range(len(whole)), 25):  # wherever it was cut, it is said
            done = self.ask([self.file(whole[:size], name="any.jsonl", end=b"")], "query", expect=(3, 4))
            self.assertRegex(done.err, "any.jsonl")
        twice = self.file(self.event(1), self.event(1, event_id="other"))
        self.assertIn("lines of one seq", self.ask([twice], "query", expect=(4,)).err)

    def test_ids_keep_their_limits(self):
        long = "x" * 5000
        path = self.file(self.event(1, event_id=long, correlation_id=long + "y", causation_id="é" * 4000,
                                    event_type=long, topic=long, tenant=long, source=long),
                         self.event(2, event_id="a\0b", correlation_id="c\0"),
                         self.event(3, key="k\0", value={"a": "\0"}))
        first, second, third = self.lines([path], "query")
        self.assertEqual((len(first["event_id"]), first["causation_id"]), (255, "é" * 127))
        self.assertEqual((second["event_id"], third["key"]), ("a\ufffdb", "k\0"))
        for args in (("trace", long[:255]), ("check", long[:255]), ("trace", "--cause", long[:255]),
                     ("trace", "--effects", long[:255]), ("query", "--group-by", "event_id"),
                     ("export", "--format", "dot"), ("show", "1"),
                     ("bundle", long[:255], "--out", self.side() / "again.html")):
            self.ask([path], *args, expect=(0, 4))

    def test_a_line_of_many_bytes(self):
        path = self.side() / "huge.jsonl"
        with path.open("wb") as f:
            f.write(self.event(1) + b"\n")
            f.write(b'{"a":"')
            for _ in range(70):
                f.write(b"x" * (1 << 20))
            f.write(b'"}\n' + self.event(2) + b"\n" + self.event(3, value="v" * (10 << 20)) + b"\n")
        done = self.ask([path], "query", expect=(4,))
        self.assertIn("line 2 is longer than any event can be", done.err)
        self.assertEqual(done.text.count("pending"), 3)
        self.assertEqual(len(self.ask([path], "show", 3, "--raw", expect=(4,)).stdout), (10 << 20) + 2)

    def test_nothing_disturbs_the_terminal(self):
        evil = "\x1b[31m\x1b]0;title\x07\x9b2J\u202eabc\u2066\u200b\r\n\t\x7f\U000e0041"
        head = json.dumps({"sidelog_bundle": 1, "host": evil, "made_at": evil, "redacted": evil,
                           "stores": [{"name": evil, "store_id": evil, "last_seq": evil}, {}, 7]})
        fields = {k: k[0] + evil
                  for k in ("event_id", "event_type", "topic", "correlation_id", "tenant", "source", "key",
                            "error_code", "error_class", "error_text")}
        path = self.file(head.encode(), self.event(1, **fields, store=evil),
                         self.event(2, **fields | {"event_id": "e1"}, status="dead", causation_id="e" + evil),
                         b"\x1b[2J", json.dumps({"sidelog_bundle_end": True, "events": 3}).encode(),
                         name="\x1b[2Jx.jsonl")
        other = self.one("o", [line("o", "e" + evil, 1, "c" + evil)])
        story = "c" + evil
        from test_views import Hostile
        for args in (("query",), ("trace", story), ("trace", story, "--times"), ("check", story), ("show", 1),
                     ("diff", story, story), ("query", "--group-by", "source"),
                     ("query", "source=none"), ("stats", "--hops"), ("trace", "--cause", "e1"), ("export",)):
            for sources in ([path], [path, other]):
                with self.subTest(args=args, sources=len(sources)):
                    argv = [rig.sidelog(), *(f"--store={getattr(s, 'path', s)}" for s in sources), *map(str, args)]
                    out, _ = cli.on_terminal(argv)
                    self.assertTrue(out)
                    Hostile.assert_harmless(self, out)


if __name__ == "__main__":
    unittest.main()
