"""What the tests of the command line stand on: a store with a story in it, golden files, a terminal."""
import difflib
import json
import os
import pathlib
import pty
import re
import select
import struct
import fcntl
import termios
import time

import rig

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
CORRELATION = "0190a6c2-7c1e-7d5b-9f0e-3a5b1c2d4e6f"
BRIDGE = "dev.omninode_bridge.onex.evt."

# Of the story: event id's last digit, its cause's, seconds, topic, type, source
STORY = (
    (0, None, 0.000, "stamp-workflow-started.v1", "WORKFLOW_STARTED", "orchestrator"),
    (1, 0, 0.012, "onextree-intelligence-requested.v1", "INTELLIGENCE_REQUESTED", "orchestrator"),
    (2, 1, 1.630, "onextree-intelligence-received.v1", "INTELLIGENCE_RECEIVED", "onextree"),
    (3, 0, 1.633, "blake3-hash-generated.v1", "HASH_GENERATED", "stamper"),
    (4, 0, 1.640, "metadata-stamp-created.v1", "STAMP_CREATED", "stamper"),
    (5, 0, 1.641, "workflow-step-completed.v1", "STEP_COMPLETED", "orchestrator"),
    (6, 0, 1.842, "stamp-workflow-completed.v1", "WORKFLOW_COMPLETED", "orchestrator"),
)
FATES = """sent 2 1041
sent 0 318
sent 0 318
sent 1 2207
dead NON_RETRYABLE_VALIDATION MSG_SIZE_TOO_LARGE 1 1,204,113 bytes are more than the topic takes
sent 2 1042
"""


def event_id(n):
    return f"0190a6c2-7c1e-7000-8000-00000000000{n}"


def story():
    lines = []
    for n, cause, at, topic, kind, source in STORY:
        lines.append(json.dumps({
            "event_id": event_id(n), "event_type": kind, "topic": BRIDGE + topic, "correlation_id": CORRELATION,
            "causation_id": CORRELATION if cause is None else event_id(cause), "source": source,
            "timestamp": f"2026-03-01T10:00:0{at:.3f}Z", "payload": {"n": n},
        }, separators=(",", ":")).encode())
    return lines


def settle(store, fates):
    rig.run([rig.tool("tests/cli/settle"), str(store.path)], stdin=fates.encode())


def environment(columns=None, unicode=True, **more):
    env = {k: v for k,
           v in os.environ.items()
           if k not in ("COLUMNS", "NO_COLOR", "LC_ALL", "LANG", "SIDELOG_STORE", "PAGER", "LESS")}
    env |= {"LC_ALL": "C.UTF-8" if unicode else "C", "TZ": "UTC", "TERM": "xterm-256color",
            "SIDELOG_PAGER": ""} | more
    if columns:
        env["COLUMNS"] = str(columns)
    return env


