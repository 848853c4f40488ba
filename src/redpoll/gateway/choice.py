"""Which version answers: the one that was named, or the one that the route and the draw give."""

from __future__ import annotations

from redpoll.errors import RedpollError, closest
from redpoll.gateway.call import Call
from redpoll.gateway.lanes import Lane, Served


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


def no_live(served: Served) -> RedpollError:
    """Nothing is live."""
    return RedpollError(
        "RP-113",
        f"{served.name} has no live version, so nothing can answer. Set `live` in the "
        "configuration and apply it.",
        retry_after_s=5,
    )
