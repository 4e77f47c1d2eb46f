#!/bin/bash
# The main job as a story: one main account, four tenants, a build, a map, a webhook. Nothing leaves this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
tagfleet=$PWD/build/tagfleet
python=$PWD/build/tools/demo-venv/bin/python
folder=$(mktemp -d)
started=()
finish() {
  local code=$?
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ $code = 0 ] || { echo; echo "The demo failed; the fleet's log:"; tail -20 "$folder/fleet.log" 2>/dev/null; }
  rm -rf "$folder"
  exit $code
}
trap finish EXIT

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
show() { # the command as one would type it
  local word
  printf '  $ tagfleet'
  for word in "$@"; do case $word in *" "*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
  echo
}
run() { show "$@"; "$tagfleet" "$@" 2>&1 | sed 's/^/    /'; }
expect() { # CODE ARGUMENTS...: shows the command and insists on its exit code
  local wanted=$1 code=0
  shift
  show "$@"
  "$tagfleet" "$@" >"$folder/output" 2>&1 || code=$?
  sed 's/^/    /' "$folder/output"
  [ "$code" = "$wanted" ] || { echo "    exit code $code, expected $wanted"; exit 1; }
  echo "    (exit code $code)"
}
await() { # SECONDS TEXT FILE
  local i
  for ((i = 0; i < $1 * 10; i++)); do grep -q "$2" "$3" 2>/dev/null && return 0; sleep 0.1; done
  echo "no \"$2\" in $3 within $1 s"
  return 1
}

main=111111111111
unset "${!AWS_@}" "${!TAGFLEET_@}" "${!CODEBUILD_@}"
export AWS_REGION=us-east-1 TAGFLEET_AWS_MAIN_ACCOUNT=$main
repository=acme/app
commit=5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4

bold "1. A stand-in for AWS: S3 and STS of one main account and four tenants (moto)"
"$python" tests/support/demo_aws.py serve "$folder/aws" >"$folder/aws.log" 2>&1 &
started+=($!)
await 30 ready "$folder/aws/ready"
# shellcheck source=/dev/null
. "$folder/aws/environment"
echo "  $AWS_ENDPOINT_URL_S3; main account $main, tenants 222222222222 333333333333 444444444444 555555555555"
echo "  555555555555 has lost its artifact bucket, to see what happens then"

bold "2. The build has left its artifacts in the main account: a zip and a front end"
"$python" tests/support/demo_aws.py build build-1042

bold "3. The fleet: a producer, a resolver and a copier, with a broker inside that keeps nothing"
head -c 24 /dev/urandom | base64 | tr -d '\n' >"$folder/secret"
cat >"$folder/tagfleet.cfg" <<C
aws: { main_account = "$main"; };
producer: { listen = "127.0.0.1:0"; hooks = ( { name = "acme"; provider = "bitbucket"; secret_file = "$folder/secret"; } ); };
copier: { retry_for = "5s"; };
C
"$tagfleet" local --config "$folder/tagfleet.cfg" >"$folder/local" 2>"$folder/fleet.log" &
started+=($!)
await 20 '^broker ' "$folder/local"
sed 's/^/  /' "$folder/local"
TAGFLEET_KAFKA_BROKERS=$(sed -n 's/^broker //p' "$folder/local")
export TAGFLEET_KAFKA_BROKERS
for role in producer resolver copier; do await 30 "role=$role msg=ready" "$folder/fleet.log"; done
port=$(sed -n 's/.*role=producer msg=ready port=\([0-9]*\).*/\1/p' "$folder/fleet.log")

bold "4. Who gets what: the map from deploy tag to accounts"
run map set branch/main 222222222222 --reason "every commit on main goes to the test tenant"
run map set prod 333333333333,444444444444,555555555555 --reason "the paying tenants"

bold "5. CI has built a commit on main and says so: it deploys"
expect 0 emit --repository $repository --ref refs/heads/main --commit $commit --build build-1042
expect 0 wait --repository $repository --ref refs/heads/main --commit $commit --timeout 60s

push() { # TAG: the payload Bitbucket sends when somebody tags the commit
  sed -e "s/@TAG@/$1/g" -e "s/@COMMIT@/$commit/g" tests/support/demo_push.json >"$folder/push.json"
  local signature
  signature=$(openssl dgst -sha256 -hmac "$(cat "$folder/secret")" "$folder/push.json" | sed 's/.* //')
  echo "  \$ curl -X POST http://127.0.0.1:$port/hooks/acme   # repo:push, tag $1"
  curl -sS -o "$folder/answer" -w '    HTTP %{http_code}\n' -X POST "http://127.0.0.1:$port/hooks/acme" \
    -H 'Content-Type: application/json' -H 'X-Event-Key: repo:push' -H "X-Request-UUID: ${2:-$(cat /proc/sys/kernel/random/uuid)}" \
    -H 'X-Attempt-Number: 1' -H "X-Hub-Signature: sha256=$signature" --data-binary "@$folder/push.json"
}

bold "6. Somebody tags that commit v-1.4.0-prod: the very same build is promoted, nothing is rebuilt"
push v-1.4.0-prod 6f1b7a60-1111-4222-8333-444455556666
expect 1 wait --repository $repository --ref refs/tags/v-1.4.0-prod --commit $commit --timeout 60s
echo "  One account failed and says why; the others have the build. A CI job would see exit code 1."

bold "7. What lies in the tenants' buckets now"
"$python" tests/support/demo_aws.py show

bold "8. Tags that deploy nothing, and say so"
push v-1.4.0-stagin
expect 3 wait --repository $repository --ref refs/tags/v-1.4.0-stagin --commit $commit --timeout 60s
push v1.4.0-prod
expect 4 wait --repository $repository --ref refs/tags/v1.4.0-prod --commit $commit --timeout 60s

bold "9. Bitbucket delivers the prod tag a second time: it is the same event, and deploys nothing"
push v-1.4.0-prod 6f1b7a60-1111-4222-8333-444455556666
push v-1.4.1-nobody
"$tagfleet" wait --repository $repository --ref refs/tags/v-1.4.1-nobody --commit $commit --timeout 60s >/dev/null 2>&1 || true
count=$("$tagfleet" status --format json | grep -c '"ref":"refs/tags/v-1.4.0-prod"')
echo "  deployments of v-1.4.0-prod: $count"
[ "$count" = 1 ]

bold "10. The record"
run status
bold "That was the main job. README.md tells how to go on with a real Kafka and real accounts."
