"""The files of this checkout, as the checks of the house read them."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from attrs import define
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent.parent


class House(SynchronousTestCase):
    """A rule of the house, held against every file it is about."""

    def assertNone(self, wrong: list[str]) -> None:
        """Fail with one line for each thing that breaks the rule."""
        if wrong:
            self.fail("\n".join(["this breaks the rule:", *wrong]))


@define(slots=False)
class Module:
    """One Python file."""

    path: Path

    @property
    def where(self) -> str:
        """The path as a person reads it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def name(self) -> str:
        """The dotted name."""
        return ".".join(self.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    @property
    def part(self) -> str:
        """The part of the package it belongs to, ``fetch`` for heimdall/fetch/udp.py; empty for the package itself."""
        return part_of(self.name)

    @cached_property
    def text(self) -> str:
        """What is written in it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """What it says, as Python reads it."""
        return ast.parse(self.text, self.where)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name of all that is imported, inside functions too."""
        yield from imported(self.tree)

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Yield each call of a function or class by one of these plain names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield node


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of all that is imported somewhere in a piece of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{'.' * node.level}{node.module or ''}.{alias.name}"


def part_of(name: str) -> str:
    """Return the part that a dotted name below ``heimdall`` belongs to."""
    return name.split(".")[1] if "." in name else ""


def modules(*folders: str) -> list[Module]:
    """Return every Python file below these folders."""
    return [Module(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def house() -> list[Module]:
    """Return every module of the package."""
    return modules("heimdall")


def tracked() -> list[Path]:
    """Return every file that the repository holds or is about to."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        raise SkipTest("this is no git checkout, or git is missing: apt-get install git")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def written() -> list[Path]:
    """Return every page of documentation."""
    return [path for path in tracked() if path.suffix == ".md"]
