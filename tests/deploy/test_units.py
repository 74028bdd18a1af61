"""The units of systemd and the configuration file beside them: sound, hardened, complete."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.config.keys import KEYS
from heimdall.config.load import load
from heimdall.config.machine import Machine
from heimdall.config.sample import HERE, sample
from heimdall.config.settings import Fetch, Redis, Settings

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"

EXPOSURE = 2.0
"""The most that ``systemd-analyze security`` may find a service exposed, of ten."""


def analyze(*arguments: str | Path) -> str:
    """Run systemd-analyze; return what it prints."""
    if not shutil.which("systemd-analyze"):
        raise SkipTest("no systemd-analyze here: apt-get install systemd")
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout if done.returncode == 0 else f"{done.stdout}ended with {done.returncode}"


class Units(SynchronousTestCase):
    """heimdall.service and heimdall.socket."""

    def test_verify(self) -> None:
        """systemd finds nothing to say against the units."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for unit in ("heimdall.service", "heimdall.socket"):
            # The program is not installed here: this one is anywhere.
            text = (SYSTEMD / unit).read_text().replace("ExecStart=/opt/heimdall/bin/twistd", "ExecStart=/bin/true")
            (folder / unit).write_text(text)
        self.assertEqual(analyze("verify", "--man=no", folder / "heimdall.service", folder / "heimdall.socket"), "")

    def test_exposure(self) -> None:
        """The service is exposed no more than systemd calls fine."""
        told = analyze("security", "--offline=true", SYSTEMD / "heimdall.service")
        found = re.search(r"Overall exposure level for heimdall.service: ([0-9.]+)", told)
        assert found is not None, told
        self.assertLessEqual(float(found[1]), EXPOSURE)

    def test_names(self) -> None:
        """The socket unit calls its sockets what the server expects, and opens both kinds on each address."""
        text = (SYSTEMD / "heimdall.socket").read_text()
        self.assertIn("\nFileDescriptorName=dns\n", text)
        datagrams, streams = (re.findall(rf"^Listen{kind}=(.+)$", text, re.M) for kind in ("Datagram", "Stream"))
        self.assertEqual(datagrams, streams)
        self.assertTrue(datagrams)

    def test_secrets(self) -> None:
        """The variables that the example for secrets sets are keys that name a file."""
        text = (SYSTEMD / "secrets.conf").read_text()
        variables = re.findall(r"^Environment=(\w+)=%d/(\S+)$", text, re.M)
        self.assertEqual(
            [name for _, name in variables], re.findall(r"^LoadCredential=(\S+):/etc/heimdall/\1$", text, re.M)
        )
        kinds = {key.variable: key.kind for key in KEYS.values()}
        self.assertEqual({kinds[variable] for variable, _ in variables}, {"file"})


class Sample(SynchronousTestCase):
    """heimdall.toml."""

    def load(self, text: str) -> Settings:
        """Load a configuration file."""
        path = Path(self.mktemp())
        path.write_text(text)
        loaded = load({"config": str(path), "upstream": ["192.0.2.1:53"]}, {}, Machine())
        self.assertEqual(loaded.warnings, ())
        return loaded.settings

    def test_current(self) -> None:
        """deploy/systemd/heimdall.toml is what ``python -m heimdall.config.sample`` prints."""
        self.assertEqual((SYSTEMD / "heimdall.toml").read_text(), sample())

    def test_defaults(self) -> None:
        """The file sets a Redis of the host's own, and nothing else; uncommented, each key is set to its default."""
        url = HERE["redis.url"]
        default = Settings(fetch=Fetch(upstreams=("192.0.2.1:53",)), redis=Redis(url=url))
        self.assertEqual(self.load(sample()), default)
        empty: dict[str, dict[str, str]] = {section: {} for section in {key.section for key in KEYS.values()}}
        self.assertEqual(tomllib.loads(sample()), empty | {"redis": {"url": url}})
        everything = re.sub(r"^#(?=\w)", "", sample(), flags=re.M)
        self.assertEqual(self.load(everything), default)
        told = tomllib.loads(everything)
        self.assertEqual({f"{section}.{name}" for section in told for name in told[section]}, set(KEYS))

    def test_explained(self) -> None:
        """Each key has a line or two before it that say what it means and what its value may be."""
        for key in KEYS.values():
            found = re.search(rf"((?:^# .*\n)+)#?{key.name} = ", sample(), re.M)
            assert found is not None, key.path
            self.assertIn("# Value: ", found[1], key.path)
            self.assertFalse(found[1].startswith("# Value"), key.path)
