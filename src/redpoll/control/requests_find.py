"""One page of requests, newest first, each with its live answer. Reads files: not for the loop.

Two ways, by what is asked: requests with their answers joined, or, where only a status is asked for,
answers of that status with their requests joined. A prediction id holds when it was made: so a
request is looked for in the hour of its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from redpoll import ids
from redpoll.control.requests import FAILED, NONE, Asked
from redpoll.facts import STATUSES, Answer, Entry, Request
from redpoll.host.paths import DataDir
from redpoll.journal.layout import Layout
from redpoll.journal.newest import Budget, find
from redpoll.journal.wanted import LATEST_US, Key, Wanted, key_of
from redpoll.views import RequestLine, RequestPage

FACTS_MAX = 2_000_000  # looked at for one page
SECONDS_MAX = 3.0
SOON_US = 15_000_000  # how long after its request an answer is looked for at first
ANSWERED_US = 600_000_000  # and then, where there was none
SLACK_US = 5_000_000
SORTED_OUT = 200  # requests whose answers are looked for at a time, where a status is asked for
APART_US = 60_000_000  # rows further apart are looked for each on its own
HELD_US = 7_200_000_000  # by how much a stream's held clock may be ahead of an id's


_FAILED = frozenset(STATUSES) - {"ok"}


class _Line(NamedTuple):
    key: Key
    line: RequestLine


def page(data: DataDir, asked: Asked, models: tuple[str, ...] | None) -> RequestPage:
    """The page behind ``asked.after``."""
    search = _Search(Layout(data), asked, models)
    made_us = _time_of(asked.wanted_id)
    if made_us is not None and asked.after is None:
        for behind_us in (SOON_US, HELD_US):
            one = search.requests(None, (made_us - SLACK_US, made_us + behind_us))[1]
            if one:
                return _page(search, asked, one, None)
    by_answer = asked.status not in ("", NONE) and not asked.unit and not asked.wanted_id
    lines: list[_Line] = []
    after = asked.after
    while True:
        more, found = search.answers(after) if by_answer else search.requests(after)
        lines += found
        if len(lines) > asked.limit or more is None:
            break
        after = more
        if search.budget.spent() or search.hurried or len(lines) == asked.limit:
            break
    return _page(search, asked, lines, more)


def _page(search: _Search, asked: Asked, lines: list[_Line], more: Key | None) -> RequestPage:
    if len(lines) > asked.limit:
        lines = lines[: asked.limit]
        more = lines[-1].key
    return RequestPage(
        lines=tuple(one.line for one in lines),
        more=more,
        looked=search.budget.looked,
        reached_us=-more[0] if more is not None else None,
        unreadable=tuple(sorted(search.budget.unreadable | search.unreadable)),
        cut=more is not None and (len(lines) < asked.limit or search.hurried),
    )


class _Search:
    """One question's files and budget."""

    def __init__(self, layout: Layout, asked: Asked, models: tuple[str, ...] | None) -> None:
        self.budget = Budget(FACTS_MAX, SECONDS_MAX)
        self.hurried = False  # not all that belongs to the rows was looked for
        self.unreadable: set[str] = set()
        # Where rows are sorted out after they were joined, a page's worth at a time is too few.
        self._batch = max(asked.limit, SORTED_OUT) if asked.status else asked.limit
        self._layout = layout
        self._asked = asked
        self._models = models
        self._seen: set[str] = set()

    def requests(
        self, after: Key | None, made: tuple[int, int] | None = None
    ) -> tuple[Key | None, list[_Line]]:
        """The next requests behind a cursor, those with another status left out.

        ``made``: the id that is looked for is a prediction's that was made between these times.
        """
        asked = self._asked
        name = "request_id" if made is None else "prediction_id"
        texts = {"unit": asked.unit, name: asked.wanted_id}
        wanted = self._wanted("request", {k: frozenset([v]) for k, v in texts.items() if v})
        if made is not None:
            since_us, until_us = max(wanted.since_us, made[0]), min(wanted.until_us, made[1])
            wanted = wanted._replace(since_us=since_us, until_us=until_us)
        found = find(self._layout, wanted, limit=self._batch, after=after, budget=self.budget)
        answers = self._live({e.fact.prediction_id: e.time_us for e in found.entries})  # type: ignore[attr-defined]
        lines = []
        for entry in found.entries:
            assert isinstance(entry.fact, Request)
            answer = answers.get(entry.fact.prediction_id)
            unsought = answer is None and self.hurried
            status = answer.status if answer is not None else "" if unsought else NONE
            if (
                not asked.status
                or asked.status == status
                or (asked.status == FAILED and status in _FAILED)
            ):
                lines.append(_Line(key_of(entry), _line(entry, entry.fact, answer)))
        return found.more, lines

    def answers(self, after: Key | None) -> tuple[Key | None, list[_Line]]:
        """The next live answers of a status, with their requests."""
        asked = self._asked
        statuses = _FAILED if asked.status == FAILED else frozenset([asked.status])
        texts = {"status": statuses, "role": frozenset(["live"])}
        wanted = self._wanted("answer", texts)
        found = find(self._layout, wanted, limit=self._batch, after=after, budget=self.budget)
        told = [e for e in found.entries if isinstance(e.fact, Answer)]
        made = {e.fact.prediction_id: _made_us(e) for e in told}  # type: ignore[attr-defined]
        requests = self._requests(made)
        lines = []
        for entry in told:
            answer = entry.fact
            assert isinstance(answer, Answer)
            if answer.prediction_id in self._seen:
                continue
            self._seen.add(answer.prediction_id)
            request = requests.get(answer.prediction_id)
            asked_entry, fact = request or (entry, Request(answer.prediction_id, "", 0))
            lines.append(_Line(key_of(entry), _line(asked_entry, fact, answer)))
        return found.more, lines

    def _wanted(self, kind: str, texts: dict[str, frozenset[str]]) -> Wanted:
        until_us = LATEST_US if self._asked.until_us is None else self._asked.until_us
        return Wanted(kind, self._models, texts, self._asked.since_us, until_us)

    def _live(self, times: dict[str, int]) -> dict[str, Answer]:
        """The earliest live answer to each of these requests (id -> its time)."""
        found: dict[str, tuple[int, Answer]] = {}
        role = {"role": frozenset(["live"])}
        for behind_us in (SOON_US, ANSWERED_US):
            missing = {number: at for number, at in times.items() if number not in found}
            for entry in self._of("answer", missing, behind_us, role):
                fact = entry.fact
                assert isinstance(fact, Answer)
                known = found.get(fact.prediction_id)
                if known is None or entry.time_us < known[0]:
                    found[fact.prediction_id] = (entry.time_us, fact)
        return {number: answer for number, (_, answer) in found.items()}

    def _requests(self, times: dict[str, int]) -> dict[str, tuple[Entry, Request]]:
        found = {}
        for entry in self._of("request", times, SLACK_US, {}):
            assert isinstance(entry.fact, Request)
            found[entry.fact.prediction_id] = (entry, entry.fact)
        return found

    def _of(
        self, kind: str, times: dict[str, int], behind_us: int, texts: dict[str, frozenset[str]]
    ) -> Iterator[Entry]:
        """Facts of these predictions: each looked for around its time, neighbours together.

        They have a budget of their own: what belongs to rows that were found late is looked for, too.
        """
        budget = Budget(FACTS_MAX, SECONDS_MAX)
        for group in _groups(times):
            moments = [times[number] for number in group]
            wanted = Wanted(
                kind,
                self._models,
                {"prediction_id": frozenset(group), **texts},
                min(moments) - SLACK_US,
                max(moments) + behind_us,
            )
            found = find(self._layout, wanted, limit=2 * len(group), after=None, budget=budget)
            yield from found.entries
        self.hurried |= budget.spent()
        self.unreadable |= budget.unreadable


