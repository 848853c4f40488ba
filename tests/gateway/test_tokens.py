"""Tokens: hashes in a file, scopes, and no listening beyond this machine without them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from redpoll.errors import RedpollError
from redpoll.host import tokens
from redpoll.host.tokens import Tokens, check_reach, digest, make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_AGAIN_S", 0.0)


def test_a_made_token_is_found_with_its_scopes_and_no_other_is(tmp_path: Path) -> None:
    """The file has the hash alone."""
    token, line = make("shop", ("predict", "outcomes"))
    other, second = make("boss", ("admin",))
    path = tmp_path / "tokens"
    path.write_text(f"# comment\n\n{line}\n{second}\n")
    assert token not in path.read_text()
    known = Tokens(path)
    grant = known.find(token)
    assert grant is not None
    assert (grant.name, grant.scopes) == ("shop", frozenset(("predict", "outcomes")))
    assert known.find(other).name == "boss"  # type: ignore[union-attr]
    for wrong in ("", token[:-1], token + "x", digest(token), "ä", "\udcff"):
        assert known.find(wrong) is None


@pytest.mark.usefixtures("impatient")
def test_a_revoked_token_stops_working_and_a_broken_file_changes_nothing(
    tmp_path: Path, caplog
) -> None:
    """The file is looked at again; what was known stays while it cannot be read."""
    token, line = make("shop", ("predict",))
    path = tmp_path / "tokens"
    path.write_text(line)
    known = Tokens(path)
    assert known.find(token)
    path.write_text("{")
    os.utime(path, ns=(1, 1))
    assert known.find(token)
    assert "stay" in caplog.text
    path.write_text("")
    os.utime(path, ns=(2, 2))
    assert known.find(token) is None
    assert known.generation == 1


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", json.dumps({"name": "a", "hash": "x", "scopes": []}),
     json.dumps({"name": "a", "hash": "z" * 64, "scopes": []}),
     json.dumps({"name": "a", "hash": "0" * 64, "scopes": ["predictt"]}),
     json.dumps({"name": 3, "hash": "0" * 64, "scopes": []}),
     json.dumps({"name": "a", "hash": "0" * 64, "scopes": "predict"})],
)  # fmt: skip
def test_a_bad_line_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    """At the start nothing is served with a file that cannot be read."""
    path = tmp_path / "tokens"
    path.write_text(f"\n{line}\n")
    with pytest.raises(RedpollError, match="line 2") as caught:
        Tokens(path)
    assert caught.value.code == "RP-001"


def test_a_missing_file_and_an_unknown_scope_are_errors(tmp_path: Path) -> None:
    """With what is known."""
    with pytest.raises(RedpollError, match="No such file"):
        Tokens(tmp_path / "none")
    with pytest.raises(RedpollError, match="predict"):
        make("a", ("predictt",))


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "127.9.9.9:1"])
def test_this_machine_alone_needs_no_tokens(address: str) -> None:
    """Loopback, however it is written."""
    check_reach({"server.data": address}, None)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.7:1", "example.org:80", ":80"]
)
def test_listening_beyond_it_wants_tokens(address: str, tmp_path: Path) -> None:
    """RP-001, and what to set; a file without a token lets nobody in, and is none."""
    with pytest.raises(RedpollError, match="tokens_file") as caught:
        check_reach({"server.data": address}, None)
    assert caught.value.code == "RP-001"
    file = tmp_path / "tokens"
    file.write_text("# none yet\n")
    with pytest.raises(RedpollError, match="token create --scope operate"):
        check_reach({"server.data": address}, str(file))
    file.write_text(make("anna", ("operate",))[1] + "\n")
    check_reach({"server.data": address}, str(file))
