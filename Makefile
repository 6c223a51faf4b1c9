# `make` lists the targets. `make test` is what CI runs.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

# Tools, pinned. `go run` builds each once and keeps it in Go's build cache, so
# that nothing is installed and nothing enters go.mod.
GOFUMPT     := go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRCHECK    := go run github.com/kisielk/errcheck@v1.30.0
GOSEC       := go run github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := go run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# What may be set from outside, as in `make kill-test KILLS=1000`: how long
# `make fuzz` tries each target and how many inputs it keeps, how often the
# end-to-end tests kill the server and how often they break what it stands on, how
# many receivers of webhooks never answer there, how many histories of answers are
# recorded there and which kept one is judged again, which benchmarks run, and what
# follows `payoutd sandbox` or `payoutd bench`;
# for `make soak` how long the load lasts in all, its rate (0.7 of the maximum that
# it measures), the mean time between faults, how long this run lasts at most, what
# is archived how often, such as '20m 5m', and the folder of it all;
# for `make flat` how many rounds of how many payouts;
# for `make goals` how long each load lasts, which goals, and how much history.
FUZZ_SECONDS ?= 30
FUZZ_KEEP    ?= 0
KILLS        ?= 50
DRILLS       ?= 1
HANGING      ?= 300
HISTORIES    ?= 6
HISTORY      ?=
BENCH        ?= .
ARGS         ?=
SECONDS_EACH ?= 10
GOAL         ?=
PRELOAD      ?= 500000
ROUNDS       ?= 10
PAYOUTS      ?= 100000
SOAK         ?= 2h
SOAK_RATE    ?=
SOAK_FAULT   ?= 5m
SOAK_LEG     ?=
SOAK_ARCHIVE ?=
SOAK_DIR     ?= $(CURDIR)/build/soak
# Histories that `make simulate` plays.
SEEDS        ?= 1-300

# What gosec need not say: that a file or a command is named by a variable (G304,
# G204). The operator names them, by flags; that no request does is watched by
# G702 and G703, which follow what comes from outside. Other exceptions stand
# beside the code, each with its reason. Suites of tests are tests.
GOSEC_FLAGS := -quiet -exclude=G204,G304 -exclude-dir=internal/store/storetest -exclude-dir=internal/store/postgres/pgtest -exclude-dir=rail/railtest

# With cgo, names of hosts and users are looked up by Go all the same.
OPENSSL_TAGS := openssl,netgo,osusergo

started := $(shell date +%s)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the one binary, bin/payoutd
	CGO_ENABLED=0 go build -trimpath -o bin/payoutd ./cmd/payoutd

.PHONY: build-openssl
build-openssl: ## Build bin/payoutd-openssl, which signs RSA three times faster; needs gcc and libssl-dev
	CGO_ENABLED=1 go build -trimpath -tags $(OPENSSL_TAGS) -o bin/payoutd-openssl ./cmd/payoutd

.PHONY: reproducible
reproducible: ## Build the last commit twice, in two folders, and want the same bytes
	@scripts/reproducible.sh

.PHONY: run
run: build ## Run the sandbox; ARGS='--listen 127.0.0.1:9000' for other settings
	exec bin/payoutd sandbox $(ARGS)

.PHONY: test
test: ## All that CI runs: check, race tests, short fuzzing, end-to-end and kill tests
	@scripts/needs.sh
	@$(MAKE) check
	@$(MAKE) race
	@$(MAKE) openssl
	@$(MAKE) simulate
	@$(MAKE) sabotage
	@echo '== fuzz targets, 30 s each'
	@scripts/fuzz.sh 30
	@$(MAKE) e2e
	@echo "== make test passed in $$(($$(date +%s) - $(started))) s"

.PHONY: check
check: ## Format, go.mod, vet, staticcheck, errcheck, gosec, import direction, known vulnerabilities
	@echo '== gofumpt'
	@loose=$$($(GOFUMPT) -l .); if [ -n "$$loose" ]; then printf 'run make fmt for:\n%s\n' "$$loose"; exit 1; fi
	@echo '== go mod tidy'
	@go mod tidy -diff
	@echo '== go vet'
	@go vet ./...
	@echo '== staticcheck'
	@$(STATICCHECK) ./...
	@echo '== errcheck'
	@$(ERRCHECK) -ignoretests -exclude .errcheck ./...
	@echo '== gosec'
	@$(GOSEC) $(GOSEC_FLAGS) ./...
	@echo '== import direction and source rules'
	@go test ./internal/arch
	@echo '== govulncheck'
	@scripts/vulnerable.sh $(GOVULNCHECK)

.PHONY: fmt
fmt: ## Format the source
	$(GOFUMPT) -w .

.PHONY: race
race: ## Every test but the end-to-end ones, with the race detector
	@echo '== race tests'
	@PAYOUTD_TEST_HSM=1 go test -race -timeout 60m $$(go list ./... | grep -v '/e2e\b')

