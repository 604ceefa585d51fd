"""Delivery to a real Kafka on this host, beside a raw idempotent producer with the agent's own properties.

Parts of bench/run.py: `uplink` (backlogs), `rest` (latency, start-up), `memory`, `link` (slow and broken links),
`fleet`. Each turn delivers to a new topic, and a read_committed reader then checks it: each event once, in order, byte for byte.
"""
import contextlib
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "lib"))
import proxy  # noqa: E402
import rig  # noqa: E402

PARTITIONS = 4
EDGE = rig.ROOT / "docs" / "sidelogd.edge.yaml"
SHM, SHM_ROOM = pathlib.Path("/dev/shm"), 8 << 30
MIB = 1 << 20


def tool(name, *args, seconds=900):
    """What a program of the benchmark prints."""
    return rig.run([rig.tool(f"bench/bench-{name}"), *map(str, args)], seconds=seconds).stdout.decode()


def told(series, name, unit, values):
    series.read(f"{name} {unit} " + " ".join(f"{v:.6g}" for v in values))


def percentile(values, share):
    return sorted(values)[int(len(values) * share)] if values else 0


# ---------------------------------------------------------------- one agent, and what it takes


class Watched:
    """The processor time and the memory of a process, while it runs.

    own: resident bytes of every mapping but the store's files (log, index and book are mapped; their pages are the
    kernel's page cache, and it takes them back when it needs room). anonymous: RssAnon, the heap and the stacks.
    """

    def __init__(self, pid, every=0.02):
        self.pid, self.every, self.anonymous, self.own, self.done = pid, every, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        turn = 0
        while not self.done.wait(self.every):
            try:
                status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
                if found := re.search(r"RssAnon:\s*(\d+)", status):
                    self.anonymous = max(self.anonymous, int(found[1]) << 10)
                if turn % 25 == 0:
                    self.own = max(self.own, own_memory(self.pid))
            except OSError:
                return
            turn += 1

    def end(self):
        self.done.set()
        self.thread.join()


def own_memory(pid):
    total, stores = 0, False
    for line in open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            stores = line.rstrip().endswith("/data.mdb")
        elif line.startswith("Rss:") and not stores:
            total += int(line.split()[1]) << 10
    return total


