"""sidelog top: it lives, hears keys, and leaves the terminal as it was, whatever ends it."""
import os
import pathlib
import re
import signal
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


class Top(cli.Case):
    def top(self, store, **more):
        terminal = self.terminal(store, "top", **more)
        terminal.until_text(b"? help")
        return terminal

    def test_it_lives_and_leaves_the_terminal_as_it_was(self):
        store = self.told()
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, b"q", b"\x03", b"\x04"):
            with self.subTest(how):
                terminal = self.terminal(store, "top")
                modes = terminal.modes()
                terminal.until_text(b"appended a second" if how == b"q"
                                    else b"? help")  # the second look has rates
                self.assertNotEqual(terminal.modes(), modes)
                terminal.send(how) if isinstance(how, bytes) else os.kill(terminal.pid, how)
                self.assertEqual(terminal.wait(), 0)
                self.assertTrue(terminal.out.startswith(ENTER), terminal.out[:40])
                self.assertTrue(terminal.out.endswith(LEAVE), terminal.out[-40:])
                self.assertIn(b"WORKFLOW_STARTED -> INTELLIGENCE_REQUESTED", terminal.out)
                self.assertEqual(terminal.modes(), modes)

    def test_deaths_leave_it_too(self):
        store = self.told()
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            with self.subTest(number):
                terminal = self.terminal(store, "top")
                modes = terminal.modes()
                terminal.until_text(b"? help")
                os.kill(terminal.pid, number)
                self.assertEqual(terminal.wait(), 128 + number)
                self.assertTrue(terminal.out.endswith(LEAVE), terminal.out[-40:])
                self.assertEqual(terminal.modes(), modes)

    def test_pause(self):
        store = self.told()
        terminal = self.top(store)
        terminal.send(b" ")
        terminal.until_text(b"paused")
        store.append("t", b"{}")
        before = len(terminal.out)
        terminal.send(b"s")  # drawn anew, from what it has
        terminal.until_text(b"paused", before)
        self.assertNotIn(b"8 appended", terminal.out)
        terminal.send(b" ")
        terminal.until_text(b"8 appended")

    def test_sorting_and_help(self):
        terminal = self.top(self.told(), columns=120)
        seen = [b"99 of 100"]
        for key, words in ((b"s", b"95 of 100"), (b"\x1b[C", b"half take"), (b"\x1bOC", b"the longest"),
                           (b"s", b"how often"),
                           (b"\x1b[D", b"the longest"), (b"\x1bx", b"the longest"), (b"?", b"page up"),
                           (b"?", b"the longest")):
            before = len(terminal.out)
            terminal.send(key)
            terminal.until_text(words, before)
            seen.append(words)
        terminal.send(b"q")
        self.assertEqual(terminal.wait(), 0)

    def test_the_other_steps(self):
        store = self.store()
        store.append_lines([b'{"topic":"t","event_type":"T%02d","correlation_id":"c"}' % n for n in range(60)])
        terminal = self.top(store)
        steps = lambda since: set(re.findall(rb"T\d\d -> T\d\d", terminal.out[since:]))
        first = steps(0)
        terminal.until(lambda: terminal.send(b"\x1b[6~") or len(steps(0)) == 59, "every step")
        before = len(terminal.out)
        terminal.send(b"\x1b[5~" * 60)
        terminal.until(lambda: terminal.out.count(b"? help", before) >= 60, "as many frames as keys")
        before = len(terminal.out)
        terminal.send(b"\x1b[A")
        terminal.until_text(b"? help", before)
        self.assertEqual(min(steps(before)), min(first))  # how many fit below the rest of the picture may change

    def test_another_size(self):
        terminal = self.top(self.told(), rows=24, columns=100)
        terminal.resize(12, 60)
        terminal.until_text(b"\x1b[12;1H")
        before = len(terminal.out)
        terminal.until_text(b"? help", before)  # the next look
        frame = terminal.out[before:].rpartition(b"\x1b[H")[2]
        for line in re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", frame).decode().splitlines():
            self.assertLessEqual(len(line), 62, line)
        self.assertLessEqual(frame.count(b"\n"), 12)

    def test_a_shell_stops_it_and_goes_on_with_it(self):
        store = self.told()
        shell = cli.Terminal(["bash", "--norc", "--noprofile", "-i"],
                             env=cli.environment(PS1="ready> ", HISTFILE="/dev/null"))
        self.addCleanup(shell.close)
        kept = store.side / "modes"
        command = " ".join(map(str, store.argv("top")))

        def say(line, text):
            before = len(shell.out)
            shell.send(line.encode() + b"\n")
            shell.until_text(text, before)

        def modes():
            say(f"stty -g > {kept}; echo k''ept", b"kept")
            return kept.read_text()

        shell.until_text(b"ready> ")
        before = modes()
        say(command, b"? help")
        at = len(shell.out)
        shell.send(b"\x1a")
        shell.until_text(b"Stopped", at)
        self.assertIn(LEAVE, shell.out[at:].partition(b"Stopped")[0])
        self.assertEqual(modes(), before)
        say("fg", ENTER)
        shell.until_text(b"? help", len(shell.out))
        shell.send(b"q")
        shell.until(lambda: shell.out.endswith(b"ready> "), "the prompt")
        self.assertEqual(shell.out.count(ENTER), shell.out.count(LEAVE))
        self.assertEqual(modes(), before)
        shell.send(b"exit\n")
        shell.wait()

    def test_without_a_terminal_it_looks_once(self):
        text = self.say(self.told(), "top", columns=60)
        self.assertNotIn("\x1b", text)
        self.assertIn("rates", text)
        for row in text.splitlines():
            self.assertLessEqual(len(row), 62, row)
        self.assertIn("status --json", self.told().call("top", "--json", expect=(2,)).err)


if __name__ == "__main__":
    unittest.main()
