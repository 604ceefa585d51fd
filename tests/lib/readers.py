"""Consumers with aiokafka beside tests/reliability.py: one with its defaults, which are read_uncommitted, one
read_committed."""
import os
import pathlib
import subprocess
import sys

import rig

VENV = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "sidelog" / "aiokafka"
KINDS = {"aiokafka with its defaults": "read_uncommitted", "aiokafka read_committed": "read_committed"}


def python():
    """The interpreter of a venv that has aiokafka; None where it cannot be had."""
    there = VENV / "bin" / "python"
    try:
        if not there.exists():
            rig.run([sys.executable, "-m", "venv", str(VENV)], seconds=120)
        if subprocess.run([there, "-c", "import aiokafka, cramjam"], capture_output=True, check=False).returncode:
            rig.run([str(there), "-m", "pip", "install", "--quiet", "aiokafka[lz4]"], seconds=180)
    except AssertionError as failure:
        print(f"no aiokafka: {str(failure)[-300:]}", file=sys.stderr)
        return None
    return str(there)


class Beside:
    def __init__(self, world):
        self.world, self.running = world, {}

    def start(self):
        interpreter = python()
        if not interpreter:
            return
        self.world.topic_tool("await", *self.world.kept)
        program = pathlib.Path(__file__).with_name("aio_reader.py")
        for name, isolation in KINDS.items():
            path = self.world.side / f"{isolation}.seen"
            argv = [interpreter, str(program), self.world.cluster.brokers, isolation, str(path), *self.world.kept]
            with open(path.with_suffix(".log"), "wb") as log:
                self.running[name] = path, subprocess.Popen(rig.dying_with_us(argv), stdin=subprocess.PIPE,
                                                            stderr=log)

    def tell(self):
        """What each saw, judged by the ledger: {name: counts}. A read_committed one that is not exact is a
        violation."""
        told = {}
        for name, (_, process) in self.running.items():
            process.stdin.close()
        for name, (path, process) in self.running.items():
            if process.wait(120):
                words = path.with_suffix(".log").read_text(errors="replace")
                self.world.ledger.violation("reader", name=name, ended=process.returncode, words=words[-2000:])
                continue
            told[name] = seen = self.judge(path)
            exact = KINDS[name] == "read_committed" and self.world.exactly
            if seen["missing"] or (exact and (seen["repeats"] or seen["out of order"])):
                self.world.ledger.violation("reader", name=name, **seen)
        return told

    def judge(self, path):
        book, first, last, last_first = self.world.ledger, set(), {}, {}
        records = disorder = disorder_of_first = 0
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                topic, partition, _, event_id, key = line.split()
                n, place = book.numbers[book.id_of(event_id)], (topic, partition, key)
                records += 1
                disorder += n < last.get(place, -1)
                last[place] = n
                if n not in first:
                    first.add(n)
                    disorder_of_first += n < last_first.get(place, -1)
                    last_first[place] = max(n, last_first.get(place, -1))
        kept = {book.name_numbers[topic] for topic in self.world.kept if topic in book.name_numbers}
        expected = {n for n in range(len(book)) if book.topic[n] in kept}
        return {"records": records, "events": len(first), "missing": len(expected - first),
                "repeats": records - len(first),
                "out of order": disorder, "out of order once repeats are dropped": disorder_of_first}

    def close(self):
        for _, process in self.running.values():
            process.kill()
            process.wait()
