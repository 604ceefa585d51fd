#!/usr/bin/env bash
# The main job of sidelog, told in eight steps on real output: a bare Debian 12 machine is enough.
# It builds into build/, keeps everything else in a temporary folder, and leaves nothing running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
events=${SIDELOG_DEMO_EVENTS:-4000}

work=$(mktemp -d "${TMPDIR:-/tmp}/sidelog-demo.XXXXXX")
cluster='' agent=''
cleanup() {
  trap - EXIT INT TERM HUP
  if [[ -n $agent ]]; then kill -KILL "$agent" 2>/dev/null || true; fi
  if [[ -n $cluster ]]; then tests/kafka/broker.sh "$cluster" down || true; fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

bold='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
step=0
headline() { step=$((step + 1)); printf '\n%s%d  %s%s\n' "$bold" "$step" "$*" "$plain"; }
fact() { printf '   %s\n' "$*"; }
show() { sed 's/^/   /'; }
command_line() { printf '   %s$ %s%s\n' "$dim" "$*" "$plain"; }
number() { sed ':a;s/\B[0-9]\{3\}\>/,&/;ta' <<<"$1"; }
field() { sed -n "s/.*\"$1\":\([0-9a-z]*\).*/\1/p"; }
fail() { printf '\ndemo.sh: %s\n' "$*" >&2; [[ ! -s $work/agent.log ]] || tail -n 20 "$work/agent.log" >&2; exit 1; }

tests/setup.sh
[[ -x build/sync/sidelogd ]] || printf 'building into build/ (once, about a minute)\n'
[[ -e build/build.ninja ]] || meson setup build >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
ninja -C build >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }

export SIDELOG_STORE=$work/store
export PATH=$root/build/tools:$root/build/sync:$root/build/tests/kafka:$PATH
COLUMNS=120
[[ ! -t 1 ]] || read -r _ COLUMNS < <(stty size 2>/dev/null || echo 0 120)
((COLUMNS > 60)) || COLUMNS=120
((COLUMNS < 132)) || COLUMNS=132
export COLUMNS=$((COLUMNS - 3)) # what the indentation leaves
begun=$SECONDS
cluster=$(tests/kafka/broker.sh create --owner $$)
brokers=$(tests/kafka/broker.sh "$cluster" bootstrap)

stat_of() { sidelog stats --json | field "$1"; }
start_agent() {
  # small transactions, so that there is a middle to kill it in
  setpriv --pdeathsig KILL -- sidelogd --store "$SIDELOG_STORE" --brokers "$brokers" --set transactions.max_events=100 2>>"$work/agent.log" &
  agent=$!
  disown "$agent"
}
# await SECONDS WHAT COMMAND...: until the command succeeds
await() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || fail "waited in vain for $what"
    [[ -z $agent ]] || kill -0 "$agent" 2>/dev/null || fail "the agent ended by itself while waiting for $what"
    sleep 0.01
  done
}
unreachable() { { sidelog status || true; } | grep -q unreachable; }
delivered_at_least() { [[ $(stat_of delivered) -ge $1 ]]; }
none_pending() { [[ $(stat_of pending) == 0 ]]; }

printf '%ssidelog: events are safe on this machine first, and in Kafka exactly once%s\n' "$bold" "$plain"

headline "The broker is down. Three producers append all the same."
share=$((events / 3)) total=0 jobs=()
for p in 1 2 3; do
  ((p < 3)) || share=$((events - total))
  python3 tests/lib/events.py --count "$share" >"$work/events-$p.jsonl"
  total=$((total + share))
done
for p in 1 2 3; do
  sidelog append --jsonl --ack "$work/events-$p.jsonl" >"$work/acks-$p" 2>"$work/said-$p" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || fail "an append failed: $(cat "$work"/said-?)"; done
acked=$(cat "$work"/acks-? | wc -l)
command_line "sidelog append --jsonl --ack events-1.jsonl        (and 2, and 3, at once)"
fact "$(number "$acked") events of the workflow and agent families acknowledged: each is on disk, whatever happens next"
((acked == events)) || fail "$events were appended"
fact "$(number "$(sidelog query --json -n "$events" | grep -c '"correlation_id":null')") of them carry no correlation id, as in the field: stored without one, and said so"

headline "Where are they? Nowhere but here."
correlation=$(grep -h WORKFLOW_COMPLETED "$work/events-2.jsonl" | sed -n '20s/.*"correlation_id":"\([^"]*\)".*/\1/p')
command_line "sidelog query --correlation ${correlation:0:18} -n 4"
sidelog query --correlation "${correlation:0:18}" -n 4 | show
command_line "sidelog status"
{ sidelog status || true; } | show

headline "The agent starts. Then, at last, the broker."
start_agent
await 30 "the agent to notice the outage" unreachable
command_line "sidelog status | grep -E 'agent|broker'"
{ sidelog status || true; } | grep -E '^(agent|broker) ' | show
kafka=$SECONDS
tests/kafka/broker.sh "$cluster" up
fact "Apache Kafka ${SIDELOG_KAFKA:-4.1.0} answers at $brokers after $((SECONDS - kafka)) s"

headline "In the middle of the drain the agent is killed with SIGKILL."
await 60 "the drain to begin" delivered_at_least $((events / 4))
sleep 0.0$((RANDOM % 40 + 10)) # wherever that finds it: what was just seen to settle is no place to be killed at
kill -KILL "$agent"
agent=''
fact "killed at $(number "$(stat_of delivered)") delivered, $(number "$(stat_of pending)") pending; it had no chance to say goodbye"

headline "A new one starts and settles what the old one left in doubt."
start_agent
await 60 "the rest to be delivered" none_pending
doubt=$(sed -n 's/.* reconciled: //p' "$work/agent.log" | tail -n 1)
fact "it asked Kafka how far the old one had come: ${doubt:-no commit was in doubt; what was open is aborted}"
fact "0 pending now: the rest is delivered"
kill -TERM "$agent"
await_end=$((SECONDS + 20))
while kill -0 "$agent" 2>/dev/null; do ((SECONDS < await_end)) || fail "the agent did not end at SIGTERM"; sleep 0.02; done
agent=''

headline "What did a read_committed consumer see?"
command_line "kread --all        (reads every record with isolation.level=read_committed)"
kread -b "$brokers" --all | python3 tests/lib/count.py "$work"/events-?.jsonl | show
aborted=$(($(kread -b "$brokers" --all --uncommitted | wc -l) - events))
((aborted == 0)) || fact "a read_uncommitted consumer sees $(number "$aborted") more: copies in the transaction that the kill cut short"

headline "Broker and agent off. What happened under this correlation id, and where is each event now?"
tests/kafka/broker.sh "$cluster" down
cluster=''
command_line "sidelog trace ${correlation:0:18}"
sidelog trace "${correlation:0:18}" | show

headline "And do the books balance?"
command_line "sidelog stats"
sidelog stats | show
printf '\n%s%s events, one outage, one kill: %d s.%s   Try next: sidelog --help, README.md\n' "$bold" "$(number "$events")" $((SECONDS - begun)) "$plain"
