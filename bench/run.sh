#!/usr/bin/env bash
# Measures sidelog beside the disk's limit and beside others, on one disk in one run, and prints a table.
#
#   bench/run.sh [OPTIONS] [FOLDER]   FOLDER: where to write, on the disk to be measured (default: here)
#     --quick           a minute, for a first look: small sizes, wide spread
#     --smoke           seconds: whether the programs work, the figures mean nothing
#     --only PART       append, many, beside, kafka, lookup, open, bytes, tail, forensics or reader; and, which
#                       are not run unless they are named: uplink, rest, memory, link, fleet (delivery to a
#                       real Kafka). May be repeated
#     --json FILE       all figures as JSON, too
#     --docs FILE       puts the tables into FILE, where docs/performance.md has its marks
#     --no-setup        install nothing
#
# Needs 25 GB of room and a machine that does nothing else. docs/performance.md says what is measured and how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
setup=1 arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    --no-setup) setup='' ;;
    *) arguments+=("$argument") ;;
  esac
done
[[ -z $setup ]] || bench/setup.sh
build=${SIDELOG_BENCH_BUILD:-$PWD/build-bench}
[[ -e $build/build.ninja ]] || meson setup "$build" --buildtype=release -Db_ndebug=true >/dev/null
log=$(mktemp)
if ! ninja -C "$build" bench-all sync/sidelogd tools/sidelog tests/kafka/kread >"$log" 2>&1; then
  grep -E -A 12 '^FAILED:|: error: ' "$log" >&2
  exit 1
fi
rm -f "$log"
SIDELOG_BUILD=$build exec python3 bench/run.py "${arguments[@]}"
