"""The console: pages that work without script, forms that answer with a redirect, live parts."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from redpoll.clock import Clock
from redpoll.errors import RedpollError
from redpoll.web import api, error_page, events, pages, render, rollout_page, system_page
from redpoll.web.access import viewer_of
from redpoll.web.recent import Recent

if TYPE_CHECKING:
    from redpoll.control.service import Control

STATIC = Path(__file__).parent / "static"
REASON_MAX = 1000
NO_STORE = {"cache-control": "no-store"}
Make = Callable[[Request], pages.Page]


class _Static(StaticFiles):
    """Files that browsers ask after each time (an ETag answers): an upgrade shows at once."""

    def file_response(self, *args: Any, **more: Any) -> Response:
        """Answer with the file."""
        answer = super().file_response(*args, **more)
        answer.headers["cache-control"] = "no-cache"
        return answer


class Console:
    """Pages and forms over one control."""

    def __init__(self, control: Control, hub: events.Hub, clock: Clock, recent: Recent) -> None:
        self.control = control
        self.hub = hub
        self.clock = clock
        self.recent = recent
        self.templates = render.environment()
        self.host = socket.gethostname()

    # pages
    def asked(self, request: Request) -> pages.Asked:
        """What the address says, and who asks."""
        return pages.Asked(
            now_us=self.clock.now_us(),
            query=request.query_params,
            operator=viewer_of(request).may("operate"),
            line=self.recent.line,
        )

    def now(self, request: Request) -> pages.Page:
        """``/``."""
        return pages.now(self.control, self.asked(request))

    def rollouts(self, request: Request) -> pages.Page:
        """``/rollouts``."""
        return pages.rollouts(self.control, self.asked(request))

    def rollout(self, request: Request) -> pages.Page:
        """``/rollouts/{id}``."""
        name = request.path_params["id"]
        return rollout_page.rollout(self.control, name, self.asked(request))

    def model(self, request: Request) -> pages.Page:
        """``/models/{model}``."""
        return pages.model(self.control, request.path_params["model"], self.asked(request))

    def system(self, request: Request) -> pages.Page:
        """``/system``."""
        return system_page.system(self.control, self.asked(request))

    def render(self, request: Request, page: pages.Page, **more: Any) -> tuple[str, dict[str, str]]:
        """Make the page's HTML and its parts."""
        parts = render.Parts()
        query = urlencode([(k, v) for k, v in request.query_params.multi_items() if k != "done"])
        path = request.url.path.removesuffix(".live")
        live = f"{'/now' if path in ('/', '/now') else path}.live" + (f"?{query}" if query else "")
        context = {
            "live": "" if page.data is None or page.context.get("frozen") else live,
            "query": query,
            "now_us": self.clock.now_us(),
            "env": self.host,
            "part": parts,
            "typed": "",
            "problem": None,
            "viewer": viewer_of(request),
            "frozen": None,
        }
        template = self.templates.get_template(page.template)
        return template.render({**context, **page.context, **more}), parts.found

    def html(
        self, request: Request, page: pages.Page, *, status: int = 200, **more: Any
    ) -> Response:
        """Answer with a page."""
        html, _ = self.render(request, page, **more)
        return HTMLResponse(html, status_code=status, headers=NO_STORE)

    def error(self, request: Request, error: RedpollError) -> Response:
        """Answer with an error as a page of its own."""
        known = "redpoll.viewer" in request.scope  # else it was refused at the door: say nothing
        context = {
            "title": error_page.TITLES.get(error.status, "Not done"),
            "here": "",
            "needs": 0,
            "calls": False,
            "running": 0,
            "layout": "",
            "error": error,
            "problems": [str(one) for one in getattr(error, "problems", ())],
            "near": None,
            "links": [],
        }
        if known and error.status == 404:
            context |= error_page.ways(self.control, request.url.path)
        viewer = viewer_of(request) if known else None
        page = pages.Page("error.html", context, None)
        answer = self.html(request, page, status=error.status, viewer=viewer)
        answer.headers.update(api.error_headers(error))
        return answer

    def login(self, request: Request, status: int, **more: Any) -> Response:
        """Answer with the log-in page."""
        html = self.templates.get_template("login.html").render({"env": self.host, **more})
        return HTMLResponse(html, status_code=status, headers=NO_STORE)

    # forms
    async def act(self, request: Request) -> Response:
        """``POST /rollouts/{id}``: do it and go back, or say on the page why it was not done."""
        name = request.path_params["id"]
        form = await request.form(max_files=0, max_fields=20)
        given = {k: v for k, v in form.items() if isinstance(v, str)}
        reason = given.get("reason", "")[:REASON_MAX]
        try:
            rollout_id = await self._act(
                request, name, given.get("action", ""), reason, given.get("generation", "")
            )
        except RedpollError as error:
            if error.status == 404:
                raise
            page = self.rollout(request)
            return self.html(request, page, status=error.status, typed=reason, problem=error)
        newest = self.control.decisions(rollout_id, limit=1)
        done = f"?done={newest[0].decision_id}" if newest else ""
        return RedirectResponse(f"/rollouts/{quote(rollout_id)}{done}", status_code=303)

    async def _act(
        self, request: Request, name: str, action: str, reason: str, generation: str
    ) -> str:
        """Do it; the id of the rollout to show then: a retry is a new one."""
        if not generation.isdecimal():
            raise RedpollError(
                "RP-101",
                "Nothing was done: the form came without the page's generation; load the page "
                "again.",
            )
        rollout = self.control.rollout(name)
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
        return self.control.rollout(rollout.model).id if action == "retry" else rollout.id

    # routes
    def _html(self, make: Make) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return self.html(request, make(request))

        return answer

    def _json(self, make: Make) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return api.reply(make(request).data)

        return answer

    def _csv(self, make: Make) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            text = render.as_csv(make(request).rows)
            return Response(text, media_type="text/csv", headers=NO_STORE)

        return answer

    def _live(self, make: Make) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            def current() -> dict[str, Any]:
                page = make(request)
                _, parts = self.render(request, page)
                return {
                    "parts": parts,
                    "title": f"{page.context['title']} · redpoll",
                    "calls": page.context["calls"],
                    "layout": page.context["layout"],
                }

            key = (request.url.path, request.url.query, viewer_of(request).may("operate"))
            self.hub.once(key, current)  # an unknown page is an error now, not within the stream
            return events.page_stream(self.hub, key, current)

        return answer

    def routes(self) -> list[Route | Mount]:
        """Each page as HTML, ``.json``, ``.csv`` and ``.live``."""
        found: list[Route | Mount] = []
        for path, plain, make, query in (
            ("/", "/now", self.now, ()),
            ("/rollouts", "/rollouts", self.rollouts, ("model", "state")),
            ("/rollouts/{id}", "/rollouts/{id}", self.rollout, ("at", "done")),
            ("/models/{model}", "/models/{model}", self.model, ("done",)),
            ("/system", "/system", self.system, ()),
        ):
            for at, kind in (
                (f"{plain}.json", self._json),
                (f"{plain}.csv", self._csv),
                (f"{plain}.live", self._live),
                (path, self._html),
            ):
                found.append(Route(at, api.strict(kind(make), query), methods=["GET"]))
        found.append(Route("/rollouts/{id}", self.act, methods=["POST"]))
        found.append(Mount("/static", _Static(directory=STATIC)))
        return found
