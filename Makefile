# Fastpaca Context Store. `make help` lists the targets.
#
# Two commands do it all on a fresh machine with Go and make: `make run` and `make test`.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
DATA    ?= priv/raft
LISTEN  ?= :4000
# How long each fuzz target runs under `make fuzz`.
FUZZTIME ?= 30s

.DEFAULT_GOAL := help
.PHONY: help build run test check unit race e2e sim sim-long planted jepsen jepsen-long jepsen-short build-faults jepsen-plant perturb archive-outage bench bench-quick fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/fastpaca
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/fastpaca ./cmd/fastpaca

run: build ## build, then serve one node on :4000 with its data in priv/raft
	./bin/fastpaca server --listen '$(LISTEN)' --raft-data-dir '$(DATA)'

test: check unit race e2e sim jepsen-short ## everything a change must pass

check: ## gofmt, vet, staticcheck and our own rules
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$out" ]; then echo "gofmt wants to change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./cmd/lint/

race: ## every package's tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 14m $$($(GO) list ./... | grep -v /jepsen)

# What has no allocation gates and no file operations to crash at runs under the race detector only.
RACE_ONLY := -e /jepsen -e /archive -e fastpaca/cluster$$ -e fastpaca/cmd/ -e fastpaca/bench$$ -e fastpaca/deploy
unit: ## the packages with allocation gates and with crashes at every file operation, without it
	$(GO) test -timeout 10m $$($(GO) list ./... | grep -v $(RACE_ONLY))
	$(GO) test -run 'Allocates' ./cluster

e2e: build ## the real binary: kill -9, full disk, torn tail, flipped bit, shutdown
	FASTPACA_BIN=$(CURDIR)/bin/fastpaca CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 8m ./jepsen

sim: ## whole clusters in one goroutine each, 200 seeds; a failing one prints the line that replays it
	$(GO) test -count=1 -timeout 10m ./jepsen/sim

SEEDS ?= 20000
FIRST ?= 1
sim-long: ## the same, SEEDS seeds from FIRST on
	$(GO) test -count=1 -timeout 48h ./jepsen/sim -run 'TestSeeds$$' -v -first=$(FIRST) -seeds=$(SEEDS)

planted: ## bugs built in on purpose: the simulation must find each
	$(GO) test -count=1 -timeout 30m -tags planted ./raft ./jepsen/sim -run 'Planted' -v

# The server with a disk and a clock that can be broken; -tags planted, too, has bugs built in (jepsen/README.md).
build-faults:
	CGO_ENABLED=0 $(GO) build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $(FAULTS_BIN) ./cmd/fastpaca
TAGS := faults
FAULTS_BIN := bin/fastpaca-faults

JEPSEN_SEED ?= 0
jepsen: build-faults ## real processes through every fault, 3 and then 5 nodes, about 12 minutes; jepsen/out has the report
	nice -n 5 $(GO) run ./jepsen/run -nodes 3 -duration 5m -archive -seed $(JEPSEN_SEED)
	nice -n 5 $(GO) run ./jepsen/run -nodes 5 -duration 6m -archive -seed $(JEPSEN_SEED)

jepsen-long: build-faults ## the same, an hour each
	nice -n 5 $(GO) run ./jepsen/run -nodes 3 -duration 1h -archive -seed $(JEPSEN_SEED)
	nice -n 5 $(GO) run ./jepsen/run -nodes 5 -duration 1h -archive -seed $(JEPSEN_SEED)

jepsen-short: build-faults ## eleven faults in a fixed order on 3 nodes, about 75 s; first the harness' own tests
	CGO_ENABLED=1 nice -n 5 $(GO) test -race -count=1 ./jepsen/run/... ./jepsen/faults ./jepsen/perturb/...
	nice -n 5 $(GO) run ./jepsen/run -short -seed 1

PLANT ?= guard_ignored
jepsen-plant: TAGS := faults planted
jepsen-plant: FAULTS_BIN := bin/fastpaca-planted
jepsen-plant: build-faults ## hunt for a bug that is built in: PLANT=name of jepsen/planted/names.go, ten minutes at most
	nice -n 5 $(GO) run ./jepsen/run -plant $(PLANT) -bin bin/fastpaca-planted -seed 1

PERTURB ?= 100
PERTURB_PKGS ?= ./shard/... ./cluster/... ./httpd ./wal/... ./archive/... ./cmd/fastpaca
perturb: ## tests of a copy of the product with pauses between its statements, at odds of 1 in PERTURB; about half an hour
	$(GO) run ./jepsen/perturb -out bin/perturbed
	cd bin/perturbed && $(GO) build ./... && PERTURB=$(PERTURB) CGO_ENABLED=1 nice -n 5 $(GO) test -race -count=1 -timeout 60m $(PERTURB_PKGS)

archive-outage: build ## Postgres stops for a minute under load, frozen and killed; about 6 minutes
	FASTPACA_BIN=$(CURDIR)/bin/fastpaca $(GO) test -count=1 -timeout 30m -v -run TestArchiveOutage ./cmd/fastpaca -outage 1m

bench: build ## speed as ratios to floors measured in the same run; writes bench/out/result.json
	$(GO) run ./bench

bench-quick: build ## the same, shorter and coarser (under a minute)
	$(GO) run ./bench -quick

fuzz: ## every fuzz target in turn, FUZZTIME each
	@set -e; for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p; done; done

clean: ## remove what was built (not the data)
	rm -rf bin bench/out
