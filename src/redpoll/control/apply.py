"""What applying a file means: pure, from (catalog, file, what serves now) to changes and sentences.

The shell performs them in this order: write :attr:`Changes.catalog`, carry out the intents, write
what :func:`settle` makes of it. Killed in between, the next apply of the same file finds what is
still to do: an intent is settled in the catalog only after it was carried out.

``live`` in the file is compared with its value in the *last applied file*, never with what is live:
a promotion, a rollback or a restart does not make an old file act again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import msgspec
from msgspec.structs import replace

from redpoll.catalog import Config, Model, Record, Server, Version
from redpoll.control.live import AbortRollout, Intent, live_changes
from redpoll.control.settings import (
    data_dir_line,
    model_refusals,
    model_words,
    server_lines,
    version_refusal,
    version_words,
)
from redpoll.errors import RedpollError, closest
from redpoll.rollout.machine_state import ModelState
from redpoll.store.port import Catalog, StoredModel
from redpoll.views import ApplyLine


class Running(Record, frozen=True, kw_only=True):
    """What the server was started with; differences want a restart."""

    server: Server
    data_dir: str


class Changes(Record, frozen=True, kw_only=True):
    """What an apply does. ``catalog`` has the new versions and settings, and ``live`` unsettled."""

    lines: tuple[ApplyLine, ...]
    intents: tuple[Intent, ...]
    catalog: Catalog
    settled: Mapping[str, str | None]  # model -> its ``live``, once its intents were carried out
    added: tuple[tuple[str, str], ...] = ()  # (model, version)

    @property
    def waits(self) -> bool:
        """Whether something of the file waits for a person (exit code 3)."""
        return any(line.waits for line in self.lines)


def changes(
    catalog: Catalog,
    config: Config,
    states: Mapping[str, ModelState],
    now_us: int,
    running: Running | None = None,
) -> Changes:
    """Compare a file (its versions with digests, see ``Artifacts.fill``) with what is.

    Raises RP-002 with every refusal at once: a version's name never gets another meaning, and a
    running rollout's unit stays.
    """
    _refuse(catalog, config, states)
    lines: list[ApplyLine] = []
    if running:
        lines += server_lines(running.server, config.server)
        if running.data_dir != config.data_dir:
            lines.append(data_dir_line(running.data_dir, config.data_dir))
    intents: list[Intent] = []
    settled: dict[str, str | None] = {}
    added: list[tuple[str, str]] = []
    after = catalog
    for model in config.models:
        state = states.get(model.name) or ModelState(name=model.name)
        stored = catalog.models.get(model.name)
        entry = _stored(after, stored, model)
        after = replace(after, models={**after.models, model.name: entry})
        new = _new_versions(stored, model)
        added += [(model.name, version.name) for version in new]
        lines += _catalog_lines(stored, model, new, state)
        wanted = live_changes(model, stored.applied_live if stored else None, state, now_us)
        lines += wanted.lines
        intents += wanted.intents
        settled[model.name] = model.live
    left = _left_out(catalog, config, states)
    lines += left[0]
    intents += left[1]
    after = replace(after, models={**after.models, **left[2]}, applied_digest=digest(config))
    if not lines:
        lines.append(ApplyLine(sentence="nothing to change: everything is as the file says"))
    return Changes(
        lines=tuple(lines),
        intents=tuple(intents),
        catalog=after,
        settled=settled,
        added=tuple(added),
    )


def settle(catalog: Catalog, done: Changes, failed: Collection[str] = ()) -> Catalog:
    """The catalog once the intents were carried out; ``failed`` models keep their old ``live``.

    So the next apply of the same file tries again what failed.
    """
    models = dict(catalog.models)
    for name, live in done.settled.items():
        if name not in failed and name in models:
            models[name] = replace(models[name], applied_live=live)
    return replace(catalog, models=models)


def with_version(catalog: Catalog, model: str, version: Version) -> Catalog:
    """The catalog with one more version of a model; the same one again changes nothing.

    Raises RP-102 for an unknown model, RP-002 where the name has another meaning already.
    """
    stored = catalog.models.get(model)
    if stored is None:
        raise RedpollError(
            "RP-102",
            f"there is no model {model!r} to add a version to; name it in redpoll.toml first."
            + closest(model, catalog.models),
        )
    known = {one.name: one for one in stored.model.versions}
    before = known.get(version.name)
    if before is not None:
        refusal = version_refusal(model, before, version, known)
        if refusal:
            raise RedpollError("RP-002", refusal)
        if before == version and version.name not in stored.gone:
            return catalog
    known[version.name] = version
    gone = {name: why for name, why in stored.gone.items() if name != version.name}
    after = replace(stored, model=replace(stored.model, versions=tuple(known.values())), gone=gone)
    return replace(catalog, models={**catalog.models, model: after})


def digest(config: Config) -> str:
    """sha256 of what a file says, whatever its layout."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()


