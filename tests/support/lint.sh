#!/bin/bash
# Rules that a tool can hold. Each check prints its name and what it found; the exit status is the number that failed.
#   lint.sh            all of them        lint.sh layers options ...    some
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
jobs=$(nproc)
# The tests and fuzzers are held to the format and the banned calls, too; the analysers read the product.
product=$(git ls-files --cached --others --exclude-standard -- 'workers/*.c' 'schemas/*.c' 'producer/*.c')
headers=$(git ls-files --cached --others --exclude-standard -- 'workers/*.h' 'schemas/*.h' 'producer/*.h')
tests=$(git ls-files --cached --others --exclude-standard -- 'tests/*.c' 'tests/*.h')
flags="-std=gnu17 -D_GNU_SOURCE -I."
checks=("$@")
[ $# -gt 0 ] || checks=(format headers layers includes banned options docs shell python gcc cppcheck tidy)

format() {
  clang-format --dry-run -Werror $product $headers $tests 2>&1 | grep -E 'error:' | sed 's/ error: code should.*//'
}

# Every header can be included first and alone.
headers() {
  echo "$headers" | xargs -P"$jobs" -I{} sh -c \
    'printf "#include \"%s\"\n" "$1" | gcc '"$flags"' -Wall -Wextra -Werror -fsyntax-only -x c - 2>&1 | head -3' sh {}
}

# The rooms, lowest first; a room may use those before it and itself. Inside workers/common the same.
layers() {
  awk -F'"' '
    function room(path) {
      if (path ~ /^workers\/common\//) { split(path, part, "/"); return part[3] }
      if (path ~ /^schemas\//) return "schemas"
      if (path ~ /^producer\//) return "producer"
      if (path ~ /^workers\/[a-z]+\//) { split(path, part, "/"); return part[2] }
      return "top"
    }
    BEGIN {
      level["base"] = 1; level["http"] = 2; level["kafka"] = 2; level["aws"] = 3; level["engine"] = 3
      level["schemas"] = 4
      level["producer"] = level["resolver"] = level["copier"] = level["recorder"] = 5
      level["top"] = 6
    }
    /^#include "/ {
      from = room(FILENAME); to = room($2)
      if (!(from in level) || !(to in level)) { print FILENAME ":" FNR ": a room that the layers do not know"; next }
      # What is written to Kafka is an output, so the messages know the record; they know nothing else of the fleet.
      if (from != to && level[to] >= level[from]) print FILENAME ":" FNR ": " from " must not know " to " (" $2 ")"
      if (from == "schemas" && level[to] > 1 && $2 != "workers/common/kafka/record.h" && to != "schemas")
        print FILENAME ":" FNR ": messages must not know " $2
    }' $product $headers
}

# A library that we wrap is included in one place.
includes() {
  only() { # PATTERN ALLOWED-FILES-PATTERN
    grep -nE "#include <$1" $product $headers | grep -vE "^($2):" | sed "s#\$#  (allowed only in $2)#"
  }
  only 'librdkafka/' 'workers/common/kafka/[a-z_]+\.[ch]'
  only 'curl/' 'workers/common/http/http\.c'
  only 'microhttpd' 'workers/common/http/listener\.c'
  only 'libconfig' 'workers/common/base/options\.c'
  only 'expat' 'workers/common/aws/xml\.c'
  only 'sqlite3' 'workers/recorder/[a-z_]+\.c'
  # Keys come as JSON, too, and aws/ lies below the messages.
  only 'cjson/' 'schemas/json\.h|workers/common/aws/key_document\.c'
  # cJSON is for codecs: the messages, and one file per git host.
  grep -nE '#include "schemas/json\.h"' $product $headers | grep -vE '^(schemas/|producer/((map|hosts/[a-z_]+|api/[a-z_]+)\.c|(hosts/push|api/entries)\.h))'
}

# Unbounded, locale-bound or shell-bound; and allocation that may return NULL, outside of error.c which ends it.
banned() {
  grep -nE '\b(gets|strcpy|strcat|stpcpy|sprintf|vsprintf|strtok|strncpy|strncat|sscanf|scanf|atoi|atol|atoll|atof|alloca|system|popen|tmpnam|mktemp|gethostbyname|asctime|ctime|localtime|gmtime|rand|srand|setlocale)\(' \
    $product $headers $tests
  grep -nE '\b(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf)\(' $product $headers |
    grep -v '^workers/common/base/error\.c:'
}

# Every option of the tables stands in config/tagfleet.cfg, and everything there, also what is commented out, is one.
options() {
  local name block uncommented
  build/tagfleet config check --help | awk '/^Options:/ { on = 1; next } on && /^  [a-z]/ { print $1 }' | while read -r name; do
    block=$(sed -n "/^${name%%.*}\b/,/^[)}];/p" config/tagfleet.cfg)
    grep -qE "(^|[ ({])${name##*.} = " <<<"$block" || echo "not in config/tagfleet.cfg: $name"
  done
  { build/tagfleet config check --config config/tagfleet.cfg >/dev/null; } 2>&1
  uncommented=$(mktemp)
  sed -E 's/^( *)# ( *([a-z0-9_]+ = .*;|[{}]))$/\1\2/' config/tagfleet.cfg >"$uncommented"
  { build/tagfleet config check --config "$uncommented" --set kafka.security=sasl_tls >/dev/null; } 2>&1 |
    grep -vE 'secret|^(kafka|producer)\.[a-z_]+: .* cannot be read' | sed "s|^$uncommented|config/tagfleet.cfg, uncommented|"
  rm -f "$uncommented"
}

# The README names what exists.
docs() {
  local target path command
  grep -oE '`make [a-z-]+' README.md | awk '{ print $2 }' | sort -u | while read -r target; do
    grep -qE "^$target:" Makefile || echo "README.md: there is no target \"make $target\""
  done
  grep -oE '`(workers|schemas|producer|tests|config|docker)/[A-Za-z0-9_./-]*`' README.md | tr -d '`' | sort -u | while read -r path; do
    [ -e "$path" ] || echo "README.md: there is no $path"
  done
  grep -oE '`tagfleet [a-z]+( [a-z]+)?' README.md | sed 's/`tagfleet //' | sort -u | while read -r command; do
    build/tagfleet $command --help >/dev/null 2>&1 || build/tagfleet ${command%% *} --help >/dev/null 2>&1 ||
      echo "README.md: there is no command \"tagfleet $command\""
  done
}

shell() { git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run | xargs shellcheck -x -S warning 2>&1; }

python() { git ls-files --cached --others --exclude-standard -- '*.py' | xargs build/tools/venv/bin/python -m pyflakes 2>&1; }

gcc_analyzer() {
  echo "$product" | xargs -P"$jobs" -I{} sh -c \
    'gcc '"$flags"' -O1 -fanalyzer -Wall -Wextra -c -o /dev/null "$1" 2>&1 | grep -E "warning:|error:"' sh {}
}

cppcheck_all() {
  cppcheck --std=c11 --enable=warning,performance,portability --inline-suppr --quiet -j"$jobs" -I. -D_GNU_SOURCE \
    --suppress=missingIncludeSystem --suppressions-list=tests/support/cppcheck.txt workers schemas producer 2>&1 | grep -E '^[a-z].*: (error|warning|performance|portability):'
}

tidy() {
  echo "$product" | xargs -P"$jobs" -n4 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' 2>/dev/null' sh | grep -E 'error:|warning:' |
    sort -u | sed "s|$PWD/\(./\)*||"
}

failed=0
for check in "${checks[@]}"; do
  run=$check
  [ "$check" = gcc ] && run=gcc_analyzer
  [ "$check" = cppcheck ] && run=cppcheck_all
  found=$($run)
  if [ -z "$found" ]; then
    echo "  ok    $check"
  else
    echo "  FAIL  $check"
    echo "$found" | head -40 | sed 's/^/        /'
    failed=$((failed + 1))
  fi
done
[ $failed = 0 ] || echo "lint: $failed of the checks failed"
exit $failed
