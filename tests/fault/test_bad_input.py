"""Bad input and bad surroundings: an error that names the thing and the remedy, the exit status that was
promised, and nothing half-done. Runs as root too: what must be refused to others is tried as nobody."""
import json
import os
import shutil
import subprocess
import unittest

import check
import rig


class Lines(rig.Rig):
    """`append --jsonl` with lines that are no events."""

    def append(self, data, *args, expect=(6,)):
        self.s = self.store()
        done = self.s.call("append", "--jsonl", "--ack", *args, "-", stdin=data, expect=expect)
        self.assertIsNone(check.law(self.s.stats()))
        return done

    def rejected(self, bad, *words, args=("--topic", "evt.a.v1")):
        """A bad line between two good ones: the good ones are stored, the bad one is named by number and
        reason."""
        done = self.append(b'{"event_id":"one"}\n' + bad + b'\n{"event_id":"three"}\n', *args)
        self.assertEqual([rig.parse_ack(line)[1] for line in done.stdout.splitlines()], ["one", "three"])
        self.assertIn("line 2", done.err)
        for word in words:
            self.assertIn(word.lower(), done.err.lower())
        self.assertEqual(self.s.stats()["appended"], 2)
        self.s.verify()

    def test_invalid_json(self):
        for bad in (b'{"a":1', b"{'a':1}", b'{"a":1} x', b"nonsense", b'{"a":01}', b'{"a":"\x01"}', b'{"a":1,}'):
            with self.subTest(bad):
                self.rejected(bad)

    def test_not_an_object(self):
        for bad in (b"[1]", b"1", b'"x"', b"null", b"true"):
            with self.subTest(bad):
                self.rejected(bad, "object")

    def test_invalid_utf8(self):
        for bad in (b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}', b'{"\xf5":1}'):
            with self.subTest(bad):
                self.rejected(bad, "utf-8")

    def test_illegal_topic(self):
        for topic in ("a b", "a/b", "\u00fc", "x" * 250, ".", "..", "a:b"):
            with self.subTest(topic):
                self.rejected(json.dumps({"topic": topic}).encode(), "topic")

    def test_value_over_the_limit(self):
        self.rejected(json.dumps({"a": "x" * 1_000_001}).encode(), "1,000,000")

    def test_value_at_the_limit(self):
        line = b'{"a":"' + b"x" * (1_000_000 - 8) + b'"}'
        self.append(line + b"\n", "--topic", "evt.a.v1", expect=(0,))
        self.assertEqual(self.s.stats()["appended"], 1)

    def test_no_topic(self):
        done = self.append(b'{"a":1}\n{"topic":"evt.a.v1"}\n')
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertIn("line 1", done.err)
        self.assertIn("topic", done.err)

    def test_too_deep(self):
        self.rejected(b'{"a":' * 1001 + b"1" + b"}" * 1001, "deep")

    def test_legal_but_unusual_lines_are_kept(self):
        lines = [
            b'{"n":12345678901234567890123456789}', b'{"n":1e400}', b'{"n":-0.0000000000000000000000000001e-999}',
            b'{"s":"\\u0000"}', b'{"s":"\\ud800"}', b"{}", b' {"a" : 1 } ', b'{"a":' * 999 + b"1" + b"}" * 999,
            '{"s":"\u2028\U0001f600"}'.encode(),
        ]
        done = self.append(b"\r\n\n".join(lines) + b"\r\n", "--topic", "evt.a.v1", expect=(0,))
        self.assertEqual(len(done.stdout.splitlines()), len(lines))
        self.s.verify()

    def test_strict_stores_nothing_of_a_bad_batch(self):
        self.append(b'{"a":1}\nbad\n{"a":3}\n', "--strict", "--topic", "evt.a.v1")
        self.assertEqual(self.s.stats()["appended"], 0)


