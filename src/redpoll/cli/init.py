"""``redpoll init``: from a model file to a line that predicts."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from redpoll import config as configuration
from redpoll.backends import pickles, trial
from redpoll.backends.probing import probe
from redpoll.backends.start import interpreter
from redpoll.catalog import Config, Version
from redpoll.cli import draft
from redpoll.cli import sample as samples
from redpoll.cli.candidates import Candidate, found_in, named, own_python, shown
from redpoll.cli.draft import Look
from redpoll.cli.errors import FAILED, OK
from redpoll.cli.face import Face, with_face
from redpoll.config.keys import LATER_BACKENDS
from redpoll.errors import RedpollError

LINE_MAX = 600  # characters of a row on a command line; a longer one goes to a file
PORTS = (8080, 8081)
COLUMNS_SHOWN = 12


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]", type=click.Path())
@click.option(
    "--sample", metavar="CSV", type=click.Path(), help="Data to take names, types and a row from."
)
@click.option("--name", metavar="MODEL", help="The model's name (default: from the file's).")
@click.option(
    "--python", metavar="PATH",
    help="The model's own interpreter (default: .venv/bin/python where there is one).",
)  # fmt: skip
@with_face
def init(
    face: Face, files: tuple[str, ...], sample: str | None, name: str | None, python: str | None
) -> int:
    """Write a first redpoll.toml for model files, and say how to ask them.

    FILE is a pickle or joblib file, an ONNX file, or an MLflow folder; without one, the folder is
    searched. Each is loaded in a worker process and asked once. Loading a pickle runs code that is
    in it: name only files that you trust. Nothing is overwritten.
    """
    config = face.config_path.absolute()
    folder = config.parent
    if config.exists():
        raise RedpollError(
            "RP-040",
            f"{config} is there already, and init overwrites nothing; add a version to it with "
            "`redpoll version add MODEL NAME BACKEND`, or name another file with -c",
        )
    python = python or own_python(folder)
    row = samples.read(Path(sample)) if sample else None
    candidates = named(files, folder, name) if files else found_in(folder, name)
    looks = _look(face, candidates, folder, python, row, chosen=bool(files))
    text = draft.text(looks, folder, python, _addresses())
    told = _trials(configuration.parse(text, str(config)), looks)
    try:
        with config.open("x") as file:
            file.write(text)
    except OSError as error:
        raise RedpollError("RP-040", f"{config} could not be written: {error.strerror}") from None
    for one in told:
        one["predict"] = _line(one, face.config_path, folder)
    document = {"config": str(config), "serve": _serve(face.config_path), "models": told}
    face.out.result(document, _said(document, looks))
    silent = [one["trial"] for one in told if one["answer"] is None]
    for why in silent:
        face.out.say(
            f"redpoll: {why}\nThe row was made up. Give real data, with another file name: "
            "redpoll init … --sample data.csv -c other.toml, or change the values in the line above."
        )
    return FAILED if silent else OK


def _look(
    face: Face,
    candidates: Sequence[Candidate],
    folder: Path,
    python: str | None,
    row: samples.Sample | None,
    *,
    chosen: bool,
) -> list[Look]:
    """What is in the files. Those that nobody named may be no models: then they are left out."""
    looks: list[Look] = []
    left: list[RedpollError] = []
    for candidate in candidates:
        if candidate.kind == "sklearn":
            face.out.say(
                f"loading {shown(candidate.path, folder)} in a process of its own (a pickle runs "
                "code when it is loaded: only load what you trust)"
            )
        try:
            looks.append(_one(candidate, folder, python, row))
        except RedpollError as error:
            if chosen:
                raise
            face.out.say(f"left out: {error.message}")
            left.append(error)
    if not looks:
        raise left[-1]
    return _apart(looks)


def _one(
    candidate: Candidate, folder: Path, python: str | None, row: samples.Sample | None
) -> Look:
    version = Version(
        name=candidate.version,
        backend=f"{candidate.kind}:{candidate.path}",
        folder=str(folder),
        python=python,
    )
    if candidate.kind in LATER_BACKENDS:
        raise RedpollError(
            "RP-040",
            f"{shown(candidate.path, folder)}: {candidate.kind}: backends are not built yet; a Python "
            'function can load it: backend = "python:my_module:load" (docs/workers.md)',
        )
    pickles.check(version, candidate.path)
    found = probe(candidate.kind, candidate.path, folder, interpreter(version))
    if not found.predicts:
        raise RedpollError(
            "RP-041",
            f"{candidate.path.name} holds a {found.kind}, which has no predict(): it is no model by "
            "itself. Save the fitted estimator or the whole pipeline, or wrap it in a function: "
            '"python:my_module:load" (docs/workers.md).',
        )
    if row is None and not found.names and not found.count and not found.text:
        raise RedpollError(
            "RP-041",
            f"{candidate.path.name} does not say what columns it takes; give data that it can be "
            "asked with: redpoll init … --sample data.csv",
        )
    if row is not None:
        if found.names:
            row = samples.fit(row, found.names)
        elif found.count is not None:
            row = samples.fit_count(row, found.count)
    return Look(candidate, found, row)


def _apart(looks: list[Look]) -> list[Look]:
    """Give every version a name of its own; files with other columns are other models."""
    made: list[Look] = []
    for look in looks:
        candidate = look.candidate
        same = [one for one in made if one.candidate.model == candidate.model]
        if same and _columns(same[0]) != _columns(look):
            taken = {one.candidate.model for one in made}
            number = 2
            while f"{candidate.model}-{number}" in taken:
                number += 1
            candidate = candidate._replace(model=f"{candidate.model}-{number}")
            same = []
        taken = {one.candidate.version for one in same}
        version, number = candidate.version, 1
        while version in taken:
            number += 1
            version = f"v{number}"
        made.append(look._replace(candidate=candidate._replace(version=version)))
    return made


def _columns(look: Look) -> tuple[object, ...]:
    return (look.found.names, look.found.count)


def _trials(config: Config, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Ask each model's first version as a server would, with the row that will be printed."""
    told: list[dict[str, Any]] = []
    for model in config.models:
        first = next(look for look in looks if look.candidate.model == model.name)
        inputs = draft.fields(first)
        row, answer, why = draft.example(inputs), None, ""
        for version in model.versions:
            try:
                found = trial.ask(model, version, [row])[0]
                answer = answer if answer is not None else found
            except RedpollError as error:
                if error.code != "RP-042":
                    raise
                why = error.message
                break
        told.append(
            {
                "model": model.name,
                "live": model.live,
                "versions": [
                    {
                        "version": look.candidate.version,
                        "backend": version.backend,
                        "python": version.python,
                        "class": look.found.kind,
                        "libraries": {"python": look.found.python, **look.found.libraries},
                    }
                    for look in looks
                    if look.candidate.model == model.name
                    for version in model.versions
                    if version.name == look.candidate.version
                ],
                "columns": [
                    {"name": field.name, "type": field.type, "example": field.example}
                    for field in inputs
                ],
                "row": row,
                "answer": None if why else answer,
                "trial": why,
            }
        )
    return told


