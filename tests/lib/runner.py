#!/usr/bin/env python3
"""Runs test files: silent about what passes, clear about what fails.

    runner.py [-v] [-k TEXT] [--jobs N] [--tally FILE] test_*.py ...

With --jobs, up to N files run at the same time, each in a process of its own; tests that wait cost nothing then.
With --tally, appends `passed failed skipped` and one line `skip NAME: REASON` for each skipped test to FILE.
SIDELOG_SEED repeats the random choices of a failed run; SIDELOG_LONG=1 runs the long ones too.
"""
import argparse
import faulthandler
import importlib.util
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LIB = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(LIB))
sys.dont_write_bytecode = True
import rig  # noqa: E402


class Result(unittest.TestResult):
    def __init__(self, verbose):
        super().__init__()
        self.verbose, self.passed, self.failed, self.skips = verbose, 0, 0, []
        self.begun = 0.0

    @staticmethod
    def name(test):
        return test.id() if hasattr(test, "id") else str(test)

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()
        if self.verbose:
            print(f"   {self.name(test)} ...", end="", flush=True)

    def note(self, word, test, detail=""):
        took = time.monotonic() - self.begun if self.begun else 0
        if self.verbose:
            print(f" {word} ({took:.1f} s)", flush=True)
        if detail:
            seed = getattr(test, "seed", None)
            print(f"FAIL {self.name(test)} after {took:.1f} s (SIDELOG_SEED={rig.SEED}{'' if seed is None else f', own seed {seed}'})")
            print("     " + detail.rstrip().replace("\n", "\n     "), flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self.note("ok", test)

    def addFailure(self, test, err):
        self.failed += 1
        self.note("FAILED", test, self._exc_info_to_string(err, test))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(subtest, err)

    def addSkip(self, test, reason):
        if reason == "long" and not rig.LONG:
            return  # belongs to another run
        self.skips.append(f"{self.name(test)}: {reason}")
        self.note("skipped", test)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def chosen(suite, text):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from chosen(item, text)
        elif not text or text in item.id():
            yield item


def run_files(options):
    """Each file in a runner of its own; what it says comes in one piece when it ends. The exit status."""
    waiting, running, code = list(options.files), [], 0
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                argv = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, __file__]
                argv += ["-v"] * options.verbose + (["-k", options.text] if options.text else [])
                argv += ["--tally", options.tally] if options.tally else []
                out = tempfile.TemporaryFile()
                child = subprocess.Popen([*argv, str(waiting.pop(0))], stdin=subprocess.DEVNULL, stdout=out,
                                         stderr=out)
                running.append((child, out))
            for child, out in [pair for pair in running if pair[0].poll() is not None]:
                running.remove((child, out))
                out.seek(0)
                sys.stdout.write(out.read().decode("utf-8", "replace"))
                sys.stdout.flush()
                if child.returncode not in (0, 1):
                    print(f"FAIL {child.args[-1]} ended with {child.returncode}", flush=True)
                    if options.tally:
                        note(options.tally, 0, 1, [])
                code = max(code, 1 if child.returncode else 0)
            time.sleep(0.05)
    finally:
        for child, _ in running:
            child.terminate()
        for child, _ in running:
            child.wait()
    return code


def note(path, passed, failed, skips):
    with open(path, "a", encoding="utf-8") as tally:
        tally.write("".join([f"{passed} {failed} {len(skips)}\n", *(f"skip {skip}\n" for skip in skips)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-v", action="store_true", dest="verbose")
    parser.add_argument("-k", dest="text")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tally")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unittest lets only this one through
    if options.jobs > 1:
        return run_files(options)
    result = Result(options.verbose)
    for path in options.files:
        try:
            suite = load(path.resolve())
        except unittest.SkipTest as skip:
            result.skips.append(f"{path.stem}: {skip}")
            continue
        unittest.TestSuite(chosen(suite, options.text)).run(result)
    if options.tally:
        note(options.tally, result.passed, result.failed, result.skips)
    else:
        for skip in result.skips:
            print(f"skipped {skip}")
        print(f"{result.passed} passed, {result.failed} failed"
              + (f", {len(result.skips)} skipped" if result.skips else ""))
    sys.stdout.flush()
    return 1 if result.failed else 0


if __name__ == "__main__":
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    sys.exit(code)
