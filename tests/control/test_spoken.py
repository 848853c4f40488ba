"""A model's declaration changes over when, and only when, its workers can answer by the new one."""

from __future__ import annotations

import msgspec

from redpoll.catalog import Model, Output, Version
from redpoll.control.spoken import Spoken
from redpoll.routes import Route, Table

OLD = Model(
    name="m",
    inputs={"x": "float"},
    output=Output(name="y", type="float"),
    versions=tuple(Version(name=name, backend="python:m:load") for name in ("v1", "v2")),
)
NEW = msgspec.structs.replace(OLD, inputs={"x": "float", "z": "int"})


def sockets(number: int, model: Model) -> dict[str, list[str]]:
    word = model.declaration()
    return {one.name: [f"{number}-{one.name}-{word}"] for one in model.versions}


def held(workers: dict[str, str], model: Model = NEW, of: Model = OLD) -> list[str]:
    """The models that still speak as before, with these workers (``v1 old`` → its state)."""
    spoken = Spoken()
    spoken.load(Table(routes={"m": Route(model=of, number=3, generation=1)}))
    words = {"old": of.declaration(), "new": model.declaration()}
    states = {}
    for name, state in workers.items():
        version, word = name.split()
        states[f"3-{version}-{words[word]}"] = state
    return list(spoken.before([(3, model)], sockets, lambda _: "v1", states))


def test_the_old_words_stay_until_all_new_workers_are_ready() -> None:
    """Not told yet, loading, one of two ready: requests go on as before."""
    old = {"v1 old": "ready", "v2 old": "ready"}
    assert held(old) == ["m"]
    assert held({**old, "v1 new": "starting", "v2 new": "starting"}) == ["m"]
    assert held({**old, "v1 new": "ready", "v2 new": "starting"}) == ["m"]
    assert held({**old, "v1 new": "ready", "v2 new": "ready"}) == []


def test_a_candidate_that_cannot_load_holds_nobody_up() -> None:
    """It is judged by its failures; the live version that cannot load is waited for."""
    old = {"v1 old": "ready", "v2 old": "ready"}
    assert held({**old, "v1 new": "ready", "v2 new": "backoff"}) == []
    assert held({**old, "v1 new": "backoff", "v2 new": "ready"}) == ["m"]


def test_where_nobody_speaks_the_old_words_there_is_nothing_to_wait_for() -> None:
    """After a restart of the whole server, or with all old workers dead."""
    assert held({}) == []
    assert held({"v1 old": "backoff", "v1 new": "starting"}) == []


def test_what_workers_are_not_told_changes_at_once() -> None:
    """Bounds, gates and plans are ours; remote backends speak for themselves."""
    limits = msgspec.structs.replace(OLD, live="v2")
    assert held({"v1 old": "ready"}, limits) == []
    remote = tuple(Version(name=one.name, backend="http://h/m") for one in OLD.versions)
    spoken = Spoken()
    spoken.load(Table(routes={"m": Route(model=OLD, number=3, generation=1)}))
    changed = msgspec.structs.replace(NEW, versions=remote)
    assert not spoken.before([(3, changed)], lambda *_: {"v1": []}, lambda _: "v1", {})


def test_a_change_back_before_it_was_taken_up_changes_nothing() -> None:
    """The old words are in force still, so the file's first state needs no workers."""
    spoken = Spoken()
    spoken.load(Table(routes={"m": Route(model=OLD, number=3, generation=1)}))
    states = {f"3-{name}-{OLD.declaration()}": "ready" for name in ("v1", "v2")}
    assert spoken.before([(3, NEW)], sockets, lambda _: "v1", states)
    assert not spoken.before([(3, OLD)], sockets, lambda _: "v1", states)
