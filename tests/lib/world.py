"""A cluster, its network, a store with producers that append all the time, an agent, and the judge of what
arrives: the place where tests/reliability.py does its worst."""
import collections
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time

import check
import ledger
import links
import rig

SHORT = ["--set", "transactions.timeout=4s", "-X", "socket.timeout.ms=3000", "--set", "refused_retry=2s"]
SIZES = (20, 60, 60, 200, 200, 900) * 16 + (20000,)
SETTLE_SECONDS = 180  # after a fault has ended


class Trouble(AssertionError):
    """What should have happened did not."""


class Producer:
    """One `sidelog append` fed line by line; its keys are its own, so that the order within a key is known."""

    def __init__(self, world, number):
        self.world, self.number = world, number
        self.random = random.Random(world.random.randrange(1 << 32))
        self.lines = self.bytes = 0
        self.sent, self.over, self.error = collections.deque(), threading.Event(), None
        argv = world.store.argv("append", "--jsonl", "--ack", "-")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(rig.dying_with_us(argv), stdin=pipe, stdout=pipe, stderr=pipe)
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.feed, self.listen)]
        for thread in self.threads:
            thread.start()

    def feed(self):
        rate = self.world.rate / self.world.producers
        try:
            while not self.over.is_set():
                count = self.random.randrange(1, max(2, int(rate / 4)))
                for _ in range(count):
                    topic = self.random.choice(self.world.topics)
                    key = f"p{self.number}k{self.random.randrange(self.world.keys)}"
                    size = self.random.choice(self.world.sizes)
                    pad = f"{self.random.getrandbits(size * 4 + 1):x}"
                    line = json.dumps({"topic": topic, "correlation_id": key, "pad": pad}).encode()
                    self.sent.append((topic, key, line))
                    self.process.stdin.write(line + b"\n")
                    self.lines, self.bytes = self.lines + 1, self.bytes + len(line)
                self.process.stdin.flush()
                self.over.wait(count / rate)
            self.process.stdin.close()
        except Exception as error:  # told by stop()
            self.error = error

    def listen(self):
        try:
            for line in self.process.stdout:
                seq, event_id = rig.parse_ack(line)
                topic, key, value = self.sent.popleft()
                self.world.ledger.appended(seq, event_id, topic, key, value)
        except Exception as error:  # told by stop()
            self.error = error

    def stop(self):
        self.over.set()
        self.threads[0].join(60)
        code = self.process.wait(60)
        self.threads[1].join(60)
        if self.error or code or self.sent:
            why = self.error or self.process.stderr.read()
            raise Trouble(f"a producer ended with {code}, {len(self.sent)} lines not acknowledged: {why}")
        self.process.stdout.close()
        self.process.stderr.close()


