"""A version that is added over HTTP: what workers run code from must be the server's user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from redpoll.catalog import Version
from redpoll.errors import RedpollError
from redpoll.web.adding import checked_folder, checked_python


def test_a_folder_or_python_that_everyone_can_write_is_refused(tmp_path: Path) -> None:
    """Relative to the folder, or by its whole path; what is missing is said by who asks it."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    version = Version(name="v1", backend="python:m:load", folder=str(tmp_path), python="./python")
    checked_python(version)
    checked_folder(str(tmp_path))
    python.chmod(0o777)
    with pytest.raises(RedpollError, match="chown or chmod") as caught:
        checked_python(version)
    assert caught.value.code == "RP-501"
    tmp_path.chmod(0o777)
    with pytest.raises(RedpollError, match="chown or chmod"):
        checked_folder(str(tmp_path))
    python.unlink()
    checked_python(version)
