"""``[models.<name>]``: what a model takes, answers, and how it is routed."""

from __future__ import annotations

import difflib

from redpoll.catalog import (
    INPUT_TYPES,
    MODEL_NAME,
    OUTPUT_TYPES,
    Capture,
    Model,
    ModelLimits,
    OutcomeSpec,
    Output,
    Plan,
    Tensor,
    Version,
)
from redpoll.config.problems import Node, Wrong, show
from redpoll.config.rollout import SECTION as ROLLOUT
from redpoll.config.rollout import read_plan
from redpoll.config.values import (
    LONGEST_NAME,
    boolean,
    choice,
    columns,
    duration,
    field_name,
    integer,
    share,
    size,
    some_time,
    source,
    text,
)
from redpoll.config.versions import read_versions
from redpoll.errors import closest
from redpoll.ids import MODEL_NUMBERS

NO_COLUMNS: tuple[str, ...] = ()
NEAR = 0.85  # how like an input's name a group's column must be to be taken for a slip of it


def read_models(root: Node, folder: str) -> tuple[Model, ...]:
    """All models, in the file's order."""
    found = root.items("models")
    if len(found) > MODEL_NUMBERS:
        root.wrong("models", f"{len(found)} models are too many; redpoll takes {MODEL_NUMBERS}")
        return ()
    models: list[Model] = []
    for name, table in found:
        node = Node(root.report, table, ("models", name), "models.*")
        if not MODEL_NAME.match(name) or len(name) > LONGEST_NAME:
            root.report.add(
                ("models", name),
                f"{show(name)} is no model name; it starts with a letter and goes on with "
                "letters, digits, _ and -",
            )
        if isinstance(table, dict):
            models.append(_model(node, name, folder))
    return tuple(models)


def _model(node: Node, name: str, folder: str) -> Model:
    versions = read_versions(node, folder)
    inputs = _inputs(node)
    limits = node.child("limits", "models.*.limits")
    model = Model(
        name=name,
        live=_live(node, versions),
        unit=node.get("unit", choice("user", "session", "request"), "request"),
        unit_from=node.get("unit_from", source, "") or None,
        unit_missing=node.get("unit_missing", choice("stable", "reject"), "stable"),
        inputs=inputs,
        output=_output(node.child("output", "models.*.output")) if node.has("output") else None,
        tensor=_tensor(node.child("tensor", "models.*.tensor")) if node.has("tensor") else None,
        groups=_groups(node),
        redact=node.get("redact", columns, NO_COLUMNS),
        limits=ModelLimits(
            in_flight=limits.get("in_flight", integer(1, 1_000_000), ModelLimits().in_flight),
            queue=limits.get("queue", integer(0, 1_000_000), ModelLimits().queue),
        ),
        versions=versions,
        outcomes=_outcomes(node),
        rollout=read_plan(node.child("rollout", ROLLOUT), Plan()),
        capture=_capture(node.child("capture", "models.*.capture")),
    )
    _check_unit(node, model)
    _check_columns(node, model)
    return model


def _capture(node: Node) -> Capture:
    return Capture(
        share=node.get("share", share, 1.0),
        max_body_bytes=node.get("max_body_bytes", size(1, 2**40), 0) or None,
        max_disk_bytes=node.get("max_disk_bytes", size(2**20, 2**60), 0) or None,
        keep_s=node.get("keep", some_time, Capture().keep_s),
    )


def _live(node: Node, versions: tuple[Version, ...]) -> str | None:
    names = [version.name for version in versions]
    if not node.has("live"):
        if not node.has("versions"):
            node.report.add(
                node.path, f"a model needs a version: [models.{node.path[1]}.versions.v1]"
            )
        elif len(names) > 1:
            node.report.add(
                node.path,
                f"there are {len(names)} versions and nothing says which should be live; write "
                f'live = "{names[0]}"',
            )
        return names[0] if len(names) == 1 else None
    value = node.table["live"]
    if not isinstance(value, str):
        raw = node.report.spots.raw((*node.path, "live")) or show(value)
        what = f"{show(value)} to TOML" if raw != show(value) else "a number to TOML"
        node.wrong("live", f'{raw} is {what}, and a version is a name; write live = "{raw}"')
        return None
    if value not in names and len(names) == len(node.items("versions")):
        # Where a version could not be read, that was told, and it may well be the one meant here.
        known = ", ".join(f'"{name}"' for name in names[:8]) or "none"
        node.wrong(
            "live",
            f"{show(value)} is no version of this model; there are {known}.{closest(value, names)}",
        )
        return None
    return value


def _inputs(node: Node) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for name, value in node.items("inputs"):
        path = (*node.path, "inputs", name)
        try:
            field_name(name)
            inputs[name] = choice(*INPUT_TYPES)(value)
        except Wrong as error:
            node.report.add(path, str(error))
    return inputs


