"""The house stays tidy: limits that are a test, not a wish. Each failure names the way out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "redpoll"
FILE_LINES, FUNCTION_LINES, CLASS_METHODS, PORT_METHODS, DEPTH = 400, 60, 20, 8, 2

# A raised limit stands here with its reason.
RAISED: dict[str, str] = {}

FILES = sorted(SOURCE.rglob("*.py"))


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    end = node.end_lineno or node.lineno
    doc = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return end - node.lineno + 1 - doc


def _trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in FILES]


def test_no_file_is_longer_than_400_lines() -> None:
    """A longer file holds two rooms: split it by what it knows. Tests and benchmarks too."""
    everything = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    long = {
        str(path.relative_to(ROOT)): count
        for path in everything
        if (count := len(path.read_text().splitlines())) > FILE_LINES
        and str(path.relative_to(ROOT)) not in RAISED
    }
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    """Docstrings do not count. Give the steps names of their own."""
    long = {
        f"{path.relative_to(SOURCE)}:{node.name}": lines
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := _code_lines(node)) > FUNCTION_LINES
    }
    assert not long


def test_no_class_has_more_than_20_methods_and_no_port_more_than_8() -> None:
    """A class that knows so much wants to hand some of it to a collaborator."""
    wide = {}
    for path, tree in _trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            count = sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in node.body)
            limit = PORT_METHODS if path.name == "port.py" else CLASS_METHODS
            if count > limit:
                wide[f"{path.relative_to(SOURCE)}:{node.name}"] = count
    assert not wide


def test_layers_point_down_and_nothing_runs_in_circles() -> None:
    """The import contract of pyproject.toml; run `lint-imports` to see the offending line."""
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_no_module_takes_part_in_an_import_cycle() -> None:
    """Top-level imports form a tree; what two modules share belongs into a third."""
    graph: dict[str, set[str]] = {}
    names = {".".join(("redpoll", *p.relative_to(SOURCE).with_suffix("").parts)): p for p in FILES}
    for name, path in names.items():
        graph[name.removesuffix(".__init__")] = {
            target
            for node in ast.parse(path.read_text()).body
            for target in _imported(node)
            if target in names
        }
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, " -> ".join((*trail, name))
        if state.get(name) == 2:
            return
        state[name] = 1
        for target in graph.get(name, ()):
            visit(target, (*trail, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_public_function_says_what_it_does(path: Path) -> None:
    """Public modules, classes and functions have a docstring."""
    tree = ast.parse(path.read_text())
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare


def test_no_committed_text_names_a_path_of_a_machine_or_a_registrys_host() -> None:
    """What is committed works anywhere and speaks of redpoll alone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    wanted = re.compile(r"/work/(?:main|shared|\.)|/root/|pypi\.org|registry\.npmjs|debian\.org")
    own = Path(__file__).relative_to(ROOT)
    found = []
    for name in filter(None, listed):
        path = ROOT / name
        if Path(name) == own or not path.is_file() or path.stat().st_size > 2_000_000:
            continue
        text = path.read_text(errors="ignore")
        found += [f"{name}: {match.group()}" for match in [wanted.search(text)] if match]
    assert not found
