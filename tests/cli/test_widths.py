"""Every view that tests/cli/test_views.py and the others do not have, at 60, 80 and 200 columns, without
colour, golden. The wall clock stands still, so that spans since then are the same each time."""
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cli  # noqa: E402
import rig  # noqa: E402
import test_documents as documents  # noqa: E402
from test_views import columns_of  # noqa: E402

VIEWS = {
    "times": ("trace", cli.CORRELATION, "--times"),
    "cause": ("trace", "--cause", cli.event_id(2)),
    "effects": ("trace", "--effects", cli.event_id(0)),
    "path": ("trace", "--path", cli.event_id(2), cli.event_id(3)),
    "hops": ("stats", "--hops"),
    "groups": ("query", "--group-by", "source"),
    "dlq": ("dlq", "list"),
    "dlq-by": ("dlq", "list", "--by", "error"),
    "dlq-show": ("dlq", "show", "5"),
    "dlq-audit": ("dlq", "audit", "--reader", "*"),
    "readers": ("readers",),
    "reader": ("readers", "billing"),
    "status": ("status",),
    "stats": ("stats",),
    "top": ("top",),
    "full": ("full",),
}


class Widths(cli.Case):
    def test_every_view(self):
        with documents.clock(2):
            store = self.told()
            rig.run([rig.tool("tests/cli/reading"), str(store.path), "billing"],
                    stdin=b"ack\nfinal GONE\nfinal GONE\nretry BUSY\n")
            store.call("dlq", "drop", "2", "--reader", "billing", "--reason", "a test", "--json")
        with documents.clock(129):
            for name, command in VIEWS.items():
                for columns in (60, 80, 200):
                    with self.subTest(view=name, columns=columns):
                        text = self.say(store, *command, columns=columns, expect=(0, 4))
                        self.assertNotIn("\x1b", text)
                        if name != "dlq-audit":  # which names who runs this
                            self.golden(f"view-{name}-{columns}.txt",
                                        re.sub(r"again in \d+ min", "again in SPAN", text))
                        for line in text.splitlines():
                            if name not in ("dlq-show", "full"):  # values and sentences are whole
                                self.assertLessEqual(columns_of(line), columns, line)

    def test_whole_ids_fit(self):
        """An id is never cut where it is what to ask for next; what stands around it gives way."""
        with documents.clock(4):
            store = self.told()
            store.append_lines([told for _, told in documents.alerts()])
            store.call("reindex")
        for columns in (60, 66, 80):
            traced = self.say(store, "trace", cli.CORRELATION, columns=columns)
            differs = self.say(store, "diff", cli.CORRELATION, documents.ALERTS, columns=columns)
            self.assertRegex(traced, f"led to seq 8 of (correlation )?{documents.ALERTS}\n")
            self.assertIn(f"A  {cli.CORRELATION}", differs)
            for line in (traced + differs).splitlines():
                self.assertLessEqual(columns_of(line), columns, line)


if __name__ == "__main__":
    unittest.main()
