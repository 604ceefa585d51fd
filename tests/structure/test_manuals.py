"""Every command has a manual page that is installed, says what its help says, and is roff that mandoc and man
accept."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SIDELOG_BUILD") or ROOT / "build").resolve()
OTHERS = {"sidelog.1", "sidelog-output.5", "sidelogd.8", "sidelogd.yaml.5"}


def said(*argv):
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, encoding="utf-8",
                          check=True).stdout


def plain(roff):
    """Text of roff without fonts and escapes."""
    escapes = {"\\-": "-", "\\(aq": "'", "\\(ga": "`", "\\(ti": "~", "\\(ha": "^", "\\(dq": '"', "\\&": "",
               "\\e": "\\"}
    for escape, text in escapes.items():
        roff = roff.replace(escape, text)
    return re.sub(r"\\f[BIR]", "", roff)


class Manuals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sidelog = BUILD / "tools" / "sidelog"
        listed = said(cls.sidelog, "help").split("\nEverywhere:")[0]
        cls.commands = re.findall(r"(?m)^  ([a-z]+)  ", listed)
        cls.pages = {path.name: path for folder in ("tools", "sync")
                     for path in (BUILD / folder).glob("sidelog*.[158]")}

    def test_each_command_has_its_page_and_each_is_installed(self):
        wanted = {f"sidelog-{command}.1" for command in self.commands} | OTHERS
        self.assertGreater(len(self.commands), 12)
        installed = json.loads((BUILD / "meson-info" / "intro-installed.json").read_text())
        found = {pathlib.Path(path).name for path in installed.values() if re.search(r"/man/man[158]/", path)}
        self.assertEqual(found, wanted, "the list is in tools/meson.build")
        self.assertEqual(wanted - self.pages.keys(), set(), "not built")

    def test_page_and_help_have_the_same_options_and_examples(self):
        for command in self.commands:
            with self.subTest(command):
                text = said(self.sidelog, "help", command)
                page = plain(self.pages[f"sidelog-{command}.1"].read_text(encoding="utf-8"))
                options = text.partition("\nOptions:\n")[2].partition("\nExamples:\n")[0]
                of_help = re.findall(r"(?m)^  (?:-\w, )?(--[a-z-]+)", options)
                part = page.partition(".SH OPTIONS\n")[2].partition("\n.PP\nEvery command")[0]
                self.assertEqual(re.findall(r"(?m)^\.B (?:-\w, )?(--[a-z-]+)", part), of_help)
                examples = re.findall(r"(?m)^  (.+)$", text.partition("\nExamples:\n")[2])
                self.assertGreater(len(examples), 0)
                for example in examples:
                    self.assertIn(example, page)
                for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"):
                    self.assertIn(f"\n.SH {section}\n", page)
                self.assertLessEqual(len(text.splitlines()), 60,
                                     "help is to be short; docs/cli.md has what is longer")

    def test_what_a_page_refers_to_is_there(self):
        known = {path.rsplit(".", 1)[0] + f"({path[-1]})" for path in self.pages}
        for name, path in self.pages.items():
            refers = re.findall(r"(?m)^\.BR (sidelog\S*) \((\d)\)", plain(path.read_text(encoding="utf-8")))
            self.assertTrue(refers, name)
            self.assertEqual({f"{page}({section})" for page, section in refers} - known, set(), name)

    def test_no_markdown_is_left(self):
        for name, path in self.pages.items():
            text = re.sub(r"(?s)\n\.nf\n.*?\n\.fi\n", "\n", path.read_text(encoding="utf-8"))
            self.assertEqual(re.findall(r"\]\(|\*\*|^\|.*|^#.*", text, flags=re.M), [], name)

    def test_mandoc_and_man_have_nothing_to_say(self):
        found, checked = [], False
        if shutil.which("mandoc"):
            checked = True
            lint = subprocess.run(["mandoc", "-Tlint", "-W", "warning", *map(str, self.pages.values())],
                                  capture_output=True,
                                  text=True, check=False)
            # no date: what is built does not depend on the day
            found += [line for line in lint.stdout.splitlines() if "missing date" not in line]
        if shutil.which("man") and shutil.which("groff"):
            checked = True
            env = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "100"}
            man = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", *map(str, self.pages.values())],
                                 env=env,
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
                                 check=False)
            found += man.stderr.splitlines()
            self.assertEqual(man.stdout.count("SEE ALSO"), len(self.pages))
        if not checked:
            self.skipTest("neither mandoc nor man with groff is there")
        self.assertEqual(found, [])


if __name__ == "__main__":
    unittest.main()
