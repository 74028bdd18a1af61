"""Read the alerts and the dashboard, and the metrics that the page of metrics knows."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests.house.test_names import ROW
from tests.house.tree import ROOT

FOLDER = ROOT / "deploy" / "grafana"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "heimdall.json"
RUNBOOKS = ROOT / "docs" / "runbooks"

_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


@frozen
class Panel:
    """One question of the dashboard."""

    title: str
    expr: str


def tool(name: str) -> str:
    """Return the path of promtool or prometheus."""
    found = shutil.which(name)
    if found is None:
        raise SkipTest(f"no {name}: apt-get install prometheus")
    return found


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    read: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return read


def panels() -> Iterator[Panel]:
    """Yield every question that the dashboard asks."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield Panel(panel["title"], target["expr"])


def metrics() -> dict[str, set[str]]:
    """Return the names that Prometheus may know from docs/metrics.md, each with its labels."""
    known: dict[str, set[str]] = {}
    for row in ROW.finditer((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")):
        labels = set(re.findall(r"`(\w+)`", row["labels"]))
        for suffix in _SUFFIXES.get(row["kind"], ("",)):
            known[row["name"] + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return known


def used(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of ours in an expression, with the labels that it is selected by."""
    for found in re.finditer(r"\b(heimdall_\w+)(?:\{(.*?)\})?", expr):
        yield found[1], set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", found[2] or ""))


def pages() -> dict[str, Path]:
    """Return the runbooks by the alerts that they are about."""
    return {page.stem: page for page in RUNBOOKS.glob("*.md") if page.stem != "README"}
