"""Which version answers: the one that was named, or the one that the route and the draw give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redpoll.capture import NONE, OIP_BINARY_REQUEST, OIP_REQUEST, ROWS_REQUEST
from redpoll.errors import RedpollError, closest
from redpoll.facts import CODES, Request
from redpoll.gateway.call import OIP, Call
from redpoll.gateway.lanes import Lane, Served
from redpoll.journal.frames import encode_fact, label

# Of an encoded Request: the array's head (3 bytes), then ids and rows, which take one each where empty.
_BEFORE_TAIL = 6

NO_TABLE: dict[str, Served] = {}  # the models of a gateway that has not read a route table yet


class Ticket:
    """What was decided about a call: its lane and arm, and the columns of its Request behind `rows`.

    ``tail`` is these columns as they stand in the journal, ``label`` what comes before the fact there.

    Where all of this follows from the route and the request's head alone, it is decided once for
    all requests with that very head, until the route changes.
    """

    __slots__ = ("arm", "facts", "label", "lane", "raw_format", "served", "tail", "timeout_ms")

    def __init__(self, call: Call, served: Served, lane: Lane) -> None:
        self.served = served
        self.lane = lane
        self.arm = arm = call.arm
        weight, rollout, draws = 0.0, None, served.draws_none[lane.version]
        if arm != "none":
            weight, rollout, draws = served.weight, served.rollout_id, served.draws[arm]
        head = call.head
        self.facts: tuple[Any, ...] = (
            call.unit,
            head.subject,
            head.groups if call.groups is None else call.groups,
            arm,
            weight,
            rollout,
            served.generation,
            call.version,
            draws,
            call.inputs,
            None,
            None,
            "full",
            served.route.model.capture.share,
            head.trace_id,
        )
        self.tail = encode_fact(Request("", "", 0, *self.facts))[_BEFORE_TAIL:]
        self.timeout_ms = lane.timeout_ms
        if 0 < head.deadline_ms < lane.timeout_ms:
            self.timeout_ms = head.deadline_ms
        self.raw_format = OIP_REQUEST if call.wire == OIP else ROWS_REQUEST
        if head.binary >= 0:
            self.raw_format = OIP_BINARY_REQUEST
        if call.inputs is not None:
            self.raw_format = NONE  # the columns are in the fact: the body may not be kept as it is
        self.label = label(served.name, CODES[Request], self.raw_format)


def decide(call: Call, served: Served) -> Ticket:
    """Where a call goes, drawing its arm. Raises ``RedpollError`` where no version can answer."""
    lane = choose(call, served)
    ticket = Ticket(call, served, lane)
    drawn_by_id = call.arm != "none" and not served.sticky
    counted = served.sticky and call.unit is None and call.version is None
    simple = call.wire == OIP and call.head.binary < 0 and call.rows
    if served.head_decides and simple and not drawn_by_id and not counted:
        call.head.ticket = ticket
    return ticket


def choose(call: Call, served: Served) -> Lane:
    """The lane of a call; sets its arm. Raises ``RedpollError`` where no version can answer."""
    if call.version is not None:
        return named(call.version, served)
    live = served.live
    if live is None:
        raise no_live(served)
    unit = call.unit
    if served.sticky and unit is None:
        served.units_missing.value += 1
        if served.reject_missing:
            source = served.route.model.unit_from or "header:redpoll-unit"
            raise RedpollError(
                "RP-112",
                f"The request carries no unit, and {served.name} routes by "
                f"{served.route.model.unit}; send it as {source.replace(':', ' ')}.",
            )
        return live
    candidate = served.candidate
    if candidate is None or call.rows == 0:  # no rows: nobody is asked, nothing is shown
        return live
    place = served.place(unit if served.sticky and unit else call.prediction_id)
    if place < served.weight:
        call.arm = "candidate"
        return candidate
    call.arm = "stable"
    return live


def named(version: str, served: Served) -> Lane:
    """The lane of a version by its name."""
    lane = served.lanes.get(version)
    if lane is None:
        hint = closest(version, served.lanes) or f" It has {', '.join(served.lanes) or 'none'}."
        raise RedpollError("RP-103", f"{served.name} has no version {version!r}.{hint}")
    if lane.stopped:
        raise RedpollError(
            "RP-114",
            f"{served.name} {version} does not run: it is neither live nor a candidate. Start it "
            f"with `redpoll rollout start {served.name} {version}`.",
        )
    return lane


def starting(models: Mapping[str, Served]) -> RedpollError | None:
    """Why it is not known yet which models there are; None: a route table was read."""
    if models is not NO_TABLE:
        return None
    return RedpollError(
        "RP-116",
        "The server is starting and has not read its route table yet; send the request again after "
        "the seconds in Retry-After.",
        retry_after_s=1,
    )


def no_live(served: Served) -> RedpollError:
    """Nothing is live."""
    return RedpollError(
        "RP-113",
        f"{served.name} has no live version, so nothing can answer. Set `live` in the "
        "configuration and apply it.",
        retry_after_s=5,
    )
