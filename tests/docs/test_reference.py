"""``docs/reference.md`` says everything that people and programs can rely on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from redpoll.errors import CATALOG
from redpoll.facts import COLUMNS, COMMON
from redpoll.host.metrics import METRICS
from redpoll.host.paths import DataDir
from redpoll.testing import reference
from redpoll.web.openapi import document

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "redpoll"
TEXT = (ROOT / "docs" / "reference.md").read_text()
COMMANDS = dict(reference.commands())


def section(title: str) -> str:
    """The text under a heading, up to the next of its level."""
    level = len(title.split(" ")[0])
    end = rf"^#{{1,{level}}} "
    found = re.search(rf"^{re.escape(title)}$(.*?)(?={end}|\Z)", TEXT, re.M | re.S)
    assert found, f"docs/reference.md has no section {title}"
    return found[1]


def test_the_tables_are_as_the_code_has_them() -> None:
    """Where this fails: `python -m redpoll.testing.reference`, and read what changed."""
    assert reference.renewed(TEXT) == TEXT


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    """A heading with its arguments, a sentence, and each option with its meaning."""
    command = COMMANDS[name]
    assert re.search(rf"^### `{re.escape(name)}[ `]", TEXT, re.M)
    assert (command.help or "").strip().endswith((".", "…"))
    for option in reference.options(command):
        assert (option.help or "").strip(), f"{name} {option.opts[0]} has no help"
        assert f"`{', '.join(option.opts)}" in TEXT


def test_the_options_of_all_commands_are_explained_once() -> None:
    """``--json``, ``--server``, ``--config``, ``--data-dir``."""
    shared = set(reference.COMMON)
    for name, command in COMMANDS.items():
        with click.Context(command, info_name=name) as context:
            known = {word for option in command.get_params(context) for word in option.opts}
        assert {"--json", "--server", "--config", "--data-dir"} <= known, name
    head = section("## Commands").partition("<!-- begin")[0]
    assert all(option in head for option in shared)


def test_every_exit_code_is_explained() -> None:
    """0 to 5, as the commands return them."""
    tree = ast.parse((SOURCE / "cli" / "errors.py").read_text())
    codes = {
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, int)
    }
    assert codes >= {0, 1, 2, 3, 4, 5}
    head = section("## Commands").partition("<!-- begin")[0]
    assert all(f"| {code} |" in head for code in codes if code < 100)


def test_every_environment_variable_is_explained() -> None:
    """Those that the code reads; what redpoll tells its own children is its own affair."""
    own = {"REDPOLL_CHILD_OF"}
    read = {
        name
        for path in SOURCE.rglob("*.py")
        if "worker" not in path.parts and "demo" not in path.parts
        for name in re.findall(r"[\"'](REDPOLL_[A-Z_]+)[\"']", path.read_text())
    }
    assert read
    assert {name for name in read - own if f"| `{name}` |" not in TEXT} == set()


@pytest.mark.parametrize("fact", COLUMNS)
def test_every_column_of_every_fact_is_documented(fact: str) -> None:
    """With its type and meaning, in order, and none that does not exist."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", section(f"### `{fact}`"), re.M)
    assert rows == list(COLUMNS[fact].items())


def test_the_common_columns_are_documented() -> None:
    """``stream``, ``sequence``, ``time``, ``schema``."""
    head = section("## Facts").partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", head, re.M) == list(COMMON.items())


def decisions_made() -> set[str]:
    """Actions of Decisions, as the machine, its commands and control write them."""
    found: set[str] = set()
    for path in [*(SOURCE / "rollout").glob("*.py"), *(SOURCE / "control").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            wanted: list[ast.expr] = []
            if node.func.id in ("decide", "_ask", "_switch") and len(node.args) > 1:
                wanted = [node.args[1]]
            elif node.func.id == "Decision":
                wanted = [word.value for word in node.keywords if word.arg == "action"]
            for value in wanted:
                branches = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
                found |= {
                    one.value
                    for one in branches
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


def test_every_action_of_a_decision_is_documented() -> None:
    """And no other."""
    rows = re.findall(r"^\| (rollout|route|catalog) \| `(\w+)` \|", section("## Decisions"), re.M)
    assert {action for _, action in rows} == decisions_made()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_documented_with_its_labels(name: str) -> None:
    """Type, labels, meaning."""
    labels = ", ".join(f"`{label}`" for label in METRICS[name].labels)
    assert f"| `{name}` | {METRICS[name].kind} | {labels} |" in section("## Metrics")


@pytest.mark.parametrize("code", CATALOG)
def test_every_error_code_is_documented(code: str) -> None:
    """With its status, its name, and a page that says something."""
    status = str(CATALOG[code].status) if CATALOG[code].status else ""
    assert f"| `{code}` | {status} | `{CATALOG[code].name}` |" in section("## Error codes")
    assert len(CATALOG[code].explain) > 20


def test_every_code_that_is_raised_has_a_page() -> None:
    """No error leaves with a code that nobody explains."""
    raised = {
        code
        for path in SOURCE.rglob("*.py")
        for code in re.findall(r"[\"'](RP-\d{3})[\"']", path.read_text())
    }
    assert raised <= set(CATALOG)


def test_every_call_of_the_api_is_documented() -> None:
    """Those of the OpenAPI document."""
    listed = section("## Control plane")
    for path, calls in document()["paths"].items():
        for method in calls:
            assert f"| `{method.upper()} {path}` |" in listed


def test_every_place_in_the_data_folder_is_documented(tmp_path: Path) -> None:
    """All that :class:`DataDir` names."""
    data = DataDir(tmp_path)
    listed = section("## Files")
    paths = [path for name, path in vars(data).items() if isinstance(path, Path) and name != "root"]
    assert len(paths) > 8
    for path in paths:
        relative = str(path.relative_to(data.root))
        assert re.search(rf"^\| `{re.escape(relative)}[`/<]", listed, re.M), relative
