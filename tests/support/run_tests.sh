#!/bin/bash
# Everything that can be tested on one machine, stage by stage; what each stage printed is kept in build/log/. The last line
# is the sum: "N passed, N failed", with ", N skipped" where a test has said why it was skipped.
#   run_tests.sh                     all stages
#   run_tests.sh unit integration    some
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
unset "${!AWS_@}" "${!TAGFLEET_@}" "${!CODEBUILD_@}"
log_folder=build/log
mkdir -p "$log_folder"
jobs=$(nproc)
passed=0 failed=0 skipped=0
failures=()
stages=("$@")
[ $# -gt 0 ] || stages=(lint unit replay asan guarded tsan stack memcheck fuzz trixie hosts integration engine roles copies integration_asan faults bench demo)
fuzz_seconds=${FUZZ_SECONDS:-3}

build() { make --no-print-directory -s -j"$jobs" CI=1 "$@"; }

run_lint() { tests/support/lint.sh; }
run_unit() { build MODE=release tests-built && build MODE=release unit; }
run_replay() { build MODE=release replay; }
run_asan() { build MODE=asan tests-built && build MODE=asan check; }
run_tsan() { build MODE=tsan tests-built && build MODE=tsan check; }
run_memcheck() { build MODE=debug tests-built && build memcheck; }
run_fuzz() { build fuzz FUZZ_SECONDS="$fuzz_seconds"; }
# The engine's own tests wait for sessions to end most of the time: they run beside the others.
engine_tests=(tests/integration/engine_test.py tests/integration/zombie_test.py)
# Whole builds into every store, and what disturbs them: these wait for stores and brokers, so they run beside stages that
# compute.
copies_tests=(tests/integration/stores_test.py tests/integration/transfer_test.py tests/integration/isolation_test.py)
# What git hosts say and are asked, and what strangers try: these wait for time-outs and second looks.
hosts_tests=(tests/integration/front_door_test.py tests/integration/poll_test.py tests/integration/status_test.py
  tests/integration/real_host_test.py)
# Ways into guarded brokers, rights one by one, and what an older version has left: these wait for refusals.
guarded_tests=(tests/integration/security_test.py tests/integration/acl_test.py tests/integration/upgrade_test.py)
run_guarded() { build integration FILES="${guarded_tests[*]}" ARGS="-q --durations=8"; }
# The image and the stack of docker/, and the unit tests with the next Debian's compiler and libraries.
stack_tests=(tests/integration/stack_test.py tests/integration/next_debian_test.py)
run_stack() { build integration FILES="${stack_tests[0]}" ARGS="-q --durations=4"; }
run_trixie() {
  tests/support/docker/engine.sh up || { echo "skipped: trixie: no Docker engine can be started here"; return; }
  tests/support/docker/suite.sh unit trixie && build integration FILES="${stack_tests[1]}" ARGS=-q
}
# Each role and command by itself: what it does, tells, and how it begins and ends.
roles_tests=(tests/integration/copier_test.py tests/integration/producer_test.py tests/integration/commands_test.py
  tests/integration/lifecycle_test.py tests/integration/metrics_test.py)
run_roles() { build integration FILES="${roles_tests[*]}" ARGS="-q --durations=8"; }
# All the rest.
run_integration() {
  local others=("${engine_tests[@]}" "${copies_tests[@]}" "${hosts_tests[@]}" "${guarded_tests[@]}" "${roles_tests[@]}" "${stack_tests[@]}")
  build integration ARGS="-q --durations=8 ${others[*]/#/--ignore=}"
}
run_hosts() { build integration FILES="${hosts_tests[*]}" ARGS="-q --durations=8"; }
run_copies() { build integration FILES="${copies_tests[*]}" ARGS="-q --durations=8"; }
run_engine() { build integration FILES="${engine_tests[*]}" ARGS="-q --durations=4"; }
# The fleet's own processes under the address sanitizer, in the main job and where it is killed.
run_integration_asan() {
  build MODE=asan build/asan/bin/tagfleet &&
    LSAN_OPTIONS=suppressions=$PWD/tests/support/leaks.txt:print_suppressions=0 \
      TAGFLEET_BIN=$PWD/build/asan/bin/tagfleet build integration ARGS="-q -k '(main_job and 4.3.1 and moto) or (killed and 4.3.1) or (transfer_test and (middle or once)) or (front_door and (hostile or crowd or spool))'"
}
run_faults() { build faults ARGS="-q --durations=4"; }
# The benchmarks in small, so that they cannot rot; make bench measures.
run_bench() { build bench-check ARGS=-q; }
run_demo() { tests/support/demo.sh; }

# The numbers of a log, whichever runner wrote it: "passed failed skipped".
count_pytest() {
  awk '
    / passed| failed| error| skipped/ && / in [0-9.]+s/ {
      for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p = $(i-1); if ($i ~ /^(failed|error)/) f += $(i-1); if ($i ~ /^skipped/) s = $(i-1) }
    } END { gsub(/[^0-9]/, "", p); print p+0, f+0, s+0 }' "$1"
}
count_cmocka() {
  awk '
    /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
    /^\[  FAILED  \] .*[0-9]+ test\(s\)/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+$/) { f += $i; break } }
    /^\[  SKIPPED \] [0-9]+ test/ { s += $4 }
    / [0-9]+ inputs$/ { p++ } /^fuzzed / { p++ } /^skipped: trixie/ { s++ }
    END { print p+0, f+0, s+0 }' "$1"
}
count() { # STAGE LOG
  case $1 in
  lint) awk '/^  ok /{ p++ } /^  FAIL /{ f++ } END { print p+0, f+0, 0 }' "$2" ;;
  integration* | engine | roles | copies | hosts | guarded | stack | faults | bench) count_pytest "$2" ;;
  trixie) { count_cmocka "$2" && count_pytest "$2"; } | awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }' ;;
  demo) grep -q '^That was the main job' "$2" && echo 1 0 0 || echo 0 1 0 ;;
  *) count_cmocka "$2" ;;
  esac
}

