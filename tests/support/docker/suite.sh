#!/bin/bash
# Builds and tests this checkout on another Debian, with its compiler and its libraries, in a container.
#   suite.sh unit SUITE           warnings are errors, unit tests
#   suite.sh all SUITE TESTS...   and with a Python of that Debian, these tests of tests/integration
# What is built is kept in build/SUITE/. With PIP_CERT, pip's own variable, Python packages come through that CA.
set -euo pipefail
cd "$(dirname "$0")/../../.."
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
what=${1:?unit or all} suite=${2:?a Debian suite}
shift 2
image=tagfleet-$what-tests:$suite
build=$PWD/build/$suite
mkdir -p build/docker "$build/log" "$build/tools" "$build/venv"

exec 7>build/docker/.users
flock -s 7
trap 'exec 7>&-; tests/support/docker/engine.sh down' EXIT
tests/support/docker/engine.sh up
tests/support/docker/images.sh "debian:$suite-slim"
docker build -q -t "$image" --target "$what" --build-arg "BASE=debian:$suite-slim" tests/support/docker/suite >/dev/null

within() {
  docker run --rm --init --network host -v "$PWD:/tagfleet:ro" -v "$build:/tagfleet/build" "${mounts[@]}" "$image" "$@"
}

mounts=()
within make -s -j"$(nproc)" CI=1 all tests-built
within make -s unit CI=1
[ "$what" = all ] || exit 0

mounts=(-v "$(readlink -f build/tools):/tagfleet/build/tools:ro" -v "$build/venv:/tagfleet/build/tools/venv")
[ -z "${PIP_CERT:-}" ] || mounts+=(-v "$PIP_CERT:/run/pip-ca.crt:ro" -e PIP_CERT=/run/pip-ca.crt)
within bash -c 'cmp -s tests/support/requirements.txt build/tools/venv/requirements.txt || { python3 -m venv --clear build/tools/venv &&
  build/tools/venv/bin/pip install -q --disable-pip-version-check -r tests/support/requirements.txt &&
  cp tests/support/requirements.txt build/tools/venv; }'
within make -s -j"$(nproc)" integration CI=1 FILES="$*" ARGS="-q --durations=5"
