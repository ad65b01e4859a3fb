# Two commands matter to a newcomer: make demo, make test. The rest is for those who work here.
GO         ?= go
GOFUMPT     = $(GO) run mvdan.cc/gofumpt@v0.12.0
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The race detector needs a C compiler; without one the tests run without it. It does not watch what SQLite does in memory
# of its own, outside of Go's heap, so instrumenting that (8 MB of translated C) only makes it five times slower. The
# driver, which is Go, is watched.
QUIET       = modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory
RACE       := $(shell command -v cc >/dev/null 2>&1 && echo -race $(QUIET:%=-gcflags=%=-race=false))
TESTFLAGS  ?=
PACKAGES   ?= ./...

export LAMINA_TEST_BINARY = $(CURDIR)/lamina

.PHONY: demo build test check format generate bench bench-scale clean help

demo: build ## build Lamina and show its main job; ends with the server up
	./lamina demo --data .lamina/demo

build: ## build ./lamina, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o lamina ./cmd/lamina

test: build ## install what the tests need, and run all of them
	@.ci/setup
	.ci/with-postgres $(GO) test $(RACE) -count=1 -timeout 14m $(TESTFLAGS) $(PACKAGES)

check: ## formatting, vet, staticcheck, and the import rules
	@bad=$$(git ls-files -co --exclude-standard '*.go' | xargs $(GOFUMPT) -l); \
	if [ -n "$$bad" ]; then echo "not formatted (make format):"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(STATICCHECK) ./...
	$(GO) test -count=1 .

format: ## rewrite the sources as gofumpt has them
	git ls-files -co --exclude-standard '*.go' | xargs $(GOFUMPT) -w

generate: ## rewrite generated files
	$(GO) generate ./...

bench: build ## measure against baselines of the same run; takes some minutes
	$(GO) test ./bench -count=1 -timeout 30m -v -ratios

bench-scale: build ## measure a store of 100,000 functions and a million layer versions; takes ten minutes and 2 GB
	$(GO) test ./bench -run TestScale -count=1 -timeout 60m -v -scale

clean: ## remove what builds and tests left here
	rm -rf lamina dist .lamina .venv

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 12
