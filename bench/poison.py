#!/usr/bin/env python3
"""What dead letters cost: a backlog with 1 % poison against a clean one, and how soon a lone one has its copy.

    bench/poison.py [EVENTS] [KIND...]     KIND: a part of its name, or "lone"

On one broker of its own, started and ended here. Poison of each kind: larger than message.max.bytes, so that the client
refuses it by itself; larger than its topic takes, however it is compressed, also by very little, and where the limit may
not be read; without a key, for a compacted topic. Ratios of one run count; the times of a busy machine do not.
"""
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "lib"))
import rig  # noqa: E402

# What the clean run of a kind differs in from its poisoned one is the poison alone: same topic, same settings.
UNTOLD = "too large, limit not to be read"
KINDS = {
    "refused by the client": ({"message.max.bytes": 3000}, {}),
    "too large, not compressed": ({"compression.type": "none"}, {"max_message_bytes": 3000}),
    "too large, lz4": ({}, {"max_message_bytes": 3000}),
    "too large, zstd": ({"compression.type": "zstd"}, {"max_message_bytes": 3000}),
    "too large, snappy": ({"compression.type": "snappy"}, {"max_message_bytes": 3000}),
    "hardly too large, lz4": ({}, {"max_message_bytes": 3000}),
    UNTOLD: ({"compression.type": "none", "batch.size": 3000}, {"max_message_bytes": 3000}),
    "no key, compacted topic": ({}, {"cleanup_policy": "compact"}),
}

TURNS = 2


def lines(count, poison, keyless=False, sizes=(7000, 7001)):
    out = rig.numbered(count, size=200)
    for at in range(0, count, 100) if poison else ():
        size = random.randrange(*sizes)
        event = {"n": at, "correlation_id": "k", "pad": f"{random.getrandbits(4 * size + 1):x}"}
        if keyless:
            event = {"n": at, "pad": event["pad"][:200]}
        out[at] = json.dumps(event).encode()
    return out


def drain(cluster, kind, count, poison):
    kafka, topic_config = KINDS[kind]
    if kind == UNTOLD:
        kafka = {**kafka, **AGENT}
    store = rig.Store()
    topic = f"bench.{'poison' if poison else 'clean'}.{time.monotonic_ns()}"
    cluster.topic(topic, 3, **topic_config)
    cluster.topic(f"{topic}.dlq", 1)
    sizes = (2720, 2790) if "hardly" in kind else (7000, 12000) if kind == UNTOLD else (7000, 7001)
    store.append_lines(lines(count, poison, "key" in kind, sizes), topic=topic)
    agent = rig.Agent(store, cluster.brokers, config={"kafka": kafka} if kafka else None)
    begun = time.monotonic()
    code = agent.drain(600)
    took = time.monotonic() - begun
    stats = store.stats()
    copies, dead = len(cluster.read(f"{topic}.dlq")), count // 100 if poison else 0
    assert (code, stats["pending"], stats["dead"], copies) == (0, 0, dead, dead), (code, stats, copies)
    store.remove()
    return took


AGENT = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", "sasl.username": "agent", "sasl.password": "agent"}


def guarded():
    """Its user agent may do all but read settings."""
    cluster = rig.Cluster(sasl=True)
    cluster.extra = [word for name, value in {**AGENT, "sasl.username": "admin", "sasl.password": "admin"}.items()
                     for word in ("-X", f"{name}={value}")]
    may = ("acls", "--add", "--allow-principal", "User:agent")
    cluster.call(*may, "--operation", "Write", "--operation", "Describe", "--operation", "Read", "--operation", "Create", "--topic", "*")
    cluster.call(*may, "--operation", "All", "--transactional-id", "*")
    return cluster


def routing(cluster, kind, count):
    """Lone events, one that arrives and one that fails in turns: {"sent": [(ms to the receipt, ms until a consumer has it)],
    "dead": the same of the letter and its copy}. The first that the broker refuses are left out."""
    kafka, topic_config = KINDS[kind]
    store, topic = rig.Store(), f"bench.lone.{time.monotonic_ns()}"
    cluster.topic(topic, 1, **topic_config)
    cluster.topic(f"{topic}.dlq", 1)
    agent = rig.Agent(store, cluster.brokers, config={"kafka": kafka} if kafka else None).start()
    size = "0" if "key" in kind else "7000"
    told = subprocess.run([rig.BUILD / "bench" / "bench-letters", store.path, cluster.brokers, topic, f"{topic}.dlq", str(count), size],
                          check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout
    agent.terminate()
    store.remove()
    took = {"sent": [], "dead": []}
    for line in told.splitlines():
        what, *times = line.split()
        took[what].append([int(us) / 1000 for us in times])
    return took


def lone(cluster, kind, count=100):
    took = routing(cluster, kind, count)
    for at, ordinary, failing in (0, "receipt", "letter"), (1, "record", "copy"):
        p50, p95, p99 = ([sorted(one[at] for one in took[what])[int(count * share)] for what in ("sent", "dead")] for share in (0.5, 0.95, 0.99))
        print(f"{kind}: append to the {ordinary} of an ordinary event p50 {p50[0]:.1f} p95 {p95[0]:.1f} p99 {p99[0]:.1f} ms, "
              f"to the {failing} of a failing one {p50[1]:.1f} {p95[1]:.1f} {p99[1]:.1f} ms: adds {p50[1] - p50[0]:.1f} ms (p50), "
              f"{p95[1] - p95[0]:.1f} (p95)", flush=True)


def compare(cluster, kind, count):
    clean, poisoned = [], []
    for _ in range(TURNS):
        clean.append(drain(cluster, kind, count, False))
        poisoned.append(drain(cluster, kind, count, True))
    took, with_poison = statistics.median(clean), statistics.median(poisoned)
    each = (with_poison - took) / (count / 100) * 1000
    print(f"{kind}: {count} events clean {took:.2f} s, 1 % poison {with_poison:.2f} s: "
          f"{took / with_poison:.2f} of the rate, {each:.1f} ms each", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50000
    wanted = sys.argv[2:]
    chosen = [kind for kind in KINDS if not wanted or any(part in kind for part in wanted)]
    cluster = rig.Cluster()
    try:
        drain(cluster, "too large, lz4", count // 10, False)
        for kind in chosen:
            if kind != UNTOLD:
                compare(cluster, kind, count)
        for kind in ("refused by the client", "too large, lz4", "no key, compacted topic") if not wanted or "lone" in wanted else ():
            lone(cluster, kind)
    finally:
        cluster.down()
    if UNTOLD in chosen:
        cluster = guarded()
        try:
            compare(cluster, UNTOLD, count)
        finally:
            cluster.down()


main()
