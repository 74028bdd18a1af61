"""What a Containerfile says, and containers that services of a booted systemd play: there is no engine here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from attrs import frozen

from tests.deploy.booted import Booted
from tests.house.tree import ROOT

CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"

LENT = "/lent"
"""Where containers find the packages that Heimdall needs: nothing is fetched in tests."""


OFFLINE = "export PIP_NO_INDEX=1 PIP_NO_DEPS=1 PIP_NO_BUILD_ISOLATION=0"
"""Lets pip use what is there already."""

PLAIN = "export COMPILE=0"
"""The argument of the build for an image that is all Python: to compile is another test's, for minutes."""


@frozen
class Image:
    """The last stage of a Containerfile, and what the stage before it runs.

    :ivar base: what the stage that builds begins with; ``arguments`` those of it with a default.
    :ivar build: the RUN of the stage that builds, for a shell.
    :ivar copied: what is copied out of the checkout.
    """

    base: str
    arguments: Mapping[str, str]
    build: str
    copied: Sequence[str]
    environ: Mapping[str, str]
    labels: Mapping[str, str]
    user: str
    ports: Sequence[str]
    stop: str
    health: Sequence[str]
    entry: Sequence[str]


def read() -> Image:
    """Read our Containerfile: not every Containerfile that there is."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.M).replace("\\\n", " ")
    first, last = re.split(r"^FROM .*\n", text, flags=re.M)[1:]
    told: dict[str, str] = {}
    for line in last.splitlines():
        word, _, rest = line.strip().partition(" ")
        told[word] = rest.strip()
    copied = [source for line in re.findall(r"^COPY (.*)", first, re.M) for source in line.split()[:-1]]
    (run,) = re.findall(r"^RUN (.*)", first, re.M)
    return Image(
        base=re.findall(r"^FROM (\S+)", text, re.M)[0],
        arguments=dict(re.findall(r"^ARG (\w+)=(.*)", first, re.M)),
        build=run,
        copied=copied,
        environ=dict(pair.split("=", 1) for pair in shlex.split(told["ENV"])),
        labels=dict(pair.split("=", 1) for pair in shlex.split(told["LABEL"])),
        user=told["USER"],
        ports=told["EXPOSE"].split(),
        stop=told["STOPSIGNAL"],
        health=json.loads(told["HEALTHCHECK"].partition("CMD ")[2]),
        entry=json.loads(told["ENTRYPOINT"]),
    )


class Engine:
    """Builds the image on a booted machine, and runs containers of it there, each with a network of its own."""

    BRIDGE = "10.89.0.1"

    def __init__(self, host: Booted) -> None:
        self._host, self.image = host, read()
        self._running: list[str] = []
        host.run("sh", "-euc", f"ip link add br0 type bridge; ip addr add {self.BRIDGE}/24 dev br0; ip link set br0 up")

    def build(self) -> None:
        """Run the steps of the stage that builds, with what may be copied into it; from now on /opt is the image's."""
        self._host.run(
            "sh",
            "-euc",
            f"""
            mkdir -p /srv/opt /srv/bin /build {LENT}
            ln -sf /usr/bin/python3 /srv/bin/python
            mount --bind /opt/heimdall/lent {LENT}
            mount --bind /srv/opt /opt
        """,
        )
        self._host.send("/build", self.image.copied)
        self._host.run(
            "sh", "-euc",
            f"export PATH=/srv/bin:/usr/bin:/bin PYTHONPATH={LENT}; {OFFLINE}; {PLAIN}; cd /build; {self.image.build}",
        )  # fmt: skip
        self._host.lend("/opt/heimdall", LENT)

    def run(
        self, name: str, address: str, command: Sequence[str] = (), environ: Mapping[str, str] | None = None,
        user: str = "", options: Sequence[str] = (), writable: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Start a container.

        :param address: its own on the bridge.
        :param command: in place of the image's; what is not ours has no image here.
        :param user: in place of the image's, ``UID:GID``.
        :param options: of the image's command.
        :param writable: folders in memory that it may write to.
        """
        self._host.run(
            "sh",
            "-euc",
            f"""
            ip netns add {name}
            ip link add v-{name} type veth peer name eth0 netns {name}
            ip link set v-{name} master br0 up
            ip -n {name} link set lo up
            ip -n {name} addr add {address}/24 dev eth0
            ip -n {name} link set eth0 up
            ip -n {name} route add default via {self.BRIDGE}
        """,
        )
        self._running.append(name)
        own = {} if command else self._environ()
        given = [f"--setenv={name}={value}" for name, value in (own | dict(environ or {})).items()]
        number, _, group = (user or self.image.user).partition(":")
        self._host.run(
            "systemd-run", "--quiet", f"--unit=container-{name}", f"--property=KillSignal={self.image.stop}",
            f"--property=NetworkNamespacePath=/run/netns/{name}", "--property=ReadOnlyPaths=/",
            "--property=PrivateDevices=yes", "--property=WorkingDirectory=/",
            *(f"--property=TemporaryFileSystem={folder}:mode=1777" for folder in writable), *given,
            # Not User=: nobody here has a name for that number.
            "/usr/bin/setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all", "/usr/bin/env", *(command or [*self.image.entry, *options]),
        )  # fmt: skip

    def healthy(self, name: str) -> bool:
        """Ask as the engine would, by the image's health check."""
        return self.passes(name, *self.image.health)

    def passes(self, name: str, *check: str) -> bool:
        """Run a health check in a container."""
        return self.inside(name, "sh", "-c", '"$@" >/dev/null 2>&1 && echo yes || echo no', "sh", *check) == "yes\n"

    def inside(self, name: str, *command: str) -> str:
        """Run a command in the network of a container, with the files and the environment of the image."""
        given = [f"{key}={value}" for key, value in self._environ().items()]
        return self._host.run("ip", "netns", "exec", name, "env", *given, *command)

    def stop(self, name: str) -> str:
        """Stop a container; return how it ended, and what it said."""
        self._host.run("systemctl", "stop", f"container-{name}.service")
        return self._host.run("journalctl", "--no-pager", f"--unit=container-{name}.service")

    def end(self) -> None:
        """Remove every container."""
        for name in self._running:
            self._host.run(
                "sh",
                "-c",
                f"u=container-{name}; systemctl stop $u; systemctl reset-failed $u; ip netns del {name}",
                check=False,
            )
        self._running.clear()
        self._host.run("sh", "-c", f"umount /opt; umount {LENT}; rm -rf /srv/opt /build; ip link del br0", check=False)

    def _environ(self) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {name: value.replace("$PATH", path) for name, value in self.image.environ.items()}
