#!/usr/bin/env python3
"""An outage as it is: the broker is killed, stays away for minutes, and producers go on. What it costs and how
it ends.

    tests/outage.py --minutes 10 --rate 500 [--size 200] [--json FILE]

Told: the agent's memory before, during and after, the store's growth an event, the agent's processor time,
the state it reports; how long after the broker's return the first event and the last one arrived. Judged:
nothing becomes a dead letter, the agent says that it waits, everything arrives once and in order. Exit: 0,
or 1 when something did not hold.
"""
import argparse
import json
import pathlib
import sys
import time

import reliability  # the same folder; it finds tests/lib
import clusters
import rig
import world as worlds


def memory(agent):
    return {name: round(agent.memory(name), 1) for name in ("RssAnon", "VmRSS", "VmHWM")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--size", type=int, default=200, help="letters of padding in each event (200)")
    parser.add_argument("--kafka", default="4.1.0", metavar="VERSION")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.version, options.kafka, options.mode, options.seed, options.defaults = options.kafka, [], "exactly-once", 1, True
    world = worlds.World(options, clusters.Own(1, options.version, False))
    try:
        world.sizes, world.agent.env = (options.size,), None  # no proxy: the broker's port is closed, and says so
        world.begin()
        world.progress(options.rate * 3)
        world.judge()
        producers = world.running
        before, stats = memory(world.agent), world.store.stats()
        world.cluster.kill(1)
        begun, samples, states = time.monotonic(), [], set()
        cpu = world.agent.processor()
        while (gone := time.monotonic() - begun) < options.minutes * 60:
            time.sleep(min(5, options.minutes * 60 - gone + 0.01))
            samples.append(memory(world.agent))
            code, status = world.store.status()
            if gone > 30 or gone > options.minutes * 30:  # by then it knows
                states.add((code, status["agent"]["state"]))
        cpu = (world.agent.processor() - cpu) / (time.monotonic() - begun)
        full = world.store.stats()
        if full["dead"] or full["lanes"]:
            world.ledger.violation("outage-is-not-poison", stats=full)
        if not states or states - {(4, "backoff"), (4, "connecting")}:
            world.ledger.violation("state", states=sorted(states))
        world.cluster.up(1)
        world.resume("an outage")
        back = time.monotonic()
        world.wait("what waited to arrive", lambda: world.store.stats()["delivery_seq"] >= full["last_seq"], 600)
        drained = time.monotonic() - back + world.resumed[-1][1]
        after = memory(world.agent)
        world.judge()
        world.judge_all()
        events = full["appended"] - stats["appended"]
        result = {
            "minutes": options.minutes, "events_appended_meanwhile": events, "states": sorted(states),
            "store_bytes_an_event": round((full["bytes_used"] - stats["bytes_used"]) / events, 1),
            "file_bytes_an_event": round((full["bytes_on_disk"] - stats["bytes_on_disk"]) / events, 1),
            "value_bytes_an_event": round(sum(p.bytes for p in producers) / sum(p.lines for p in producers)),
            "memory_before": before, "memory_first_sample": samples[0], "memory_last_sample": samples[-1],
            "memory_most": {name: max(s[name] for s in samples) for name in before}, "memory_after": after,
            "agent_processor_share": round(cpu, 4), "first_event_after_s": round(world.resumed[-1][1], 2),
            "all_drained_after_s": round(drained, 1), "events": world.ledger.counts(),
            "looks_at_the_law": world.looker.looks,
            "violations": world.ledger.violations,
        }
        print(json.dumps(result, indent=1))
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
        return 1 if world.ledger.violations else 0
    finally:
        world.close()


if __name__ == "__main__":
    sys.exit(main())
