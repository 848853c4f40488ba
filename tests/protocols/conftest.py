"""Certificates for the tests of TLS, made anew for each run."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Certificate(NamedTuple):
    """A self-signed certificate of 127.0.0.1 and localhost, and its key."""

    cert: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """TLS as a server speaks it with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def make(folder: Path, openssl: str, name: str) -> Certificate:
    """A certificate with files of that name."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(made.key)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(made.cert)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def certificate(tool: Any, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One that clients may be told to trust."""
    return make(tmp_path_factory.mktemp("tls"), tool("openssl"), "known")


@pytest.fixture(scope="session")
def other_certificate(tool: Any, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One that nobody was told of."""
    return make(tmp_path_factory.mktemp("tls"), tool("openssl"), "other")
