#!/bin/bash
# The images that others publish and that the stack is made of. What is there is used, what can be pulled is pulled. Where no
# image registry can be reached, stand-ins are made under the same names, from Debian's packages and from what
# tests/support/install.sh has installed.
#   images.sh NAME...    debian:bookworm-slim debian:trixie-slim apache/kafka:VERSION motoserver/moto:VERSION
#                        prom/prometheus:VERSION; stack: those that docker/compose.yaml and our own image need
set -euo pipefail
cd "$(dirname "$0")/../../.."
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH DOCKER_BUILDKIT=1
source=tests/support/docker
mkdir -p build/docker

say() { echo "images: $*" >&2; }

# Shaped like the official image: sources with updates and security, no documentation, no package lists.
make_debian() { # NAME
  local suite=${1#debian:} folder log mirror
  suite=${suite%-slim}
  log=build/docker/debootstrap-$suite.log
  command -v debootstrap >/dev/null || tests/support/install.sh docker
  mirror=$(apt-get indextargets --format '$(SITE) $(COMPONENT)' 'Created-By: Packages' 'Label: Debian' | awk '{ print $1; exit }')
  folder=$(mktemp -d build/docker/base.XXXXXX)
  # shellcheck disable=SC2086  # without a mirror of its own debootstrap takes Debian's
  debootstrap --variant=minbase "$suite" "$folder" $mirror >"$log" 2>&1 || { tail -5 "$log" >&2; rm -rf "$folder"; return 1; }
  mirror=$(awk '{ print $2; exit }' "$folder/etc/apt/sources.list")
  printf 'deb %s main\n' "$mirror $suite" "$mirror $suite-updates" "$mirror-security $suite-security" >"$folder/etc/apt/sources.list"
  printf 'path-exclude=/usr/share/%s/*\n' doc man info locale >"$folder/etc/dpkg/dpkg.cfg.d/docker"
  printf '%s;\n' 'Acquire::Languages "none"' 'Acquire::GzipIndexes "true"' 'Dir::Cache::pkgcache ""' 'Dir::Cache::srcpkgcache ""' \
    'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; }' >"$folder/etc/apt/apt.conf.d/docker-clean"
  printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
  chmod 755 "$folder/usr/sbin/policy-rc.d"
  (cd "$folder" && rm -rf var/cache/apt/*.bin var/cache/apt/archives/*.deb var/lib/apt/lists/* var/log/* dev/* \
    usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/*)
  tar -C "$folder" --numeric-owner -c . | docker import -c 'CMD ["bash"]' - "$1" >/dev/null
  rm -rf "$folder"
}

make_kafka() { # NAME
  local version=${1#*:}
  [ -d "build/tools/kafka-$version" ] || tests/support/install.sh kafka
  image debian:bookworm-slim
  tar -ch -C "$source/kafka" . -C "$PWD/build/tools" --transform "s,^kafka-$version,libs," "kafka-$version" |
    docker build -q -t "$1" - >/dev/null
}

make_moto() { # NAME
  [ -d build/tools/demo-venv ] || tests/support/install.sh demo-deps
  image debian:bookworm-slim
  tar -ch -C "$source/moto" . -C "$PWD/build/tools/demo-venv/lib/python3.11" site-packages | docker build -q -t "$1" - >/dev/null
}

make_prometheus() { # NAME
  image debian:bookworm-slim
  docker build -q -t "$1" "$source/prometheus" >/dev/null
}

image() { # NAME
  docker image inspect "$1" >/dev/null 2>&1 && return 0
  timeout 300 docker pull -q "$1" >/dev/null 2>&1 && return 0
  say "$1 cannot be pulled: making a stand-in"
  case $1 in
  debian:*) make_debian "$1" ;;
  apache/kafka:*) make_kafka "$1" ;;
  motoserver/moto:*) make_moto "$1" ;;
  prom/prometheus:*) make_prometheus "$1" ;;
  *) say "there is no stand-in for $1"; return 1 ;;
  esac
}

exec 9>build/docker/.images.lock
flock 9
for name in "$@"; do
  if [ "$name" = stack ]; then
    image debian:bookworm-slim
    for other in $(grep -oE '(apache/kafka|motoserver/moto|prom/prometheus):[v0-9.]+' docker/compose.yaml | sort -u); do image "$other"; done
  else
    image "$name"
  fi
done
