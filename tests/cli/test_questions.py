"""Conditions on any field, counting, grouping, order, and what an empty answer says of itself."""
import base64
import decimal
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Fields(cli.Case):
    def seqs(self, store, *args, expect=(0, 1)):
        return [e["seq"] for e in store.query(*args, expect=expect)]

    def test_every_field(self):
        store = self.told()
        for condition, seqs in (
            ("seq=3", [3]), ("seq>5", [6, 7]), ("seq!=1", [2, 3, 4, 5, 6, 7]),
            ("event_id=" + cli.event_id(3), [4]),
            ("event_type=*_COMPLETED", [6, 7]), ("type!=*_COMPLETED", [1, 2, 3, 4, 5]),
            ("event_type~completed", [6, 7]),
            ("topic~INTELLIGENCE", [2, 3]), ("topic!~intelligence", [1, 4, 5, 6, 7]), ("source=stamper", [4, 5]),
            ("source!=stamper", [1, 2, 3, 6, 7]), ("source=*st*", [1, 2, 4, 5, 6, 7]),
            ("correlation_id=" + cli.CORRELATION[:9], [1, 2, 3, 4, 5, 6, 7]),
            ("causation_id=" + cli.event_id(1), [3]),
            ("causation_id!=" + cli.event_id(0), [1, 3]), ("status=pending", [7]), ("status!=sent", [5, 7]),
            ("status=dead,pending", [5, 7]), ("status=d*", [5]), ("partition=2", [1, 6]), ("partition!=*", [5, 7]),
            ("offset>1000", [1, 4, 6]),
            ("offset>=318.0", [1, 2, 3, 4, 6]), ("error_code=MSG_SIZE_TOO_LARGE", [5]),
            ("error_class~validation", [5]), ("attempts=1", [5]),
            ("error_text~topic takes", [5]), ("tenant=*", []), ("tenant!=*", [1, 2, 3, 4, 5, 6, 7]),
            ("key=" + cli.CORRELATION, [1, 2, 3, 4, 5, 6, 7]),
            ("occurred_at>2026-03-01T10:00:01.640Z", [6, 7]), ("occurred_at=2026-03-01T10:00:01.640Z", [5]),
            ("occurred_at<=2026-03-01T10:00:00.012Z", [1, 2]), ("appended_at>-1h", [1, 2, 3, 4, 5, 6, 7]),
            ("appended_at<-1h", []),
            ("settled_at=*", [1, 2, 3, 4, 5, 6]), ("/payload/n=4", [5]), ("/payload/n>=5", [6, 7]),
            ("/payload/n!=4", [1, 2, 3, 4, 6, 7]),
            ("/payload ~ \"n\":4", [5]), ("size>10", [1, 2, 3, 4, 5, 6, 7]), ("value~\"hash_generated\"", [4]),
            ("/source=stamper", [4, 5]),
            ("/timestamp>2026-03-01T10:00:01.640Z", [6, 7]),
        ):
            with self.subTest(condition):
                self.assertEqual(self.seqs(store, condition), seqs)
        self.assertEqual(self.seqs(store, "source=orchestrator", "/payload/n>0", "--type", "*_COMPLETED",
                                   "status=sent"), [6])
        self.assertEqual(self.seqs(store, "source=orchestrator", "-n", "2"), [6, 7])

    def test_headers(self):
        store = self.store()
        for n, tries in enumerate(("1", "2", "10", None)):
            store.append("t.v1", b"{}", headers={"x-tries": tries, "x-odd~name": "a"} if tries else {})
        for condition, seqs in (("header.x-tries=2", [2]), ("header.x-tries>2", [3]),
                                ("header.x-tries=*", [1, 2, 3]),
                                ("header.x-tries!=*", [4]), ("header.x-odd\\~name=a", [1, 2, 3])):
            with self.subTest(condition):
                self.assertEqual(self.seqs(store, condition), seqs)

    def test_in_tail_and_export(self):
        store = self.told()
        self.assertEqual([e["seq"] for e in store.lines("export", "/payload/n>4")], [6, 7])
        self.assertEqual([e["seq"] for e in store.lines("tail", "source=stamper", "-n", "1")], [5])

    def test_mistakes_are_explained(self):
        store = self.told()
        for condition, words in (("colour=red", "there is no field colour"),
                                 ("payload/n=1", "there is no field payload/n"), ("=x", "no condition"),
                                 ("source", "no condition"), ("occurred_at>soon", "no time"),
                                 ("status=lost", "write pending")):
            with self.subTest(condition):
                self.assertIn(words, store.call("query", condition, expect=(2,)).err)


