"""A node in the network of its host, tried in a network of its own: the address is made, and port 53 served there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.deploy.helm.chart import rendered
from tests.deploy.helm.test_live import Pod
from tests.house.tree import ROOT

ALONE = ["unshare", "--net", "--map-root-user"]
"""In a network that nobody else is in."""

WITH_ONE = ["setpriv", "--bounding-set=-all,+net_bind_service", "--inh-caps=-all", "--no-new-privs"]
"""Root as the chart has it: one capability, and no way to another."""


class Host(Pod):
    """nodeLocal.via: hostNetwork"""

    def setUp(self) -> None:
        super().setUp()
        for command, package in (
            ("unshare", "util-linux"),
            ("setpriv", "util-linux"),
            ("ip", "iproute2"),
            ("dig", "bind9-dnsutils"),
        ):
            if shutil.which(command) is None:
                raise SkipTest(f"no {command}: apt-get install {package}")
        self.kind = next((kind for kind in ("dummy", "ifb") if self.runs(f"ip link add probe type {kind}")), "")
        if not self.kind:
            raise SkipTest("this kernel makes no network of its own for us, or no interface in it")

    def runs(self, script: str) -> bool:
        """Say whether a script succeeds in a network of its own."""
        return subprocess.run([*ALONE, "sh", "-ec", script], capture_output=True, check=False).returncode == 0

    def test_address(self) -> None:
        """The address is made once, however often a pod comes, and the node serves port 53 there by one capability."""
        whole = rendered("daemonset-host")
        pod = whole.nodes["spec"]
        [interface] = pod["initContainers"]
        # Where the kernel has no dummy, another interface without a wire does.
        made = interface["args"][0].replace("type dummy", f"type {self.kind}")
        file = self.mount(whole)
        twistd, *arguments = pod["containers"][0]["command"]
        node = [*WITH_ONE, str(Path(sys.executable).with_name(twistd)), *arguments]
        script = f"""
            ip link set lo up
            {made}
            {made}
            ip -brief address show dev heimdall0
            {" ".join(node)} >log 2>&1 &
            for turn in $(seq 1200); do
                dig @169.254.20.10 localhost A +short +tries=1 +timeout=1 >answer 2>&1 && break
                sleep 0.1
            done
            cat answer
            dig @169.254.20.10 localhost A +short +tcp
            grep CapBnd /proc/$!/status
            kill $!
            wait $! || cat log
        """
        done = subprocess.run(
            [*ALONE, "sh", "-ec", script],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HEIMDALL_CONFIG": str(file)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        brief, *answers = done.stdout.splitlines() or [""]
        self.assertEqual(brief.split()[2:3], ["169.254.20.10/32"], done.stdout + done.stderr)
        self.assertEqual(answers, ["127.0.0.1", "127.0.0.1", "CapBnd:\t0000000000000400"], done.stdout + done.stderr)
