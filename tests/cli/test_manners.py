"""Exit statuses, options, help, the manual page, pipes, upkeep."""
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Usage(cli.Case):
    def run_it(self, *args, expect=(0,), **env):
        return rig.run([rig.sidelog(), *map(str, args)], expect=expect, env=cli.environment(**env))

    def test_options_before_and_after_the_command(self):
        store = self.told()
        for args in (["--store", store.path, "--json", "query", "-n", "1"],
                     ["query", "-n1", "--json", f"--store={store.path}"],
                     ["-n", "1", "--json", "query", "--store", store.path]):
            self.assertEqual(json.loads(self.run_it(*args).stdout)["seq"], 7)

    def test_where_the_store_is(self):
        store = self.told()
        home = store.side / "home"
        self.run_it("append", "--topic", "a", "x", HOME=str(home), XDG_STATE_HOME="")
        self.assertTrue((home / ".local/state/sidelog/default/log").is_dir())
        self.run_it("append", "--topic", "a", "x", HOME="/nonexistent", XDG_STATE_HOME=str(home / "state"))
        self.assertTrue((home / "state/sidelog/default/log").is_dir())
        self.assertIn(b'"appended":7', self.run_it("stats", "--json", SIDELOG_STORE=str(store.path)).stdout)
        self.assertIn(b"~/.local/state/sidelog/default",
                      self.run_it("status", HOME=str(home), XDG_STATE_HOME="", expect=(4,)).stdout)

    def test_mistakes(self):
        for args, words in (
            ((), "which command"), (("apend",), "did you mean `sidelog append`?"),
            (("query", "--topik", "x"), "--topic"),
            (("query", "x"), "x"), (("show",), "EVENT"), (("stats", "--topic", "x"), "takes no --topic"),
            (("query", "--format", "csv"), "takes no --format, which is for export"),
            (("query", "--since", "-1h", "--until", "-2h"), "--since -1h is later than --until -2h"),
            (("query", "--since"), "TIME"), (("query", "--since", "soon"), "soon"),
            (("query", "--status", "lost"), "lost"),
            (("query", "-n", "many"), "many"), (("trim",), "--older-than"), (("trim", "--older-than", "7"), "7"),
            (("help", "nothing"), "nothing"), (("query", "--color", "red"), "red"),
        ):
            with self.subTest(args):
                store = self.told() if args and args[0] in ("query", "trim") else None
                done = self.run_it(*(["--store", store.path] if store else []), *args, expect=(2,))
                self.assertEqual(done.stdout, b"")
                self.assertTrue(done.err.startswith("sidelog: "))
                self.assertIn(words, done.err)

    def test_a_seq_names_its_story(self):
        store = self.told()
        store.append("t.v1", b"{}")
        for command, codes in (("trace", (0,)), ("check", (0, 4)), ("bundle", (0,))):
            done = self.run_it("--store", store.path, command, "3",
                               *(["--out", store.side / "x.html"] if command == "bundle" else []), expect=codes)
            self.assertIn("3 is a seq; this is the story it is part of", done.err)
        self.assertIn("event 8 has no correlation id, so it is part of no story: sidelog show 8",
                      self.run_it("--store", store.path, "trace", "8", expect=(1,)).err)
        self.assertIn("has seq 9999 (kept are 1 to 8)",
                      self.run_it("--store", store.path, "show", "9999", expect=(1,)).err)
        other = store.side / "other"
        self.run_it("--store", other, "append", "--topic", "t", "--correlation", "x", "{}")
        self.assertIn("no correlation id",
                      self.run_it("--store", store.path, "--store", other, "trace", "1", expect=(1,)).err)

    def test_help_of_every_command(self):
        listed = self.run_it("help").stdout.decode()
        self.assertEqual(self.run_it("--help").stdout.decode(), listed)
        commands = re.findall(r"(?m)^  ([a-z]+) {2,}\S", listed)
        self.assertGreaterEqual(len(commands), 12)
        for command in commands:
            text = self.run_it("help", command).stdout.decode()
            self.assertEqual(self.run_it(command, "--help").stdout.decode(), text)
            self.assertIn(f"sidelog {command}", text)
            self.assertIn("Examples:", text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 100, line)
            for line in text.partition("\nExamples:")[0].splitlines()[1:]:
                self.assertLessEqual(len(line), 80, line)
        for line in self.run_it("help").stdout.decode().splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_a_wrong_number_is_told_by_the_name_that_people_type(self):
        self.assertIn("-n x is no number", self.told().call("query", "-n", "x", expect=(2,)).err)

    def test_help_of_a_search_says_nothing_of_appending(self):
        for command in ("query", "tail", "export", "dlq"):
            for text in (self.run_it("help", command), self.run_it("help", "--man", command)):
                text = text.stdout.decode().replace("\\-", "-")
                self.assertNotIn("--jsonl", text)
                self.assertIn("the topic, or a glob", text)
        self.assertIn("the Kafka key, the unit of order; of every line",
                      self.run_it("help", "append").stdout.decode())

    def test_version(self):
        for option in ("--version", "-V"):
            self.assertRegex(self.run_it(option).stdout, rb"^sidelog \d+\.\d+\.\d+\n$")

    def test_a_wrong_command_is_told_which_one_is_near(self):
        for args in (["querry"], ["help", "querry"], ["help", "--man", "querry"]):
            self.assertIn("did you mean `sidelog query`?", self.run_it(*args, expect=(2,)).err)
        for name, command in (("stauts", "status"), ("ls", "query"), ("log", "tail"), ("version", "--version"),
                              ("replay", "dlq replay")):
            self.assertIn(f"did you mean `sidelog {command}`?", self.run_it(name, expect=(2,)).err)

    def test_a_wrong_option_is_told_whose_help_has_the_right_ones(self):
        self.assertIn("did you mean --since?; see `sidelog help query`",
                      self.run_it("query", "--sicne", "-1h", expect=(2,)).err)
        self.assertIn("there is no option --frob; see `sidelog help`\n", self.run_it("--frob", expect=(2,)).err)

    def test_the_manual_page_is_in_step(self):
        page = (rig.ROOT / "docs" / "sidelog.1").read_bytes()
        self.assertEqual(self.run_it("help", "--man").stdout, page,
                         "renew it: sidelog help --man > docs/sidelog.1")

    def test_the_documented_members_are_those_that_are_printed(self):
        text = (rig.ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
        documented = set(re.findall(r"(?m)^\| `([a-z_0-9]+)` \|", text))
        store = self.told()
        printed = set().union(*(e.keys() for e in store.lines("export")))
        self.assertFalse(printed - documented)
        for command in ("stats", "status"):
            with self.subTest(command):
                members = set(json.loads(store.call(command, "--json", expect=(0, 4)).stdout))
                self.assertFalse(members - documented)


class Questions(cli.Case):
    def seqs(self, store, *args, expect=(0,)):
        return [e["seq"] for e in store.query(*args, expect=expect)]

    def test_conditions(self):
        store = self.told()
        for args, seqs in (
            ([], [1, 2, 3, 4, 5, 6, 7]), (["-n", "2"], [6, 7]), (["--type", "*_COMPLETED"], [6, 7]),
            (["--topic", "*intelligence*", "--type", "*_REQUESTED"], [2]), (["--status", "dead,pending"], [5, 7]),
            (["--causation", cli.event_id(0)], [2, 4, 5, 6, 7]), (["--event", cli.event_id(3)], [4]),
            (["--correlation", cli.CORRELATION[:8], "-n", "1"], [7]), (["--since", "-1h"], [1, 2, 3, 4, 5, 6, 7]),
            (["--since", "today", "--until", "now", "--status", "sent"], [1, 2, 3, 4, 6]),
        ):
            with self.subTest(args):
                self.assertEqual(self.seqs(store, *args), seqs)

    def test_nothing_found(self):
        store = self.told()
        for args in (["query", "--type", "NO_SUCH"], ["query", "--until", "-1h"], ["show", "99"],
                     ["tail", "--status", "dropped"],
                     ["trace", "0190a6c3"], ["query", "--event", "0190a6c3"], ["export", "--topic", "none"]):
            with self.subTest(args):
                done = store.call(*args, expect=(1,))
                self.assertEqual(done.stdout, b"")

    def test_an_exact_id_wins_over_a_prefix(self):
        store = self.store()
        store.append("a", b"1", event_id="3")
        store.append("a", b"2")
        store.append("a", b"3")
        self.assertEqual(store.call("show", "--raw", "3").stdout, b"1")
        self.assertEqual(store.call("show", "--raw", "2").stdout, b"2")

    def test_one_id_in_several_topics(self):
        store = self.store()
        for topic in ("a", "b"):
            store.append(topic, topic.encode(), event_id="same")
        self.assertEqual(len(store.lines("show", "same")), 2)
        self.assertIn("seq 2 in topic b", store.call("show", "--raw", "same", expect=(2,)).err)

    def test_members_of_an_event(self):
        events = self.told().query()
        for e in events:
            self.assertEqual(list(e)[:8],
                             ["seq", "event_id", "event_type", "topic", "correlation_id", "causation_id",
                              "appended_at", "status"])
            self.assertRegex(e["appended_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual((events[0]["partition"], events[0]["offset"]), (2, 1041))
        self.assertNotIn("partition", events[6])
        self.assertEqual((events[4]["error_class"], events[4]["error_code"], events[4]["attempts"]),
                         ("NON_RETRYABLE_VALIDATION", "MSG_SIZE_TOO_LARGE", 1))

    def test_the_law(self):
        stats = self.told().stats()
        self.assertEqual([stats[k]
                          for k in ("appended", "delivered", "duplicates", "dead", "dropped", "pending",
                                    "balanced")],
                         [7, 5, 0, 1, 0, 1, True])


class Status(cli.Case):
    def held(self, store, report):
        path = store.side / "report.json"
        path.write_text(json.dumps(report))
        agent = subprocess.Popen(rig.dying_with_us([rig.tool("tests/cli/settle"), str(store.path), "--hold",
                                                    str(path)]),
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(agent.communicate)
        self.assertEqual(agent.stdout.readline(), b"held\n")
        return agent

    def report(self, **more):
        now = int((time.time() + 1) * 1e6)
        return {"state": "running", "written_us": now, "state_since_us": now, "last_commit_us": now - 3_000_000,
                "cluster": {"brokers": "k:9092", "broker": "k:9092", "up": 3, "total": 3,
                            "unreachable_since_us": None}, **more}

    def test_all_well(self):
        store = self.told()
        agent = self.held(store, self.report())
        done = store.call("status")
        self.assertIn(b"all well", done.stdout.splitlines()[0])
        self.assertRegex(done.stdout, rb"agent +running, pid %d, up " % agent.pid)
        self.assertRegex(done.stdout, rb"broker +connected to 3 of 3, k:9092, last commit")
        code, look = store.status()
        self.assertEqual((code, look["well"], look["agent"]["running"], look["agent"]["report"]["state"]),
                         (0, True, True, "running"))

    def test_the_broker_is_away(self):
        store = self.told()
        since = int((time.time() - 8040) * 1e6)
        self.held(store,
                  self.report(state="backoff", error={"code": "_TRANSPORT", "text": "k:9092: connection refused"},
                              cluster={"brokers": "k:9092", "unreachable_since_us": since}))
        done = store.call("status", expect=(4,))
        self.assertIn(b"not well: the broker is not reached", done.stdout.splitlines()[0])
        self.assertIn(b"unreachable for 2 h 14 min: k:9092: connection refused", done.stdout)
        self.assertIn(b"nothing is lost", done.stdout)

    def test_parked(self):
        store = self.told()
        self.held(store,
                  self.report(state="parked",
                              parked={"reason": "marker-ahead", "text": "the marker is ahead", "remedy": "adopt"}))
        code, look = store.status()
        self.assertEqual((code, look["problems"]), (4, ["parked"]))

    def test_a_report_that_says_little(self):
        for report in ({}, [], {"state": 3}, {"cluster": "x", "written_us": 1e300}):
            store = self.told()
            self.held(store, report)
            self.assertIn(store.call("status", expect=(0, 4)).returncode, (0, 4))

    def test_no_agent(self):
        store = self.told()
        self.assertEqual(store.status()[1]["problems"], ["no-agent"])
        cli.settle(store, "sent 0 1\n")
        code, look = store.status()
        self.assertEqual((code, look["well"], look["agent"]["running"]), (0, True, False))


class Pipes(cli.Case):
    def test_a_reader_that_has_seen_enough(self):
        store = self.store()
        store.append_lines(rig.numbered(3000, rnd=self.random) if hasattr(rig, "numbered")
                           else [b'{"a":1}'] * 3000, topic="t")
        for command in ("query", "export", "tail -n 3000"):
            process = subprocess.Popen(store.argv(*command.split()), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            process.stdout.read(10)
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
            self.assertEqual(process.wait(10), 0)

    def test_output_that_cannot_be_written(self):
        store = self.told()
        for command in (["query"], ["stats"], ["export"], ["help"], ["--version"], ["status"]):
            with open("/dev/full", "wb") as full:
                done = subprocess.run(store.argv(*command), stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual(done.returncode, 3, command)
            self.assertIn(b"cannot write the output: No space left", done.stderr)

    def follow(self, store, *args):
        process = subprocess.Popen(rig.dying_with_us(store.argv("tail", "-f", "--json", *args)),
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_following(self):
        store = self.told()
        tail = self.follow(store, "-n", "2")
        self.assertEqual([json.loads(tail.stdout.readline())["seq"] for _ in range(2)], [6, 7])
        for n in range(8, 11):
            store.append("t", b"{}")
            self.assertEqual(json.loads(tail.stdout.readline())["seq"], n)
        lines = [b'{"a":1}'] * 5000
        store.append_lines(lines, topic="t")
        self.assertEqual([json.loads(tail.stdout.readline())["seq"] for _ in range(5000)], list(range(11, 5011)))
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(5), 0)
        self.assertEqual(tail.stderr.read(), b"")

    def test_following_with_conditions_and_nothing_yet(self):
        store = self.told()
        tail = self.follow(store, "-n", "0", "--topic", "wanted")
        appended = 7  # the story
        while not select.select([tail.stdout], [], [], 0.05)[0]:  # once it follows, it shows the next one
            self.assertLess(appended, 1000, "the follower shows nothing")
            store.append("other", b"{}")
            store.append("wanted", b"{}")
            appended += 2
        first = json.loads(tail.stdout.readline())["seq"]
        self.assertEqual(first % 2, 1, "an event of another topic")
        self.assertLessEqual(first, appended)
        store.append("wanted", b"{}")
        following = list(range(first + 2, appended + 1, 2)) + [appended + 1]
        self.assertEqual([json.loads(tail.stdout.readline())["seq"] for _ in following], following)

    def test_a_cursor_goes_on_where_it_was(self):
        store = self.told()
        seqs = lambda *args, expect=(0,): [e["seq"] for e in store.lines("tail", *args, expect=expect)]
        self.assertEqual(seqs("--cursor", "me", "-n", "2"), [6, 7])
        self.assertEqual(seqs("--cursor", "me", expect=(1,)), [])
        store.append_lines([b'{"a":1}'] * 500, topic="t")
        self.assertEqual(seqs("--cursor", "me", "seq<=9"), [8, 9])  # the others were looked at, and are no match
        self.assertEqual(seqs("--cursor", "me", expect=(1,)), [])
        store.append("t", b"{}")
        tail = self.follow(store, "--cursor", "me")
        self.assertEqual(json.loads(tail.stdout.readline())["seq"], 508)
        store.append("t", b"{}")
        self.assertEqual(json.loads(tail.stdout.readline())["seq"], 509)
        tail.send_signal(signal.SIGINT)
        self.assertEqual(tail.wait(5), 0)
        self.assertEqual(seqs("--cursor", "me", expect=(1,)), [])
        self.assertIn("cursor's name", store.call("tail", "--cursor", "not a name", expect=(2,)).err)

    def test_a_cursor_survives_a_kill_and_trim(self):
        store = self.told()
        tail = self.follow(store, "--cursor", "me", "-n", "1")
        self.assertEqual(json.loads(tail.stdout.readline())["seq"], 7)
        shown, appended = 7, 7
        while shown < 40:
            store.append("t", b"{}")
            appended += 1
            shown = json.loads(tail.stdout.readline())["seq"]
        tail.kill()
        tail.wait()
        store.append("t", b"{}")
        again = [e["seq"] for e in store.lines("tail", "--cursor", "me")]
        self.assertLessEqual(again[0], 41)
        self.assertEqual(again, list(range(again[0], 42)))
        store.append_lines([b'{"a":1}'] * 10, topic="t")
        store.call("reindex")
        cli.settle(store, "sent 0 1\n" * 45)
        store.call("trim", "--max-events", "4")
        done = store.call("tail", "--cursor", "me", "--json")
        self.assertEqual([json.loads(line)["seq"] for line in done.stdout.splitlines()], [48, 49, 50, 51])
        self.assertIn("6 events behind cursor me (seq 41) were trimmed unseen", done.err)

    def test_what_trim_takes_from_a_follower_is_said(self):
        store = self.told()
        tail = self.follow(store, "-n", "1")
        self.assertEqual(json.loads(tail.stdout.readline())["seq"], 7)
        store.append("t", b"{}")
        self.assertEqual(json.loads(tail.stdout.readline())["seq"], 8)
        tail.send_signal(signal.SIGSTOP)
        store.append_lines([b'{"a":1}'] * 900, topic="t")
        store.call("reindex")
        cli.settle(store, "sent 0 1\n" * 902)
        store.call("trim", "--max-events", "4")
        tail.send_signal(signal.SIGCONT)
        self.assertEqual([json.loads(tail.stdout.readline())["seq"] for _ in range(4)], [905, 906, 907, 908])
        tail.send_signal(signal.SIGTERM)
        self.assertEqual(tail.wait(5), 0)
        self.assertEqual(tail.stderr.read(), b"sidelog: 896 events were trimmed before they could be looked at\n")

    def test_following_ends_with_its_reader(self):
        tail = self.follow(self.told(), "-n", "1")
        tail.stdout.readline()
        tail.stdout.close()
        self.assertEqual(tail.wait(5), 0)
        tail.stdout = None


class Completion(cli.Case):
    def complete(self, store, *words):
        """What bash offers for the last of the words."""
        script = ('eval "$(sidelog completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sidelog; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        env = cli.environment(SIDELOG_STORE=str(store.path))
        env["PATH"] = f"{pathlib.Path(rig.sidelog()).parent}:{env['PATH']}"
        return rig.run(["bash", "-c", script, "bash", "sidelog", *words], env=env).stdout.decode().split()

    def test_bash(self):
        store = self.told()
        self.assertEqual(self.complete(store, "tra"), ["trace"])
        self.assertIn("--version", self.complete(store, "--"))
        self.assertEqual(set(self.complete(store, "query", "--co")), {"--correlation", "--count", "--color"})
        self.assertEqual(self.complete(store, "--store", "x", "stats", "--ho"), ["--hops"])
        self.assertEqual(self.complete(store, "trace", "0190"), [cli.CORRELATION])
        self.assertEqual(self.complete(store, "show", ""), [cli.event_id(n) for n in range(7)])
        self.assertEqual(self.complete(store, "query", "--event", cli.event_id(3)[:-1] + "3"), [cli.event_id(3)])
        self.assertEqual(self.complete(store, "query", "--status", "de"), ["dead"])
        self.assertEqual(self.complete(store, "help", "verif"), ["verify"])

    def test_ids_run_nothing(self):
        store = self.store()
        trap = store.side / "run"
        store.append("t", b"{}", event_id=f"$(touch {trap})`touch {trap}`", correlation=f"a;touch {trap}")
        store.append("t", b"{}", event_id="plain")
        self.assertEqual(self.complete(store, "show", ""), ["plain"])
        self.complete(store, "trace", "")
        self.assertFalse(trap.exists())

    def test_another_shell(self):
        self.assertIn("bash, zsh or fish", self.told().call("completion", "tcsh", expect=(2,)).err)

    def shell(self, store, name):
        if not shutil.which(name):
            self.skipTest(f"{name} is not installed")
        home = store.side / "home"
        home.mkdir()
        env = cli.environment(SIDELOG_STORE=str(store.path), HOME=str(home), XDG_CONFIG_HOME="", XDG_DATA_HOME="")
        env["PATH"] = f"{pathlib.Path(rig.sidelog()).parent}:{env['PATH']}"
        return env

    def test_fish(self):
        store = self.told()
        env = self.shell(store, "fish")

        def offered(line):
            script = f"sidelog completion fish | source; complete -C {shlex.quote(line)}"
            out = rig.run(["fish", "--no-config", "-c", script], env=env).stdout.decode()
            return {one.split("\t")[0] for one in out.splitlines()}
        self.assertEqual(offered("sidelog tra"), {"trace"})
        self.assertEqual(offered("sidelog trace 0190"), {cli.CORRELATION})
        self.assertEqual(offered("sidelog show "), {cli.event_id(n) for n in range(7)})
        self.assertIn("--causation", offered("sidelog query --ca"))

    def test_zsh(self):
        """As a person has it: keys on a terminal."""
        store = self.told()
        env = self.shell(store, "zsh")
        zsh = cli.Terminal(["zsh", "-f", "-i"], rows=30, columns=200, env=env)
        self.addCleanup(zsh.close)
        zsh.send(b'PROMPT="ready> "; eval "$(sidelog completion zsh)"; echo loa""ded\r')
        zsh.until_text(b"loaded")
        for typed, completed in ((b"sidelog tra\t", b"sidelog trace "),
                                 (b"0190\t", f"trace {cli.CORRELATION} ".encode()),
                                 (b"--ti\t", b"--times")):
            zsh.send(typed)
            zsh.until(lambda wanted=completed: wanted in cli.drawn(zsh.out), completed)
        zsh.send(b"\r")
        zsh.until_text(b"WORKFLOW_COMPLETED")
        zsh.send(b"\x04")


class Upkeep(cli.Case):
    def test_reindex_and_verify(self):
        store = self.told()
        self.assertIn(b"7 events indexed", store.call("reindex").stdout)
        self.assertIn(b"sound", store.call("verify").stdout)
        self.assertTrue(store.lines("verify")[0]["sound"])
        self.assertEqual(store.lines("reindex")[0]["indexed_seq"], 7)
        self.assertEqual(store.lines("reindex", "--attributes", "source,key")[0]["attributes"], ["key", "source"])
        self.assertEqual(store.lines("reindex")[0]["attributes"], ["key", "source"])
        self.assertEqual(store.lines("reindex", "--attributes", "none")[0]["attributes"], [])
        self.assertIn(b"write key, tenant or source",
                      store.call("reindex", "--attributes", "colour", expect=(2,)).stderr)

    def test_verify_finds_a_changed_byte(self):
        store = self.told()
        path = store.path / "log" / "data.mdb"
        data = bytearray(path.read_bytes())
        at = data.index(b'"event_type":"HASH_GENERATED"')
        data[at + 15] ^= 1
        path.write_bytes(data)
        done = store.call("verify", expect=(4,))
        self.assertIn(b"problem", done.stdout)
        self.assertIn("problem", done.err)
        done = store.call("export", expect=(4,))
        self.assertEqual(done.stdout.count(b"\n"), 6)
        self.assertIn("event 4", done.err)

    def test_verify_without_a_store(self):
        store = self.store()
        self.assertEqual(store.call("verify", expect=None).returncode, 3)

    def test_trim(self):
        store = self.told()
        done = store.call("trim", "--max-events", "3")
        self.assertIn(b"4 events removed, 3 kept", done.stdout)
        store.append("t", b"{}")
        done = store.call("trim", "--older-than", "0s")
        self.assertIn(b"2 events removed, 2 kept", done.stdout)
        self.assertIn(b"held at seq 7: 2 events are pending", done.stdout)
        self.assertEqual(store.stats()["trimmed"], 6)
        self.assertEqual(store.lines("trim", "--older-than", "1d")[0]["removed"], 0)
        self.assertIsNone(__import__("check").law(store.stats()))


if __name__ == "__main__":
    unittest.main()