class Looker(threading.Thread):
    """The conservation law, again and again."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.looks, self.problem, self.over = world, 0, None, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            try:
                with self.world.moving:
                    self.problem = check.law(self.world.store.stats())
            except Exception as error:  # told by the judge
                self.problem = str(error)
            if self.problem:
                return
            self.looks += 1


class World:
    def __init__(self, options, cluster):
        self.options, self.cluster = options, cluster
        self.random = random.Random(options.seed)
        self.exactly = options.mode == "exactly-once"
        self.timeout = 15 if options.defaults else 4  # of a transaction, in seconds
        self.cleanup = cluster.cleanup  # and how much longer the brokers may take to notice
        self.rate, self.producers, self.keys, self.sizes = options.rate, 2, 20, SIZES
        prefix = f"proof-{random.SystemRandom().randrange(1 << 32):08x}."
        self.kept = [f"{prefix}evt.{name}.v1" for name in ("orders", "stock", "users")]
        self.doomed = f"{prefix}evt.doomed.v1"
        self.topics = [*self.kept, self.doomed]
        self.progress_topic = f"{prefix}progress"
        self.side = pathlib.Path(tempfile.mkdtemp(prefix="sidelog-reliability."))
        self.tally, self.resumed = collections.Counter(), []
        self.rested = 0  # seconds
        self.longest_pause = 0  # between two tries to connect, while that was refused
        self.ledger = ledger.Ledger(not self.exactly)
        self.links = links.Links()
        self.moving = threading.Lock()  # held while the store's folder is exchanged
        self.store = self.new_store()
        self.agents = []
        self.agent, self.running, self.judged_seq, self.true_receipts = self.new_agent(), [], 0, 0
        self.looker = Looker(self)

    # -- its parts

    def new_store(self, path=None):
        return rig.Store(parent=self.side, path=path)

    def new_agent(self, store=None):
        args = ["--mode", self.options.mode, "--set", f"progress.topic={self.progress_topic}",
                "--set", "progress.partitions=5"]
        args += [] if self.options.defaults else SHORT
        for setting in self.options.kafka:
            args += ["-X", setting]
        store = store or self.store
        args += ["--set", f"debug.history={store.side / 'history'}"]  # replays, if something is found
        agent = rig.Agent(store, self.cluster.brokers, *args)
        agent.env = self.links.env()
        self.agents.append(agent)
        return agent

    def start_agent(self, agent=None):
        self.tally["agent starts"] += 1
        return (agent or self.agent).start(*rig.txn_events(self.random.choice((40, 200, 1000, 100000))))

    def kill_agent(self):
        self.agent.kill()
        self.tally["agent kills"] += 1

    def start_producers(self):
        self.running = [Producer(self, i) for i in range(self.producers)]

    def stop_producers(self):
        running, self.running = self.running, []
        for producer in running:
            producer.stop()

    def begin(self):
        self.start_producers()
        rig.wait_until("the first events", lambda: len(self.ledger) > 50, 30)
        self.start_agent()
        self.progress(20)
        self.looker.start()

    def move(self, store):
        """Goes on with another folder: no producer, and nobody who looks, may have the old one open."""
        old, self.store, self.judged_seq = self.store, store, 0
        self.agent = self.new_agent()
        return old

    def retire(self, store):
        """A store that is no longer in use goes; what its agent said stays."""
        shutil.copy(store.side / "agent.log", self.side / f"agent-{len(self.agents)}.log")
        store.remove()

    def topic_tool(self, what, *topics):
        argv = [rig.tool("tests/kafka/ktopic"), "-b", self.cluster.brokers, *self.cluster.extra, what, *topics]
        return rig.run(argv, seconds=90).stdout.decode()

    # -- waiting

    def delivered(self):
        return self.store.delivered()

    def wait(self, what, condition, seconds=SETTLE_SECONDS, every=0.05):
        try:
            return rig.wait_until(what, condition, seconds, every)
        except rig.Deadline as late:
            raise Trouble(f"{late}: {self.store.stats()}") from late

    def progress(self, more, seconds=SETTLE_SECONDS):
        """Until so many more events are delivered."""
        goal = self.delivered() + more
        self.wait(f"{more} more events to be delivered", lambda: self.delivered() >= goal or self.ended(), seconds)

    def ended(self):
        """An agent that nobody killed does not end."""
        process = self.agent.process
        if process is not None and process.poll() not in (None, -9, 0):
            raise Trouble(f"the agent ended by itself with {process.returncode}:\n{self.agent.log()[-3000:]}")
        return False

    def resume(self, what):
        """Called the moment the way to the broker is free again: how long until something arrives."""
        before, begun = self.delivered(), time.monotonic()
        self.wait(f"delivery to resume after {what}", lambda: self.delivered() > before or self.ended(),
                  every=0.02)
        self.resumed.append((what, time.monotonic() - begun))

    # -- judging

    def settled(self, seq):
        stats = self.store.stats()
        if stats["dead"] or stats["duplicates"] or stats["dropped"]:
            raise Trouble(f"events that should have been delivered were not: {stats}")
        self.ended()
        return stats["delivery_seq"] >= seq and stats["lanes"] == 0

    def read(self):
        """What is new for a read_committed consumer."""
        start = self.side / "starts"
        start.write_text(self.ledger.starts())
        argv = [rig.kread(), "-b", self.cluster.brokers, "--timeout", "90", "--from", str(start),
                *self.cluster.extra, *self.topics]
        with subprocess.Popen(rig.dying_with_us(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
            for line in reader.stdout:
                self.ledger.saw(json.loads(line))
            words = reader.stderr.read().decode()
        if reader.returncode:
            raise Trouble(f"the consumer did not reach the end ({reader.returncode}): {words}")
        self.ledger.hear()

    def judge(self):
        """All that was appended up to now arrived, once, in order, where its receipt says."""
        until, stats = len(self.ledger), self.store.stats()
        self.wait(f"everything up to seq {stats['last_seq']} to be delivered",
                  lambda: self.settled(stats["last_seq"]))
        self.read()
        self.ledger.account(until)
        newest = self.store.stats()["last_seq"]
        objects = self.store.query("-n", str(max(1, newest - self.judged_seq)))
        self.true_receipts += self.ledger.receipts(objects, until)
        self.judged_seq = stats["last_seq"]
        if self.looker.problem:
            self.ledger.violation("law", text=self.looker.problem)

    def judge_all(self):
        """The end: every record from the first, every receipt, every byte of the store."""
        self.stop_producers()
        stats = self.store.stats()
        self.wait("everything to be delivered", lambda: self.settled(stats["last_seq"]))
        self.read()
        self.ledger.account(len(self.ledger))
        self.tally["events gone before they were read"] = self.ledger.counts()["gone_with_their_topic"]
        before = self.ledger.start_over()
        self.read()
        self.ledger.account(len(self.ledger))
        self.ledger.end_over(before)
        self.true_receipts = self.ledger.receipts(self.store.query(), len(self.ledger))
        if self.agent.terminate(60):
            raise Trouble(f"the agent did not end in order:\n{self.agent.log()[-2000:]}")
        self.store.verify()

    # -- the end

    def evidence(self, to):
        """Everything a person needs who looks for the cause."""
        for agent in self.agents:
            agent.end()
        self.looker.over.set()
        for producer in self.running:
            producer.process.kill()
        shutil.copytree(self.side, to / "agent", dirs_exist_ok=True)
        self.cluster.evidence(to)

    def close(self):
        self.looker.over.set()
        for agent in self.agents:
            agent.end()
        for producer in self.running:
            producer.process.kill()
        self.links.close()
        self.cluster.down_with(self)
        shutil.rmtree(self.side, ignore_errors=True)
