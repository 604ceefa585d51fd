#!/usr/bin/env python3
"""The proof that delivery survives: for as long as you like, producers append while one fault after another
happens to agent, brokers, network, disks and topics, in a random order. After each fault everything is read
back as a read_committed consumer sees it: nothing missing, nothing twice, no key out of order, every receipt
where it says, the books balanced.

    tests/reliability.py --hours 2                                  one broker
    tests/reliability.py --hours 2 --brokers 3 --kafka 3.9.1
    tests/reliability.py --hours 1 --mode at-least-once             the same without transactions: repeats are counted
    tests/reliability.py --minutes 30 --brokers-at seed:9092        a cluster you have, Redpanda too: see below
    tests/reliability.py --each 1                                   every kind of fault once
    tests/reliability.py --list                                     what there is

Needs a build (build/ or $SIDELOG_BUILD) and what tests/setup.sh installs. A line for each fault, a table at
the end, the same as JSON with --json FILE. Exit: 0 nothing found; 1 something was, and a new folder, named
at the end, has the store, the logs and the list (--keep DIR: that one, in any case); 2 usage. --seed repeats
a schedule, though not the moments.

With --brokers-at only what can be done from outside happens: to the agent, its network (through a proxy of
ours, with no help of the cluster) and one topic. It makes five topics and deletes them at the end; -X gives
librdkafka properties (TLS, SASL) to agent and consumers. A link that is encrypted can be cut and slowed, but
no single request held.
"""
import argparse
import json
import pathlib
import random
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "lib"))
sys.dont_write_bytecode = True
import clusters  # noqa: E402
import havoc  # noqa: E402
import readers  # noqa: E402
import rig  # noqa: E402
import world as worlds  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float)
    length.add_argument("--minutes", type=float)
    length.add_argument("--each", type=int, metavar="N", help="every kind N times")
    parser.add_argument("--only", default="", metavar="KIND,..")
    parser.add_argument("--skip", default="", metavar="KIND,..")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--kafka", default="4.1.0", metavar="VERSION")
    parser.add_argument("--brokers-at", metavar="HOST:PORT[,..]")
    parser.add_argument("-X", dest="kafka_set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--mode", choices=("exactly-once", "at-least-once"), default="exactly-once")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--rate", type=int, default=400, metavar="N", help="events appended a second (400)")
    parser.add_argument("--defaults", action="store_true",
                        help="the agent's own timeouts (15 s, 10 s) instead of 4 s and 3 s")
    parser.add_argument("--kills", type=float, default=0.4, metavar="P",
                        help="how often the agent is killed during a fault (0.4)")
    parser.add_argument("--aiokafka", action="store_true",
                        help="readers with aiokafka beside it (from PyPI, in a venv of its own)")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--keep", metavar="DIR")
    parser.add_argument("--hold-while", metavar="FILE", help="rest between faults while this file exists")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    options.kafka, options.version = options.kafka_set, options.kafka
    if not (options.hours or options.minutes or options.each or options.list):
        parser.error("how long? --hours, --minutes or --each")
    return options


def chosen(options, abilities):
    only, skip = ({k for k in text.split(",") if k} for text in (options.only, options.skip))
    unknown = (only | skip) - set(havoc.KINDS)
    if unknown:
        sys.exit(f"no such kind: {', '.join(unknown)} (--list)")
    kinds = [k for k in havoc.KINDS.values() if (not only or k.name in only) and k.name not in skip]
    kinds = [k for k in kinds if not k.exactly or options.mode == "exactly-once"]
    return [k for k in kinds if k.needs <= abilities], [k.name for k in kinds if not k.needs <= abilities]


def schedule(options, kinds, world):
    """Shuffled decks of all kinds, until it is enough. Rests do not count."""
    end = time.monotonic() + ((options.hours or 0) * 3600 + (options.minutes or 0) * 60)
    deck, turn = [], 0
    while True:
        if not deck:
            if options.each and turn == options.each:
                return
            deck, turn = world.random.sample(kinds, len(kinds)), turn + 1
        if not options.each and time.monotonic() >= end + world.rested:
            return
        yield deck.pop()


def with_kills(world, kind):
    """The fault in a thread; meanwhile the agent is killed at random moments. (It is started here: it ends with
    its thread.)"""
    failed = []

    def run():
        try:
            kind(world)
        except Exception as error:  # raised below, in the right thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive() and not failed:
        thread.join(world.random.uniform(0.3, 3))
        world.kill_agent()
        time.sleep(world.random.uniform(0, 0.3))
        world.start_agent()
        thread.join(world.random.uniform(1, 6))
    thread.join()
    if failed:
        raise failed[0]


def rest(world, options):
    """Leaves the machine alone while somebody measures."""
    if options.hold_while and pathlib.Path(options.hold_while).exists():
        begun = time.monotonic()
        world.stop_producers()
        while pathlib.Path(options.hold_while).exists():
            time.sleep(1)
        world.start_producers()
        world.rested += time.monotonic() - begun


