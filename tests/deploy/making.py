"""``make install`` as a packager runs it, but that nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.house.test_wheel import built
from tests.house.tree import ROOT

PYTHON = "/usr/bin/python3"
"""One that a service may read: that of a developer is perhaps in his own folder."""


def make(target: str, tree: Path, **variables: str) -> str:
    """Run make with DESTDIR, installing from the wheel; what Heimdall needs is lent by these tests meanwhile.

    :return: what it printed.
    :raises SkipTest: the Python that it is for cannot be had here.
    :raises AssertionError: it failed.
    """
    _check()
    told = {"DESTDIR": str(tree), "PYTHON": PYTHON, "FROM": str(built()), **variables}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "PYTHON"))}
    done = subprocess.run(
        ["make", target, *(f"{name}={value}" for name, value in told.items())],
        cwd=ROOT,
        env=kept | {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PYTHONPATH": sysconfig.get_path("purelib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=1200,
    )
    if done.returncode:
        raise AssertionError(f"make {target} failed:\n{done.stdout}")
    return done.stdout


def _check() -> None:
    for program in (PYTHON, "make"):
        if not shutil.which(program):
            raise SkipTest(f"no {program} here: apt-get install python3-venv make")
    version = subprocess.run([PYTHON, "-V"], capture_output=True, text=True, check=False).stdout.split()[-1]
    if version.rpartition(".")[0] != f"{sys.version_info[0]}.{sys.version_info[1]}":
        raise SkipTest(f"{PYTHON} is {version}, and cannot use the packages of the Python that runs the tests")
    if subprocess.run([PYTHON, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        raise SkipTest(f"{PYTHON} makes no virtual environments: apt-get install python3-venv")
