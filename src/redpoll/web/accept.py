"""Who reads an answer: a person with a browser gets a page, a program gets JSON."""

from __future__ import annotations

from redpoll.web.guard import Scope

DATA = ("/api/", "/healthz", "/readyz")
FILES = (".json", ".csv", ".live")


def wants_page(scope: Scope) -> bool:
    """Whether a request prefers HTML, and its address is a page's and no file's."""
    path = str(scope["path"])
    if path.startswith(DATA) or path.endswith(FILES):
        return False
    given = [v.decode("latin-1") for k, v in scope["headers"] if k == b"accept"]
    return prefers_html(",".join(given))


def prefers_html(accept: str) -> bool:
    """Whether ``text/html`` is named, and no kind of JSON is liked better (RFC 9110 §12.5.1).

    ``*/*`` alone is a program's: it names no HTML. Of equal ones the first counts.

    >>> prefers_html("text/html,application/xhtml+xml,*/*;q=0.8"), prefers_html("*/*")
    (True, False)
    >>> prefers_html("application/json, text/html"), prefers_html("text/html;q=0")
    (False, False)
    """
    best = {"text/html": 0.0, "application/json": 0.0}
    first = ""
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind not in best:
            continue
        first = first or kind
        best[kind] = max(best[kind], _quality(parameters))
    html, json = best["text/html"], best["application/json"]
    return html > json or (html == json > 0 and first == "text/html")


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
