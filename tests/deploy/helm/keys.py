"""What the chart has to know of the configuration's keys; ``python -m tests.deploy.helm.keys`` writes it.

The schema says of what type a value is, and bounds numbers. What a schema could say only by a pattern that nobody can
read is checked by the templates, with the words of the server: they read it from ``files/keys.json``. The patterns are
for Go, which cannot look ahead.
"""

from __future__ import annotations

import json
import re
from typing import Any

from heimdall.config.keys import KEYS, SECTIONS, Key
from heimdall.config.values import kind_of
from tests.house.tree import ROOT

CHART = ROOT / "deploy" / "helm" / "heimdall"
SCHEMA = CHART / "values.schema.json"
KNOWN = CHART / "files" / "keys.json"

OURS = {
    "accept.listen", "fetch.resolv_conf", "peers.node", "watch.enabled", "watch.http", "watch.token_file",
    "redis.enabled", "redis.url", "redis.password_file", "redis.ca_file", "redis.cert_file", "redis.key_file",
    "redis.sentinel_user", "redis.sentinel_password_file", "redis.replica_url", "redis.resolver", "redis.secret",
    "redis.secret_file", "redis.former_secret_file", "redis.memory",
}  # fmt: skip
"""The keys that other values of the chart lead to, or that hold a secret."""


def written() -> dict[str, Any]:
    """Return the schema of the values as it is written."""
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def sections() -> dict[str, Any]:
    """Return the schema of the section ``config``, as the keys of the configuration want it."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            section: {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    key.name: described(key) for key in KEYS.values() if key.section == section and key.path not in OURS
                },
            }
            for section in SECTIONS
        },
    }


def described(key: Key) -> dict[str, Any]:
    """Return the schema of one key."""
    return {"description": key.text, **_shape(key)}


def known() -> dict[str, Any]:
    """Return what the templates have to know: of each key that they check what it is, and a pattern or bounds."""
    return {
        section: {
            key.name: {"expected": kind_of(key).expected, **_rule(key)}
            for key in KEYS.values()
            if key.section == section and _rule(key)
        }
        for section in SECTIONS
    }


BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
V4 = rf"{BYTE}(\.{BYTE}){{3}}"
# One server: no network's own address, nor multicast or broadcast.
HOST4 = rf"([1-9]|[1-9][0-9]|1[0-9]{{2}}|2[01][0-9]|22[0-3])(\.{BYTE}){{3}}"
HEX = "[0-9a-fA-F]{1,4}"
V6 = (
    rf"(({HEX}:){{7}}{HEX}|({HEX}:){{1,7}}:|({HEX}:){{1,6}}:{HEX}|({HEX}:){{1,5}}(:{HEX}){{1,2}}"
    rf"|({HEX}:){{1,4}}(:{HEX}){{1,3}}|({HEX}:){{1,3}}(:{HEX}){{1,4}}|({HEX}:){{1,2}}(:{HEX}){{1,5}}"
    rf"|{HEX}:((:{HEX}){{1,6}})|:((:{HEX}){{1,7}}|:))"
)
PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
SERVER = rf"({HOST4}|\[{V6}\])(:{PORT})?"
DOTTED = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+"
LABEL = r"[\pL\pN_-]{1,63}"
NAME = rf"(\*\.)?{LABEL}(\.{LABEL})*\.?"
# The last label of a name to block is not a number: an address is no name.
BLOCKED = rf"(\*\.)?({LABEL}\.)*[\pL\pN_-]{{0,62}}[\pL_-][\pL\pN_-]{{0,62}}\.?"
URL_HOST = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)"
_AT = r"([^:@/\s]+@)?"
_PLACE = rf"{URL_HOST}(:{PORT})?"
URL = (
    rf"(rediss?://{_AT}{_PLACE}(/[0-9]{{0,9}})?|rediss?\+sentinel://{_AT}{_PLACE}(,{_PLACE}){{0,30}}/[^/\s?]+(/[0-9]{{0,9}})?"
    rf"|rediss?\+cluster://{_AT}{_PLACE}(,{_PLACE}){{0,30}}/?|unix:///[^\s?]+(\?db=[0-9]{{1,9}})?)"
)
REPLICA = rf"(rediss?://{_AT}{_PLACE}(/[0-9]{{0,9}})?|unix:///[^\s?]+(\?db=[0-9]{{1,9}})?)"
_OTHERS = "CAA|CNAME|DNAME|DNSKEY|DS|HINFO|HTTPS|LOC|MX|NAPTR|NS|PTR|RP|SOA|SPF|SRV|SSHFP|SVCB|TLSA|TXT|URI|TYPE[0-9]+"
RECORD = (
    rf"{LABEL}(\.{LABEL})*\.?\s+([0-9]+[smhdwSMHDW]?\s+)?((?i:IN)\s+)?"
    rf"((?i:A)\s+{V4}|(?i:AAAA)\s+{V6}|(?i:{_OTHERS})\s+\S.*)"
)
SIZE = (
    "[1-9][0-9]{0,14} ?B?|[1-9][0-9]{0,11} ?[kK]i?B?|[1-9][0-9]{0,8} ?Mi?B?|[1-9][0-9]{0,5} ?Gi?B?"
    "|[1-9][0-9]{0,2} ?Ti?B?"
)

PATTERNS = {
    "": r"[\t -~\pL\pM\pN\pP\pS\pZs]*",
    "dotted": DOTTED,
    "file": r"[^\pC]+",
    "name": NAME,
    "network": rf"({V4}(/(3[0-2]|[12]?[0-9]))?|{V6}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)",
    "record": RECORD,
    "route": rf"(tcp://)?{SERVER}|import:{DOTTED}",
    "server": SERVER,
    "upstream": rf"(tcp://)?{SERVER}",
    "url": URL,
    "replica": REPLICA,
    "word": r"[A-Za-z0-9._:-]{0,64}",
    "size": SIZE,
}
"""What the server takes, by the kind of the key; some of what nobody writes is left out."""

SPANS = {"us": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds of the units of a time."""