.PHONY: simulate
simulate: ## Play whole histories in a simulated world, SEEDS=1-300; prints the shortest that breaks an invariant
	@echo '== simulated histories, seeds $(SEEDS)'
	@SEEDS=$(SEEDS) go test -count=1 -timeout 0 -v -run TestSeeds ./internal/simulation | { grep -v -E '^ *(=== |--- PASS|PASS)' || true; }

.PHONY: sabotage
sabotage: ## Put faults into the engine on purpose and want the simulation to find each
	@echo '== sabotage'
	@go vet -tags sabotage ./internal/payout ./internal/simulation
	@go test -tags sabotage -count=1 -timeout 60m -run TestSabotage ./internal/simulation

.PHONY: openssl
openssl: ## Tests of the build that signs with OpenSSL, and the build itself
	@echo '== signing with OpenSSL'
	@go vet -tags $(OPENSSL_TAGS) ./sign
	@go test -race -tags $(OPENSSL_TAGS) ./sign
	@$(MAKE) build-openssl
	@bin/payoutd-openssl version | grep -q OpenSSL

.PHONY: fuzz
fuzz: ## Fuzz each target for FUZZ_SECONDS=30; FUZZ_KEEP=12 keeps so many of the inputs found
	@FUZZ_KEEP=$(FUZZ_KEEP) scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: e2e
e2e: ## End-to-end scripts and kill tests against the built binary, KILLS=50
	@echo '== end-to-end tests, $(KILLS) kills'
	@KILLS=$(KILLS) DRILLS=$(DRILLS) HANGING=$(HANGING) HISTORIES=$(HISTORIES) go test -count=1 -timeout 60m -parallel 4 ./e2e/...

.PHONY: browser
browser: ## The widgets in a real browser; pictures of them land in build/screenshots
	@scripts/needs.sh
	@go test -count=1 -timeout 60m -v ./e2e/browser

.PHONY: kill-test
kill-test: ## Kill tests alone; the long form before a release is KILLS=1000
	@KILLS=$(KILLS) go test -count=1 -timeout 0 -run Kill -v ./e2e/...

.PHONY: drills
drills: ## Break all that the program stands on, for hours, in portions that can be stopped and resumed; ARGS=--table
	@scripts/drills.sh $(ARGS)

.PHONY: histories
histories: ## Record answers of nodes that are killed and cut off, and find an order that explains them, HISTORIES=1000; HISTORY=file judges a kept one
	@if [ -n '$(HISTORY)' ]; then HISTORY='$(abspath $(HISTORY))' go test -count=1 -v -run TestKeptHistory ./internal/history; \
	else HISTORIES=$(HISTORIES) go test -count=1 -timeout 0 -run 'TestHistories|TestLies' -v ./e2e/; fi

.PHONY: soak
soak: build ## Load with faults on PostgreSQL for SOAK=2h in all; Ctrl-C stops it in order, and the next run goes on
	@mkdir -p build && go test -c -o build/soak.test ./e2e
	@cd e2e && export PAYOUTD_TEST_BINARY=$(CURDIR)/bin/payoutd SOAK='$(SOAK)' SOAK_RATE='$(SOAK_RATE)' SOAK_FAULT='$(SOAK_FAULT)' \
		SOAK_LEG='$(SOAK_LEG)' SOAK_ARCHIVE='$(SOAK_ARCHIVE)' SOAK_DIR='$(SOAK_DIR)'; \
		exec ../build/soak.test -test.run 'TestSoak$$' -test.timeout 0 -test.v

.PHONY: flat
flat: ## What stays in memory of payouts that have ended, ROUNDS=10 PAYOUTS=100000 of each; heap profiles land in build/flat
	@cd e2e && ROUNDS='$(ROUNDS)' PAYOUTS='$(PAYOUTS)' FLAT_DIR='$(CURDIR)/build/flat' go test -count=1 -timeout 0 -v -run 'TestFlat$$' .

.PHONY: bench
bench: ## Benchmarks of the packages, BENCH=regular-expression
	@go test -run '^$$' -bench '$(BENCH)' -benchmem $$(go list ./... | grep -v '/e2e\b')

.PHONY: bench-postgres
bench-postgres: ## payoutd bench on a throw-away PostgreSQL, ARGS='--key p256 --clients 128'
	@cd e2e && BENCH_ARGS='$(ARGS)' go test -count=1 -timeout 0 -run TestBenchByHand

.PHONY: goals
goals: ## Measure the goals of speed and memory, SECONDS_EACH=10 GOAL=part-of-a-name PRELOAD=500000
	@cd e2e && GOALS=$(SECONDS_EACH)s GOAL='$(GOAL)' PRELOAD=$(PRELOAD) go test -count=1 -timeout 0 -run TestGoals

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin
