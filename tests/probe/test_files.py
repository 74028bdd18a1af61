"""Looking at the files that a configuration names."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.keys import KEYS
from heimdall.probe.files import SECRETS, files
from heimdall.probe.found import FAIL, NOTE, OK


class Files(SynchronousTestCase):
    """What is found of a file."""

    def state(self, key: str, mode: int, text: str = "0123456789abcdef\n") -> str:
        """Return what is found of a file of a mode that holds a text."""
        path = Path(self.mktemp())
        path.write_text(text)
        path.chmod(mode)
        [found] = files([(key, str(path))])
        self.assertNotIn(text.strip() or "nothing", repr(found))
        return found.state

    def test_secrets(self) -> None:
        """A secret that everybody may read is to be looked at; other files may be read by all."""
        self.assertEqual((self.state("redis.secret_file", 0o644), self.state("redis.secret_file", 0o640)), (NOTE, OK))
        self.assertEqual(self.state("redis.ca_file", 0o644), OK)

    def test_gone(self) -> None:
        """A file that cannot be read is a failure that says why."""
        [found] = files([("redis.ca_file", "/nowhere")])
        self.assertEqual((found.state, found.said), (FAIL, "/nowhere: No such file or directory"))

    def test_keys(self) -> None:
        """Each key whose file is a secret is one that there is."""
        self.assertEqual([key for key in SECRETS if KEYS[key].kind != "file"], [])
