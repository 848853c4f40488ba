"""Why a connection is ended before its request was served, in words."""

from __future__ import annotations

from redpoll.errors import RedpollError


def bad(why: str) -> RedpollError:
    """RP-100: these are no requests that are taken here."""
    return RedpollError(
        "RP-100", f"The connection is closed: {why}. Send HTTP/1.1 as RFC 9112 has it."
    )


def too_large(body_bytes: int) -> RedpollError:
    """RP-106: a body past its bound."""
    return RedpollError(
        "RP-106",
        f"The body is larger than {body_bytes} bytes (server.limits.body_bytes); send fewer rows "
        "at a time.",
    )


def slow(what: str, wait_s: float) -> RedpollError:
    """RP-115: ``what`` of a request took too long to come."""
    return RedpollError(
        "RP-115", f"The {what} did not arrive whole within {wait_s:g} s; send faster."
    )
