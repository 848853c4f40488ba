"""*Requests*: what happened to this one? A list that is searched, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from redpoll.views import AnswerView, RequestLine, RequestPage
from redpoll.web import api, render, request_words, requests_query, words
from redpoll.web.pages import Page, frame

if TYPE_CHECKING:
    from redpoll.control.service import Control
    from redpoll.web.console import Console

CHIPS = {None: ("wait", "no answer yet"), "ok": ("pass", "ok"), "abandoned": ("off", "abandoned")}
FILTERS = ("id", "unit", "model", "status", "from", "until")


class RequestPages:
    """Over the console's control and templates."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.control: Control = console.control

    async def _listed(self, request: Request) -> tuple[RequestPage, str]:
        """The page that is asked for; and where the search names one prediction: its id."""
        asked = requests_query.read(request.query_params)
        found = await self.control.requests.find(asked)
        only = found.lines[0].prediction_id if len(found.lines) == 1 and asked.after is None else ""
        named = only if requests_query.is_prediction_id(asked.wanted_id) else ""
        return found, named if named == asked.wanted_id else ""

    async def listed(self, request: Request) -> Response:
        """``/requests``; an id of one prediction leads to its page."""
        found, named = await self._listed(request)
        if named:
            return RedirectResponse(f"/requests/{named}", status_code=303)
        query = request.query_params
        context = frame("Requests", "requests", self.control.overview()) | {
            "live": "",
            "page": found,
            "lines": [_shown(line, query) for line in found.lines],
            "wanted": {name: query.get(name, "") for name in FILTERS},
            "statuses": requests_query.CHOICES,
            "filtered": any(query.get(name) for name in FILTERS),
            "sentence": request_words.listed(found, query),
            "older": requests_query.again(query, found.more) if found.more else "",
            "first": requests_query.again(query, None) if query.get("after") else None,
            "reached": found.reached_us,
        }
        return self.console.html(request, Page("requests.html", context, found))

    async def listed_json(self, request: Request) -> Response:
        """``/requests.json``: ``more`` is what ``after`` takes."""
        found, _ = await self._listed(request)
        return api.reply(as_data(found))

    async def listed_csv(self, request: Request) -> Response:
        """``/requests.csv``: one page of the table."""
        found, _ = await self._listed(request)
        rows = [
            {name: getattr(line, name) for name in line.__struct_fields__} for line in found.lines
        ]
        headers = {"cache-control": "no-store"}
        return Response(render.as_csv(rows), media_type="text/csv", headers=headers)

    async def one(self, request: Request) -> Response:
        """``/requests/{id}``."""
        view = await self.control.requests.one(request.path_params["id"])
        short = f"{view.prediction_id[:8]}…{view.prediction_id[-4:]}"
        context = frame(f"Prediction {short}", "requests", self.control.overview()) | {
            "live": "",
            "r": view,
            "short": short,
            "chips": [_chip(answer) for answer in view.answers],
            "severity": "calm",
            "way": request_words.way(view),
            "columns": request_words.columns(view),
            "rows_shown": min(view.rows, request_words.ROWS_SHOWN),
            "captured": request_words.captured(view),
            "answers": [(one, request_words.pretty(one.outputs)) for one in view.answers],
            "others": urlencode({"model": view.model, "unit": view.unit or ""}),
            "hour": urlencode({"model": view.model, "until": words.iso(view.time_us)}),
        }
        return self.console.html(request, Page("request.html", context, view))

    async def one_json(self, request: Request) -> Response:
        """``/requests/{id}.json``, also ``/api/v1/predictions/{id}``."""
        return api.reply(await self.control.requests.one(request.path_params["id"]))

    def routes(self) -> list[Route]:
        """The pages, and the same for programs."""
        listed = requests_query.FIELDS
        return [
            Route("/requests.json", api.strict(self.listed_json, listed), methods=["GET"]),
            Route("/requests.csv", api.strict(self.listed_csv, listed), methods=["GET"]),
            Route("/requests", api.strict(self.listed, listed), methods=["GET"]),
            Route("/requests/{id}.json", api.strict(self.one_json, ()), methods=["GET"]),
            Route("/requests/{id}", api.strict(self.one, ()), methods=["GET"]),
            Route("/api/v1/predictions", api.strict(self.listed_json, listed), methods=["GET"]),
            Route("/api/v1/predictions/{id}", api.strict(self.one_json, ()), methods=["GET"]),
        ]


def as_data(found: RequestPage) -> dict[str, Any]:
    """A page as JSON: the cursor as the text that ``after`` takes."""
    return {
        "requests": found.lines,
        "more": requests_query.cursor(found.more) if found.more else None,
        "looked": found.looked,
        "reached_us": found.reached_us,
        "cut": found.cut,
        "unreadable": found.unreadable,
    }


def _shown(line: RequestLine, query: Mapping[str, str]) -> dict[str, Any]:
    css, word = CHIPS.get(line.status, ("fail", line.status or ""))
    return {
        "line": line,
        "css": css,
        "word": word,
        "unit": urlencode({"model": line.model, "unit": line.unit or ""}),
    }


def _chip(answer: AnswerView) -> tuple[str, str]:
    css, _ = CHIPS.get(answer.status, ("fail", ""))
    return css, request_words.chip(answer)


def routes(console: Console) -> Sequence[Route]:
    """All of it."""
    return RequestPages(console).routes()
