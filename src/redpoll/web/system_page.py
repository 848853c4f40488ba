"""*System*: whether redpoll loses anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redpoll.views import ProcessView, SystemView
from redpoll.web import words
from redpoll.web.pages import Asked, Page, frame

if TYPE_CHECKING:
    from redpoll.control.service import Control


def system(control: Control, asked: Asked) -> Page:
    """Losses and room first, then processes, bounds and the journal."""
    view = control.system.view()
    context = frame("System", "system", control.overview()) | {
        "title": "Nothing lost" if view.severity == "calm" else view.sentence.rstrip("."),
        "as_of_us": view.as_of_us,
        "age_s": view.age_s,
        "system": view,
        "oldest": max(view.behind_s.items(), key=lambda one: one[1], default=("", 0.0)),
        "refused": sum(one.count for one in view.refused),
        "room": _room(view),
    }
    return Page("system.html", context, view, [_row(one) for one in view.processes])


def _room(view: SystemView) -> str:
    if view.bytes_a_day is None:
        return f"{words.size(view.live_bytes)} in {view.live_files} live files"
    return f"{words.size(view.bytes_a_day)} a day less"


def _row(one: ProcessView) -> dict[str, Any]:
    """A process as a line of the CSV table."""
    return {name: getattr(one, name) for name in one.__struct_fields__}
