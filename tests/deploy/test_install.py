"""``make install`` and ``make uninstall``: where things go, and what is left alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.deploy.making import make
from tests.house.test_compiled import COMPILER, HEADERS
from tests.house.tree import ROOT

PAGES = "usr/share/doc/heimdall/"

UNIT = "usr/lib/systemd/system/heimdall.service"


class Choice(SynchronousTestCase):
    """Whether what a query goes through is compiled."""

    def told(self, path: str, *variables: str) -> str:
        """Return what make would run, where programs are found by this path."""
        command = ["make", "-n", "install", f"PYTHON={sys.executable}", *variables]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "HEIMDALL_"))}
        environ = kept | {"PATH": path}
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout

    def test_by_itself(self) -> None:
        """It is where that can be done, unless somebody says otherwise; without a compiler it is not."""
        if not shutil.which("make"):
            raise SkipTest("no make here: apt-get install make")
        alone = Path(self.mktemp())
        alone.mkdir()
        for name in ("make", "sh"):
            (alone / name).symlink_to(str(shutil.which(name)))
        self.assertIn("HEIMDALL_COMPILE=0 \\\n", self.told(str(alone.absolute())))
        everywhere = os.environ["PATH"]
        can = COMPILER is not None and HEADERS.exists()
        self.assertIn(f"HEIMDALL_COMPILE={can:d} \\\n", self.told(everywhere))
        self.assertIn("HEIMDALL_COMPILE=0 \\\n", self.told(everywhere, "HEIMDALL_COMPILE=0"))


class Installed(SynchronousTestCase):
    """A tree that a package could be made of."""

    def setUp(self) -> None:
        self.tree = Path(self.mktemp()).absolute()

    def files(self) -> set[str]:
        """Return what is there, but for the insides of the virtual environment."""
        every = (path.relative_to(self.tree).as_posix() for path in self.tree.rglob("*") if not path.is_dir())
        return {path for path in every if not path.startswith("opt/heimdall/")}

    def test_places(self) -> None:
        """Program, command, units, configuration and pages are where Debian would look for them."""
        make("install", self.tree)
        manual = "usr/local/share/man/man1/heimdall.1"
        self.assertEqual(
            {path for path in self.files() if not path.startswith(PAGES)},
            {"etc/heimdall/heimdall.toml", "usr/local/bin/heimdall", UNIT, UNIT.replace("service", "socket"), manual},
        )
        self.assertIn(".SS", (self.tree / manual).read_text())
        self.assertEqual((self.tree / "usr/local/bin/heimdall").readlink(), Path("/opt/heimdall/bin/heimdall"))
        self.assertEqual((self.tree / UNIT).read_text(), (ROOT / "deploy" / "systemd" / "heimdall.service").read_text())

    def test_pages(self) -> None:
        """The pages lie as in the checkout, so that their links lead somewhere; no secret of compose is among them."""
        make("install", self.tree)
        pages = [self.tree / path for path in self.files() if path.startswith(PAGES) and path.endswith(".md")]
        self.assertGreater(len(pages), len(list((ROOT / "docs").rglob("*.md"))))
        lost = {
            f"{page.name}: {link}"
            for page in pages
            for link in re.findall(r"\]\(\s*([^\s):#]+)[^):]*\)", page.read_text())
            if not (page.parent / link).exists()
        }
        self.assertEqual(lost, {"performance.md: ../tests/benchmarks/test_answers.py"})
        self.assertFalse([path for path in self.files() if "/secrets/" in path])
        unit = (self.tree / UNIT).read_text()
        named = re.findall(r"^Documentation=file://(\S+)", unit, re.M)
        self.assertEqual([path for path in named if not (self.tree / path[1:]).exists()], [])

    def test_moved(self) -> None:
        """Nothing in the virtual environment knows the folder that it was made in, and everybody may read it."""
        make("install", self.tree)
        program = self.tree / "opt/heimdall"
        self.assertEqual((program / "bin/heimdall").read_text().split("\n")[0], "#!/opt/heimdall/bin/python")
        knowing = [
            path for path in program.rglob("*") if path.is_file() and str(self.tree).encode() in path.read_bytes()
        ]
        self.assertEqual(knowing, [])
        self.assertEqual([path for path in program.rglob("*") if path.is_file() and not path.stat().st_mode & 4], [])

    def test_again(self) -> None:
        """Installed again it leaves the configuration alone, and so does taking it away; elsewhere works as well."""
        there = {"PREFIX": "/srv/dns", "SYSCONFDIR": "/srv/etc"}
        make("install", self.tree, **there)
        self.assertIn("ExecStart=/srv/dns/bin/twistd --nodaemon --pidfile= heimdall --config /srv/etc/heimdall.toml\n",
                      (self.tree / UNIT).read_text())  # fmt: skip
        configuration = self.tree / "srv/etc/heimdall.toml"
        configuration.write_text("# mine\n")
        make("install", self.tree, **there)
        make("uninstall", self.tree, **there)
        self.assertEqual((configuration.read_text(), self.files()), ("# mine\n", {"srv/etc/heimdall.toml"}))
