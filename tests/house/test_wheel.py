"""Installed as a wheel, twistd knows heimdall from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from functools import cache
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.house.tree import ROOT

TWISTD = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"

FOLDERS = ("heimdall", "twisted")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
"""What a wheel is built from, and nothing else."""

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a program to its end, outside the checkout; return what it prints.

    :raises AssertionError: it failed.
    """
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR", "LANG"}}
    done = subprocess.run(
        command, cwd=cwd, env=kept | environ, capture_output=True, text=True, check=False, timeout=1200
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@cache
def source() -> Path:
    """Copy what a wheel is built from, once in a run, so that nothing is left in the checkout; return the folder."""
    copied = Path(mkdtemp(prefix="source-", dir=".")).resolve()
    for name in FOLDERS:
        copytree(ROOT / name, copied / name, ignore=ignore_patterns("__pycache__", "dropin.cache"))
    for name in FILES:
        copyfile(ROOT / name, copied / name)
    return copied


@cache
def built(**environ: str) -> Path:
    """Build the wheel, once in a run for the same variables; return the file, which has a folder of its own."""
    folder = Path(mkdtemp(prefix="wheel-", dir=".")).resolve()
    building = ("wheel", "--no-index", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, source())
    run(*PIP, *building, cwd=folder, **environ)
    (wheel,) = folder.glob("*.whl")
    return wheel


@cache
def installed() -> Path:
    """Install the wheel, once in a run, into an environment of its own; return the Python of that."""
    folder = built().parent
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    run(*PIP, "--python", python, "install", "--no-index", "--no-deps", built(), cwd=folder)
    return python


class Wheel(SynchronousTestCase):
    """The wheel, in an environment where this checkout is not to be seen."""

    def twistd(self, *arguments: str) -> str:
        """Run twistd in an empty folder, with the wheel and what it needs."""
        away = Path(self.mktemp())
        away.mkdir()
        # What it needs is lent by the environment of the tests, whose .pth files, and with them the checkout, are
        # not read on this way.
        lent = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        return run(installed(), "-c", TWISTD, *arguments, cwd=away, PYTHONPATH=lent)

    def test_holds(self) -> None:
        """The wheel holds every module of the package, the plugin, the page for browsers, py.typed and the licence."""
        names = zipfile.ZipFile(built()).namelist()
        files = [*(ROOT / "heimdall").rglob("*.py"), *(ROOT / "heimdall" / "watch" / "browser").iterdir()]
        ours = {path.relative_to(ROOT).as_posix() for path in files}
        self.assertLessEqual(ours | {"heimdall/py.typed", "twisted/plugins/heimdall_plugin.py"}, set(names))
        self.assertTrue([name for name in names if name.endswith("LICENSE")])
        self.assertFalse([name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))])

    def test_listed(self) -> None:
        """``twistd --help`` lists heimdall."""
        self.assertRegex(self.twistd("--help"), r"(?m)^    heimdall +\S")

    def test_check(self) -> None:
        """``twistd -n heimdall --check`` shows the configuration and ends well."""
        self.assertIn("[accept]", self.twistd("-n", "heimdall", "--check"))