def _refuse(catalog: Catalog, config: Config, states: Mapping[str, ModelState]) -> None:
    refusals: list[str] = []
    for model in config.models:
        stored = catalog.models.get(model.name)
        if stored is None:
            continue
        known = {version.name: version for version in stored.model.versions}
        taken = {*known, *(version.name for version in model.versions)}
        for version in model.versions:
            before = known.get(version.name)
            refusal = before and version_refusal(model.name, before, version, taken)
            refusals += [refusal] if refusal else []
        state = states.get(model.name)
        active = state.active.id if state and state.active else None
        refusals += model_refusals(stored.model, model, active)
        if model.live in stored.gone:
            refusals.append(
                f'{model.name}: live = "{model.live}", but {stored.gone[model.live]}; bring it back '
                f"with `redpoll version add {model.name} {model.live} BACKEND`, or name another"
            )
    if refusals:
        head = "" if len(refusals) == 1 else f"{len(refusals)} changes are refused:\n"
        raise RedpollError("RP-002", f"{head}" + "\n".join(refusals) + "\nNothing was applied.")


def _stored(catalog: Catalog, stored: StoredModel | None, model: Model) -> StoredModel:
    """The model as the catalog will hold it: versions that the file leaves out stay."""
    if stored is None:
        return StoredModel(number=catalog.next_number(), model=model)
    names = {version.name for version in model.versions}
    kept = tuple(version for version in stored.model.versions if version.name not in names)
    return replace(stored, model=replace(model, versions=(*model.versions, *kept)), retired=False)


def _new_versions(stored: StoredModel | None, model: Model) -> list[Version]:
    known = {version.name for version in stored.model.versions} if stored else set()
    return [version for version in model.versions if version.name not in known]


def _catalog_lines(
    stored: StoredModel | None, model: Model, new: list[Version], state: ModelState
) -> list[ApplyLine]:
    lines: list[ApplyLine] = []

    def say(action: str, sentence: str) -> None:
        lines.append(
            ApplyLine(sentence=f"{model.name}: {sentence}", model=model.name, action=action)
        )

    if stored is None:
        say("add_model", "a new model")
    elif stored.retired:
        say("restore", "it is in the file again and takes requests")
    for version in new:
        say("add_version", f"{version.name} is added ({version.backend})")
    if stored is None:
        return lines
    active = state.active.id if state.active else None
    words = model_words(stored.model, model, active)
    if words:
        say("settings", "; ".join(words))
    known = {version.name: version for version in stored.model.versions}
    for version in model.versions:
        before = known.get(version.name)
        if version.name in stored.gone:
            say("none", f"{stored.gone[version.name]}; it stays so: take it out of the file")
            continue
        words = version_words(before, version) if before else []
        if words:
            say("settings", f"{version.name}: {'; '.join(words)}")
    return lines


def _left_out(
    catalog: Catalog, config: Config, states: Mapping[str, ModelState]
) -> tuple[list[ApplyLine], list[Intent], dict[str, StoredModel]]:
    """Models that the file no longer names: they take no requests, and nothing of them is lost."""
    lines: list[ApplyLine] = []
    intents: list[Intent] = []
    retired: dict[str, StoredModel] = {}
    present = {model.name for model in config.models}
    for name, stored in catalog.models.items():
        if name in present or stored.retired:
            continue
        retired[name] = replace(stored, retired=True)
        state = states.get(name)
        words = f"{name}: the file no longer names it, so it takes no more requests (404)"
        if state and state.active:
            intents.append(
                AbortRollout(
                    model=name,
                    rollout_id=state.active.id,
                    reason=f"{name} was left out of the file",
                )
            )
            words += f"; {state.active.id} is aborted"
        words += "; its versions, number and history stay, and naming it again restores it"
        lines.append(ApplyLine(sentence=words, model=name, action="retire"))
    return lines, intents, retired
