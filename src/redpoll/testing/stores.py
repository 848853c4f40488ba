"""The conformance suite of catalog stores: what every adapter of ``redpoll.store.port`` must do.

Use it in a test of your adapter::

    @pytest.mark.parametrize("check", stores.CHECKS, ids=lambda check: check.__name__)
    def test_my_store_conforms(check, tmp_path):
        check(lambda: MyStore(tmp_path / "catalog"))

``open_store`` is called several times in one check: each call opens the same catalog once more, as
another process would. An adapter with nothing behind it (memory) returns the same object.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec.structs import replace

from redpoll.catalog import Gate, Model, Output, Plan, Step, Tensor, Version
from redpoll.errors import RedpollError
from redpoll.store.port import Catalog, CatalogStore, StoredModel

OpenStore = Callable[[], CatalogStore]

THREADS = 8
WRITES = 5  # of each thread


def a_model(name: str = "churn", live: str = "v1") -> Model:
    """A model that uses what records have: nested ones, floats, tables, umlauts."""
    return Model(
        name=name,
        live=live,
        unit="user",
        unit_from="header:redpoll-unit",
        inputs={"age": "int", "note": "text"},
        output=Output(name="churn", type="binary", score="probability", positive=1),
        tensor=Tensor(name="input-0", columns=("age",)),
        groups={"sex": "header"},
        redact=("note",),
        versions=(
            Version(name="v1", backend="sklearn:mödel.pkl", folder="/m", file_digests={"a": "0"}),
            Version(name="1.10", backend="http://127.0.0.1:1/v2/models/churn"),
        ),
        rollout=Plan(
            steps=(Step(weight=0.1, pause_s=None), Step(weight=1 / 3, pause_s=0.1)),
            gates=(Gate(metric="error_rate", margin=0.002, alpha_share=1.0),),
        ),
    )


def a_catalog(*names: str) -> Catalog:
    """Models numbered in the order of their names here."""
    return Catalog(
        models={
            name: StoredModel(number=number, model=a_model(name))
            for number, name in enumerate(names)
        }
    )


def _write(store: CatalogStore, catalog: Catalog, expected: int, what: str = "a change") -> int:
    return store.write(catalog, expected, actor="ada", what=what, time_us=1_700_000_000_000_000)


def _refused(code: str, call: Callable[[], object]) -> None:
    try:
        call()
    except RedpollError as error:
        assert error.code == code, f"{error.code}, not {code}"
    else:
        raise AssertionError(f"nothing was refused; {code} was expected")


def check_a_new_store_is_empty_at_revision_0(open_store: OpenStore) -> None:
    """Nobody has written: revision 0, no models, no history."""
    store = open_store()
    assert store.read() == Catalog()
    assert store.at(0) == Catalog()
    assert store.history() == ()
    store.close()


def check_what_was_written_is_read_back_equal(open_store: OpenStore) -> None:
    """Every field, by another opening of the same catalog."""
    store = open_store()
    catalog = a_catalog("churn", "fraud")
    catalog = replace(catalog, applied_digest="0" * 64)
    assert _write(store, catalog, 0) == 1
    assert open_store().read() == replace(catalog, revision=1)


def check_a_write_for_an_older_revision_is_refused(open_store: OpenStore) -> None:
    """Compare-and-set: RP-401, and nothing changed."""
    store, other = open_store(), open_store()
    _write(store, a_catalog("churn"), 0)
    _refused("RP-401", lambda: _write(other, a_catalog("churn", "fraud"), 0))
    _refused("RP-401", lambda: _write(other, a_catalog("churn", "fraud"), 7))
    assert list(other.read().models) == ["churn"]
    assert len(other.history()) == 1


def check_the_revision_of_the_argument_does_not_matter(open_store: OpenStore) -> None:
    """A store gives revisions; what a caller has in its hands may be of any."""
    store = open_store()
    _write(store, replace(a_catalog("churn"), revision=99), 0)
    assert store.read().revision == 1


def check_history_says_who_when_and_what(open_store: OpenStore) -> None:
    """Newest first, as many as asked for."""
    store = open_store()
    catalog = a_catalog("churn")
    for revision in range(5):
        store.write(
            catalog, revision, actor=f"actor {revision}", what=f"what\n{revision}", time_us=revision
        )
    changes = open_store().history(2)
    assert [change.revision for change in changes] == [5, 4]
    assert changes[0].actor == "actor 4"
    assert changes[0].what == "what\n4"
    assert changes[0].time_us == 4
    assert store.history(0) == ()
    assert len(store.history()) == 5


def check_earlier_revisions_stay_as_they_were(open_store: OpenStore) -> None:
    """History is kept whole; a number nobody wrote is RP-004."""
    store = open_store()
    first, second = a_catalog("churn"), a_catalog("churn", "fraud")
    _write(store, first, 0)
    _write(store, second, 1)
    assert store.at(1) == replace(first, revision=1)
    assert store.at(2) == replace(second, revision=2)
    _refused("RP-004", lambda: store.at(3))
    _refused("RP-004", lambda: store.at(-1))


def check_a_models_number_never_changes(open_store: OpenStore) -> None:
    """Numbers are in prediction ids: a model stays, with its own, and nobody else gets it."""
    store = open_store()
    catalog = a_catalog("churn", "fraud")
    _write(store, catalog, 0)
    churn, fraud = catalog.models["churn"], catalog.models["fraud"]
    for models in (
        {"churn": churn},
        {"churn": fraud, "fraud": churn},
        {"churn": churn, "fraud": replace(fraud, number=7)},
        {**catalog.models, "new": replace(churn, number=1)},
        {**catalog.models, "new": replace(churn, number=4096)},
        {**catalog.models, "new": replace(churn, number=-1)},
    ):
        try:
            _write(store, Catalog(models=models), 1)
        except ValueError:
            continue
        raise AssertionError(f"{models} was taken")
    assert store.read().revision == 1


def check_what_is_read_cannot_reach_what_is_kept(open_store: OpenStore) -> None:
    """A reader's tables are its own."""
    store = open_store()
    _write(store, a_catalog("churn"), 0)
    store.read().models.clear()
    assert list(store.read().models) == ["churn"]


