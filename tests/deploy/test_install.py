"""``make install`` and ``make uninstall``: where things go, and what is left alone."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.making import make
from tests.house.tree import ROOT

PAGES = "usr/share/doc/heimdall/"

UNIT = "usr/lib/systemd/system/heimdall.service"


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
