"""What the integration tests stand on: a cluster, an agent, a store, and waiting for a condition with a
deadline.

Standard library only (tests may import validators besides). The binaries are those of $SIDELOG_BUILD
(default: build/ of this tree). Every process started here ends with this one, however this one ends.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SIDELOG_BUILD") or ROOT / "build").resolve()
BROKER = ROOT / "tests" / "kafka" / "broker.sh"
LONG = os.environ.get("SIDELOG_LONG") == "1"
SEED = int(os.environ.get("SIDELOG_SEED") or random.SystemRandom().randrange(1 << 32))
# What tests/setup.sh --validators fetches; what is installed goes before it.
sys.path.append(os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sidelog",
                             "python-%d.%d" % sys.version_info[:2]))


def tool(relative):
    path = BUILD / relative
    if not os.access(path, os.X_OK):
        raise AssertionError(f"{relative} is not built in {BUILD} (SIDELOG_BUILD says where to look)")
    return str(path)


def sidelog():
    return tool("tools/sidelog")


def sidelogd():
    return tool("sync/sidelogd")


def kread():
    return tool("tests/kafka/kread")


class Deadline(AssertionError):
    pass


def wait_until(what, condition, seconds=30.0, every=0.02):
    """The condition's first true value; Deadline, naming what was waited for, when it takes too long."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Deadline(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


def dying_with_us(argv):
    # PR_SET_PDEATHSIG without code between fork and exec. It follows the thread: start such processes
    # from a thread that outlives them.
    return ["setpriv", "--pdeathsig", "KILL", "--", *argv]


class Failed(AssertionError):
    """A command ended with another status than was expected."""

    def __init__(self, argv, code, out, err):
        super().__init__(f"{' '.join(map(str, argv))}: exit status {code}\n{err.strip()[-2000:]}\n{out.strip()[-500:]}")
        self.code, self.out, self.err = code, out, err


def run(argv, expect=(0,), stdin=None, seconds=60, env=None):
    """Runs a command to its end. stdin and the result's out are bytes; err is text."""
    try:
        done = subprocess.run(argv, input=stdin if stdin is not None else b"", capture_output=True,
                              timeout=seconds, env=env, check=False)
    except subprocess.TimeoutExpired as late:
        raise Deadline(f"{' '.join(map(str, argv))}: not done within {seconds} s") from late
    err = done.stderr.decode("utf-8", "replace")
    if expect is not None and done.returncode not in expect:
        raise Failed(argv, done.returncode, done.stdout.decode("utf-8", "replace"), err)
    done.err = err
    return done


# ---------------------------------------------------------------- cluster


