#!/usr/bin/env bash
# Makes sure that everything is there to build sidelog and to run its tests and demo; installs what is missing.
#
#   tests/setup.sh [--no-broker | --packages]
#   tests/setup.sh --validators
#
# Installs with apt-get, as root or through sudo, and says what. Where everything is there it prints nothing, so it
# also serves on systems without apt. --no-broker leaves out what only the Kafka broker needs, --packages only Kafka itself.
#
# --validators: instead, programs and Python packages by which others judge what sidelog writes (Graphviz, a browser, the
# CloudEvents SDK ...). The tests that use them are skipped without, so this says what cannot be had, and never fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
broker=1
[[ ${1:-} != --no-broker ]] || broker=
kafka=$broker
[[ ${1:-} != --packages ]] || kafka=

has() { command -v "$1" >/dev/null 2>&1; }
lib() { has pkg-config && pkg-config --exists "$1"; }
java17() { has java && [[ $(java -XX:-UsePerfData -version 2>&1 | sed -n 's/^[^"]*version "\([0-9]*\).*/\1/p') -ge 17 ]]; }

# What the tests import (tests/lib/rig.py), beside whatever the machine has.
validators() {
  local missing=() as_root=() log packages
  log=$(mktemp)
  packages=${XDG_CACHE_HOME:-$HOME/.cache}/sidelog/python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  has dot || missing+=(graphviz)
  has less || missing+=(less)
  has mandoc || missing+=(mandoc)
  has zsh || missing+=(zsh)
  has fish || missing+=(fish)
  has chromium || has chromium-browser || has google-chrome || missing+=(chromium)
  python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
  ((EUID == 0)) || as_root=(sudo -n)
  if ((${#missing[@]})) && ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    printf 'these Debian packages cannot be had here, their tests are skipped: %s\n' "${missing[*]}"
  fi
  if ! PYTHONPATH=$packages python3 -c 'import cloudevents, jsonschema, opentelemetry.proto.trace.v1.trace_pb2' 2>/dev/null; then
    rm -rf "$packages.new"
    if python3 -m pip install --quiet --disable-pip-version-check --no-input --retries 1 --timeout 15 --target "$packages.new" \
      cloudevents jsonschema opentelemetry-proto >"$log" 2>&1 </dev/null; then
      rm -rf "$packages"
      mv "$packages.new" "$packages"
    else
      printf 'pip cannot get cloudevents, jsonschema and opentelemetry-proto here, their tests are skipped\n'
    fi
  fi
  rm -rf "$log" "$packages.new"
  # Mermaid's own parser, which runs in the browser; only where there is an npm, which is large.
  local mermaid=${XDG_CACHE_HOME:-$HOME/.cache}/sidelog/mermaid.min.js folder
  if [[ ! -e $mermaid ]] && has npm; then
    folder=$(mktemp -d)
    if (cd "$folder" && timeout 60 npm pack --silent mermaid@11 && tar xzf mermaid-*.tgz package/dist/mermaid.min.js) \
      >/dev/null 2>&1 </dev/null; then
      mv "$folder/package/dist/mermaid.min.js" "$mermaid"
    else
      printf 'npm cannot get mermaid here, its test is skipped\n'
    fi
    rm -rf "$folder"
  fi
}
if [[ ${1:-} == --validators ]]; then
  validators
  exit 0
fi

missing=()
need() { # PACKAGE CHECK...
  local package=$1
  shift
  "$@" || missing+=("$package")
}

need gcc has cc
need g++ has c++ # the public headers are compiled as C++ too
need libc6-dev test -e /usr/include/stdio.h -o "$(uname -s)" != Linux
need meson has meson
need ninja-build has ninja
need pkg-config has pkg-config
need liblmdb-dev lib lmdb
need librdkafka-dev lib rdkafka
need libuv1-dev lib libuv
need liblz4-dev lib liblz4
need libzstd-dev lib libzstd
need zlib1g-dev lib zlib
need libmsgpack-dev lib msgpack
need libxxhash-dev lib libxxhash
need libyajl-dev lib yajl
need libyaml-dev lib yaml-0.1
need libcurl4-openssl-dev lib libcurl
need libcmocka-dev lib cmocka
need python3 has python3
if [[ -n $broker ]]; then
  need openjdk-17-jre-headless java17
  need maven has mvn
  need procps has pgrep
  need util-linux has setpriv
fi

if ((${#missing[@]})); then
  if ! has apt-get; then
    printf 'sidelog needs these Debian packages or their like, and there is no apt-get here: %s\n' "${missing[*]}" >&2
    exit 2
  fi
  as_root=()
  if ((EUID != 0)); then
    if ! has sudo; then
      printf 'not root, and no sudo; as root run: apt-get install %s\n' "${missing[*]}" >&2
      exit 2
    fi
    as_root=(sudo)
  fi
  printf 'installing Debian packages: %s\n' "${missing[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    printf 'apt-get could not install them (above)\n' >&2
    exit 2
  fi
fi

if [[ -n $kafka ]]; then
  version=${SIDELOG_KAFKA:-4.1.0}
  [[ -e ${XDG_CACHE_HOME:-$HOME/.cache}/sidelog/kafka-$version/complete ]] ||
    printf 'fetching Apache Kafka %s with Maven (about 50 MB, once)\n' "$version"
  "$here/kafka/broker.sh" fetch --kafka "$version" >/dev/null
fi
