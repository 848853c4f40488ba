"""Forms of one model: start a rollout, go back to an earlier version. Plain forms, no script."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from redpoll.errors import RedpollError
from redpoll.web import api, start_page
from redpoll.web.access import viewer_of
from redpoll.web.pages import Page

if TYPE_CHECKING:
    from redpoll.control.service import Control
    from redpoll.web.console import Console

FORM_FIELDS_MAX = 60


def generation_of(given: str) -> int:
    """The page's generation, without which nothing is done (RP-101)."""
    if not (given.isascii() and given.isdecimal()):
        raise RedpollError(
            "RP-101",
            "Nothing was done: the form came without the page's generation; load the page again.",
        )
    return int(given)


async def fields_of(request: Request) -> list[tuple[str, str]]:
    """What a form sent, in order; files are not taken."""
    form = await request.form(max_files=0, max_fields=FORM_FIELDS_MAX)
    return [(key, value) for key, value in form.multi_items() if isinstance(value, str)]


class ModelForms:
    """Over one control; pages are rendered by the console."""

    def __init__(self, control: Control, console: Console) -> None:
        self.control = control
        self.console = console

    def _page(
        self, request: Request, typed: start_page.Typed, error: RedpollError | None = None
    ) -> Page:
        asked = self.console.asked(request)
        name = request.path_params["model"]
        return start_page.start(self.control, name, asked, typed, error)

    async def show(self, request: Request) -> Response:
        """``GET /models/{model}/start``: the form; its address keeps what was typed."""
        return self.console.html(request, self._page(request, self._typed(request)))

    async def data(self, request: Request) -> Response:
        """The same as ``.json``."""
        return api.reply(self._page(request, self._typed(request)).data)

    def _typed(self, request: Request) -> start_page.Typed:
        given = request.query_params.multi_items()
        for key, _ in given:
            api.checked_key(request, key, start_page.FIELDS)
        return start_page.typed_of(given)

    async def start(self, request: Request) -> Response:
        """``POST /models/{model}/start``: start it, or say in the form why it was not done."""
        name = request.path_params["model"]
        typed = start_page.typed_of(await fields_of(request))
        try:
            base = self.control.route(name).model.rollout
            rollout = await self.control.start_rollout(
                name,
                typed.version,
                plan=start_page.plan_of(typed, base),
                reason=reason_of(typed.reason),
                actor=viewer_of(request).name,
                generation=generation_of(typed.generation),
            )
        except RedpollError as error:
            if error.code == "RP-102":
                raise
            page = self._page(request, typed, error)
            return self.console.html(request, page, status=error.status)
        return RedirectResponse(self._done(f"/rollouts/{quote(rollout.id)}", rollout.id), 303)

    async def rollback(self, request: Request) -> Response:
        """``POST /models/{model}``: go back to the version that ``to`` names."""
        name = request.path_params["model"]
        given = dict(await fields_of(request))
        reason = given.get("reason", "")[:1000]
        try:
            await self.control.rollback(
                name,
                to=given.get("to") or None,
                reason=reason_of(reason),
                actor=viewer_of(request).name,
                generation=generation_of(given.get("generation", "")),
            )
        except RedpollError as error:
            if error.code == "RP-102":
                raise
            page = self.console.model(request)
            return self.console.html(
                request, page, status=error.status, typed=reason, problem=error
            )
        return RedirectResponse(self._done(f"/models/{quote(name)}", name), 303)

    def _done(self, where: str, of: str) -> str:
        newest = self.control.decisions(of, limit=1)
        return f"{where}?done={newest[0].decision_id}" if newest else where

    def routes(self) -> list[Route]:
        """Theirs; they stand before the console's."""
        return [
            Route("/models/{model}/start.json", self.data, methods=["GET"]),
            Route("/models/{model}/start", self.show, methods=["GET"]),
            Route("/models/{model}/start", self.start, methods=["POST"]),
            Route("/models/{model}", self.rollback, methods=["POST"]),
        ]


def reason_of(given: str) -> str:
    """A reason that says something: RP-403 for less than three characters."""
    if len(given.strip()) < 3:
        raise RedpollError(
            "RP-403",
            "Nothing was done: a reason of at least three characters is wanted; it is kept with "
            "the decision.",
        )
    return given.strip()
