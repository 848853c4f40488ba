"""Performing what :mod:`redpoll.control.apply` says that a file means."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from redpoll.backends import pickles
from redpoll.catalog import Config, Server, Version
from redpoll.control import asking
from redpoll.control.apply import Running, changes, settle, with_version
from redpoll.control.engine import Engine
from redpoll.control.live import AbortRollout, FirstLive, Intent, StartRollout
from redpoll.errors import RedpollError
from redpoll.facts import Decision
from redpoll.rollout import commands
from redpoll.rollout.machine_state import Action, Decide
from redpoll.store.artifacts import Artifacts, source
from redpoll.store.port import Catalog
from redpoll.views import ApplyLine

# Lines about the catalog itself; what `live` means has Decisions of its own.
CATALOG_ACTIONS = ("add_model", "add_version", "restore", "settings", "retire")


def fill(engine: Engine, config: Config, copy: bool) -> Config:
    """The file with its versions' digests; their files are kept (``copy``). RP-003.

    Reads every model file, which may take seconds: for another thread than the loop's.
    """
    before = engine.store.read()
    for model in config.models:
        stored = before.models.get(model.name)
        known = {one.name: one.python for one in stored.model.versions} if stored else {}
        for version in model.versions:
            if version.name not in known or known[version.name] != version.python:
                pickles.check(version, source(version))
    return Artifacts(engine.data.artifacts).fill(config, before, copy=copy)


def keep(engine: Engine, version: Version) -> Version:
    """One version with its digests; its files are kept. RP-003. For another thread, too."""
    pickles.check(version, source(version))
    return Artifacts(engine.data.artifacts).add(version)


def apply(engine: Engine, filled: Config, actor: str, dry_run: bool) -> tuple[ApplyLine, ...]:
    """Make the catalog match a file, and carry out what its ``live`` asks for.

    RP-002 refuses the whole file. What cannot be carried out of ``live`` is a line that waits for
    a person; the next apply of the same file tries it again.
    """
    before = engine.store.read()
    now_us = engine.clock.now_us()
    done = changes(before, filled, engine.states, now_us, running(engine))
    if dry_run:
        return done.lines
    catalog = write(engine, before, done.catalog, actor, "apply")
    _note(engine, done.lines, actor)
    engine.publish()
    failed: dict[str, str] = {}
    for intent in done.intents:
        try:
            engine.perform(_actions(engine, intent, actor))
        except RedpollError as error:
            failed[intent.model] = error.message
    write(engine, catalog, settle(catalog, done, failed), actor, "live was carried out")
    return _told(done.lines, failed)


def add_version(engine: Engine, model: str, version: Version, actor: str) -> tuple[ApplyLine, ...]:
    """Add one version (its files are kept already) to a model. RP-002, RP-102."""
    before = engine.store.read()
    after = with_version(before, model, version)
    if after is before:
        return (ApplyLine(sentence=f"{model}: {version.name} is there already", model=model),)
    back = version.name in before.models[model].gone
    line = ApplyLine(
        sentence=f"{model}: {version.name} is {'back' if back else 'added'} ({version.backend})",
        model=model,
        action="add_version",
    )
    write(engine, before, after, actor, "add_version")
    _note(engine, (line,), actor)
    engine.publish()
    return (line,)


def running(engine: Engine) -> Running | None:
    """What the server was started with; None where no supervisor wrote it."""
    try:
        said = msgspec.json.decode(engine.data.server.read_bytes())
        server = msgspec.convert(said["server"], Server)
    except (OSError, KeyError, TypeError, msgspec.MsgspecError):
        return None
    return Running(server=server, data_dir=str(engine.data.root))


def write(engine: Engine, before: Catalog, after: Catalog, actor: str, what: str) -> Catalog:
    """Keep a changed catalog; RP-401 where somebody else was first."""
    if msgspec.structs.replace(after, revision=before.revision) != before:
        now_us = engine.clock.now_us()
        engine.store.write(after, before.revision, actor=actor, what=what, time_us=now_us)
    engine.catalog = engine.store.read()
    return engine.catalog


def _note(engine: Engine, lines: Iterable[ApplyLine], actor: str) -> None:
    """A Decision for every change of the catalog."""
    revision = engine.catalog.revision
    actions: list[Action] = []
    for line in lines:
        if line.action not in CATALOG_ACTIONS or not line.model:
            continue
        evidence = {"at_us": engine.now_us(), "revision": revision, "what": line.action}
        decision = Decision(
            decision_id="",
            subject_kind="catalog",
            subject_id=line.model,
            action="add_version" if line.action == "add_version" else "apply",
            actor=actor,
            sentence=line.sentence,
            evidence=json.dumps(evidence),
            spec_digest=engine.catalog.applied_digest or None,
        )
        actions.append(Decide(model=line.model, decision=decision))
    if actions:
        engine.perform(actions)


def _actions(engine: Engine, intent: Intent, actor: str) -> tuple[Action, ...]:
    state = engine.state(intent.model)
    asked = asking.asked(engine, actor, intent.reason, intent.model)
    if isinstance(intent, FirstLive):
        return commands.first_live(state, intent.version, asked)
    if isinstance(intent, AbortRollout):
        return commands.command(state, "abort", asked)
    _, model = asking.model(engine, intent.model)
    names = [one.name for one in model.versions]
    if isinstance(intent, StartRollout):
        spec = asking.spec(engine, model, intent.version, None)
        return commands.start(state, spec, names, asked)
    window_s = model.rollout.rollback_window_s
    return commands.rollback(state, intent.version, names, window_s, asked)


def _told(lines: Iterable[ApplyLine], failed: dict[str, str]) -> tuple[ApplyLine, ...]:
    found = [line for line in lines if line.model not in failed or line.action in CATALOG_ACTIONS]
    found += [
        ApplyLine(sentence=f"{model}: {why}", model=model, action="failed", waits=True)
        for model, why in failed.items()
    ]
    return tuple(found)
