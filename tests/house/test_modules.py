"""Modules are short, say what they do, and have honest names."""

from __future__ import annotations

import ast
import re

from tests.house.tree import House, house, modules

USUAL_LINES = 400
MOST_LINES = 600
"""Lines of a module. Up to ``USUAL_LINES`` need no reason; above that the module's docstring gives one."""

LONG = "Long because"
"""What a line of the docstring begins with that gives the reason."""

NOTHING_SAID = {"util", "utils", "helper", "helpers", "base", "manager", "managers", "common", "misc"}

WORDS = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+){0,2}|__init__|__main__")


class Modules(House):
    """What holds of every module."""

    def test_length(self) -> None:
        """A module holds one idea whole, in 400 lines, or in 600 where its docstring says why."""
        wrong = []
        for module in house():
            length = len(module.text.splitlines())
            reason = re.search(rf"^{LONG} \S", ast.get_docstring(module.tree) or "", re.M)
            if length > (MOST_LINES if reason else USUAL_LINES):
                wrong.append(f"{module.where}: {length} lines")
        self.assertNone(wrong)

    def test_first_line(self) -> None:
        """The first line says in one sentence what the module does."""
        wrong = []
        for module in modules("heimdall", "twisted", "tests", "benchmarks"):
            first = module.text.split("\n", 1)[0]
            said = (ast.get_docstring(module.tree) or "").split("\n")[0]
            if not said or f'"""{said}' not in first.removeprefix("r") or said[-1] not in ".?:;":
                wrong.append(f"{module.where}: {first}")
        self.assertNone(wrong)

    def test_names(self) -> None:
        """The name of a module is one to three words in lower case that say something."""
        wrong = [
            module.where
            for module in house()
            if not WORDS.fullmatch(module.path.stem) or NOTHING_SAID & set(module.path.stem.split("_"))
        ]
        self.assertNone(wrong)

    def test_test_names(self) -> None:
        """Tests and benchmarks have names that say something too."""
        names = {module.where: module.path.stem for module in modules("tests", "benchmarks")}
        self.assertNone([where for where, name in names.items() if NOTHING_SAID & set(name.split("_"))])

    def test_rules(self) -> None:
        """Each test says in its docstring which rule it holds."""
        wrong = [
            f"{module.where}:{node.lineno}: {node.name}"
            for module in modules("tests")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and not ast.get_docstring(node)
        ]
        self.assertNone(wrong)
