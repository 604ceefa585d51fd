"""Credentials that change while the agent delivers: SIGHUP takes them, nothing is lost, doubled or out of
order. And TLS."""
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

import check
import rig


def setUpModule():
    rig.sidelogd()
    rig.sidelog()
    rig.kread()


class Login(rig.Rig):
    @classmethod
    def tearDownClass(cls):
        cls.cluster.down()

    @staticmethod
    def grant(cluster):
        cluster.extra = [word
                         for pair in ("security.protocol=SASL_PLAINTEXT", "sasl.mechanisms=PLAIN",
                                      "sasl.username=admin",
                                      "sasl.password=admin") for word in ("-X", pair)]
        users = ("--allow-principal", "User:agent", "--allow-principal", "User:reader", "--operation", "All")
        cluster.call("acls", "--add", *users, "--topic", "*")
        cluster.call("acls", "--add", *users, "--transactional-id", "*")

    def configure(self, store, **kafka):
        properties = {name.replace("__", "-").replace("_", "."): value for name, value in kafka.items()}
        (store.side / "agent.yaml").write_text(rig.yaml({"refused_retry": "1h",
                                                         "kafka": {**self.login, **properties}}))

    def reload(self, store, agent, **kafka):
        self.configure(store, **kafka)
        os.kill(agent.process.pid, signal.SIGHUP)

    def delivered(self, store, agent, more):
        goal = store.delivered() + more
        rig.wait_until(f"{goal} delivered", lambda: store.delivered() >= goal or not agent.running(), 60)
        self.assertTrue(agent.running(), agent.log()[-3000:])

    def configured(self, store, *args):
        agent = self.agent(store, *args, config={})
        return agent

    def change_password(self, broker):
        """The agent's, until the end of the test; the broker is started anew. What changes it back before."""
        properties = pathlib.Path(self.cluster.dir, f"broker-{broker}", "server.properties")
        old = properties.read_text()

        def back():
            if properties.read_text() != old:
                properties.write_text(old)
                self.cluster.restart(broker)
        self.addCleanup(back)
        properties.write_text(old.replace('user_agent="agent"', 'user_agent="changed"'))
        self.cluster.restart(broker)
        return back

    def connections(self, agent):
        return agent.log().count(" delivering: ")


