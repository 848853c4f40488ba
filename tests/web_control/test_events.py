"""Server-sent events on a real socket: Decisions, parts of pages, heartbeats, shutdown."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from redpoll.testing import fake_night as night
from redpoll.web import events
from tests.web_control.serving import Serving, serving


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving() as found:
        yield found


class Stream:
    """One open event stream."""

    def __init__(self, server: Serving, path: str, **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=8)
        self.connection.request(
            "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        self.answer = self.connection.getresponse()

    def event(self) -> dict[str, str]:
        """The next one that has data, or a comment under the key ""."""
        found: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode()
            if line in ("\n", ""):
                if found or not line:
                    return found
                continue
            name, _, value = line.rstrip("\n").partition(": ")
            found[name] = value

    def data(self) -> dict[str, Any]:
        """The next event's data."""
        while True:
            event = self.event()
            assert event, "the stream ended"
            if "data" in event:
                return json.loads(event["data"])

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_every_decision_is_sent_as_it_is_made(server):
    """With its id, so that a reader can go on where it was cut off."""
    stream = Stream(server, "/api/v1/events")
    assert stream.answer.getheader("content-type").startswith("text/event-stream")
    assert stream.event()["retry"] == "1000"
    made = server.do(server.control.change, "churn-17", weight=0.5, sentence="v2 goes to 50%.")
    event = stream.event()
    assert event["id"] == made.decision_id
    assert event["event"] == "decision"
    assert json.loads(event["data"])["sentence"] == "v2 goes to 50%."
    stream.close()


def test_a_reader_that_comes_back_misses_nothing(server):
    """``Last-Event-ID`` names the last Decision that arrived; what was made since comes first."""
    last = server.control.log[1].decision_id
    stream = Stream(server, "/api/v1/events", last_event_id=last)
    ids = [stream.data()["decision_id"], stream.data()["decision_id"]]
    assert ids == [d.decision_id for d in server.control.log[2:]]
    made = server.do(server.control.change, "churn-17", weight=0.5)
    assert stream.data()["decision_id"] == made.decision_id
    stream.close()


def test_an_unknown_last_id_only_goes_on(server):
    """It may be from another data folder."""
    stream = Stream(server, "/api/v1/events", last_event_id="nobody")
    stream.event()
    made = server.do(server.control.change, "churn-17", weight=0.5)
    assert stream.data()["decision_id"] == made.decision_id
    stream.close()


def test_a_silent_stream_has_a_heartbeat(server, monkeypatch):
    """So that both sides notice a dead connection."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.1)
    stream = Stream(server, "/api/v1/events")
    stream.event()
    assert "" in stream.event()
    stream.close()


def test_a_page_sends_all_its_parts_and_then_what_changed(server, monkeypatch):
    """The sentence changes, the form's buttons too; what is as before is not sent again."""
    monkeypatch.setattr(events, "PAGE_S", 0.1)
    stream = Stream(server, "/rollouts/churn-17.live")
    first = stream.data()
    assert {"head", "say", "steps", "gates", "evidence", "buttons", "timeline", "nav"} <= first[
        "parts"
    ].keys()
    assert stream.data()["parts"] == {}
    server.do(server.control.change, "churn-17", weight=0.5, sentence="v2 goes to 50%.")
    parts: dict[str, str] = {}
    while "say" not in parts:
        parts = stream.data()["parts"]
    assert "v2 goes to 50%." in parts["say"]
    assert 'value="211"' in parts["buttons"]
    assert "arms" not in parts
    stream.close()


def test_a_page_says_when_its_order_changes_and_whether_somebody_is_needed(server):
    """The script turns the page over, and the icon red."""
    stream = Stream(server, "/rollouts/churn-17.live")
    assert stream.data()["layout"] == "day"
    server.do(server.control.change, "churn-17", state="rolled_back", actions=("retry",))
    said = stream.data()
    assert said["layout"] == "night"
    assert said["calls"] is True
    assert said["title"].startswith("churn v2 rolled back")
    stream.close()


def test_a_page_that_is_not_there_has_no_stream(server):
    """404 at once, so that the browser stops asking."""
    stream = Stream(server, "/rollouts/nobody-1.live")
    assert stream.answer.status == 404
    stream.close()


def test_open_streams_do_not_delay_a_shutdown(server):
    """A tab somebody forgot must not cost a restart its five seconds of grace."""
    streams = [Stream(server, "/api/v1/events"), Stream(server, "/now.live")]
    streams[1].data()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 2
    for stream in streams:
        while stream.event():
            pass
        stream.close()


def test_a_reader_that_sleeps_is_cut_off_and_the_others_go_on(server, monkeypatch):
    """A full queue ends one stream; it can come back with its last id."""
    monkeypatch.setattr(events, "BACKLOG", 3)
    hub = server.app.state.hub

    async def sleepy() -> list[str | None]:
        stream = hub.decisions(None)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        for i in range(8):
            server.control.change("churn-17", weight=0.1 + i / 100)
        await task
        rest = [d async for d in stream]
        return [d.decision_id if d else None for d in rest]

    assert len(server.do(sleepy)) < 8
    stream = Stream(server, "/api/v1/events")
    stream.event()
    made = server.do(server.control.change, "churn-17", weight=0.9)
    assert stream.data()["decision_id"] == made.decision_id
    stream.close()


def test_frames_are_one_line():
    """JSON of a sentence with a line break has none itself."""
    import msgspec

    raw = msgspec.json.encode(night.decision(night.NOW, "m", "m-1", "start", "a\nb"))
    assert events.frame(raw, event="decision", event_id="x").count(b"\n") == 4


def test_a_page_that_many_look_at_is_rendered_once(server, monkeypatch):
    """Rendering shares the loop with deciding."""
    calls = []
    real = server.control.curve
    monkeypatch.setattr(server.control, "curve", lambda name: calls.append(name) or real(name))
    streams = [Stream(server, "/rollouts/churn-17.live") for _ in range(5)]
    for stream in streams:
        assert stream.data()["parts"]
    assert len(calls) <= 2
    for stream in streams:
        stream.close()


def test_streams_are_bounded(server, monkeypatch):
    """The next one is refused at once, and a place that was left is free again."""
    monkeypatch.setattr(events, "STREAMS_MAX", 2)
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    streams = [Stream(server, "/api/v1/events") for _ in range(2)]
    for stream in streams:
        stream.event()
    refused = Stream(server, "/now.live")
    assert refused.answer.status == 503
    assert refused.answer.getheader("retry-after") == "5"
    refused.close()
    streams.pop().close()
    end = time.monotonic() + 5
    while True:
        again = Stream(server, "/api/v1/events")
        status = again.answer.status
        again.close()
        if status == 200:
            break
        assert time.monotonic() < end
        time.sleep(0.05)
    streams.pop().close()