def _addresses() -> dict[str, str]:
    """Other addresses than the default ones, where another program has those."""
    if all(_free(port) for port in PORTS):
        return {}
    for first in range(8090, 9000, 10):
        if _free(first) and _free(first + 1):
            return {"data": f"127.0.0.1:{first}", "control": f"127.0.0.1:{first + 1}"}
    return {"data": "127.0.0.1:0", "control": "127.0.0.1:0"}


def _free(port: int) -> bool:
    with socket.socket() as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _serve(config: Path) -> str:
    return "redpoll serve" + _with(config)


def _with(config: Path) -> str:
    default = config == Path("redpoll.toml")
    return "" if default else f" -c {shlex.quote(str(config))}"


def _line(one: dict[str, Any], config: Path, folder: Path) -> str:
    """The command that asks the model; a wide row goes to a file beside the configuration."""
    row = json.dumps(one["row"], ensure_ascii=False)
    given = shlex.quote(row)
    if len(row) > LINE_MAX:
        path = folder / f"{one['model']}-sample.json"
        number = 1
        while path.exists() and path.read_text() != row:
            number += 1
            path = folder / f"{one['model']}-sample-{number}.json"
        path.write_text(row)
        here = path.name if folder == Path.cwd() else str(path)
        given = shlex.quote(f"@{here}")
    return f"redpoll predict {one['model']} {given}{_with(config)}"


def _said(document: dict[str, Any], looks: Sequence[Look]) -> str:
    lines: list[str] = []
    for one in document["models"]:
        mine = [look for look in looks if look.candidate.model == one["model"]]
        for look in mine:
            lines.append(f"{one['model']} {look.candidate.version}: {draft.what(look.found)}")
            lines.append(f"  {draft.libraries(look.found)}")
        names = [f"{column['name']} ({column['type']})" for column in one["columns"]]
        more = f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else ""
        lines.append(f"  columns: {', '.join(names[:COLUMNS_SHOWN]) or 'not known'}{more}")
        if one["answer"] is not None:
            lines.append(f"  asked once, it answered {json.dumps(one['answer'])}")
    lines += ["", f"{document['config']} is written. Start the server, and ask it:", ""]
    lines.append(f"  {document['serve']}")
    lines += [f"  {one['predict']}" for one in document["models"]]
    return "\n".join(lines)