def _groups(times: dict[str, int]) -> Iterable[Sequence[str]]:
    """Predictions that were made within a minute of each other."""
    group: list[str] = []
    for number in sorted(times, key=lambda one: times[one]):
        if group and times[number] - times[group[-1]] > APART_US:
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _made_us(entry: Entry) -> int:
    """When an answer's request was made; an imported log may have ids of another kind."""
    try:
        return ids.time_ms(entry.fact.prediction_id) * 1000  # type: ignore[attr-defined]
    except ValueError:
        return entry.time_us


def _time_of(text: str) -> int | None:
    """When a prediction id was made, µs; None: it is none."""
    try:
        return ids.time_ms(text) * 1000
    except ValueError:
        return None


def _line(entry: Entry, fact: Request, answer: Answer | None) -> RequestLine:
    return RequestLine(
        prediction_id=fact.prediction_id,
        request_id=fact.request_id,
        model=entry.model,
        time_us=entry.time_us,
        unit=fact.unit,
        rows=fact.rows,
        arm=fact.arm,
        rollout_id=fact.rollout_id,
        version=answer.version if answer is not None else None,
        status=answer.status if answer is not None else None,
        error_code=answer.error_code if answer is not None else None,
        decided_by=answer.decided_by if answer is not None else None,
        latency_ms=answer.latency_us / 1000 if answer is not None else None,
    )
