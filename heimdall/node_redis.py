"""The Redis that a configuration has its node run: made where it is asked for, and named to the parts of the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.logger import Logger

from heimdall.config.settings import Settings
from heimdall.config.url import EMBEDDED, folder

if TYPE_CHECKING:
    from heimdall.redis_server.embedded import EmbeddedRedis

ENDING = 3.0
"""Seconds that a node which starts waits for a former one that is about to leave its embedded Redis."""

_log = Logger()


def embedded(
    settings: Settings,
    reactor: Any,
    environ: Mapping[str, str],
    former: EmbeddedRedis | None = None,
    patience: float = 0.0,
) -> EmbeddedRedis | None:
    """Return the Redis that a node runs for itself: None where none is asked for, or there is no program to run.

    :param environ: says where temporary folders are.
    :param former: the one that it runs already.
    :param patience: seconds to wait, blocking, for a former node that is about to leave the folder.
    :raises ValueError: another node has its folder, or it cannot be used.
    """
    named = folder(settings.redis.url)
    if named is None or not settings.redis.enabled:
        return None
    if former is not None and former.home.named == named:
        return former
    # Few have it, and a start must be quick.
    from heimdall.redis_server.embedded import EmbeddedRedis
    from heimdall.redis_server.home import Home, may_pass
    from heimdall.redis_server.program import MISSING, find

    program = find()
    if not program:
        _warn(MISSING)
        return None
    home = Home(named, environ)
    try:
        home.take(patience)
    except ValueError as error:
        raise ValueError(f"redis.url: {error}") from None
    except OSError as error:
        if not may_pass(error):
            raise ValueError(f"redis.url: {home.folder} cannot be used: {error.strerror}") from None
    return EmbeddedRedis(reactor, program, home, settings.redis.memory)


def look(settings: Settings) -> None:
    """Say of the Redis that a node would run for itself what a start would, and leave its folder alone.

    The user who looks may be another one than the user who serves: a folder of another user is a warning.

    :raises ValueError: the folder cannot be used.
    """
    named = folder(settings.redis.url)
    if named is None or not settings.redis.enabled:
        return
    from heimdall.redis_server.home import look_at
    from heimdall.redis_server.program import MISSING, find

    if not find():
        _warn(MISSING)
    fault, known = look_at(named) if named else ("", "")
    if fault:
        raise ValueError(f"redis.url: {fault}")
    if known:
        _log.warn("redis.url: {known}", known=known)


def _warn(missing: str) -> None:
    _log.warn("This node goes on alone, and keeps answers in memory alone: {missing}", missing=missing)


def served(settings: Settings, redis: EmbeddedRedis | None) -> Settings:
    """Return settings as the parts of a node take them: with the place of its embedded Redis, or without any."""
    if redis is not None:
        return evolve(settings, redis=evolve(settings.redis, url=EMBEDDED + redis.home.at))
    if folder(settings.redis.url) is not None:
        return evolve(settings, redis=evolve(settings.redis, enabled=False))
    return settings
