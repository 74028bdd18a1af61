"""Find the values of the configuration: in the file, in the environment, among the options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import frozen

from heimdall.config.address import join
from heimdall.config.faults import Misconfigured, printable
from heimdall.config.keys import KEYS, SECTIONS, Key
from heimdall.config.values import raw_of

CONFIG = "HEIMDALL_CONFIG"
"""The environment variable that names the file."""

SOCKETS = "socket activation"
"""The origin of the addresses whose sockets this process was started with."""

OPTIONS = {
    "listen": "accept.listen",
    "workers": "accept.workers",
    "upstream": "fetch.upstreams",
    "redis": "redis.url",
    "http": "watch.http",
    "node": "peers.node",
}
"""The keys that options of the command line set."""

SWITCHES = {"redis": "redis.enabled", "http": "watch.enabled"}
"""The keys that an option switches on, and the same option behind ``--no-`` switches off."""

# A Kubernetes Service called heimdall or heimdall-something puts such variables into every pod of its namespace.
_INJECTED = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")


@frozen
class Found:
    """A value as it was found.

    :ivar origin: where: "file /x.toml", "environment HEIMDALL_CACHE_MEMORY", "option --listen".
    :ivar raw: the value as TOML gives it.
    """

    key: Key
    origin: str
    raw: object


def in_file(text: str, origin: str) -> tuple[list[Found], list[str]]:
    """Return what a TOML file sets, and a line for each key or section in it that does not exist.

    :raises Misconfigured: it is not TOML.
    """
    import tomllib

    try:
        sections = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        twice = re.search(r"declare \('(\w{1,20})',\) twice", str(error))
        if twice:
            said = (
                f"section [{twice[1]}] stands there twice, which TOML does not take: put its keys below the first one"
            )
            raise Misconfigured([f"{origin}: {said}"]) from None
        raise Misconfigured([f"{origin}: not TOML: {printable(str(error))}"]) from None
    found, wrong = [], []
    for section, values in sections.items():
        if section not in SECTIONS:
            wrong.append(f"{origin}: {_unknown(section)}")
        elif not isinstance(values, dict):
            wrong.append(f"{origin}: {section} is a section: write [{section}], and its keys below")
        else:
            for name, raw in values.items():
                path = f"{section}.{name}"
                if path in KEYS:
                    found.append(Found(KEYS[path], origin, raw))
                else:
                    wrong.append(f"{origin}: {_unknown(path)}")
    return found, wrong


def in_environment(environ: Mapping[str, str]) -> list[Found]:
    """Return what the environment sets, read by exact names; an empty variable sets nothing."""
    found = [
        Found(key, f"environment {key.variable}", raw_of(key, environ[key.variable]))
        for key in KEYS.values()
        if environ.get(key.variable)
    ]
    if not environ.get(KEYS["redis.url"].variable) and environ.get("REDIS_URL"):
        found.append(Found(KEYS["redis.url"], "environment REDIS_URL", environ["REDIS_URL"].strip()))
    return found


def in_cluster(environ: Mapping[str, str]) -> list[Found]:
    """Return the Redis that Kubernetes tells every pod of: that of the Service called heimdall-redis.

    Nobody asked for these variables, so whatever was set on purpose, also in the file, goes before them.
    """
    variable = "HEIMDALL_REDIS_SERVICE_HOST"
    host = environ.get(variable)
    if not host:
        return []
    port = environ.get("HEIMDALL_REDIS_SERVICE_PORT") or "6379"
    return [Found(KEYS["redis.url"], f"environment {variable}", f"redis://{join(host.strip('[]'), port)}")]


def in_options(options: Mapping[str, Any]) -> tuple[list[Found], list[str]]:
    """Return what the options of the command line set, and a line for each pair that contradicts itself."""
    found, wrong = [], []
    for option, path in OPTIONS.items():
        value = options.get(option)
        if value is not None and value != []:
            raw = list(value) if isinstance(KEYS[path].default, tuple) else raw_of(KEYS[path], value)
            found.append(Found(KEYS[path], f"option --{option}", raw))
    for option, path in SWITCHES.items():
        on, off = options.get(option) is not None, bool(options.get(f"no-{option}"))
        if on and off:
            wrong.append(f"option --{option} and option --no-{option}: only one of them can be meant")
        elif on or off:
            found.append(Found(KEYS[path], f"option --{'' if on else 'no-'}{option}", on))
    return found, wrong


def in_sockets(given: tuple[str, ...]) -> list[Found]:
    """Return what follows from the sockets that this process was started with."""
    return [Found(KEYS["accept.listen"], SOCKETS, list(given))] if given else []


def strangers(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that looks like one of ours and is not."""
    known = {key.variable for key in KEYS.values()}
    for name in sorted(environ):
        section, _, rest = name.removeprefix("HEIMDALL_").lower().partition("_")
        ours = name.startswith("HEIMDALL_") and name not in (*known, CONFIG)
        if ours and not _INJECTED.search(name):
            known_section = section in SECTIONS
            close = _close(rest, section) if known_section else _close(name.removeprefix("HEIMDALL_").lower(), "")
            if not known_section and not close:
                continue  # somebody else's
            yield printable(f"environment {name} sets nothing" + (f"; did you mean {close.variable}?" if close else ""))


def _unknown(path: str) -> str:
    """Say that a key or a section does not exist, and which was probably meant."""
    section, _, name = path.rpartition(".")
    close = _close(name, section)
    meant = [close.path] if close else [] if section else [f"[{each}]" for each in get_close_matches(path, SECTIONS, 1)]
    if not meant:
        meant = [key.path for key in KEYS.values() if key.name == name]
    what = f"no such key {path}" if section else f"no such section or key {path}"
    return printable(what) + (f"; did you mean {meant[0]}?" if meant else "")


def _close(name: str, section: str) -> Key | None:
    """Return the key of a section, or of any, whose name is nearest to what was written, or None."""
    keys = {key.name: key for key in KEYS.values() if section in ("", key.section)}
    close = get_close_matches(name, keys, 1)
    return keys[close[0]] if close else None
