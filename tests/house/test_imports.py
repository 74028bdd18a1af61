"""Imports run one way, and nothing installs the reactor by being imported."""

from __future__ import annotations

import subprocess
import sys

from tests.house.tree import ROOT, House, house, imported, modules, part_of

ORDER = (
    {"tap", "command", "local_cluster"},
    {"dry_run"},
    {"workers"},
    {"node"},
    {"presence", "station", "node_redis"},
    {"console", "overview"},
    {"pipeline"},
    {"own", "sharing", "probe", "statistics"},
    {"redis_server"},
    {
        "accept",
        "admit",
        "cache",
        "fetch",
        "peers",
        "watch",
        "redislink",
        "bridge",
        "follow",
        "inside",
        "testing",
        "totals",
        "collector",
    },
    {"asking", "single_flight", "slices", "waits"},
    {"bugs"},
    {"config", "episodes", "gso", "interfaces", "mmsg", "signals", "tally", "units"},
    {"message"},
)
"""Who may import whom: only what stands further down. Parts of one step do not know each other."""

STEP = {part: step for step, parts in enumerate(ORDER) for part in parts}

WORKER = "heimdall.workers.__main__"

SETTLED = {"config", "sharing", "pipeline", "overview", "station", "presence", "node_redis", "node", "workers", "tap"}
"""Who joins the parts, and so knows the settings."""

LOUD = {"txredisapi"}
"""What installs the reactor when it is imported."""

REDIS = {"txredisapi", "hiredis", "redis"}


class Imports(House):
    """The rules that keep a part free of the others."""

    def test_every_part_has_its_step(self) -> None:
        """Each part of the package has its place in the order."""
        self.assertNone(sorted({module.part for module in house()} - set(STEP) - {""}))

    def test_one_way(self) -> None:
        """A part imports only from itself and from the steps below it."""
        wrong = [
            f"{module.where}:{line}: {module.part} must not import {name}"
            for module in house()
            for line, name in module.imports()
            if name.startswith("heimdall.")
            and part_of(name) not in {module.part, "__version__"}
            and STEP.get(part_of(name), -1) <= STEP.get(module.part, -1)
        ]
        self.assertNone(wrong)

    def test_absolute(self) -> None:
        """Imports name the whole path, so that these checks and a reader see where they lead."""
        wrong = [f"{m.where}:{line}: {name}" for m in house() for line, name in m.imports() if name.startswith(".")]
        self.assertNone(wrong)

    def test_settings(self) -> None:
        """The parts on the path take plain values: only who joins them knows the settings."""
        wrong = [
            f"{module.where}:{line}"
            for module in house()
            for line, name in module.imports()
            if name.startswith("heimdall.config.settings") and module.part not in SETTLED
        ]
        self.assertNone(wrong)

    def test_reactor(self) -> None:
        """Only tap imports the reactor; all others are handed clocks and sockets."""
        wrong = [
            f"{module.where}:{line}"
            for module in [*house(), *modules("twisted/plugins")]
            for line, name in module.imports()
            # A worker is a process of its own: what tap is to the parent its __main__ is to it.
            if name.startswith("twisted.internet.reactor") and module.name not in ("heimdall.tap", WORKER)
        ]
        self.assertNone(wrong)

    def test_redis(self) -> None:
        """Only redislink imports the client for Redis, and inside a function: it installs the reactor."""
        wrong = []
        for module in house():
            for line, name in module.imports():
                if name.split(".")[0] in REDIS and module.part != "redislink":
                    wrong.append(f"{module.where}:{line}: {name} belongs to redislink")
            for statement in module.tree.body:
                wrong += [
                    f"{module.where}:{line}: {name} at the top of the module"
                    for line, name in imported(statement)
                    if name.split(".")[0] in LOUD and not hasattr(statement, "body")
                ]
        self.assertNone(wrong)

    def test_message(self) -> None:
        """Messages are bytes and values: they know neither Twisted nor Redis."""
        wrong = [
            f"{module.where}:{line}: {name}"
            for module in house()
            if module.part == "message"
            for line, name in module.imports()
            if name.split(".")[0] in {"twisted", *REDIS}
        ]
        self.assertNone(wrong)

    def test_import_is_silent(self) -> None:
        """Importing every module but tap leaves the choice of the reactor open, the plugin too."""
        every = [*house(), *modules("twisted/plugins")]
        # A __main__ is run, not imported.
        names = [module.name for module in every if module.part != "tap" and not module.name.endswith(".__main__")]
        program = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    importlib.import_module(name)\n"
            "    if 'twisted.internet.reactor' in sys.modules:\n"
            "        sys.exit(name + ' imports the reactor')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *names], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
        )
        self.assertEqual((done.stderr, done.returncode), ("", 0))
