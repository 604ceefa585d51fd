"""What --json prints is what docs/output.schema.json says."""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

TYPES = {"string": str, "integer": int, "object": dict, "array": list, "null": type(None), "boolean": bool}
KNOWN = {"type", "properties", "required", "additionalProperties", "enum", "pattern", "minimum", "items", "anyOf", "$ref", "description"}


class Schema(cli.Case):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads((rig.ROOT / "docs" / "output.schema.json").read_text(encoding="utf-8"))

    def faults(self, value, schema, where="line"):
        """As much of JSON Schema as that file uses; an unknown word in it is a fault, too."""
        if "$ref" in schema:
            return self.faults(value, self.schema["$defs"][schema["$ref"].rsplit("/", 1)[1]], where)
        found = [f"{where}: the schema says {word}, which this check does not know" for word in schema.keys() - KNOWN]
        if "anyOf" in schema:
            tried = [self.faults(value, s, where) for s in schema["anyOf"]]
            return found if not all(tried) else found + min(tried, key=len)
        if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or
                                 isinstance(value, bool) != (schema["type"] == "boolean")):
            return [*found, f"{where}: {value!r} is no {schema['type']}"]
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where}: {value!r} is none of {schema['enum']}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{where}: {value!r} does not fit {schema['pattern']}")
        if "minimum" in schema and value < schema["minimum"]:
            found.append(f"{where}: {value!r} is below {schema['minimum']}")
        if isinstance(value, dict):
            found += [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
            for name, part in schema.get("properties", {}).items():
                if name in value:
                    found += self.faults(value[name], part, f"{where}.{name}")
        if isinstance(value, list):
            for one in value:
                found += self.faults(one, schema.get("items", {}), where + "[]")
        return found

    def lines(self):
        """(definition, line) of every command, also of a store with odd bytes in it."""
        told = self.told()
        told.append("t.v1", b"\xff\x00", key="k", tenant="acme", headers={"h": "v"}, correlation=cli.CORRELATION, causation="gone")
        told.append("t.v1", b"[1,\n2]")
        for command in (["query", "--value"], ["export"], ["tail"], ["trace", cli.CORRELATION], ["show", "8"], ["query", "--order", "-size"]):
            yield from (("event", line) for line in told.lines(*command))
        for field in ("source", "/payload/n", "value", "appended_at"):
            yield from (("group", line) for line in told.lines("query", "--group-by", field))
        yield "count", told.lines("query", "--count")[0]
        checked = told.lines("check", "--since", "-1h", expect=(4,))
        yield from (("finding", line) for line in checked[:-1])
        yield "checked", checked[-1]
        yield from (("hop", line) for line in told.lines("stats", "--hops"))
        told.call("bundle", cli.CORRELATION, "--out", told.side / "b.html")
        head, *events, end = [json.loads(line) for line in (told.side / "b.jsonl").read_bytes().splitlines()]
        yield from (("bundle", head), *(("event", line) for line in events), ("bundle_end", end))
        both = ("--store", told.side / "b.jsonl")
        *events, clocks = told.lines("trace", cli.CORRELATION, *both)
        self.assertTrue(events[0]["also_in"])
        yield from (*(("event", line) for line in events), ("clocks", clocks))
        yield from (("finding", line) for line in told.lines("check", cli.CORRELATION, *both, expect=(4,))[:-1])

    def test_every_line_fits(self):
        seen = set()
        for kind, line in self.lines():
            seen.add(kind)
            definition = self.schema["$defs"][kind]
            self.assertEqual(self.faults(line, definition, kind), [])
            self.assertFalse(line.keys() - definition["properties"].keys(), f"{kind}: not in the schema")
        self.assertEqual(seen, self.schema["$defs"].keys() - {"header", "copy", "clock", "bundled"})

    def test_the_check_finds_faults(self):
        event = self.told().query()[0]
        for change in ({"status": "lost"}, {"seq": 0}, {"seq": "1"}, {"appended_at": "today"}, {"headers": [{}]}):
            self.assertTrue(self.faults({**event, **change}, self.schema["$defs"]["event"]), change)
        self.assertTrue(self.faults({"seq": 1}, self.schema["$defs"]["event"]))

    def test_by_another_reader(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("jsonschema is not installed")
        jsonschema.Draft202012Validator.check_schema(self.schema)
        reader = jsonschema.Draft202012Validator(self.schema)
        for _, line in self.lines():
            reader.validate(line)


if __name__ == "__main__":
    unittest.main()
