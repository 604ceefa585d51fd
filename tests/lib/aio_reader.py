"""A consumer as most Python services have one, run by readers.py in a venv that has aiokafka:

    aio_reader.py HOST:PORT read_uncommitted|read_committed FILE TOPIC...

Everything but isolation_level and auto_offset_reset is aiokafka's default. Writes a line `topic partition
offset event-id key` for each record it is given, until standard input ends and five seconds bring nothing
more.
"""
import asyncio
import sys

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError


async def main():
    brokers, isolation, path, *topics = sys.argv[1:]
    over = asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: over.set())
    for attempt in range(10):
        consumer = AIOKafkaConsumer(*topics, bootstrap_servers=brokers, isolation_level=isolation,
                                    auto_offset_reset="earliest")
        try:
            await consumer.start()
            break
        except KafkaError:  # the broker may be away just then
            await consumer.stop()
            if attempt == 9:
                raise
            await asyncio.sleep(3)
    quiet = 0
    with open(path, "w", encoding="utf-8") as out:
        while quiet < 5 or not over.is_set():
            try:
                batches = await consumer.getmany(timeout_ms=1000)
            except KafkaError as error:
                print(f"aio_reader: {error!r}", file=sys.stderr)
                await asyncio.sleep(0.5)
                continue
            quiet = 0 if batches else quiet + 1
            for records in batches.values():
                for record in records:
                    event_id = dict(record.headers)["x-event-id"].decode()
                    print(record.topic, record.partition, record.offset, event_id, record.key.decode(), file=out)
    await consumer.stop()


asyncio.run(main())
