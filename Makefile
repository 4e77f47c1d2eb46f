# One make process, one dependency graph. `make help` lists the targets.
# MODE: release | debug | asan | tsan; each has a build folder of its own. build/tagfleet is the newest build of them.

MODE     ?= release
BUILD    := build/$(MODE)
Q        := $(if $(V),,@)
PKGS     := rdkafka libcurl libcjson libconfig libcrypto libmicrohttpd expat
CPPFLAGS += -D_GNU_SOURCE -I.
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
            -Wwrite-strings -Wformat=2 -Wvla -Wundef -fno-common $(if $(CI),-Werror)
CFLAGS   += -std=gnu17 -g $(WARNINGS)
LDFLAGS  += -Wl,--as-needed
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
CFLAGS_release  := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
CFLAGS_debug    := -O0
CFLAGS_asan     := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS_asan    := -fsanitize=address,undefined
CFLAGS_tsan     := -O1 -fsanitize=thread
LDFLAGS_tsan    := -fsanitize=thread
CFLAGS  += $(CFLAGS_$(MODE))
LDFLAGS += $(LDFLAGS_$(MODE))

SOURCES  := $(sort $(wildcard workers/*.c workers/*/*.c workers/common/*/*.c schemas/*.c producer/*.c producer/*/*.c))
LIBRARY  := $(filter-out workers/main.c,$(SOURCES))
HEADERS  := $(sort $(wildcard workers/*.h workers/*/*.h workers/common/*/*.h schemas/*.h producer/*.h producer/*/*.h tests/support/*.h))
TESTS    := $(sort $(wildcard tests/unit/*_test.c))
FUZZERS  := $(sort $(wildcard tests/fuzz/*_fuzz.c))
SUPPORT  := $(filter-out %/fuzz_replay.c,$(wildcard tests/support/*.c))
obj       = $(patsubst %.c,$(BUILD)/%.o,$1)
TESTBINS := $(TESTS:tests/unit/%.c=$(BUILD)/bin/%)
REPLAYS  := $(FUZZERS:tests/fuzz/%.c=$(BUILD)/bin/%-replay)
TOOLS    := build/tools
PYTEST   := $(TOOLS)/venv/bin/pytest

.DEFAULT_GOAL := all
all: build/tagfleet                     ## build the program: build/tagfleet

build/tagfleet: $(BUILD)/bin/tagfleet
	@cp -f $< $@.new && mv -f $@.new $@

$(BUILD)/libtagfleet.a: $(call obj,$(LIBRARY))
	@rm -f $@; $(AR) rcs $@ $^

$(BUILD)/bin/tagfleet: $(BUILD)/workers/main.o $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The seams of the tests are made at link time, so that the product has no doors for them: the clock of all of them
# (tests/support/moved_clock.h), and files and requests of the one that plays others' recordings.
$(BUILD)/bin/credential_cases_test: WRAPPED = -Wl,--wrap=http_start,--wrap=file_read
$(BUILD)/bin/%_test: $(BUILD)/tests/unit/%_test.o $(call obj,$(SUPPORT)) $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -Wl,--wrap=clock_monotonic_ms,--wrap=clock_wall_ms $(WRAPPED) -o $@ $^ $(LDLIBS) -lcmocka

# The fuzzers of answers are the server themselves.
FUZZED_ANSWERS := s3_answer_fuzz listing_fuzz
$(FUZZED_ANSWERS:%=$(BUILD)/bin/%-replay) $(FUZZED_ANSWERS:%=build/fuzz/bin/%): WRAPPED = -Wl,--wrap=http_start
$(BUILD)/bin/%_fuzz-replay: $(BUILD)/tests/fuzz/%_fuzz.o $(BUILD)/tests/support/fuzz_replay.o $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) $(WRAPPED) -o $@ $^ $(LDLIBS)

# Tables of the tests leave out what does not matter, and hold literals where the product owns its texts.
$(BUILD)/tests/%.o: CFLAGS += -Wno-missing-field-initializers -Wno-unused-parameter -Wno-cast-qual -Wno-write-strings

$(BUILD)/bin/codec_check: $(BUILD)/tests/support/tools/codec_check.o $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# A worker written from worker.h alone; the tests of the engine run it.
$(BUILD)/bin/trial: $(BUILD)/tests/support/tools/trial_main.o $(BUILD)/tests/support/tools/trial_worker.o $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# The yardstick of the benchmarks: librdkafka alone.
$(BUILD)/bin/bare_loop: $(BUILD)/tests/bench/bare_loop.o
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Of the copier: an S3 that does nothing, and ready-signed requests.
$(BUILD)/bin/s3_stub: $(BUILD)/tests/bench/s3_stub.o
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/bin/s3_replay: $(BUILD)/tests/bench/s3_replay.o $(BUILD)/libtagfleet.a
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Of the producer: libmicrohttpd alone, and a crowd that calls it.
$(BUILD)/bin/bare_listener $(BUILD)/bin/hook_load: $(BUILD)/bin/%: $(BUILD)/tests/bench/%.o
	@mkdir -p $(@D); echo "  LD  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D); echo "  CC  $<"
	$(Q)$(CC) $(CPPFLAGS) -MMD -MP $(CFLAGS) -c -o $@ $<

deps:                                   ## install what building needs (Debian packages)
	@tests/support/install.sh build-deps

test-deps:                              ## install what the tests need: packages, Kafka, object stores, Python
	@tests/support/install.sh all

demo:                                   ## the main job from a push to the tenants' buckets, on this machine alone
	@tests/support/install.sh demo-deps
	@$(MAKE) --no-print-directory all
	@tests/support/demo.sh

test: test-deps                         ## everything; the last line is "N passed, N failed"
	@$(MAKE) --no-print-directory all
	@tests/support/run_tests.sh

tests-built: $(TESTBINS) $(REPLAYS)

# As many at once as there are cores; what each prints stays together.
WHOLE := xargs -P$(shell nproc) -I{} sh -c 'log=$$(mktemp); eval "$$0" >"$$log" 2>&1; code=$$?; cat "$$log"; rm -f "$$log"; exit $$code'

unit: $(TESTBINS)                       ## the unit tests alone; MODE=asan|tsan, RUN=wrapper
	@printf '%s\n' $(TESTBINS) | $(WHOLE) '$(RUN) {}'

# The seeds of the fuzzer $n.
SEEDS = $$(ls -d tests/fuzz/corpus/$${n%_fuzz} 2>/dev/null; case $$n in *_message_fuzz) echo schemas/examples;; esac)
replay: $(REPLAYS)                      ## every fuzzer over its corpus
	@for r in $(REPLAYS); do n=$$(basename $$r -replay); $(RUN) $$r $(SEEDS) || exit 1; done

check: unit replay                      ## unit tests and fuzz corpora; MODE=asan|tsan to sanitize

integration: all $(BUILD)/bin/codec_check $(BUILD)/bin/trial ## the tests with real brokers and stores; ARGS=... goes to pytest
	@$(PYTEST) -c tests/integration/pytest.ini $(or $(FILES),tests/integration) $(ARGS)

# BASE: debian:bookworm-slim or debian:trixie-slim. The compose of this machine, whichever it has.
DOCKER  ?= docker
IMAGE   ?= tagfleet:latest
BASE    ?= debian:bookworm-slim
COMPOSE ?= $(shell $(DOCKER) compose version >/dev/null 2>&1 && echo $(DOCKER) compose || echo docker-compose)
image:                                  ## the image of all roles; IMAGE=name:tag BASE=debian:trixie-slim
	@$(DOCKER) build $(if $(V),,-q) -t $(IMAGE) --build-arg BASE=$(BASE) --build-arg CI=$(CI) \
	  --build-arg VERSION=$(lastword $(subst :, ,$(IMAGE))) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) \
	  -f docker/Dockerfile .

up: image                               ## the whole fleet on this machine, in containers; ARGS="--scale copier=4"
	@TAGFLEET_IMAGE=$(IMAGE) $(COMPOSE) -f docker/compose.yaml up -d --no-build $(ARGS)

down:                                   ## ends it and forgets everything
	@TAGFLEET_IMAGE=$(IMAGE) $(COMPOSE) -f docker/compose.yaml --profile commands --profile monitoring down -v

stack-test: all                         ## the image and the stack, from outside, while containers are killed and scaled
	@$(PYTEST) -c tests/integration/pytest.ini tests/integration/stack_test.py $(ARGS)

# The tests that depend most on what libraries do; in build/trixie, all of them: FILES=tests/integration
TRIXIE_FILES := $(addprefix tests/integration/,main_job_test.py promises_test.py engine_test.py producer_test.py commands_test.py)
test-trixie:                            ## unit tests and the main stories with Debian 13's compiler and libraries, in a container
	@tests/support/docker/suite.sh all trixie $(or $(FILES),$(TRIXIE_FILES))

faults: all $(BUILD)/bin/trial            ## the engine while everything around it breaks; ARGS=... goes to pytest
	@$(PYTEST) -c tests/faults/pytest.ini tests/faults $(ARGS)

# The same, for longer. A run is done again by its SEED.
SECONDS ?= 120
SEED    ?= $(shell date +%s)
BROKERS ?= 1
KAFKA   ?= 4.3.1
soak: $(BUILD)/bin/trial                ## SECONDS=n of faults, SEED=s, BROKERS=1|3, KAFKA=4.3.1|3.9.2
	@PYTHONPATH=. TRIAL_BIN=$(BUILD)/bin/trial $(TOOLS)/venv/bin/python tests/faults/bounce.py --seconds $(SECONDS) --seed $(SEED) \
	  --brokers $(BROKERS) --kafka $(KAFKA)

PUSHES   ?= 200
ACCOUNTS ?= 100
soak-fleet: all                         ## the whole fleet under fire; SECONDS=n SEED=s PUSHES=n ACCOUNTS=n
	@$(TOOLS)/venv/bin/python -m tests.faults.fleet_soak --seconds $(SECONDS) --seed $(SEED) --pushes $(PUSHES) \
	  --accounts $(ACCOUNTS)

bench: all $(BUILD)/bin/trial $(BUILD)/bin/bare_loop ## ratios to yardsticks of the same run; ONLY=a,b some of them, SCALE=0.1 smaller
	@$(TOOLS)/venv/bin/python -m tests.bench.bench --only "$(ONLY)" --scale "$(or $(SCALE),1)"

bench-copier: all $(BUILD)/bin/s3_stub $(BUILD)/bin/s3_replay ## copies beside a bare client, rclone, mc and boto3; ONLY=b SCALE=0.1
	@tests/support/install.sh peers
	@$(TOOLS)/venv/bin/python -m tests.bench.copier --only "$(ONLY)" --scale "$(or $(SCALE),1)"

bench-producer: all $(BUILD)/bin/bare_listener $(BUILD)/bin/hook_load ## webhooks beside the bare HTTP library; SCALE=0.1 smaller
	@$(TOOLS)/venv/bin/python -m tests.bench.producer --scale "$(or $(SCALE),1)"

bench-check: all $(addprefix $(BUILD)/bin/,trial bare_loop s3_stub s3_replay bare_listener hook_load)
	@$(PYTEST) -c tests/integration/pytest.ini tests/bench $(ARGS)

# The relay's tests move hundreds of megabytes, which takes minutes here; the address sanitizer sees them.
memcheck:                               ## unit tests under valgrind
	@$(MAKE) --no-print-directory check MODE=debug TESTS='$(filter-out tests/unit/relay_test.c,$(TESTS))' RUN='valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9'

# Objects of their own, instrumented for coverage; a report of any sanitizer ends the run.
FUZZ_SECONDS ?= 60
FUZZ_CFLAGS  := -std=gnu17 -g -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
fuzzobj       = $(patsubst %.c,build/fuzz/%.o,$1)
build/fuzz/%.o: %.c
	@mkdir -p $(@D); echo "  CC  $< (for fuzzing)"
	$(Q)clang $(CPPFLAGS) -MMD -MP $(FUZZ_CFLAGS) -c -o $@ $<
build/fuzz/bin/%: build/fuzz/tests/fuzz/%.o $(call fuzzobj,$(LIBRARY))
	@mkdir -p $(@D)
	$(Q)clang -fsanitize=fuzzer,address,undefined $(WRAPPED) -o $@ $^ $(LDLIBS)

fuzz: $(FUZZERS:tests/fuzz/%.c=build/fuzz/bin/%) ## libFuzzer, FUZZ_SECONDS each
	@printf '%s\n' $^ | $(WHOLE) 'n=$$(basename {}); mkdir -p build/fuzz/corpus/$$n; \
	  {} -max_total_time=$(FUZZ_SECONDS) -close_fd_mask=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$n $(SEEDS) && \
	  echo "fuzzed $$n"'

lint:                                   ## format, analysers, headers alone, layers, options, banned calls
	@tests/support/lint.sh

format:                                 ## rewrite the sources' layout
	@clang-format -i $(SOURCES) $(HEADERS) $(TESTS) $(FUZZERS) $(wildcard tests/support/*.c tests/support/tools/*.c tests/bench/*.c)

clean:                                  ## remove what was built; installed tools stay
	@rm -rf build/trixie build/release build/debug build/asan build/tsan build/fuzz build/log build/soak build/tagfleet

distclean:                              ## remove the build folder with the installed tools
	@rm -rf build

help:
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

.PHONY: all deps test-deps demo image up down stack-test test-trixie test tests-built unit replay check integration faults soak soak-fleet bench bench-copier bench-producer bench-check memcheck fuzz lint format clean distclean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(BUILD) build/fuzz -name '*.d' 2>/dev/null)
