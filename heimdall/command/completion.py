"""``heimdall completion SHELL``: print what makes a shell complete the commands, drawn from what they take."""

from __future__ import annotations

import argparse
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from heimdall.command.client import OK, Node

ABOUT = "print what makes your shell complete the commands"

TYPES: Final = (
    "A", "AAAA", "ANY", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB",
    "TLSA", "TXT",
)  # fmt: skip
"""The types that are offered."""

FILES: Final = ("FILE",)
"""What is called so in the help is a file."""

_SETUP: Final = """\
to use it now:
  bash   source <(heimdall completion bash)
  zsh    source <(heimdall completion zsh)
  fish   heimdall completion fish | source
to use it always:
  bash   heimdall completion bash > ~/.local/share/bash-completion/completions/heimdall
  zsh    heimdall completion zsh > "${fpath[1]}/_heimdall"
  fish   heimdall completion fish > ~/.config/fish/completions/heimdall.fish"""


@frozen
class Taken:
    """Something that a command takes: an option by its names, or what stands in a place.

    ``value`` is what the help calls its value, empty where it has none; ``words`` those it may be.
    """

    names: tuple[str, ...]
    about: str
    value: str
    words: tuple[str, ...]


@frozen
class Spoken:
    """One command: what it is about, its options, and what stands in its places."""

    about: str
    options: tuple[Taken, ...]
    places: tuple[Taken, ...]


def options(parser: ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("shell", metavar="SHELL", choices=sorted(_SCRIPTS), help="bash, fish or zsh")
    parser.epilog = f"{_SETUP}\n\n{parser.epilog}"


def ask(node: Node, arguments: Namespace) -> Mapping[str, Any]:
    """Draw it from what the commands take; no node is asked."""
    from heimdall.command.main import parser

    return {"shell": arguments.shell, "script": _SCRIPTS[arguments.shell](spoken(parser()))}


def show(told: Mapping[str, Any], arguments: Namespace) -> Iterator[str]:
    """Yield the script."""
    yield told["script"].rstrip()


def code(told: Mapping[str, Any]) -> int:
    """Return the exit code."""
    return OK


def spoken(parser: ArgumentParser) -> dict[str, Spoken]:
    """Return all commands by their names; what stands before a command under the empty one."""
    found = {"": _spoken(parser, parser.description or "")}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            abouts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            found |= {name: _spoken(each, abouts.get(name, "")) for name, each in action.choices.items()}
    return found


def _spoken(parser: ArgumentParser, about: str) -> Spoken:
    actions = [each for each in parser._actions if not isinstance(each, argparse._SubParsersAction)]
    return Spoken(
        about,
        tuple(_taken(action) for action in actions if action.option_strings),
        tuple(_taken(action) for action in actions if not action.option_strings),
    )


def _taken(action: Action) -> Taken:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest)
    words = tuple(map(str, action.choices or ()))
    return Taken(tuple(action.option_strings), action.help or "", value, words or TYPES * (value == "TYPE"))


# What each shell wants.


_BASH_BEGINS: Final = """\
# bash completion of heimdall; made by: heimdall completion bash
_heimdall_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}"); }
_heimdall_files() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"); }
_heimdall() {
    local cur=${COMP_WORDS[COMP_CWORD]} command='' word skip='' place=0
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $skip ]]; then skip=''; continue; fi
        case $word in"""

_BASH_GOES_ON: Final = """\
            -*) ;;
            *) if [[ $command ]]; then place=$((place + 1)); else command=$word; fi ;;
        esac
    done
    case ${COMP_WORDS[COMP_CWORD-1]} in"""


def _bash(commands: Mapping[str, Spoken]) -> str:
    valued = {
        name: each for spoken in commands.values() for each in spoken.options if each.value for name in each.names
    }
    lines = [_BASH_BEGINS, f"            {'|'.join(valued)}) skip=1 ;;", _BASH_GOES_ON]
    lines += [f"        {name}) {_bash_value(option)}; return ;;" for name, option in valued.items()]
    lines += ["    esac", "    case $command:$place:$cur in"]
    for command, spoken in commands.items():
        names = " ".join(name for option in spoken.options for name in option.names)
        lines.append(f"        {command}:*:-*) _heimdall_words '{names}' ;;")
        places = [
            f"        {command}:{number}:*) {_bash_value(place)} ;;" for number, place in enumerate(spoken.places)
        ]
        lines += places or ([] if command else [f"        :*) _heimdall_words '{' '.join(filter(None, commands))}' ;;"])
    return "\n".join([*lines, "    esac", "}", "complete -F _heimdall heimdall"]) + "\n"


def _bash_value(taken: Taken) -> str:
    return "_heimdall_files" if taken.value in FILES else f"_heimdall_words '{' '.join(taken.words)}'"


def _zsh(commands: Mapping[str, Spoken]) -> str:
    lines = ["#compdef heimdall", "# zsh completion of heimdall; made by: heimdall completion zsh", "_heimdall() {"]
    lines += ["    local state line context", "    typeset -A opt_args", "    local -a commands=("]
    lines += [f"        {_quoted(f'{name}:{spoken.about}')}" for name, spoken in commands.items() if name]
    lines += ["    )", "    _arguments -C \\"]
    lines += [f"        {_quoted(spec)} \\" for option in commands[""].options for spec in _zsh_options(option)]
    lines += ["        '1: :->command' '*:: :->rest'", "    case $state in"]
    lines += ["        command) _describe command commands ;;", "        rest) case $words[1] in"]
    for command, spoken in commands.items():
        if command:
            specs = [spec for option in spoken.options for spec in _zsh_options(option)]
            specs += [f"{number}:{place.value}:{_zsh_value(place)}" for number, place in enumerate(spoken.places, 1)]
            lines.append(f"            {command}) _arguments {' '.join(map(_quoted, specs))} ;;")
    lines += ["        esac ;;", "    esac", "}"]
    # Sourced it must say whom it completes; from a folder of functions it is called at once.
    lines += ['if [[ $funcstack[1] == _heimdall ]]; then _heimdall "$@"; else compdef _heimdall heimdall; fi']
    return "\n".join(lines) + "\n"


def _zsh_options(option: Taken) -> Iterator[str]:
    about = option.about.translate(str.maketrans("[]:", "();"))
    for name in option.names:
        yield f"{name}[{about}]" + (f":{option.value.replace(':', ' ')}:{_zsh_value(option)}" if option.value else "")


def _zsh_value(taken: Taken) -> str:
    return "_files" if taken.value in FILES else f"({' '.join(taken.words)})" if taken.words else " "


def _fish(commands: Mapping[str, Spoken]) -> str:
    lines = ["# fish completion of heimdall; made by: heimdall completion fish", "complete -c heimdall -f"]
    for command, spoken in commands.items():
        where = f"-n {_quoted(f'__fish_seen_subcommand_from {command}' if command else '__fish_use_subcommand')}"
        if command:
            lines.append(f"complete -c heimdall -n '__fish_use_subcommand' -a {command} -d {_quoted(spoken.about)}")
        for option in spoken.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = "" if not option.value else " -r -F" if option.value in FILES else " -x"
            words = f" -a {_quoted(' '.join(option.words))}" if option.words else ""
            lines.append(f"complete -c heimdall {where} {names}{value}{words} -d {_quoted(option.about)}")
        for place in spoken.places:
            if place.value in FILES:
                lines.append(f"complete -c heimdall {where} -F")
            elif place.words:
                lines.append(f"complete -c heimdall {where} -a {_quoted(' '.join(place.words))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS: Final = {"bash": _bash, "fish": _fish, "zsh": _zsh}
