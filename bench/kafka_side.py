"""The agent and a real Kafka on this host, as bench-producers wants an agent: its last argument is the store; it reads
`work` and `rest` on stdin and answers when nothing is pending. Resting means that the agent has ended; the broker
stays up, as idle brokers do."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "lib"))
import rig  # noqa: E402


def main():
    store = rig.Store(path=sys.argv[-1])
    cluster = rig.Cluster()
    agent = rig.Agent(store, cluster.brokers, config={"retention": {"bytes": "64MiB"}})
    try:
        for word in sys.stdin:
            if not agent.running():
                agent.start()
            store.wait_settled(120, agent)
            if word.strip() == "rest":
                if agent.terminate() != 0:
                    raise SystemExit(agent.log())
                print("resting", flush=True)
            else:
                print("working", flush=True)
    finally:
        agent.end()
        cluster.down()
        store.remove()


main()