class Pointers(cli.Case):
    """Against Python's own reading of the same JSON, whatever is escaped in it."""

    names = ["a", "b", "a/b", "m~n", "", "é", "x\"y", "0", "1", "\\", "\t", "agent_name"]

    def value(self, depth=0):
        r = self.random
        kind = r.randrange(8 if depth < 4 else 5)
        if kind == 0:
            return r.choice([True, False, None])
        if kind == 1:
            return decimal.Decimal(r.choice(["0", "-0", "1", "1.0", "1e0", "10E-1", "12345678901234567890",
                                             "12345678901234567891", "-3.5", "1e400", "0.001"]))
        if kind <= 4:
            return r.choice(["x", "y", "1", "", "a/b", "é€", "\"q\"", "tab\t", "\U0001f600", "null"])
        if kind == 5:
            return [self.value(depth + 1) for _ in range(r.randrange(4))]
        return {r.choice(self.names): self.value(depth + 1) for _ in range(r.randrange(5))}

    def text(self, s):
        out = ""
        for c in s:
            n = self.random.randrange(12)
            if n == 0 and ord(c) < 0x10000:
                out += f"\\u{ord(c):04x}"
            elif n == 1 and c == "/":
                out += "\\/"
            elif c in "\"\\":
                out += "\\" + c
            elif ord(c) < 0x20:
                out += f"\\u{ord(c):04X}"
            else:
                out += c
        return f'"{out}"'

    def write(self, v):
        blank = self.random.choice(["", "", " ", "\n"])
        if isinstance(v, dict):
            return "{" + f",{blank}".join(f"{self.text(k)}{blank}:{blank}{self.write(x)}" for k,
                                          x in v.items()) + blank + "}"
        if isinstance(v, list):
            return "[" + f"{blank},".join(map(self.write, v)) + "]"
        if isinstance(v, decimal.Decimal):
            return str(v)
        return self.text(v) if isinstance(v, str) else json.dumps(v)

    @staticmethod
    def find(v, path):
        for name in path:
            if isinstance(v, dict) and name in v:
                v = v[name]
            elif isinstance(v, list) and re.fullmatch("0|[1-9][0-9]*", name) and int(name) < len(v):
                v = v[int(name)]
            else:
                return None, False
        return v, True

    @staticmethod
    def equals(v, wanted):
        try:
            number = decimal.Decimal(wanted) if re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", wanted) else None
        except decimal.InvalidOperation:
            number = None
        if isinstance(v, decimal.Decimal):
            return number is not None and v.compare(number) == 0
        if v is None or isinstance(v, bool):
            return json.dumps(v) == wanted
        return isinstance(v, str) and v == wanted

    def test_against_another_reader(self):
        with decimal.localcontext() as context:
            context.prec = 60
            store = self.store()
            values = [{"a": self.value(), "agent_name": self.value(1)} for _ in range(250)]
            store.put_all([store.put("t.v1", self.write(v).encode()) for v in values])
            asked = 0
            for _ in range(70):
                base = self.random.choice(values)
                path = []
                while isinstance(base, (dict, list)) and base and (not path or self.random.random() < 0.8):
                    key = (self.random.choice(list(base)) if isinstance(base, dict)
                           else str(self.random.randrange(len(base))))
                    path.append(key)
                    base = base[key] if isinstance(base, dict) else base[int(key)]
                if isinstance(base, (dict, list)):
                    continue
                wanted = self.write(base) if not isinstance(base, str) else base
                if "\n" in wanted:
                    continue
                asked += 1
                pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1").replace("\\", "\\\\")
                                  for name in path)
                glob = re.sub(r"([*?\[\\])", r"\\\1", wanted)
                found = [(self.find(v, path)) for v in values]
                expected = [i + 1 for i, (v, there) in enumerate(found) if there and self.equals(v, wanted)]
                with self.subTest(pointer=pointer, wanted=wanted):
                    self.assertEqual([e["seq"] for e in store.query(f"{pointer}={glob}")], expected)
                    self.assertEqual([e["seq"] for e in store.query(f"{pointer}!={glob}")],
                                     [i + 1 for i in range(len(values)) if i + 1 not in expected])
                    self.assertEqual([e["seq"] for e in store.query(f"{pointer}=*")],
                                     [i + 1 for i, (_, there) in enumerate(found) if there])
                    if isinstance(base, decimal.Decimal):
                        self.assertEqual([e["seq"] for e in store.query(f"{pointer}<{wanted}", "/a=*")],
                                         [i + 1 for i,
                                          (v, there) in enumerate(found) if there and self.less(v, wanted)])
            self.assertGreater(asked, 20)

    @staticmethod
    def less(v, wanted):
        """Numbers by their size, a text that is no number by its bytes."""
        if isinstance(v, decimal.Decimal):
            return v < decimal.Decimal(wanted)
        if isinstance(v, str) and re.fullmatch(r"-?\d+", v):
            return decimal.Decimal(v) < decimal.Decimal(wanted)
        if isinstance(v, (dict, list)):
            return False  # begins with { or [, behind every digit
        return (v if isinstance(v, str) else json.dumps(v)).encode() < wanted.encode()

    def test_the_last_of_a_name_counts(self):
        store = self.store()
        store.append("t", b'{"p":{"x":1},"p":{"y":2}}')
        store.append("t", b'{"p":{"x":1,"x":2}}')
        self.assertEqual(store.query("/p/x=1"), [])
        self.assertEqual([e["seq"] for e in store.query("/p/x=2")], [2])

    def test_what_is_no_json_has_no_pointers(self):
        store = self.store()
        for value in (b"x", b'{"a":1', b'{"a":1} x', b"\xff", b"", b'{"a":1e}',
                      b"[" * 100_000 + b"1" + b"]" * 100_000):
            store.append("t", value)
        self.assertEqual(store.query("/a=1"), [])
        self.assertEqual([e["seq"] for e in store.query("/0/0/0=*")], [7])

    def test_what_is_printed_as_json_is_utf8(self):
        store = self.store()
        values = [b'{"overlong":"\xc1\x9d"}', b'{"surrogate":"\xed\xa0\x80"}', b'{"beyond":"\xf4\x90\x80\x80"}']
        for value in values:
            store.append("t", value)
        printed = store.call("export").stdout.decode("utf-8").splitlines()
        self.assertEqual([base64.b64decode(json.loads(line)["value_base64"]) for line in printed], values)


