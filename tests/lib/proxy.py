"""A TCP proxy to stand between agent and broker: slow and long links, silences, cut connections, answers that
never come.

The broker must advertise the proxy's port: Proxy first, then Cluster(advertise=proxy.port), then
proxy.to(port).
"""
import collections
import queue
import select
import socket
import threading
import time


class Proxy:
    def __init__(self, host="127.0.0.1", port=0):
        self.listener = socket.create_server((host, port))
        self.port = self.listener.getsockname()[1]
        self.target = None
        self.rate = 0  # bytes a second to the broker, over all connections; 0: no limit
        self.delay = 0.0  # seconds that everything is under way, in both directions; of connections made from then on
        self.carried = [0, 0]  # bytes that crossed: to the broker, from it
        self.hold_requests = False  # what goes to the broker waits
        self.hold_answers = False  # what comes from it waits
        self.refuse = False
        self.tries = collections.deque(maxlen=1000)  # when somebody connected
        self.lock, self.pairs, self.budget_at, self.closed = threading.Lock(), set(), 0.0, False
        threading.Thread(target=self.accept, daemon=True).start()

    def to(self, port):
        self.target = int(port)
        return self

    def target_of(self, client):
        """Where this connection goes: (host, port), or None to refuse it."""
        return self.target and ("127.0.0.1", self.target)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.tries.append(time.monotonic())
            try:
                target = None if self.refuse else self.target_of(client)
                broker = target and socket.create_connection(target, 5)
            except OSError:
                broker = None
            if not broker:
                client.close()
                continue
            for one in (client, broker):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            pair = (client, broker)
            with self.lock:
                self.pairs.add(pair)
            threading.Thread(target=self.pump, args=(pair, client, broker, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(pair, broker, client, False), daemon=True).start()

    def pump(self, pair, source, sink, upwards):
        under_way = None
        if self.delay:
            under_way = queue.SimpleQueue()
            threading.Thread(target=self.deliver, args=(pair, sink, upwards, under_way, self.delay),
                             daemon=True).start()
        try:
            while True:
                queued = bool(select.select([source], [], [], 0)[0])
                if not queued and not select.select([source], [], [], 0.5)[0]:
                    if pair not in self.pairs:
                        return
                    continue
                while (self.hold_requests if upwards else self.hold_answers) and pair in self.pairs:
                    time.sleep(0.005)
                data = source.recv(8192 if self.rate else 65536)
                if not data:
                    return
                # an answer may have been read just as the hold began
                while (self.hold_requests if upwards else self.hold_answers) and pair in self.pairs:
                    time.sleep(0.005)
                if upwards and self.rate:
                    self.spend(len(data), queued)
                with self.lock:
                    self.carried[0 if upwards else 1] += len(data)
                if under_way:
                    under_way.put((time.monotonic(), data))
                else:
                    self.forward(pair, sink, data, upwards)
        except (OSError, ValueError):
            pass
        finally:
            if under_way:  # what was sent before the end arrives before it
                under_way.put((time.monotonic(), None))
            else:
                self.drop(pair)

    def deliver(self, pair, sink, upwards, under_way, delay):
        try:
            while True:
                sent, data = under_way.get()
                time.sleep(max(0.0, sent + delay - time.monotonic()))
                if data is None:
                    return
                self.forward(pair, sink, data, upwards)
        except (OSError, ValueError):
            pass
        finally:
            self.drop(pair)

    def forward(self, pair, sink, data, upwards):
        sink.sendall(data)

    def spend(self, size, queued):
        """A link does not carry less because we are scheduled late: what was waiting goes right behind what
        went before."""
        with self.lock:
            now = time.monotonic()
            begin = self.budget_at if queued and now - self.budget_at < 0.5 else max(now, self.budget_at)
            self.budget_at = begin + size / self.rate
        time.sleep(max(0.0, self.budget_at - time.monotonic()))

    def drop(self, pair):
        with self.lock:
            self.pairs.discard(pair)
        for one in pair:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def cut(self):
        """Ends every connection at once, what is under way is lost."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self.drop(pair)

    def close(self):
        self.listener.close()
        self.cut()
