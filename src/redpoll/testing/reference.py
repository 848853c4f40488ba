"""The tables of ``docs/reference.md`` that follow from the code: commands, API, metrics, errors.

``python -m redpoll.testing.reference`` writes them anew between their marks; a test compares. What
people have to explain (columns, decisions, files, headers) is written by hand, and other tests see
that nothing is missing there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from redpoll.cli.main import cli
from redpoll.errors import CATALOG
from redpoll.host.metrics import METRICS
from redpoll.web.openapi import document

COMMON = ("--json", "--server", "--config", "--data-dir", "--help")
_PART = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its whole name."""
    with click.Context(cli, info_name="redpoll") as context:
        yield from _walk("redpoll", cli, context)


def _walk(
    name: str, command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word in command.list_commands(context):
        found = command.get_command(context, word)
        if found is not None and not found.hidden:
            yield from _walk(f"{name} {word}", found, context)


def options(command: click.Command) -> list[click.Option]:
    """A command's own options: those that all commands share are left out."""
    return [
        option
        for option in command.params
        if isinstance(option, click.Option)
        and not option.hidden
        and not set(COMMON) & set(option.opts)
    ]


def _commands() -> str:
    parts: list[str] = []
    for name, command in commands():
        with click.Context(command, info_name=name) as context:
            pieces = [p for p in command.collect_usage_pieces(context) if p != "[OPTIONS]"]
            parts += [f"### `{' '.join([name, *pieces])}`", "", _paragraphs(command.help), ""]
            own = options(command)
            if own:
                parts += ["| option | meaning |", "|---|---|"]
                parts += [_option(option, context) for option in own]
                parts.append("")
    return "\n".join(parts)


def _option(option: click.Option, context: click.Context) -> str:
    metavar = "" if option.is_flag else f" {option.make_metavar(context)}"
    words = " ".join((option.help or "").split())
    return f"| `{', '.join(option.opts)}{_cell(metavar)}` | {_cell(words)} |"


def _paragraphs(text: str | None) -> str:
    blocks = (text or "").replace("\b", "").strip().split("\n\n")
    return "\n\n".join(" ".join(block.split()) for block in blocks)


def _api() -> str:
    lines = ["| call | scope | what |", "|---|---|---|"]
    for path, calls in document()["paths"].items():
        for method, operation in calls.items():
            held = [scope for one in operation["security"] for scope in one.get("token", ())]
            scope = f"`{held[0]}`" if held else ""
            lines.append(f"| `{method.upper()} {path}` | {scope} | {operation['summary']} |")
    return "\n".join(lines) + "\n"


def _metrics() -> str:
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, metric in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {metric.kind} | {labels} | {_cell(metric.help)} |")
    return "\n".join(lines) + "\n"


def _errors() -> str:
    lines = ["| code | HTTP | name | meaning |", "|---|---|---|---|"]
    for code, known in CATALOG.items():
        status = str(known.status) if known.status else ""
        lines.append(f"| `{code}` | {status} | `{known.name}` | {_cell(known.explain)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "api": _api,
    "metrics": _metrics,
    "errors": _errors,
}


def renewed(text: str) -> str:
    """The reference with its tables as the code has them now."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


def main() -> None:
    """Write ``docs/reference.md`` anew (or the file that is named)."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference.md")
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__":
    main()
