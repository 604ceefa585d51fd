"""README's example in C is compiled and run as a reader would, and every link leads somewhere: it cannot rot."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SIDELOG_BUILD", ROOT / "build")).resolve()


def blocks(language, file="README.md"):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / file).read_text(), re.S | re.M)


class Readme(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        kept = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(kept)))

    def run_in_folder(self, *command, code=0):
        done = subprocess.run([str(word) for word in command], cwd=self.folder, capture_output=True, text=True)
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def compile_example(self, file, lines):
        examples = blocks("c", file)
        self.assertEqual(len(examples), 1)
        code = [line for line in examples[0].splitlines() if line]
        self.assertLessEqual(len(code), lines, "an example is read in a minute")
        (self.folder / "app.c").write_text(examples[0])
        root = self.folder / "root"
        self.run_in_folder("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root)
        library = next(root.rglob("libsidelog.so")).parent
        os.environ.update(PKG_CONFIG_PATH=f"{library}/pkgconfig", PKG_CONFIG_SYSROOT_DIR=str(root))
        flags = self.run_in_folder("pkg-config", "--cflags", "--libs", "sidelog").split()
        self.run_in_folder("cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "app.c", *flags,
                           f"-Wl,-rpath,{library}")

    def test_the_example_of_a_reader_works_until_it_is_told_to_stop(self):
        self.compile_example("docs/readers.md", 50)
        sidelog = (BUILD / "tools" / "sidelog", "--store", "orders")
        for value in ("{}", "", "{}"):
            self.run_in_folder(*sidelog, "append", "--topic", "orders.v1", value)
        reader = subprocess.Popen(["./a.out"], cwd=self.folder, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            told = self.run_in_folder(*sidelog, "readers", "--json", code=None)
            if told and json.loads(told)["acked"] == 2 and json.loads(told)["lag"] == 0:
                break
            time.sleep(0.05)
        reader.terminate()
        self.assertEqual(reader.communicate(timeout=30)[0],
                         "orders.v1: 2 bytes\norders.v1: 0 bytes\norders.v1: 2 bytes\n")
        self.assertEqual(reader.returncode, 0)
        (letter,) = self.run_in_folder(*sidelog, "dlq", "list", "--reader", "billing", "--json").splitlines()
        self.assertEqual((json.loads(letter)["seq"], json.loads(letter)["error_code"]), (2, "NO_AMOUNT"))

    def test_the_example_in_c_appends_its_event(self):
        self.compile_example("README.md", 25)
        self.run_in_folder("./a.out")
        told = self.run_in_folder(BUILD / "tools" / "sidelog", "--store", "orders", "query", "--json",
                                  "--type", "WORKFLOW_*", "--status", "pending", "--since", "-15m")
        self.assertEqual(json.loads(told)["topic"], "dev.omninode_bridge.onex.evt.stamp-workflow-started.v1")

    def test_what_is_linked_to_exists(self):
        """Files and headings, from README and every document."""
        pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        text = {page: re.sub(r"(?ms)^```.*?^```", "", page.read_text()) for page in pages}
        anchors = {page: {re.sub(r"[^\w -]", "",
                                 re.sub(r"\]\([^)]*\)", "", title).strip().lower()).replace(" ", "-")
                          for title in re.findall(r"(?m)^#+ (.*)", text[page])} for page in pages}
        links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s]+)\)", text[page])
                 if not link.startswith("http")]
        self.assertGreater(len(links), 50)
        for page, link in links:
            with self.subTest(page=page.name, link=link):
                name, _, anchor = link.partition("#")
                target = (page.parent / name).resolve() if name else page
                self.assertTrue(target.exists())
                if anchor:
                    self.assertIn(anchor, anchors[target])

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
