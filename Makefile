# make prints what there is; CONTRIBUTING.md tells more.

SHELL   := bash -eu -o pipefail
GO      ?= go
VERSION ?= $(shell git -c safe.directory=$(CURDIR) describe --tags --always --dirty 2>/dev/null || echo dev)
# The version is ours, so Go need not ask git; it would refuse in a checkout that belongs to another user.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

LDFLAGS := -s -w -X github.com/sequinstream/sequin/internal/cli.Version=$(VERSION)
LINT    := .cache/bin/golangci-lint
FUZZTIME ?= 10s
SECONDS  ?= 60
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/sequin, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sequin ./cmd/sequin

.PHONY: run
run: build ## Build and run: make run ARGS='serve --config sequin.yaml'
	bin/sequin $(ARGS)

.PHONY: demo
demo: build ## Watch it work, on a throwaway Postgres; Ctrl-C leaves nothing behind
	@$(GO) build -o bin/demo ./test/demo
	@exec bin/demo $(ARGS)

.PHONY: test
test: pg poolers ## Run every test against real Postgres, with the race detector
	$(GO) test -race -timeout 25m ./...
	$(GO) -C tools test ./...

.PHONY: test-matrix
test-matrix: poolers ## Run the tests that use Postgres on each of 12 to 18
	scripts/test-matrix $(ARGS)

.PHONY: race
race: pg poolers ## Run every test three times over, on one, two and eight threads, with the race detector
	$(GO) test -race -count=1 -cpu 1,2,8 -timeout 30m ./...

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (10s)
	scripts/fuzz $(FUZZTIME)

.PHONY: differential
differential: pg ## Compare random filters with Postgres: make differential SECONDS=600
	SEQUIN_WHERE_SECONDS=$(SECONDS) SEQUIN_WHERE_DIFFERENCES=20 $(GO) test -count=1 -timeout 24h -run TestDifferential -v ./internal/where

.PHONY: soak
soak: pg poolers ## Run the long versions of the crash and load tests; takes hours
	SEQUIN_SOAK=1 $(GO) test -race -count=1 -timeout 24h -v $(ARGS) ./...

.PHONY: bench
bench: build ## Measure beside pg_recvlogical on a throwaway Postgres, and print a table
	@$(GO) run ./scripts/postgres
	@$(GO) build -o bin/bench ./test/bench
	@exec bin/bench $(ARGS)

.PHONY: lint
lint: $(LINT) ## Run the linters
	$(LINT) run ./...
	cd tools && ../$(LINT) run ./licences/...

.PHONY: fmt
fmt: $(LINT) ## Format the code
	$(LINT) fmt ./...
	cd tools && ../$(LINT) fmt ./licences/...

.PHONY: generate
generate: ## Write generated files anew
	$(GO) generate ./...
	$(GO) -C tools run ./licences

.PHONY: golden-elixir
golden-elixir: ## Have Elixir evaluate the functions that converted ones are compared with (needs elixir)
	elixir internal/transform/elixir/testdata/golden.exs

.PHONY: verify
verify: $(LINT) ## Fail when formatting, generated files or go.mod are not fresh
	scripts/verify $(LINT)

.PHONY: licences
licences: ## Check the licences of what is linked
	$(GO) -C tools run ./licences -check

.PHONY: check
check: ## Run all that CI runs
	.ci/run

.PHONY: pg
pg: ## See to it that a Postgres server is there, fetched if none is installed
	@$(GO) run ./scripts/postgres

.PHONY: poolers
poolers: ## See to it that the connection poolers are there that tests go through
	@scripts/poolers

pg-%: ## See to it that Postgres of a major version is there: make pg-17, make pg-all
	@$(GO) run ./scripts/postgres $*

.PHONY: clean
clean: ## Remove what was built; .cache keeps the linter and fetched servers
	rm -rf bin dist coverage.*

$(LINT): tools/go.mod tools/go.sum
	GOFLAGS= CGO_ENABLED=0 $(GO) -C tools build -trimpath -buildvcs=false -ldflags='-s -w' -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
