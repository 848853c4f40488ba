"""Following a rollout: lines for programs, a picture that is redrawn for people."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from redpoll.cli.errors import BY_STATE, NOT_ENOUGH_YET, WAITS
from redpoll.cli.output import Out, share
from redpoll.cli.remote import Remote
from redpoll.cli.rollout_text import decision_line, evidence_line, line
from redpoll.client import ClientError

if TYPE_CHECKING:
    from rich.live import Live

POLL_S = 0.5
ENDED = ("promoted", "rolled_back", "aborted", "superseded")


def until_done(
    out: Out, server: Remote, rollout_id: str, timeout_s: float | None, *, stop_at_pause: bool
) -> int:
    """Follow a rollout to its end and return the exit code that the end stands for.

    With ``--json``: a line a Decision, then a line with the rollout. ``timeout_s`` None: for ever.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    told: set[str] = set()
    now: dict[str, Any] = {}
    with _Picture(out) as picture:
        while True:
            try:
                _tell(out, server, rollout_id, told, picture)
                now = server.rollout(rollout_id)
                picture.draw(now)
            except ClientError as error:
                if error.status and error.status < 500:
                    raise
                picture.note(str(error))  # the server may be restarting
            state = now.get("state", "")
            if state in ENDED or (state == "paused" and stop_at_pause):
                _tell(out, server, rollout_id, told, picture)
                break
            if end is not None and time.monotonic() >= end:
                out.say(f"{rollout_id} is still {state or 'unknown'}: the time is over")
                break
            time.sleep(POLL_S)
    if not now:
        return NOT_ENOUGH_YET
    out.item({"rollout": now}, line(now))
    if state == "paused" and stop_at_pause:
        out.suggest(f"redpoll rollout resume {rollout_id} --reason …")
        return WAITS
    if state in ENDED:
        out.suggest(f"redpoll explain {rollout_id}")
        return BY_STATE[state]
    return NOT_ENOUGH_YET


def _tell(out: Out, server: Remote, rollout_id: str, told: set[str], picture: _Picture) -> None:
    for decision in reversed(server.decisions(rollout_id)):
        if decision["decision_id"] in told:
            continue
        told.add(decision["decision_id"])
        if out.as_json:
            out.item({"decision": decision}, "")
        else:
            picture.say(decision_line(decision))


class _Picture:
    """Progress on a terminal: a bar and the evidence, redrawn below the lines. Else nothing."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._live: Live | None = None

    def __enter__(self) -> _Picture:
        if self._out.live:
            from rich.live import Live

            self._live = Live(refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays, on stdout."""
        if self._live is None:
            print(text, flush=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def note(self, text: str) -> None:
        """One line that passes."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text))

    def draw(self, rollout: dict[str, Any]) -> None:
        """The rollout as it stands."""
        if self._live is None:
            return
        from rich.text import Text

        filled = round(30 * rollout["weight"])
        bar = "█" * filled + "░" * (30 - filled)
        words = (
            f"{bar} {share(rollout['weight'])} {rollout['state'].replace('_', ' ')}\n"
            f"{rollout['sentence']}\n{rollout['next_sentence']}\n{evidence_line(rollout)}"
        )
        self._live.update(Text(words))
