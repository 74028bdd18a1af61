"""The commands, against a node's pages on real sockets: what they print, and how they end."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.web.server import Request

from heimdall.command.client import AWAY, FAILED, MOST_BYTES, OK, USAGE
from heimdall.command.main import COMMANDS, main
from heimdall.interfaces import LinkDown, Member
from heimdall.message.query import Query
from heimdall.watch.admin import Admin
from heimdall.watch.caches import Caches
from heimdall.watch.page import Page
from heimdall.watch.trust import Trust
from tests.house.tree import ROOT
from tests.watch.served import Served

TOKEN = "0123456789abcdef"
HELD = {
    "type": "A", "flags": ["DO"], "subnet": None, "state": "fresh", "rcode": "NOERROR", "ad": True, "bytes": 16,
    "count": 1, "records": ["www.example.com. 59 IN A 192.0.2.1"], "age": 1.25, "ttl": 3599.5,
}  # fmt: skip
SEEN = {
    "name": "www.example.com",
    "type": None,
    "redis": {
        "held": [{**HELD, "size": 44, "stored": 1.0, "origin": "upstream", "node": "two"}],
        "complete": True,
        "reason": "",
    },
    "nodes": [
        {"node": "one", "own": True, "held": [{**HELD, "origin": "upstream", "uses": 3}], "whole": True},
        {"node": "two", "own": False, "held": [], "whole": True},
    ],
    "silent": ["three"],
    "reason": "",
}
FLUSHED = {
    "name": "www.example.com", "subtree": False, "id": "0011", "time": 1.0, "shared": True, "reason": "", "swept": True,
    "nodes": ["one", "two"], "silent": [], "later": False, "regions": [],
}  # fmt: skip
FOLLOWED: dict[str, Any] = {
    "node": "one", "name": "www.example.com", "type": "A", "client": "127.0.0.1", "seconds": 0.0125,
    "answer": {
        "origin": "upstream", "rcode": "NOERROR", "ad": True, "tc": False,
        "errors": [{"code": 3, "name": "Stale Answer", "text": "old"}],
        "answers": ["www.example.com. 300 IN A 192.0.2.80"], "authority": ["example.com. 300 IN NS a.example."],
        "additional": [],
    },
    "stations": [
        {"station": "gate", "gate": "Acl", "said": "passes", "at": 0.00001, "took": 0.00001},
        {"station": "redis", "said": "down", "at": 0.0005, "took": 0.0004},
        {"station": "upstream", "server": "192.0.2.1:53", "said": "answered", "rcode": 3, "at": 0.0123, "took": 0.0118},
        {"station": "upstream", "server": "192.0.2.2:53", "said": "asked (first)", "at": 1.5, "took": 1.2345},
    ],
}  # fmt: skip
MEMBERS = [
    Member("one", "host-1", "192.0.2.1", 1.0, "healthy", {
        "uptime_seconds": 3725.0, "queries": 1000.0, "memory": 750.0, "redis": 150.0, "upstream": 100.0,
        "memory_entries": 90.0, "memory_bytes": 70_000.0,
    }),
    Member("two", "host-2", "", 1.0, "leaving", {}),
]  # fmt: skip
TOP: dict[str, Any] = {
    "names": [
        {
            "name": "www.example.com", "type": "A", "asked": 900, "nodes": 3,
            "memory": 800, "redis": 60, "upstream": 40, "ttl": 300,
        },
        {"name": "b.example", "type": "AAAA", "asked": 5, "nodes": 1, "memory": 0, "redis": 0, "upstream": 5, "ttl": 2},
    ],
    "since": 1.0,
}  # fmt: skip
TOP["single"] = [{**TOP["names"][1], "node": "one"}, {**TOP["names"][1], "node": None}]
TOP["short"] = TOP["names"][1:]


class Case(Served):
    """A node whose pages say what a test wants them to say."""

    def setUp(self) -> None:
        super().setUp()
        self.orders: list[tuple[Any, ...]] = []
        self.seen: Mapping[str, Any] = SEEN
        self.followed: Mapping[str, Any] = FOLLOWED
        self.flushed: Mapping[str, Any] = FLUSHED
        self.counted: Mapping[str, Any] | None = TOP
        self.token = Path(self.mktemp())
        self.token.write_text(TOKEN + "\n")
        for name in ("HEIMDALL_WATCH_HTTP", "HEIMDALL_WATCH_TOKEN_FILE"):
            os.environ.pop(name, None)
        self.serve_with(Trust(str(self.token)))

    def serve_with(self, trust: Trust) -> None:
        """Serve with these rules."""
        self.admin = Admin(
            clock=self.clock,
            tallies=[],
            ready=lambda: (True, []),
            own=lambda: MEMBERS[0],
            members=lambda: self.listed(),
            caches=Caches(self, trust),
            top=lambda: fail(LinkDown("Redis is away")) if self.counted is None else succeed(self.counted),
        )
        self.listed = lambda: succeed(MEMBERS)
        self.serve(self.admin)

    def inspect(self, *asked: Any) -> Deferred[Mapping[str, Any]]:
        self.orders.append(asked)
        return succeed(self.seen)

    def flush(self, *asked: Any) -> Deferred[Mapping[str, Any]]:
        self.orders.append(asked)
        return succeed(self.flushed)

    def follow(self, query: Query) -> Deferred[Mapping[str, Any]]:
        self.orders.append((query.name, query.qtype))
        return succeed(self.followed)

    async def run_command(self, *arguments: str, server: str = "", **environ: str) -> tuple[int, list[str], str]:
        """Run a command; return its exit code, the lines that it printed, and what it complained of."""
        out, complaints = io.StringIO(), io.StringIO()
        where = ["--server", server or f"127.0.0.1:{self.port}"] if "HEIMDALL_WATCH_HTTP" not in environ else []

        def run() -> int:
            with mock.patch.object(sys, "stdout", out), mock.patch.object(sys, "stderr", complaints):
                try:
                    return main([*arguments, *where])
                except SystemExit as end:
                    return int(end.code or 0)

        with mock.patch.dict(os.environ, environ):
            code: int = await deferToThread(run)
        return code, out.getvalue().splitlines(), complaints.getvalue()


class Commands(Case):
    """What each command says."""

    async def test_members(self) -> None:
        """The members are listed with the shares of what they answered from where."""
        code, lines, _ = await self.run_command("members")
        self.assertEqual((code, lines), (OK, [
            "NODE  STATUS   HOST    ADDRESS      UP  QUERIES  MEMORY  REDIS  UPSTREAM  HELD  BYTES",
            "one   healthy  host-1  192.0.2.1  1h2m     1000   75.0%  15.0%     10.0%    90  68.4k",
            "two   leaving  host-2  -             -        -       -      -         -     -      -",
        ]))  # fmt: skip

    async def test_members_away(self) -> None:
        """Without Redis the node that was asked is listed, and it is said why it is alone."""
        self.listed = lambda: fail(LinkDown("Redis is away"))
        code, lines, _ = await self.run_command("members")
        self.assertEqual((code, lines[-1]), (OK, "Only the node that was asked is listed: Redis is away"))

    async def test_inspect(self) -> None:
        """What is held where stands in one table, and each record once below it."""
        code, lines, _ = await self.run_command("inspect", "www.example.com")
        self.assertEqual((code, lines), (OK, [
            "WHERE  TYPE  FOR  STATE        TTL   AGE  FROM      USES  BYTES  ANSWER",
            "redis  A     DO   fresh     59m59s  1.2s  two          -     44  NOERROR, 1 record, validated",
            "one*   A     DO   fresh     59m59s  1.2s  upstream     3     16  NOERROR, 1 record, validated",
            "two               nothing",
            "three             no reply",
            "",
            "www.example.com. IN A 192.0.2.1",
        ]))  # fmt: skip

    async def test_inspect_asks(self) -> None:
        """A type, and a search through everything, are asked for."""
        await self.run_command("inspect", "a.example", "AAAA")
        await self.run_command("inspect", "a.example", "--all")
        self.assertEqual([asked[1:] for asked in self.orders], [(28, False), (0, True)])

    async def test_inspect_less(self) -> None:
        """What could not be asked, and what was left out, is said below; values that are none are named with why."""
        rubbish = {
            "type": "A",
            "flags": [],
            "subnet": "192.0.2.0/24",
            "state": "rubbish",
            "reason": "forged",
            "size": 9,
        }
        self.seen = {**SEEN, "redis": {"held": [], "complete": False, "reason": "away"}, "reason": "deaf", "silent": []}
        _, lines, _ = await self.run_command("inspect", "a.example")
        self.assertEqual(lines[1], "redis             unknown")
        self.assertEqual(lines[-2:], ["Redis could not be asked: away", "Other nodes were not asked: deaf"])
        redis = {"held": [rubbish], "complete": False, "reason": ""}
        self.seen = {**SEEN, "redis": redis, "nodes": [{"node": "two", "own": False, "held": [HELD], "whole": False}]}
        _, lines, _ = await self.run_command("inspect", "a.example")
        self.assertRegex(lines[1], r"^redis  A     192.0.2.0/24  rubbish \(forged\)  +- +- +- +- +9$")
        self.assertEqual(lines[-2:], ["redis holds more than is shown.", "two holds more than is shown."])

    async def test_flush(self) -> None:
        """A flush says which nodes have forgotten the name, and whether Redis has."""
        code, lines, _ = await self.run_command("flush", "www.example.com")
        self.assertEqual((code, lines), (OK, [
            "Flushed www.example.com on 2 nodes: one, two", "Redis: its answers are deleted",
        ]))  # fmt: skip
        self.flushed = {**FLUSHED, "subtree": True, "swept": False, "nodes": ["one"], "silent": ["two", "three"]}
        code, lines, _ = await self.run_command("flush", "www.example.com", "--subtree")
        self.assertEqual((code, lines), (OK, [
            "Flushed www.example.com and every name below it on 1 node: one",
            "Redis: its answers are being deleted, and nobody gives them any more",
            "No word from: two, three",
            "  These forget it before they answer from memory again.",
        ]))  # fmt: skip
        self.assertEqual([asked[1] for asked in self.orders], [False, True])

    async def test_flush_without_redis(self) -> None:
        """Where Redis is not in use a flush is done; where it is away the flush failed, in part."""
        for reason, later, code, size in (
            ("Redis is not in use", False, OK, 2), ("away", True, FAILED, 4), ("it only reads", False, FAILED, 3),
        ):  # fmt: skip
            self.flushed = {**FLUSHED, "shared": False, "reason": reason, "later": later, "nodes": ["one"]}
            ended, lines, _ = await self.run_command("flush", "www.example.com")
            away = "Redis is not in use: the node that was asked is all there is."
            self.assertEqual((ended, lines[1]), (code, away if size == 2 else f"Redis: not told, {reason}"))
            self.assertEqual(len(lines), size)

    async def test_flush_in_regions(self) -> None:
        """Each other region is named; where one was not told, the flush failed, in part."""
        regions = [{"region": "redis://us", "told": True, "reason": ""}]
        self.flushed = {**FLUSHED, "regions": regions}
        code, lines, _ = await self.run_command("flush", "www.example.com")
        self.assertEqual((code, lines[-1]), (OK, "Region redis://us: told"))
        regions.append({"region": "redis://ap", "told": False, "reason": "it is away"})
        code, lines, _ = await self.run_command("flush", "www.example.com")
        self.assertEqual((code, lines[3]), (FAILED, "Region redis://ap: not told, it is away"))

    async def test_top(self) -> None:
        """Where its output is no terminal, top shows once what is asked for most; not more than is wanted."""
        code, lines, _ = await self.run_command("top")
        self.assertEqual((code, lines), (OK, [
            "NAME             TYPE  ASKED  NODES  MEMORY  REDIS  UPSTREAM   TTL",
            "www.example.com  A       900      3   88.9%   6.7%      4.4%    5m",
            "b.example        AAAA      5      1    0.0%   0.0%    100.0%  2.0s",
        ]))  # fmt: skip
        self.assertEqual(len((await self.run_command("top", "-n", "1"))[1]), 2)
        _, lines, _ = await self.run_command("top", "--single")
        self.assertEqual([line.split()[-1] for line in lines], ["NODE", "one", "-"])
        self.assertEqual((await self.run_command("top", "--short"))[1][-1].split()[0], "b.example")
        self.counted = {
            "names": [],
            "shares": {
                "cluster": {"queries": 10, "memory": 0.5, "redis": 0.3, "upstream": 0.1, "stale": 0.1},
                "nodes": {
                    "two": {"queries": 0, "memory": 0, "redis": 0, "upstream": 0, "stale": 0},
                    "one": {"queries": 10, "memory": 0.5, "redis": 0.3, "upstream": 0.1, "stale": 0.1},
                },
            },
        }
        _, lines, _ = await self.run_command("top")
        self.assertEqual(lines[0], "10 queries: 50.0% memory, 30.0% redis, 10.0% upstream, 10.0% stale")
        self.assertEqual((await self.run_command("top", "--nodes"))[1], [
            "NODE  QUERIES  MEMORY  REDIS  UPSTREAM  STALE",
            "one        10   50.0%  30.0%     10.0%  10.0%",
            "two         0    0.0%   0.0%      0.0%   0.0%",
            "all        10   50.0%  30.0%     10.0%  10.0%",
        ])  # fmt: skip
        self.assertEqual((await self.run_command("top"))[1][-1], "There is none so far.")
        nobody = {"memory": 0, "redis": 0, "upstream": 0, "stale": 0}
        self.counted = {"names": [], "shares": {"cluster": {"queries": 1} | nobody, "nodes": {}}}
        self.assertTrue((await self.run_command("top"))[1][0].startswith("1 query: "))
        self.counted = None
        code, lines, complaint = await self.run_command("top")
        self.assertEqual((code, lines), (FAILED, []))
        self.assertIn("Redis is away", complaint)

    async def test_top_of_one(self) -> None:
        """Where one node alone has counted, that is said, with the reason."""
        share = {"queries": 1, "memory": 0, "redis": 0, "upstream": 1, "stale": 0}
        shares = {"cluster": share, "nodes": {"one": share}}
        self.counted = {"shared": False, "reason": "Redis is away\x1b[31m", "names": [], "shares": shares}
        for options, at in (((), 1), (("--nodes",), -1)):
            _, lines, _ = await self.run_command("top", *options)
            self.assertEqual(lines[at], "Only the node that was asked has counted: Redis is away\\x1b[31m")

    async def test_ask(self) -> None:
        """The answer comes first, then where it came from, then what each station did, with times."""
        code, lines, _ = await self.run_command("ask", "www.example.com")
        self.assertEqual((code, lines), (OK, [
            "www.example.com. 300 IN A 192.0.2.80",
            "; example.com. 300 IN NS a.example.",
            "",
            "NOERROR, 1 record, validated, from upstream, after 12.5 ms",
            "  extended error 3, Stale Answer: old",
            "",
            "STATION   WHO           SAID                 AFTER     TOOK",
            "gate      Acl           passes             0.01 ms  0.01 ms",
            "redis                   is not there       0.50 ms  0.40 ms",
            "upstream  192.0.2.1:53  answered NXDOMAIN  12.3 ms  11.8 ms",
            "upstream  192.0.2.2:53  asked (first)      1500 ms  1234 ms",
        ]))  # fmt: skip
        code, lines, _ = await self.run_command("ask", "www.example.com", "AAAA", "--short")
        self.assertEqual((code, lines), (OK, ["192.0.2.80"]))
        self.assertEqual([qtype for _, qtype in self.orders], [1, 28])

    async def test_json(self) -> None:
        """With --json, in front of the command or behind it, each prints what the node said."""
        for arguments, said in (
            (("inspect", "a.example", "--json"), SEEN),
            (("--json", "flush", "a.example"), FLUSHED),
            (("--json", "top"), TOP),
            (("ask", "a.example", "--json"), FOLLOWED),
        ):
            code, lines, _ = await self.run_command(*arguments)
            self.assertEqual((code, json.loads("\n".join(lines))), (OK, said))
        code, lines, _ = await self.run_command("--json", "members")
        self.assertEqual(len(json.loads("\n".join(lines))["members"]), 2)

    async def test_json_trouble(self) -> None:
        """With --json what goes wrong is told as JSON as well, with the exit code."""
        code, lines, complaint = await self.run_command("--json", "flush", "a..b")
        told = json.loads("\n".join(lines))
        self.assertEqual((code, told["code"]), (USAGE, USAGE))
        self.assertIn("is not a domain name", told["error"])
        self.assertEqual(complaint, f"heimdall: {told['error']}\n")


class Ends(Case):
    """How a command ends when it cannot be done."""

    async def test_refused(self) -> None:
        """What the node refuses ends with 1 or, when it was asked wrongly, with 2, and says why."""
        for arguments, code, why in (
            (("flush", "a..b"), USAGE, "'a..b' is not a domain name"),
            (("inspect", "a.example", "FOO"), USAGE, "'FOO' is not a type"),
            (
                ("flush", "a.example", "--token-file", self.wrong_token()),
                FAILED,
                "this is not the token.\n  --token-file",
            ),
        ):
            self.assertEqual((await self.run_command(*arguments))[0], code)
            self.assertIn(why, (await self.run_command(*arguments))[2])
        self.assertEqual(self.orders, [])

    def wrong_token(self) -> str:
        """Return a file with another token."""
        path = Path(self.mktemp())
        path.write_text("fedcba9876543210")
        return str(path)

    async def test_token(self) -> None:
        """The token is shown, from the file that is named or that of the environment."""
        shown: list[str | None] = []

        def refuse(_: Trust, request: Request) -> str:
            shown.append(request.getHeader("authorization"))
            return ""

        self.patch(Trust, "refuse", refuse)
        await self.run_command("flush", "a.example", "--token-file", str(self.token))
        await self.run_command("flush", "a.example", HEIMDALL_WATCH_TOKEN_FILE=str(self.token))
        await self.run_command("flush", "a.example", HEIMDALL_WATCH_TOKEN_FILE="/nowhere")
        self.assertEqual(shown, [f"Bearer {TOKEN}", f"Bearer {TOKEN}", None])

    async def test_no_token(self) -> None:
        """A file that was named and holds no token is an error; a line break in it reaches no header."""
        self.token.write_text("one\r\nX-Other: two")
        for file, why in (("/nowhere", "No such file"), (str(self.token), "more than a line")):
            code, _, complaint = await self.run_command("flush", "a.example", "--token-file", file)
            self.assertEqual(code, USAGE)
            self.assertIn(why, complaint)

    async def test_usage(self) -> None:
        """What is not understood ends with 2."""
        for arguments in ((), ("dance",), ("flush",), ("inspect", "a", "b", "c"), ("flush", "a.example", "--tree")):
            code, lines, complaint = await self.run_command(*arguments)
            self.assertEqual((code, lines), (USAGE, []), arguments)
            self.assertIn("usage: heimdall", complaint)
        for server in ("nonsense", ":1", "a:", "a:b", "a:0", "a:65536", "a:-1"):
            code, _, complaint = await self.run_command("members", server=server)
            self.assertEqual(code, USAGE)
            self.assertIn("is not HOST:PORT", complaint)

    async def test_help(self) -> None:
        """Each command says what it does and how it ends."""
        code, lines, _ = await self.run_command("--help")
        text = "\n".join(lines)
        self.assertEqual(code, OK)
        for name, command in COMMANDS.items():
            self.assertRegex(text, rf"(?m)^    {name} +{re.escape(command.ABOUT)}$")
            code, lines, _ = await self.run_command(name, "--help")
            self.assertEqual(code, OK)
            self.assertIn("exit codes:\n  0 done ", "\n".join(lines))
        self.assertRegex((await self.run_command("--version"))[1][0], r"^Heimdall \d")

    async def test_not_there(self) -> None:
        """Where no node answers, it ends with 3 and says what to look at."""
        for server in ("127.0.0.1:1", "[::1]:1", "no-such-host.invalid:9053"):
            code, _, complaint = await self.run_command("members", server=server)
            self.assertEqual(code, AWAY)
            self.assertIn(f"No node answers at {server}: ", complaint)
            self.assertIn("HEIMDALL_WATCH_HTTP", complaint)

    async def test_silent(self) -> None:
        """A node that does not answer in time is not there."""
        self.patch(sys.modules["heimdall.command.client"], "PATIENCE", 0.1)
        self.listed = Deferred
        code, _, complaint = await self.run_command("members")
        self.assertEqual(code, AWAY)
        self.assertIn("no answer within 0.1 s", complaint)

    async def test_environment(self) -> None:
        """The node's own variable says where it is; one that serves on all addresses is asked on this machine's."""
        for server in (f"127.0.0.1:{self.port}", f"0.0.0.0:{self.port}"):
            self.assertEqual((await self.run_command("members", HEIMDALL_WATCH_HTTP=server))[0], OK, server)

    async def test_another_server(self) -> None:
        """Whatever answers there that is no Heimdall is told apart from one."""
        told: list[bytes] = [b"<html>", b"[]", b"", b"[" * 100_000, b"{" + b" " * MOST_BYTES + b"}", b'{"members": 5}']
        for body in told:
            self.patch(self.admin, "_show", lambda _, body=body: succeed(Page(200, "text/html", body)))
            code, lines, complaint = await self.run_command("members")
            self.assertEqual((code, lines), (AWAY, []), body[:20])
            self.assertIn("is no Heimdall", complaint)
        self.patch(self.admin, "_show", lambda _: succeed(Page(404, "text/html", b'{"error": "no such page"}')))
        code, _, complaint = await self.run_command("top")
        self.assertEqual(code, FAILED)
        self.assertIn("of an older version", complaint)

    async def test_escapes(self) -> None:
        """Nothing that a node says makes the terminal do anything."""
        evil = "\x1b[2J\x07\u202e\n"
        self.listed = lambda: succeed([Member(evil, evil, evil, 1.0, evil, {})])
        held = {**HELD, "type": evil, "flags": [evil], "state": evil, "origin": evil, "records": [evil], "rcode": evil}
        self.seen = {
            **SEEN,
            "redis": {"held": [held], "complete": True, "reason": evil},
            "reason": evil,
            "silent": [evil],
        }
        self.flushed = {**FLUSHED, "name": evil, "nodes": [evil], "silent": [evil], "reason": evil, "shared": False}
        self.counted = {"names": [{"name": evil, "type": evil}]}
        answer = {"origin": evil, "rcode": evil, "ad": False, "tc": False, "answers": [evil], "authority": [evil]}
        answer["errors"] = [{"code": evil, "name": evil, "text": evil}]
        self.followed = {**FOLLOWED, "node": evil, "answer": answer, "stations": [{"station": evil, "said": evil}]}
        for arguments in (
            ("members",),
            ("inspect", "a"),
            ("flush", "a"),
            ("top",),
            ("ask", "a"),
            ("ask", "a", "--short"),
        ):
            _, lines, complaint = await self.run_command(*arguments)
            self.assertTrue("".join(lines).isprintable() and lines, arguments)
            self.assertEqual(complaint, "")


class Processes(Case):
    """The command as a process of its own."""

    def start(self, *arguments: str, **settings: Any) -> subprocess.Popen[bytes]:
        """Start one."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "heimdall.command", *arguments, "--server", f"127.0.0.1:{self.port}"]
        process = subprocess.Popen(command, env=environ, cwd="/", **settings)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    async def test_closed_pipe(self) -> None:
        """Whoever reads no further ends it quietly."""
        near, far = os.pipe()
        os.close(near)
        process = self.start("members", stdout=far, stderr=subprocess.PIPE)
        os.close(far)
        _, complaint = await deferToThread(process.communicate)
        self.assertEqual((process.returncode, complaint), (OK, b""))
