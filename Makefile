# Everything that is done with this repository is done from here; `make help` lists it.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# Of `make demo`: embedded or gearmand.
JOB_SERVER ?= embedded
ifeq ($(filter embedded gearmand,$(JOB_SERVER)),)
$(error found JOB_SERVER=$(JOB_SERVER); expected embedded or gearmand)
endif

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
DRIVERS := cloud_dummy cloud_local load_balancer_haproxy load_balancer_noop mgm_dummy mgm_hp_rest mgm_local

BIN := $(DESTDIR)$(PREFIX)/bin
LIB := $(DESTDIR)$(PREFIX)/lib/capstan/drivers
UNIT := $(DESTDIR)/lib/systemd/system
ETC := $(DESTDIR)/etc/capstan
SHARE := $(DESTDIR)$(PREFIX)/share/capstan
DOC := $(DESTDIR)$(PREFIX)/share/doc/capstan
RELEASE := $(addprefix $(TARGET_DIR)/release/,capstan capstan-local-node $(DRIVERS:%=libcapstan_%.so))

# Remarks of installed files name the manuals where they are.
PLACES := s|docs/|$(PREFIX)/share/doc/capstan/docs/|g

# What an operator may have changed is kept; the shipped one then lies beside it. Arguments: the shipped file, its place, its mode.
define configured
@install -m $(3) /dev/null $(2).new && sed '$(PLACES)' $(1) > $(2).new
@if [ ! -e $(2) ] || cmp -s $(2) $(2).new; then mv $(2).new $(2); \
	else echo "kept $(2); the shipped one is $(notdir $(2)).new beside it"; fi
endef

.PHONY: help setup setup-bench build demo test test-long bench lint fmt fuzz release install uninstall

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: ## Install what demo and tests need from Debian (starts no service)
	@./.ci/setup

setup-bench: ## The same, and what the rivals of the benchmarks are built from
	@./.ci/setup bench

build: ## Build the daemon and the drivers (as the demo does; the suites are built by `make test`)
	$(CARGO) build --locked --workspace

demo: setup ## The main job, end to end; JOB_SERVER=gearmand takes a real job server
	$(CARGO) build --locked --workspace
	$(CARGO) run --locked --quiet -p capstan-tests --bin demo -- --job-server $(JOB_SERVER)

test: setup build ## Every suite
	$(CARGO) test --locked --workspace

test-long: setup build ## Long runs: the whole crash matrix, soak, fuzzing; results go to docs/RELIABILITY.md
	CAPSTAN_LONG=1 $(CARGO) test --locked --workspace -- --nocapture
	$(MAKE) fuzz

bench: setup-bench ## Measure beside the rivals; results go to docs/PERFORMANCE.md
	$(CARGO) build --locked --release --workspace
	$(CARGO) bench --locked -p capstan-tests

lint: ## Format, clippy, documentation, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path tests/fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --log-level error check bans licenses sources

fmt: ## Format the code
	$(CARGO) fmt --all

fuzz: ## Fuzz what parses bytes from outside (installs cargo-fuzz); FUZZ_SECONDS each, default 600
	./tests/fuzz/run $(or $(FUZZ_SECONDS),600)

release: ## Optimised build of daemon and drivers
	$(CARGO) build --locked --release --workspace

# Once that is done, `sudo make install` needs no cargo.
$(RELEASE) &:
	@command -v $(CARGO) >/dev/null || { echo "no release is built, and there is no $(CARGO) here:" \
		"run \`make release\` as a user who has Rust, then \`make install\` as root" >&2; exit 1; }
	$(MAKE) release

install: $(RELEASE) ## Install the release below PREFIX (and DESTDIR): binary, drivers, images, plugin-api, manuals, unit, /etc/capstan
	install -D -m 755 $(TARGET_DIR)/release/capstan $(BIN)/capstan
	install -d -m 755 $(LIB)
	for driver in $(DRIVERS); do install -m 644 $(TARGET_DIR)/release/libcapstan_$$driver.so $(LIB)/; done
	# What stands over the nodes of the local cloud.
	install -m 755 $(TARGET_DIR)/release/capstan-local-node $(DESTDIR)$(PREFIX)/lib/capstan/capstan-local-node
	# What `capstan driver new` builds Rust drivers with: the crate and its macros, in a workspace of their own.
	install -d -m 755 $(SHARE)
	sed '/^members = \[/,/^\]/c members = ["plugin-api", "plugin-api/macros"]' Cargo.toml | sed '/^exclude/d' > $(SHARE)/Cargo.toml
	chmod 644 $(SHARE)/Cargo.toml
	for file in $$(git ls-files plugin-api 2>/dev/null || find plugin-api -type f); do case $$file in */tests/*) ;; *) \
		install -D -m 644 $$file $(SHARE)/$$file;; esac; done
	install -d -m 755 $(SHARE)/alerts
	for file in config/alerts/*.yml; do sed '$(PLACES)' $$file > $(SHARE)/alerts/$${file##*/}; done
	chmod 644 $(SHARE)/alerts/*.yml
	# The manuals, and the examples that they speak of.
	for file in README.md $$(git ls-files docs config/examples 2>/dev/null || find docs config/examples -type f); do \
		install -D -m 644 $$file $(DOC)/$$file; done
	install -d -m 755 $(UNIT)
	sed 's|@PREFIX@|$(PREFIX)|g' config/capstan.service > $(UNIT)/capstan.service
	chmod 644 $(UNIT)/capstan.service
	install -d -m 755 $(ETC) $(ETC)/conf.d $(ETC)/images $(ETC)/images/lb-node
	$(call configured,config/images/lb-node/image.toml,$(ETC)/images/lb-node/image.toml,644)
	$(call configured,config/images/lb-node/capstan.toml,$(ETC)/images/lb-node/capstan.toml,644)
	$(call configured,config/capstan.toml,$(ETC)/capstan.toml,640)

uninstall: ## Remove what install placed; configuration and state stay
	rm -f $(BIN)/capstan $(UNIT)/capstan.service $(ETC)/capstan.toml.new $(ETC)/images/lb-node/*.new
	for driver in $(DRIVERS); do rm -f $(LIB)/libcapstan_$$driver.so; done
	rm -f $(DESTDIR)$(PREFIX)/lib/capstan/capstan-local-node
	rm -rf $(SHARE) $(DOC)
	-rmdir $(LIB) $(DESTDIR)$(PREFIX)/lib/capstan 2>/dev/null
	@echo "$(ETC) and /var/lib/capstan are kept"
