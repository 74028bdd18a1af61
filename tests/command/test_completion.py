"""What shells complete, asked of the shells themselves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from heimdall.command.client import OK, USAGE
from heimdall.command.completion import spoken
from heimdall.command.main import COMMANDS, parser
from tests.command.typed import Terminal, typed

BASH = """
source {script}
COMP_WORDS=({words}) COMP_CWORD=$(({count} - 1))
compopt() {{ :; }}
_heimdall
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


class Completion(SynchronousTestCase):
    """The scripts, each sourced by its shell."""

    def script(self, shell: str) -> Path:
        """Print the script of a shell into a file."""
        if shutil.which(shell) is None:
            raise SkipTest(f"no {shell} here: apt-get install {shell}")
        done = typed("completion", shell)
        self.assertEqual((done.code, done.complaint), (OK, ""))
        path = Path(self.mktemp()).absolute()
        path.write_text(done.out)
        return path

    def run_in(self, *command: str) -> list[str]:
        """Run a program in a folder with a file and a folder; return the lines that it prints."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "an answer.file").touch()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def bash(self, *words: str) -> list[str]:
        """Return what bash offers for the last of some words."""
        text = BASH.format(script=self.script("bash"), words=shlex.join(words), count=len(words))
        return self.run_in("bash", "--norc", "-c", text)

    def test_bash(self) -> None:
        """Bash offers commands, their options, types, tiers and files, wherever other options stand."""
        self.assertEqual(self.bash("heimdall", ""), list(COMMANDS))
        self.assertEqual(self.bash("heimdall", "--server", "a:1", "--json", "in"), ["inspect"])
        self.assertEqual(self.bash("heimdall", "ask", "a.example", "AA"), ["AAAA"])
        self.assertEqual(self.bash("heimdall", "ask", "--do", "a.example", "--client", "x", "MX"), ["MX"])
        self.assertEqual(self.bash("heimdall", "export", "--from", ""), ["memory", "redis"])
        self.assertEqual(self.bash("heimdall", "import", "an"), ["an answer.file"])
        self.assertEqual(self.bash("heimdall", "flush", "a.example", "--sub"), ["--subtree"])
        self.assertEqual(self.bash("heimdall", "members", "--token-file", "an"), ["an answer.file"])
        self.assertEqual(self.bash("heimdall", "--ver"), ["--version"])
        self.assertEqual(self.bash("heimdall", "ask", "--server", ""), [""])
        self.assertEqual(self.bash("heimdall", "members", ""), [""])

    def test_bash_options(self) -> None:
        """Bash offers every option of every command."""
        for command, said in spoken(parser()).items():
            offered = self.bash("heimdall", *([command] if command else []), "-")
            self.assertEqual(offered, [name for option in said.options for name in option.names], command)

    def fish(self, line: str) -> list[str]:
        """Return what fish offers at the end of a line, less what it is about."""
        told = self.run_in(
            "fish", "--no-config", "-c", f"source {self.script('fish')}; complete -C {shlex.quote(line)}"
        )
        return [offer.split("\t")[0] for offer in told]

    def test_fish(self) -> None:
        """So does fish."""
        self.assertEqual(sorted(self.fish("heimdall ")), sorted(COMMANDS))
        self.assertEqual(self.fish("heimdall ins"), ["inspect"])
        self.assertIn("AAAA", self.fish("heimdall ask a.example AA"))
        self.assertEqual(sorted(self.fish("heimdall export --from ")), ["memory", "redis"])
        self.assertEqual(self.fish("heimdall import an"), ["an answer.file"])
        self.assertIn("--subtree", self.fish("heimdall flush --s"))

    def test_zsh(self) -> None:
        """So does zsh, on a terminal, where the tabulator is pressed."""
        script = self.script("zsh")
        with Terminal("-f", "-i", program=["zsh"], columns=200) as terminal:
            terminal.press(f"PS1='> '; autoload -U compinit && compinit -u -D && source {script} && echo re''ady\n")
            terminal.wait_for("ready")
            for typed_so_far, whole in (
                ("heimdall ins\t", "heimdall inspect"),
                ("heimdall flush a.example --sub\t", "--subtree"),
                ("heimdall ask a.example AAA\t", "AAAA"),
                ("heimdall export --from red\t", "--from redis"),
            ):
                terminal.press(typed_so_far)
                terminal.wait_for(whole)
                terminal.press("\x15")  # away with the line
            terminal.press("exit\n")
            self.assertEqual(terminal.end(), 0)

    def test_alike(self) -> None:
        """An option of one name takes the same kind of value in every command: the scripts depend on that."""
        values: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
        for said in spoken(parser()).values():
            for option in said.options:
                for name in option.names:
                    values.setdefault(name, set()).add((option.value, option.words))
        self.assertEqual([name for name, each in values.items() if len(each) > 1], [])

    def test_help(self) -> None:
        """Its help says how to set it up; a shell that is not known is refused."""
        self.assertIn("source <(heimdall completion", typed("completion", "--help").out)
        self.assertEqual(typed("completion", "tcsh").code, USAGE)
