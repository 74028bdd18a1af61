"""The work that the servers are given: which questions, what is known before, and how they are asked."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from attrs import frozen

from benchmarks.beside.ground import NAMES, SIGNED_NAMES, ZONE
from benchmarks.beside.peers import BARE, ECHO
from benchmarks.cluster.loads import weights

MILLION: Final = 1_000_000
SKEW: Final = 1.0
"""Of the names that are asked by Zipf's law."""

_COLD: Final = re.compile(r"^q\d+x")

Lines = Sequence[str]
Ask = Callable[[random.Random, str, int], Lines]
"""Make some questions; the text is another one for each run, so that names made of it are new to everybody."""


def zipf(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for the 10,000 names, a few of them often."""
    sums = list(accumulate(weights(NAMES, SKEW)))
    return [f"n{rank}.{ZONE} A" for rank in dice.choices(range(NAMES), cum_weights=sums, k=count)]


def even(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for a million names, each as often as the others."""
    return [f"s{number}.w.{ZONE} A" for number in dice.choices(range(MILLION), k=count)]


def cold(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for names that nobody has asked before."""
    return [f"{tag}x{number}.w.{ZONE} A" for number in range(count)]


def shared(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for names that another node has learnt."""
    return [f"{tag}r{number}.w.{ZONE} A" for number in range(count)]


def texts(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for signed answers of 1 KB."""
    return [f"t{number}.{ZONE} TXT" for number in dice.choices(range(SIGNED_NAMES), k=count)]


def mixed(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask as in the record: 60 % of what is in memory, 25 % of what another node has learnt, 15 % of what is new."""
    learnt, new = count // 4, count * 15 // 100
    lines = [*zipf(dice, tag, count - learnt - new), *shared(dice, tag, learnt), *cold(dice, tag, new)]
    dice.shuffle(lines)
    return lines


def random_subdomains(dice: random.Random, tag: str, count: int) -> Lines:
    """Ask for names that are not there, each another one: what an attacker has clients ask."""
    return [f"{tag}x{number}.a.{ZONE} A" for number in range(count)]


def new_to(lines: Lines, server: int) -> Lines:
    """Return questions for one server: each asks for cold names of its own, of the same kind and as many.

    What one of Heimdall's has asked the upstream, the next one would find in Redis.
    """
    return [_COLD.sub(rf"\g<0>{server}x", line) for line in lines]


def all_names() -> Lines:
    """Return a question for each of the 10,000 names."""
    return [f"n{number}.{ZONE} A" for number in range(NAMES)]


def a_million() -> Lines:
    """Return a question for each of a million names."""
    return [f"s{number}.w.{ZONE} A" for number in range(MILLION)]


def all_texts() -> Lines:
    """Return a question for each signed name."""
    return [f"t{number}.{ZONE} TXT" for number in range(SIGNED_NAMES)]


def nothing() -> Lines:
    """Return no question: all is cold."""
    return ()


@frozen
class Work:
    """A workload.

    ``ask`` makes its questions, ``known`` what every server is asked before; ``part`` of them is what another node of
    the cluster is asked before each run. ``once``: no question is asked twice. ``most`` answers a second are more than
    anybody gives. ``redis``: Heimdall has its Redis. ``servers`` are those it is about, empty for all; ``bound`` is
    what shows how good anybody could be. ``streams`` questions on each TCP connection, 0 for UDP. ``half``: times are
    taken at half the load. ``abused``: somebody asks for random subdomains meanwhile. ``threads``: every server runs
    with one, and with so many.
    """

    name: str
    text: str
    ask: Ask
    known: Callable[[], Lines] = nothing
    part: float = 0.0
    once: bool = False
    most: int = 200_000
    redis: bool = True
    servers: tuple[str, ...] = ()
    bound: str = ""
    options: tuple[str, ...] = ()
    streams: int = 0
    signed: bool = False
    entries: int = NAMES
    half: bool = True
    abused: bool = False
    threads: int = 1

    @property
    def warm(self) -> bool:
        """Whether nobody has to ask the upstream."""
        return not self.once and not self.abused


WORKS: Final = (
    Work("memory", "10,000 warm names, Zipf", zipf, all_names),
    Work("miss", "all names cold, forwarding", cold, once=True, most=100_000, redis=False, entries=MILLION,
         bound=BARE),
    Work(
        "l2", "all names cold here, warm in Redis", shared, part=1.0, once=True, most=150_000,
        servers=("heimdall", "heimdall-compiled"), bound=BARE,
        entries=MILLION,
    ),
    Work(
        "mix", "60 % in memory, 25 % in Redis, 15 % nowhere", mixed, all_names, part=0.25, once=True, most=150_000,
        entries=MILLION, bound=BARE,
    ),
    Work("signed", "DO, answers of 1 KB", texts, all_texts, options=("-D",), signed=True),
    Work("tcp", "TCP, one query a connection", zipf, all_names, streams=1, half=False),
    Work("pipelined", "TCP, 100 queries a connection", zipf, all_names, streams=100, half=False),
    Work("abuse", "random subdomains at full rate beside a normal client", zipf, all_names, abused=True, half=False,
         entries=MILLION),
    Work(
        "workers", "as memory, with one worker and with two", zipf, all_names, servers=("heimdall", "unbound"),
        bound=ECHO, half=False, threads=2,
    ),
    Work(
        "spread", "1,000,000 warm names, evenly", even, a_million, entries=MILLION,
        servers=("heimdall", "unbound", "dnsmasq", "bind", "pdns"), bound=ECHO,
    ),
)  # fmt: skip
"""All of them, in the order they are run in."""
