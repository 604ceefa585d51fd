"""A pager: on a terminal, for what is longer than the screen, and for nothing else."""
import pathlib
import re
import shutil
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Pager(cli.Case):
    def long(self):
        store = self.store()
        store.append_lines([b'{"topic":"t.v1","event_type":"T","event_id":"e%d"}' % n for n in range(60)])
        return store

    def paged(self, store, *args, rows=24, expect=0, **env):
        """(what the pager was given or None, what came to the terminal)."""
        kept = store.side / "paged"
        kept.unlink(missing_ok=True)
        env = {"SIDELOG_PAGER": f"cat > '{kept}'"} | env
        terminal = self.terminal(store, *args, rows=rows, env=cli.environment(**env))
        self.assertEqual(terminal.wait(), expect, terminal.out)
        steady = lambda text: re.sub(rb"in [0-9.]+ ms", b"in N ms", text)
        return steady(kept.read_bytes()) if kept.exists() else None, steady(terminal.text())

    def test_what_is_longer_than_the_screen(self):
        store = self.long()
        plain = self.paged(store, "query", "--no-pager")[1]
        self.assertIn(b"\x1b[", plain)  # colours
        self.assertGreater(plain.count(b"\n"), 60)
        self.assertEqual(self.paged(store, "query"), (plain, b""))
        self.assertEqual(self.paged(store, "query", rows=100), (None, plain))
        self.assertEqual(self.paged(store, "query", rows=plain.count(b"\n")),
                         (plain, b""))  # the prompt needs a row, too
        self.assertEqual(self.paged(store, "query", SIDELOG_PAGER="", PAGER="false"), (None, plain))
        self.assertEqual(self.paged(store, "query", SIDELOG_PAGER="cat"), (None, plain))
        self.assertEqual(self.paged(store, "query", TERM="dumb")[0], None)

    def test_a_line_that_wraps_takes_several_rows(self):
        store = self.store()
        store.append("t.v1", b'"' + b"x" * 3000 + b'"', correlation="c")
        self.assertIsNone(self.paged(store, "query")[0])
        self.assertIn(b"x" * 3000, self.paged(store, "query", "--json", "--value")[0])

    def test_which_commands(self):
        store = self.long()
        store.append_lines([b'{"topic":"t.v1","event_type":"T%d","correlation_id":"c"}' % n for n in range(60)])
        for args in (["trace", "c"], ["query"], ["stats", "--hops"], ["diff", "c", "c"], ["export"],
                     ["help", "append"],
                     ["show", "100"]):
            with self.subTest(args):
                self.assertIsNotNone(self.paged(store, *args, rows=3)[0])
        for args in (["tail", "-n", "60"], ["status"], ["show", "100", "--raw"], ["trim", "--older-than", "9d"],
                     ["--version"]):
            with self.subTest(args):
                expect = 4 if args == ["status"] else 0
                self.assertEqual(self.paged(store, *args, rows=3, expect=expect)[0], None)
        done = rig.run(store.argv("query"), env=cli.environment(SIDELOG_PAGER="cat >&2"))  # a pipe
        self.assertEqual((done.stdout.count(b"\n"), done.stderr), (121, b""))

    def test_the_exit_status_stays(self):
        store = self.told()
        self.assertEqual(self.paged(store, "check", cli.CORRELATION, rows=3, expect=4)[0].count(b"dead"), 1)
        given, shown = self.paged(store, "query", "--type", "none", expect=1)
        self.assertIsNone(given)
        self.assertIn(b"no event meets", shown)

    def test_a_pager_that_ends_early(self):
        store = self.store()
        store.append_lines([b'{"topic":"t.v1","event_id":"e%d"}' % n for n in range(5000)])
        env = cli.environment(PAGER="head -n 2")
        del env["SIDELOG_PAGER"]
        terminal = self.terminal(store, "query", "--color", "never", env=env)
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual(terminal.text().count(b"\n"), 2, terminal.text())
        self.assertNotIn(b"sidelog:", terminal.text())

    def test_a_pager_that_is_not_there(self):
        store = self.long()
        given, shown = self.paged(store, "query", SIDELOG_PAGER="no-such-pager -x")
        self.assertIsNone(given)
        self.assertIn(b"cannot start the pager no-such-pager -x: No such file", shown)
        self.assertIn(b"e59", shown)
        given, shown = self.paged(store, "query", SIDELOG_PAGER="sh", PATH="/nowhere")
        self.assertIn(b"e59", shown)

    def less(self, store):
        env = cli.environment()
        del env["SIDELOG_PAGER"]
        return self.terminal(store, "query", "--color", "never", env=env)

    @unittest.skipUnless(shutil.which("less"), "less is not installed")
    def test_less_has_the_keys(self):
        store = self.long()
        terminal = self.less(store)
        modes = terminal.modes()
        terminal.until(lambda: terminal.modes() != modes, "less")
        terminal.until_text(b"e21")
        self.assertNotIn(b"e59", terminal.out)
        terminal.send(b"G")
        terminal.until_text(b"e59")
        terminal.send(b"\x03")  # less stays, and sidelog with it: the shell must not get the keys
        # Ctrl-C throws away keys typed behind it, so "g" is typed until it is heard
        terminal.until(lambda: terminal.out.count(b"e21") > 1 or terminal.send(b"g"), "the first page again")
        self.assertFalse(terminal.ended())
        terminal.send(b"q")
        self.assertIn(terminal.wait(), (0, 128 + signal.SIGINT))
        self.assertEqual(terminal.modes(), modes)

    @unittest.skipUnless(shutil.which("less"), "less is not installed")
    def test_less_is_left_at_once(self):
        store = self.long()
        terminal = self.less(store)
        terminal.until_text(b"e21")
        terminal.send(b"q")
        self.assertEqual(terminal.wait(), 0)
        self.assertNotIn(b"\x1b[?1049h", terminal.out)  # -X: what was read stays on the screen


if __name__ == "__main__":
    unittest.main()
