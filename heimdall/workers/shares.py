"""What one worker gets of the settings of its node, and how they reach it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from cattrs import Converter

from heimdall.config.settings import Settings

_converter = Converter()


def share(settings: Settings, workers: int) -> Settings:
    """Return what each of so many workers is set to.

    What bounds the whole node is divided. What bounds one client is not: the kernel deals clients out by address and
    port, and nobody may be refused who keeps to the rules. Flushes are shared with other regions by the parent.
    """
    accept, cache, redis = settings.accept, settings.cache, settings.redis
    return evolve(
        settings,
        accept=evolve(
            accept,
            tcp_connections=max(accept.tcp_connections // workers, 1),
            inflight=max(accept.inflight // workers, 1),
        ),
        cache=evolve(cache, memory=cache.memory // workers),
        redis=evolve(redis, most_writes=max(redis.most_writes // workers, 1), regions=()),
    )


def to_json(settings: Settings) -> Any:
    """Return settings as JSON has them, secrets and all."""
    return _converter.unstructure(settings)


def from_json(told: Any) -> Settings:
    """Return the settings that :func:`to_json` told."""
    return _converter.structure(told, Settings)
