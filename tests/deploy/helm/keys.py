"""What the chart's schema has to say of the configuration's keys; ``python -m tests.deploy.helm.keys`` writes it."""

from __future__ import annotations

import json
import re
from typing import Any

from heimdall.config.keys import KEYS, SECTIONS, Key
from tests.house.tree import ROOT

SCHEMA = ROOT / "deploy" / "helm" / "heimdall" / "values.schema.json"

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


def _shape(key: Key) -> dict[str, Any]:
    name, _, detail = key.kind.partition(":")
    texts = {"type": "array", "items": {"type": "string", "minLength": 1}}
    if isinstance(key.default, bool):
        return {"type": "boolean"}
    if isinstance(key.default, dict):
        return {"type": "object", "additionalProperties": texts}
    if isinstance(key.default, tuple):
        return texts
    if name == "choice":
        return {"enum": detail.split("|")}
    if name == "seconds":
        return {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+ ?(us|ms|s|m|h|d)$"}]
        }
    if name == "size":
        return {
            "anyOf": [
                {"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^[0-9]+ ?([kKMGT]i?)?B?$"},
            ]
        }  # fmt: skip
    if re.fullmatch(r"[0-9.]+-[0-9.]*", name):
        least, _, most = name.partition("-")
        limits = {what: float(bound) for what, bound in (("minimum", least), ("maximum", most)) if bound}
        return {"type": "integer" if isinstance(key.default, int) else "number", **limits}
    return {"type": "string"}


if __name__ == "__main__":
    SCHEMA.write_text(
        json.dumps(written() | {"properties": written()["properties"] | {"config": sections()}}, indent=2) + "\n",
        encoding="utf-8",
    )
