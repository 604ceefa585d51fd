"""Every connection of an agent, of whatever cluster, through one proxy that knows Kafka's frames (see
detour.c).

Beside what Proxy can do: half-open connections, and one request held in the network while its client has
long given up on it, to arrive at the broker later. Frames are seen only where the link is not encrypted.
"""
import os
import pathlib
import shutil
import socket
import struct
import tempfile
import threading

import proxy
import rig

PRODUCE, INIT_PRODUCER_ID, END_TXN = 0, 22, 26  # keys of Kafka requests


class Links(proxy.Proxy):
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sidelog-links."))
        self.buffers, self.captives, self.orphans = {}, {}, {}
        self.seen = {}  # how many requests of each key went by
        self.hold_key = self.release_key = None
        self.captured, self.released = threading.Event(), threading.Event()
        super().__init__()

    def env(self):
        """What an agent is started with, so that its connections come here."""
        library = rig.tool("tests/kafka/libdetour.so")
        return {**os.environ, "LD_PRELOAD": library, "SIDELOG_DETOUR_PORT": str(self.port),
                "SIDELOG_DETOUR_DIR": str(self.dir)}

    def target_of(self, client):
        name = self.dir / str(client.getpeername()[1])
        try:
            host, port = name.read_text().split()
        except (OSError, ValueError):
            return None
        name.unlink()
        return host, int(port)

    def forward(self, pair, sink, data, upwards):
        if not upwards:
            sink.sendall(data)
            return
        buffer = self.buffers.setdefault(pair, bytearray())
        buffer += data
        while len(buffer) >= 6:
            size, key = struct.unpack_from(">ih", buffer)
            if not 0 < size < 1 << 28 or not 0 <= key < 100:  # encrypted: bytes without a meaning
                sink.sendall(buffer)
                buffer.clear()
                return
            if len(buffer) < 4 + size:
                return
            frame = bytes(buffer[:4 + size])
            del buffer[:4 + size]
            self.frame(pair, sink, key, frame)

    def frame(self, pair, sink, key, frame):
        with self.lock:
            self.seen[key] = self.seen.get(key, 0) + 1
            if key == self.hold_key and not self.captured.is_set():
                self.captives[pair] = bytearray()
                self.captured.set()
            if pair in self.captives:  # what follows on the same connection waits behind it
                self.captives[pair] += frame
                return
        sink.sendall(frame)
        if key == self.release_key:
            self.release()

    # -- one request held

    def hold(self, key):
        """The next request of this key, and what follows on its connection, stays in the network until
        release()."""
        self.captured.clear()
        self.released.clear()
        self.hold_key = key

    def release_after(self, key):
        """It goes on right behind the next request of this key."""
        self.release_key = key

    def release(self):
        with self.lock:
            self.hold_key = self.release_key = None
            captives, self.captives = self.captives, {}
        for (client, broker), held in captives.items():
            try:
                broker.sendall(held)
                broker.settimeout(5)
                broker.recv(4096)  # the broker has dealt with it
            except OSError:
                pass
            client.close()
            broker.close()
        self.released.set()

    def half_open(self):
        """The brokers' ends are gone, and no word of it reaches the agent: what it sends goes nowhere. New
        connections are as ever."""
        with self.lock:
            pairs = [pair for pair in self.pairs if pair not in self.captives]
            for pair in pairs:
                self.orphans[pair] = True
                self.pairs.discard(pair)
        for _, broker in pairs:
            self.shut(broker)

    @staticmethod
    def shut(one):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        one.close()

    def drop(self, pair):
        self.buffers.pop(pair, None)
        with self.lock:
            self.pairs.discard(pair)
            captive, orphan = pair in self.captives, pair in self.orphans
        if not orphan:
            self.shut(pair[0])
        if not captive:
            self.shut(pair[1])

    def mend(self):
        """The network as it should be."""
        self.rate, self.refuse = 0, False
        self.hold_requests = self.hold_answers = False
        self.release()
        with self.lock:
            orphans, self.orphans = self.orphans, {}
        for client, _ in orphans:
            self.shut(client)

    def close(self):
        self.mend()
        super().close()
        shutil.rmtree(self.dir, ignore_errors=True)
