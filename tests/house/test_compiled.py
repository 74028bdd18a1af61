"""The path of a query can be compiled, and does then what it does uncompiled."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.house.test_wheel import built, run, source
from tests.house.tree import ROOT

SAME = (
    "tests.message", "tests.admit", "tests.fetch", "tests.accept", "tests.cache.test_memory",
    "tests.cache.test_eviction", "tests.cache.test_once", "tests.cache.test_entry", "tests.cache.test_redis",
    "tests.cache.test_shared", "tests.cache.test_flight", "tests.test_follow", "tests.live.test_main_job",
)  # fmt: skip
"""The tests of what is compiled, and of a whole node."""

COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0])
HEADERS = Path(sysconfig.get_path("include"), "Python.h")


NEEDED = "from setuptools import build_meta; print('\\n', *build_meta.get_requires_for_build_wheel(), sep='|')"
"""Asks as pip does before it builds, and tells that in the last line."""


def names(requirements: Iterable[str]) -> set[str]:
    """Return whom some requirements are about."""
    return {found[0].lower() for found in map(re.compile(r"[\w.-]+").match, requirements) if found}


class Asked(SynchronousTestCase):
    """What pip is told that building takes."""

    def needed(self, **environ: str) -> set[str]:
        """Ask."""
        return names(run(sys.executable, "-c", NEEDED, cwd=source(), **environ).splitlines()[-1].split("|"))

    def test_needed(self) -> None:
        """To compile takes the compiler, and all that we build on, whose types it reads; to build nothing more."""
        ours = [line for line in requires("heimdall-dns") or () if "extra ==" not in line]
        self.assertEqual(self.needed(HEIMDALL_COMPILE="1"), names(ours) | {"mypy", "mypy-zope"})
        self.assertEqual(self.needed(), set())


class Compiled(SynchronousTestCase):
    """A wheel built with HEIMDALL_COMPILE=1."""

    if COMPILER is None or not HEADERS.exists():
        skip = "no C compiler, or no headers of Python: apt-get install gcc python3-dev"

    def test_same(self) -> None:
        """Compiled, the path passes the tests that it passes as it is."""
        wheel = built(HEIMDALL_COMPILE="1")
        site = wheel.parent / "site"
        self.assertNotIn("none-any", wheel.name)
        zipfile.ZipFile(wheel).extractall(site)
        for name in ("tests", "benchmarks", "docs", "deploy"):
            (site / name).symlink_to(ROOT / name)
        asked = "from heimdall.cache import once; print(once.__file__)"
        self.assertNotIn(".py\n", run(sys.executable, "-c", asked, cwd=site))
        run(sys.executable, "-m", "twisted.trial", *SAME, cwd=site)
