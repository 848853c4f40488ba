"""What README and quickstart tell people to type is right."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from redpoll.cli.main import cli
from redpoll.config import parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/quickstart.md")


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (name, block)
        for name in DOCUMENTS
        for block in re.findall(
            rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S
        )
    ]


COMMANDS = [
    line.strip()
    for _, block in _blocks("bash")
    for line in block.splitlines()
    if line.startswith("redpoll ")
]


def _resolve(words: list[str]) -> None:
    """Parse a command line as click does, without running it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="redpoll")
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    command.make_parser(context).parse_args(list(words))
    command.make_context(command.name, list(words), parent=context)


def test_the_documents_have_commands() -> None:
    """Else the next test could not fail."""
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_can_be_parsed(line: str) -> None:
    """Commands, options and arguments exist as written."""
    _resolve(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize(("name", "block"), _blocks("toml"))
def test_every_configuration_is_valid(name: str, block: str, tmp_path: Path) -> None:
    """Beside the model files it names."""
    for file in ("model.pkl", "v1.pkl", "v2.pkl"):
        (tmp_path / file).write_bytes(b"")
    config = parse(block, str(tmp_path / "redpoll.toml"))
    assert config.models[0].name == "churn"


@pytest.mark.parametrize(("name", "block"), _blocks("python"))
def test_every_python_block_compiles(name: str, block: str) -> None:
    """And imports only what is there."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("redpoll"):
            exec(ast.unparse(node), {})


def test_what_the_documents_link_to_exists() -> None:
    """No dead links within the repository."""
    for name in DOCUMENTS:
        path = ROOT / name
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{name} links to {target}"
