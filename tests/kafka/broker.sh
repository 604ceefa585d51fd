#!/usr/bin/env bash
# A real Apache Kafka for tests and demo: 1 or 3 KRaft brokers on free loopback ports, each with its own folder.
#
#   DIR=$(broker.sh create [options])   choose ports, write configurations, format; nothing runs yet
#   DIR=$(broker.sh start  [options])   the same, then start every broker and wait until each answers
#     --brokers N          1 (default) or 3
#     --kafka VERSION      4.1.0 (default, or $SIDELOG_KAFKA) or 3.9.1
#     --dir DIR            where to keep everything (must not exist; default: a new temporary folder)
#     --owner PID          tear everything down when this process is gone (default: the caller)
#     --sasl               clients must log in with SASL and are held to ACLs; PLAIN knows the users admin (may do
#                          everything), agent and reader, each with its name as its password; SCRAM-SHA-512 knows
#                          those that `configs --entity-type users` has made
#     --tls                clients must speak TLS and show a certificate: DIR/tls has ca.pem, client.pem and client.key
#     --advertise P[,P..]  ports that clients are told instead of the real ones, for a proxy in between
#     --set KEY=VALUE      a broker setting
#   broker.sh fetch [--kafka VERSION]   only make sure that the jars are in the cache; prints their folder
#
#   broker.sh share [--kafka VERSION]   keeps the classes of a running broker beside the jars, as Java wants them: from then
#                                       on brokers and tools start in about half of the time. Nothing needs it
#
#   broker.sh DIR bootstrap             what clients connect to (advertised ports if there are any)
#   broker.sh DIR ports                 the real client ports, one a line
#   broker.sh DIR pid I | log I         the process id of broker I, the path of its log
#   broker.sh DIR up [I]                start broker I (all), wait until it answers; the port never changes
#   broker.sh DIR launch [I]            start without waiting
#   broker.sh DIR stop I | kill I       SIGTERM | SIGKILL, wait until it is gone
#   broker.sh DIR restart I             stop if it runs, then up
#   broker.sh DIR pause I | continue I  SIGSTOP | SIGCONT
#   broker.sh DIR topic NAME [PARTITIONS [KEY=VALUE ...]]
#   broker.sh DIR topics | acls | configs ARGUMENTS...   kafka-topics, kafka-acls, kafka-configs with the bootstrap filled in
#   broker.sh DIR transactions ARGUMENTS...              kafka-transactions
#   broker.sh DIR lead TOPIC PARTITION I                 broker I becomes the leader of the partition (3 brokers)
#   broker.sh DIR down                  end everything and remove DIR
#
# A watchdog in a session of its own ends the brokers and removes DIR when the owner is gone, SIGKILL included.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
default_kafka=${SIDELOG_KAFKA:-4.1.0}

die() { printf 'broker.sh: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- jars

fetch() { # VERSION: prints the folder of the jars
  local version=$1 cache final tmp profile
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/sidelog
  final=$cache/kafka-$version
  if [[ ! -e $final/complete ]]; then
    case $version in
      4.*) profile=kafka-4 ;;
      3.*) profile=kafka-3.9 ;;
      *) die "no profile for Kafka $version in $here/pom.xml" ;;
    esac
    command -v mvn >/dev/null || die "mvn is not there: apt-get install maven"
    mkdir -p "$cache"
    tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    if ! MAVEN_OPTS="-XX:-UsePerfData ${MAVEN_OPTS:-}" mvn -q -B -f "$here/pom.xml" "-P$profile" "-Dkafka.version=$version" dependency:copy-dependencies \
      "-DoutputDirectory=$tmp" >"$tmp/mvn.log" 2>&1; then
      cat "$tmp/mvn.log" >&2
      die "Maven could not fetch Kafka $version (above)"
    fi
    : >"$tmp/complete"
    # Whoever renames first wins; the loser's copy is the same and goes.
    mv -T "$tmp" "$final" 2>/dev/null || [[ -e $final/complete ]] || { rm -rf "$final"; mv -T "$tmp" "$final"; }
    rm -rf "$tmp"
    trap - EXIT
  fi
  printf '%s\n' "$final"
}