def run(world, options, kinds, counts, begun, beside):
    world.begin()
    if beside:
        beside.start()
    for turn, kind in enumerate(schedule(options, kinds, world), 1):
        rest(world, options)
        at = time.monotonic()
        killing = kind.with_kills and world.random.random() < options.kills
        if killing:
            with_kills(world, kind)
        else:
            kind(world)
        world.links.mend()
        world.judge()
        counts[kind.name] = counts.get(kind.name, 0) + 1
        now = world.ledger.counts()
        name = kind.name + (" +kills" if killing else "")
        print(f"{(time.monotonic() - begun) / 60:6.1f} min {turn:4d} {name:36s} {time.monotonic() - at:5.1f} s  "
              f"{now['appended']:>9,} appended {now['seen']:>9,} seen {now['duplicates']:>6,} twice "
              f"{now['violations']} violations", flush=True)
        if world.ledger.violations:
            return
    world.judge_all()


def percentiles(values):
    values = sorted(values)
    p50, p95 = (round(values[min(len(values) - 1, int(len(values) * p))], 2) for p in (0.5, 0.95))
    return {"count": len(values), "p50_s": p50, "p95_s": p95, "max_s": round(values[-1], 2)}


def report(world, options, counts, skipped, begun, trouble, seen):
    resumed = {}
    for what, seconds in world.resumed:
        resumed.setdefault(what, []).append(seconds)
    return {
        "brokers": options.brokers_at or options.brokers,
        "kafka": "its own" if options.brokers_at else options.version, "mode": options.mode, "seed": options.seed,
        "defaults": options.defaults, "minutes": round((time.monotonic() - begun - world.rested) / 60, 1),
        "rounds": sum(counts.values()),
        "kinds": counts, "not_possible_here": skipped, "what_happened": dict(world.tally),
        "events": world.ledger.counts(),
        "true_receipts": world.true_receipts, "looks_at_the_law": world.looker.looks,
        "longest_pause_between_tries_s": round(world.longest_pause, 2),
        "resumed_after": {what: percentiles(values) for what, values in sorted(resumed.items())}, "readers": seen,
        "violations": world.ledger.violations, "trouble": trouble,
    }


def table(result):
    events = result["events"]
    rows = [("brokers, Kafka, mode", f"{result['brokers']}, {result['kafka']}, {result['mode']}"),
            ("seed", result["seed"]),
            ("minutes", result["minutes"]), ("faults", result["rounds"])]
    rows += [(f"  {name}", count) for name, count in sorted(result["kinds"].items())]
    rows += sorted(result["what_happened"].items())
    rows += [(name.replace("_", " "), f"{count:,}") for name, count in events.items()]
    rows += [("receipts read back and true", f"{result['true_receipts']:,}"),
             ("looks at the conservation law", f"{result['looks_at_the_law']:,}")]
    rows += [(f"resumed after {what}, s", f"p50 {v['p50_s']}, p95 {v['p95_s']}, max {v['max_s']} ({v['count']})")
             for what, v in result["resumed_after"].items()]
    for name, seen in result["readers"].items():
        rows.append((f"reader {name}", ", ".join(f"{what} {count:,}" for what, count in seen.items())))
    if result["not_possible_here"]:
        rows.append(("not possible here", ", ".join(result["not_possible_here"])))
    print("\n" + "\n".join(f"{name:44s} {value}" for name, value in rows))
    for violation in result["violations"][:20]:
        print("VIOLATION", json.dumps(violation))
    if result["trouble"]:
        print("TROUBLE", result["trouble"])


def main():
    options = arguments()
    if options.list:
        for kind in havoc.KINDS.values():
            needs = "".join(f", {n}" for n in [*sorted(kind.needs), *(["exactly-once"] if kind.exactly else [])])
            print(f"{kind.name:30s} {kind.where}{needs}")
        return 0
    if not options.brokers_at:
        clusters.own_mounts([sys.executable, *sys.argv])
    begun, counts, trouble = time.monotonic(), {}, None
    if options.brokers_at:
        cluster = clusters.Outside(options.brokers_at, options.kafka)
    else:
        cluster = clusters.Own(options.brokers, options.version, clusters.can_mount())
    kinds, skipped = chosen(options, cluster.abilities())
    world = worlds.World(options, cluster)
    beside = readers.Beside(world) if options.aiokafka else None
    try:
        print(f"seed {options.seed}, {len(kinds)} kinds of faults", flush=True)
        try:
            run(world, options, kinds, counts, begun, beside)
        except Exception:
            trouble = traceback.format_exc()
        seen = beside.tell() if beside and not trouble else {}
        result = report(world, options, counts, skipped, begun, trouble, seen)
        table(result)
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
        if not result["violations"] and not trouble and not options.keep:
            return 0
        keep = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="sidelog-evidence."))
        keep.mkdir(parents=True, exist_ok=True)
        world.evidence(keep)
        (keep / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        print(f"kept in {keep}")
        return 1 if result["violations"] or trouble else 0
    finally:
        if beside:
            beside.close()
        world.close()


if __name__ == "__main__":
    sys.exit(main())