class Arguments(rig.Rig):
    def refused(self, code, *args, words=(), stdin=b"{}"):
        store = self.store()
        store.append("evt.first.v1", b"{}")
        done = store.call(*args, expect=None, stdin=stdin)
        self.assertEqual(done.returncode, code, done.err)
        self.assertTrue(done.err.strip(), "an error must say something")
        for word in words:
            self.assertIn(word.lower(), done.err.lower())
        self.assertEqual(store.stats()["appended"], 1)

    def test_unknown_command(self):
        self.refused(2, "frobnicate", words=["frobnicate"])

    def test_unknown_option(self):
        self.refused(2, "append", "--colour", "red", words=["--colour"])

    def test_append_without_topic(self):
        self.refused(2, "append", "-", words=["topic"])

    def test_append_with_an_illegal_topic(self):
        done_codes = (2, 6)
        store = self.store()
        done = store.call("append", "--topic", "a b", "{}", expect=None)
        self.assertIn(done.returncode, done_codes, done.err)
        self.assertIn("topic", done.err)

    def test_append_over_the_limit(self):
        self.refused(6, "append", "--topic", "evt.a.v1", "-", stdin=b"x" * 1_000_001, words=["1,000,000"])

    def test_a_file_that_is_not_there(self):
        self.refused(2, "append", "--topic", "evt.a.v1", "@/nonexistent/file", words=["/nonexistent/file"])

    def test_an_id_that_is_not_there(self):
        store = self.store()
        store.append("evt.a.v1", b"{}")
        self.assertEqual(store.call("query", "--event", "no-such-id", expect=None).returncode, 1)
        self.assertEqual(store.call("trace", "no-such-id", expect=None).returncode, 1)
        self.assertEqual(store.call("show", "no-such-id", expect=None).returncode, 1)

    def test_an_ambiguous_prefix_lists_its_candidates(self):
        store = self.store()
        ids = ["0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f", "0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e70"]
        for one in ids:
            store.append("evt.a.v1", b"{}", correlation=one)
        done = store.call("trace", "0190a6c2", expect=(2,))
        for one in ids:
            self.assertIn(one, done.err)
        self.assertEqual(store.call("trace", ids[0]).returncode, 0)

    def test_agent_configuration_errors(self):
        store = self.store()
        store.append("evt.a.v1", b"{}")
        bad = store.side / "bad.yaml"
        for text, word in (("no_such_setting: 1\n", "no_such_setting"), ("brokers: [\n", "bad.yaml"),
                           ("transactions:\n  max_events: many\n", "many")):
            bad.write_text(text)
            done = rig.run([rig.sidelogd(), "--store", str(store.path), "--config", str(bad)], expect=None,
                           seconds=20)
            self.assertEqual(done.returncode, 2, (text, done.err))
            self.assertIn(word, done.err)
        done = rig.run([rig.sidelogd(), "--store", str(store.path)], expect=None, seconds=20)
        self.assertEqual(done.returncode, 2, done.err)
        self.assertIn("broker", done.err)


