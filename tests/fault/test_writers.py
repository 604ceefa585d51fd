"""Producers killed with SIGKILL: an acknowledged event is never lost, a batch never torn."""
import json
import os
import subprocess
import threading
import time
import unittest

import check
import rig


class Reader(threading.Thread):
    """Collects the acknowledgements of one writer up to its last byte."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.data, self.count = pipe, [], 0
        self.start()

    def run(self):
        while chunk := os.read(self.pipe.fileno(), 1 << 16):
            self.data.append(chunk)
            self.count += chunk.count(b"\n")

    def lines(self):
        self.join(20)
        whole, _, torn = b"".join(self.data).rpartition(b"\n")
        assert not torn, f"half an acknowledgement: {torn!r}"
        return whole.splitlines()


class Killed(rig.Rig):
    def rounds(self, rounds, processes, threads):
        writer = rig.tool("tests/fault/writer")
        store = self.store()
        acks = []
        for turn in range(rounds):
            running = []
            for p in range(processes):
                argv = [writer, "append", str(store.path), str(threads), f"r{turn}p{p}"]
                process = subprocess.Popen(rig.dying_with_us(argv), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.addCleanup(process.kill)
                running.append((process, Reader(process.stdout)))
            goal = self.random.randrange(1, 400)
            rig.wait_until(f"{goal} acknowledgements (round {turn})", lambda: self.enough(running, goal), 30,
                           0.001)
            self.random.shuffle(running)
            for process, _ in running:
                process.kill()
                if self.random.random() < 0.5:
                    time.sleep(self.random.uniform(0, 0.01))  # the others go on for a moment
            for process, reader in running:
                acks += reader.lines()
                process.wait()
                process.stdout.close()
                process.stderr.close()
        done = rig.run([writer, "check", str(store.path)], expect=None, stdin=b"\n".join(acks) + b"\n")
        self.assertEqual(done.returncode, 0, done.stdout.decode()[-3000:] + done.err)
        stats = store.stats()
        self.assertIsNone(check.law(stats))
        self.assertGreaterEqual(stats["appended"], len(acks))
        store.verify()

    def enough(self, running, goal):
        for process, _ in running:
            if process.poll() is not None:
                raise AssertionError(f"a writer ended by itself: {process.returncode} {process.stderr.read().decode()[-2000:]}")
        return sum(reader.count for _, reader in running) >= goal

    def test_threads(self):
        self.rounds(60 if rig.LONG else 10, 1, 8)

    def test_processes(self):
        self.rounds(60 if rig.LONG else 10, 6, 1)

    def test_processes_of_threads(self):
        self.rounds(60 if rig.LONG else 10, 3, 4)

    def test_command_lines_fed_without_end(self):
        store = self.store()
        sent, acked = {}, []
        for turn in range(40 if rig.LONG else 8):
            writers = []
            for p in range(3):
                argv = store.argv("append", "--jsonl", "--ack", "--topic", f"evt.cli{p}.v1", "-")
                process = subprocess.Popen(rig.dying_with_us(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=subprocess.DEVNULL)
                self.addCleanup(process.kill)
                feeder = threading.Thread(target=self.feed, args=(process, f"{self.prefix}{turn}.{p}.", sent),
                                          daemon=True)
                feeder.start()
                writers.append((process, Reader(process.stdout), feeder))
            goal = self.random.randrange(1, 3000)
            rig.wait_until(f"{goal} acknowledged lines", lambda: sum(w[1].count for w in writers) >= goal, 30,
                           0.001)
            for process, reader, feeder in writers:
                process.kill()
                process.wait()
                data = b"".join((reader.join(20), reader.data)[1])
                # a pipe may take half of what a large write holds: only whole lines were said
                acked += data[: data.rfind(b"\n") + 1].splitlines()
                feeder.join(20)
                process.stdout.close()
        kept = store.everything()
        for line in acked:
            seq, event_id = rig.parse_ack(line)
            event = kept.get(seq)
            self.assertIsNotNone(event, f"acknowledged and lost: {line}")
            self.assertEqual(event["event_id"], event_id)
            self.assertIn(event_id, sent)
        self.assertGreater(len(acked), 100)
        self.assertIsNone(check.law(store.stats()))
        store.verify()

    @staticmethod
    def feed(process, tag, sent):
        n = 0
        try:
            while True:
                lines = []
                for _ in range(50):
                    event_id = f"{tag}{n}"
                    n += 1
                    lines.append(json.dumps({"event_id": event_id, "pad": "x" * (n % 700)}).encode())
                    sent[event_id] = lines[-1]
                process.stdin.write(b"\n".join(lines) + b"\n")
        except (BrokenPipeError, OSError):
            pass
        finally:
            try:
                process.stdin.close()
            except OSError:
                pass


if __name__ == "__main__":
    unittest.main()
