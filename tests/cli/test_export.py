"""export in other tools' formats: each read back, by that tool's own reader where it is installed."""
import csv
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

EVIL = "\x1b[31m\"]; } <script> # ; -->\n\\ \u202e é %"


class Formats(cli.Case):
    def odd(self):
        """The story, an event without a correlation, one whose cause is not here, and one with hostile names
        and bytes."""
        store = self.told()
        store.append("t.v1", b"\xff\x00", event_id="alone")
        store.append_lines([json.dumps({"event_id": "child " + EVIL, "event_type": "T " + EVIL,
                                        "correlation_id": "c " + EVIL, "source": "s " + EVIL,
                                        "causation_id": "gone " + EVIL, "tenant_id": EVIL,
                                        "n": 12345678901234567890}).encode()], topic="evil.v1")
        return store

    def export(self, store, kind, *args):
        return store.call("export", "--format", kind, *args).stdout.decode()

    def test_csv(self):
        store = self.odd()
        text = self.export(store, "csv")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        events = store.lines("export")
        self.assertEqual([int(r["seq"]) for r in rows], [e["seq"] for e in events])
        for row, event in zip(rows, events):
            for name in ("event_id", "event_type", "topic", "correlation_id", "causation_id", "status", "source",
                         "tenant", "appended_at"):
                self.assertEqual(row[name], event.get(name) or "")
        self.assertEqual((rows[0]["partition"], rows[0]["offset"], rows[4]["error_code"], rows[4]["attempts"]),
                         ("2", "1041", "MSG_SIZE_TOO_LARGE", "1"))
        self.assertIn("12345678901234567890", rows[8]["value"])
        self.assertEqual(rows[7]["value_base64"], "/wA=")

    def test_cloudevents(self):
        store = self.odd()
        lines = self.export(store, "cloudevents").splitlines()
        self.assertEqual(len(lines), 9)
        for text in lines:
            event = json.loads(text)
            self.assertEqual(event["specversion"], "1.0")
            for name in event.keys() - {"data_base64"}:
                self.assertRegex(name, "^[a-z0-9]{1,20}$")
            self.assertRegex(event["source"], r"^urn:sidelog:[0-9a-f-]{36}/[A-Za-z0-9._~/%-]+$")
            self.assertTrue(event["id"] and event["type"])
        self.assertEqual(urllib.parse.unquote(json.loads(lines[8])["source"].split("/", 1)[1]), "s " + EVIL)
        self.assertIn('"n": 12345678901234567890', lines[8])
        self.assertEqual(json.loads(lines[7])["data_base64"], "/wA=")

    def test_cloudevents_by_the_sdk(self):
        try:
            from cloudevents.core.formats.json import JSONFormat
            from cloudevents.core.v1.event import CloudEvent
        except ImportError:
            self.skipTest("the CloudEvents SDK is not installed")
        for text in self.export(self.odd(), "cloudevents").splitlines():
            event = JSONFormat().read(CloudEvent, text)  # checks every attribute by the specification
            self.assertEqual(event.get_id(), json.loads(text)["id"])

    def spans(self, store):
        for text in self.export(store, "otlp").splitlines():
            for resource in json.loads(text)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    yield from scope["spans"]

    def test_otlp(self):
        spans = list(self.spans(self.odd()))
        self.assertEqual(len(spans), 9)
        story = spans[:7]
        self.assertEqual({s["traceId"] for s in story}, {cli.CORRELATION.replace("-", "")})
        self.assertNotIn("parentSpanId", story[0])
        self.assertEqual([s["parentSpanId"] for s in story[1:]],
                         [story[0 if n != 2 else 1]["spanId"] for n in range(1, 7)])
        self.assertEqual(len({s["spanId"] for s in spans}), 9)
        for s in spans:
            self.assertRegex(s["traceId"], "^[0-9a-f]{32}$")
            self.assertRegex(s["spanId"], "^[0-9a-f]{16}$")
            self.assertEqual(s["startTimeUnixNano"], s["endTimeUnixNano"])
        self.assertEqual(story[4]["status"], {"code": 2, "message": "MSG_SIZE_TOO_LARGE"})

    def test_otlp_by_the_protocol(self):
        try:
            from google.protobuf import json_format
            from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
        except ImportError:
            self.skipTest("opentelemetry-proto is not installed")
        for text in self.export(self.odd(), "otlp").splitlines():
            data = json_format.Parse(text, TracesData())  # refuses unknown members and wrong types
            span, = data.resource_spans[0].scope_spans[0].spans
            self.assertTrue(span.name)

    def test_jaeger(self):
        traces = json.loads(self.export(self.odd(), "jaeger"))["data"]
        self.assertEqual([len(t["spans"]) for t in traces], [7, 1, 1])
        for trace in traces:
            ids = {s["spanID"] for s in trace["spans"]}
            for span in trace["spans"]:
                self.assertEqual(set(span),
                                 {"traceID", "spanID", "operationName", "references", "startTime", "duration",
                                  "tags", "logs", "processID"})
                self.assertEqual(span["traceID"], trace["traceID"])
                self.assertIn(span["processID"], trace["processes"])
                for tag in span["tags"]:
                    self.assertIsInstance(tag["value"], {"string": str, "bool": bool}[tag["type"]])
                for reference in span["references"]:
                    self.assertEqual(reference["spanID"] in ids, len(trace["spans"]) > 1)
        names = {p: v["serviceName"] for p, v in traces[0]["processes"].items()}
        self.assertEqual([names[s["processID"]] for s in traces[0]["spans"]], [row[5] for row in cli.STORY])
        self.assertEqual(traces[0]["spans"][0]["startTime"], 1772359200000000)

    def test_jaeger_by_its_model(self):
        """As the structs of Jaeger's package uimodel say, with no other member."""
        try:
            import jsonschema
        except ImportError:
            self.skipTest("jsonschema is not installed")
        text, whole = {"type": "string"}, {"type": "integer", "minimum": 0}

        def struct(optional=(), **members):
            return {"type": "object", "properties": members, "required": [m for m in members if m not in optional],
                    "additionalProperties": False}

        def listed(item):
            return {"type": "array", "items": item}

        tag = struct(key=text, type={"enum": ["string", "bool", "int64", "float64", "binary"]}, value={})
        reference = struct(refType={"enum": ["CHILD_OF", "FOLLOWS_FROM"]}, traceID=text, spanID=text)
        span = struct(("flags", "warnings"), traceID=text, spanID=text, flags=whole, operationName=text,
                      references=listed(reference),
                      startTime=whole, duration=whole, tags=listed(tag),
                      logs=listed(struct(timestamp=whole, fields=listed(tag))),
                      processID=text, warnings=listed(text))
        process = struct(serviceName=text, tags=listed(tag))
        trace = struct(("warnings",), traceID=text, spans=listed(span), warnings=listed(text),
                       processes={"type": "object", "additionalProperties": process})
        found = list(jsonschema.Draft202012Validator(struct(data=listed(trace))).iter_errors(json.loads(self.export(self.odd(), "jaeger"))))
        self.assertEqual([error.message for error in found], [])

    def test_dot(self):
        store = self.odd()
        text = self.export(store, "dot")
        self.assertEqual(text.count(" -> "), 7)
        self.assertEqual(text.count("[label="), 9)
        self.assertEqual(text.count("style=dashed"), 1)
        self.assertNotIn("\x1b", text)
        if not shutil.which("dot"):
            self.skipTest("graphviz is not installed")
        done = subprocess.run(["dot", "-Tplain"], input=text.encode(), capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual((done.stdout.count(b"\nnode "), done.stdout.count(b"\nedge ")), (10, 7))

    def test_mermaid(self):
        text = self.export(self.odd(), "mermaid")
        lines = text.splitlines()
        self.assertEqual(lines[0], "flowchart LR")
        nodes, edges = 0, 0
        for row in lines[1:]:
            # A label holds nothing that could end it; a node's name is letters and digits.
            self.assertRegex(row,
                             r'^  (e[0-9a-f]{16}(\["([^"\[\](){};`&\\#]|#\d+;|<br/>)*"\]|\(\["([^"\[\](){};`&\\#]|#\d+;|<br/>)*"\]\)| --> e[0-9a-f]{16})'
                                  r"|style e[0-9a-f]{16} stroke:#c00)$")
            nodes += '["' in row
            edges += "-->" in row
        self.assertEqual((nodes, edges), (10, 7))

    def test_mermaid_by_its_own_parser(self):
        """In a browser, for which it is made."""
        browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        script = pathlib.Path(os.environ.get("XDG_CACHE_HOME")
                              or pathlib.Path.home() / ".cache") / "sidelog" / "mermaid.min.js"
        if not browser or not script.exists():
            self.skipTest("mermaid or chromium is not installed")
        store = self.odd()
        graph = json.dumps(self.export(store, "mermaid")).replace("<", "\\u003c")
        page = store.side / "page.html"
        page.write_text(f"""<!doctype html><meta charset=utf-8><body><script src="{script.as_uri()}"></script><script>
            mermaid.initialize({{startOnLoad: false}});
            mermaid.parse({graph}).then(() => mermaid.render("drawn", {graph})).then(
              d => {{ document.body.innerHTML = d.svg; document.title = "nodes " + document.querySelectorAll("g.node").length +
                      " edges " + document.querySelectorAll("path.flowchart-link").length; }},
              e => document.body.innerText = "refused: " + e.message)</script>""", encoding="utf-8")
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run([
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={profile}",
                "--allow-file-access-from-files", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()],
                capture_output=True, timeout=60, check=True, env=cli.environment(HOME=profile))
        self.assertIn("<title>nodes 10 edges 7</title>", done.stdout.decode())
        self.assertIn("&lt;script&gt;", done.stdout.decode())

    def test_conditions_and_mistakes(self):
        store = self.told()
        self.assertEqual(self.export(store, "csv", "source=stamper").count("\r\n"), 3)
        self.assertEqual([len(t["spans"])
                          for t in json.loads(self.export(store, "jaeger", "source=stamper"))["data"]], [2])
        self.assertIn("cloudevents", store.call("export", "--format", "xml", expect=(2,)).err)
        self.assertEqual(self.export(store, "jsonl"), store.call("export").stdout.decode())

    def test_on_a_terminal(self):
        store = self.odd()
        for kind in ("csv", "cloudevents", "otlp", "jaeger", "dot", "mermaid"):
            with self.subTest(kind):
                out, _ = cli.on_terminal(store.argv("export", "--format", kind))
                self.assertFalse(re.search("[\x00-\x09\x0b-\x0c\x0e-\x1f\x7f-\x9f\u202e]", out.decode()))


if __name__ == "__main__":
    unittest.main()
