"""Reading ``redpoll.toml``: text to :class:`redpoll.catalog.Config`, all errors at once."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from redpoll.catalog import Config, Model, Version
from redpoll.config.models import read_models
from redpoll.config.problems import ConfigError, Node, Problem, Report
from redpoll.config.scan import Spots
from redpoll.config.server import absolute, read_server
from redpoll.config.syntax import read_toml
from redpoll.config.values import text as text_value
from redpoll.config.versions import read_versions

NAME = "redpoll.toml"
LARGEST_BYTES = 1 << 20
FIRST_USE = '[models.churn.versions.v1]\nbackend = "sklearn:model.pkl"'


def load(
    path: str | os.PathLike[str],
    *,
    stored: Collection[tuple[str, str]] | Callable[[str], Collection[tuple[str, str]]] = (),
) -> Config:
    """Read a file (or the ``redpoll.toml`` of a folder); paths are relative to the file's folder.

    ``stored`` are (model, version) whose files the artifacts hold already: they may be gone. It can
    be a function of the data folder, such as ``redpoll.store.known.kept_in``.
    Raises :class:`ConfigError` (RP-001) with every problem that can be seen.
    """
    file = Path(path)
    if file.is_dir():
        file = file / NAME
    file = file.absolute()
    config, report = _parse(_read(file), str(file))
    _check_files(config, report, stored(config.data_dir) if callable(stored) else stored)
    if report.problems:
        raise ConfigError(report.problems)
    return config


def parse(text: str, path: str) -> Config:
    """The configuration of a text that stands at ``path``; nothing is read or looked for."""
    config, report = _parse(text, path)
    if report.problems:
        raise ConfigError(report.problems)
    return config


def version_from(model: str, name: str, table: Mapping[str, object], folder: str) -> Version:
    """One version as an API call or a command line describes it, under the file's own rules.

    ``folder`` is where its paths are seen from. Values may be strings as they stand behind ``=`` in
    a file (``workers=2`` on a command line). Raises :class:`ConfigError` with everything wrong.
    """
    report = Report("version", Spots())
    settings = {key: _typed(value) if key != "backend" else value for key, value in table.items()}
    node = Node(report, {"versions": {name: settings}}, ("models", model), "models.*")
    for version in read_versions(node, folder):
        _check_version(Model(name=model), version, report)
        if not report.problems:
            return version
    raise ConfigError(problem._replace(line=0) for problem in report.problems)


def _typed(value: object) -> object:
    if isinstance(value, str) and "\n" not in value:
        with contextlib.suppress(ValueError, RecursionError):
            return tomllib.loads(f"value = {value}")["value"]
    return value


def _read(file: Path) -> str:
    shown = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        message = f"there is no such file; write one, its first lines can be:\n{FIRST_USE}"
        raise ConfigError([Problem(shown, 0, "", message)]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(shown, 0, "", f"it cannot be read: {reason}")]) from None
    if len(content) > LARGEST_BYTES:
        message = f"it is larger than {LARGEST_BYTES >> 20} MiB, which no configuration is"
        raise ConfigError([Problem(shown, 0, "", message)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = "it is not UTF-8 from here on; save it as UTF-8"
        raise ConfigError([Problem(shown, line, "", message)]) from None


def _parse(text: str, path: str) -> tuple[Config, Report]:
    table, report = read_toml(text, path)
    folder = str(Path(path).parent)
    root = Node(report, table, (), "")
    data_dir = root.get("data_dir", text_value, "redpoll-data")
    config = Config(
        path=path,
        data_dir=absolute(data_dir, folder),
        server=read_server(root.child("server", "server"), folder),
        models=read_models(root, folder),
    )
    if not config.models and not report.problems:
        what = "the file is empty" if not table else "the file names no model"
        report.problems.append(
            Problem(path, 0, "", f"{what}; the first lines can be:\n{FIRST_USE}")
        )
    return config, report


def _check_files(config: Config, report: Report, stored: Collection[tuple[str, str]]) -> None:
    for model in config.models:
        for version in model.versions:
            if (model.name, version.name) not in stored:
                _check_version(model, version, report)
    for key, path in (("cert", config.server.tls_cert), ("key", config.server.tls_key)):
        if path and not Path(path).is_file():
            report.add(("server", "tls", key), f"there is no file {path}")
    tokens = config.server.tokens_file
    if tokens and not Path(tokens).is_file():
        report.add(
            ("server", "tokens_file"),
            f"there is no file {tokens}; `redpoll token create --scope operate --name NAME` makes it",
        )


def _check_version(model: Model, version: Version, report: Report) -> None:
    path = ("models", model.name, "versions", version.name)
    if version.file:
        file = Path(absolute(version.backend.partition(":")[2], version.folder))
        if wrong := _wrong_file(version.kind, file):
            at = (*path, "backend")
            report.add(at if at in report.spots.by_path else path, wrong)
    if (
        version.warm_up
        and not (sample := Path(absolute(version.warm_up, version.folder))).is_file()
    ):
        report.add((*path, "warm_up"), _missing(sample))
    for index, name in enumerate(version.files):
        side = Path(absolute(name, version.folder))
        if not side.exists():
            report.add((*path, "files", index), _missing(side))


def _wrong_file(kind: str, file: Path) -> str:
    """Why a version's model file or folder is none; empty where it can be."""
    if kind == "mlflow":
        if (file / "MLmodel").is_file():
            return ""
        if not file.exists():
            return _missing(file)
        return f"{file} is no MLflow model: a folder with a file MLmodel in it"
    if file.is_file() or (kind == "onnx" and file.is_dir()):
        return ""
    return _missing(file)


def _missing(file: Path) -> str:
    what = "is a folder, and a file is meant" if file.is_dir() else "does not exist"
    return f"{file} {what}; paths are seen from the folder of the configuration"
