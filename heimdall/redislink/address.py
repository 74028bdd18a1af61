"""Where Redis is: its URL taken apart."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, unquote

from attrs import field, frozen

from heimdall.config.url import folder, split

PORT, SENTINEL_PORT = 6379, 26379

SOCKET = "redis.sock"
"""What the socket of an embedded Redis is called, in its folder."""

MOST_SEEDS = 64
"""Hosts in one URL."""

SINGLE, SENTINEL, CLUSTER = "single", "sentinel", "cluster"

_KINDS = {"": SINGLE, "sentinel": SENTINEL, "cluster": CLUSTER}
_MOST_DATABASE = 1 << 31


@frozen
class Address:
    """Where Redis is and who we are there. Its texts never show the password.

    ``hosts`` are the hosts and ports: of Redis itself, or of those to ask where it is; ``path`` is a Unix socket
    instead. ``tls`` says whether to encrypt, ``database`` is its number, ``kind`` one of single, sentinel and
    cluster, and ``service`` what the sentinels call their master.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    kind: str = SINGLE
    service: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL of Redis.

        ``redis://[user:password@]host[:port][/db]``, ``redis+sentinel://[...@]host[:port],host[:port]/service[/db]``,
        ``redis+cluster://[...@]host[:port],host[:port]``, each with ``rediss`` for TLS; ``unix:///path[?db=n]``;
        ``embedded:/folder``, whose socket it is.

        :raises ValueError: it is none of these; the text says why, and never repeats the URL.
        """
        embedded = folder(url)
        if embedded is not None:
            return cls(path=f"{embedded}/{SOCKET}")
        try:
            parts, each = split(url)
            scheme, _, kind = parts.scheme.partition("+")
            port = SENTINEL_PORT if kind == SENTINEL else PORT
            hosts = tuple((one.hostname or "", one.port or port) for one in each)
        except ValueError:
            raise ValueError("the URL of Redis has a bad host or port") from None
        if (scheme not in ("redis", "rediss") or kind not in _KINDS) and parts.scheme != "unix":
            raise ValueError("the URL of Redis must begin with redis://, rediss:// or unix://")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix":
            if hosts[0][0] or len(parts.path) < 2:
                raise ValueError("the URL of a Redis socket must be unix:///path")
            return cls(path=unquote(parts.path), user=user, password=password, database=_database(parts, ""))
        if not all(host for host, _ in hosts):
            raise ValueError("the URL of Redis names no host")
        if len(hosts) > (MOST_SEEDS if kind else 1):
            raise ValueError("the URL of Redis names too many hosts")
        service, _, database = parts.path.strip("/").rpartition("/") if kind == SENTINEL else ("", "", parts.path[1:])
        if kind == SENTINEL and not service:
            service, database = database, ""
        if kind == SENTINEL and not service:
            raise ValueError("the URL of the sentinels of Redis names no service")
        number = _database(parts, database.strip("/"))
        if kind == CLUSTER and number:
            raise ValueError("a Redis Cluster has the database 0 only")
        return cls(hosts, "", scheme == "rediss", user, password, number, _KINDS[kind], unquote(service))

    def __str__(self) -> str:
        """Return the address as it may be logged."""
        if self.path:
            return f"unix://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == SINGLE else f"+{self.kind}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{service}" + ("" if self.kind == CLUSTER else f"/{self.database}")


def _database(parts: SplitResult, text: str) -> int:
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "db":
            raise ValueError("the URL of Redis has an unknown parameter: only db is known")
        text = value
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or int(text[:11]) >= _MOST_DATABASE:
        raise ValueError("the database in the URL of Redis is not a number")
    return int(text)
