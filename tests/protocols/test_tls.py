"""TLS on both listeners: a whole `redpoll serve` over it, renewal, and files that cannot be used."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from redpoll.client import Client, ClientError
from redpoll.config.load import load
from redpoll.errors import RedpollError
from redpoll.host import tls
from redpoll.host.lifeline import die_with_parent
from redpoll.testing.fake_oip import FakeOip
from tests.protocols.conftest import Certificate
from tests.web_data.process import until

FILE = """
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
tls = {{cert = "tls.crt", key = "tls.key"}}
[models.m.versions]
v1 = "{url}"
"""


def put(folder: Path, certificate: Certificate) -> None:
    """Put a pair in place, as who renews one does: by renames."""
    for source, name in ((certificate.key, "tls.key"), (certificate.cert, "tls.crt")):
        shutil.copy(source, folder / f"{name}.new")
        os.replace(folder / f"{name}.new", folder / name)


def cli(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "redpoll", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def presented(address: str) -> str:
    host, _, port = address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_everything_is_served_over_tls_and_a_renewed_certificate_is_taken(
    tmp_path: Path, certificate: Certificate, other_certificate: Certificate
) -> None:
    """Predictions, console and commands; nothing in the clear. New connections see the new pair."""
    put(tmp_path, certificate)
    with FakeOip() as server, (tmp_path / "log").open("wb") as log:
        (tmp_path / "redpoll.toml").write_text(FILE.format(url=server.url))
        process = subprocess.Popen(
            [sys.executable, "-m", "redpoll", "serve"],
            cwd=tmp_path,
            stderr=log,
            preexec_fn=die_with_parent,
        )
        try:
            until(lambda: b"every live version" in (tmp_path / "log").read_bytes(), 90)
            said = json.loads((tmp_path / "data/run/server.json").read_bytes())
            data, control = said["data"], said["control"]
            with Client(f"https://{data}", cert=str(certificate.cert)) as client:
                assert client.predict("m", {"x": 1.5}).rows[0]["x"] == 1.5
            with pytest.raises(ClientError, match="certificate"):
                Client(f"https://{data}").predict("m", {"x": 1.5})
            trust = tls.trusting(str(certificate.cert))
            with urllib.request.urlopen(f"https://{control}/", context=trust, timeout=20) as page:
                assert page.status == 200 and b"redpoll" in page.read()
            for address in (data, control):
                plain = http.client.HTTPConnection(address, timeout=10)
                with pytest.raises((http.client.HTTPException, OSError)):
                    plain.request("GET", "/readyz")
                    plain.getresponse()
                plain.close()
            status = cli(tmp_path, "status", "--json")
            assert status.returncode == 0, status.stderr
            assert json.loads(status.stdout)["models"][0]["name"] == "m"
            predicted = cli(tmp_path, "predict", "m", '{"x": 2.5}', "--json")
            assert predicted.returncode == 0 and "2.5" in predicted.stdout, predicted.stderr
            old = presented(data)
            (tmp_path / "tls.key").write_text("nonsense")
            time.sleep(2.5)
            assert presented(data) == presented(control) == old
            put(tmp_path, other_certificate)
            new = other_certificate.cert.read_text()
            until(lambda: presented(data).split() == presented(control).split() == new.split(), 20)
            assert b"RP-130" in (tmp_path / "log").read_bytes()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("known.crt", "other.key", "is not that of the certificate"),
        ("known.key", "known.crt", "no certificate and key in PEM"),
        ("known.crt", "missing.key", "cannot be read"),
        ("known.crt", "locked.key", "locked by a password"),
    ],
)
def test_files_that_cannot_be_used_are_said(
    tmp_path: Path, certificate: Certificate, other_certificate: Certificate, tool: Any, cert: str, key: str, says: str
) -> None:  # fmt: skip
    """Which of them, and why."""
    for one in (certificate, other_certificate):
        for path in one:
            shutil.copy(path, tmp_path)
    command = [tool("openssl"), "pkey", "-in", str(tmp_path / "known.key"), "-aes256"]
    command += ["-passout", "pass:secret", "-out", str(tmp_path / "locked.key")]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(RedpollError) as caught:
        tls.serving(str(tmp_path / cert), str(tmp_path / key))
    assert caught.value.code == "RP-130" and says in caught.value.message, caught.value.message


def test_serve_does_not_start_with_a_wrong_pair(
    tmp_path: Path, certificate: Certificate, other_certificate: Certificate
) -> None:
    """One sentence, status 1 or 2, nothing left running."""
    put(tmp_path, Certificate(certificate.cert, other_certificate.key))
    (tmp_path / "redpoll.toml").write_text(FILE.format(url="http://127.0.0.1:9/v2/models/m"))
    ended = cli(tmp_path, "serve")
    assert ended.returncode in (1, 2)
    assert "RP-130" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('tls = {cert = "tls.crt"}', "both files"),
        ('tls = {cert = "a.crt", key = "a.key"}', "there is no file"),
        ('tls = {cert = "a.crt", key = "a.key", ca = "x"}', "ca"),
        ("tls = true", "tls"),
    ],
)
def test_what_the_file_gets_wrong_is_said(tmp_path: Path, lines: str, says: str) -> None:
    """With the other errors of the file."""
    path = tmp_path / "redpoll.toml"
    path.write_text(f'[server]\n{lines}\n[models.m.versions]\nv1 = "http://h/v2/models/m"\n')
    with pytest.raises(RedpollError) as caught:
        load(path)
    assert says in caught.value.message
