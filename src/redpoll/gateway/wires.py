"""What a backend gets in place of the client's body, where it does not read that as it is."""

from __future__ import annotations

from redpoll.gateway.call import Call
from redpoll.gateway.lanes import Lane
from redpoll.gateway.replies import as_json
from redpoll.tensors import binary


def outgoing(call: Call, lane: Lane) -> None:
    """Set the payload for a server that is no worker of ours. Raises ``RedpollError`` RP-121.

    It gets an id where it reads JSON, and JSON where it does not read binary tensors.
    """
    if call.head.binary < 0:
        call.payload = _with_id(call)
    elif not lane.binary:
        infer = binary.read(call.payload, call.head.binary)
        call.head = call.head.without_binary()
        call.payload = binary.request_as_json(infer, call.request_id)


def _with_id(call: Call) -> bytes:
    """The body with an id: some servers (KServe) answer 500 without one."""
    body = call.body.lstrip()
    if b'"id"' in body:
        return call.body
    return b'{"id":%b,%b' % (as_json(call.request_id), body[1:])
