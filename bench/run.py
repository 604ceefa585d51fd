"""Runs the programs of the benchmark and prints their figures as one table: medians, spread, ratios, bars.

Called by bench/run.sh. Each program prints lines `GROUP/CASE/SIDE UNIT VALUE...`, a value for each part of its run; a
ratio is taken part by part. Every cell is the median of the parts, with the lowest and the highest in brackets.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("SIDELOG_BUILD") or HERE.parent / "build-bench").resolve()
COMMIT_MS = "10"  # what the null sink takes for a broker's commit; a Kafka on the same host takes 7 to 25 ms
SIZES = {
    "full": dict(rounds=4000, prefill=200_000, slices=5, seconds=2, events=5_000_000, warm=4000, cold=8, rebuild=3,
                 gib=10, opens=5, written=64_000, backlog=500_000, turns=2, memory=(100_000, 500_000, 2_000_000), lone=150,
                 steady=60, link=12_000, hosts=200, fleet_seconds=20,
                 lone_lines=100, bursts=10, story_events=5_000_000, traces=50),
    "quick": dict(rounds=400, prefill=10_000, slices=3, seconds=0.5, events=200_000, warm=500, cold=1, rebuild=2,
                  gib=0.2, opens=2, written=6400, backlog=50_000, turns=1, memory=(50_000,), lone=50, steady=5, link=2000,
                  hosts=20, fleet_seconds=5, lone_lines=30, bursts=3, story_events=300_000, traces=20),
    "smoke": dict(rounds=20, prefill=1000, slices=1, seconds=0.2, events=20_000, warm=20, cold=1, rebuild=1,
                  gib=0.01, opens=1, written=640, backlog=2000, turns=1, memory=(2000,), lone=3, steady=1, link=200, hosts=2,
                  fleet_seconds=1, lone_lines=3, bursts=1, story_events=5000, traces=1),
}


class Series:
    """What the programs said: {series: {unit: [a value for each part]}}."""

    def __init__(self):
        self.values = {}

    def read(self, text):
        for line in text.splitlines():
            name, unit, *values = line.split()
            self.values.setdefault(name, {})[unit] = [float(v) for v in values]

    def get(self, name, unit):
        return self.values.get(name, {}).get(unit)

    def ratio(self, name, base, unit):
        ours, theirs = self.get(name, unit), self.get(base, unit)
        if not ours or not theirs:
            return None
        return [a / b for a, b in zip(ours, theirs) if b > 0] or None

    def sides(self, case):
        return [name.rsplit("/", 1)[1] for name in self.values if name.rsplit("/", 1)[0] == case]


def said(*argv):
    """What a command says about this machine; nothing where it is not there."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def program(name, *args, seconds=1200):
    """Its lines. What it has to say besides goes to stderr as it is."""
    done = subprocess.run([str(BUILD / "bench" / f"bench-{name}"), *map(str, args)], stdout=subprocess.PIPE, text=True,
                          timeout=seconds, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench-{name} {' '.join(map(str, args))}: exit status {done.returncode}")
    return done.stdout


# ---------------------------------------------------------------- parts


def run_append(folder, size, series):
    series.read(program("append", folder / "append", size["rounds"], size["prefill"]))


def run_many(folder, size, series):
    for way in ("threads", "processes"):
        # Twice as many, half as long: the two that are compared must lie near in time, or a slow minute of the
        # disk is one side's alone.
        series.read(program("producers", folder / "many", way, 16, 2 * size["slices"] + 1, size["seconds"] / 2, "group"))


def run_beside(folder, size, series):
    agent = BUILD / "bench" / "bench-agent"
    series.read(program("producers", folder / "beside", "threads", 16, size["slices"], size["seconds"],
                        "null-sink", agent, COMMIT_MS, 20_000))


def run_kafka(folder, size, series):
    series.read(program("producers", folder / "beside", "threads", 16, size["slices"], size["seconds"],
                        "kafka", sys.executable, HERE / "kafka_side.py"))


def run_lookup(folder, size, series):
    place = folder / "lookup"
    program("lookup", "fill", place, size["events"])
    series.read(program("lookup", "warm", place, size["warm"]))
    series.read(program("lookup", "cold", place, size["cold"]))
    series.read(program("lookup", "rebuild", place, size["rebuild"]))
    shutil.rmtree(place)


def run_open(folder, size, series):
    series.read(program("open", folder / "open", size["gib"], size["opens"]))


def run_bytes(folder, size, series):
    series.read(program("bytes", folder / "bytes", size["prefill"], size["written"]))


def run_tail(folder, size, series):
    series.read(program("tail", folder / "tail", BUILD / "tools" / "sidelog", size["lone_lines"], size["bursts"]))


def run_forensics(folder, size, series):
    place = folder / "forensics"
    program("forensics", "fill", place, size["story_events"])
    series.read(program("forensics", "ask", place, BUILD / "tools" / "sidelog", size["traces"]))
    shutil.rmtree(place)


def run_reader(folder, size, series):
    series.read(program("reader", folder / "reader", size["prefill"], size["lone_lines"]))


def delivery(part):
    def run_part(folder, size, series):
        import uplink  # wants a broker's jars, which the other parts do without
        uplink.PARTS[part](folder, size, series)
    return run_part


DELIVERY = {part: delivery(part) for part in ("uplink", "rest", "memory", "link", "fleet")}
PARTS = {"append": run_append, "many": run_many, "beside": run_beside, "kafka": run_kafka, "lookup": run_lookup,
         "open": run_open, "bytes": run_bytes, "tail": run_tail, "forensics": run_forensics,
         "reader": run_reader, **DELIVERY}

# ---------------------------------------------------------------- the table


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def cell(values):
    if not values:
        return "-"
    middle = number(statistics.median(values))
    return middle if len(values) < 2 else f"{middle} ({number(min(values))}..{number(max(values))})"


COMMIT = (["p50_us", "p99_us", "rate"], ("p50_us", "plain", "p50 of plain's"))
MANY = ["rate", "p50_us", "p99_us", "fairness"]
WARM = (["p50_us", "p99_us"], ("p50_us", "sqlite", "p50 of SQLite's"))
COLD = (["p50_us", "p99_us", "all_p50_us"], ("p50_us", "sqlite", "p50 of SQLite's"))
BACKLOG = (["rate", "rate_delivering", "cpu_s"], ("rate", "raw", "rate of raw's"))
LINES = ["p50_us", "p95_us", "p99_us", "max_us"]
# Place in docs/performance.md, case, title, columns (units), and what a ratio is taken of: unit, side, heading.
TABLES = [
    ("append", "append/1", "1 event of 1 KB a commit", *COMMIT),
    ("append", "append/8", "8 events a commit", *COMMIT),
    ("append", "append/64", "64 events a commit", *COMMIT),
    ("many", "many/16-threads", "16 threads", MANY, ("rate", "own", "rate of own's")),
    ("many", "many/16-processes", "16 processes", MANY, ("rate", "own", "rate of own's")),
    ("beside", "beside/16-threads", "16 threads, an agent beside them", MANY, ("rate", "alone", "rate of alone's")),
    ("lookup", "lookup/correlation-warm", "20 events of a correlation id, warm", *WARM),
    ("lookup", "lookup/event-warm", "One event by its id, warm", *WARM),
    ("lookup", "lookup/correlation-cold", "20 events of a correlation id, nothing in memory", *COLD),
    ("lookup", "lookup/event-cold", "One event by its id, nothing in memory", *COLD),
    ("space", "index/rebuild", "Index built again from the log", ["rate"], None),
    ("space", "open", "Opening", ["p50_us", "p99_us"], None),
    ("space", "disk/event", "On disk, bytes an event with a value of 200 bytes", ["bytes"], None),
    ("backlog", "uplink/1-KB", "A backlog of events of 1 KB", *BACKLOG),
    ("backlog", "uplink/100-B", "A backlog of events of 100 bytes", *BACKLOG),
    ("latency", "latency", "Append to receipt", ["p50_ms", "p95_ms", "p99_ms"], None),
    ("start", "start", "From exec to the first record on the broker", ["first_ms"], None),
    ("memory", "memory/default", "Most memory while draining, defaults", ["anonymous_mib", "own_mib"], None),
    ("memory", "memory/edge", "The same, small profile", ["anonymous_mib", "own_mib"], None),
    ("link", "link", "A link of", ["useful", "of_link", "again", "still_s", "aborted"], None),
    ("fleet", "fleet", "Agents with an event a second each", ["txn_rate", "wait_p50", "wait_p95", "commit_p50",
                                                              "commit_p95", "broker_ms", "agent_ms", "marker_bytes", "state_bytes",
                                                              "own_mib"], None),
    ("tail", "tail/alone", "`tail -f`: an event now and then, until its line is in the pipe", LINES, None),
    ("tail", "tail/burst", "`tail -f`: bursts of 400 events from 8 threads", LINES, None),
    ("forensics", "forensics/trace-20", "`trace` of 20 events", ["p50_ms", "p99_ms"], None),
    ("forensics", "forensics/trace-large", "`trace` of 50,000 events, into a pipe", ["ms", "anonymous_mib"], None),
    ("forensics", "forensics/scan", "`query --count CONDITION`, all events looked at", ["rate", "mb_s", "ms"], None),
    ("reader", "reader", "Reading events of 1 KB, one thread", ["rate"], None),
    ("reader", "waiting", "A reader that waits, from the append's return to its own", ["p50_us", "p95_us", "p99_us"], None),
    ("space", "written", "Written to the device, bytes an event with a value of 200 bytes", ["device"], None),
]
HEADINGS = {"p50_us": "p50 us", "p95_us": "p95 us", "p99_us": "p99 us", "max_us": "max us", "rate": "events/s", "fairness": "slowest/fastest",
            "all_p50_us": "with the opening", "bytes": "bytes", "device": "bytes",
            "rate_delivering": "without the start", "cpu_s": "CPU s per million", "p50_ms": "p50 ms", "p95_ms": "p95 ms",
            "p99_ms": "p99 ms", "first_ms": "ms", "ms": "ms", "mb_s": "MB/s of values", "anonymous_mib": "RssAnon MiB", "own_mib": "own MiB",
            "useful": "useful bytes/s", "of_link": "of the link", "again": "sent in vain", "still_s": "longest stop s",
            "aborted": "aborted", "txn_rate": "transactions/s", "wait_p50": "receipt p50 ms", "wait_p95": "receipt p95 ms",
            "commit_p50": "commit p50 ms", "commit_p95": "commit p95 ms", "broker_ms": "broker CPU ms/txn",
            "marker_bytes": "marker bytes/txn", "state_bytes": "coordinator bytes/txn",
            "agent_ms": "agent CPU ms/txn"}


def spoken(name):
    return name.replace("/", ", ").replace("kB, s", "kB/s").replace(",-", ", ").replace("-", " ") if "kB" in name or "agents" in name \
        else name.replace("/", ", ")


def tables(series, place=None):
    """(title, rows) of each table that has figures; the first row is the heading."""
    for where, case, title, units, against in TABLES:
        names = [name for name in series.values if name.startswith(case + "/")]
        if not names or place not in (None, where):
            continue
        rows = [["", *(HEADINGS[u] for u in units), *([against[2]] if against else [])]]
        for name in names:
            row = [spoken(name[len(case) + 1:]), *(cell(series.get(name, u)) for u in units)]
            if against:
                base = f"{case}/{against[1]}"
                row.append("" if name == base else cell(series.ratio(name, base, against[0])))
            rows.append(row)
        yield title, rows


# What docs/performance.md promises: text, figure (a list of parts), comparison, bar.
BARS = [
    ("a durable append, p50 of the plain file's", lambda s: s.ratio("append/1/sidelog", "append/1/plain", "p50_us"), "<=", 2.6),
    ("64 a commit, rate of the plain file's", lambda s: s.ratio("append/64/plain", "append/64/sidelog", "p50_us"), ">=", 0.33),
    ("16 threads together, rate of own commits'", lambda s: s.ratio("many/16-threads/group", "many/16-threads/own", "rate"), ">=", 8),
    ("16 threads, p99 us", lambda s: s.get("many/16-threads/group", "p99_us"), "<=", 2000),
    ("16 threads, slowest/fastest", lambda s: s.get("many/16-threads/group", "fairness"), ">=", 0.9),
    ("16 processes together, rate of own commits'", lambda s: s.ratio("many/16-processes/group", "many/16-processes/own", "rate"), ">=", 8),
    ("16 processes, p99 us", lambda s: s.get("many/16-processes/group", "p99_us"), "<=", 2000),
    ("16 processes, slowest/fastest", lambda s: s.get("many/16-processes/group", "fairness"), ">=", 0.9),
    ("an agent (null sink) beside 16 threads, rate left", lambda s: s.ratio("beside/16-threads/null-sink", "beside/16-threads/alone", "rate"), ">=", 0.9),
    ("20 events of a correlation id, warm, us", lambda s: s.get("lookup/correlation-warm/sidelog", "p50_us"), "<=", 70),
    ("the same, of SQLite's time", lambda s: s.ratio("lookup/correlation-warm/sidelog", "lookup/correlation-warm/sqlite", "p50_us"), "<", 1),
    ("the same with nothing in memory, us", lambda s: s.get("lookup/correlation-cold/sidelog", "p50_us"), "<=", 5000),
    ("one event by its id, warm, us", lambda s: s.get("lookup/event-warm/sidelog", "p50_us"), "<=", 10),
    ("index built again, events/s", lambda s: s.get("index/rebuild/sidelog", "rate"), ">=", 150_000),
    ("tail -f, from the call of the append to the line, p99 us", lambda s: s.get("tail/alone/from-call", "p99_us"), "<=", 20_000),
    ("the same in a burst", lambda s: s.get("tail/burst/from-call", "p99_us"), "<=", 20_000),
    ("trace of 20 events to a terminal, whole process, p50 ms", lambda s: s.get("forensics/trace-20/terminal", "p50_ms"), "<=", 15),
    ("scan on a record's field (source), events/s", lambda s: s.get("forensics/scan/source", "rate"), ">=", 2_000_000),
    ("scan on a header, events/s", lambda s: s.get("forensics/scan/header", "rate"), ">=", 2_000_000),
    ("scan on a text in the values' JSON, MB/s", lambda s: s.get("forensics/scan/pointer", "mb_s"), ">=", 300),
    ("scan on a number in it, which parses every value, MB/s", lambda s: s.get("forensics/scan/pointer-number", "mb_s"), ">=", 300),
    ("opening 10 GiB with nothing in memory, us", lambda s: s.get("open/10-gib/cold", "p50_us"), "<=", 100_000),
]

# The same of the parts that need a broker, each in its place: they are run apart.
DELIVERY_BARS = {
    "backlog": [
        ("a backlog of 1 KB, rate of raw's", lambda s: s.ratio("uplink/1-KB/sidelog", "uplink/1-KB/raw", "rate"), ">=", 0.85),
        ("a backlog of 100 B, rate of raw's", lambda s: s.ratio("uplink/100-B/sidelog", "uplink/100-B/raw", "rate"), ">=", 0.7),
    ],
    "latency": [
        ("append to receipt, idle, p95 ms", lambda s: s.get("latency/lone-event/sidelog", "p95_ms"), "<", 50),
        ("append to receipt, 1,000 events/s, p95 ms", lambda s: s.get("latency/1,000-a-second/sidelog", "p95_ms"), "<", 100),
    ],
    "start": [("first record with a backlog of 10 GiB, ms", lambda s: s.get("start/10-GiB-waiting", "first_ms"), "<", 1000)],
    "memory": [
        ("own memory, defaults, MiB", lambda s: worst(s, "memory/default/"), "<=", 64),
        ("own memory, small profile, MiB", lambda s: worst(s, "memory/edge/"), "<=", 24),
    ],
    "link": [("useful share of 128 kB/s with 100 ms each way",
              lambda s: s.get("link/128-kB/s,-100-ms-each-way", "of_link"), ">=", 0.85),
             ("useful share of 128 kB/s with 1 s each way",
              lambda s: s.get("link/128-kB/s,-1-s-each-way", "of_link"), ">=", 0.85)],
}


def worst(series, prefix):
    found = [max(units["own_mib"]) for name, units in series.values.items() if name.startswith(prefix)]
    return [max(found)] if found else None


def print_tables(series):
    for title, rows in tables(series):
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print(f"\n{title}")
        for row in rows:
            print("  " + row[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(row[1:], widths[1:])))


def markdown(series, place):
    out = []
    for title, rows in tables(series, place):
        rows[0][0] = title
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        out.append("\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]))
    return "\n\n".join(out)


def put_into(path, texts):
    """Replaces what stands between <!-- figures: NAME --> and the next <!-- end -->, where there is something new."""
    page = path.read_text(encoding="utf-8")
    for name, text in texts.items():
        begin = f"<!-- figures: {name} -->\n"
        if text and begin in page:
            before, rest = page.split(begin, 1)
            page = before + begin + text + "\n" + rest[rest.index("<!-- end -->"):]
    path.write_text(page, encoding="utf-8")


def judge(series, bars=BARS):
    out = []
    for text, figure, how, bar in bars:
        values = figure(series)
        if not values:
            continue
        middle = statistics.median(values)
        met = {"<=": middle <= bar, "<": middle < bar, ">=": middle >= bar}[how]
        out.append({"what": text, "bar": f"{how} {bar:g}", "parts": values, "met": met})
    return out


def bar_lines(bars):
    return [f"{'met   ' if b['met'] else 'MISSED'} {b['what']}: {cell(b['parts'])}, bar {b['bar']}" for b in bars]


def machine(folder):
    def first(path, key):
        try:
            for line in open(path, encoding="utf-8"):
                if line.startswith(key):
                    return line.split(":", 1)[1].strip()
        except OSError:
            pass
        return "unknown"

    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} x {first('/proc/cpuinfo', 'model name')}",
        "memory": first("/proc/meminfo", "MemTotal"),
        "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]),
        "disk": said("findmnt", "-n", "-o", "FSTYPE", "--target", str(folder)),
        "versions": {name: said("pkg-config", "--modversion", name) or "not there" for name in ("lmdb", "sqlite3", "rocksdb", "rdkafka")},
        "load": os.getloadavg()[0],
    }