class Answers(cli.Case):
    def test_count(self):
        store = self.told()
        self.assertEqual(store.call("query", "--count").stdout, b"7\n")
        self.assertEqual(store.call("query", "--count", "--status", "sent", "source=orchestrator").stdout, b"3\n")
        self.assertEqual(store.call("query", "--count", "status=dead", "/payload/n=4").stdout, b"1\n")
        look = store.lines("query", "--count", "/payload/n>2")[0]
        self.assertEqual((look["matched"], look["scanned"]), (4, 7))
        self.assertEqual(store.call("query", "--count", "/payload/n>20", expect=(1,)).stdout, b"0\n")

    def test_how_much_was_looked_at(self):
        done = self.told().call("query", "/payload/n>2", "-v")
        self.assertRegex(done.err, r"^sidelog: 7 events looked at, 4 match, in \d")

    def test_groups(self):
        store = self.told()
        self.assertEqual([(g["value"], g["count"], g["first_seq"], g["last_seq"])
                          for g in store.lines("query", "--group-by", "source")],
                         [("orchestrator", 4, 1, 7), ("stamper", 2, 4, 5), ("onextree", 1, 3, 3)])
        self.assertEqual([(g["value"], g["count"])
                          for g in store.lines("query", "--group-by", "status", "-n", "2")],
                         [("sent", 5), ("dead", 1)])
        self.assertEqual([(g["value"], g["count"]) for g in store.lines("query", "--group-by", "/payload/none")],
                         [(None, 7)])
        self.golden("groups-60.txt", self.say(store, "query", "--group-by", "event_type", columns=60))
        self.golden("groups-80.txt", self.say(store, "query", "--group-by", "source", columns=80))

    def test_order(self):
        store = self.told()
        for order, seqs in (("newest", [7, 6, 5, 4, 3, 2, 1]), ("oldest", [1, 2, 3, 4, 5, 6, 7]),
                            ("-/payload/n", [7, 6, 5, 4, 3, 2, 1]),
                            ("offset", [2, 3, 1, 6, 4, 5, 7]), ("-offset", [4, 6, 1, 3, 2, 7, 5]),
                            ("source", [3, 1, 2, 6, 7, 4, 5])):
            with self.subTest(order):
                self.assertEqual([e["seq"] for e in store.query("--order", order)], seqs)
        self.assertEqual([e["seq"]
                          for e in store.query("--order", "-occurred_at", "-n", "2", "type!=*_COMPLETED")], [5, 4])
        self.assertIn("give one of them", store.call("query", "--count", "--order", "seq", expect=(2,)).err)

    def test_utc(self):
        store = self.told()
        there = {"TZ": "Asia/Kathmandu"}
        local = rig.run(store.argv("show", "1"), env=cli.environment(**there)).stdout
        utc = rig.run(store.argv("show", "1", "--utc"), env=cli.environment(**there)).stdout
        self.assertIn(b"2026-03-01 15:45:00", local)
        self.assertIn(b"2026-03-01 10:00:00", utc)
        found = rig.run(store.argv("query", "--count", "--utc", "occurred_at<2026-03-01 10:00:01"),
                        env=cli.environment(**there)).stdout
        self.assertEqual(found, b"2\n")

    def test_a_prefix_of_several_events(self):
        store = self.told()
        # What fits several events is no one of them, unless all are of one story.
        self.assertIn("is an event; this is the story", store.call("trace", cli.event_id(0)[:-1]).err)
        store.call("append", "--topic", "t", "--event-id", cli.event_id(8), "--correlation", "another", "{}")
        err = store.call("trace", cli.event_id(0)[:-1], expect=(2,)).err
        self.assertIn("fits several event ids; give more of it", err)
        self.assertIn(cli.event_id(8), err)

    def test_too_short_a_beginning_is_told_from_a_wrong_one(self):
        store = self.told()
        for args in (("trace", "019"), ("query", "--event", "0")):
            self.assertIn("is looked for from 4 digits on", store.call(*args, expect=(1,)).err)
        self.assertIn("no UUID begins with it", store.call("trace", "ffff", expect=(1,)).err)

    def test_an_empty_answer_explains_itself(self):
        store = self.told()
        self.assertIn("no event was appended in these times (7 events kept",
                      store.call("query", "--until", "-1h", expect=(1,)).err)
        err = store.call("query", "source=stamper", "/payload/n>50", expect=(1,)).err
        self.assertIn("of 7 events, source=stamper alone would find 2", err)
        self.assertIn("of 7 events, /payload/n>50 alone would find 0", err)
        near = cli.event_id(3)[:-1] + "f"
        self.assertRegex(store.call("query", "--event", near, expect=(1,)).err,
                         f"close to it: {cli.event_id(0)[:-1]}")
        # Of a story, an id of either kind is meant: what is more like it, and both when they are as much.
        self.assertRegex(store.call("trace", near, expect=(1,)).err,
                         f"no event id .* is {near}.*; close to it: the events {cli.event_id(0)[:-1]}")
        cut = cli.CORRELATION[:-2] + "zz"
        self.assertTrue(store.call("trace", cut,
                                   expect=(1,)).err.rstrip().endswith(f"; close to it: {cli.CORRELATION}"))
        self.assertIn(f"close to it: {cli.CORRELATION}; the events ",
                      store.call("check", "0190a6c2x", expect=(1,)).err)
        store.call("trim", "--max-events", "3")
        self.assertIn("4 events before seq 5 were trimmed",
                      store.call("query", "source=onextree", expect=(1,)).err)
        self.assertIn("holds no events", self.empty().call("query", expect=(1,)).err)

    def empty(self):
        store = self.store()
        store.call("append", "--topic", "..", "x", expect=(2,))
        return store


if __name__ == "__main__":
    unittest.main()