declare -A running began
declare -A beside=([lint]=copies [asan]=guarded [tsan]=stack [memcheck]=hosts [trixie]=roles [integration]=engine [integration_asan]=faults)
start() { # STAGE
  began[$1]=$SECONDS
  "run_$1" >"$log_folder/$1.log" 2>&1 </dev/null &
  running[$1]=$!
}

# Images take a minute to make, most of it waiting for packages.
if [[ " ${stages[*]} " =~ \ (stack|trixie)\  ]]; then
  mkdir -p build/docker
  exec 7>build/docker/.users
  flock -s 7
  { tests/support/docker/engine.sh up && tests/support/docker/images.sh stack debian:trixie-slim; } >"$log_folder/images.log" 2>&1 </dev/null &
  images=$!
  trap 'kill $images 2>/dev/null; wait; exec 7>&-; tests/support/docker/engine.sh down' EXIT
fi

for stage in "${stages[@]}"; do
  log=$log_folder/$stage.log
  other=${beside[$stage]:-}
  if [ -n "$other" ] && [[ " ${stages[*]} " == *" $other "* ]]; then
    # What both need is built before; they share no server.
    build all build/release/bin/trial build/release/bin/codec_check && start "$other"
  fi
  [ -n "${running[$stage]:-}" ] || start "$stage"
  code=0
  wait "${running[$stage]}" || code=$?
  read -r p f s <<<"$(count "$stage" "$log")"
  # A stage that ended badly without a test that says so is a failure all the same; so is one that tested nothing, unless it
  # needs an engine that there cannot be.
  tested=$((p + f))
  case $stage in stack | trixie) tested=$((tested + s)) ;; esac
  if { [ "$code" != 0 ] && [ "$f" = 0 ]; } || [ $tested = 0 ]; then f=$((f + 1)); fi
  printf '%-18s %4d passed %3d failed %3d skipped   %4d s\n' "$stage" "$p" "$f" "$s" $((SECONDS - began[$stage]))
  case $stage in unit | integration | engine | roles | copies | hosts | guarded | stack | trixie) grep -h '^skipped: ' "$log" | sort -u | sed 's/^/    /' ;; esac
  [ "$f" = 0 ] || { echo "    the end of $log:"; tail -60 "$log" | sed 's/^/    | /'; failures+=("$log"); }
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

# Who sees the last lines alone learns what failed, too.
for log in "${failures[@]}"; do
  echo "failed in $log:"
  grep -hE '^(E   |FAILED |ERROR |  FAIL |\[ +(ERROR|FAILED|LINE) )|Sanitizer|^make.*Error' "$log" | cut -c -300 | tail -12 | sed 's/^/    /'
done

summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ]
