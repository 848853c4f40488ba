"""The console: pages that work without script, forms that answer with a redirect, live parts."""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from redpoll.clock import Clock
from redpoll.errors import RedpollError
from redpoll.web import api, charts, events, pages, words
from redpoll.web.access import viewer_of

if TYPE_CHECKING:
    from redpoll.control.service import Control

HERE = Path(__file__).parent
REASON_MAX = 1000
Make = Callable[[Request, dict[str, str]], pages.Page]


class Parts:
    """Collects the parts of a page while it is rendered, so that they can be sent one by one."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def __call__(self, name: str, caller: Callable[[], str]) -> Markup:
        """Used in templates as ``{% call part("name") %}…{% endcall %}``."""
        html = str(caller()).strip()
        self.found[name] = html
        return Markup(f'<div data-part="{name}">{html}</div>')  # noqa: S704 - already escaped


def environment() -> jinja2.Environment:
    """The templates, with the words that they use."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        iso=words.iso,
        clock=words.clock,
        duration=words.duration,
        share=words.share,
        rate=words.rate,
        number=words.number,
        ms=words.milliseconds,
        count=words.count,
        evidence=words.evidence,
        per_second=words.per_second,
        state=words.state,
        answered=words.answer,
        decided=words.decided,
        inputs=pages.inputs_of,
        answer=pages.answer_of,
        statuses=pages.statuses,
        about=words.about,
    )
    env.globals.update(split=charts.split, meter=charts.meter, spark=charts.spark)
    return env


class Console:
    """Pages and forms over one control."""

    def __init__(self, control: Control, hub: events.Hub, clock: Clock) -> None:
        self.control = control
        self.hub = hub
        self.clock = clock
        self.templates = environment()
        self.host = socket.gethostname()

    # pages
    def _asked(self, request: Request) -> pages.Asked:
        return pages.Asked(
            now_us=self.clock.now_us(),
            query=dict(request.query_params),
            operator=viewer_of(request).may("operate"),
        )

    def now(self, request: Request) -> pages.Page:
        """``/``."""
        return pages.now(self.control, self._asked(request))

    def rollouts(self, request: Request) -> pages.Page:
        """``/rollouts``."""
        return pages.rollouts(self.control, self._asked(request))

    def rollout(self, request: Request) -> pages.Page:
        """``/rollouts/{id}``."""
        return pages.rollout(self.control, request.path_params["id"], self._asked(request))

    def render(self, request: Request, page: pages.Page, **more: Any) -> tuple[str, dict[str, str]]:
        """The page's HTML and its parts."""
        parts = Parts()
        query = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "done"])
        path = request.url.path.removesuffix(".live")
        path = "/now" if path in ("/", "/now") else path
        html = self.templates.get_template(page.template).render(
            {
                "live": f"{path}.live" + (f"?{query}" if query else ""),
                "query": query,
                "now_us": self.clock.now_us(),
                "env": self.host,
                "part": parts,
                "typed": "",
                "problem": None,
                "viewer": viewer_of(request),
                **page.context,
                **more,
            }
        )
        return html, parts.found

    def html(
        self, request: Request, page: pages.Page, *, status: int = 200, **more: Any
    ) -> Response:
        """A page as an answer."""
        html, _ = self.render(request, page, **more)
        return HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})

    def error(self, request: Request, error: RedpollError) -> Response:
        """An error as a page of its own."""
        context = {
            "title": "Not found" if error.status == 404 else "Not done",
            "here": "",
            "needs": 0,
            "calls": False,
            "running": 0,
            "error": error,
        }
        return self.html(request, pages.Page("error.html", context, None), status=error.status)

    # forms
    async def act(self, request: Request) -> Response:
        """``POST /rollouts/{id}``: do it and go back, or say on the page why it was not done."""
        rollout_id = request.path_params["id"]
        form = await request.form(max_files=0, max_fields=20)
        given = {k: v for k, v in form.items() if isinstance(v, str)}
        action, reason = given.get("action", ""), given.get("reason", "")[:REASON_MAX]
        try:
            await self._act(request, rollout_id, action, reason, given.get("generation", ""))
        except RedpollError as error:
            if error.status == 404:
                raise
            return self.html(
                request, self.rollout(request), status=error.status, typed=reason, problem=error
            )
        newest = self.control.decisions(rollout_id, limit=1)
        done = f"?done={newest[0].decision_id}" if newest else ""
        return RedirectResponse(f"/rollouts/{rollout_id}{done}", status_code=303)

    async def _act(
        self, request: Request, rollout_id: str, action: str, reason: str, generation: str
    ) -> None:
        if not generation.isdecimal():
            raise RedpollError(
                "RP-101",
                "Nothing was done: the form came without the page's "
                "generation; load the page again.",
            )
        rollout = self.control.rollout(rollout_id)
        who = viewer_of(request).name
        if action == "rollback":
            await self.control.rollback(
                rollout.model,
                to=rollout.stable,
                reason=reason,
                actor=who,
                generation=int(generation),
            )
        elif action in (*api.ACTIONS, "promote_full"):
            await self.control.act(
                rollout.id,
                action.removesuffix("_full"),
                reason=reason,
                actor=who,
                generation=int(generation),
                full=action == "promote_full",
            )
        else:
            raise RedpollError("RP-101", f"Nothing was done: {action[:40]!r} is no action.")

    # routes
    def _page(
        self, make: Callable[[Request], pages.Page]
    ) -> tuple[Callable[[Request], Awaitable[Response]], ...]:
        async def html(request: Request) -> Response:
            return self.html(request, make(request))

        async def data(request: Request) -> Response:
            return api.reply(make(request).data)

        async def table(request: Request) -> Response:
            return as_csv(make(request).rows)

        async def live(request: Request) -> Response:
            async def render() -> dict[str, Any]:
                page = make(request)
                _, parts = self.render(request, page)
                return {
                    "parts": parts,
                    "title": f"{page.context['title']} · redpoll",
                    "calls": page.context["calls"],
                }

            await render()  # an unknown page is an error now, not in the middle of a stream
            return events.page_stream(self.hub, render)

        return html, data, table, live

    def routes(self) -> list[Route | Mount]:
        """Each page as HTML, ``.json``, ``.csv`` and ``.live``."""
        found: list[Route | Mount] = []
        for path, plain, make in (
            ("/", "/now", self.now),
            ("/rollouts", "/rollouts", self.rollouts),
            ("/rollouts/{id}", "/rollouts/{id}", self.rollout),
        ):
            html, data, table, live = self._page(make)
            found += [
                Route(f"{plain}.json", data, methods=["GET"]),
                Route(f"{plain}.csv", table, methods=["GET"]),
                Route(f"{plain}.live", live, methods=["GET"]),
                Route(path, html, methods=["GET"]),
            ]
        found.append(Route("/rollouts/{id}", self.act, methods=["POST"]))
        found.append(Mount("/static", StaticFiles(directory=HERE / "static")))
        return found


def as_csv(rows: Any) -> Response:
    """A table as CSV. A cell that a spreadsheet would run as a formula is quoted."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return Response(out.getvalue(), media_type="text/csv", headers={"cache-control": "no-store"})


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return (
        value
        if isinstance(value, str | int | float) or value is None
        else (msgspec.json.encode(value).decode())
    )
