"""Tell in words what is held under a key, for people to read: never on the path of a query."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from heimdall.message.answer import TC, Answer
from heimdall.message.query import AD
from heimdall.message.wire import HEADER, name_end, records

MOST_RECORDS: Final = 50
"""Records of one answer that are shown."""

MOST_TEXT: Final = 500
"""Characters of one record that are shown."""

MOST_DATA: Final = 4096
"""Bytes of data of one answer that are shown in words; the other records are shown as bytes (RFC 3597, 5). It takes two
microseconds to write one in words."""

Held = Mapping[str, Any]
"""One thing that is held, as JSON: see :func:`shown`."""

MOST_WHOLE: Final = 500
"""Records of a whole answer that are shown."""


def shown(key: bytes, state: str, **more: Any) -> Held:
    """Return what the key itself says, and what state its value is in.

    ``type`` the type asked for, or "any" for the answer that a name does not exist; ``flags`` of DO and CD those
    that are set; ``subnet`` that of the clients it is for, or None; ``state`` is fresh, stale, flushed, rubbish or
    asked (a node is asking).

    :param key: without prefix; it begins with a whole name.
    """
    end = name_end(key)
    kind, flags, subnet = int.from_bytes(key[end : end + 2], "big"), key[end + 4 : end + 5], key[end + 5 :]
    marks = flags[0] if flags else 0
    return {
        "type": type_text(kind),
        "flags": [text for text, bit in (("DO", 1), ("CD", 2)) if marks & bit],
        "subnet": _subnet(subnet),
        "state": state,
        **more,
    }


def contents(answer: Answer, body: bytes) -> Held:
    """Return what an answer says: ``rcode``, ``ad`` for validated, ``bytes`` of its records, ``records`` as text.

    :param body: its records with the TTLs of this moment.
    """
    found = sections(answer, body, MOST_RECORDS)
    return {
        "rcode": _rcode(answer.rcode),
        "ad": bool(answer.flags & AD),
        "bytes": len(body),
        "count": sum(answer.counts),
        "records": [line for section in found for line in section],
    }


def answered(answer: Answer) -> Held:
    """Return a whole answer: ``origin``, ``rcode``, whether it was validated (``ad``) and truncated (``tc``), extended
    ``errors``, and the records of its sections ``answers``, ``authority`` and ``additional``.
    """
    from dns.edns import EDECode

    known = {int(code): code.name.replace("_", " ").title() for code in EDECode}
    errors = [{"code": e.code, "name": known.get(e.code, ""), "text": e.text} for e in answer.errors]
    answers, authority, additional = sections(answer, answer.body, MOST_WHOLE)
    return {
        "origin": answer.origin,
        "rcode": _rcode(answer.rcode),
        "ad": bool(answer.flags & AD),
        "tc": bool(answer.flags & TC),
        "errors": errors,
        "answers": answers,
        "authority": authority,
        "additional": additional,
    }


def type_text(kind: int) -> str:
    """Return the name of a type; "any" for 0, which is no type."""
    import dns.rdatatype

    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(kind)) if kind else "any"


def _rcode(rcode: int) -> str:
    import dns.rcode

    return dns.rcode.to_text(dns.rcode.Rcode.make(rcode))


def sections(answer: Answer, body: bytes, most: int) -> list[list[str]]:
    """Return the records of each section as in a zone file; none at all when they cannot be read.

    :param most: records of all sections; what stands behind so many is not even read.
    """
    from dns.exception import DNSException

    wire = bytes(HEADER) + answer.question + body
    answers, authorities, additionals = answer.counts
    found: list[list[str]] = [[], [], []]
    left = MOST_DATA
    walk = records(wire, HEADER + len(answer.question), min(answers + authorities + additionals, most))
    try:
        for number, (owner, fixed, kind, _, end) in enumerate(walk):
            size = end - fixed - 10
            line = _line(wire, owner, fixed, kind, size, size <= left)[:MOST_TEXT]
            left -= size if size <= left else 0
            found[(number >= answers) + (number >= answers + authorities)].append(line)
    except (DNSException, ValueError):
        return [[], [], []]
    return found


def _line(wire: bytes, owner: int, fixed: int, kind: int, size: int, in_words: bool) -> str:
    """Return one record as in a zone file.

    :param size: bytes of its data; ``in_words`` whether these are written as its type has them, or as they are.
    :raises DNSException: its data cannot be read.
    """
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype

    name = dns.name.from_wire(wire, owner)[0].to_text()
    ttl, start = int.from_bytes(wire[fixed + 4 : fixed + 8], "big"), fixed + 10
    if in_words:
        data = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), wire, start, size).to_text()
    else:
        data = f"\\# {size} {wire[start : start + min(size, MOST_TEXT)].hex()}"
    return f"{name} {ttl} IN {type_text(kind)} {data}"


def _subnet(part: bytes) -> str | None:
    """Return the network in the last part of a key (RFC 7871); "?" when it is none."""
    if not part:
        return None
    size = {1: 4, 2: 16}.get(part[0])
    if size is None or len(part) < 2 or len(part) > 2 + size:
        return "?"
    return f"{ip_address(part[2:].ljust(size, bytes(1)))}/{part[1]}"
