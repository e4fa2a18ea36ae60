# make help lists the targets.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
TORTURE  ?= 20

GO_BUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-X wfm/internal/buildinfo.version=$(VERSION)"
# Pinned in a module of its own, so that the product's go.mod stays free of its dependencies.
LINT     = go tool -modfile=golangci-lint.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: run test quick race fuzz bench torture lint vuln check build assets help

run: build ## build and start the appliance: MQTT on :1883, HTTP on :8000, data in ./data
	bin/wfm serve

test: ## run all tests
	go test ./cmd/wfm ./...  # the longest tests first

# The rooms that need no other program.
QUICK = ./protocol ./presence ./rights ./tunnel/... ./hooks ./appliance/command ./appliance/ingress ./appliance/rollout \
	./appliance/tracker ./appliance/wanted ./cmd/internal/...

quick: ## build and vet everything, and test what needs no other program: for after each edit
	go build ./...
	go vet ./...
	go test $(QUICK)

race: ## run all tests under the race detector (needs a C compiler)
	go test -race ./...

fuzz: ## run every fuzz test for FUZZTIME (10s) each
	@set -e; \
	grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do \
		name="$${func#func }"; dir="$${file%/*}"; \
		echo "$$dir $$name"; \
		go test "$$dir" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) </dev/null; \
	done

bench: ## run all benchmarks
	go test -run '^$$' -bench . -benchmem ./...

torture: ## run the tests that kill, revoke and cross, TORTURE (20) times as long as `make test` does: about 80 kills
	WFM_TEST_TORTURE=$(TORTURE) go test ./cmd/wfm -run '^TestTorture' -count=1 -v -timeout 60m

lint: ## lint the Go code (the first run builds the linter) and the shell scripts
	$(LINT) run
	@scripts="$$(find . -name '*.sh' -not -path './.git/*'; find .ci -name run 2>/dev/null || true)"; \
	if [ -z "$$scripts" ]; then exit 0; \
	elif command -v shellcheck >/dev/null; then echo shellcheck $$scripts; shellcheck $$scripts; \
	elif [ -n "$$WFM_CI" ]; then echo 'shellcheck is not installed' >&2; exit 1; \
	else echo 'shellcheck is not installed: the shell scripts are not linted'; fi

vuln: ## look for known faults of the libraries that are used (needs the internet)
	go run golang.org/x/vuln/cmd/govulncheck@latest ./...

check: build lint test race ## everything that must pass before a change goes in

build: ## build bin/wfm and bin/wfm-agent
	$(GO_BUILD) -o bin/wfm ./cmd/wfm
	$(GO_BUILD) -o bin/wfm-agent ./cmd/wfm-agent

assets: ## renew what the admin page takes from the npm registry, as web/ui/package.json pins it (needs npm)
	cd web/ui && npm ci --ignore-scripts --no-audit --no-fund
	cp web/ui/node_modules/idiomorph/dist/idiomorph.min.js web/ui/static/
	cp web/ui/node_modules/idiomorph/LICENSE web/ui/static/idiomorph.LICENSE.txt

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
