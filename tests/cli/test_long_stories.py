"""Memory of their own that `trace`, `check`, `diff` and `export` take for a long story: as much as for a short
one."""
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402

SIZES = (50_000, 200_000) if rig.LONG else (50_000,)
KIB = 1024


class LongStories(cli.Case):
    def told(self, *sizes):
        """A story of each size, named by it: most events are caused by one of the last, some by none that is
        here, some are older than their cause."""
        rnd, lines = self.random, []
        for size in sizes:
            for n in range(size):
                cause = f"{size}-{rnd.randrange(max(0, n - 40), n)}" if n and rnd.random() < 0.98 else f"gone-{n}" if n else None
                at = 1_700_000_000_000 + n * 20 + rnd.randrange(60)
                lines.append(json.dumps({
                    "event_id": f"{size}-{n}", "event_type": f"STEP_{rnd.randrange(30)}_DONE",
                    "topic": f"steps-{rnd.randrange(9)}.v1",
                    "correlation_id": f"story-{size}", "source": f"service-{rnd.randrange(7)}",
                    "timestamp": self.stamp(at),
                    **({"causation_id": cause} if cause else {})}).encode())
        store = self.store()
        store.append_lines(lines)
        store.call("reindex")
        return store

    @staticmethod
    def stamp(ms):
        seconds, ms = divmod(ms, 1000)
        hours = seconds % 86400
        return f"2026-03-0{1 + seconds // 86400 % 9}T{hours // 3600:02}:{hours // 60 % 60:02}:{hours % 60:02}.{ms:03}Z"

    def limited(self, store, *args, **limits):
        """How many events it told, or None when that memory was not enough: never fewer without a word."""
        argv = ["prlimit", *(f"--{name}={value}" for name, value in limits.items()), "--", *store.argv(*args)]
        done = subprocess.run(argv, capture_output=True, timeout=120, env=cli.environment(160), check=False)
        self.assertIn(done.returncode, (0, 3, 4), done.stderr[-1000:])
        if done.returncode == 3:
            self.assertIn(b"memory", done.stderr)
            return None
        summed = re.search(rb"([\d,]+) findings in ([\d,]+) events", done.stdout)
        if args[0] == "check":
            return int(summed[2].replace(b",", b"")) if summed else 0
        if "jaeger" in args:
            return done.stdout.count(b'"operationName"')
        return sum(b"pending" in line and b"events" not in line for line in done.stdout.splitlines())

    def least(self, store, *args):
        """The least memory of its own, to 128 KiB, that the command ends well with."""
        too_little, enough = 0, 256 * KIB * KIB
        while enough - too_little > 128 * KIB:
            middle = (too_little + enough) // 2
            if self.limited(store, *args, data=middle) is None:
                too_little = middle
            else:
                enough = middle
        return enough

    def test_memory_is_flat(self):
        store = self.told(20, *SIZES)
        more = (("diff", "--json", "story-20"), *(("export", "--format", name, "--correlation") for name in
                                                  ("csv", "jaeger", "dot"))) if rig.LONG else ()
        for command in (("trace",), ("trace", "--times"), ("trace", "--json"), ("check",), ("diff", "story-20"),
                        *more):
            # A drawing keeps its ids, up to some hundred KiB before the first of its tables is a file.
            short = self.least(store, *command, "story-20") + (1024 * KIB if "dot" in command else 0)
            for size in SIZES:
                with self.subTest(command=command, size=size, short=short):
                    told = self.limited(store, *command, f"story-{size}", data=short + 1024 * KIB)
                    self.assertGreaterEqual(told, size)
                    self.assertLessEqual(told, size + 20)  # of a diff, where both sides count

    def test_too_little_memory_is_said(self):
        """With some less than enough it fails, and passes over nothing."""
        store = self.told(5000)
        for command in ("trace", "check"):
            enough = self.least(store, command, "story-5000")
            for less in range(-512, 512, 64):
                self.assertIn(self.limited(store, command, "story-5000", data=enough - less * KIB), (None, 5000))
            self.assertEqual(self.limited(store, command, "story-5000", data=enough), 5000)

    def test_where_no_file_can_be_made(self):
        """A disk without room, or that nobody may write: it is memory as any other, and the answer is the same."""
        store = self.told(5000)
        for command in ("trace", "check"):
            self.assertEqual(self.limited(store, command, "story-5000", fsize=0), 5000)

    def test_no_file_is_left(self):
        store, folder = self.told(5000), self.store().path
        os.makedirs(folder)
        self.say(store, "trace", "story-5000", TMPDIR=str(folder))
        self.assertEqual(os.listdir(folder), [])


if __name__ == "__main__":
    unittest.main()
