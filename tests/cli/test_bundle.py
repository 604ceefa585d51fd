"""A story as a page: what it says, what it hides, and that no payload disturbs it. In a browser, where there is
one."""
import html.parser
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

HOST = "leak.invalid"  # what hostile payloads would load from
EVIL = (f"</pre></details></table><script>fetch('http://{HOST}/s');document.title='owned'</script><img src=http://{HOST}/i onerror=alert(1)>"
        f"<style>@import 'http://{HOST}/c';</style><meta http-equiv=refresh content='0;url=http://{HOST}/m'><svg onload=alert(1)>"
        f"<!-- \"'&lt;&#0;]]> \x1b[31m \u202edesrever\u202c \x7f \u200b é \U0001f600")
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "b", "i", "br", "div", "table", "tr",
        "th", "td", "svg", "line",
        "circle", "a", "details", "summary", "pre"}
# What the browser itself asks, on an empty page too: the time, its own updates.
BROWSERS_OWN = re.compile(r"^\S+ (http://)?[a-z0-9.-]+\.(google|googleapis|gvt1)\.com[:/]")
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "width", "height",
              "aria-hidden", "x1", "x2", "y1", "y2",
              "cx", "cy", "r"}


class Reader(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.pres, self.hidden = [], [], [], [], False
        self.feed(text)
        self.close()
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.hidden = tag == "style"
        if tag == "pre":
            self.pres.append("")

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)
        self.hidden = False

    def handle_data(self, data):
        if self.hidden:
            return
        self.words.append(data)
        if self.pres and self.tags[-1] == "pre":
            self.pres[-1] += data

    def handle_comment(self, data):
        self.tags.append("comment")

    def unknown_decl(self, data):
        self.tags.append("declaration")


class Seen(Reader):
    """As a browser writes it back: tbody, and the end of every element."""

    def handle_starttag(self, tag, attrs):
        if tag != "tbody":
            super().handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag != "tbody":
            super().handle_endtag(tag)