def processor(pid):
    """Seconds of processor time so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def delivering_at(agent):
    """When it said that it delivers, on the monotonic clock."""
    line = next(line for line in agent.log().splitlines() if " delivering: " in line)
    wall = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
    return time.monotonic() - (time.time() - wall)


class Bench:
    """A cluster, and stores in a folder on the disk that is measured. The broker's files lie in memory where there is
    room: else its disk would be measured, and what one turn left to be written would spoil the next."""

    def __init__(self, folder, **options):
        self.folder, self.turn = folder, 0
        folder.mkdir(parents=True, exist_ok=True)
        place = folder
        if SHM.is_dir() and shutil.disk_usage(SHM).free > SHM_ROOM:
            place = pathlib.Path(tempfile.mkdtemp(prefix="sidelog-bench.", dir=SHM))
        self.shm = place if place != folder else None
        self.cluster = rig.Cluster(dir=str(place / "kafka"), set=["log.segment.delete.delay.ms=100"], **options)
        self.brokers = self.cluster.brokers

    def broker_pid(self):
        return int(self.cluster.call("pid", 1))

    def topic(self, partitions=PARTITIONS):
        self.turn += 1
        name = f"bench.turn{self.turn}.v1"
        tool("raw", self.brokers, "topic", name, partitions)
        return name

    @contextlib.contextmanager
    def store(self, topic=None, count=0, size=0, indexed=True):
        store = rig.Store(parent=self.folder)
        try:
            if count:
                tool("uplink", "fill", store.path, topic, count, size, int(indexed))
            yield store
        finally:
            store.remove()

    def check(self, topic, count, size):
        """Exact, or the end of the benchmark. The topic goes."""
        tool("raw", self.brokers, "check", topic, count, size)
        tool("raw", self.brokers, "topic", topic, 0)

    def down(self):
        self.cluster.down()
        if self.shm:
            shutil.rmtree(self.shm, ignore_errors=True)


def drain(bench, topic, count, size, indexed=True, edge=False, watch=False):
    """One agent from its start on a full backlog to the last receipt: (seconds, the same without the start,
    processor seconds, Watched). Watching its memory takes processor from it: None unless it is asked for."""
    with bench.store(topic, count, size, indexed) as store:
        agent = rig.Agent(store, bench.brokers, *(["--config", str(EDGE)] if edge else []))
        begun = time.monotonic()
        agent.start()
        watched = Watched(agent.process.pid) if watch else None
        try:
            end = float(tool("uplink", "watch", store.path, count)) / 1e6
            used = processor(agent.process.pid)
            if watched:
                watched.end()
            if agent.terminate() != 0:
                raise SystemExit(agent.log())
        finally:
            agent.end()
        delivering = delivering_at(agent)
    bench.check(topic, count, size)
    return end - begun, end - delivering, used, watched


def raw(bench, topic, count, size):
    begun = time.monotonic()
    _, connected, _, last, used = (float(w) / 1e6 for w in tool("raw", bench.brokers, "produce", topic, count, size).split())
    bench.check(topic, count, size)
    return last - begun, last - connected, used


# ---------------------------------------------------------------- a backlog


SIDES = [("raw", None), ("sidelog", True), ("sidelog-unindexed", False)]


def backlog(bench, series, case, count, size, parts):
    """Parts of turns: every side once in each, another one first."""
    found = {side: [] for side, _ in SIDES}
    # A broker that just started carries half of what it carries later; transactions are code of their own in it.
    raw(bench, bench.topic(), count, size)
    drain(bench, bench.topic(), count // 5, size)
    for part in range(parts):
        for side, indexed in SIDES[part % len(SIDES):] + SIDES[:part % len(SIDES)]:
            topic = bench.topic()
            if side == "raw":
                whole, apart, used = raw(bench, topic, count, size)
            else:
                whole, apart, used, _ = drain(bench, topic, count, size, indexed)
            found[side].append((count / whole, count / apart, used / count * 1e6))
    for side, rows in found.items():
        for unit, column in zip(("rate", "rate_delivering", "cpu_s"), zip(*rows)):
            told(series, f"uplink/{case}/{side}", unit, column)


# ---------------------------------------------------------------- memory, latency, start-up


def memory(bench, series, counts):
    for profile in ("default", "edge"):
        for count in counts:
            _, _, _, watched = drain(bench, bench.topic(), count, 1024, edge=profile == "edge", watch=True)
            told(series, f"memory/{profile}/{count:,}-events", "anonymous_mib", [watched.anonymous / MIB])
            told(series, f"memory/{profile}/{count:,}-events", "own_mib", [watched.own / MIB])


def latency(bench, series, parts, lone, rate, seconds):
    """An agent at rest, then a steady rate: from the call of sl_append to the receipt."""
    found = {}
    topic = bench.topic()
    with bench.store() as store:
        store.append(topic, b"the store is there")
        agent = rig.Agent(store, bench.brokers).start()
        try:
            store.wait_settled(60, agent)
            tool("uplink", "steady", store.path, topic, rate, 5)  # a broker just started is slow until it is compiled
            for _ in range(parts):
                for case, text in (("lone-event", tool("uplink", "lone", store.path, topic, lone)),
                                   (f"{rate:,}-a-second", tool("uplink", "steady", store.path, topic, rate, seconds))):
                    times = [float(line) / 1000 for line in text.split()]
                    found.setdefault(case, []).append([percentile(times, share) for share in (0.5, 0.95, 0.99)])
        finally:
            agent.end()
    for case, rows in found.items():
        for unit, column in zip(("p50_ms", "p95_ms", "p99_ms"), zip(*rows)):
            told(series, f"latency/{case}/sidelog", unit, column)


def startup(bench, series, gib):
    """From exec to the first record that any reader sees on the broker, with nothing of the store in memory."""
    value, topic = 100_000, bench.topic()
    with bench.store(topic, int(gib * (1 << 30) / value) + 1, value) as store:
        tool("uplink", "drop", store.path)
        eye = subprocess.Popen([rig.tool("bench/bench-raw"), bench.brokers, "first", topic], stdout=subprocess.PIPE,
                               text=True)
        agent = rig.Agent(store, bench.brokers)
        try:
            eye.stdout.readline()
            begun = time.monotonic()
            agent.start()
            took = float(eye.stdout.readline()) / 1e6 - begun
        finally:
            agent.end()
            eye.kill()
    told(series, f"start/{gib:g}-GiB-waiting", "first_ms", [took * 1000])


def run_uplink(folder, size, series):
    bench = Bench(folder / "uplink")
    try:
        backlog(bench, series, "1-KB", size["backlog"], 1024, size["turns"])
        backlog(bench, series, "100-B", size["backlog"], 100, size["turns"])
    finally:
        bench.down()


def run_rest(folder, size, series):
    bench = Bench(folder / "rest")
    try:
        latency(bench, series, size["turns"], size["lone"], 1000, size["steady"])
        startup(bench, series, size["gib"])
    finally:
        bench.down()


def run_memory(folder, size, series):
    bench = Bench(folder / "memory")
    try:
        memory(bench, series, size["memory"])
    finally:
        bench.down()


# ---------------------------------------------------------------- slow and broken links


# Name, bytes a second, seconds each way, connections cut every so many seconds (None: never), share of the events, runs of an
# agent one after the other, batches of the raw producer
LINKS = [
    ("128-kB/s,-100-ms-each-way", 128_000, 0.1, None, 1, 1, []),
    ("128-kB/s,-1-s-each-way", 128_000, 1.0, None, 3.2, 1, []),
    ("128-kB/s,-1-s-each-way,-timeout-max-15s", 128_000, 1.0, None, 0.3, 1, []),
    ("128-kB/s,-100-ms,-cut-every-2-to-5-s", 128_000, 0.1, (2, 5), 0.5, 2, [49152, 65536]),
]


class Progress:
    """The longest time in which no event was settled."""

    def __init__(self, store, agent):
        self.store, self.agent, self.gap, self.done = store, agent, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        last, since = 0, time.monotonic()
        while not self.done.wait(0.25):
            delivered = self.store.delivered()
            now = time.monotonic()
            self.gap = max(self.gap, now - since)
            if delivered != last:
                last, since = delivered, now

    def end(self):
        self.done.set()
        self.thread.join()


def log_bytes(bench, topic):
    return sum(f.stat().st_size for f in pathlib.Path(bench.cluster.dir).glob(f"broker-1/**/{topic}-*/*.log"))


def cut_until_done(link, process, cut):
    rnd = rig.random.Random(7)
    while process.poll() is None:
        try:
            process.wait(rnd.uniform(*cut) if cut else 1)
        except subprocess.TimeoutExpired:
            if cut:
                link.cut()


@contextlib.contextmanager
def as_it_was(link):
    """For what is read afterwards, and by the by: as fast as this machine."""
    rate, delay, link.rate, link.delay = link.rate, link.delay, 0, 0
    link.cut()
    yield
    link.rate, link.delay = rate, delay
    link.cut()


def agent_over_link(bench, link, store, settled, cut, *args):
    """From "delivering" until so many are settled: (events, seconds, bytes that crossed, longest stop, the report)."""
    there = store.delivered()
    agent = rig.Agent(store, bench.brokers, *args).start()
    progress = Progress(store, agent)
    watcher = subprocess.Popen([rig.tool("bench/bench-uplink"), "watch", str(store.path), str(settled)],
                               stdout=subprocess.PIPE, text=True)
    try:
        rig.wait_until("the agent to deliver", lambda: " delivering: " in agent.log(), 120, 0.005)
        begun, before = time.monotonic(), link.carried[0]
        cut_until_done(link, watcher, cut)
        if watcher.returncode != 0:
            raise SystemExit(agent.log()[-5000:])
        took, carried = float(watcher.stdout.read()) / 1e6 - begun, link.carried[0] - before
        count = store.delivered() - there
    finally:
        watcher.kill()
        progress.end()
    report = store.status()[1]["agent"]["report"]["transactions"]
    if agent.terminate(60) != 0:
        raise SystemExit(agent.log())
    return count, took, carried, progress.gap, report


def over_link(bench, link, count, size, cut, runs, *args):
    """For each run of an agent on one store: (useful, in vain, longest stop, aborts). useful: bytes of the delivered
    events as the broker keeps them (batches, without aborted copies), in a second. The first run knows nothing of the
    link, the next one what the first has noted."""
    topic, found = bench.topic(2), []
    with bench.store(topic, count * runs, size) as store:
        for run in range(runs):
            found.append(agent_over_link(bench, link, store, count * (run + 1), cut, *args))
    with as_it_was(link):
        event = log_bytes(bench, topic) / int(tool("raw", bench.brokers, "count", topic))
        bench.check(topic, count * runs, size)
    return [(n * event / took, 1 - n * event / carried, gap, report["aborted"]) for n, took, carried, gap, report in found]


def raw_over_link(bench, link, count, size, cut, batch):
    """The same of the raw producer with such batches, from its metadata on."""
    topic, before = bench.topic(2), link.carried[0]
    producer = subprocess.Popen([rig.tool("bench/bench-raw"), bench.brokers, "produce", topic, str(count), str(size), str(batch)],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    cut_until_done(link, producer, cut)
    if producer.returncode != 0:
        raise SystemExit(f"the raw producer did not end well: {producer.returncode}")
    _, connected, _, last, _ = (float(w) / 1e6 for w in producer.stdout.read().split())
    carried = link.carried[0] - before
    with as_it_was(link):
        useful = log_bytes(bench, topic)
        bench.check(topic, count, size)
    return useful / (last - connected), 1 - useful / carried


def run_link(folder, size, series):
    link = proxy.Proxy()
    bench = Bench(folder / "link", advertise=str(link.port))
    link.to(bench.cluster.call("ports").split()[0])
    try:
        for name, rate, delay, cut, share, runs, batches in LINKS:
            link.delay = 0
            link.cut()
            link.rate, link.delay = rate, delay
            args, count = ["--set", "transactions.timeout_max=15s"] if "15s" in name else [], int(size["link"] * share)
            for run, (useful, wasted, gap, aborted) in enumerate(over_link(bench, link, count, 1000, cut, runs, *args)):
                case = f"link/{name}" + (",-next-run" if run else "")
                told(series, case, "useful", [useful])
                told(series, case, "of_link", [useful / rate])
                told(series, case, "again", [wasted])
                told(series, case, "still_s", [gap])
                told(series, case, "aborted", [aborted])
            for batch in batches:
                useful, wasted = raw_over_link(bench, link, count, 1000, cut, batch)
                case = f"link/{name},-raw-with-batches-of-{batch}"
                told(series, case, "useful", [useful])
                told(series, case, "of_link", [useful / rate])
                told(series, case, "again", [wasted])
    finally:
        bench.down()
        link.close()


# ---------------------------------------------------------------- a fleet


def commits(agents):
    """Transactions committed so far by all of them."""
    return sum(a.store.status()[1]["agent"]["report"]["transactions"]["committed"] for a in agents)


def fleet(bench, series, hosts, seconds, budget):
    """So many agents with small settings, each with a store of its own that gets an event a second."""
    topic, agents = bench.topic(8), []
    folder = bench.folder / f"fleet-{budget}"
    folder.mkdir()
    try:
        for i in range(hosts):
            store = rig.Store(parent=folder, path=folder / str(i))
            agents.append(rig.Agent(store, bench.brokers, "--config", str(EDGE), "--set",
                                    f"transactions.latency_budget={budget}").start())
        for agent in agents:
            rig.wait_until("every agent to deliver", lambda a=agent: " delivering: " in a.log(), 240)
        tool("uplink", "fleet", folder, hosts, topic, 5)  # every topic is known, every handle warm
        written = [log_bytes(bench, name) for name in ("__sidelog_progress", "__transaction_state")]
        cpu, before = processor(bench.broker_pid()), commits(agents)
        ours = sum(processor(a.process.pid) for a in agents)
        begun = time.monotonic()
        waits = [float(w) / 1000 for w in tool("uplink", "fleet", folder, hosts, topic, seconds).split()]
        took = time.monotonic() - begun
        cpu, ours = processor(bench.broker_pid()) - cpu, sum(processor(a.process.pid) for a in agents) - ours
        done = commits(agents) - before
        reports = [a.store.status()[1]["agent"]["report"]["transactions"] for a in agents]
        memory = [own_memory(a.process.pid) / MIB for a in agents]
        written = [log_bytes(bench, name) - bytes_ for name, bytes_ in
                   zip(("__sidelog_progress", "__transaction_state"), written)]
        case = f"fleet/{hosts}-agents/budget-{budget}"
        told(series, case, "txn_rate", [done / took])
        told(series, case, "broker_cpu", [cpu / took])
        told(series, case, "broker_ms", [cpu / done * 1000])
        told(series, case, "agent_ms", [ours / done * 1000])
        told(series, case, "commit_p50", [percentile([r["commit_p50_us"] / 1000 for r in reports], 0.5)])
        told(series, case, "commit_p95", [percentile([r["commit_p95_us"] / 1000 for r in reports], 0.5)])
        told(series, case, "marker_bytes", [written[0] / done])
        told(series, case, "state_bytes", [written[1] / done])
        told(series, case, "wait_p50", [percentile(waits, 0.5)])
        told(series, case, "wait_p95", [percentile(waits, 0.95)])
        told(series, case, "own_mib", [percentile(memory, 0.5)])
    finally:
        for agent in agents:
            if agent.running():
                agent.process.terminate()
        for agent in agents:
            agent.end() if agent.process.poll() is None and agent.wait(30) is None else None
        shutil.rmtree(folder, ignore_errors=True)


def run_fleet(folder, size, series):
    bench = Bench(folder / "fleet")
    try:
        for budget in ("0s", "2s"):
            fleet(bench, series, size["hosts"], size["fleet_seconds"], budget)
    finally:
        bench.down()


PARTS = {"uplink": run_uplink, "rest": run_rest, "memory": run_memory, "link": run_link, "fleet": run_fleet}
