"""Every setting, its default and its meaning: the sections of the configuration as frozen values.

The text in each field's metadata is the reference documentation of the key. Times are seconds.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

MEGABYTE = 1_000_000


def key(default: Any, text: str, *, secret: bool = False, kind: str = "") -> Any:
    """Return a field that can be set in the configuration.

    :param text: what it means, for the reference documentation.
    :param secret: hide the value wherever the configuration is shown.
    :param kind: how it is read and checked: address, dotted, file, name, network, record, replica, route,
        region, secret, server, size, upstream, url, word, choice:a|b|c, a range of numbers as 1-10 or 0-, seconds, or
        seconds:1-10. Of a list, how each item is.
    """
    return field(default=default, metadata={"text": text, "secret": secret, "kind": kind})


@frozen
class Accept:
    """[accept]: where queries come in."""

    listen: tuple[str, ...] = key(
        ("127.0.0.1:1053", "[::1]:1053"), "Addresses to serve DNS on, UDP and TCP each.", kind="address"
    )
    workers: int = key(
        1,
        "Processes to serve with. Each gets its share of the memory and of the bounds that are for all clients; "
        "those for one client hold in each of them: see [More than one core](operating.md#more-than-one-core).",
        kind="1-256",
    )
    udp_size: int = key(1232, "The largest reply over UDP, in bytes (RFC 9715).", kind="512-1232")
    udp_segments: bool = key(
        True,
        "Hand the kernel several replies to one client as one message to cut up, which costs less (UDP_SEGMENT in "
        "udp(7)); false where a device or a firewall on the way has trouble with that.",
    )
    udp_coalesce: float = key(
        50e-6,
        "While much is asked that memory knows, wait for so long before each read, so that more is read at once and "
        "costs less; 0 to wait never. The kernel adds some 50 us, as much a query may take longer.",
        kind="seconds:0-0.001",
    )
    tcp_connections: int = key(1000, "TCP connections at once, of all clients.", kind="1-65535")
    tcp_connections_per_client: int = key(50, "TCP connections at once from one client address.", kind="1-65535")
    tcp_idle: float = key(10.0, "Close a TCP connection that was idle for so long (RFC 7766).", kind="seconds")
    tcp_pipeline: int = key(100, "Queries in flight on one TCP connection before we stop reading it.", kind="1-10000")
    inflight: int = key(10000, "Queries waiting for an upstream at once; past that, SERVFAIL.", kind="1-1000000")


@frozen
class Admit:
    """[admit]: who may ask, and which names are answered here."""

    allow: tuple[str, ...] = key(
        (
            "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
            "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10",
        ),
        "Networks that may ask; all others are refused.",
        kind="network",
    )  # fmt: skip
    rate: float = key(0.0, "Queries a second that one client prefix may ask; 0 for no limit.", kind="0-")
    burst: float = key(0.0, "Queries that a client prefix may ask at once; 0 for twice the rate.", kind="0-")
    rate_prefix4: int = key(24, "Length of the prefix that counts as one client, IPv4.", kind="1-32")
    rate_prefix6: int = key(56, "Length of the prefix that counts as one client, IPv6.", kind="1-128")
    special_names: bool = key(True, "Answer special-use names and private reverse zones here (RFC 6761, 6303).")
    hosts: tuple[str, ...] = key((), "Files in hosts format whose names are answered here.", kind="file")
    records: tuple[str, ...] = key(
        (), 'Records of our own, each as in a zone file: "name TTL TYPE data". The TTL may be left out.',
        kind="record",
    )  # fmt: skip
    block: tuple[str, ...] = key((), "Names to block, each with all names below it.", kind="name")
    block_files: tuple[str, ...] = key((), "Files of names to block: one a line, or hosts format.", kind="file")
    block_answer: str = key(
        "nxdomain", "What a blocked name is answered: nxdomain, null (0.0.0.0 and ::) or refused.",
        kind="choice:nxdomain|null|refused",
    )  # fmt: skip
    gates: tuple[str, ...] = key(
        (), "Policies of your own: dotted names of callables that return an IPolicy.", kind="dotted"
    )


@frozen
class Cache:
    """[cache]: the memory of this node, and the rules that both tiers keep."""

    memory: int = key(50 * MEGABYTE, "Bytes the memory may take, everything counted.", kind="size")
    ttl_floor: int = key(0, "The least TTL.", kind="seconds:0-86400")
    ttl_ceiling: int = key(86400, "The greatest TTL.", kind="seconds:1-604800")
    negative_ceiling: int = key(3600, "The greatest TTL of an answer that says no (RFC 2308).", kind="seconds:1-86400")
    failure_ttl: int = key(5, "How long a failure is remembered (RFC 9520).", kind="seconds:1-300")
    stale: bool = key(True, "Answer with stale data when no upstream answers (RFC 8767).")
    stale_window: int = key(86400, "How long past its TTL an answer may be served stale.", kind="seconds:0-604800")
    stale_after: float = key(1.8, "Answer stale when no upstream answered for so long.", kind="seconds")
    refresh: bool = key(True, "Refresh names in use ahead of their expiry.")
    refresh_share: float = key(0.1, "The last share of its TTL in which an answer is refreshed.", kind="0-0.9")
    hot_names: int = key(
        5000, "Names asked for most that the cluster keeps count of in Redis; 0 for none.", kind="0-100000"
    )
    warm_seconds: float = key(
        2.0, "How long a node that starts may load hot names before it is ready; 0 to load none.", kind="seconds:0-60"
    )
    warm_share: float = key(0.5, "The share of the memory that it may fill with them.", kind="0-1")


@frozen
class Redis:
    """[redis]: the cache that all nodes share."""

    enabled: bool = key(True, "Whether to share answers through Redis.")
    url: str = key(
        "redis://heimdall-redis:6379",
        "Where Redis is; rediss is TLS, embedded one that the node runs for itself. More about each way: [Where Redis "
        "may live](redis.md).",
        secret=True,
        kind="url",
    )
    memory: int = key(
        64 * MEGABYTE,
        "Bytes that an embedded Redis may take; when they are used up it evicts what was not used for longest.",
        kind="size",
    )
    password_file: str = key("", "File whose first line is the password.", kind="file")
    ca_file: str = key("", "Certificates to trust for rediss, PEM; empty for the system's.", kind="file")
    cert_file: str = key("", "Our own certificate for rediss, PEM, where Redis asks for one.", kind="file")
    key_file: str = key("", "The key of our certificate, PEM; empty when cert_file holds it too.", kind="file")
    sentinel_user: str = key("", "Our user at the sentinels; empty for the default user.")
    sentinel_password_file: str = key(
        "", "File whose first line is the password at the sentinels; empty when they want none.", kind="file"
    )
    replica_url: str = key("", "A replica near this node, to look answers up at.", secret=True, kind="replica")
    role: str = key(
        "full", "full shares what this node learns; reader takes what others share, and writes nothing.",
        kind="choice:full|reader",
    )  # fmt: skip
    regions: tuple[str, ...] = key(
        (), "The Redis of each other region: it keeps a cache of its own, and shares flushes with this one.",
        secret=True, kind="region",
    )  # fmt: skip
    resolver: tuple[str, ...] = key(
        (), "DNS servers to look the host of Redis up at; empty for the way of this machine.", kind="server"
    )
    secret: str = key("", "What seals shared answers, so that nobody else can forge one.", secret=True, kind="secret")
    secret_file: str = key("", "File that holds the secret instead.", kind="file")
    former_secret_file: str = key(
        "", "File of another secret whose answers are taken too, while the nodes change from one to the other.",
        kind="file",
    )  # fmt: skip
    read_budget: float = key(0.02, "How long Redis may take before the upstream is asked as well.", kind="seconds")
    prefix: str = key("heimdall", "What all our keys begin with.", kind="word")
    most_writes: int = key(5000, "Answers waiting to be written; past that, they are not shared.", kind="1-1000000")


@frozen
class Fetch:
    """[fetch]: the upstreams."""

    upstreams: tuple[str, ...] = key(
        (), "Servers to ask: HOST[:PORT], or tcp://HOST[:PORT]. Empty for those of resolv.conf.", kind="upstream"
    )
    resolv_conf: str = key("/etc/resolv.conf", "Where to find the upstreams when none are set.", kind="file")
    routes: dict[str, tuple[str, ...]] = field(
        factory=dict,
        metadata={
            "text": 'Other upstreams for some names: suffix to servers, or to "import:dotted.name" of an ISource.',
            "secret": False,
            "kind": "route",
        },
    )
    deadline: float = key(4.5, "A query is answered after so long, whatever the upstreams do.", kind="seconds")
    trust_ad: bool = key(False, "Pass on the AD bit: the path to the upstreams is trusted (RFC 6840, 5.8).")
    client_subnet: bool = key(False, "Pass on the client's subnet, where it gives one (RFC 7871).")
    udp_segments: bool = key(
        True,
        "Hand the kernel several questions to an upstream as one message to cut up, which costs less (UDP_SEGMENT in "
        "udp(7)); false where a device or a firewall on the way has trouble with that.",
    )


@frozen
class Peers:
    """[peers]: the registry of the cluster."""

    node: str = key(
        "",
        "The name of this node; empty for its host name, and eight digits of chance behind it where it shares a Redis.",
        kind="word",
    )
    heartbeat: float = key(5.0, "Seconds between two heartbeats.", kind="seconds")
    expiry: float = key(10.0, "A node is off the list after so long without a heartbeat.", kind="seconds")


@frozen
class Watch:
    """[watch]: what an operator sees."""

    enabled: bool = key(True, "Whether to serve HTTP.")
    http: str = key("127.0.0.1:9053", "Address for metrics, probes and the API.", kind="address")
    token_file: str = key(
        "",
        "File with a token of at least 16 bytes: with it other machines may flush, inspect, see top, ask, export and "
        "import; without it this machine alone.",
        kind="file",
    )  # fmt: skip
    log: str = key("text", "Format of the log: text or json.", kind="choice:text|json")
    query_log: bool = key(False, "Log every query: for a short look, not for every day.")


@frozen
class Settings:
    """The whole configuration, a section each."""

    accept: Accept = field(factory=Accept)
    admit: Admit = field(factory=Admit)
    cache: Cache = field(factory=Cache)
    redis: Redis = field(factory=Redis)
    fetch: Fetch = field(factory=Fetch)
    peers: Peers = field(factory=Peers)
    watch: Watch = field(factory=Watch)