class Cluster:
    """Brokers, through broker.sh. `up=False` only chooses the ports: an outage from the start."""

    def __init__(self, brokers=1, up=True, **options):
        argv = [str(BROKER), "start" if up else "create", "--brokers", str(brokers), "--owner", str(os.getpid())]
        for name, value in options.items():
            if value is True:
                argv.append(f"--{name}")
            elif isinstance(value, (list, tuple)):
                for one in value:
                    argv += [f"--{name}", str(one)]
            elif value:
                argv += [f"--{name}", str(value)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                              timeout=300, check=False)
        if done.returncode != 0:
            raise Failed(argv, done.returncode, done.stdout.decode(), done.stderr.decode())
        self.dir = done.stdout.decode().strip()
        self.size = brokers
        self.extra = ()  # what kread needs to log in
        self.brokers, self.internal = self.call("bootstrap").strip(), self.call("internal").strip()

    def call(self, *args, seconds=120):
        return run([str(BROKER), self.dir, *map(str, args)], seconds=seconds).stdout.decode()

    def up(self, *which):
        self.call("up", *which)

    def kill(self, which=1):
        self.call("kill", which)

    def stop(self, which=1):
        self.call("stop", which)

    def restart(self, which=1):
        self.call("restart", which)

    def pause(self, which=1):
        self.call("pause", which)

    def resume(self, which=1):
        self.call("continue", which)

    def topic(self, name, partitions=3, **config):
        # not with broker.sh, which needs a Java program and its seconds for each
        run([tool("tests/kafka/ktopic"), "-b", self.internal, "create", name, str(partitions),
             *(f"{k.replace('_', '.')}={v}" for k, v in config.items())], seconds=90)

    def configure_topic(self, name, **config):
        changes = ",".join(f"{k.replace('_', '.')}={v}" for k, v in config.items())
        self.call("configs", "--alter", "--entity-type", "topics", "--entity-name", name, "--add-config", changes)

    def describe(self, name):
        """{'PartitionCount': 3, 'ReplicationFactor': 1, 'Configs': {...}}"""
        first = self.call("topics", "--describe", "--topic", name).splitlines()[0]
        fields = dict(part.split(": ", 1) for part in first.split("\t") if ": " in part)
        fields["Configs"] = dict(kv.split("=", 1) for kv in fields.get("Configs", "").split(",") if "=" in kv)
        fields["PartitionCount"], fields["ReplicationFactor"] = int(fields["PartitionCount"]), int(fields["ReplicationFactor"])
        return fields

    def read(self, *topics, prefix=None, committed=True, seconds=60, extra=()):
        """Every record of the topics (of all of them when none is named), as kread prints them."""
        argv = [kread(), "-b", self.brokers, "--timeout", str(seconds), *self.extra, *extra]
        if not committed:
            argv.append("--uncommitted")
        argv += topics if topics else ["--prefix", prefix] if prefix else ["--all"]
        done = run(argv, seconds=seconds + 30)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def down(self):
        self.call("down")


# ---------------------------------------------------------------- agent


def yaml(value, indent=0):
    """Enough YAML for a configuration of mappings, lists and scalars."""
    pad = "  " * indent
    if isinstance(value, dict):
        return "".join(
            f"{pad}{k}:\n{yaml(v, indent + 1)}" if isinstance(v, (dict, list)) else f"{pad}{k}: {json.dumps(v)}\n"
            for k, v in value.items()
        )
    return "".join(
        f"{pad}-\n{yaml(v, indent + 1)}" if isinstance(v, (dict, list)) else f"{pad}- {json.dumps(v)}\n"
        for v in value
    )


class Agent:
    """One sidelogd. Its log is kept over restarts, in one file."""

    def __init__(self, store, brokers, *args, config=None):
        self.store, self.args = store, list(args)
        self.log_path = store.side / "agent.log"
        self.process, self.env = None, None
        self.argv = [sidelogd(), "--store", str(store.path)]
        if brokers:
            self.argv += ["--brokers", brokers]
        if config is not None:
            path = store.side / "agent.yaml"
            path.write_text(yaml(config))
            self.argv += ["--config", str(path)]
        self.argv += self.args

    def start(self, *more):
        assert not self.running(), "the agent runs already"
        with open(self.log_path, "ab") as log:
            self.mark = log.tell()
            self.process = subprocess.Popen(
                dying_with_us([*self.argv, *more]), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
                env=self.env,
            )
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self, whole=False):
        data = self.log_path.read_bytes() if self.log_path.exists() else b""
        return data[0 if whole else self.mark:].decode("utf-8", "replace")

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def terminate(self, seconds=30):
        """SIGTERM, once it is there to hear it; the exit status."""
        wait_until("the agent to say that it started", lambda: "started" in self.log() or not self.running(), 20)
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds=60):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise Deadline(f"the agent did not end within {seconds} s\n{self.log()[-3000:]}") from late

    def drain(self, seconds=60):
        """Runs `--drain` to its end; the exit status."""
        self.start("--drain", "--timeout", str(seconds))
        return self.wait(seconds + 30)

    def end(self):
        if self.running():
            self.kill()

    def memory(self, field="VmRSS"):
        """In MiB. RssAnon is its own; VmRSS has what of the store is mapped and in memory, too."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{field}:")[1].split()[0]) / 1024

    def processor(self):
        """Seconds of processor time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- store