def _rule(key: Key) -> dict[str, Any]:
    name, _, detail = key.kind.partition(":")
    if isinstance(key.default, bool) or name in ("choice", "address", "secret"):
        return {}
    if name == "seconds":
        least, most = (detail or "0.001-604800").split("-")
        bounds = {"least": float(least), "most": float(most), "whole": isinstance(key.default, int)}
        return {**bounds, "default": key.default}
    if name in PATTERNS:
        pattern = BLOCKED if key.path == "admit.block" else PATTERNS[name]
        suffix = {"suffix": rf"^(\.|{NAME})$"} if name == "route" else {}
        return {"pattern": f"^({pattern})$", **suffix}
    return {}


def _shape(key: Key) -> dict[str, Any]:
    name, _, detail = key.kind.partition(":")
    texts = {"type": "array", "items": {"type": "string", "minLength": 1}}
    whole = isinstance(key.default, int)
    if isinstance(key.default, bool):
        return {"type": "boolean"}
    if isinstance(key.default, dict):
        return {"type": "object", "additionalProperties": {**texts, "minItems": 1}}
    if isinstance(key.default, tuple):
        return texts
    if name == "choice":
        return {"enum": detail.split("|")}
    if name == "seconds":
        least, most = (detail or "0.001-604800").split("-")
        number = {"type": "integer" if whole else "number", "minimum": float(least), "maximum": float(most)}
        return {"anyOf": [number, {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(us|ms|[smhd])$"}]}
    if name == "size":
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1 << 50}, {"type": "string"}]}
    if re.fullmatch(r"[0-9.]+-[0-9.]*", name):
        least, _, most = name.partition("-")
        limits = {what: float(bound) for what, bound in (("minimum", least), ("maximum", most)) if bound}
        return {"type": "integer" if whole else "number", **limits}
    return {"type": "string", **({"minLength": 1} if key.path == "redis.prefix" else {})}


if __name__ == "__main__":
    SCHEMA.write_text(
        json.dumps(written() | {"properties": written()["properties"] | {"config": sections()}}, indent=2) + "\n",
        encoding="utf-8",
    )
    KNOWN.write_text(json.dumps(known(), indent=1) + "\n", encoding="utf-8")
