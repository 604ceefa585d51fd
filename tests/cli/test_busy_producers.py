"""An agent beside busy producers: it lets events gather, and is as quick as ever once they have gone. It needs
no broker."""
import json
import pathlib
import threading
import unittest

import rig


def watches(pid):
    """How many files the process has watched."""
    count = 0
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            count += path.read_text().count("inotify wd:")
        except OSError:
            continue  # it was closed meanwhile
    return count


class Test(unittest.TestCase):
    def test_the_log_is_not_watched_while_the_index_pauses_and_is_again_behind_it(self):
        store = rig.Store()
        self.addCleanup(store.remove)
        store.append("t.v1", b"the store is there")
        agent = rig.Agent(store, "127.0.0.1:9").start()
        self.addCleanup(agent.end)
        pid = agent.process.pid
        rig.wait_until("the agent to watch the log", lambda: watches(pid) == 1, 20)
        lines = [json.dumps({"n": n}).encode() for n in range(30_000)]
        producer = threading.Thread(target=store.append_lines, args=(lines, "t.v1"))
        producer.start()
        rig.wait_until("a pause of the index", lambda: watches(pid) == 0, 20, 0.001)
        producer.join()
        rig.wait_until("the agent to watch the log again", lambda: watches(pid) == 1, 20)
        rig.wait_until("all to be indexed", lambda: store.stats()["indexed_seq"] == len(lines) + 1, 20)


if __name__ == "__main__":
    unittest.main()
