#!/usr/bin/env bash
# Builds sidelog and runs its tests; installs what is missing first (Debian 12, as root or through sudo).
#
#   ./test.sh            the bounded set: unit tests, again under sanitizers, and the real broker
#   ./test.sh --long     everything: more kills, all faults on three brokers and both Kafka lines, the agent under sanitizers
#     --werror           warnings are errors          -v            name every test on the broker
#     --only PART        one of: unit asan tsan kafka fault (may be repeated)
#     -k TEXT            of kafka and fault only the tests whose name holds TEXT
#
# Quiet about what works. The last line is `N passed, N failed`. Build folders: build, build-asan, build-tsan,
# or below $SIDELOG_TEST_BUILD. SIDELOG_SEED=N repeats the random choices of a failed run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

long='' werror=false verbose=() parts=() text=()
while (($#)); do
  case $1 in
    --long) long=1; shift ;;
    --werror) werror=true; shift ;;
    -v) verbose=(-v); shift ;;
    --only) parts+=("$2"); shift 2 ;;
    -k) text=(-k "$2"); shift 2 ;;
    -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) printf 'test.sh: unknown option %s (--help)\n' "$1" >&2; exit 2 ;;
  esac
done
((${#parts[@]})) || parts=(unit asan tsan kafka fault)
wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

work=$(mktemp -d "${TMPDIR:-/tmp}/sidelog-test-run.XXXXXX")
tally=$work/tally
: >"$tally"
running=''
declare -A building=() # NAME: the process group that builds it meanwhile
cleanup() {
  trap - EXIT INT TERM HUP
  local one
  for one in $running "${building[@]}"; do kill -TERM -- "-$one" 2>/dev/null || true; done
  for one in $running "${building[@]}"; do
    # brokers and agents end with the test program that started them
    for _ in {1..50}; do kill -0 -- "-$one" 2>/dev/null || break; sleep 0.1; done
    kill -KILL -- "-$one" 2>/dev/null || true
  done
  rm -rf "$work"
  # their watchdogs see that and end the brokers
  for _ in {1..50}; do pgrep -f -- "-Dsidelog.cluster=$work/" >/dev/null || break; sleep 0.1; done
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs a command in a process group of its own, so that everything below it can be ended at once.
group() {
  local code=0
  set -m
  setpriv --pdeathsig KILL -- "$@" </dev/null &
  running=$!
  set +m
  wait "$running" || code=$?
  running=''
  return "$code"
}

say() { printf '%s\n' "$*"; }
broken() { # NAME LOG: something that is no test failed; it counts as one
  say "FAIL $1"
  # of a build only what went wrong
  { grep -E -A 12 '^FAILED:|: error: ' "$2" || tail -n 40 "$2"; } | grep -vE '^(ccache )?(cc|c\+\+|gcc|clang) ' | head -n 60 | sed 's/^/     /'
  printf '0 1 0\n' >>"$tally"
}

broker=''
if wanted kafka || wanted fault; then
  tests/setup.sh --packages
  # the broker itself, while it builds; and the older line, on which the faults of three brokers run
  { tests/setup.sh && { tests/kafka/broker.sh share; tests/kafka/broker.sh fetch --kafka 3.9.1; true; } >/dev/null 2>&1; } </dev/null &
  broker=$!
else
  tests/setup.sh --no-broker
fi

# While it builds: what is had by then is used.
validators=''
if wanted unit; then
  tests/setup.sh --validators >"$work/validators.log" 2>&1 </dev/null &
  validators=$!
fi

if [[ -n ${SIDELOG_TEST_BUILD:-} ]]; then base=$SIDELOG_TEST_BUILD/build; else base=$PWD/build; fi

configure() { # NAME FOLDER OPTIONS...
  local name=$1 folder=$2 log=$work/build-$1.log
  shift 2
  if [[ -e $folder/build.ninja ]]; then
    meson configure "$folder" "$@" >"$log" 2>&1 || rm -rf "$folder"
  fi
  [[ -e $folder/build.ninja ]] || meson setup "$folder" "$@" >"$log" 2>&1 ||
    { broken "configuring the $name build" "$log"; return 1; }
}

# Of a build for a sanitizer only the tests and what they need, optimised as far as it costs no time: the compiler takes
# many times as long otherwise, the tests do not. The plain build judges the warnings; with -Og, gcc has others.
begin_sanitized() { # NAME SANITIZERS: in the background, with what the tests on the broker leave over
  wanted "$1" && configure "$1" "$base-$1" -Db_sanitize="$2" -Doptimization=g -Dwerror=false || return 0
  local target=meson-test-prereq
  [[ -z $long ]] || target=all
  set -m
  setpriv --pdeathsig KILL -- nice -n 19 ninja -C "$base-$1" -j "$(nproc)" "$target" </dev/null >"$work/build-$1.log" 2>&1 &
  building[$1]=$!
  set +m
}
sanitized() { # NAME: whether it is there; waits for it
  local code=0 group=${building[$1]:-}
  [[ -n $group ]] || return 1
  wait "$group" || code=$?
  unset "building[$1]"
  ((code == 0)) || { broken "the $1 build" "$work/build-$1.log"; return 1; }
}

unit() { # NAME FOLDER TIMES
  local log=$work/$1.log
  say "unit tests, $1"
  CMOCKA_MESSAGE_OUTPUT=TAP TMPDIR=$work group meson test -C "$2" --no-rebuild --quiet --logbase "testlog-$1" \
    --timeout-multiplier "$3" >"$log" 2>&1 || true
  if [[ -s $2/meson-logs/testlog-$1.json ]]; then
    python3 tests/lib/tally.py "$2/meson-logs/testlog-$1.json" "$1" "$tally"
  elif ! grep -q 'No tests defined' "$log"; then
    broken "meson test, $1" "$log"
  fi
}

python_tests() { # BUILD JOBS FILES...
  local folder=$1 jobs=$2 before after
  shift 2
  before=$(wc -l <"$tally")
  SIDELOG_BUILD=$folder SIDELOG_LONG=${long:-0} TMPDIR=$work group python3 tests/lib/runner.py "${verbose[@]}" "${text[@]}" \
    --jobs "$jobs" --tally "$tally" "$@" 2>&1 || true
  after=$(wc -l <"$tally")
  if ((after == before)); then
    say "FAIL the test program ended without a result: $*"
    printf '0 1 0\n' >>"$tally"
  fi
}

export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1:suppressions=$PWD/tests/lib/tsan.supp}

plain=''
if wanted unit || wanted kafka || wanted fault; then
  say "building"
  if configure plain "$base" -Dwerror="$werror"; then
    if group ninja -C "$base" >"$work/build-plain.log" 2>&1; then plain=1; else broken "the plain build" "$work/build-plain.log"; fi
  fi
fi
if [[ -n $plain ]] && wanted unit; then
  unit plain "$base" 2
  wait "$validators" || true
  cat "$work/validators.log"
  say "structure and command line"
  python_tests "$base" 2 tests/structure/test_*.py tests/cli/test_*.py
fi
# It has said why, if it failed.
[[ -z $broker ]] || wait "$broker" || exit
if [[ -n $plain ]] && wanted fault; then
  say "killed producers, bad input"
  python_tests "$base" 2 tests/fault/test_*.py
fi
begin_sanitized asan address,undefined
begin_sanitized tsan thread
if [[ -n $plain ]] && wanted kafka; then
  say "real broker"
  # most of their time they wait for a fault to last or a probe to come: several at once, the longest first
  longest=(tests/kafka/test_{reliability,faults,odd,rights,steps,letters,adopt,three}.py)
  mapfile -t others < <(printf '%s\n' "${longest[@]}" tests/kafka/test_*.py | sort | uniq -u)
  python_tests "$base" 4 "${longest[@]}" "${others[@]}"
fi
if sanitized asan; then
  unit asan "$base-asan" 5
  if [[ -n $long ]]; then
    say "real broker, agent and command line under AddressSanitizer"
    long='' python_tests "$base-asan" 2 tests/kafka/test_drain.py tests/fault/test_bad_input.py
  fi
fi
if sanitized tsan; then unit tsan "$base-tsan" 10; fi

skips=$(sed -n 's/^skip /skipped: /p' "$tally")
[[ -z $skips ]] || say "$skips"
read -r passed failed skipped < <(awk '$1 != "skip" { p += $1; f += $2; s += $3 } END { print p + 0, f + 0, s + 0 }' "$tally")
if ((passed + failed == 0)); then
  say "no test was run"
  failed=1
fi
line="$passed passed, $failed failed"
((skipped == 0)) || line+=", $skipped skipped"
say "$line"
((failed == 0))
