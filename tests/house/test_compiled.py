"""The path of a query can be compiled, and does then what it does uncompiled."""

from __future__ import annotations

import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.house.test_wheel import built, run
from tests.house.tree import ROOT

SAME = (
    "tests.message", "tests.admit", "tests.fetch", "tests.accept", "tests.cache.test_memory",
    "tests.cache.test_eviction", "tests.cache.test_once", "tests.cache.test_entry", "tests.cache.test_redis",
    "tests.cache.test_shared", "tests.cache.test_flight", "tests.test_follow", "tests.live.test_main_job",
)  # fmt: skip
"""The tests of what is compiled, and of a whole node."""

COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0])
HEADERS = Path(sysconfig.get_path("include"), "Python.h")


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