def main():
    parser = argparse.ArgumentParser(prog="bench/run.sh", add_help=False)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", default="full")
    parser.add_argument("--smoke", dest="size", action="store_const", const="smoke")
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--json")
    parser.add_argument("--docs")
    options = parser.parse_args()
    parent = pathlib.Path(options.folder or ".").resolve()
    parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sidelog-bench.", dir=parent))
    size = SIZES[options.size]
    parts = options.only or [p for p in PARTS if p not in DELIVERY and (p != "kafka" or options.size != "smoke")]
    about = machine(folder)
    series = Series()
    host = [f"{about['cpu']}, {about['memory']}, Linux {about['kernel']}, {about['disk']}",
            ", ".join(f"{name} {v}" for name, v in about["versions"].items())]
    print("\n".join(host))
    if about["load"] > 0.5:
        print(f"load {about['load']:.1f}: this machine is not quiet, and the figures tell of that", flush=True)
    try:
        for name in parts:
            begun = time.monotonic()
            PARTS[name](folder, size, series)
            print(f"[{name}: {time.monotonic() - begun:.0f} s]", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\nEach figure: the median of the parts of a run (lowest..highest). Ratios are taken part by part.")
    print_tables(series)
    bars = judge(series)
    delivery_bars = {place: judge(series, some) for place, some in DELIVERY_BARS.items()}
    said_bars = bars + [bar for some in delivery_bars.values() for bar in some]
    if said_bars:
        print("\nBars\n  " + "\n  ".join(bar_lines(said_bars)))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"machine": about, "size": options.size, "series": series.values, "bars": said_bars}, indent=1) + "\n")
    if options.docs:
        texts = {place: markdown(series, place) for place in {where for where, *_ in TABLES}}
        for place in {"delivery-machine" if part in DELIVERY else "machine" for part in parts}:
            texts[place] = "\n".join(["```", *host, "```"])
        texts["bars"] = "\n".join(["```", *bar_lines(bars), "```"]) if len(bars) == len(BARS) else ""
        for place, some in delivery_bars.items():
            if texts.get(place) and some:
                texts[place] = "\n".join([texts[place], "", "```", *bar_lines(some), "```"])
        put_into(pathlib.Path(options.docs), texts)


if __name__ == "__main__":
    main()
