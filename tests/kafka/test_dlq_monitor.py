"""The monitor of dead-letter topics on a real broker, with a real HTTP server behind its webhook."""
import datetime
import http.server
import json
import os
import signal
import socket
import threading
import time
import unittest

import rig

SECRET = "Authorization: Bearer s3cr3t-t0ken"


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Receiver:
    """Keeps what is POSTed to it: (path, header, object)."""

    def __init__(self, port=0):
        posts, bodies = self.posts, self.bodies = [], []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((self.path, self.headers["Authorization"], json.loads(body)))
                bodies.append(body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()


class Monitor(rig.Rig):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    def letters(self, topic, count):
        """From somebody else, without transactions: an offset each."""
        other = self.store()
        other.append_lines(rig.numbered(count, rnd=self.random), topic=topic)
        self.assertEqual(self.agent(other, *rig.at_least_once()).drain(), 0)

    def monitor(self, store):
        return (store.status()[1]["agent"]["report"] or {}).get("dlq_monitor") or {}

    def wait_for(self, store, member, count):
        rig.wait_until(f"{count} {member}", lambda: self.monitor(store).get(member, 0) >= count, 60)
        self.assertEqual(self.monitor(store)[member], count)

    def watcher(self, port, **more):
        store = self.store()
        config = {"dlq_monitor": {"enabled": True, "interval": "1s", "webhook_header": SECRET,
                                  "webhook_url": f"http://127.0.0.1:{port}/hooks/s3cr3t", **more}}
        agent = self.agent(store, config=config).start()
        rig.wait_until("the store", lambda: "started" in agent.log(), 20)
        rig.wait_until("its first look", lambda: self.monitor(store).get("looked_us"), 60)
        return store, agent

    def test_one_alert_at_the_threshold_and_none_within_the_cooldown(self):
        receiver = Receiver()
        old, new = self.topic("evt.old.v1.dlq"), self.topic("evt.new.v1.dlq")
        self.letters(old, 30)
        store, agent = self.watcher(receiver.port)
        self.letters(old, 9)
        self.wait_for(store, "new", 9)
        self.assertEqual(self.monitor(store)["alerts"], 0)
        self.letters(old, 1)
        self.wait_for(store, "webhooks_sent", 1)
        (path, header, alert), = receiver.posts
        self.assertEqual((path, header), ("/hooks/s3cr3t", "Bearer s3cr3t-t0ken"))
        self.assertEqual([alert[k] for k in ("alert_type", "topic", "count", "threshold", "severity")],
                         ["dead-letters", old, 10, 10, "warning"])
        self.assertIs(alert["count_is_at_least"], False)
        self.assertLess(abs(seconds(alert["timestamp"]) - time.time()), 60)
        self.letters(old, 25)
        self.wait_for(store, "new", 35)
        # a topic that is created now, while nobody answers the webhook
        receiver.down()
        self.letters(new, 10)
        rig.wait_until("a try that fails", lambda: self.monitor(store)["webhooks_failed"], 60)
        again = Receiver(receiver.port)
        self.wait_for(store, "webhooks_sent", 2)
        self.assertEqual([(a["topic"], a["count"]) for _, _, a in again.posts], [(new, 10)])
        seen = self.monitor(store)
        self.assertEqual((seen["alerts"], seen["webhooks_lost"], seen["webhooks_waiting"]), (2, 0, 0))
        self.assertEqual(len(receiver.posts), 1, "none within the cooldown")
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertEqual(agent.log().count("dlq-alert"), 2)
        self.assertNotIn("s3cr3t", agent.log())
        self.assertEqual(len(self.cluster.read(old)) + len(self.cluster.read(new)), 75, "it writes nothing there")
        again.down()

    def test_records_are_counted_and_not_what_transactions_leave(self):
        receiver = Receiver()
        self.addCleanup(receiver.down)
        topic, other = self.topic("evt.exact.v1.dlq"), self.store()
        self.cluster.topic(topic, 1)
        store, agent = self.watcher(receiver.port)
        writer = self.agent(other).start()
        for n in range(9):  # a transaction each
            other.append_lines(rig.numbered(1, n, rnd=self.random), topic=topic)
            other.wait_settled(30, writer)
        self.assertEqual(writer.terminate(), 0, writer.log())
        # --check writes a record where events wait, in a transaction that it aborts
        other.append_lines(rig.numbered(1, 9, rnd=self.random), topic=topic)
        rig.run([rig.sidelogd(), "--store", str(other.path), "--brokers", self.cluster.brokers, "--check"])
        self.assertGreater(len(self.cluster.read(topic, committed=False)), 9)
        self.wait_for(store, "new", 9)
        self.assertEqual(self.agent(other).drain(), 0)
        self.wait_for(store, "webhooks_sent", 1)
        self.assertEqual([a["count"] for _, _, a in receiver.posts], [10])
        seen = self.cluster.read(topic)
        self.assertEqual(len(seen), 10)
        self.assertGreaterEqual(max(r["offset"] for r in seen), 20, "offsets say something else")
        self.assertEqual(agent.terminate(), 0, agent.log())

    def test_its_own_alerts_are_no_letters(self):
        # Somebody's webhook puts alerts where letters are.
        receiver = Receiver()
        self.addCleanup(receiver.down)
        topic = self.topic("evt.loop.v1.dlq")
        self.letters(topic, 1)
        store, agent = self.watcher(receiver.port, threshold=2, cooldown="0s")
        self.letters(topic, 2)
        self.wait_for(store, "webhooks_sent", 1)
        other = self.store()
        other.append_lines([receiver.bodies[0]] * 5 + rig.numbered(1), topic=topic)
        self.assertEqual(self.agent(other, *rig.at_least_once()).drain(), 0)
        self.wait_for(store, "new", 3)
        self.assertEqual(self.monitor(store)["alerts"], 1)
        self.assertEqual(agent.terminate(), 0, agent.log())

    def test_a_flood_is_told_as_at_least_and_another_interval_holds_at_once(self):
        receiver = Receiver()
        self.addCleanup(receiver.down)
        topic = self.topic("evt.flood.v1.dlq")
        self.letters(topic, 1)
        store, agent = self.watcher(receiver.port, interval="1h")
        config = store.side / "agent.yaml"
        config.write_text(config.read_text().replace('"1h"', '"1s"'))
        os.kill(agent.process.pid, signal.SIGHUP)
        self.letters(topic, 5000)
        self.wait_for(store, "webhooks_sent", 1)
        (_, _, alert), = receiver.posts
        self.assertEqual((alert["count"], alert["count_is_at_least"], alert["severity"]), (1000, True, "critical"))
        self.assertIs(self.monitor(store)["new_is_at_least"], True)
        self.letters(topic, 7)  # exact again
        self.wait_for(store, "new", 1007)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertIn("at least 1000 new dead letters", agent.log())

    def test_its_own_letters_count_and_a_webhook_that_hangs_holds_up_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store, agent = self.watcher(silent.getsockname()[1], threshold=3)
            topic = self.topic("evt.poison.v1")
            self.cluster.topic(topic, 1, max_message_bytes=2000)
            pad = [json.dumps({"n": n, "pad": f"{self.random.getrandbits(16000):x}"}).encode() for n in range(3)]
            store.append_lines(pad, topic=topic)
            rig.wait_until("an alert", lambda: self.monitor(store)["alerts"] == 1, 60)
            silent.settimeout(30)
            caller, _ = silent.accept() # and says no word
            store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
            self.assertEqual(store.wait_settled(30, agent)["delivered"], 50)
            self.assertEqual(agent.terminate(9), 0, agent.log())
            self.assertIn("stopped", agent.log())
            self.assertIn("the newest: MSG_SIZE_TOO_LARGE", agent.log())
            caller.close()


class Settings(unittest.TestCase):
    def call(self, action, *settings, expect=(0,)):
        argv = [rig.sidelogd(), "--store", "/nowhere", "--brokers", "b:9092", action]
        return rig.run([*argv, *(word for s in settings for word in ("--set", f"dlq_monitor.{s}"))], expect=expect)

    def test_secrets_are_not_shown(self):
        done = self.call("--print-config", "webhook_url=https://h/s3cr3t", f"webhook_header={SECRET}")
        self.assertNotIn(b"s3cr3t", done.stdout)
        self.assertIn(b"webhook_url: \"********\"", done.stdout)

    def test_what_is_no_webhook(self):
        for wrong in ("webhook_url=ftp://h/x", "webhook_header=Bearer x", "webhook_header=Bearer x: y"):
            self.assertIn("dlq_monitor.webhook_", self.call("--check-config", wrong, expect=(2,)).err)


if __name__ == "__main__":
    unittest.main()