def steady(text):
    """What differs from run to run: times of the append, spans since then, store ids, folders, sizes, pids."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", "DATE TIME.micros", text)
    text = re.sub(r"\b(20\d\d-\d\d-\d\d) \d\d:\d\d:\d\d\.\d{3}", "DATE-OF-DAY TIME.mil ", text)
    text = re.sub(r"\b\d\d:\d\d:\d\d\.\d{3}", "HH:MM:SS.mil", text)
    text = re.sub(r"(?m)^\d\d:\d\d:\d\d ", "HH:MM:SS ", text)
    text = re.sub(r"\(([^()]* ago|just now)\)", "(a while ago)", text)
    text = re.sub(r"\b(\d[\d.,]* (us|ms|s|min|h)( \d+ (s|min))?|\d+ d \d\d:\d\d) ago|just now", "a while ago",
                  text)
    text = re.sub(r"\d[\d.]* (B|KiB|MiB|GiB)", "SIZE", text)
    text = text.replace("SIZE of SIZE", "SIZE")
    text = re.sub(r"\d[\d.]* (us|ms|s) after its append", "SPAN after its append", text)
    text = re.sub(r"in \d[\d.]* (us|ms|s)$", "in SPAN", text, flags=re.M)
    text = re.sub(r"oldest \d[\d.]* (us|ms|s)", "oldest SPAN", text)
    return re.sub(r"\S*/sidelog-test\.[^/\s]+", "/STORES", text)


class Case(rig.Rig):
    def told(self, expect=(0,)):
        """A store with the story: five events sent, one dead, one pending."""
        store = self.store(parent="/tmp")  # what fits a line must not depend on where this run keeps its folders
        store.append_lines(story())
        settle(store, FATES)
        return store

    def terminal(self, store, *args, **more):
        terminal = Terminal(store.argv(*args), **more)
        self.addCleanup(terminal.close)
        return terminal

    def say(self, store, *args, columns=None, unicode=True, expect=(0,), stdin=None, **env):
        done = rig.run(store.argv(*args), expect=expect, stdin=stdin, env=environment(columns, unicode, **env))
        return done.stdout.decode("utf-8", "strict" if unicode else "replace")

    def golden(self, name, text):
        path = GOLDEN / name
        text = steady(text)
        if os.environ.get("SIDELOG_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        expected = path.read_text(encoding="utf-8")
        if text != expected:
            self.fail(f"{name} (SIDELOG_GOLDEN=write renews it)\n" + "".join(
                difflib.unified_diff(expected.splitlines(True), text.splitlines(True), "golden", "now")))


def drawn(out):
    """What stands on a line that was edited: without colours, and what a backspace took."""
    left = bytearray()
    for byte in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", out):
        if byte == 8:
            del left[-1:]
        else:
            left.append(byte)
    return bytes(left)


class Terminal:
    """A command on a terminal of its own, which is its controlling one: keys and Ctrl-C reach it as they do a
    person's."""

    def __init__(self, argv, rows=24, columns=80, env=None, seconds=20):
        self.out, self.end = b"", time.monotonic() + seconds
        self.master, self.slave = pty.openpty()
        self.resize_fd(self.slave, rows, columns)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
                for fd in range(3):
                    os.dup2(self.slave, fd)
                os.closerange(3, 256)
                os.execvpe(argv[0], list(map(str, argv)), env or environment())
            finally:
                os._exit(127)

    @staticmethod
    def resize_fd(fd, rows, columns):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows, columns):
        self.resize_fd(self.master, rows, columns)

    def modes(self):
        return termios.tcgetattr(self.slave)

    def read(self, seconds=0.05):
        while select.select([self.master], [], [], seconds)[0]:
            self.out += os.read(self.master, 65536)
            seconds = 0

    def until(self, done, what="what was awaited"):
        """Reads until done() holds."""
        while not done():
            if time.monotonic() > self.end:
                raise AssertionError(f"{what} did not come; the terminal has {self.out[-2000:]!r}")
            self.read()
        return self.out

    def until_text(self, text, since=0):
        return self.until(lambda: text in self.out[since:], text)

    def send(self, keys):
        os.write(self.master, keys)

    def ended(self):
        if self.pid:
            pid, self.status = os.waitpid(self.pid, os.WNOHANG)
            self.pid = 0 if pid else self.pid
        return not self.pid

    def wait(self):
        """The exit status (of a shell: 128 and a signal), once it has ended; everything that it wrote is in
        out."""
        self.until(self.ended, "its end")
        self.read(0)
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def text(self):
        return self.out.replace(b"\r\n", b"\n")

    def close(self):
        if not self.ended():
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.slave)  # held until now: with its last holder what it has to say would be lost


def on_terminal(argv, columns=80, seconds=20, env=None):
    """Runs a command on a terminal of its own; what it wrote, as bytes, and its exit status."""
    terminal = Terminal(argv, columns=columns, seconds=seconds, env=env)
    try:
        code = terminal.wait()
        return terminal.text(), code
    finally:
        terminal.close()
