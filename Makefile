# Everything that is done to this repository, by name.

GOLANGCI_LINT = v2.15.0
TEMPL = v0.3.977

.PHONY: help run test lint bench generate screenshots setup

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## run the server with everything in one process, on http://localhost:8080
	go run ./cmd/roster serve

test: setup ## install what the tests need, and pass all of them
	go vet ./...
	go test -timeout 20m ./...
	go test -timeout 20m -race ./domain/... ./commands/... ./projections/...

generate: ## make the Go code of the pages from their templates
	go run github.com/a-h/templ/cmd/templ@$(TEMPL) generate

screenshots: setup ## write a picture of every page to ./screenshots
	mkdir -p screenshots
	go test ./api/dashboard -count=1 -args -screenshots "$(CURDIR)/screenshots"

setup: ## install what the tests need beside Go: PostgreSQL and Chromium
	.ci/setup

lint: ## check style, mistakes and dependencies
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT) run ./...

bench: ## measure, each figure beside a baseline of the same run (about ten minutes)
	go test -run '^$$' -bench . -benchtime 2s -timeout 60m ./...
	go run ./cmd/roster-load
