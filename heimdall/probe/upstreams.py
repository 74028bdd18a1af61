"""Ask each upstream a real question, over UDP with EDNS and over TCP, and see what it can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from heimdall.config.address import Upstream, upstream
from heimdall.probe.found import FAIL, NOTE, OK, Found, brief

WAIT: Final = 2.0
"""Seconds that a server has to answer, each time."""

AT_ONCE: Final = 16
"""Servers asked at once."""

_SIZE: Final = 1232
_Exchange = Callable[[dns.message.Message], dns.message.Message]


def upstreams(servers: Iterable[tuple[str, str]]) -> list[Found]:
    """Ask some servers at once; this waits for them all.

    :param servers: of each its address, as the configuration has it, and a name that it must know of.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda each: _server(upstream(each[0]), each[1]), servers))


def _server(server: Upstream, name: str) -> Found:
    def over(ask: Callable[..., dns.message.Message]) -> _Exchange:
        return lambda query: ask(query, server.host, timeout=WAIT, port=server.port)

    tcp, udp = over(dns.query.tcp), over(dns.query.udp)
    try:
        took, reply = _ask(tcp if server.tcp else udp, name)
    except (dns.exception.DNSException, OSError, EOFError) as error:
        what = "no answer" if isinstance(error, dns.exception.Timeout) else _why(error)
        said = f"{what} over {'TCP' if server.tcp else 'UDP'}: is it up, and may this machine reach it?"
        return Found("upstream", str(server), FAIL, said, {"name": name, "reached": False})
    worries = [] if reply.rcode() == dns.rcode.NOERROR else [f"answers {dns.rcode.to_text(reply.rcode())} for {name}"]
    if not reply.flags & dns.flags.RA:
        worries.append("does not recurse")
    if reply.edns < 0:
        worries.append("knows no EDNS")
    stream = True
    if not server.tcp:
        try:
            _ask(tcp, name)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            stream = False
            worries.append(f"TCP: {_why(error)}, so that long answers are lost")
    facts = {
        "name": name, "reached": True, "seconds": round(took, 6), "rcode": dns.rcode.to_text(reply.rcode()),
        "edns": reply.edns >= 0, "tcp": stream, "recursion": bool(reply.flags & dns.flags.RA),
        "validates": bool(reply.flags & dns.flags.AD),
    }  # fmt: skip
    good = [*(["EDNS"] if reply.edns >= 0 else []), *(["TCP"] if stream else [])]
    said = ", ".join([f"answers in {brief(took)}", *good, *worries])
    return Found("upstream", str(server), NOTE if worries else OK, said, facts)


def _ask(exchange: _Exchange, name: str) -> tuple[float, dns.message.Message]:
    """Ask, without EDNS where that is not taken; return the seconds of the last exchange, and the reply."""
    kind = "NS" if name == "." else "SOA"
    query = dns.message.make_query(dns.name.from_text(name), kind, use_edns=0, payload=_SIZE)
    query.flags |= dns.flags.AD
    began = time.monotonic()
    reply = exchange(query)
    if reply.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
        began = time.monotonic()
        reply = exchange(dns.message.make_query(dns.name.from_text(name), kind))
    return time.monotonic() - began, reply


def _why(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return f"no answer within {WAIT:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