def check_of_concurrent_writers_each_change_counts_once(open_store: OpenStore) -> None:
    """Threads that add models, each reading again when it was too late: none is lost or doubled."""
    failures: list[BaseException] = []
    revisions: list[int] = []
    start = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        try:
            store = open_store()
            start.wait(10)
            revisions.extend(_add(store, f"m{thread}-{index}") for index in range(WRITES))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    assert sorted(revisions) == list(range(1, THREADS * WRITES + 1))
    models = open_store().read().models
    assert len(models) == THREADS * WRITES
    assert {stored.number for stored in models.values()} == set(range(THREADS * WRITES))


def _add(store: CatalogStore, name: str) -> int:
    for _ in range(10_000):
        catalog = store.read()
        stored = StoredModel(number=catalog.next_number(), model=a_model(name))
        try:
            return _write(
                store, replace(catalog, models={**catalog.models, name: stored}), catalog.revision
            )
        except RedpollError as error:
            assert error.code == "RP-401", error
    raise AssertionError("somebody else was always first")


CHECKS: tuple[Callable[[OpenStore], None], ...] = (
    check_a_new_store_is_empty_at_revision_0,
    check_what_was_written_is_read_back_equal,
    check_a_write_for_an_older_revision_is_refused,
    check_the_revision_of_the_argument_does_not_matter,
    check_history_says_who_when_and_what,
    check_earlier_revisions_stay_as_they_were,
    check_a_models_number_never_changes,
    check_what_is_read_cannot_reach_what_is_kept,
    check_of_concurrent_writers_each_change_counts_once,
)
