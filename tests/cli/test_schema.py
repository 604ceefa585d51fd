"""What --json prints is what docs/output.schema.json says."""
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402
from schema import SCHEMA, faults  # noqa: E402

class Schema(cli.Case):
    # Commands that print nothing but words for people, or for a shell.
    NO_JSON = {"top", "completion", "help"}

    printed = []

    def outputs(self):
        """(command, definition, line) of every command that has --json, also of a store with odd bytes in it."""
        if not self.printed:
            told = self.told()
            for part in (self.questions(told), self.upkeep(told), self.damage(), self.letters(), self.readers(),
                         self.agents(told)):
                self.printed.extend(part)
        return self.printed

    def of(self, store, definition, *args, expect=(0,), last=None):
        """Lines of one command; `last`: the definition of its last line."""
        lines = store.lines(*args, expect=expect)
        self.assertTrue(lines, args)
        for line in lines[:-1] if last else lines:
            yield args[0], definition, line
        if last:
            yield args[0], last, lines[-1]

    def questions(self, told):
        appended = told.call("append", "--topic", "t.v1", "--json", "--key", "k", "--tenant", "acme", "--header",
                             "h=v", "--correlation",
                             cli.CORRELATION, "--causation", "gone", "-", stdin=b"\xff\x00")
        yield "append", "appended", json.loads(appended.stdout)
        lines = b'{"topic":"t.v1","n":1}\nnonsense\n{"topic":"t.v1","correlation_id":"c"}\n'
        for args, definition in ((["--ack"], "appended"), ([], "stored")):
            done = told.call("append", "--jsonl", "--json", *args, stdin=lines, expect=(6,))
            yield from (("append", definition, json.loads(line)) for line in done.stdout.splitlines())
        told.append("t.v1", b"[1,\n2]")
        for command in (["query", "--value"], ["export"], ["tail"], ["trace", cli.CORRELATION], ["show", "8"],
                        ["query", "--order", "-size"], ["trace", "--cause", cli.event_id(3)]):
            yield from self.of(told, "event", *command)
        for field in ("source", "/payload/n", "value", "appended_at"):
            yield from self.of(told, "group", "query", "--group-by", field)
        yield from self.of(told, "count", "query", "--count")
        yield from self.of(told, "finding", "check", "--since", "-1h", expect=(4,), last="checked")
        yield from self.of(told, "hop", "stats", "--hops")
        yield from self.of(told, "difference", "diff", cli.CORRELATION, "c")
        page = told.side / "story.html"
        yield from self.of(told, "bundled", "bundle", cli.CORRELATION, "--out", page)
        head, *events, end = map(json.loads, page.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines())
        yield from (("bundle", "bundle_head", head), *(("bundle", "event", event) for event in events),
                    ("bundle", "bundle_end", end))
        both = ("--store", page.with_suffix(".jsonl"))
        yield from self.of(told, "event", "trace", cli.CORRELATION, *both, last="clocks")
        yield from self.of(told, "finding", "check", cli.CORRELATION, *both, expect=(4,), last="checked")
        yield from self.of(told, "difference", "diff", cli.CORRELATION, "c", *both)
        for store in (told, self.store_without_events()):
            yield from self.of(store, "stats", "stats")
            yield from self.of(store, "status", "status", expect=(0, 4))
        with self.agent(told):
            yield from self.of(told, "status", "status", expect=(0, 4))

    def store_without_events(self):
        store = self.store()
        store.call("append", "--jsonl", stdin=b"")
        return store

    @contextlib.contextmanager
    def agent(self, store):
        """Somebody who holds the store as an agent does."""
        report = store.side / "report.json"
        report.write_text(json.dumps({"state": "running", "written_us": 2 ** 52,
                                      "cluster": {"brokers": "k:9092"}}))
        held = subprocess.Popen([rig.tool("tests/cli/settle"), str(store.path), "--hold", str(report)],
                                stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        try:
            self.assertEqual(held.stdout.readline(), b"held\n")
            yield
        finally:
            held.communicate()

    def upkeep(self, told):
        yield from self.of(told, None, "verify", last="verified")
        yield from self.of(told, "reindexed", "reindex", "--attributes", "key,tenant")
        yield from self.of(told, "policy", "full")
        yield from self.of(told, "policy", "full", "--when-full", "drop-delivered-early", "--drop-oldest", "a.*,b")
        yield from self.of(told, "trimmed", "trim", "--max-events", "3")
        yield from self.of(told, "compacted", "compact")

    def damage(self):
        told = self.told()
        path = told.path / "log" / "data.mdb"
        path.write_bytes(path.read_bytes().replace(b'"event_type":"HASH_GENERATED"',
                                                   b'"event_type":"HASH_GENERATEx"'))
        yield from self.of(told, "problem", "verify", expect=(4,), last="verified")
        yield from self.of(told, "damage", "repair", "--into", told.side / "repaired", expect=(4,),
                           last="repaired")

    def letters(self):
        told = self.told()
        yield from self.of(told, "event", "dlq", "list")
        yield from self.of(told, "event", "dlq", "show", "5")
        yield from self.of(told, "event", "dlq", "export")
        for by in ("class", "error", "topic", "type", "time"):
            yield from self.of(told, "letters", "dlq", "list", "--by", by)
        for verb in (["replay", "--all", "--dry-run"], ["replay", "5"]):
            yield from self.of(told, "deed", "dlq", *verb)
        gone = self.told()
        for more in (["--dry-run"], []):
            yield from self.of(gone, "deed", "dlq", "drop", "5", "--reason", "test", *more)
        yield from self.of(gone, "event", "query", "--status", "dropped")

    def readers(self):
        told = self.told()
        rig.run([rig.tool("tests/cli/reading"), str(told.path), "billing"],
                stdin=b"ack\nfinal GONE\nfinal GONE\nretry BUSY\n")
        yield from self.of(told, "event", "dlq", "list", "--reader", "billing")
        yield from self.of(told, "letters", "dlq", "list", "--reader", "billing", "--by", "error")
        yield from self.of(told, "deed", "dlq", "drop", "2", "--reader", "billing", "--reason", "test")
        yield from self.of(told, "deed", "dlq", "replay", "3", "--reader", "billing")
        yield from self.of(told, "audited", "dlq", "audit", "--reader", "*")
        yield from self.of(told, "reader", "readers")

    def agents(self, told):
        """sidelogd without a broker; tests/kafka/test_check.py has what it says of one."""
        damaged = self.told()
        (damaged.path / "log" / "data.mdb").write_bytes(b"nonsense")
        argv = [rig.sidelogd(), "--brokers", "127.0.0.1:1", "--store"]
        checked = rig.run([*argv, str(damaged.path), "--check", "--json"], expect=(3,))
        yield from (("sidelogd", "verdict", json.loads(line)) for line in checked.stdout.splitlines())
        said = rig.run([*argv, str(told.path), "--drain", "--timeout", "1", "--log-format", "json"], expect=(5,))
        yield from (("sidelogd", "logged", json.loads(line)) for line in said.err.splitlines())
        status, = told.lines("status", expect=(0, 4))
        yield "status", "status", status
        yield "status", "agent_report", status["agent"]["report"]

    def commands(self):
        listed = rig.run([rig.sidelog(), "help"]).stdout.decode().split("\nEverywhere:")[0]
        return set(re.findall(r"(?m)^  ([a-z]+)  ", listed))

    def test_every_line_fits(self):
        seen, commands = {"time", "us_or_null", "text_or_null", "header", "side", "copy", "clock",
                          "bundle_store"}, set()
        for command, kind, line in self.outputs():
            seen.add(kind)
            commands.add(command)
            definition = SCHEMA["$defs"][kind]
            self.assertEqual(faults(line, definition, kind), [])
            if kind != "logged":  # what is said besides depends on the event
                self.assertFalse(line.keys() - definition["properties"].keys(), f"{kind}: not in the schema")
            self.assertIn(command, definition["description"])
        self.assertEqual(seen, SCHEMA["$defs"].keys(), "definitions that no command prints")
        self.assertEqual(commands - {"sidelogd"}, self.commands() - self.NO_JSON,
                         "commands without a line in the schema")

    def test_the_rest_has_no_json(self):
        self.assertIn("status --json", self.told().call("top", "--json", expect=(2,)).err)

    def test_the_check_finds_faults(self):
        event = self.told().query()[0]
        for change in ({"status": "lost"}, {"seq": 0}, {"seq": "1"}, {"appended_at": "today"}, {"headers": [{}]}):
            self.assertTrue(faults({**event, **change}, SCHEMA["$defs"]["event"]), change)
        self.assertTrue(faults({"seq": 1}, SCHEMA["$defs"]["event"]))

    def test_by_another_reader(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("jsonschema is not installed")
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        lines = {member["$ref"].rpartition("/")[2] for member in SCHEMA["anyOf"]}
        for _, kind, found in self.outputs():  # a part of a line is no line: it has only its own definition
            wanted = [{"$ref": f"#/$defs/{kind}"}, *([{"anyOf": SCHEMA["anyOf"]}] if kind in lines else [])]
            reader = jsonschema.Draft202012Validator({"allOf": wanted, "$defs": SCHEMA["$defs"]})
            self.assertEqual([error.message[:500] for error in reader.iter_errors(found)], [], kind)


if __name__ == "__main__":
    unittest.main()