class Event:
    """One appended event, as the ledger of a test remembers it."""

    __slots__ = ("seq", "event_id", "topic", "value", "key", "headers")

    def __init__(self, seq, event_id, topic, value, key=None, headers=None):
        self.seq, self.event_id, self.topic, self.value = seq, event_id, topic, value
        self.key, self.headers = key, headers or {}


def parse_ack(line):
    """`seq event_id`, or an object with both."""
    if line.startswith(b"{"):
        fields = json.loads(line)
        return int(fields["seq"]), fields["event_id"]
    seq, event_id = line.decode().split()[:2]
    return int(seq), event_id


class Store:
    """A store, reached only through the command line, and the ledger of what was appended to it."""

    def __init__(self, parent=None, path=None):
        self.side = pathlib.Path(tempfile.mkdtemp(prefix="sidelog-test.", dir=parent))
        self.path = pathlib.Path(path) if path else self.side / "store"
        self.events = []

    def remove(self):
        shutil.rmtree(self.side, ignore_errors=True)

    def argv(self, *args):
        return [sidelog(), "--store", str(self.path), *map(str, args)]

    def call(self, *args, expect=(0,), stdin=None, seconds=60):
        return run(self.argv(*args), expect=expect, stdin=stdin, seconds=seconds)

    def lines(self, *args, expect=(0,), seconds=60):
        return [json.loads(line)
                for line in self.call(*args, "--json", expect=expect, seconds=seconds).stdout.splitlines()]

    # -- appending

    def append(self, topic, value, **options):
        """One event through the arguments of `append`; value is bytes."""
        argv = ["append", "--topic", topic]
        headers = options.pop("headers", {})
        for name, text in options.items():
            argv += [f"--{name.replace('_', '-')}", text]
        for name, text in headers.items():
            argv += ["--header", f"{name}={text}"]
        done = self.call(*argv, "-", stdin=value)
        seq, event_id = parse_ack(done.stdout.strip())
        event = Event(seq, event_id, topic, value, options.get("key"), headers)
        self.events.append(event)
        return event

    def append_lines(self, lines, topic=None, *more, seconds=120):
        """JSON lines (bytes without a newline) as one `append --jsonl --ack`. Each needs a topic of its own or
        `topic`."""
        argv = ["append", "--jsonl", "--ack", *more]
        if topic:
            argv += ["--topic", topic]
        done = self.call(*argv, "-", stdin=b"\n".join(lines) + b"\n", seconds=seconds)
        acks = [parse_ack(line) for line in done.stdout.splitlines()]
        if len(acks) != len(lines):
            raise AssertionError(f"{len(lines)} lines appended, {len(acks)} acknowledged\n{done.err[-2000:]}")
        added = []
        for (seq, event_id), line in zip(acks, lines):
            fields = json.loads(line)
            added.append(Event(seq, event_id, fields.get("topic", topic), line, fields.get("correlation_id")))
        self.events += added
        return added

    def put(self, topic, value, key=None, headers=None):
        """One line for put_all: any bytes as key, value and header values."""
        if len(value) > 4000:
            path = self.side / f"value-{len(list(self.side.glob('value-*')))}"
            path.write_bytes(value)
            shown = f"@{path}"
        else:
            shown = f"={value.hex()}"
        words = [topic, "-" if key is None else f"={key.hex()}", shown]
        words += [f"{name}={text.hex()}" for name, text in (headers or {}).items()]
        return " ".join(words), Event(0, "", topic, value, None if key is None else seen(key),
                                      {n: seen(t) for n, t in (headers or {}).items()})

    def put_all(self, puts, seconds=120):
        done = run([tool("tests/kafka/put"), str(self.path)],
                   stdin="".join(line + "\n" for line, _ in puts).encode(), seconds=seconds)
        for (_, event), ack in zip(puts, done.stdout.splitlines(), strict=True):
            event.seq, event.event_id = parse_ack(ack)
            self.events.append(event)

    # -- asking

    def stats(self):
        return self.lines("stats")[0]

    def status(self):
        """(exit status, object)"""
        done = self.call("status", "--json", expect=(0, 4))
        return done.returncode, json.loads(done.stdout)

    def query(self, *args, expect=(0, 1)):
        return self.lines("query", *args, expect=expect)

    def everything(self):
        """Every event in the store, with its status: {seq: object}."""
        return {e["seq"]: e for e in self.lines("export", expect=(0, 1), seconds=120)}

    def trace(self, correlation):
        return self.lines("trace", correlation)

    def verify(self):
        return self.call("verify", seconds=120)

    def delivered(self):
        return self.stats()["delivered"]

    def wait_settled(self, seconds=60, agent=None):
        def settled():
            stats = self.stats()
            if stats["pending"] == 0:
                return stats
            if agent is not None and not agent.running():
                raise AssertionError(f"the agent ended with {stats['pending']} events pending\n{agent.log()[-3000:]}")
            return None

        try:
            return wait_until("no event to be pending", settled, seconds, 0.05)
        except Deadline as late:
            tail = "\n" + agent.log()[-3000:] if agent else ""
            raise Deadline(f"{late}: {self.stats()}{tail}") from late


