"""Read what a request to the API asks for, and refuse what cannot be meant."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from twisted.web.server import Request

from heimdall.message.wire import from_text

_YES: Final = {b"1": True, b"true": True, b"0": False, b"false": False}


class Asked:
    """What stands behind the question mark of a request. Every method raises ValueError for what cannot be meant.

    :param known: what may be asked for, by name.
    :raises ValueError: something unknown is asked for, or one thing twice: what was meant is not clear.
    """

    def __init__(self, request: Request, *known: str) -> None:
        arguments: dict[bytes, list[bytes]] = request.args or {}
        self._values = {}
        for key, values in arguments.items():
            text = key.decode("ascii", "backslashreplace")
            if text not in known:
                raise ValueError(f"{text!r} is not known here; there are {', '.join(known)}")
            if len(values) > 1:
                raise ValueError(f"{text!r} is given twice")
            self._values[text] = values[0]

    def name(self) -> bytes:
        """Return the folded wire name that is asked for."""
        try:
            text = self._values.get("name", b"").decode()
        except UnicodeDecodeError:
            raise ValueError("the name is not UTF-8") from None
        if not text:
            raise ValueError("a name is missing: ?name=www.example.com")
        return from_text(text)

    def qtype(self) -> int:
        """Return the number of the type; 0 when none is named."""
        import dns.rdatatype
        from dns.exception import DNSException

        text = self._text("type")
        try:
            return int(dns.rdatatype.from_text(text)) if text else 0
        except (DNSException, ValueError):
            raise ValueError(f"{text!r} is not a type, such as A or AAAA") from None

    def flag(self, name: str) -> bool:
        """Return whether something is asked for."""
        value = _YES.get(self._values.get(name, b"0"))
        if value is None:
            raise ValueError(f"{name} is 1 or 0")
        return value

    def address(self, name: str, default: str) -> str:
        """Return an IP address."""
        text = self._text(name) or default
        try:
            return str(ip_address(text))
        except ValueError:
            raise ValueError(f"{name} is {text!r}, which is no IP address") from None

    def word(self, name: str, *words: str) -> str:
        """Return one of some words; the first of them when nothing is said."""
        text = self._text(name) or words[0]
        if text not in words:
            raise ValueError(f"{name} is one of {', '.join(words)}, not {text!r}")
        return text

    def _text(self, name: str) -> str:
        return self._values.get(name, b"").decode("ascii", "backslashreplace")
