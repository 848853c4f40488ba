"""Pages of other origins send outcomes: what a browser asks for, and what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from redpoll.host.tokens import Tokens
from tests.web_data.rig import BODY, INFER, Plane, run

ORIGIN = "https://shop.example"
OUTCOMES = "/v1/outcomes"


async def one_prediction(plane: Plane) -> str:
    return (await plane.ask("POST", INFER, BODY)).headers["redpoll-prediction-id"]


def test_a_browser_that_asks_first_is_told_that_it_may(tmp_path: Path) -> None:
    """The preflight of a JSON body, with a token's header; it wants no token itself."""

    async def story() -> None:
        (tmp_path / "tokens").write_text("")
        plane = Plane(tmp_path, tokens=Tokens(str(tmp_path / "tokens")))
        reply = await plane.ask(
            "OPTIONS",
            OUTCOMES,
            origin=ORIGIN,
            access_control_request_method="POST",
            access_control_request_headers="authorization,content-type",
            access_control_request_private_network="true",
        )
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["access-control-allow-origin"] == ORIGIN
        assert reply.headers["access-control-allow-methods"] == "POST"
        assert reply.headers["access-control-allow-headers"] == "authorization,content-type"
        assert reply.headers["access-control-allow-private-network"] == "true"
        assert reply.headers["vary"] == "origin"

    run(story)


def test_every_answer_can_be_read_by_the_page(tmp_path: Path) -> None:
    """Also a refusal: a page that cannot read why learns nothing."""

    async def story() -> None:
        plane = Plane(tmp_path)
        said = json.dumps({"name": "redo", "prediction_id": await one_prediction(plane)}).encode()
        for body, status in ((said, 202), (b"", 400)):
            reply = await plane.ask("POST", OUTCOMES, body, origin=ORIGIN)
            assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, ORIGIN)
            assert reply.headers["access-control-allow-credentials"] == "true"
        plain = await plane.ask("POST", OUTCOMES, said)
        assert "access-control-allow-origin" not in plain.headers
        other = await plane.ask("POST", INFER, BODY, origin=ORIGIN)
        assert other.status == 200 and "access-control-allow-origin" not in other.headers

    run(story)


def test_configured_origins_are_the_only_ones(tmp_path: Path) -> None:
    """Others are refused before anything is noted, the preflight too."""

    async def story() -> None:
        plane = Plane(tmp_path)
        plane.plane._origins = (ORIGIN,)
        said = json.dumps({"name": "redo", "prediction_id": await one_prediction(plane)}).encode()
        for other in ("https://evil.example", "null", "https://shop.example.evil", "x y"):
            for method, body in (("POST", said), ("OPTIONS", b"")):
                reply = await plane.ask(method, OUTCOMES, body, origin=other)
                assert (reply.status, reply.said["code"]) == (403, "RP-502")
                assert "access-control-allow-origin" not in reply.headers
        assert (await plane.ask("POST", OUTCOMES, said, origin=ORIGIN.upper())).status == 202
        assert (await plane.ask("POST", OUTCOMES, said)).status == 202
        facts = [f for f in plane.rig.facts() if type(f).__name__ == "Outcome"]
        assert len(facts) == 2

    run(story)


@pytest.mark.parametrize(
    ("more", "value", "text"),
    [({}, None, None), ({"value": "true"}, 1.0, None), ({"value": "2.5", "row": "0"}, 2.5, None), ({"value": "was late & rude"}, None, "was late & rude"), ({"value": '"x"'}, None, '"x"')],
)  # fmt: skip
def test_a_form_is_one_outcome(
    tmp_path: Path, more: dict[str, str], value: float | None, text: str | None
) -> None:
    """What a beacon of `URLSearchParams` or an HTML form sends."""

    async def story() -> None:
        plane = Plane(tmp_path)
        fields = {"name": "redo", "prediction_id": await one_prediction(plane), **more}
        form = "application/x-www-form-urlencoded;charset=UTF-8"
        reply = await plane.ask("POST", OUTCOMES, urlencode(fields).encode(), content_type=form)
        assert (reply.status, reply.said["accepted"]) == (202, 1), reply
        (fact,) = [f for f in plane.rig.facts() if type(f).__name__ == "Outcome"]
        assert (fact.value, fact.value_text, fact.row) == (value, text, 0)

    run(story)


@pytest.mark.parametrize("body", ["name=redo&name=redo", "name", "nam=redo&x=%ff", "=&=&="])
def test_a_form_that_is_no_outcome_is_refused_and_said(tmp_path: Path, body: str) -> None:
    """Nothing is noted."""

    async def story() -> None:
        plane = Plane(tmp_path)
        form = "application/x-www-form-urlencoded"
        reply = await plane.ask("POST", OUTCOMES, body.encode(), content_type=form)
        assert reply.status == 400 or reply.said["rejected"] == 1, reply
        assert not [f for f in plane.rig.facts() if type(f).__name__ == "Outcome"]

    run(story)
