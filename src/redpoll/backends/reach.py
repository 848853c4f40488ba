"""How a remote backend is reached: its Host header, headers with secrets, and TLS.

Secrets come from the environment of the process that asks, never from the file; they are in no
error, log or fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from redpoll.catalog import Version
from redpoll.errors import RedpollError

if TYPE_CHECKING:
    from ssl import SSLContext

_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]+\Z")


class Reach(NamedTuple):
    """What every connection to a version's addresses shares."""

    host: str = ""  # of the Host header; "": the URL's own
    lines: bytes = b""  # more header lines, CRLF each
    tls: SSLContext | None = None  # for https


DIRECT = Reach()  # over a plain connection, with nothing added


def reach(version: Version, environment: Mapping[str, str]) -> Reach:
    """What a version says of it. RP-240 where a variable is missing, RP-241 for a CA file."""
    lines = b""
    for header, variable in version.headers_env.items():
        value = environment.get(variable, "").strip()
        if not value:
            raise RedpollError(
                "RP-240",
                f"{version.name} wants the header {header} from the environment variable "
                f"{variable} (headers_env), which is not set where redpoll runs; set it and start "
                "redpoll again.",
            )
        if _VALUE.match(value) is None:
            raise RedpollError(
                "RP-240",
                f"The environment variable {variable} has characters that no header can carry "
                f"({header} of {version.name}).",
            )
        lines += f"{header.lower()}: {value}\r\n".encode("latin-1")
    urls = (version.backend, *version.replicas)
    secure = any(url.removeprefix("json+").startswith("https:") for url in urls)
    return Reach(version.host or "", lines, _context(version) if secure else None)


def _context(version: Version) -> SSLContext:
    """TLS that checks the other side's certificate, against the system's CAs or ``ca_file``."""
    import ssl  # only who asks over TLS pays for it

    if version.ca_file is None:
        return ssl.create_default_context()
    path = Path(version.folder) / version.ca_file
    try:
        return ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            why = "it holds no certificate in PEM"
        raise RedpollError(
            "RP-241",
            f"The CA file {path} of {version.name} cannot be used: {why}; ca_file names a file of "
            "certificates in PEM.",
        ) from None
