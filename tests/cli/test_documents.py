"""The answers in docs/forensics.md, cli.md and repair.md: every command is asked again, of the stores that the
document tells of, and answered as it stands there. The commands of README's tour, and those that
docs/dead-letters.md and readers.md list, work.

The wall clock stands still while a store is filled and while it is asked, so no time differs from one run to
the next and answers are compared as they are. SIDELOG_GOLDEN=write writes those of today into the documents.
"""
import contextlib
import datetime
import difflib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402
import test_several as several  # noqa: E402

MORNING = datetime.datetime(2026, 3, 1, 10, tzinfo=datetime.timezone.utc)  # when cli.story() begins
STORIES = 60
AGENTS = ("polly", "code-quality", "debug-intelligence")
ALERTS = "0190a6c2-9999-7d5b-9f0e-3a5b1c2d4e6f"


def alert_id(n):
    return f"0190a6c2-9999-7000-8000-{n:012x}"


def stamp(seconds):
    return (MORNING + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@contextlib.contextmanager
def clock(seconds):
    """For what is started meanwhile it is so many seconds after ten, for as long as it runs."""
    told = int(MORNING.timestamp()) * 1_000_000 + round(seconds * 1000) * 1000
    before = dict(os.environ)
    os.environ |= {"LD_PRELOAD": rig.tool("tests/cli/libclock.so"), "SIDELOG_CLOCK": str(told)}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def workflow(n, at):
    """The four events of a story that went as they usually do; three in sixty fail."""
    chance = random.Random(f"workflow {n}").random
    end = "failed" if n % 20 == 13 else "completed"
    file = {"file": f"src/module_{n:02}.py"}
    found = {"agent_name": AGENTS[int(3 * chance())], "confidence": round(.35 + .65 * chance(), 2)}
    correlation = f"0190a6b0-0000-7000-8000-{n:012x}"
    ids = [f"0190a6b0-{n:04x}-7000-8000-{i:012x}" for i in range(4)]
    for i, (after, topic, kind, source, payload) in enumerate((
        (0, "stamp-workflow-started.v1", "WORKFLOW_STARTED", "orchestrator", file),
        (.012, "onextree-intelligence-requested.v1", "INTELLIGENCE_REQUESTED", "orchestrator", file),
        (.1 + .19 * chance(), "onextree-intelligence-received.v1", "INTELLIGENCE_RECEIVED", "onextree", found),
        (.25 + .2 * chance(), f"stamp-workflow-{end}.v1", f"WORKFLOW_{end.upper()}", "orchestrator", file),
    )):
        at += after
        yield json.dumps({
            "event_id": ids[i], "event_type": kind, "topic": cli.BRIDGE + topic, "correlation_id": correlation,
            "causation_id": ids[i - 1] if i else correlation, "source": source, "timestamp": stamp(at),
            "payload": payload,
        }).encode()


def alerts():
    """What a monitor made of the story that went wrong: an alert, and a restart whose cause nobody has."""
    for n, cause, at, what, source in ((1, cli.event_id(4), 3.1, "alert", "monitor"),
                                       (2, alert_id(15), 3.4, "restart", "supervisor")):
        yield at, json.dumps({
            "event_id": alert_id(n), "topic": f"agent.{what}.v1", "correlation_id": ALERTS, "causation_id": cause,
            "source": source, "timestamp": stamp(at), "payload": {},
        }).encode()


class Document(several.Case):
    def answer(self, command, asked, more):
        """What a person sees who types it, so many seconds after ten."""
        with clock(asked):
            env = cli.environment(**more)
        env["PATH"] = f"{pathlib.Path(rig.sidelog()).parent}:{env['PATH']}"
        env.pop("XDG_STATE_HOME", None)
        done = subprocess.run(["bash", "-c", command], cwd=self.side(), env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        return f"$ {command}\n{done.stdout.decode()}"

    def hold(self, name, asked, least, prepare=lambda number: None, **more):
        """Every command of the document is answered as it stands there; there are so many at least. prepare(n)
        is called before the nth of them."""
        path = rig.ROOT / "docs" / name
        text = path.read_text(encoding="utf-8")
        parts = re.split(r"(?m)^(```.*\n)", text)  # text, fence, block, fence, text ...
        count = 0
        for i in range(2, len(parts), 4):
            commands = re.findall(r"(?m)^\$ (.*)$", parts[i])
            answers = []
            for command in commands:
                count += 1
                prepare(count)
                answers.append(self.answer(command, asked, more))
            parts[i] = "".join(answers) or parts[i]
        self.assertGreaterEqual(count, least)
        # How long it took is never the same.
        now = re.sub(r"read in \d+ us", re.search(r"read in \d+ us|$", text)[0], "".join(parts))
        if os.environ.get("SIDELOG_GOLDEN") == "write":
            path.write_text(now, encoding="utf-8")
        elif now != text:
            self.fail(f"docs/{name} is not what sidelog says (SIDELOG_GOLDEN=write renews it)\n" + "".join(
                difflib.unified_diff(text.splitlines(True), now.splitlines(True), "document", "now")))


class Forensics(Document):
    def orders(self):
        """The store of most questions: an event is stored 2 ms after it occurred, and sent 16 ms later."""
        store = self.one("orders", [])
        for n in range(STORIES):
            begin = 60 * (n - STORIES)
            with clock(begin + 1):
                store.append_lines(list(workflow(n, begin)))
        with clock(-58):
            cli.settle(store, "".join(f"sent {n % 3} {n}\n" for n in range(4 * STORIES)))
        for told, fate, (_, _, at, *_) in zip(cli.story(), cli.FATES.splitlines(), cli.STORY):
            with clock(at + .002):
                store.append_lines([told])
            with clock(at + .018):
                cli.settle(store, fate + "\n")
        for at, told in alerts():
            with clock(at + .002):
                store.append_lines([told])

    def others(self):
        """The stores of two hosts, and the bundle of a third."""
        with clock(60):
            self.hosts()
            relay = self.one("relay", [self.told_lines()[4]], "sent 1 77\n")
            self.bundle(f"relay={relay.path}", cli.CORRELATION, "relay")

    def test_every_answer_is_the_one_in_the_document(self):
        self.orders()
        self.others()
        self.hold("forensics.md", 111, 12, COLUMNS="115", SIDELOG_STORE="./orders")

    def test_each_of_the_twelve_questions_has_a_command(self):
        questions = (rig.ROOT / "docs" / "forensics.md").read_text(encoding="utf-8").split("\n## ")[1:]
        self.assertEqual([q.splitlines()[0] for q in questions if not re.search(r"(?m)^```\n\$ sidelog ", q)], [])
        self.assertEqual(len(questions), 12, "as README.md and the document itself say")


class CommandLine(Document):
    def test_every_answer_is_the_one_in_the_document(self):
        home = self.side() / "home"
        with clock(2):
            store = self.one(home / ".local" / "state" / "sidelog" / "default", cli.story())
        with clock(2.016):
            cli.settle(store, cli.FATES)
        self.hold("cli.md", 129, 6, COLUMNS="116", HOME=str(home))


class Repair(Document):
    def test_every_answer_is_the_one_in_the_document(self):
        store = self.one("store",
                         [json.dumps({"topic": "orders.created.v1", "event_id": f"order-{n}", "n": n}).encode()
                          for n in range(1, 31)])
        store.call("reindex")
        cli.settle(store, "".join(f"sent 0 {n}\n" for n in range(20)))

        def change(part, *changes):
            path = store.path / part / "data.mdb"
            data = path.read_bytes()
            for what, by in changes:
                self.assertIn(what, data)
                data = data.replace(what, by)
            path.write_bytes(data)

        def prepare(number):
            if number == 1:
                change("log", (b'"n": 7}', b'"n": 9}'), (b'"n": 25}', b'"n": 95}'))
            if number == 3:
                shutil.rmtree(self.side() / "repaired")
                change("delivery", (b"totals", b"tzzals"))

        self.hold("repair.md", 0, 3, prepare)


class Lists(Document):
    """Documents that list commands without their answers: each works, on a store that has what it names."""
    LETTER = 1041

    def commands(self, name):
        text = (rig.ROOT / "docs" / name).read_text(encoding="utf-8")
        blocks = re.split(r"(?m)^```.*\n", text)[1::2]
        return re.findall(r"(?m)^(sidelog .*?)(?:   .*)?$", "".join(blocks))

    def try_each(self, name, least, make):
        commands = self.commands(name)
        self.assertGreaterEqual(len(commands), least)
        lines = [json.dumps({"topic": "orders.v1", "n": n}).encode() for n in range(self.LETTER)]
        for number, command in enumerate(commands):
            if " audit" not in command:  # which tells of the drop before it
                store = self.one(f"store-{number}", lines)
                make(store)
            with self.subTest(command):
                done = self.answer(command, 0, {"SIDELOG_STORE": str(store.path)})
                self.assertRegex(done, r"(?m)^.*\b(1,?041|billing|dropped|test data|CAUSE)\b", done)
                self.assertNotRegex(done, r"(?m)^sidelog: ", done)

    def test_dead_letters(self):
        def make(store):
            cli.settle(store,
                       "sent 0 1\n" * (self.LETTER - 1)
                       + "dead NON_RETRYABLE_VALIDATION CAUSE 1 it is too large\n")
        self.try_each("dead-letters.md", 5, make)

    def test_readers(self):
        self.try_each("readers.md", 6, lambda store: rig.run(
            [rig.tool("tests/cli/reading"), str(store.path), "billing"],
            stdin=b"ack\n" * (self.LETTER - 1) + b"final CAUSE\n"))


class Tour(Document):
    def test_every_command_of_the_tour_works_as_it_stands(self):
        """One after the other in one folder; taken for granted are a program of the reader's and a bundle."""
        text = (rig.ROOT / "README.md").read_text(encoding="utf-8").split("### From the command line")[1]
        commands = re.findall(r"(?m)^\$ (.*)$", text.split("```")[1])
        self.assertGreaterEqual(len(commands), 8)
        bin_folder = self.side() / "bin"
        bin_folder.mkdir()
        program = bin_folder / "my-program"
        program.write_bytes(b"#!/bin/sh\ncat <<'.'\n" + b"\n".join(cli.story()) + b"\n.\n")
        program.chmod(0o755)
        env = cli.environment()
        env["PATH"] = f"{pathlib.Path(rig.sidelog()).parent}:{bin_folder}:{env['PATH']}"
        expected = {"status": 4, "check": 0}  # no agent runs
        for command in commands[1:]:
            word = re.search(r"sidelog (\w+)", command)[1]
            if word == "tail":
                continue  # it goes on until it is interrupted
            if "colleague.jsonl" in command:
                shutil.copy(next(self.side().glob("sidelog-*.jsonl")), self.side() / "colleague.jsonl")
            with self.subTest(command):
                argv = ["bash", "-o", "pipefail", "-c", f"{commands[0]}\n{command}"]
                done = subprocess.run(argv, cwd=self.side(), env=env, stdin=subprocess.DEVNULL,
                                      capture_output=True,
                                      timeout=60, check=False)
                self.assertEqual(done.returncode, expected.get(word, 0), done.stderr.decode())
                self.assertTrue(done.stdout)


if __name__ == "__main__":
    unittest.main()