class Surroundings(rig.Rig):
    """The store's folder and files are not as they should be."""

    def filled(self, count=200):
        store = self.store()
        store.append_lines(rig.numbered(count, rnd=self.random), topic="evt.a.v1")
        return store

    def refused(self, store, code=3, words=(), commands=(("stats",), ("append", "--topic", "evt.a.v1", "{}"))):
        for command in commands:
            done = store.call(*command, expect=None)
            self.assertEqual(done.returncode, code, f"{command}: {done.err}")
            for word in (str(store.path), *words):
                self.assertIn(word.lower(), done.err.lower(), command)

    def test_no_store(self):
        store = self.store()
        done = store.call("stats", expect=None)
        self.assertEqual(done.returncode, 3, done.err)
        self.assertIn(str(store.path), done.err)
        self.assertFalse(store.path.exists(), "asking must not create a store")

    def test_a_truncated_store(self):
        # A data file shorter than its meta page says would be a SIGBUS at the first read beyond its end.
        for part in ("log", "delivery"):
            with self.subTest(part):
                store = self.filled(3000 if part == "log" else 500)
                store.call("reindex")
                data = next((store.path / part).glob("data.mdb"))
                os.truncate(data, 2 * 4096 if part != "log" else 40 * 4096)
                done = store.call("stats", expect=None)
                self.assertEqual(done.returncode, 3, done.err)
                self.assertIn(part, done.err)

    def test_a_truncated_index_is_made_anew(self):
        store = self.filled(500)
        store.call("reindex")
        os.truncate(store.path / "index" / "data.mdb", 2 * 4096)
        event = store.events[123]
        found = store.query("--correlation", event.key, "-n", "500")
        self.assertEqual([e["seq"] for e in found], [e.seq for e in store.events if e.key == event.key])
        self.assertEqual(store.query("--event", event.event_id)[0]["seq"], event.seq)
        self.assertIsNone(check.law(store.stats()))
        store.call("reindex")
        self.assertEqual(store.stats()["indexed_seq"], 500)
        store.verify()

    def test_a_file_that_is_no_store(self):
        store = self.filled()
        (store.path / "log" / "data.mdb").write_bytes(b"this is not a database" * 1000)
        self.refused(store)

    def test_a_path_that_is_a_file(self):
        store = self.store()
        store.path.write_text("hello")
        self.refused(store)
        self.assertEqual(store.path.read_text(), "hello")

    def test_a_newer_version(self):
        store = self.filled()
        rig.run([rig.tool("tests/fault/bump"), str(store.path)])
        before = (store.path / "log" / "data.mdb").read_bytes()
        self.refused(store, words=("format",))
        self.assertEqual((store.path / "log" / "data.mdb").read_bytes(), before, "nothing may be touched")
        done = rig.run([rig.sidelogd(), "--store", str(store.path), "--brokers", "127.0.0.1:9"], expect=(3,),
                       seconds=20)
        self.assertIn("format", done.err)

    def test_a_store_taken_away_from_its_agent(self):
        """It ends, so that whoever starts it again gives it what is there now."""
        store = self.filled()
        agent = self.agent(store, brokers="127.0.0.1:9").start()
        rig.wait_until("the agent to start", lambda: "started" in agent.log(), 20)
        store.path.rename(store.side / "elsewhere")
        store.append("evt.a.v1", b"of another one")
        shutil.rmtree(store.side / "elsewhere")
        self.assertEqual(agent.wait(20), 3, agent.log())
        self.assertIn("store-gone", agent.log())

    def test_a_full_store(self):
        store = self.store()
        lines = rig.numbered(400, size=4000, rnd=self.random)
        done = store.call("--quota", "2M", "append", "--jsonl", "--ack", "--topic", "evt.a.v1", "-",
                          stdin=b"\n".join(lines) + b"\n", expect=None)
        self.assertEqual(done.returncode, 3, done.err)
        self.assertIn("full", done.err)
        stored = store.stats()
        self.assertEqual(stored["appended"], len(done.stdout.splitlines()),
                         "each acknowledged line is there, no other")
        self.assertGreater(stored["appended"], 100)
        store.verify()


