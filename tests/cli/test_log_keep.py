"""``redpoll log verify | export | backup | restore`` as people and scripts meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.journal.logs import log


def test_verify_says_what_is_damaged_and_where(redpoll: Run, tmp_path: Path) -> None:
    """Exit code 0 for a whole journal, 1 for a damaged one; the same as JSON."""
    with log(tmp_path / "redpoll-data") as one:
        one.live(one.day(), 3)
        done = redpoll("log", "verify")
        assert done.code == 0 and "whole; " in done.out and "facts in" in done.out
        path = Path(one.journal.layout.segments()[0].path)
        path.write_bytes(path.read_bytes()[:-1])
        done = redpoll("log", "verify")
        assert done.code == 1 and f"DAMAGED {path.relative_to(one.data.journal)}: " in done.out
        assert "1 problem; " in done.out and "log restore" in done.err
        document = redpoll("log", "verify", "--json").json()
        assert document["ok"] is False and document["facts"] > 50
        assert [p["path"] for p in document["problems"]] == [
            str(path.relative_to(one.data.journal))
        ]


def test_export_backup_and_restore_go_round(redpoll: Run, tmp_path: Path) -> None:
    """What one command suggests is the next."""
    with log(tmp_path / "redpoll-data") as one:
        one.live(one.day(), 3)
        done = redpoll("log", "export", "out", "--format", "csv", "--fact", "request", "--json")
        (file,) = done.json()["files"]
        assert (done.code, file["fact"], file["rows"]) == (
            0,
            "request",
            27,
        )
        assert "out2/request.csv: " in redpoll("log", "export", "out2", "--format", "csv").out
        done = redpoll("log", "backup", "kept")
        assert done.code == 0 and "were new" in done.out
        assert "redpoll log restore kept --data-dir NEW" in done.err
        done = redpoll("log", "restore", "kept", "--data-dir", "new")
        assert done.code == 0 and "as they were 2" in done.out
        assert redpoll("log", "verify", "--data-dir", "new").code == 0
        sql = "SELECT count(*) AS n FROM request"
        counts = [
            redpoll("log", "query", sql, "--json", "--data-dir", name).json()
            for name in ("new", "redpoll-data")
        ]
        assert counts[0] == counts[1] == [{"n": file["rows"]}]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("verify",), 1, "There is no log in"),
        (("export", "out"), 1, "There is no log in"),
        (("backup", "out"), 1, "There is no log in"),
        (("restore", "nowhere"), 2, "does not exist"),
        (("restore", "."), 1, "is no backup"),
        (("export", "out", "--format", "cvs"), 2, "Did you mean 'csv'?"),
        (("export", "out", "--fact", "requests"), 2, "Did you mean 'request'?"),
        (("export", "out", "--since", "yesterday"), 2, "is no time; write it like 2026-11-25"),
        (("export", "out", "--since", "2026-01-02", "--until", "2026-01-02"), 2, "must be before"),
    ],
)
def test_errors_say_what_to_do(
    arguments: tuple[str, ...], code: int, says: str, redpoll: Run
) -> None:
    """And leave nothing behind."""
    done = redpoll("log", *arguments)
    assert done.code == code and says in done.err and done.out == ""
    assert not Path("out").exists()
