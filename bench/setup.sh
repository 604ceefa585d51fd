#!/usr/bin/env bash
# Installs what the benchmark measures sidelog beside, and what it takes to build sidelog. Peers that cannot be had
# are left out of the tables; everything else is needed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

"$here/../tests/setup.sh" "$@"
missing=()
pkg-config --exists sqlite3 || missing+=(libsqlite3-dev)
pkg-config --exists rocksdb || missing+=(librocksdb-dev)
((${#missing[@]})) || exit 0
as_root=()
((EUID == 0)) || as_root=(sudo)
printf 'installing Debian packages: %s\n' "${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
  tail -n 3 "$log" >&2
  printf 'could not install %s: left out\n' "${missing[*]}" >&2
fi