@unittest.skipUnless(os.geteuid() == 0, "needs root, to mount a small disk")
class SmallDisk(rig.Rig):
    def disk(self, size):
        store = self.store()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", store.side],
                          stderr=subprocess.DEVNULL).returncode:
            raise unittest.SkipTest("this root may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", store.side])
        return store

    def fill(self, store, name):
        with open(store.side / name, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def test_no_room_for_a_new_store(self):
        store = self.disk("8m")
        self.fill(store, "full")
        done = store.call("append", "--topic", "evt.a.v1", "{}", expect=(3,))
        self.assertIn("the disk is full; make room on it", done.err)
        (store.side / "full").unlink()
        done = store.call("append", "--topic", "evt.a.v1", "{}", expect=(3,))
        self.assertIn("Make room", done.err)  # 64 MiB are reserved at creation, unless the quota is less
        store.call("append", "--quota", "2M", "--topic", "evt.a.v1", "{}")
        self.assertEqual(store.stats()["appended"], 1)

    def test_full_and_back(self):
        store = self.disk("70m")
        store.call("append", "--topic", "evt.a.v1", "{}")
        lines = b"\n".join(rig.numbered(20_000, size=4000, rnd=self.random))
        done = store.call("append", "--jsonl", "--ack", "--topic", "evt.a.v1", "-", stdin=lines, expect=(3,))
        self.assertIn("the disk is full", done.err)
        stored = 1 + len(done.stdout.splitlines())
        self.fill(store, "full")
        self.assertEqual(store.stats()["appended"], stored, "each acknowledged line is there, no other")
        store.call("query", "-n", 1)
        store.call("verify")
        (store.side / "full").unlink()
        rig.run(["mount", "-o", "remount,size=200m", store.side])
        store.call("append", "--topic", "evt.a.v1", "{}")
        store.call("reindex")
        self.assertEqual(store.stats()["appended"], stored + 1)
        store.verify()

    def test_two_pid_namespaces(self):
        """Each container has a process with number 1, by which LMDB would take one for the other."""
        store = self.store()
        inside = ["unshare", "--pid", "--fork"]
        if subprocess.run([*inside, "true"], stderr=subprocess.DEVNULL).returncode:
            raise unittest.SkipTest("this root may not make a pid namespace")
        store.append("evt.a.v1", b"first")
        follow = [*inside, *store.argv("tail", "-f", "--json")]
        other = subprocess.Popen(follow, stdout=subprocess.PIPE, start_new_session=True)
        self.addCleanup(other.stdout.close)
        self.addCleanup(other.wait)
        self.addCleanup(os.killpg, other.pid, 9)
        other.stdout.readline()
        done = rig.run([*inside, *store.argv("stats")], expect=(3,))
        self.assertIn("pid namespace", done.err)
        store.append("evt.a.v1", b"second")  # of another number
        self.assertIn(b'"seq":2', other.stdout.readline())
        store.verify()

    def test_a_read_only_mount(self):
        store = self.disk("80m")
        store.append("evt.a.v1", b"{}")
        rig.run(["mount", "-o", "remount,ro", store.side])
        for command in (("append", "--topic", "a", "x"), ("query",), ("status",), ("stats",), ("verify",),
                        ("reindex",), ("export",)):
            done = store.call(*command, expect=(3,))
            self.assertIn("Read-only file system", done.err)
            self.assertIn("must be able to write", done.err)


@unittest.skipUnless(os.geteuid() == 0, "needs root, to be nobody")
class Others(rig.Rig):
    """A user who may not."""

    def as_nobody(self, *argv):
        return rig.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--",
                        *map(str, argv)], expect=None)

    def program(self):
        """nobody may not reach the build folder of every checkout."""
        if self.as_nobody("test", "-x", rig.sidelog()).returncode == 0:
            return rig.sidelog()
        raise unittest.SkipTest("the build folder cannot be reached by nobody")

    def test_a_foreign_store(self):
        program, store = self.program(), self.store()
        store.append("evt.a.v1", b"{}")
        store.side.chmod(0o755)
        for command in (("stats",), ("append", "--topic", "evt.a.v1", "{}")):
            done = self.as_nobody(program, "--store", store.path, *command)
            self.assertEqual(done.returncode, 3, done.err)
            self.assertIn(str(store.path), done.err)
            self.assertIn("ermi", done.err)

    def test_a_read_only_folder(self):
        program, store = self.program(), self.store()
        store.side.chmod(0o555)
        done = self.as_nobody(program, "--store", store.path, "append", "--topic", "evt.a.v1", "{}")
        self.assertEqual(done.returncode, 3, done.err)
        self.assertIn(str(store.path), done.err)

    def test_modes(self):
        store = self.store()
        store.append("evt.a.v1", b"{}")
        for path in [store.path, *store.path.rglob("*")]:
            mode = path.stat().st_mode & 0o777
            self.assertEqual(mode & 0o077, 0, f"{path} is {mode:o}")


if __name__ == "__main__":
    unittest.main()
