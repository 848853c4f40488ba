"""``redpoll token create | list | revoke``: the file, the words, and who may do what with them."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpoll.errors import RedpollError
from redpoll.host import token_file, tokens
from redpoll.web.access import Viewer
from redpoll.web.pace import BURST_S, Pace
from tests.cli.conftest import Run

CONFIG = '[server]\ntokens_file = "tokens"\n'


@pytest.fixture
def folder(redpoll: Run, tmp_path: Path) -> Path:
    """Where the command runs: a configuration that names a tokens file, which is not there yet."""
    (tmp_path / "redpoll.toml").write_text(CONFIG)
    return tmp_path


def test_a_token_is_printed_alone_and_only_its_hash_is_kept(redpoll: Run, folder: Path) -> None:
    """Stdout is the token; the file, which is the owner's alone, knows what it is for."""
    done = redpoll("token", "create", "--scope", "predict,outcomes", "--name", "shop")
    assert done.code == 0, done.err
    token = done.out.removesuffix("\n")
    assert token.startswith("redpoll_") and len(token) > 40 and "\n" not in token
    assert token not in done.err
    path = folder / "tokens"
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = tokens.Tokens(path)
    grant = known.find(token)
    assert grant is not None
    assert (grant.name, grant.scopes) == ("shop", {"predict", "outcomes"})
    assert known.find(token[:-1]) is None
    assert sorted(path.parent.iterdir()) == [folder / "redpoll.toml", path]


def test_the_list_tells_everything_but_the_tokens(redpoll: Run, folder: Path) -> None:
    """Name, scopes in the reference's order, bound, day; no hash."""
    assert "no token" in redpoll("token", "list").err
    created = redpoll(
        "token", "create", "--scope", "read", "--scope", "predict", "--name", "ci", "--per-second",
        "50", "--json",
    ).json()  # fmt: skip
    assert created["scopes"] == ["predict", "read"]
    said = redpoll("token", "list", "--json").json()["tokens"]
    assert [(one["name"], one["scopes"], one["per_second"]) for one in said] == [
        ("ci", ["predict", "read"], 50)
    ]
    text = redpoll("token", "list").out
    assert "predict,read" in text
    known = json.loads((folder / "tokens").read_text())["hash"]
    assert known not in text + json.dumps(said)


def test_revoking_takes_out_one_and_leaves_the_rest_as_it_was(redpoll: Run, folder: Path) -> None:
    """Comments, other tokens, the file's mode and a link to it stay."""
    kept = redpoll("token", "create", "--scope", "predict", "--name", "kept").out.strip()
    gone = redpoll("token", "create", "--scope", "admin", "--name", "gone").out.strip()
    real = folder / "real"
    (folder / "tokens").rename(real)
    real.write_text("# ours\n\n" + real.read_text())
    real.chmod(0o640)
    (folder / "tokens").symlink_to(real)
    assert "'gone'" in redpoll("token", "revoke", "gonne").err
    done = redpoll("token", "revoke", "gone")
    assert (done.code, (folder / "tokens").is_symlink()) == (0, True), done.err
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert real.read_text().startswith("# ours\n\n{")
    known = tokens.Tokens(folder / "tokens")
    assert known.find(gone) is None
    assert known.find(kept) is not None
    assert redpoll("token", "revoke", "gone").code == 1


def test_a_name_stands_for_one_token(redpoll: Run, folder: Path) -> None:
    """The second of a name is refused, and changes nothing."""
    assert redpoll("token", "create", "--scope", "predict", "--name", "shop").code == 0
    before = (folder / "tokens").read_bytes()
    done = redpoll("token", "create", "--scope", "admin", "--name", "shop")
    assert (done.code, done.out) == (1, "")
    assert "RP-141" in done.err
    assert (folder / "tokens").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--scope", "predikt", "--name", "a"], 2, "'predict'"),
        (["--scope", ",", "--name", "a"], 2, "names none"),
        (["--scope", "predict", "--name", "a b"], 2, "no name for a token"),
        (["--scope", "predict", "--name", "a", "--per-second", "0"], 2, "--per-second"),
        (["--scope", "predict", "--name", "a", "--per-second", "nan"], 2, "--per-second"),
        (["--scope", "predict", "--name", "a", "-c", "other.toml"], 1, "no file other.toml"),
    ],
)
def test_a_wrong_word_makes_no_token(
    redpoll: Run, folder: Path, words: list[str], code: int, says: str
) -> None:
    """Said what is wrong; no file is left."""
    done = redpoll("token", "create", *words)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert not (folder / "tokens").exists()


