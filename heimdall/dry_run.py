"""Load a configuration and build what it asks for, as a start does, without serving: what a start refuses is found."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from heimdall.accept.sockets import CannotListen, bind, bind_stream
from heimdall.config.load import Loaded, load
from heimdall.config.machine import Machine

# A start comes this way before its sockets are open: of the server only what a configuration needs is imported.


class Unusable(Exception):
    """What the configuration names cannot be used; the text says what and why."""


def load_all(options: Mapping[str, Any], environ: Mapping[str, str], given: Sequence[str] = ()) -> Loaded:
    """Load the configuration that options, environment and file make together.

    :param given: the addresses of the sockets that this process was started with.
    :raises Misconfigured: it is wrong.
    """
    machine = Machine(read_record=_record, read_secret=_secret, read_token=_token, given=tuple(given))
    return load(options, environ, machine)


async def build(loaded: Loaded, reactor: Any, environ: Mapping[str, str]) -> Loaded:
    """Build a node, and give it up; return the configuration with the warnings that came of it.

    :raises Unusable: a start would end here.
    """
    from heimdall import node
    from heimdall.node_redis import look, served

    with _warnings() as warnings:
        try:
            look(loaded.settings)
            built = node.build(served(loaded.settings, None), reactor, (), None, environ)
        except Exception as error:  # whatever the user's own code raises
            raise Unusable(reason(error)) from None
        await built.hands.close()
    return evolve(loaded, warnings=(*loaded.warnings, *warnings))


def build_now(loaded: Loaded, reactor: Any, environ: Mapping[str, str]) -> Loaded:
    """Do what :func:`build` does, without a reactor that runs."""
    found: list[Any] = []
    Deferred.fromCoroutine(build(loaded, reactor, environ)).addBoth(found.append)
    if not isinstance(found[0], Loaded):
        found[0].raiseException()
    checked: Loaded = found[0]
    return checked


def reason(error: Exception) -> str:
    """Return what to tell a person about a configuration that cannot be used.

    A file or a value is told in a line. Any other exception comes from the user's own code: its place is told.
    """
    said = f"the configuration cannot be used: {error}"
    if isinstance(error, (ValueError, OSError)):
        return said
    return f"{said}\n{''.join(traceback.format_exception(error)).rstrip()}"


def unbound(loaded: Loaded, given: bool) -> Iterator[str]:
    """Yield why an address cannot be served on now, also where a server has it already.

    :param given: whether the sockets for DNS are open already.
    """
    settings = loaded.settings
    for text in () if given else settings.accept.listen:
        try:
            for one in bind([text], True):
                one.close()
        except CannotListen as error:
            yield str(error)
    if settings.watch.enabled:
        try:
            bind_stream(settings.watch.http).close()
        except CannotListen as error:
            yield str(error)


def _record(text: str) -> object:
    from heimdall.admit.local import read_record

    return read_record(text)


def _secret(file: str) -> object:
    from heimdall.cache.seal import read

    return read(file)


def _token(file: str) -> object:
    from heimdall.watch.trust import read_token

    return read_token(file)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect what is logged meanwhile as a warning, or as worse."""
    found: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield found
    finally:
        globalLogPublisher.removeObserver(observe)