class Passwords(Login):
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", "sasl.username": "agent"}

    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(sasl=True)
        cls.grant(cls.cluster)

    def test_another_user_under_load_again_and_again(self):
        store, topic = self.store(), self.topic()
        agent = self.configured(store, *rig.txn_events(50))
        self.configure(store, sasl_password="agent")
        agent.start()
        store.append_lines(rig.numbered(8000, rnd=self.random), topic=topic)
        self.delivered(store, agent, 200)
        for turn in range(6):
            before, user = self.connections(agent), ("reader", "agent")[turn % 2]
            self.reload(store, agent, sasl_username=user, sasl_password=user)
            store.append_lines(rig.numbered(500, 8000 + turn * 500, rnd=self.random), topic=topic)
            rig.wait_until(f"a connection as {user}", lambda before=before: self.connections(agent) > before, 30)
            self.delivered(store, agent, 100)
        stats = store.wait_settled(90, agent)
        self.assertEqual(stats["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        self.assertNotIn("setback", agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_wrong_password_mended_by_sighup(self):
        # refused_retry is an hour here: only SIGHUP can bring it back.
        store, topic = self.store(), self.topic()
        agent = self.configured(store)
        self.configure(store, sasl_password="wrong")
        store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
        agent.start()
        rig.wait_until("the agent to park", lambda: "parked: refused" in agent.log(), 40)
        self.reload(store, agent, sasl_password="agent")
        store.wait_settled(40, agent)
        self.reload(store, agent, sasl_password="wrong again")
        store.append_lines(rig.numbered(50, 50, rnd=self.random), topic=topic)
        rig.wait_until("the agent to park again", lambda: agent.log().count("parked: refused") >= 2, 40)
        self.reload(store, agent, sasl_password="agent")
        store.wait_settled(40, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_password_changed_at_the_brokers_under_load(self):
        store, topic = self.store(), self.topic()
        agent = self.configured(store, *rig.txn_events(50))
        self.configure(store, sasl_password="agent")
        agent.start()
        store.append_lines(rig.numbered(8000, rnd=self.random), topic=topic)
        self.delivered(store, agent, 200)
        changed = [self.change_password(number) for number in range(1, self.cluster.size + 1)]

        def refused():  # three brokers take so long to start anew that everything may have been delivered meanwhile
            if store.stats()["pending"] == 0:
                store.append_lines(rig.numbered(50, len(store.events), rnd=self.random), topic=topic)
            return "parked: refused" in agent.log()
        rig.wait_until("the old password to be refused", refused, 60)
        self.assertGreater(store.stats()["pending"], 0)
        self.reload(store, agent, sasl_password="changed")
        stats = store.wait_settled(90, agent)
        self.assertEqual(stats["dead"], 0)
        # Once more, with nothing to send: all was said to be well, until there was.
        self.assertEqual(store.status()[0], 0)
        for back in changed:
            back()
        told = lambda: store.call("status", expect=(0, 4))
        rig.wait_until("status to tell it", lambda: b"uthentication" in told().stdout and told().returncode == 4,
                       30, 0.1)
        self.reload(store, agent, sasl_password="agent")
        rig.wait_until("all to be well again", lambda: store.status()[0] == 0, 30, 0.1)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


@unittest.skipUnless(rig.LONG, "long")
class Scram(Login):
    """Against the older Kafka line: librdkafka before 2.6.1 cannot log in by SCRAM to Kafka 4."""

    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "SCRAM-SHA-512", "sasl.username": "agent"}

    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(sasl=True, kafka="3.9.1")
        cls.grant(cls.cluster)
        cls.password("agent", "first")

    @classmethod
    def password(cls, user, password):
        cls.cluster.call("configs", "--alter", "--entity-type", "users", "--entity-name", user,
                         "--add-config", f"SCRAM-SHA-512=[password={password}]")

    def test_a_password_rotated_under_load(self):
        store, topic = self.store(), self.topic()
        agent = self.configured(store, *rig.txn_events(50))
        self.configure(store, sasl_password="first")
        agent.start()
        store.append_lines(rig.numbered(4000, rnd=self.random), topic=topic)
        self.delivered(store, agent, 200)
        for turn, password in enumerate(("second", "third")):
            before = self.connections(agent)
            self.password("agent", password)
            self.reload(store, agent, sasl_password=password)
            store.append_lines(rig.numbered(500, 4000 + turn * 500, rnd=self.random), topic=topic)
            rig.wait_until(f"a connection with the {password} password",
                           lambda before=before: self.connections(agent) > before, 30)
            self.delivered(store, agent, 100)
        self.assertEqual(store.wait_settled(90, agent)["dead"], 0)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_a_wrong_password_is_refused_and_mended(self):
        store, topic = self.store(), self.topic()
        self.password("agent", "right")
        agent = self.configured(store)
        self.configure(store, sasl_password="wrong")
        store.append_lines(rig.numbered(50, rnd=self.random), topic=topic)
        agent.start()
        rig.wait_until("the agent to park", lambda: "parked: refused" in agent.log(), 40)
        self.reload(store, agent, sasl_password="right")
        store.wait_settled(40, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)


class Certificates(Login):
    @classmethod
    def setUpClass(cls):
        cls.cluster = rig.Cluster(tls=True)
        tls = os.path.join(cls.cluster.dir, "tls")
        cls.tls = tls
        cls.login = {"security.protocol": "SSL", "ssl.ca.location": f"{tls}/ca.pem"}
        cls.cluster.extra = [word for pair in ("security.protocol=SSL", f"ssl.ca.location={tls}/ca.pem",
                                               f"ssl.certificate.location={tls}/client.pem",
                                               f"ssl.key.location={tls}/client.key")
                             for word in ("-X", pair)]

    def test_a_certificate_renewed_in_place_under_load(self):
        store, topic = self.store(), self.topic()
        cert, key = store.side / "agent.pem", store.side / "agent.key"
        shutil.copy(f"{self.tls}/client.pem", cert)
        shutil.copy(f"{self.tls}/client.key", key)
        agent = self.configured(store, *rig.txn_events(50))
        self.configure(store, ssl_certificate_location=str(cert), ssl_key_location=str(key))
        agent.start()
        store.append_lines(rig.numbered(6000, rnd=self.random), topic=topic)
        self.delivered(store, agent, 200)
        before = self.connections(agent)
        request = store.side / "agent.csr"
        subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=renewed", "-keyout", key,
                        "-out", request],
                       check=True, capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-days", "2", "-in", request, "-CA", f"{self.tls}/ca.pem",
                        "-CAkey",
                        f"{self.tls}/ca.key", "-CAcreateserial", "-CAserial", str(store.side / "serial"), "-out",
                        cert],
                       check=True, capture_output=True)
        os.kill(agent.process.pid, signal.SIGHUP)
        rig.wait_until("a connection with the new certificate", lambda: self.connections(agent) > before, 30)
        store.wait_settled(90, agent)
        self.assertEqual(agent.terminate(), 0, agent.log())
        check.assert_exact(self, store, self.cluster)

    def test_an_authority_that_is_not_trusted_is_named(self):
        store = self.store()
        argv = [rig.sidelogd(), "--store", str(store.path), "--brokers", self.cluster.brokers, "--check"]
        done = rig.run([*argv, "-X", "security.protocol=SSL"], expect=(4,))
        self.assertRegex(done.stdout.decode(), r"missing +brokers .*_SSL: .*certificate")
        done = rig.run(argv, expect=(4,))  # plaintext against a TLS port
        self.assertIn("security.protocol is that of the port", done.stdout.decode())


if __name__ == "__main__":
    unittest.main()