def test_a_configuration_without_tokens_is_told_what_to_add(redpoll: Run, tmp_path: Path) -> None:
    """The lines to write."""
    (tmp_path / "redpoll.toml").write_text('data_dir = "d"\n')
    done = redpoll("token", "create", "--scope", "predict", "--name", "a")
    assert done.code == 1
    assert 'tokens_file = "tokens"' in done.err


@pytest.mark.parametrize(
    "line",
    [
        "redpoll_SECRET",
        '{"name": "a", "hash": "redpoll_SECRET", "scopes": []}',
        '{"name": "a", "redpoll_SECRET": 1}',
        '["redpoll_SECRET"]',
        '{"name": "a", "hash": 5, "scopes": ["redpoll_SECRET"]}',
        '{"name": "a", "hash": "%s", "scopes": [], "per_second": "redpoll_SECRET"}' % ("0" * 64),
        '{"name": "a", "hash": "%s", "scopes": [], "per_second": -1}' % ("0" * 64),
    ],
)
def test_a_broken_line_is_named_and_not_repeated(redpoll: Run, folder: Path, line: str) -> None:
    """Somebody may have pasted a token there: the number of the line is enough; nothing is lost."""
    (folder / "tokens").write_text(f"# ours\n{line}\n")
    for words in (["list"], ["revoke", "a"], ["create", "--scope", "read", "--name", "b"]):
        done = redpoll("token", *words)
        assert done.code == 1
        assert "line 2" in done.err
        assert "SECRET" not in done.err + done.out
    assert (folder / "tokens").read_text() == f"# ours\n{line}\n"


def test_many_at_once_lose_nobody(tmp_path: Path) -> None:
    """Each reads what the one before wrote."""
    path = tmp_path / "tokens"
    lines = {f"n{i}": tokens.make(f"n{i}", ("predict",))[1] for i in range(24)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: token_file.add(path, *item), lines.items()))
        list(pool.map(lambda i: token_file.revoke(path, f"n{i}"), range(0, 24, 2)))
    assert {grant.name for _, grant in tokens.read(path)} == {f"n{i}" for i in range(1, 24, 2)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_whom_the_folder_belongs(tmp_path: Path) -> None:
    """The server's user must be able to read it, also after a change."""
    folder = tmp_path / "var"
    folder.mkdir()
    os.chown(folder, 12345, 54321)
    path = folder / "tokens"
    for name in ("a", "b"):
        token_file.add(path, name, tokens.make(name, ("read",))[1])
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o600)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """RP-605 with the path."""
    with pytest.raises(RedpollError, match="RP-605"):
        token_file.add(tmp_path / "no" / "tokens", "a", "{}")


@pytest.mark.parametrize(
    ("held", "may"),
    [
        ("predict", {"predict"}),
        ("outcomes", {"outcomes"}),
        ("metrics", {"metrics"}),
        ("review", {"review"}),
        ("read", {"read"}),
        ("operate", {"read", "operate"}),
        ("admin", set(tokens.SCOPES)),
    ],
)
def test_both_planes_read_a_scope_alike(held: str, may: set[str]) -> None:
    """`operate` may read, `admin` may all, the others what they name."""
    assert {scope for scope in tokens.SCOPES if tokens.allows((held,), scope)} == may
    viewer = Viewer("x", frozenset({held}))
    assert {scope for scope in tokens.SCOPES if viewer.may(scope)} == may


@given(
    per_second=st.floats(0.1, 200),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_stretch_of_time_has_more_than_its_share(per_second: float, gaps: list[float]) -> None:
    """At most a burst and the rate, between any two requests; who waits as told is answered."""
    pace, now, taken = Pace(), 1000.0, []
    for gap in gaps:
        now += gap
        wait_s = pace.wait_s("a", per_second, now)
        if wait_s:
            later = now + wait_s
            assert wait_s <= 1 / per_second + 1e-6
            assert pace.wait_s("a", per_second, later) == 0.0
            now = later
        taken.append(now)
    burst = max(1.0, BURST_S * per_second)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch_s = taken[last] - taken[first]
            assert last - first + 1 <= burst + per_second * stretch_s + 1e-3
    assert pace.wait_s("b", per_second, now) == 0.0
