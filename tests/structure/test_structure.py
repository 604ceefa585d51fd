"""The structure that docs/architecture.md promises, held by a test: who may include whom, one door to LMDB and one
to librdkafka, public headers that stand alone, exports that match the headers."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

# Room -> rooms whose headers it may include (its own are always allowed). "api" is include/sidelog.
MAY = {
    "src/base": {"api"},
    "src/format": {"api", "src/base"},
    "src/envelope": {"api", "src/base"},
    "src/db": {"api", "src/base"},
    "src/store": {"api", "src/base", "src/format", "src/db", "src/index", "src/delivery", "src/readers/readers.h"},
    "src/index": {"api", "src/base", "src/store"},
    "src/delivery": {"api", "src/base", "src/format", "src/db", "src/store", "src/index"},
    "src/query": {"api", "src/base", "src/db", "src/store", "src/index", "src/delivery"},
    "src/readers": {"api", "src/base", "src/format", "src/db", "src/store", "src/delivery",
                    "src/query/query_impl.h"},
    "src/repair": {"api", "src/base", "src/db", "src/store", "src/index", "src/delivery", "src/readers"},
    "sync/core": {"api", "src/base", "src/delivery/delivery.h", "src/format"},
    "sync/kafka": {"api", "src/base", "sync/core/fault.h", "sync"},
    "sync": {"api", "src/base", "src/delivery/delivery.h", "sync/core", "sync/kafka"},
    "tools": {"api"},
}
# Library header -> the only places that may include it.
ONLY = {
    "lmdb.h": {"src/db/db_inner.h"},
    "librdkafka/": {"sync/kafka/"},
    "curl/": {"sync/hook.c"},
    "uv.h": {"sync/agent.h", "sync/indexer.h", "sync/house.h"},
    "yaml.h": {"sync/"},
    "yajl/": {"src/envelope/", "sync/", "tools/"},
    "msgpack": {"src/format/"},
}


def sources(folder, shallow=False):
    files = (ROOT / folder).glob("*.[ch]") if shallow else (ROOT / folder).rglob("*.[ch]")
    return sorted(files)


def room_of(path):
    rel = path.relative_to(ROOT).as_posix()
    return max((room for room in MAY if rel.startswith(room + "/")), key=len)


def resolve(source, bracket, name):
    """The file in this repository that the include means, or None for a system header."""
    if name.startswith("sidelog/"):
        return ROOT / "include" / name
    places = [ROOT / "src", ROOT / "sync"]
    if bracket == '"':
        places.insert(0, source.parent)
    for place in places:
        if (place / name).exists():
            return (place / name).resolve()
    return None


class Layers(unittest.TestCase):
    def test_every_include_points_down(self):
        wrong = []
        for folder in ("src", "sync", "tools"):
            for source in sources(folder):
                room = room_of(source)
                for bracket, name in INCLUDE.findall(source.read_text()):
                    target = resolve(source, bracket, name)
                    if target is None:
                        continue
                    rel = target.relative_to(ROOT).as_posix()
                    if rel.startswith("include/"):
                        allowed = "api" in MAY[room]
                    else:
                        home = room_of(target)
                        allowed = home == room or home in MAY[room] or rel in MAY[room]
                    if not allowed:
                        wrong.append(f"{source.relative_to(ROOT)} includes {rel}")
        self.assertEqual(wrong, [], "docs/architecture.md says who may include whom")

    def test_each_library_has_one_door(self):
        wrong = []
        for folder in ("src", "sync", "tools"):
            for source in sources(folder):
                rel = source.relative_to(ROOT).as_posix()
                for _, name in INCLUDE.findall(source.read_text()):
                    for library, doors in ONLY.items():
                        if name.startswith(library) and not any(rel.startswith(door) for door in doors):
                            wrong.append(f"{rel} includes <{name}>")
        self.assertEqual(wrong, [])

    def test_the_clock_is_asked_in_one_place(self):
        wrong = []
        for folder in ("src/format", "src/envelope", "sync/core"):
            for source in sources(folder):
                for call in ("clock_gettime", "gettimeofday", "time(NULL)", "sl_clock_"):
                    if call in source.read_text():
                        wrong.append(f"{source.relative_to(ROOT)} calls {call}")
        self.assertEqual(wrong, [], "these rooms are pure: time is an argument")


class Headers(unittest.TestCase):
    def compile(self, compiler, flags, text, suffix):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / ("alone" + suffix)
            file.write_text(text)
            done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
                                   "-I", str(ROOT / "include"), str(file)], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_public_headers_compile_alone_as_c(self):
        for header in sources("include/sidelog", shallow=True):
            with self.subTest(header=header.name):
                self.compile("cc", ["-std=c11"], f"#include <sidelog/{header.name}>\n", ".c")

    @unittest.skipUnless(shutil.which("c++"), "no C++ compiler")
    def test_public_headers_compile_alone_as_cpp(self):
        for header in sources("include/sidelog", shallow=True):
            with self.subTest(header=header.name):
                self.compile("c++", ["-std=c++11"], f"#include <sidelog/{header.name}>\n", ".cpp")

    def test_exports_are_what_the_headers_declare(self):
        build = pathlib.Path(os.environ.get("SIDELOG_BUILD", ROOT / "build"))
        library = next(iter(sorted((build / "src").glob("libsidelog.so*"))), None)
        if library is None:
            self.skipTest("no shared library was built")
        declared = set()
        for header in sources("include/sidelog", shallow=True):
            text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
            declared |= set(re.findall(r"SL_API[^;]*?\b(sl_\w+)\s*\(", text))
        listing = subprocess.run(["nm", "-D", "--defined-only", str(library)], check=True, capture_output=True,
                                 text=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in listing.splitlines() if " T " in line}
        self.assertEqual(exported, declared)

    def test_every_public_function_is_documented(self):
        bare = []
        for header in sources("include/sidelog", shallow=True):
            lines = header.read_text().splitlines()
            for at, line in enumerate(lines):
                if line.startswith("SL_API") and not lines[at - 1].rstrip().endswith("*/"):
                    bare.append(f"{header.name}:{at + 1} {line}")
        # An ending function may stand right behind the one that names it.
        bare = [line for line in bare if not re.search(r"_(close|free)\(", line)]
        self.assertEqual(bare, [])


class Repository(unittest.TestCase):
    def test_the_thread_sanitizer_sees_every_program_with_threads(self):
        folder = ROOT / "tests" / "unit"
        listed = re.search(r"threaded = \[(.*?)\]", (folder / "meson.build").read_text(), re.S)[1]
        have = {f.stem.removeprefix("test_") for f in folder.glob("test_*.c")
                if re.search(r"thrd_create|pthread_create|sl_append_async", f.read_text())}
        self.assertEqual(set(re.findall(r"'(\w+)'", listed)), have)

    def test_no_file_grows_beyond_one_room(self):
        large = [f"{f.relative_to(ROOT)}: {n} lines" for folder in ("src", "sync", "tools")
                 for f in sources(folder) if (n := len(f.read_text().splitlines())) > 1000]
        self.assertEqual(large, [])

    def test_the_command_line_does_not_link_the_kafka_client(self):
        build = pathlib.Path(os.environ.get("SIDELOG_BUILD", ROOT / "build"))
        tool = build / "tools" / "sidelog"
        if not tool.exists():
            self.skipTest("the command line was not built")
        linked = subprocess.run(["ldd", str(tool)], capture_output=True, text=True).stdout
        self.assertNotIn("rdkafka", linked)


if __name__ == "__main__":
    unittest.main()