# ---------------------------------------------------------------- processes

# start time of a process, so that a reused pid is never taken for the old process; empty when it is gone or a zombie
birth() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  [[ $1 == Z || $1 == X ]] || printf '%s\n' "${20}"
}

broker_pid() { # I: prints the pid if the broker runs
  local f=$dir/broker-$1/pid pid born
  [[ -r $f ]] || return 0
  read -r pid born <"$f" || return 0
  [[ -n $pid && $(birth "$pid") == "$born" ]] && printf '%s\n' "$pid"
  return 0
}

wait_gone() { # I SECONDS
  local end=$((SECONDS + $2))
  while [[ -n $(broker_pid "$1") ]]; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

signal() { # SIGNAL I
  local pid
  pid=$(broker_pid "$2")
  [[ -n $pid ]] || return 0
  kill "-$1" "$pid" 2>/dev/null || true
}

stop_broker() { # I: SIGTERM, and SIGKILL when that does not do
  signal CONT "$1"
  signal TERM "$1"
  wait_gone "$1" 20 || kill_broker "$1"
}

kill_broker() {
  signal KILL "$1"
  wait_gone "$1" 20 || die "broker $1 survived SIGKILL for 20 s"
}

# Into `shared`: the options by which Java takes what `share` made, if it did. It goes on without where that does not fit.
share_options() {
  shared=()
  [[ ! -e $jars/classes.jsa ]] || shared=("-XX:SharedArchiveFile=$jars/classes.jsa" -Xlog:cds=off -Xlog:cds+dynamic=off)
}

share() { # VERSION
  local folder cluster
  folder=$(fetch "$1")
  [[ ! -e $folder/classes.jsa ]] || return 0
  cluster=$(SIDELOG_SHARE=$folder/classes.new "$here/broker.sh" start --kafka "$1" --owner $$)
  "$here/broker.sh" "$cluster" stop 1
  "$here/broker.sh" "$cluster" down
  mv -f "$folder/classes.new" "$folder/classes.jsa"
}

jvm() {
  share_options
  java -cp "$jars/*" "${shared[@]}" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    "-Djava.io.tmpdir=$dir" "-Dlog4j2.configurationFile=$dir/tools-log4j2.properties" \
    "-Dlog4j.configuration=file:$dir/tools-log4j.properties" "$@"
}

launch_broker() { # I
  local b=$dir/broker-$1
  [[ -d $b ]] || die "there is no broker $1 in $dir"
  [[ -z $(broker_pid "$1") ]] || return 0
  [[ ! -e $b/log ]] || mv "$b/log" "$b/log.old"
  share_options
  [[ -z ${SIDELOG_SHARE:-} ]] || shared=("-XX:ArchiveClassesAtExit=$SIDELOG_SHARE")
  setsid java -cp "$jars/*" "${shared[@]}" -Xmx512m -Xms128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    "-XX:ErrorFile=$b/hs_err.log" -Djava.awt.headless=true "-Djava.io.tmpdir=$dir" "-Dsidelog.cluster=$dir" "-Dlog4j2.configurationFile=$dir/log4j2.properties" \
    "-Dlog4j.configuration=file:$dir/log4j.properties" kafka.Kafka "$b/server.properties" \
    >"$b/log" 2>&1 </dev/null 9>&- &
  local pid=$!
  # setsid forks only when it leads a process group, which a background child of a script does not
  printf '%s %s\n' "$pid" "$(birth "$pid")" >"$b/pid"
  disown "$pid"
}

await_broker() { # I: until it says so itself and its port answers
  local b=$dir/broker-$1 port end=$((SECONDS + 60))
  port=$(<"$b/port")
  until grep -q 'Kafka Server started' "$b/log" 2>/dev/null && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    if [[ -z $(broker_pid "$1") ]]; then
      tail -n 30 "$b/log" >&2
      die "broker $1 ended while starting (its last lines are above)"
    fi
    if ((SECONDS >= end)); then
      tail -n 30 "$b/log" >&2
      die "broker $1 did not answer within 60 s (its last lines are above)"
    fi
    sleep 0.1
  done
}

# ---------------------------------------------------------------- watchdog

watchdog() { # runs in the background, in a session of its own
  local owner=$1 born=$2
  while [[ -d $dir && $(birth "$owner") == "$born" ]]; do sleep 0.3; done
  end_all  # also when the folder went away below us: its brokers may still run
}

end_all() {
  local i pid round
  for round in 1 2; do
    for ((i = 1; i <= n; i++)); do signal KILL "$i"; done
    # a broker that was being started while its owner died has no pid file yet
    for pid in $(pgrep -f -- "-Dsidelog.cluster=$dir( |\$)" || true); do
      [[ $pid == "$$" || $pid == "$BASHPID" ]] || kill -KILL "$pid" 2>/dev/null || true
    done
    for ((i = 1; i <= n; i++)); do wait_gone "$i" 20 || true; done
    rm -rf "$dir"
    ((round == 2)) || [[ -n ${quick_end:-} ]] || sleep 0.3
  done
}

# ---------------------------------------------------------------- ports

# Below the kernel's range for outgoing connections, or a stopped broker could find its port taken by one. A port
# belongs to a cluster as long as the cluster's folder is there, so a restarted broker always gets its own again.
# The book lies in the cache: callers with different temporary folders share the host's ports all the same.
reserve_ports() { # COUNT: prints ports
  local book=${XDG_CACHE_HOME:-$HOME/.cache}/sidelog/ports want=$1 port tries=0
  mkdir -p "$book"
  exec 9>"$book/lock"
  flock 9
  for port in "$book"/[0-9]*; do # of clusters that are gone
    [[ ! -e $port || -d $(<"$port") ]] || rm -f "$port"
  done
  while ((want > 0)); do
    ((++tries < 5000)) || die "no free loopback port between 20000 and 31999"
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    [[ ! -e $book/$port ]] || continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    printf '%s\n' "$dir" >"$book/$port"
    printf '%s\n' "$port"
    want=$((want - 1))
  done
  exec 9>&-
}

# ---------------------------------------------------------------- create

create() { # options
  local brokers=1 version=$default_kafka owner=$PPID sasl='' tls='' advertise='' sets=() want_dir=''
  while (($#)); do
    case $1 in
      --brokers) brokers=$2; shift 2 ;;
      --kafka) version=$2; shift 2 ;;
      --dir) want_dir=$2; shift 2 ;;
      --owner) owner=$2; shift 2 ;;
      --sasl) sasl=1; shift ;;
      --tls) tls=1; shift ;;
      --advertise) advertise=$2; shift 2 ;;
      --set) sets+=("$2"); shift 2 ;;
      *) die "unknown option $1" ;;
    esac
  done
  [[ $brokers == 1 || $brokers == 3 ]] || die "--brokers takes 1 or 3, not $brokers"
  local born
  born=$(birth "$owner")
  [[ -n $born ]] || die "the owner, process $owner, is not there"
  command -v java >/dev/null || die "java is not there: apt-get install openjdk-17-jre-headless"
  jars=$(fetch "$version")
  if [[ -n $want_dir ]]; then
    mkdir "$want_dir" || die "cannot create $want_dir"
    dir=$(cd "$want_dir" && pwd)
  else
    dir=$(mktemp -d "${TMPDIR:-/tmp}/sidelog-kafka.XXXXXX")
  fi
  n=$brokers
  printf '%s\n' "$brokers" >"$dir/brokers"
  printf '%s\n' "$jars" >"$dir/jars"
  cd /
  setsid bash "$here/broker.sh" "$dir" watchdog "$owner" "$born" >/dev/null 2>&1 </dev/null &
  disown $!

  local ports p
  mapfile -t ports < <(reserve_ports $((brokers * 3)))
  ((${#ports[@]} == brokers * 3)) || die "could not reserve ports"
  local adv=()
  [[ -z $advertise ]] || IFS=, read -r -a adv <<<"$advertise"

  log_settings
  [[ -z $tls ]] || certificates
  local i voters='' bootstrap='' internal='' id replicas=$brokers isr=1
  ((brokers == 1)) || isr=2
  for ((i = 1; i <= brokers; i++)); do
    voters+=${voters:+,}$i@127.0.0.1:${ports[brokers * 2 + i - 1]}
    p=${ports[i - 1]}
    bootstrap+=${bootstrap:+,}127.0.0.1:${adv[i - 1]:-$p}
    internal+=${internal:+,}127.0.0.1:${ports[brokers + i - 1]}
  done
  printf '%s\n' "$bootstrap" >"$dir/bootstrap"
  printf '%s\n' "$internal" >"$dir/internal"
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')

  for ((i = 1; i <= brokers; i++)); do
    local b=$dir/broker-$i client=PLAINTEXT
    [[ -z $sasl ]] || client=SASL_PLAINTEXT
    [[ -z $tls ]] || client=${sasl:+SASL_}SSL
    mkdir "$b"
    printf '%s\n' "${ports[i - 1]}" >"$b/port"
    {
      cat <<EOF
process.roles=broker,controller
node.id=$i
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:${ports[i - 1]},INTERNAL://127.0.0.1:${ports[brokers + i - 1]},CONTROLLER://127.0.0.1:${ports[brokers * 2 + i - 1]}
advertised.listeners=CLIENT://127.0.0.1:${adv[i - 1]:-${ports[i - 1]}},INTERNAL://127.0.0.1:${ports[brokers + i - 1]}
listener.security.protocol.map=CLIENT:$client,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
log.dirs=$b/data
auto.create.topics.enable=false
num.partitions=3
default.replication.factor=$replicas
min.insync.replicas=$isr
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$isr
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
num.replica.fetchers=1
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.threads=1
log.segment.bytes=16777216
controlled.shutdown.max.retries=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
EOF
      if [[ -n $sasl ]]; then
        cat <<EOF
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.client.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin" user_agent="agent" user_reader="reader";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
allow.everyone.if.no.acl.found=false
EOF
      fi
      if [[ -n $tls ]]; then
        cat <<EOF
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker-keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
ssl.client.auth=required
EOF
      fi
      ((${#sets[@]} == 0)) || printf '%s\n' "${sets[@]}"
    } >"$b/server.properties"
  done
  local jobs=()
  for ((i = 1; i <= brokers; i++)); do
    jvm kafka.tools.StorageTool format -t "$id" -c "$dir/broker-$i/server.properties" >"$dir/broker-$i/format.log" 2>&1 &
    jobs+=($!)
  done
  for ((i = 1; i <= brokers; i++)); do
    if ! wait "${jobs[i - 1]}"; then
      cat "$dir/broker-$i/format.log" >&2
      quick_end=1 end_all
      die "formatting broker $i failed (above)"
    fi
  done
}

certificates() { # an authority, and a certificate of it for the brokers and for a client
  local t=$dir/tls who
  mkdir "$t"
  {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=sidelog test authority" -keyout "$t/ca.key" -out "$t/ca.pem"
    for who in broker client; do
      openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout "$t/$who.key" -out "$t/$who.csr"
      openssl x509 -req -days 2 -in "$t/$who.csr" -CA "$t/ca.pem" -CAkey "$t/ca.key" -CAcreateserial -out "$t/$who.pem" \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n')
    done
    cat "$t/broker.key" "$t/broker.pem" >"$t/broker-keystore.pem"
  } 2>"$t/log" || { cat "$t/log" >&2; die "openssl could not make the certificates (above)"; }
}

log_settings() { # 4.x logs through log4j 2, 3.9 through reload4j
  cat >"$dir/log4j2.properties" <<'EOF'
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
EOF
  sed 's/= info/= error/' "$dir/log4j2.properties" >"$dir/tools-log4j2.properties"
  cat >"$dir/log4j.properties" <<'EOF'
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n
EOF
  sed 's/=INFO/=ERROR/' "$dir/log4j.properties" >"$dir/tools-log4j.properties"
}

# ---------------------------------------------------------------- commands

up() { # [I]
  local i
  for i in ${1:-$(seq "$n")}; do launch_broker "$i"; done
  for i in ${1:-$(seq "$n")}; do await_broker "$i"; done
}

case ${1:-} in
  '' | -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
  fetch)
    [[ ${2:-} != --kafka ]] || default_kafka=$3
    fetch "$default_kafka"
    exit 0
    ;;
  share)
    [[ ${2:-} != --kafka ]] || default_kafka=$3
    share "$default_kafka"
    exit 0
    ;;
  create | start)
    verb=$1
    shift
    create "$@"
    [[ $verb == create ]] || up
    printf '%s\n' "$dir"
    exit 0
    ;;
esac

dir=$1
verb=${2:-}
shift $(($# > 1 ? 2 : 1))
if [[ ! -r $dir/brokers ]]; then
  [[ $verb == down || $verb == watchdog ]] && exit 0
  die "there is no cluster at $dir"
fi
n=$(<"$dir/brokers")
jars=$(<"$dir/jars")

case $verb in
  watchdog) watchdog "$@" ;;
  bootstrap | internal) cat "$dir/$verb" ;;
  ports) for ((i = 1; i <= n; i++)); do cat "$dir/broker-$i/port"; done ;;
  pid) broker_pid "$1" ;;
  log) printf '%s\n' "$dir/broker-$1/log" ;;
  up) up "$@" ;;
  launch) for i in ${1:-$(seq "$n")}; do launch_broker "$i"; done ;;
  stop) stop_broker "$1" ;;
  kill) kill_broker "$1" ;;
  restart) stop_broker "$1"; up "$1" ;;
  pause) signal STOP "$1" ;;
  continue) signal CONT "$1" ;;
  topic)
    name=$1 partitions=${2:-3}
    shift $(($# > 1 ? 2 : 1))
    args=()
    for c in "$@"; do args+=(--config "$c"); done
    jvm org.apache.kafka.tools.TopicCommand --bootstrap-server "$(<"$dir/internal")" --create --if-not-exists \
      --topic "$name" --partitions "$partitions" "${args[@]}" >/dev/null
    ;;
  topics) jvm org.apache.kafka.tools.TopicCommand --bootstrap-server "$(<"$dir/internal")" "$@" ;;
  configs) jvm kafka.admin.ConfigCommand --bootstrap-server "$(<"$dir/internal")" "$@" ;;
  acls)
    main=kafka.admin.AclCommand
    ! compgen -G "$jars/kafka-tools-4*.jar" >/dev/null || main=org.apache.kafka.tools.AclCommand
    jvm "$main" --bootstrap-server "$(<"$dir/internal")" "$@"
    ;;
  transactions) jvm org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$(<"$dir/internal")" "$@" ;;
  lead)
    plan=$(mktemp "$dir/plan.XXXXXX")
    replicas=$3
    for ((i = 1; i <= n; i++)); do [[ $i == "$3" ]] || replicas+=,$i; done
    printf '{"version":1,"partitions":[{"topic":"%s","partition":%d,"replicas":[%s]}]}\n' "$1" "$2" "$replicas" >"$plan"
    jvm org.apache.kafka.tools.reassign.ReassignPartitionsCommand --bootstrap-server "$(<"$dir/internal")" --execute \
      --reassignment-json-file "$plan" >/dev/null
    jvm org.apache.kafka.tools.LeaderElectionCommand --bootstrap-server "$(<"$dir/internal")" --election-type preferred \
      --topic "$1" --partition "$2" >/dev/null
    rm -f "$plan"
    ;;
  down) quick_end=1 end_all ;;
  *) die "unknown command '$verb' (broker.sh --help)" ;;
esac
