"""The command line of ``tests/cli``, here too."""

from tests.cli.conftest import redpoll

__all__ = ["redpoll"]
