"""Read and check one value of the configuration, by the kind of its key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from attrs import frozen

from heimdall.config import address, url
from heimdall.config.faults import Fault, Unfit
from heimdall.config.keys import Key
from heimdall.message.wire import from_text, to_text

IMPORT = "import:"
"""What stands before the dotted name of a source of one's own, in a route."""

SHORTEST_SECRET = 16
"""Bytes that a secret has at least."""

_MOST_BYTES = 1 << 50
_SPANS = {"us": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SPAN = 7 * 86400
_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


@frozen
class Kind:
    """How the values of a key are read.

    :ivar expected: what such a value is, in a few words.
    :ivar read: returns the value as the settings hold it; raises ValueError with the reason, if there is more to
        say than what was expected.
    """

    expected: str
    read: Callable[[Any], Any]


def read(key: Key, raw: object) -> Any:
    """Return a value as the settings hold it.

    :param raw: the value as TOML gives it.
    :raises Unfit: with each fault of it.
    """
    kind = kind_of(key)
    if isinstance(key.default, dict):
        return _routes(kind, raw)
    if isinstance(key.default, tuple):
        return _items(kind, raw)
    return _item(kind, raw)


def raw_of(key: Key, text: str) -> object:
    """Return the text of an environment variable as TOML would have given the value.

    Items of a list stand between commas. Routes are written ``suffix=server server, suffix=server``.
    """
    if isinstance(key.default, bool):
        return _WORDS.get(text.strip().lower(), text)
    if isinstance(key.default, (int, float)):
        return _literal(text.strip())
    if isinstance(key.default, tuple):
        return [item.strip() for item in text.split(",") if item.strip()]
    if isinstance(key.default, dict):
        routes = (item.partition("=") for item in text.split(",") if item.strip())
        return {suffix.strip(): servers.split() for suffix, _, servers in routes}
    return text.strip()


def kind_of(key: Key) -> Kind:
    """Return how the values of a key, or the items of its list, are read."""
    name, _, detail = key.kind.partition(":")
    whole = isinstance(key.default, int)
    if isinstance(key.default, bool):
        return Kind("true or false", _boolean)
    if name == "choice":
        choices = detail.split("|")
        return Kind("one of " + ", ".join(choices), lambda raw: _choice(choices, raw))
    if name == "seconds":
        return _span(detail or f"0.001-{_LONGEST_SPAN}", whole)
    if re.fullmatch(r"[0-9.]+-[0-9.]*", name):
        least, most = _range(name)
        return Kind(
            _range_text("a whole number" if whole else "a number", least, most),
            lambda raw: _number(raw, least, most, whole),
        )
    return _KINDS[name]


def _literal(text: str) -> object:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", text):
        return float(text)
    return text


def _items(kind: Kind, raw: object) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise Unfit(Fault(raw, f"a list, each of it {kind.expected}"))
    values: list[Any] = []
    faults: list[Fault] = []
    for item in raw:
        try:
            values.append(_item(kind, item))
        except Unfit as error:
            faults.extend(error.faults)
    if faults:
        raise Unfit(*faults)
    return tuple(values)


def _routes(kind: Kind, raw: object) -> dict[str, tuple[Any, ...]]:
    if not isinstance(raw, dict):
        raise Unfit(Fault(raw, "a table of name suffixes, each with a list of servers"))
    routes: dict[str, tuple[Any, ...]] = {}
    faults: list[Fault] = []
    for suffix, servers in raw.items():
        try:
            name = _item(_KINDS["name"], suffix)
            if name in routes:
                faults.append(Fault(suffix, "each suffix once"))
            elif servers == []:
                faults.append(Fault(suffix, "at least one server for a suffix"))
            elif isinstance(servers, list) and len(servers) > 1 and any(IMPORT in str(server) for server in servers):
                faults.append(Fault(suffix, "servers for a suffix, or one source to import"))
            else:
                routes[name] = _items(kind, servers)
        except Unfit as error:
            faults.extend(error.faults)
    if faults:
        raise Unfit(*faults)
    return routes


def _item(kind: Kind, raw: object) -> Any:
    try:
        return kind.read(raw)
    except ValueError as error:
        raise Unfit(Fault(raw, kind.expected, str(error))) from None


def _boolean(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("it is not a text")
    if not raw.replace("\t", " ").isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return raw


def _choice(choices: list[str], raw: object) -> str:
    if raw not in choices:
        raise ValueError
    return str(raw)


def _number(raw: object, least: float, most: float, whole: bool) -> float:
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(raw, bool) or not isinstance(raw, kinds):
        raise ValueError
    if not (isinstance(raw, (int, float)) and least <= raw <= most and raw < math.inf):
        raise ValueError
    return raw if whole else float(raw)


def _size(raw: object) -> int:
    if isinstance(raw, str) and (match := re.fullmatch(r"([0-9]{1,16}) ?(?:([kKMGT])(i?))?B?", raw)):
        power = " kMGT".index((match[2] or " ").replace("K", "k"))
        raw = int(match[1]) * (1024 if match[3] else 1000) ** power
    return int(_number(raw, 1, _MOST_BYTES, whole=True))


def _span(text: str, whole: bool) -> Kind:
    least, most = _range(text)

    def read_span(raw: object) -> float:
        if isinstance(raw, str) and (match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(us|ms|[smhd])", raw)):
            seconds = round(float(match[1]) * _SPANS[match[2]], 9)
            raw = int(seconds) if whole and seconds.is_integer() else seconds
        return _number(raw, least, most, whole)

    what = "whole seconds" if whole else "seconds"
    return Kind(f'{_range_text(what, least, most)}, as a number or such as "5s" or "1h"', read_span)


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition("-")
    return float(least), float(most or math.inf)


def _range_text(what: str, least: float, most: float) -> str:
    return f"{what} from {least:.12g} to {most:.12g}" if most < math.inf else f"{what} of at least {least:.12g}"


def _network(raw: object) -> str:
    text = _text(raw)
    try:
        return str(ip_network(text))
    except ValueError:
        wide = str(ip_network(text, strict=False)) if _is_network(text) else ""
        raise ValueError(f'bits behind the prefix are set; did you mean "{wide}"?' if wide else "") from None


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _name(raw: object) -> str:
    text = _text(raw)
    if not text:
        raise ValueError('the root is written "."')
    return to_text(from_text(text))


def _word(raw: object) -> str:
    text = _text(raw)
    if not re.fullmatch(r"[A-Za-z0-9._:-]{0,64}", text):
        raise ValueError
    return text


def _dotted(raw: object) -> str:
    text = _text(raw)
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text):
        raise ValueError
    return text


def _record(raw: object) -> str:
    text = _text(raw)
    if len(text.split()) < 3:
        raise ValueError
    return text


def _secret(raw: object) -> str:
    text = _text(raw)
    if 0 < len(text.encode()) < SHORTEST_SECRET:
        raise ValueError
    return text


def _server(raw: object) -> str:
    return str(address.upstream(_text(raw)))


def _route(raw: object) -> str:
    text = _text(raw)
    if text.startswith(IMPORT):
        return IMPORT + _dotted(text.removeprefix(IMPORT))
    return _server(text)


_SERVER = 'an IP address with or without a port, such as "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53" or "tcp://192.0.2.1"'

_REDIS = (
    '"redis://[user:password@]host[:port][/db]", "redis+sentinel://[...]host[:port],host[:port]/service[/db]", '
    '"redis+cluster://[...]host[:port],host[:port]", each of them with rediss for TLS'
)

_KINDS = {
    "": Kind("a text", _text),
    "address": Kind(
        'HOST:PORT, such as "127.0.0.1:53" or "[::1]:53"', lambda raw: address.join(*address.address(_text(raw)))
    ),
    "dotted": Kind('a dotted name, such as "package.module.name"', _dotted),
    "file": Kind("the path of a file", _text),
    "name": Kind('a domain name, such as "example.com"', _name),
    "network": Kind('a network, such as "192.0.2.0/24" or "2001:db8::/32"', _network),
    "record": Kind('a record, such as "host.example 300 A 192.0.2.1"', _record),
    "route": Kind(f'{_SERVER}, or "{IMPORT}package.module.name"', _route),
    "replica": Kind(
        '"redis://[user:password@]host[:port][/db]", the same with rediss://, "unix:///path[?db=N]", or nothing',
        lambda raw: url.check(_text(raw), url.SINGLE) if raw else "",
    ),
    "secret": Kind(f"at least {SHORTEST_SECRET} bytes of text, or nothing", _secret),
    "server": Kind(
        'an IP address with or without a port, such as "192.0.2.1:53"', lambda raw: address.server(_text(raw))
    ),
    "size": Kind('a number of bytes from 1, such as 50000000, "50MB" or "64MiB"', _size),
    "upstream": Kind(_SERVER, _server),
    "region": Kind(f'{_REDIS}, or "unix:///path[?db=N]"', lambda raw: url.check(_text(raw))),
    "url": Kind(
        f'{_REDIS}, "unix:///path[?db=N]", or "embedded:" with or without the path of a folder behind it',
        lambda raw: url.check_main(_text(raw)),
    ),
    "word": Kind("at most 64 letters, digits and . _ : -", _word),
}
