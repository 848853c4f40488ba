"""Requests found by what they say, and everything about one: what the page *Requests* shows.

Searching reads files, so it runs in a thread, a few at a time; what is folded is only looked at on
the loop. Every question has a budget: a log of a billion facts is never read for a page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redpoll import ids
from redpoll.catalog import Record
from redpoll.control import timeline
from redpoll.control.engine import DECISIONS_KEPT, Engine
from redpoll.errors import RedpollError, closest
from redpoll.host.paths import DataDir
from redpoll.views import RequestPage, RequestView

AT_ONCE = 2
WAITING_MAX = 16
PAGE = 50
FAILED, NONE = "failed", "none"  # beside the statuses of answers


class Asked(Record, frozen=True, kw_only=True):
    """Which requests; "" and None: any.

    ``wanted_id``: a prediction's or a request's. ``status`` is of the live answer; ``failed``: any
    but ok; ``none``: there is no answer yet.
    """

    model: str = ""
    unit: str = ""
    wanted_id: str = ""
    status: str = ""
    since_us: int = 0
    until_us: int | None = None  # exclusive
    after: tuple[int, str, int] | None = None  # the cursor of the page before
    limit: int = PAGE


class Requests:
    """Asked by pages and the API."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    @property
    def data(self) -> DataDir:
        """The folder in which is looked."""
        return self._engine.data

    async def find(self, asked: Asked) -> RequestPage:
        """One page, newest first. RP-102 where the model is unknown, RP-108 where many ask."""
        names = self._names(asked.model)
        async with self._turn():
            # Arrow is loaded by who asks first: control decides without it.
            from redpoll.control import requests_find

            return await asyncio.to_thread(requests_find.page, self.data, asked, names)

    async def one(self, prediction_id: str) -> RequestView:
        """Everything about one. RP-405 where there is none of that id."""
        try:
            number, made_us = ids.model_number(prediction_id), ids.time_ms(prediction_id) * 1000
        except ValueError:
            raise unknown(
                prediction_id,
                "is no prediction id: one has 36 characters, such as "
                "01a20b82-a604-7002-a46d-d6122265b1f5. Look for a request's own id among all "
                "requests",
            ) from None
        stored = next((m for m in self._engine.catalog.models.values() if m.number == number), None)
        if stored is None:
            raise unknown(prediction_id, "is of a model that this catalog does not have")
        model = stored.model
        kept = self._engine.decisions
        decisions = [one for one in kept if one.model == model.name]
        reaches = len(kept) < DECISIONS_KEPT or (decisions[:1] and decisions[0].time_us <= made_us)
        now_us = self._engine.clock.now_us()
        async with self._turn():
            from redpoll.control import requests_one

            if not reaches:
                decisions = await asyncio.to_thread(timeline.read, self._engine.journal, model.name)
            return await asyncio.to_thread(
                requests_one.request, self.data, model, prediction_id, made_us, decisions, now_us
            )

    def _names(self, model: str) -> tuple[str, ...] | None:
        known = sorted(self._engine.catalog.models)
        if not model:
            return None
        if model not in known:
            raise RedpollError(
                "RP-102", f"There is no model {model[:80]!r}.{closest(model, known)}"
            )
        return (model,)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= WAITING_MAX:
            raise RedpollError(
                "RP-108",
                "As many searches wait as may; ask again in a moment.",
                retry_after_s=2,
            )
        self._waiting += 1
        try:
            async with self._room:
                yield
        finally:
            self._waiting -= 1


def unknown(prediction_id: str, why: str) -> RedpollError:
    """RP-405."""
    return RedpollError("RP-405", f"{prediction_id[:60]!r} {why}.")
