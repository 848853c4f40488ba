"""One real server for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pages.shop import Shop, serving


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with serving(tmp_path_factory.mktemp("shop")) as found:
        yield found
