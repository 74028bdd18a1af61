"""The statistics of a node in one entry of the log, as an operator asks for them with SIGUSR1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from heimdall.interfaces import ILink
from heimdall.tally import Count, Tally, Times
from heimdall.totals import total
from heimdall.units import brief, seconds, share, size
from heimdall.watch.processes import resident

ORIGINS: Final = ("memory", "redis", "upstream", "stale", "local", "blocked")
"""Who may have known an answer."""


def statistics(
    tallies: Iterable[Tally],
    upstreams: Sequence[Sequence[Mapping[str, Any]]],
    link: ILink | None,
    workers: Sequence[int],
    *,
    status: str,
    uptime: float,
) -> Mapping[str, Any]:
    """Return the statistics of a node since its start, fit for JSON. Times are in seconds.

    :param tallies: what all parts of the node count.
    :param upstreams: how each upstream does, by groups.
    :param link: the connection to Redis; None where it is not used.
    :param workers: the numbers of the processes that serve, beside this one.
    """
    every = list(tallies)

    def of(name: str, *values: str) -> int:
        return int(total(every, name, *values))

    rcodes = _by_rcode(every)
    return {
        "status": status,
        "uptime": round(uptime, 1),
        "queries": {over: of("heimdall_accept_queries_total", over) for over in ("udp", "tcp")},
        "answers": {origin: of("heimdall_accept_answers_total", origin) for origin in ORIGINS},
        "rcodes": dict(sorted(rcodes.items(), key=lambda rcode: -rcode[1])),
        "pending": of("heimdall_accept_pending_queries"),
        "dropped": of("heimdall_accept_dropped_total"),
        "refused": of("heimdall_admit_refused_total"),
        "limited": of("heimdall_admit_limited_total"),
        "memory": {
            "answers": of("heimdall_cache_memory_entries"),
            "bytes": of("heimdall_cache_memory_used_bytes"),
            "limit": of("heimdall_cache_memory_limit_bytes"),
            "evicted": of("heimdall_cache_memory_evicted_total"),
        },
        "upstreams": [dict(server) for group in upstreams for server in group],
        "redis": None if link is None else _redis(link, every),
        "processes": {"workers": len(workers), "resident": resident(workers)},
    }


def line(told: Mapping[str, Any]) -> str:
    """Return the statistics as one line for a person."""
    queries, memory, processes = told["queries"], told["memory"], told["processes"]
    answers = sum(told["answers"].values())
    tiers = ", ".join(f"{share(count, answers)} {origin}" for origin, count in told["answers"].items())
    rcodes = ", ".join(f"{count} {rcode.upper()}" for rcode, count in told["rcodes"].items()) or "none"
    workers = f" with {processes['workers']} workers" * bool(processes["workers"])
    parts = (
        f"{told['status']}, up {seconds(told['uptime'])}",
        f"{sum(queries.values())} queries ({queries['udp']} UDP, {queries['tcp']} TCP)",
        f"answers by origin: {tiers}",
        f"by code: {rcodes}",
        f"{told['pending']} pending, {told['dropped']} dropped, {told['refused']} refused, "
        f"{told['limited']} over the rate limit",
        f"memory: {memory['answers']} answers, {size(memory['bytes'])} of {size(memory['limit'])}, "
        f"{memory['evicted']} evicted",
        f"upstreams: {', '.join(map(_server, told['upstreams'])) or 'none'}",
        f"Redis: {_said_of(told['redis'])}",
        f"process: {size(processes['resident'])}{workers}",
    )
    return "; ".join(parts)


def _by_rcode(tallies: Iterable[Tally]) -> dict[str, int]:
    """Return how many answers had each response code."""
    found: dict[str, int] = {}
    for tally in tallies:
        if isinstance(tally, Count) and tally.name == "heimdall_accept_answers_total":
            for (_, rcode), count in tally.counts.items():
                found[rcode] = found.get(rcode, 0) + count
    return found


def _redis(link: ILink, tallies: Iterable[Tally]) -> Mapping[str, Any]:
    replies, took = 0, 0.0
    for tally in tallies:
        if isinstance(tally, Times) and tally.name == "heimdall_redislink_round_trip_seconds":
            replies, took = replies + sum(tally.buckets), took + tally.sum
    return {
        "up": link.up,
        "hearing": link.hearing,
        "refuses": list(link.refusals),
        "replies": replies,
        "rtt": round(took / replies, 6) if replies else None,
    }


def _server(server: Mapping[str, Any]) -> str:
    return f"{server['server']} {'up' if server['up'] else 'down'} {brief(server['rtt'])}"


def _said_of(redis: Mapping[str, Any] | None) -> str:
    if redis is None:
        return "not used"
    state = "answers" if redis["up"] else "away"
    deaf = ", hears nothing" * (redis["up"] and not redis["hearing"])
    refuses = f", refuses: {' and '.join(redis['refuses'])}" if redis["refuses"] else ""
    return f"{state}{deaf}{refuses}, {redis['replies']} replies, {brief(redis['rtt'])} on average"