def _output(node: Node) -> Output | None:
    for key in ("name", "type"):
        if not node.has(key):
            node.wrong(key, 'it is missing; write {name = "churn", type = "binary"}')
    kind = node.get("type", choice(*OUTPUT_TYPES), "")
    score = node.get("score", text, "") or None
    positive = node.get("positive", _positive, None)
    if kind and score and kind not in ("binary", "category"):
        node.wrong("score", f'only "binary" and "category" have a score, and the type is "{kind}"')
    if kind and positive is not None and kind != "binary":
        node.wrong("positive", f'only "binary" has a positive class, and the type is "{kind}"')
    return Output(name=node.get("name", text, "output"), type=kind, score=score, positive=positive)


def _positive(value: object) -> str | int | float | bool | None:
    if not isinstance(value, str | int | float | bool):
        raise Wrong(f"{show(value)} must be a string, a number or a boolean")
    return value


def _tensor(node: Node) -> Tensor | None:
    for key in ("name", "columns"):
        if not node.has(key):
            node.wrong(key, 'it is missing; write {name = "input-0", columns = ["age", "plan"]}')
    names = node.get("columns", columns, NO_COLUMNS)
    if node.table.get("columns") == []:
        node.wrong("columns", "it names no column")
    return Tensor(name=node.get("name", text, ""), columns=names)


def _groups(node: Node) -> dict[str, str]:
    groups: dict[str, str] = {}
    for name, value in node.items("groups"):
        try:
            field_name(name)
            groups[name] = _group(value)
        except Wrong as error:
            node.report.add((*node.path, "groups", name), str(error))
    return groups


def _group(value: object) -> str:
    if value == "header":
        return "header"
    if isinstance(value, str) and value.startswith("input:") and len(value) > 6:
        return value
    raise Wrong(f'{show(value)} must be "header" (redpoll-group-<attribute>) or "input:<column>"')


def _outcomes(model: Node) -> tuple[OutcomeSpec, ...]:
    outcomes: list[OutcomeSpec] = []
    for name, table in model.items("outcomes"):
        node = Node(model.report, table, (*model.path, "outcomes", name), "models.*.outcomes.*")
        try:
            field_name(name)
        except Wrong as error:
            model.report.add(node.path, str(error))
        outcomes.append(
            OutcomeSpec(
                name=name,
                window_s=node.get("window", some_time, 0.0) or None,
                grace_s=node.get("grace", duration, 0.0),
                bad=node.get("bad", boolean, False),
                label=node.get("label", boolean, False),
                absent=node.get("absent", choice("negative", "missing"), "") or None,
            )
        )
    return tuple(outcomes)


def _check_unit(node: Node, model: Model) -> None:
    if model.unit != "request" and not node.has("unit_from"):
        node.wrong(
            "unit",
            f'"{model.unit}" needs unit_from, which says where a request carries it; write '
            'unit_from = "header:redpoll-unit"',
        )
    if model.unit == "request" and node.has("unit_from") and not node.has("unit"):
        node.wrong(
            "unit_from", 'it says where the unit is, and unit is missing; write unit = "user"'
        )


def _check_columns(node: Node, model: Model) -> None:
    """Columns that other settings name must be declared, where inputs are declared at all."""
    named: list[tuple[tuple[str | int, ...], str]] = []
    if model.unit_from and model.unit_from.startswith("input:"):
        named.append((("unit_from",), model.unit_from[6:]))
    for attribute, origin in model.groups.items():
        # A group may be a column of its own, which the model does not take; a slip is one that
        # all but is an input.
        column = origin.removeprefix("input:")
        if column != origin and difflib.get_close_matches(column, model.inputs, 1, NEAR):
            named.append((("groups", attribute), column))
    if model.tensor:
        named += [
            (("tensor", "columns", index), column)
            for index, column in enumerate(model.tensor.columns)
        ]
    if model.inputs:
        for path, column in named:
            if column not in model.inputs:
                _unknown_column(node, path, column, list(model.inputs))
    _check_redact(node, model)


def _check_redact(node: Node, model: Model) -> None:
    # A misspelt name would let into the journal what must never reach it: no benefit of the doubt.
    known = list(model.inputs)
    if model.output:
        known += [name for name in (model.output.name, model.output.score) if name]
    if model.redact and not model.inputs:
        node.wrong("redact", "it names columns, and none are declared; declare `inputs`")
        return
    for index, column in enumerate(model.redact):
        if column not in known:
            _unknown_column(node, ("redact", index), column, known)


def _unknown_column(node: Node, path: tuple[str | int, ...], column: str, known: list[str]) -> None:
    node.report.add(
        (*node.path, *path),
        f"{show(column)} is none of the model's inputs.{closest(column, known)}",
    )
