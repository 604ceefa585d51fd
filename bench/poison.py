#!/usr/bin/env python3
"""What dead letters cost: a backlog with 1 % poison against a clean one, and how soon a lone one has its copy.

    bench/poison.py [EVENTS]

On one broker of its own, started and ended here. Poison of each kind: larger than message.max.bytes, so that the client
refuses it by itself; larger than its topic takes, however it is compressed; without a key, for a compacted topic. Ratios
of one run count; the times of a busy machine do not.
"""
import datetime
import json
import pathlib
import random
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "lib"))
import rig  # noqa: E402

# What the clean run of a kind differs in from its poisoned one is the poison alone: same topic, same settings.
KINDS = {
    "refused by the client": ({"message.max.bytes": 3000}, {}),
    "too large, not compressed": ({"compression.type": "none"}, {"max_message_bytes": 3000}),
    "too large, lz4": ({}, {"max_message_bytes": 3000}),
    "too large, zstd": ({"compression.type": "zstd"}, {"max_message_bytes": 3000}),
    "no key, compacted topic": ({}, {"cleanup_policy": "compact"}),
}

TURNS = 2


def lines(count, poison, keyless=False):
    out = rig.numbered(count, size=200)
    for at in range(0, count, 100) if poison else ():
        event = {"n": at, "correlation_id": "k", "pad": f"{random.getrandbits(4 * 7000):x}"}
        if keyless:
            event = {"n": at, "pad": event["pad"][:200]}
        out[at] = json.dumps(event).encode()
    return out


def drain(cluster, kind, count, poison):
    kafka, topic_config = KINDS[kind]
    store = rig.Store()
    topic = f"bench.{'poison' if poison else 'clean'}.{time.monotonic_ns()}"
    cluster.topic(topic, 3, **topic_config)
    cluster.topic(f"{topic}.dlq", 1)
    store.append_lines(lines(count, poison, "key" in kind), topic=topic)
    agent = rig.Agent(store, cluster.brokers, config={"kafka": kafka} if kafka else None)
    begun = time.monotonic()
    code = agent.drain(600)
    took = time.monotonic() - begun
    stats = store.stats()
    copies, dead = len(cluster.read(f"{topic}.dlq")), count // 100 if poison else 0
    assert (code, stats["pending"], stats["dead"], copies) == (0, 0, dead, dead), (code, stats, copies)
    store.remove()
    return took


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def routing(cluster, kind, count):
    """From the failure (as the letter has it) to the copy in librdkafka's hands, a lone event each time: milliseconds.
    The first, which the broker refuses where its topic is to blame, is left out."""
    kafka, topic_config = KINDS[kind]
    store, topic = rig.Store(), f"bench.lone.{time.monotonic_ns()}"
    cluster.topic(topic, 1, **topic_config)
    cluster.topic(f"{topic}.dlq", 1)
    agent = rig.Agent(store, cluster.brokers, config={"kafka": kafka} if kafka else None).start()
    for n in range(count):
        store.append_lines(lines(1, True, "key" in kind), topic=topic)
        rig.wait_until("it to be dead", lambda n=n: store.stats()["dead"] == n + 1, 30, 0.005)
    rig.wait_until("its copy", lambda: len(cluster.read(f"{topic}.dlq")) == count, 30, 0.2)
    failed = {e["seq"]: milliseconds(e["last_failure_at"]) for e in store.query("--status", "dead")}
    agent.terminate()
    took = [r["timestamp"] - failed[int(r["headers"]["x-sidelog-seq"])] for r in cluster.read(f"{topic}.dlq")]
    store.remove()
    return took[1:]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50000
    cluster = rig.Cluster()
    try:
        drain(cluster, "too large, lz4", count // 10, False)
        for kind in KINDS:
            clean, poisoned = [], []
            for _ in range(TURNS):
                clean.append(drain(cluster, kind, count, False))
                poisoned.append(drain(cluster, kind, count, True))
            took, with_poison = statistics.median(clean), statistics.median(poisoned)
            each = (with_poison - took) / (count / 100) * 1000
            print(f"{kind}: {count} events clean {took:.2f} s, 1 % poison {with_poison:.2f} s: "
                  f"{took / with_poison:.2f} of the rate, {each:.1f} ms each", flush=True)
        for kind in ("refused by the client", "too large, lz4", "no key, compacted topic"):
            lone = sorted(routing(cluster, kind, 30))
            print(f"failure to copy of a lone event, {kind}: p50 {lone[len(lone) // 2]:.1f} ms, "
                  f"worst of {len(lone)} {lone[-1]:.1f} ms", flush=True)
    finally:
        cluster.down()


main()
