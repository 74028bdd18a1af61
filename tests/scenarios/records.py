"""Records as a scenario writes them, NAME TTL TYPE DATA: every name in them is whole, with or without its final dot."""

from __future__ import annotations

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from attrs import frozen


@frozen
class Record:
    """One record: its owner in lower case without the final dot, its TTL, its type, and its data as text."""

    name: str
    ttl: int
    rdtype: dns.rdatatype.RdataType
    data: str

    @classmethod
    def of(cls, text: str) -> Record:
        """Read a record; raises ValueError for what is none."""
        try:
            name, ttl, kind, data = text.split(None, 3)
            rdtype = dns.rdatatype.from_text(kind)
            return cls(name.rstrip(".").lower(), int(ttl), rdtype, spelt(data, rdtype))
        except (ValueError, dns.exception.DNSException) as error:
            raise ValueError(f"{text!r} is not NAME TTL TYPE DATA: {error}") from None

    @property
    def line(self) -> str:
        """The record as a line of a zone file, every name absolute."""
        return f"{self.name}. {self.ttl} {dns.rdatatype.to_text(self.rdtype)} {self.data}"


def spelt(text: str, rdtype: dns.rdatatype.RdataType | str) -> str:
    """Return data of a record as dnspython spells it, names absolute; raises ValueError for what is none."""
    try:
        made = dns.rdata.from_text("IN", rdtype, text, origin=dns.name.root, relativize=False)
    except dns.exception.DNSException as error:
        raise ValueError(f"{text!r} is no data of {rdtype}: {error}") from None
    return made.to_text()
