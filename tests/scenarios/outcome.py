"""What has to come back from a query: read from the words behind the arrow, and compared with a reply."""

from __future__ import annotations

import re
from collections.abc import Iterator

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from attrs import define, evolve, field

from heimdall.statistics import ORIGINS
from tests.scenarios.records import Record, spelt

LONGEST = 6.0
"""Seconds within which a reply has to come where nothing is said of that."""

ABOUT = 2
"""Seconds that a TTL may differ that is given with ``about``."""

_FLAGS = {"aa": dns.flags.AA, "tc": dns.flags.TC, "ad": dns.flags.AD}
_PARTS = re.compile(r"\s+(?=(?:ttl|from|flags|without|ede|within)\s)")
_HELP = (
    f"behind the data may stand: ttl N, ttl about N, from {'|'.join(ORIGINS)}, flags or without {'|'.join(_FLAGS)}, "
    "ede N, within N s"
)


@define
class Outcome:
    """What has to come back; ``rcode`` is empty for silence, times are seconds.

    ``said`` is the data, None where it is not told; ``some`` whether there has to be any.
    """

    rcode: str = ""
    said: list[str] | None = None
    some: bool = False
    ttl: int | None = None
    about: int = 0
    origin: str = ""
    flags: list[str] = field(factory=list)
    without: list[str] = field(factory=list)
    ede: int | None = None
    within: float = LONGEST

    @classmethod
    def of(cls, text: str) -> Outcome:
        """Read the words behind the arrow.

        :raises ValueError: one of them means nothing.
        """
        made = cls()
        first, *parts = _PARTS.split(text)
        if first != "nothing":
            made._read_answer(first)
        elif parts:
            raise ValueError("nothing is nothing: no more can be said of it")
        for part in parts:
            made._read_part(*part.split(None, 1))
        return made

    def _read_answer(self, text: str) -> None:
        self.rcode, _, data = text.partition(" ")
        try:
            dns.rcode.from_text(self.rcode)
        except dns.exception.DNSException:
            raise ValueError(f"{self.rcode!r} is no response code") from None
        if data == "some data":
            self.some = True
        elif data:
            self.said = [] if data == "no data" else data.split(", ")
        elif self.rcode != "NOERROR":
            self.said = []

    def _read_part(self, word: str, value: str) -> None:
        if word == "ttl" and (found := re.fullmatch(r"(about )?(\d+)", value)):
            self.ttl, self.about = int(found[2]), ABOUT if found[1] else 0
        elif word == "from" and value in ORIGINS:
            self.origin = value
        elif word in ("flags", "without") and set(value.split(", ")) <= _FLAGS.keys():
            setattr(self, word, value.split(", "))
        elif word == "ede" and value.isdecimal():
            self.ede = int(value)
        elif word == "within" and re.fullmatch(r"\d+(\.\d+)? s", value):
            self.within = float(value.removesuffix(" s"))
        else:
            raise ValueError(f"{word} {value}: {_HELP}")

    def wrong(self, reply: dns.message.Message, block: list[str], slack: int) -> Iterator[str]:
        """Yield what is wrong with a reply.

        :param block: each record of the answer section: NAME TTL TYPE DATA; empty where they are not told.
        :param slack: seconds that a TTL may be less, since real time has passed too.
        """
        if (rcode := dns.rcode.to_text(reply.rcode())) != self.rcode:
            yield f"the code is {rcode}"
        yield from self._wrong_data(reply, told=bool(block))
        if self.ttl is not None:
            yield from self._wrong_ttl(reply, self.ttl, slack)
        flags = {word for word, bit in _FLAGS.items() if reply.flags & bit}
        if not set(self.flags) <= flags or flags & set(self.without):
            yield f"of the flags are set: {', '.join(sorted(flags)) or 'none'}"
        errors = [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]
        if self.ede is not None and self.ede not in errors:
            yield f"the extended errors are {errors}"
        if block:
            yield from _wrong_records(reply, block, slack)

    def _wrong_data(self, reply: dns.message.Message, told: bool) -> Iterator[str]:
        qtype = reply.question[0].rdtype
        data = sorted(rdata.to_text() for rrset in reply.answer if rrset.rdtype == qtype for rdata in rrset)
        if self.said is not None and data != sorted(spelt(text, qtype) for text in self.said):
            yield f"the data is {', '.join(data) or 'none'}"
        if self.some and not data:
            yield "there is no data"
        if not self.some and self.said is None and not told:
            yield "with NOERROR the scenario has to say: some data, no data, or the data"

    def _wrong_ttl(self, reply: dns.message.Message, ttl: int, slack: int) -> Iterator[str]:
        records = reply.answer or reply.authority
        if not records:
            yield "there is no record that could have a TTL"
        for rrset in records:
            if not ttl - self.about - slack <= rrset.ttl <= ttl + self.about:
                yield f"the TTL of {rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} is {rrset.ttl}"


def _wrong_records(reply: dns.message.Message, block: list[str], slack: int) -> Iterator[str]:
    left = [
        Record(rrset.name.to_text(omit_final_dot=True).lower(), rrset.ttl, rrset.rdtype, rdata.to_text())
        for rrset in reply.answer
        for rdata in rrset
    ]
    for line in block:
        wanted = Record.of(line)
        same = [one for one in left if evolve(one, ttl=wanted.ttl) == wanted and 0 <= wanted.ttl - one.ttl <= slack]
        if same:
            left.remove(same[0])
        else:
            yield f"there is no {wanted.line}"
    yield from (f"nobody expected {record.line}" for record in left)
