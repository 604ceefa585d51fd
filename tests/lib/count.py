#!/usr/bin/env python3
"""What arrived, for the demo: kread ... | count.py EVENTS.jsonl ...

Compares the records on stdin with the lines that were appended: missing, twice, changed.
"""
import base64
import collections
import json
import sys

appended = collections.Counter()
for name in sys.argv[1:]:
    with open(name, "rb") as lines:
        for line in lines:
            appended[line.rstrip(b"\n")] += 1
seen, topics, order, last, partitions = collections.Counter(), set(), 0, {}, set()
for line in sys.stdin:
    record = json.loads(line)
    seen[base64.b64decode(record["value"])] += 1
    topics.add(record["topic"])
    partitions.add((record["topic"], record["partition"]))
    lane, seq = (record["topic"], record["partition"], record["key"]), int(record["headers"]["x-sidelog-seq"])
    order += seq <= last.get(lane, 0)
    last[lane] = max(seq, last.get(lane, 0))
missing = sum((appended - seen).values())
extra = seen - appended
foreign = sum(n for value, n in extra.items() if value not in appended)
print(f"{sum(seen.values()):,} records in {len(topics)} topics, {len(partitions)} partitions: {missing} missing, "
      f"{sum(extra.values()) - foreign} twice, {order} out of order within their key, {foreign} not byte for byte what was appended")
sys.exit(0 if not missing and not extra and not order else 1)
