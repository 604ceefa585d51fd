#!/usr/bin/env python3
"""Counts the individual cases of a meson test run and shows what failed.

    tally.py TESTLOG.json NAME TALLY

Reads meson's log. Programs that speak TAP count case by case, others as one. Appends `passed failed skipped`
and `skip NAME: REASON` lines to TALLY.
"""
import json
import re
import sys

LINE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*-?\s*(.*?)(?:\s*#\s*(SKIP|TODO)\b\s*(.*))?$", re.I)


def cases(output):
    for line in output.splitlines():
        found = LINE.match(line)
        if found:
            yield bool(found[1]), found[3], (found[4] or "").upper(), found[5] or ""


def main():
    log, label, tally = sys.argv[1:]
    passed = failed = skipped = 0
    skips = []
    with open(log, encoding="utf-8", errors="replace") as entries:
        for entry in map(json.loads, entries):
            name, result = entry["name"].split(" / ")[-1], entry["result"]
            output = entry.get("stdout", "")
            good = bad = 0
            for failing, case, word, reason in cases(output):
                if word == "SKIP":
                    skipped += 1
                    # cmocka writes the case where the reason belongs
                    skips.append(f"{label} {name}: " + ": ".join(filter(None, (case, reason))))
                elif failing and word != "TODO":
                    bad += 1
                else:
                    good += 1
            ok = result in ("OK", "EXPECTEDFAIL", "SKIP")
            if not ok and not bad:
                bad = 1  # it crashed, hung or said too little
            if ok and not good and not bad:
                if result == "SKIP":
                    skipped += 1
                    skips.append(f"{label} {name}: the program skipped itself")
                else:
                    good = 1
            passed, failed = passed + good, failed + bad
            if bad:
                print(f"FAIL {label} {name}: {result}, exit status {entry.get('returncode')}")
                shown = [l for l in (output + "\n" + entry.get("stderr", "")).splitlines() if l.strip()
                         and not re.match(r"ok\b", l)]
                for line in shown[-60:]:
                    print("     " + line)
    with open(tally, "a", encoding="utf-8") as out:
        out.write(f"{passed} {failed} {skipped}\n")
        out.writelines(f"skip {skip}\n" for skip in skips)


main()