class Rig(unittest.TestCase):
    """A test case with stores and agents that are ended and removed after each test."""

    cluster = None

    def setUp(self):
        self.seed = SEED ^ hash_of(self.id())
        self.random = random.Random(self.seed)
        self.prefix = f"t{self.random.randrange(1 << 32):08x}."

    def store(self, **options):
        store = Store(**options)
        self.addCleanup(store.remove)
        return store

    def agent(self, store, *args, brokers=None, config=None):
        agent = Agent(store, brokers or self.cluster.brokers, *args, config=config)
        self.addCleanup(agent.end)
        return agent

    def topic(self, name="evt.things.v1"):
        """A topic no other test uses."""
        return self.prefix + name

    def progress(self, store, agent, more, seconds=60):
        """Waits until so many more events are delivered, and sees to it that there are so many, and some behind
        them: on a busy machine the agent is faster than whoever looks at it, and the goal would never be
        reached."""
        stats = store.stats()
        if stats["pending"] < more + 300:
            topic = self.random.choice(sorted({e.topic for e in store.events}))
            store.append_lines(numbered(more + 600, len(store.events), rnd=self.random), topic=topic)
        goal = stats["delivered"] + more
        wait_until(f"{goal} delivered", lambda: store.delivered() >= goal or not agent.running(), seconds)
        if not agent.running():
            raise AssertionError(f"the agent ended by itself\n{agent.log()[-3000:]}")


def seen(data):
    """Bytes as kread prints them: what is not UTF-8 becomes the character of the byte's number."""
    out, at = [], 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                out.append(data[at:at + size].decode())
                at += size
                break
            except UnicodeDecodeError:
                continue
        else:
            out.append(chr(data[at]))
            at += 1
    return "".join(out)


def figure(text):
    """A measured figure: printed where somebody looks, never judged by the clock."""
    if path := os.environ.get("SIDELOG_FIGURES"):
        with open(path, "a", encoding="utf-8") as out:
            out.write(text + "\n")


def hash_of(text):
    value = 0
    for byte in text.encode():
        value = (value * 131 + byte) & 0xFFFFFFFF
    return value


# The agent's settings as this rig names them: one place to follow when they are renamed.
def txn_events(count):
    return ["--set", f"transactions.max_events={count}"]


def at_least_once():
    return ["--mode", "at-least-once"]


def numbered(count, start=0, keys=7, size=60, rnd=None):
    """Small JSON events, each with one of a few correlation ids, which become its key: [bytes]. `size` random
    letters make each incompressible."""
    rnd = rnd or random
    return [
        json.dumps({"n": i, "correlation_id": f"k{rnd.randrange(keys)}",
                    "pad": f"{rnd.getrandbits(size * 4 + 1):x}"}).encode()
        for i in range(start, start + count)
    ]
