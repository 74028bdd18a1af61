"""``heimdall ask NAME [TYPE]``: have a node answer a question, and see which station knew and how long each took."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Final

from heimdall.command.client import ANSWERED_NO, OK, Node
from heimdall.command.screen import paint
from heimdall.command.tables import TONES, plain, table
from heimdall.units import brief

ABOUT = "ask a question, and see how each station answers"

_HEAD: Final = ("STATION", "WHO", "SAID", " AFTER", " TOOK")
_WHO: Final = ("gate", "server", "suffix")
_RCODES: Final = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_SAID: Final = {
    ("redis", "down"): "is not there",
    ("redis", "late"): "late: the next is asked as well",
    ("redis", "followed"): "another node asks already",
}


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("name", metavar="NAME", help="the name to ask for, such as www.example.com")
    parser.add_argument("type", metavar="TYPE", nargs="?", default="A", help="the type, such as AAAA (A)")
    parser.add_argument("--do", action="store_true", help="want signatures (the DO bit)")
    parser.add_argument("--cd", action="store_true", help="want them unchecked (the CD bit)")
    parser.add_argument(
        "--client", metavar="ADDRESS", default="", help="ask as this client: rules and rate are its own (127.0.0.1)"
    )
    parser.add_argument("--short", action="store_true", help="print the data of the answer alone, as dig +short does")


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Have it asked."""
    asked = {"name": arguments.name, "type": arguments.type}
    asked |= {flag: "1" for flag in ("do", "cd") if getattr(arguments, flag)}
    if arguments.client:
        asked["client"] = arguments.client
    return node.get("/api/v1/ask", **asked)


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield the answer in presentation form, where it came from, and what each station did."""
    answer = told["answer"]
    if arguments.short:
        yield from () if answer is None else (plain(record.split(" ", 4)[-1]) for record in answer["answers"])
        return
    yield from _answer(answer)
    where = f"{plain(told['node'])} says it" if answer is None else f"from {plain(answer['origin'])}"
    yield f"{_verdict(answer)} {where}, after {brief(told['seconds'])}"
    for error in () if answer is None else answer["errors"]:
        text = f": {plain(error['text'])}" if error["text"] else ""
        yield f"  extended error {plain(error['code'])}, {plain(error['name']) or 'unknown'}{text}"
    yield ""
    yield from table(_HEAD, [_row(note) for note in told["stations"]], give=1)


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code: whether the answer is a good one."""
    answer = told.get("answer")
    return OK if isinstance(answer, Mapping) and answer.get("rcode") == "NOERROR" else ANSWERED_NO


def _answer(answer: Mapping[str, Any] | None) -> Iterator[str]:
    for section in ("answers", "authority") if answer is not None else ():
        for record in answer[section] if answer is not None else ():
            yield plain(record) if section == "answers" else f"; {plain(record)}"
    if answer is not None and (answer["answers"] or answer["authority"]):
        yield ""


def _verdict(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return paint("No reply:", "bad")
    rcode = plain(answer["rcode"])
    marks = ", validated" * bool(answer["ad"]) + ", truncated" * bool(answer["tc"])
    records = len(answer["answers"])
    return f"{paint(rcode, TONES.get(rcode, 'bad'))}, {records} record{'s' * (records != 1)}{marks},"


def _row(note: Mapping[str, Any]) -> tuple[str, ...]:
    who = next((str(note[key]) for key in _WHO if key in note), "")
    said = _SAID.get((note["station"], note["said"]), note["said"])
    if "rcode" in note:
        said += f" {_RCODES.get(note['rcode'], note['rcode'])}"
    return note["station"], who, said, brief(note.get("at")), brief(note.get("took"))
