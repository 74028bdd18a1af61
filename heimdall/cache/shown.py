"""Tell in words what is held under a key, for people to read: never on the path of a query."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from heimdall.message.answer import TC, Answer
from heimdall.message.query import AD
from heimdall.message.wire import name_end

MOST_RECORDS: Final = 50
"""Records of one answer that are shown."""

MOST_TEXT: Final = 500
"""Characters of one record that are shown."""

Held = Mapping[str, Any]
"""One thing that is held, as JSON: see :func:`shown`."""

MOST_SECTION: Final = 500
"""Records of one section of a whole answer that are shown."""

_QUERY_RESPONSE: Final = 0x80


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
    records = [line for section in sections(answer, body) for line in section]
    return {
        "rcode": _rcode(answer.rcode),
        "ad": bool(answer.flags & AD),
        "bytes": len(body),
        "count": sum(answer.counts),
        "records": [record[:MOST_TEXT] for record in records[:MOST_RECORDS]],
    }


def answered(answer: Answer) -> Held:
    """Return a whole answer: ``origin``, ``rcode``, whether it was validated (``ad``) and truncated (``tc``), extended
    ``errors``, and the records of its sections ``answers``, ``authority`` and ``additional``.
    """
    from dns.edns import EDECode

    known = {int(code): code.name.replace("_", " ").title() for code in EDECode}
    errors = [{"code": e.code, "name": known.get(e.code, ""), "text": e.text} for e in answer.errors]
    answers, authority, additional = [
        [line[:MOST_TEXT] for line in each[:MOST_SECTION]] for each in sections(answer, answer.body)
    ]
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


def sections(answer: Answer, body: bytes) -> list[list[str]]:
    """Return the records of each section as in a zone file; none at all when they cannot be read."""
    import dns.message
    from dns.exception import DNSException

    counts = b"".join(count.to_bytes(2, "big") for count in answer.counts)
    head = bytes((0, 0, _QUERY_RESPONSE, 0)) + b"\0\1" + counts
    try:
        message = dns.message.from_wire(head + answer.question + body)
        return [
            [line for rrset in section for line in rrset.to_text().splitlines()] for section in message.sections[1:]
        ]
    except (DNSException, ValueError):
        return [[], [], []]


def _subnet(part: bytes) -> str | None:
    """Return the network in the last part of a key (RFC 7871); "?" when it is none."""
    if not part:
        return None
    size = {1: 4, 2: 16}.get(part[0])
    if size is None or len(part) < 2 or len(part) > 2 + size:
        return "?"
    return f"{ip_address(part[2:].ljust(size, bytes(1)))}/{part[1]}"