class Pages(cli.Case):
    def bundle(self, store, *args):
        """The page as text and as read, and the events beside it, without the lines that begin and end them."""
        page = store.side / "b.html"
        store.call("bundle", *args, "--out", page)
        text = page.read_text(encoding="utf-8")  # whatever was in the events
        lines = (store.side / "b.jsonl").read_bytes().split(b"\n")
        self.assertEqual(lines.pop(), b"")
        head, *events, end = [json.loads(line) for line in lines]
        self.assertEqual((head["sidelog_bundle"], end), (1, {"sidelog_bundle_end": True, "events": len(events)}))
        return text, Reader(text), events

    def hostile(self):
        store = self.told()
        store.append_lines([json.dumps({"event_id": "i" + EVIL[:200], "event_type": "T" + EVIL[:200],
                                        "correlation_id": cli.CORRELATION, "source": EVIL[:250],
                                        "causation_id": "gone" + EVIL[:200], "tenant_id": EVIL[:250],
                                        "payload": {EVIL: EVIL}}).encode()], topic="evil.v1")
        for value in (EVIL.encode(), b"\xff\xfe\xc3(\x00\x80</pre>" * 5, json.dumps(EVIL).encode(),
                      b"[" * 900 + b"1" + b"]" * 900, b"\n\n two lines \r\n", b""):
            store.append("evil.v1", value, correlation=cli.CORRELATION, headers={"x-evil": EVIL})
        for value in (b"<script>" * 1_250_000,
                      json.dumps({"é" * 200_000: "<b>" * 3_000_000}, ensure_ascii=False).encode()):
            rig.run(store.argv("append", "--topic", "evil.v1", "--correlation", cli.CORRELATION, "--max-value",
                               "16M", "-"), stdin=value)
        return store, 16

    def check(self, page, count):
        """The page has the structure of any other, whatever is in the events."""
        self.assertFalse({t.lstrip("/") for t in page.tags} - TAGS)
        self.assertFalse({k for k, _ in page.attributes} - ATTRIBUTES)
        self.assertTrue(all(re.fullmatch(r"#e\d+", v) for k, v in page.attributes if k == "href"))
        for tag in ("details", "/details", "pre", "/pre", "svg"):
            self.assertEqual(page.tags.count(tag), count, tag)
        self.assertNotRegex(page.text, "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


class Bundle(Pages):
    def test_what_it_says(self):
        store = self.told()
        text, page, events = self.bundle(store, cli.CORRELATION[:9])
        self.assertEqual(events, store.lines("export"))  # no secrets in them
        for words in ("7 events in 1.842 s", "5 sent", "1 dead", "1 pending", "+1.618 s", "◀ largest gap",
                      "├ HASH_GENERATED", "│ └ INTELLIGENCE_RECEIVED",
                      "stamp-workflow-started.v1[2]@1041", "MSG_SIZE_TOO_LARGE after 1 try",
                      "1,204,113 bytes are more", "were redacted", "b.jsonl",
                      "occurred_at2026-03-01T10:00:01.630000Z", '"n": 4'):
            self.assertIn(words, page.text)
        self.assertEqual([json.loads(p) for p in page.pres], [e["value"] for e in events])
        for link, _ in ((v, k) for k, v in page.attributes if k == "href"):
            self.assertIn(("id", link[1:]), page.attributes)
        self.assertLess(len(text), 20_000)

    def test_it_may_load_nothing(self):
        text, page, _ = self.bundle(self.told(), cli.CORRELATION)
        policy = next(v for k, v in page.attributes if k == "content")
        self.assertEqual(policy,
                         "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")
        self.assertNotRegex(text, r"url\(|@import|https?:")

    def test_names_modes_and_replies(self):
        store = self.told()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(store.argv("bundle", cli.CORRELATION), cwd=folder, capture_output=True,
                                  check=True, umask=0)
            files = {f"sidelog-{cli.CORRELATION}.{kind}" for kind in ("html", "jsonl")}
            self.assertEqual(set(os.listdir(folder)), files)
            for name in files:
                self.assertIn(name.encode(), done.stdout)
                self.assertEqual(stat.S_IMODE(os.stat(f"{folder}/{name}").st_mode), 0o600)
            target = pathlib.Path(folder, "elsewhere")
            target.write_text("mine")
            page = pathlib.Path(folder, "p.html")
            page.symlink_to(target)  # is replaced, not written through
            done = store.lines("bundle", cli.event_id(3), "--out", page)
            self.assertEqual(done,
                             [{"html": str(page), "jsonl": f"{folder}/p.jsonl", "events": 7, "redacted": True}])
            self.assertEqual((target.read_text(), page.is_symlink()), ("mine", False))
            before = set(os.listdir(folder))
            self.assertIn("No such file",
                          store.call("bundle", cli.CORRELATION, "--out", f"{folder}/none/x.html", expect=(3,)).err)
            self.assertIn("directory", store.call("bundle", cli.CORRELATION, "--out", folder, expect=(3,)).err)
            store.call("bundle", "no-such-story", "--out", f"{folder}/y.html", expect=(1,))
            self.assertIn("name of a file", store.call("bundle", cli.CORRELATION, "--out", "-", expect=(2,)).err)
            self.assertEqual(set(os.listdir(folder)) - {pathlib.Path(folder).name + ".jsonl"}, before)

    def test_an_id_is_no_path(self):
        store = self.store()
        store.append("t", b"{}", correlation="../../x/é <y>")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(store.argv("bundle", "../../x/é <y>"), cwd=folder, capture_output=True, check=True)
            self.assertEqual({pathlib.Path(n).suffix for n in os.listdir(folder)}, {".html", ".jsonl"})

    def test_secrets(self):
        store = self.store()
        secret = "hunter2hunter2"
        store.append("t.v1",
                     json.dumps({"payload": {"password": secret, "note": f"api_key={secret} and so on",
                                             "kept": "plain"}}).encode(),
                     correlation="c", event_id="e",
                     headers={"authorization": f"Bearer {secret}", "x-kept": "visible"})
        store.append("t.v1", f"login password={secret}".encode(), correlation="c", source=f"token={secret}",
                     causation=f"token={secret}")
        text, page, events = self.bundle(store, "c")
        self.assertNotIn(secret, text)
        self.assertNotIn(secret, json.dumps(events))
        self.assertEqual(events[0]["value"]["payload"]["kept"], "plain")
        self.assertIn({"name": "x-kept", "value": "visible"}, events[0]["headers"])
        for words in ("[redacted]", "plain", "visible"):
            self.assertIn(words, page.text)
        text, page, events = self.bundle(store, "c", "--no-redact")
        self.assertIn("Not redacted", page.text)
        self.assertIn(secret, text)
        self.assertEqual(events, store.lines("export"))

    def test_hostile_payloads(self):
        store, count = self.hostile()
        text, page, events = self.bundle(store, cli.CORRELATION, "--no-redact")
        self.check(page, count)
        self.assertEqual(events, store.lines("export"))
        self.assertLess(len(text), 2 << 20)
        shown = EVIL
        for byte, words in (("\x1b", "\\x1b"), ("\u202e", "\\u{202e}"), ("\u202c", "\\u{202c}"), ("\x7f", "\\x7f"),
                            ("\u200b", "\\u{200b}")):
            shown = shown.replace(byte, words)
        self.assertIn(shown, page.pres[8])
        self.assertTrue(page.pres[9].strip().startswith("\\xff\\xfe\\xc3(\\x00\\x80</pre>"))
        self.assertEqual(json.loads(page.pres[10]), EVIL)
        self.assertEqual(page.pres[12], "\n\n\n two lines \\r\n")
        for big in page.pres[14:16]:
            self.assertLess(len(big), 65_600)
        self.assertEqual(page.text.count("cut: the first 64 KiB"), 2)
        self.check(self.bundle(store, cli.CORRELATION)[1], count)

    def test_a_long_story_is_cut(self):
        store = self.store()
        store.append_lines([b'{"correlation_id":"long","event_type":"T","pad":"%s"}' % (b"x" * 3000)] * 10_100,
                           topic="t.v1")
        text, page, events = self.bundle(store, "long")
        self.assertEqual((len(events), page.tags.count("details")), (10_100, 10_000))
        self.assertIn("the first 10,000 events", page.text)
        self.assertIn("left out", page.text)  # values, when there are enough of them
        self.assertLess(len(text), 48 << 20)


class Listener:
    """A proxy that takes down what is asked of it, and gives nothing."""

    def __init__(self):
        self.asked = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                try:
                    self.asked.append(peer.recv(4096).split(b"\r\n")[0].decode("latin-1"))
                    peer.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    continue


class Browser(Pages):
    def look(self, path):
        """The document as the browser has it in the end, and what it asked the network for."""
        listener = Listener()
        self.addCleanup(listener.socket.close)
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run([
                self.browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                f"--user-data-dir={profile}",
                f"--proxy-server=http://127.0.0.1:{listener.port}", "--proxy-bypass-list=<-loopback>",
                "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-default-apps",
                "--virtual-time-budget=3000",
                "--dump-dom", path.as_uri()], capture_output=True, timeout=60, check=True,
                                  env=cli.environment(HOME=profile))
        return done.stdout.decode("utf-8"), [line for line in listener.asked if not BROWSERS_OWN.match(line)]

    def setUp(self):
        super().setUp()
        self.browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not self.browser:
            self.skipTest("no chromium is installed")

    def test_nothing_leaves_it(self):
        store, count = self.hostile()
        text, page, _ = self.bundle(store, cli.CORRELATION)
        dom, asked = self.look(store.side / "b.html")
        self.assertEqual(asked, [])
        seen = Reader(dom)
        self.check(Seen(dom), count)
        self.assertIn(f"{count} events", seen.text)
        self.assertEqual([p.strip() for p in seen.pres], [p.strip() for p in page.pres])
        self.assertIn(f"<title>sidelog: {cli.CORRELATION}</title>", dom)
        self.assertTrue("◀ largest gap" in seen.text and "│ └ INTELLIGENCE_RECEIVED" in seen.text)
        # The same look does see a page that loads something, and so does it see what the policy alone holds back.
        leak = f"<img src=http://{HOST}/i><script>document.title='owned'</script>"
        bad = store.side / "bad.html"
        bad.write_text(f"<!DOCTYPE html><body>{leak}")
        dom, asked = self.look(bad)
        self.assertIn(HOST, " ".join(asked))
        self.assertIn("owned", dom.split("</title>")[0])
        bad.write_text(text.replace("</body>", leak + "</body>"))
        dom, asked = self.look(bad)
        self.assertEqual(asked, [])
        self.assertNotIn("owned</title>", dom)


if __name__ == "__main__":
    unittest.main()
