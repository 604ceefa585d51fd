"""README's example in C is compiled and run as a reader would: it cannot rot."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SIDELOG_BUILD", ROOT / "build")).resolve()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)


class Readme(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        kept = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(kept)))

    def run_in_folder(self, *command, code=0):
        done = subprocess.run([str(word) for word in command], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def test_the_example_in_c_appends_its_event(self):
        examples = blocks("c")
        self.assertEqual(len(examples), 1)
        code = [line for line in examples[0].splitlines() if line]
        self.assertLessEqual(len(code), 25, "an example is read in a minute")
        (self.folder / "app.c").write_text(examples[0])
        root = self.folder / "root"
        self.run_in_folder("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root)
        library = next(root.rglob("libsidelog.so")).parent
        os.environ.update(PKG_CONFIG_PATH=f"{library}/pkgconfig", PKG_CONFIG_SYSROOT_DIR=str(root))
        flags = self.run_in_folder("pkg-config", "--cflags", "--libs", "sidelog").split()
        self.run_in_folder("cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "app.c", *flags,
                           f"-Wl,-rpath,{library}")
        self.run_in_folder("./a.out")
        told = self.run_in_folder(BUILD / "tools" / "sidelog", "--store", "orders", "query", "--json",
                                  "--type", "WORKFLOW_*", "--status", "pending", "--since", "-15m")
        self.assertEqual(json.loads(told)["topic"], "dev.omninode_bridge.onex.evt.stamp-workflow-started.v1")

    def test_what_it_links_to_exists(self):
        links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
        self.assertTrue(links)
        self.assertEqual([link for link in links if not (ROOT / link).exists()], [])

    def test_it_passes_no_option_that_there_is_not(self):
        known = {"sidelogd": self.run_in_folder(BUILD / "sync" / "sidelogd", "--help"),
                 "sidelog": "".join(self.run_in_folder(BUILD / "tools" / "sidelog", *command, "--help")
                                    for command in ((), ("append",), ("query",), ("tail",)))}
        for line in re.findall(r"(?:\$ |\| )(sidelogd? .*)", (ROOT / "README.md").read_text()):
            program = line.split()[0]
            for option in re.findall(r" (--?[a-z]+[-a-z]*)", line.split("#")[0]):
                if program in known:
                    with self.subTest(line=line, option=option):
                        self.assertIn(option, known[program])


if __name__ == "__main__":
    unittest.main()
