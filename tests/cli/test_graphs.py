"""Random causal graphs, forests, circles and chains, against what Python makes of them."""
import json
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402


class Graphs(cli.Case):
    def graph(self, count):
        """{id: (correlation, cause or None)}: causes before and behind, in other stories, missing, and of its
        own."""
        ids = [f"n{n}" for n in range(count)]
        stories = ["red", "green", "blue"]
        graph = {}
        for n, i in enumerate(ids):
            story = self.random.choice(stories)
            cause = self.random.choice([None, story, i, f"gone{n}", *[self.random.choice(ids[:n] or ids)] * 6,
                                        *[self.random.choice(ids)] * 2])
            graph[i] = (story, cause)
        return graph

    def put(self, graph):
        store = self.store()
        store.append_lines([json.dumps({"event_id": i, "event_type": "STEP", "correlation_id": story,
                                        "topic": "t.v1",
                                        **({"causation_id": cause} if cause else {})}).encode() for i,
                            (story, cause) in graph.items()])
        if self.random.random() < 0.5:  # with and without an index
            store.call("reindex")
        return store

    @staticmethod
    def causes(graph, i):
        chain = []
        while i in graph and i not in chain:
            chain.append(i)
            i = graph[i][1]
        return chain

    @staticmethod
    def effects(graph, i):
        met = [i]
        for one in met:
            met += [e for e, (_, cause) in graph.items() if cause == one and e not in met]
        return met

    @staticmethod
    def circles(graph, story):
        """How many, in the story alone; an event that names itself is none."""
        parent = {i: c for i,
                  (s, c) in graph.items() if s == story and c != i and c in graph and graph[c][0] == story}
        found = set()
        for i in parent:
            trail = []
            while i in parent and i not in trail:
                trail.append(i)
                i = parent[i]
            if i in trail:
                found.add(frozenset(trail[trail.index(i):]))
        return found

    def test_random_graphs(self):
        for _ in range(3):
            graph = self.graph(self.random.choice([5, 40, 150]))
            store = self.put(graph)
            ids = list(graph)
            for i in self.random.sample(ids, min(8, len(ids))):
                other = self.random.choice(ids)
                with self.subTest(graph=graph, event=i, other=other):
                    self.assertEqual({e["event_id"] for e in store.lines("trace", "--cause", i)},
                                     set(self.causes(graph, i)))
                    self.assertEqual({e["event_id"] for e in store.lines("trace", "--effects", i)},
                                     set(self.effects(graph, i)))
                    mine, its = self.causes(graph, i), self.causes(graph, other)
                    meet = next((c for c in mine if c in its), None)
                    path = store.lines("trace", "--path", i, other, expect=(0 if meet else 1,))
                    expected = {*mine[:mine.index(meet) + 1], *its[:its.index(meet)]} if meet else set()
                    self.assertEqual({e["event_id"] for e in path}, expected)
            for story in {s for s, _ in graph.values()}:
                with self.subTest(graph=graph, story=story):
                    members = {i for i, (s, _) in graph.items() if s == story}
                    text = self.say(store, "trace", story, columns=200)
                    self.assertEqual(len(re.findall(r"(?m)^ +\+.* STEP ", text)), len(members))
                    found = store.lines("check", story, expect=(0, 4))[:-1]
                    circles = self.circles(graph, story)
                    cut = [f["event_id"] for f in found if f["finding"] == "cycle"]
                    self.assertEqual(len(cut), len(circles))
                    for circle in circles:
                        self.assertEqual(len(circle & set(cut)), 1)
                    self.assertEqual({f["event_id"] for f in found if f["finding"] == "orphan"},
                                     {i for i in members if str(graph[i][1]).startswith("gone")})

    def test_a_chain(self):
        count = 99_000 if rig.LONG else 4000
        store = self.put({f"n{n}": ("long", f"n{n - 1}" if n else None) for n in range(count)})
        for command in (("--cause", f"n{count - 1}"), ("--effects", "n0"), ("--path", f"n{count - 1}", "n0")):
            self.assertEqual(store.call("trace", *command, "--json", seconds=300).stdout.count(b"\n"), count)
        self.assertEqual(store.lines("check", "long", seconds=300)[-1]["findings"], 0)


if __name__ == "__main__":
    unittest.main()
