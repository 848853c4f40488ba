"""TLS of our own listeners: certificate and key from files, read again when they are renewed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from redpoll.errors import RedpollError

log = logging.getLogger("redpoll")


def serving(cert: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and newer, as a server. RP-130 where the files are not a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name, path in (("cert", cert), ("key", key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise _bad(f"{name} {path} cannot be read: {error.strerror or error}") from None
    try:
        context.load_cert_chain(cert, key, _no_password)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error):
            raise _bad(f"the key in {key} is not that of the certificate in {cert}") from None
        raise _bad(f"{cert} and {key} are no certificate and key in PEM ({error.reason})") from None
    except ValueError:
        raise _bad(f"the key in {key} is locked by a password; write one without") from None
    return context


def _no_password() -> str:
    """Asked for by OpenSSL where a key is locked; a server has nobody to ask."""
    raise ValueError("locked")


def trusting(cert: str) -> ssl.SSLContext:
    """TLS as a client on this machine, which trusts the server's own certificate and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is asked by its address; the certificate names the world's
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cert)
    except (OSError, ssl.SSLError) as error:
        raise _bad(f"cert {cert} cannot be used: {error}") from None
    return context


class Renewed:
    """Looks whether the files were replaced and has new connections use them; a bad pair is not."""

    def __init__(self, context: ssl.SSLContext, cert: str, key: str) -> None:
        self._context = context
        self._files = (cert, key)
        self._seen = self._look()

    def check(self) -> bool:
        """To be called now and then; true where another pair is in use from now on."""
        found = self._look()
        if found == self._seen:
            return False
        self._seen = found
        try:
            serving(*self._files)
        except RedpollError as error:
            log.error("%s The certificate before stays in use.", error)
            return False
        self._context.load_cert_chain(*self._files)
        log.info("the certificate in %s was read again", self._files[0])
        return True

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        stamps = []
        for path in self._files:
            try:
                found = Path(path).stat()
            except OSError:
                return ()
            stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(stamps)


def _bad(why: str) -> RedpollError:
    return RedpollError("RP-130", f"TLS cannot be spoken: {why} (server.tls).")
