"""Templates and what they may use; a page's live parts are collected while it is rendered."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup

from redpoll.web import charts, failing, lines, pages, request_words, words

TEMPLATES = Path(__file__).parent / "templates"


class Parts:
    """Collects the parts of a page while it is rendered, so that they can be sent one by one."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def __call__(self, name: str, caller: Callable[[], str]) -> Markup:
        """Mark a part in a template: ``{% call part("name") %}…{% endcall %}``."""
        html = str(caller()).strip()
        self.found[name] = html
        return Markup(f'<div data-part="{name}">{html}</div>')  # noqa: S704 - rendered, so escaped


def environment() -> jinja2.Environment:
    """Load templates lazily; every value is escaped, and an unknown name is an error."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        about=words.about,
        answer=failing.answer,
        answered=words.answer,
        clock=words.clock,
        core=words.core,
        count=words.count,
        decided=words.decided,
        duration=words.duration,
        evidence=words.evidence,
        few=failing.few,
        inputs=failing.line,
        iso=words.iso,
        lasting=words.lasting,
        ms=words.milliseconds,
        number=words.number,
        per_second=words.per_second,
        rate=words.rate,
        rate2=words.rate2,
        severity=words.severity,
        share=words.share,
        size=words.size,
        state=words.state,
        statuses=pages.statuses,
        version_state=words.version_state,
        whole=words.whole,
    )
    env.globals.update(
        split=charts.split,
        whole=charts.whole,
        meter=charts.meter,
        spark=charts.spark,
        day=request_words.day,
        line=lines.line,
        moment=request_words.moment,
        said=lines.said,
    )
    return env


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write a table as CSV. A cell that a spreadsheet would run as a formula is quoted."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    if value is None or isinstance(value, int | float):
        return value
    return msgspec.json.encode(value).decode()
