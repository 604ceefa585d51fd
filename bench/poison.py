#!/usr/bin/env python3
"""What dead letters cost: a backlog with 1 % poison against a clean one, and how soon a lone failed event has its copy.

    bench/poison.py [EVENTS]

On one broker of its own, started and ended here. Poison is larger than message.max.bytes, so the client refuses it by
itself; a few more, that only the broker refuses, are measured apart: each costs an abort and a new producer. Ratios of one
run count; the times of a busy machine do not.
"""
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "lib"))
import rig  # noqa: E402

CONFIG = {"kafka": {"message.max.bytes": 3000}}


def lines(count, poison):
    out = rig.numbered(count, size=200)
    for at in range(0, count, 100) if poison else ():
        out[at] = json.dumps({"n": at, "correlation_id": "k", "pad": "x" * 4000}).encode()
    return out


def drain(cluster, count, poison):
    store = rig.Store()
    topic = f"bench.{'poison' if poison else 'clean'}.{time.monotonic_ns()}"
    cluster.topic(topic, 3)
    cluster.topic(f"{topic}.dlq", 1)
    store.append_lines(lines(count, poison), topic=topic)
    agent = rig.Agent(store, cluster.brokers, config=CONFIG)
    begun = time.monotonic()
    code = agent.drain(600)
    took = time.monotonic() - begun
    stats = store.stats()
    copies = len(cluster.read(f"{topic}.dlq"))
    assert code == 0 and stats["pending"] == 0 and stats["dead"] == copies == (count // 100 if poison else 0), (code, stats, copies)
    store.remove()
    return took


def routing(cluster, count):
    """From the failure (as the letter has it) to the copy in librdkafka's hands, a lone event each time: milliseconds."""
    store, topic = rig.Store(), f"bench.lone.{time.monotonic_ns()}"
    cluster.topic(topic, 1)
    cluster.topic(f"{topic}.dlq", 1)
    agent = rig.Agent(store, cluster.brokers, config=CONFIG).start()
    for n in range(count):
        store.append_lines(lines(1, True), topic=topic)
        rig.wait_until("it to be dead", lambda n=n: store.stats()["dead"] == n + 1, 30, 0.005)
    rig.wait_until("its copy", lambda: len(cluster.read(f"{topic}.dlq")) == count, 30, 0.2)
    failed = {e["seq"]: e["last_failure_at"] for e in store.query("--status", "dead")}
    agent.terminate()
    from datetime import datetime
    took = [r["timestamp"] - datetime.fromisoformat(failed[int(r["headers"]["x-sidelog-seq"])].replace("Z", "+00:00")).timestamp() * 1000
            for r in cluster.read(f"{topic}.dlq")]
    store.remove()
    return took


def refused_by_the_broker(cluster, poison):
    """What one event costs that is too large for its topic, and not for the client: seconds, over a run without any."""
    took = []
    for bad in (0, poison):
        store, topic = rig.Store(), f"bench.refused.{bad}.{time.monotonic_ns()}"
        cluster.topic(topic, 3, max_message_bytes=3000)
        out = rig.numbered(2000, size=200)
        for n in range(bad):
            out[n * (2000 // bad)] = rig.numbered(1, n, size=8000)[0]
        store.append_lines(out, topic=topic)
        agent = rig.Agent(store, cluster.brokers, "--set", "dead_letters.publish=false")
        begun = time.monotonic()
        code = agent.drain(300)
        took.append(time.monotonic() - begun)
        assert code == 0 and store.stats()["dead"] == bad, (code, store.stats())
        store.remove()
    return (took[1] - took[0]) / poison


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50000
    cluster = rig.Cluster()
    try:
        drain(cluster, count // 10, False)
        clean, poisoned = [], []
        for _ in range(3):
            clean.append(drain(cluster, count, False))
            poisoned.append(drain(cluster, count, True))
        ratio = statistics.median(clean) / statistics.median(poisoned)
        print(f"{count} events: clean {statistics.median(clean):.2f} s, 1 % poison {statistics.median(poisoned):.2f} s: {ratio:.2f} of the rate")
        print(f"one that the broker refuses costs {refused_by_the_broker(cluster, 20) * 1000:.0f} ms")
        lone = sorted(routing(cluster, 30))
        print(f"failure to copy of a lone event: p50 {lone[len(lone) // 2]:.1f} ms, worst of {len(lone)} {lone[-1]:.1f} ms")
    finally:
        cluster.down()


main()
