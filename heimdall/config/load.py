"""Load the configuration: options beat the environment, which beats the file, which beats the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from heimdall.config import agree, resolv, sources
from heimdall.config.faults import Fault, Misconfigured, Unfit, line, printable
from heimdall.config.keys import KEYS, SECTIONS
from heimdall.config.machine import Machine
from heimdall.config.settings import Settings
from heimdall.config.values import read

DEFAULT = "default"
"""The origin of a value that nobody set."""


@frozen
class Loaded:
    """A configuration that is sound, and where it came from.

    :ivar origins: where the value of each key, by ``section.key``, was found: "default", "file /x.toml",
        "environment HEIMDALL_CACHE_MEMORY", "option --listen".
    :ivar warnings: what the operator should know, a line each.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def asked(self, path: str) -> bool:
        """Return whether somebody set the key ``section.key``."""
        return self.origins[path] != DEFAULT


def load(options: Mapping[str, Any], environ: Mapping[str, str], machine: Machine) -> Loaded:
    """Return the configuration that options, environment and file make together.

    :param options: of the command line, by their names without dashes.
    :raises Misconfigured: with a line for each fault, of all sources at once.
    """
    found, wrong = _gather(options, environ, machine)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(KEYS, DEFAULT)
    bad = set()
    warnings = list(sources.strangers(environ))
    for one in found:
        key = one.key
        try:
            value = read(key, one.raw)
        except Unfit as error:
            wrong += [line(one.origin, key.path, fault, secret=key.secret) for fault in error.faults]
            bad.add(key.path)
        else:
            if one.origin == sources.SOCKETS and values.get(key.path, value) != value:
                warnings.append(
                    f"{origins[key.path]}: {key.path} is not used, but the sockets that we were started with"
                )
            values[key.path] = _absolute(value, one.origin) if key.kind == "file" else value
            origins[key.path] = one.origin
    settings = _settings(values)
    for conflict in agree.conflicts(settings, machine):
        if bad.isdisjoint(conflict.paths):
            path = conflict.paths[0]
            origin = next((origins[each] for each in conflict.paths if origins[each] != DEFAULT), DEFAULT)
            wrong.append(line(origin, path, conflict.fault, secret=KEYS[path].secret))
    if bad.isdisjoint(("accept.listen", "redis.url", "redis.replica_url")) and origins["redis.url"] != DEFAULT:
        warnings += agree.asks_itself(settings, machine)
    if not settings.fetch.upstreams and bad.isdisjoint(("fetch.upstreams", "fetch.resolv_conf", "accept.listen")):
        try:
            settings = _adopt(settings, origins, machine)
        except NoServers as error:
            if error.fault and settings.fetch.resolv_conf != KEYS["fetch.resolv_conf"].default:
                wrong.append(line(origins["fetch.resolv_conf"], "fetch.resolv_conf", error.fault))
            warnings.append(str(error))
    if wrong:
        raise Misconfigured(dict.fromkeys(wrong))
    return Loaded(settings, origins, tuple(warnings))


class NoServers(Exception):
    """No upstream is set, and none was found; the text is a warning.

    :ivar fault: set when it is for want of the file.
    """

    def __init__(self, reason: str, fault: Fault | None = None) -> None:
        super().__init__(f"no upstreams: {reason}; what is not answered from a cache will be answered SERVFAIL")
        self.fault = fault


def _gather(
    options: Mapping[str, Any], environ: Mapping[str, str], machine: Machine
) -> tuple[list[sources.Found], list[str]]:
    """Return all values found, those that beat others behind them, and a line for each thing wrong so far."""
    given, wrong = sources.in_options(options)
    found = sources.in_cluster(environ)
    path, origin = options.get("config"), "option --config"
    if not path:
        path, origin = environ.get(sources.CONFIG), f"environment {sources.CONFIG}"
    if path:
        path = os.path.abspath(path)
        try:
            in_file, unknown = sources.in_file(machine.read_file(path), f"file {path}")
            found += in_file
            wrong += unknown
        except OSError as error:
            wrong.append(printable(f"{origin}: {path} cannot be read: {error.strerror or error}"))
        except UnicodeDecodeError:
            wrong.append(printable(f"{origin}: {path} is not text in UTF-8"))
        except Misconfigured as error:
            wrong += error.lines
    found += sources.in_environment(environ) + given
    return found + sources.in_sockets(machine.given), wrong


def _absolute(value: Any, origin: str) -> Any:
    """Return the paths of files as they are still right after a change of directory.

    What stands in the configuration file counts from the folder of that file.
    """
    if isinstance(value, tuple):
        return tuple(_absolute(path, origin) for path in value)
    kind, _, place = origin.partition(" ")
    folder = os.path.dirname(place) if kind == "file" else os.getcwd()
    return os.path.normpath(os.path.join(folder, value)) if value else value


def _settings(values: Mapping[str, Any]) -> Settings:
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for path, value in values.items():
        section, _, name = path.partition(".")
        sections[section][name] = value
    return Settings(**{section: SECTIONS[section](**sections[section]) for section in sections})


def _adopt(
    settings: Settings,
    origins: dict[str, str],
    machine: Machine,
) -> Settings:
    """Return the settings with the upstreams of resolv.conf, less those that are ourselves.

    :raises NoServers: none are left.
    """
    path = settings.fetch.resolv_conf
    try:
        text = machine.read_file(path)
    except UnicodeDecodeError as error:  # a name in a comment, as a rule: the addresses can be read all the same
        text = error.object.decode(errors="replace")
    except (OSError, ValueError) as error:
        raise NoServers(f"{path} cannot be read", Fault(path, "a file that can be read", str(error))) from None
    conf = resolv.parse(text)
    own = agree.Own(settings.accept.listen, machine.is_ours)
    upstreams = tuple(str(upstream) for upstream in conf.upstreams if upstream not in own)
    if not upstreams:
        raise NoServers(f"{path} names {'only ourselves' if conf.upstreams else 'none'}")
    origins["fetch.upstreams"] = f"file {path}"
    fetch = evolve(settings.fetch, upstreams=upstreams)
    if conf.trust_ad and origins["fetch.trust_ad"] == DEFAULT:
        origins["fetch.trust_ad"] = f"file {path}"
        fetch = evolve(fetch, trust_ad=True)
    return evolve(settings, fetch=fetch)
