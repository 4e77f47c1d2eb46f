#!/bin/bash
# A Docker engine for the tests, on machines that may have none.
#   up    one that answers is used as it is; else it is installed (Debian's packages, root only) and started
#   down  stops the one that `up` has started, and nobody else's, unless others use it still: whoever does holds a shared
#         lock of build/docker/.users
set -euo pipefail
cd "$(dirname "$0")/../../.."
# A machine may have a client of another place, without an engine, in front of Debian's own.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
folder=$PWD/build/docker
pid_file=$folder/engine.pid
start_seconds=60
mkdir -p "$folder"
exec 9>"$folder/.engine.lock"
flock 9

say() { echo "engine: $*" >&2; }
answers() { timeout 60 docker info >/dev/null 2>&1; }

install() {
  type -P dockerd docker-compose iptables >/dev/null && return 0
  [ "$(id -u)" = 0 ] || { say "no Docker engine answers, and only root can install and start one"; exit 1; }
  tests/support/install.sh docker 9>&-
}

start() {
  say "starting dockerd; its log is build/docker/engine.log"
  setsid dockerd --pidfile "$folder/dockerd.pid" >>"$folder/engine.log" 2>&1 </dev/null 7>&- 9>&- &
  echo $! >"$pid_file"
  local deadline=$((SECONDS + start_seconds))
  until answers; do
    if ! kill -0 "$(cat "$pid_file")" 2>/dev/null || [ $SECONDS -gt $deadline ]; then
      tail -5 "$folder/engine.log" >&2
      say "no Docker engine answers, and dockerd does not start here: build/docker/engine.log"
      stop
      exit 1
    fi
    sleep 0.2
  done
}

stop() {
  local pid i
  pid=$(cat "$pid_file" 2>/dev/null) || return 0
  rm -f "$pid_file"
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
  kill "$pid"
  for ((i = 0; i < 200; i++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

case ${1:-} in
up)
  answers && exit 0
  install
  start
  ;;
down)
  exec 8>"$folder/.users"
  flock -n 8 || { say "others use the engine still"; exit 0; }
  stop
  ;;
*) echo "usage: engine.sh up | down" >&2; exit 2 ;;
esac
