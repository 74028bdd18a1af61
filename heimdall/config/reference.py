"""Write the reference of the configuration from the settings: ``python -m heimdall.config.reference``."""

from __future__ import annotations

import sys

from heimdall.config.keys import KEYS, SECTIONS, Key
from heimdall.config.show import literal
from heimdall.config.values import kind_of

_TOP = """\
# Configuration

<!-- Written by `python -m heimdall.config.reference > docs/configuration.md`. Change heimdall/config instead. -->

Heimdall needs no configuration. What is set beats what is not, in this order:

1. an option of the command line, see `twistd heimdall --help`;
2. an environment variable, named for section and key;
3. the TOML file given by `--config FILE` or `HEIMDALL_CONFIG`;
4. the default.

`twistd -n heimdall --check` says what is wrong with a configuration, everything at once, and ends with status 1. If
nothing is, it prints the effective configuration, with the place each value came from and without passwords, and ends
with status 0. A server with a wrong configuration does not start.

- Sockets that systemd hands over, see [Install](install.md#sockets), stand for `accept.listen`, whatever sets that.
- A setting replaces the one it beats as a whole: lists are not joined.
- In an environment variable, the items of a list stand between commas, and truth is `true` or `false`. Routes are
  `suffix=server server, suffix=server`. An empty variable sets nothing. One that names no key is passed over, since
  Kubernetes sets such itself: mind the spelling, `--check` shows what has come in.
- Times are seconds as a number, or a text such as `"50us"`, `"200ms"`, `"5s"`, `"2m"`, `"1h"` or `"1d"`.
- Sizes are bytes as a number, or a text such as `"50MB"` or `"64MiB"`.
- A path in the file counts from the folder that the file is in.
- `POD_IP`, where it is set, is the address that a node tells the others.
- Addresses and servers are IP addresses: looking up a name is what others ask of us.

Examples: [one host](examples/host.toml), [a cluster with Redis](examples/cluster.toml),
[a list of names to block](examples/blocklist.toml), [in front of Kubernetes' DNS](examples/kubernetes.toml).

## How Redis is found

The first of these that is set: option `--redis`, `HEIMDALL_REDIS_URL`, `REDIS_URL`, `redis.url` in the file,
`HEIMDALL_REDIS_SERVICE_HOST` with `HEIMDALL_REDIS_SERVICE_PORT` (Kubernetes puts them into every pod beside a Service
called `heimdall-redis`), then `redis://heimdall-redis:6379`. A server whose Redis is not there answers all the same.

## How upstreams are found

Those of `fetch.upstreams`; if there are none, the name servers in resolv.conf, less the addresses that Heimdall itself
listens on. If resolv.conf says `options trust-ad`, `fetch.trust_ad` is on for them. With no upstream at all, the
server starts with a warning, and what it cannot answer from a cache it answers SERVFAIL.
"""


def reference() -> str:
    """Return the reference of all keys as Markdown."""
    lines = [_TOP]
    for section in SECTIONS:
        lines += [f"## [{section}]", "", about(section), ""]
        for key in KEYS.values():
            if key.section != section:
                continue
            lines += [
                f"### {key.name}",
                "",
                key.text,
                "",
                f"- value: {expected(key)}",
                f"- default: `{literal(key.default)}`",
                f"- environment: `{key.variable}`",
                "",
            ]
    return "\n".join(lines)


def about(section: str) -> str:
    """Return what a section is about, as a sentence."""
    _, _, text = (SECTIONS[section].__doc__ or "").partition(": ")
    return text[:1].upper() + text[1:]


def expected(key: Key) -> str:
    """Return what a value of a key has to be."""
    item = kind_of(key).expected
    if isinstance(key.default, tuple):
        return f"a list, each of it {item}"
    if isinstance(key.default, dict):
        return f"a table of name suffixes, each with a list, each of it {item}"
    return item


if __name__ == "__main__":
    sys.stdout.write(reference())
