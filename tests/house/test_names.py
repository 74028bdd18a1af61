"""Metrics have names that tell where and what is counted, and each is documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from attrs import frozen

from tests.house.tree import ROOT, House, Module, house

KINDS = {"Count": "counter", "Gauge": "gauge", "Times": "histogram"}

UNITS = {"seconds", "bytes", "ratio", "info", "up"}

ROW = re.compile(r"^\| `(?P<name>heimdall_\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*)\| (?P<text>[^|]+) \|$", re.M)


@frozen
class Metric:
    """A metric as the code declares it, or as the page describes it."""

    name: str
    kind: str
    labels: tuple[str, ...]


def row(metric: Metric, said: str) -> str:
    """Return what the page should say of a metric."""
    return f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {said} |"


def text(node: ast.expr) -> str:
    """Return a string that is written out in the code, else nothing."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def declared() -> Iterator[tuple[Module, int, Metric, str]]:
    """Yield each metric in the code: where it is, what it is, and its text."""
    # What totals makes was declared elsewhere: in another process, or before.
    for module in (each for each in house() if each.part != "totals"):
        for call in module.calls(*KINDS):
            assert isinstance(call.func, ast.Name)
            kind = KINDS[call.func.id]
            arguments = [text(argument) for argument in call.args]
            keywords = {word.arg: text(word.value) for word in call.keywords}
            labels = arguments[2:] if kind == "counter" else [*arguments[3:], keywords.get("label", "")]
            name, help_text = (*arguments, "", "")[:2]
            metric = Metric(name, kind, tuple(label for label in labels if label or kind == "counter"))
            yield module, call.lineno, metric, help_text


class Metrics(House):
    """What holds of every metric."""

    def test_written_out(self) -> None:
        """Names, texts and labels are written out where the metric is made, so that they can be searched for."""
        wrong = [
            f"{module.where}:{line}"
            for module, line, metric, said in declared()
            if not metric.name or not said or not all(metric.labels)
        ]
        self.assertNone(wrong)

    def test_names(self) -> None:
        """A name is heimdall, the part it is made in, what is counted, and its unit; a counter's ends with total."""
        wrong = [
            f"{module.where}:{line}: {metric.name}, {metric.kind}"
            for module, line, metric, _ in declared()
            if metric.name and not self.well_named(module.part, metric)
        ]
        self.assertNone(wrong)

    def well_named(self, leg: str, metric: Metric) -> bool:
        """Say whether a name follows the rule, in the part where it is made."""
        if not re.fullmatch(r"heimdall(_[a-z0-9]+){3,}", metric.name):
            return False
        if not metric.name.startswith(f"heimdall_{leg}_"):
            return False
        words = metric.name.split("_")
        if metric.kind == "counter":
            return words[-1] == "total"
        if metric.kind == "histogram":
            return words[-1] == "seconds"
        # A gauge of things says which: entries, connections, queries.
        return words[-1] in UNITS or words[-1].endswith("s")

    def test_families(self) -> None:
        """No two metrics differ by a suffix only: OpenMetrics would take them for one."""
        seen: dict[str, Metric] = {}
        wrong = []
        for module, line, metric, _ in declared():
            family = re.sub(r"_(total|info|bucket|count|sum|created)$", "", metric.name)
            if seen.setdefault(family, metric) != metric:
                wrong.append(f"{module.where}:{line}: {metric} beside {seen[family]}")
        self.assertNone(wrong)

    def test_documented(self) -> None:
        """docs/metrics.md lists exactly these metrics, with their kinds and labels."""
        page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
        rows = {
            Metric(found["name"], found["kind"], tuple(re.findall(r"`(\w+)`", found["labels"])))
            for found in ROW.finditer(page)
        }
        code = {metric: said for _, _, metric, said in declared() if metric.name}
        missing = [f"not on the page: {row(metric, code[metric])}" for metric in code.keys() - rows]
        self.assertNone(sorted(missing + [f"not in the code: {metric.name}" for metric in rows - code.keys()]))
