"""The first ``redpoll.toml``: from what was found in model files to a text with comments."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redpoll.backends.probing import Found
from redpoll.catalog import FIELD_NAME
from redpoll.cli import sample as samples
from redpoll.cli.candidates import Candidate, shown
from redpoll.cli.sample import Sample

WIDEST = 2000  # columns that are declared one by one
SHOWN = 4  # values of a column in a comment
BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
LIBRARY_NAMES = {"sklearn": "scikit-learn", "mlflow": "MLflow"}


class Look(NamedTuple):
    """A candidate, what is in it, and the columns that a sample gave it."""

    candidate: Candidate
    found: Found
    sample: Sample | None


class Field(NamedTuple):
    """One declared input: its type, and a value that it may have."""

    name: str
    type: str
    example: Any
    values: tuple[Any, ...] = ()


def fields(look: Look) -> list[Field]:
    """The model's inputs. Types and values: from the sample, else from what the model remembers."""
    found, sample = look.found, look.sample
    names = list(found.names)
    if sample is not None:
        return [
            Field(name if names else samples.as_name(name), kind, sample.row[name])
            for name, kind in sample.types.items()
        ]
    if not names:
        names = ["text"] if found.text else [f"x{at}" for at in range(found.count or 0)]
    made = []
    for at, name in enumerate(names):
        known = found.columns[at] if at < len(found.columns) else None
        kind = known.type if known and known.type else "float"
        values = tuple(known.values) if known else ()
        if found.example is not None and name in found.example:
            values = (found.example[name], *values)
        made.append(Field(name, kind, values[0] if values else 1.0, values))
    return made


def declarable(inputs: Sequence[Field]) -> bool:
    """Whether the columns can stand in the file: by their names, and in number."""
    names = [field.name for field in inputs]
    fine = all(FIELD_NAME.match(name) for name in names) and len(set(names)) == len(names)
    return bool(names) and fine and len(names) <= WIDEST


def example(inputs: Sequence[Field]) -> dict[str, Any]:
    """A row to ask the model with."""
    return {field.name: field.example for field in inputs}


def output(found: Found) -> str:
    """The declared output, as TOML; empty where the model's own way says it best."""
    classes = found.classes
    if classes is None:
        return ""
    score = ', score = "probability"' if found.probability else ""
    if len(classes) == 2:
        positive = f", positive = {_value(classes[1])}"
        return f'{{name = "prediction", type = "binary"{score}{positive}}}'
    return f'{{name = "prediction", type = "category"{score}}}'


def libraries(found: Found) -> str:
    """``Python 3.11.2, scikit-learn 1.9.1, numpy 2.4.6``."""
    parts = [f"{LIBRARY_NAMES.get(name, name)} {said}" for name, said in found.libraries.items()]
    return ", ".join([f"Python {found.python}", *sorted(parts, key=_importance)])


def what(found: Found) -> str:
    """``sklearn.pipeline.Pipeline (StandardScaler, LogisticRegression)``."""
    short = re.sub(r"\._\w+(?=\.)", "", found.kind)  # no private modules
    return f"{short} ({', '.join(found.parts)})" if len(found.parts) > 1 else short


def text(looks: Sequence[Look], folder: Path, python: str | None, server: dict[str, str]) -> str:
    """The whole file. ``server``: addresses that are not the default ones, and their comment."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        f"# Written by `redpoll init` on {day}; it is yours now. `redpoll serve` applies it, and",
        "# `redpoll apply --dry-run` says what a change would do. Every setting, and what it means:",
        "# docs/configuration.md",
        "",
    ]
    if server:
        lines += ["[server]                        # the usual ports 8080 and 8081 are taken here"]
        lines += [f"{key} = {_value(address)}" for key, address in server.items()] + [""]
    models: dict[str, list[Look]] = {}
    for look in looks:
        models.setdefault(look.candidate.model, []).append(look)
    for name, versions in models.items():
        lines += _model(name, versions, folder, python)
    return "\n".join(lines).rstrip() + "\n"


def _model(name: str, looks: Sequence[Look], folder: Path, python: str | None) -> list[str]:
    first = looks[0]
    inputs = fields(first)
    version = first.candidate.version
    lines = [
        f"[models.{name}]",
        f"live = {_value(version)}                       # a changed value starts a rollout to it",
    ]
    if declared := output(first.found):
        lines.append(f"output = {declared}")
    lines += [
        '# unit = "user"                    # a user stays with one version while a rollout runs',
        '# unit_from = "header:redpoll-unit" # where a request says whose it is',
        "",
    ]
    if declarable(inputs):
        lines.append(f"[models.{name}.inputs]             # {_origin(first)}")
        lines += [_padded(f"{field.name} = {_value(field.type)}", _such(field)) for field in inputs]
    elif inputs:
        lines += [
            "# The columns have names that `inputs` cannot hold (a-z, 0-9 and _ only), so they are",
            "# not declared: the model takes those that it was fitted on.",
        ]
    lines.append("")
    for look in looks:
        lines += _version(name, look, folder, python)
    lines += [
        "# The next one, and how it takes over (these are the defaults):",
        f"# [models.{name}.versions.{_key(_next(looks))}]",
        f'# backend = "{first.candidate.kind}:…"',
        f"# [models.{name}.rollout]",
        '# steps = [{weight = "1%", pause = "10m"}, {weight = "10%", pause = "10m"}, '
        '{weight = "50%", pause = "10m"}]',
        "# min_requests = 200",
        "",
    ]
    return lines


def _version(name: str, look: Look, folder: Path, python: str | None) -> list[str]:
    candidate = look.candidate
    backend = f"{candidate.kind}:{shown(candidate.path, folder)}"
    lines = [
        f"[models.{name}.versions.{_key(candidate.version)}]",
        f"# {what(look.found)}",
        f"# {libraries(look.found)}",
        f"backend = {_value(backend)}",
    ]
    if python is not None:
        lines.append(f"python = {_value(python)}")
    return [*lines, ""]


def _origin(look: Look) -> str:
    if look.sample is not None:
        return f"names and types from {Path(look.sample.file).name}: check them"
    if look.candidate.kind != "sklearn" and look.found.names:
        return "as the file says"
    if look.candidate.kind == "onnx":
        return "it takes a matrix of so many columns, in this order: name them"
    if look.found.names:
        return "what it was fitted on; the types are a guess: check them"
    return "it was fitted on columns without names, in this order: name them"


def _such(field: Field) -> str:
    shown_values = [json.dumps(value, ensure_ascii=False) for value in field.values[:SHOWN]]
    if field.type == "category" and len(shown_values) > 1:
        return " ".join(shown_values) + (" …" if len(field.values) > SHOWN else "")
    return ""


def _next(looks: Sequence[Look]) -> str:
    taken = {look.candidate.version for look in looks}
    number = 2
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"


def _padded(code: str, comment: str) -> str:
    return f"{code:<34} # {comment}" if comment else code


def _key(name: str) -> str:
    return name if BARE.match(name) else _value(name)


def _value(value: Any) -> str:
    """TOML: its strings, numbers and booleans are written as JSON's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _importance(library: str) -> tuple[bool, str]:
    return not library.startswith(("scikit-learn", "onnx", "MLflow")), library
