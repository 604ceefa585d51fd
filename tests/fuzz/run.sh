#!/usr/bin/env bash
# Fuzzes codecs and damaged stores: tests/fuzz/run.sh SECONDS [TARGET...]
#   (record receipt letter progress reader envelope text line pages open)
#
# Builds with clang, ASan and UBSan in build-fuzz (or $SIDELOG_FUZZ_BUILD), runs each target for SECONDS,
# beginning with the golden files and the inputs found before (kept in that folder). Ends with 1 when one of
# them fails; the input that did it stays in build-fuzz/found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET...]}
shift
(($#)) || set -- record receipt letter progress reader envelope text line pages open
build=${SIDELOG_FUZZ_BUILD:-$PWD/build-fuzz}

if [[ ! -e $build/build.ninja ]]; then
  CC=$(compgen -c clang | grep -E '^clang(-[0-9]+)?$' | sort -V | head -n 1) meson setup "$build" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
fi
if ! ninja -C "$build" "${@/#/tests/fuzz/fuzz_}" >"$build/fuzz.log" 2>&1; then
  tail -n 30 "$build/fuzz.log"
  exit 1
fi

mkdir -p "$build/found"
for target; do
  corpus=$build/corpus/$target
  mkdir -p "$corpus"
  for file in tests/golden/"${target%s}"*.hex; do
    [[ -e $file ]] || continue
    hex=$(sed 's/#.*//' "$file" | tr -d ' \n' | sed 's/../\\x&/g')
    printf '%b' "$hex" >"$corpus/$(basename "$file" .hex)"
  done
  if [[ $target == envelope ]]; then
    cp tests/fuzz/envelope.dict "$corpus/names"
    dict=(-dict=tests/fuzz/envelope.dict)
  elif [[ $target == line ]]; then
    cp tests/fuzz/line.dict "$corpus/names"
    sed -n 1p tests/golden/store-1.jsonl >"$corpus/event"
    printf '%s' '{"sidelog_bundle":1,"host":"h","made_at":"2026-03-01T10:00:00Z","redacted":true,"stores":[{"name":"a","trimmed":1}]}' \
      >"$corpus/head"
    dict=(-dict=tests/fuzz/line.dict)
  else
    dict=()
  fi
  # A data file has 4 KiB pages: what pages begins with is a real one.
  len=4096
  if [[ $target == pages ]]; then
    len=65536
    # tar ends with SIGPIPE when head has enough
    { tar -xzOf tests/golden/store-1.tar.gz --wildcards '*log/data.mdb' || true; } | head -c "$len" >"$corpus/store"
  fi
  echo "$target, $seconds s"
  log=$build/fuzz-$target.log
  if ! "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -max_len="$len" \
    -artifact_prefix="$build/found/$target-" "${dict[@]}" "$corpus" >"$log" 2>&1; then
    tail -n 40 "$log"
    exit 1
  fi
  tail -n 1 "$log"
done
