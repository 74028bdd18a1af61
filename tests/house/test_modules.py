"""Modules are short, say what they do, and have honest names."""

from __future__ import annotations

import ast
import re

from tests.house.tree import House, house, modules

MOST_LINES = 300

NOTHING_SAID = {"util", "utils", "helper", "helpers", "base", "manager", "managers", "common", "misc"}

ONE_WORD = re.compile(r"[a-z][a-z0-9]*|__init__|__main__")


class Modules(House):
    """What holds of every module."""

    def test_length(self) -> None:
        """A module longer than this is two things."""
        lengths = {module.where: len(module.text.splitlines()) for module in house()}
        self.assertNone([f"{where}: {length} lines" for where, length in lengths.items() if length > MOST_LINES])

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
        """The name of a module is one word in lower case that says something."""
        wrong = [
            module.where
            for module in house()
            if not ONE_WORD.fullmatch(module.path.stem) or module.path.stem in NOTHING_SAID
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
