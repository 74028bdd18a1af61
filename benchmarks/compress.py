"""Would compression pay in Redis? Real answers of NSD, packed by zlib, lz4 and zstd, with dictionaries and without.

Run as ``python -m benchmarks.compress [NAMES]``, with lz4 and zstandard installed (``pip install lz4 zstandard``;
Heimdall does not need them). Dictionaries are trained on answers of other zones than those they are tried on. What
counts is not the bytes of a value but the block that Redis takes for it, as ``MEMORY USAGE`` tells.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final

from benchmarks.size import PREFIX, SEAL, WINDOW, Store
from benchmarks.zones import ECDSA, RSA, UNSIGNED, Zones
from heimdall.cache.entry import to_bytes
from heimdall.cache.seal import SIZE
from heimdall.message import query, response
from heimdall.message.wire import from_text

lz4: Final[Any] = import_module("lz4.block")
zstandard: Final[Any] = import_module("zstandard")

HEAD = 12
DICTIONARY = 32 << 10
"""Bytes of a dictionary."""

MIX = {"A": 50, "AAAA": 20, "CNAME, 4 A": 10, "NXDOMAIN": 12, "no data": 8}
"""Of 100 answers that hosts are given, how many are of each kind."""

TABLES = 66
"""Bytes that each key takes beside what ``MEMORY USAGE`` tells, with 10,000 keys: benchmarks.size measures it."""

Way = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def bodies(algorithm: int, names: int, seed: int) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return keys and values of the answers of zones, by their kinds."""
    zones = Zones(names, algorithm, seed=seed)
    kinds: dict[str, list[tuple[bytes, bytes]]] = {}
    try:
        for asked, wire in zones.answers(zones.questions()):
            made = query.make(from_text(asked.name), asked.qtype, do=asked.do)
            value = to_bytes(response.read(wire), made.key, time.time(), SEAL)
            kinds.setdefault(asked.kind, []).append((PREFIX + made.key, value))
    finally:
        zones.stop()
    return kinds


def ways(samples: list[bytes]) -> dict[str, Way]:
    """Return the ways to pack and unpack a body, those with a dictionary trained on samples."""
    trained = zstandard.train_dictionary(DICTIONARY, [*samples])
    words: bytes = trained.as_bytes()

    def deflate(body: bytes) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, words)
        return packer.compress(body) + packer.flush()

    def zstd(level: int, known: Any) -> Way:
        packer = zstandard.ZstdCompressor(
            level=level, dict_data=known, write_checksum=False, write_content_size=True, write_dict_id=False
        )
        return packer.compress, zstandard.ZstdDecompressor(dict_data=known, max_window_size=1 << 20).decompress

    return {
        "zlib": (partial(zlib.compress, level=6), zlib.decompress),
        "zlib + dict": (deflate, lambda body: zlib.decompressobj(-15, words).decompress(body)),
        "lz4": (partial(lz4.compress, store_size=False), partial(lz4.decompress, uncompressed_size=65535)),
        "lz4 + dict": (
            partial(lz4.compress, store_size=False, dict=words),
            partial(lz4.decompress, uncompressed_size=65535, dict=words),
        ),
        "zstd 3": zstd(3, None),
        "zstd 3 + dict": zstd(3, trained),
    }


def taken(store: Store, rows: list[tuple[bytes, bytes]]) -> float:
    """Return the bytes that Redis says each key takes."""
    store.server.command("FLUSHALL", "SYNC")
    store.fill((key, value, WINDOW * 1000) for key, value in rows)
    some = rows[:: max(len(rows) // 200, 1)]
    total: int = sum(store.server.command("MEMORY", "USAGE", key) for key, _ in some)
    return total / len(some)


def timed(work: Callable[[bytes], bytes], bodies: list[bytes]) -> float:
    """Return the microseconds that each body takes, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for body in bodies:
            work(body)
        best = min(best, time.perf_counter() - began)
    return best / len(bodies) * 1e6


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(description="Would compression pay in Redis?")
    options.add_argument("names", nargs="?", type=int, default=2000, help="hosts to try, and as many to train on")
    names = options.parse_args().names
    store = Store()
    out = sys.stdout
    try:
        sys.stderr.write("making zones to train on ...\n")
        trained_on = [bodies(algorithm, names, 2) for algorithm in (UNSIGNED, ECDSA, RSA)]
        known = ways([value[HEAD:-SIZE] for kinds in trained_on for rows in kinds.values() for _, value in rows])
        out.write(f"{'':26} {'plain':>6} {'in Redis':>8}")
        out.write("".join(f" | {name:>14} Redis   in  out" for name in known) + "   (bytes, bytes in Redis, us)\n")
        for algorithm in (UNSIGNED, ECDSA, RSA):
            mix = dict.fromkeys(["", *known], 0.0)
            for kind, rows in bodies(algorithm, names, 1).items():
                weight = MIX.get(kind.split(", signed")[0], 0) / 100
                plain = [value[HEAD:-SIZE] for _, value in rows]
                before = taken(store, rows)
                mix[""] += weight * (before + TABLES)
                out.write(f"{kind:26} {mean(plain):6.0f} {before:8.0f}")
                for way, (pack, unpack) in known.items():
                    packed = [pack(body) for body in plain]
                    if [unpack(body) for body in packed] != plain:
                        raise RuntimeError("what was packed does not come back")
                    # A value is packed only where that makes it shorter.
                    best = [
                        (key, value[:HEAD] + min(body, value[HEAD:-SIZE], key=len) + value[-SIZE:])
                        for (key, value), body in zip(rows, packed, strict=True)
                    ]
                    after = taken(store, best)
                    mix[way] += weight * (after + TABLES)
                    out.write(f" | {mean(packed):14.0f} {after:5.0f}")
                    out.write(f" {timed(pack, plain):4.1f} {timed(unpack, packed):4.1f}")
                out.write("\n")
                out.flush()
            out.write(f"{'the mix, all of Redis':26} {'':6} {mix['']:8.0f}")
            out.write(
                "".join(f" | {'':8} {mix[way] / mix[''] - 1:+5.1%} {mix[way]:5.0f} {'':9}" for way in known) + "\n"
            )
    finally:
        store.server.stop()


def mean(bodies: list[bytes]) -> float:
    """Return the mean length."""
    return sum(map(len, bodies)) / len(bodies)


if __name__ == "__main__":
    main()
