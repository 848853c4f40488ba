"""``[models.<name>.versions]``: backends, and the traps of names that look like numbers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from redpoll.catalog import VERSION_NAME, Batch, Pool, Version
from redpoll.config.keys import LATER_BACKENDS, SECTIONS
from redpoll.config.problems import Node, Report, Wrong, not_built, show
from redpoll.config.scan import Path
from redpoll.config.values import (
    LONGEST_NAME,
    boolean,
    choice,
    duration,
    headers_env,
    host,
    integer,
    size,
    some_time,
    text,
)
from redpoll.errors import closest

BATCH_WAIT_MAX_S = 0.05
SECTION = "models.*.versions.*"
_FILES = ("sklearn", "onnx", "mlflow")
_URLS = ("http", "https", "json+http", "json+https")
_CODE = ("python", "in-process")
_KNOWN = (*_FILES, *_CODE, *_URLS)
_REMOTE_KEYS = ("host", "headers_env", "ca_file")
_CALLABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")
_METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "transform",
)
_WORKER_KEYS = (
    "python",
    "batch",
    "memory",
    "warm_up",
    "workers",
    "threads",
    "load",
    "kill_after",
    "files",
)


def read_versions(model: Node, folder: str) -> tuple[Version, ...]:
    """All versions of a model, in the file's order."""
    versions: list[Version] = []
    path = (*model.path, "versions")
    for name, value in model.items("versions"):
        if _dotted(model.report, (*path, name), value):
            continue
        if not VERSION_NAME.match(name) or len(name) > LONGEST_NAME:
            model.report.add(
                (*path, name),
                f"{show(name)} is no version name; it starts with a letter or digit and goes on "
                f"with letters, digits and . _ -",
            )
            continue
        table: object = {"backend": value} if isinstance(value, str) else value
        if not isinstance(table, dict):
            model.report.add(
                (*path, name), 'a version is a backend such as "sklearn:model.pkl" or a table'
            )
            continue
        node = Node(model.report, table, (*path, name), SECTION)
        versions.append(_version(node, name, folder))
    return tuple(versions)


def _dotted(report: Report, path: Path, value: object) -> bool:
    """Whether ``value`` is what an unquoted dot in a version's name makes of it."""
    if not isinstance(value, dict) or not value or any(key in SECTIONS[SECTION] for key in value):
        return False
    name, inner = str(path[-1]), value
    rest: list[str] = []
    # Follow the only way down until a version's own settings, or a backend, are reached.
    while isinstance(inner, dict) and len(inner) == 1 and not set(inner) & set(SECTIONS[SECTION]):
        key, following = next(iter(inner.items()))
        if not key[:1].isdigit() and not isinstance(following, dict):
            break
        rest.append(key)
        if not isinstance(following, dict):
            break
        inner = following
    if not rest:
        return False
    whole = ".".join([name, *rest])
    written = report.spots.headers.get((*path, *rest))
    if written and '"' in written.text.partition("versions")[2]:
        return False
    model = path[1]
    report.add(
        (*path, *rest),
        f'to TOML an unquoted dot divides names, so this is a version "{name}" with a table '
        f'"{rest[0]}" in it; for version {whole} write [models.{model}.versions."{whole}"], or '
        f'"{whole}" = … within [models.{model}.versions]',
    )
    return True


def _version(node: Node, name: str, folder: str) -> Version:
    default = Version(name=name, backend="")
    if not node.has("backend"):
        node.wrong(
            "backend", 'a version needs a backend: "sklearn:model.pkl", "python:module:load"'
        )
    urls: tuple[str, ...] = node.get("backend", _backends, ())
    backend, replicas = "".join(urls[:1]), urls[1:]
    pool = node.child("pool", f"{SECTION}.pool")
    remote = Version(name=name, backend=backend).kind == "http"
    for key in _WORKER_KEYS if remote else _REMOTE_KEYS if backend else ():
        if node.has(key):
            why = "redpoll starts no worker for a URL" if remote else "only a URL is asked so"
            node.wrong(key, f"{why}; leave it out")
    if node.has("ca_file") and remote and "https" not in f"{backend} {replicas}":
        node.wrong(
            "ca_file", "no URL of this version is https, so nothing is checked; leave it out"
        )
    if node.has("python") and backend.startswith("in-process:"):
        node.wrong("python", "an in-process: model runs in redpoll's own Python; leave it out")
    if node.has("method") and backend and not backend.startswith(("sklearn:", "mlflow:")):
        node.wrong("method", "only a sklearn: (or mlflow:) backend has one; leave it out")
    if node.has("providers") and backend and not backend.startswith("onnx:"):
        node.wrong("providers", "only an onnx: backend has them; leave it out")
    return Version(
        name=name,
        backend=backend,
        folder=folder,
        workers=node.get("workers", integer(1, 64), default.workers),
        threads=node.get("threads", integer(1, 256), default.threads),
        load_s=node.get("load", some_time, default.load_s),
        kill_after_s=node.get("kill_after", some_time, default.kill_after_s),
        timeout_ms=node.get("timeout_ms", integer(1, 3_600_000), default.timeout_ms),
        pool=Pool(
            idle_s=pool.get("idle", some_time, default.pool.idle_s),
            connections=pool.get("connections", integer(1, 65536), default.pool.connections),
        ),
        replicas=replicas,
        host=node.get("host", host, "") or None,
        headers_env=node.get("headers_env", headers_env, {}),
        ca_file=node.get("ca_file", text, "") or None,
        resend=node.get("resend", boolean, default.resend),
        files=node.get("files", _files, ()),
        python=node.get("python", text, "") or None,
        method=node.get("method", choice(*_METHODS), "") or None,
        providers=node.get("providers", _names, ()),
        batch=_batch(node),
        memory_bytes=node.get("memory", size(16 << 20, 1 << 50), 0) or None,
        warm_up=node.get("warm_up", text, "") or None,
    )


def _files(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Wrong(f'{show(value)} must be an array of paths: ["labels.json"]')
    return tuple(text(item) for item in value)


def _batch(node: Node) -> Batch | None:
    if not node.has("batch"):
        return None
    table = node.child("batch", f"{SECTION}.batch")
    if not table.has("rows"):
        table.wrong("rows", "say how many rows one call may have: {rows = 32}")
    wait_s = table.get("wait", duration, Batch(rows=1).wait_s)
    if wait_s > BATCH_WAIT_MAX_S:
        table.wrong(
            "wait", f"it can be {BATCH_WAIT_MAX_S * 1000:.0f}ms at most: every answer waits"
        )
    return Batch(rows=table.get("rows", integer(2, 1024), 2), wait_s=wait_s)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise Wrong(f'{show(value)} must be an array of names: ["CPUExecutionProvider"]')
    return tuple(text(item) for item in value)


def _backends(value: object) -> tuple[str, ...]:
    """A backend, or several URLs of one scheme: replicas."""
    if not isinstance(value, list):
        return (_backend(value),)
    found = tuple(_backend(item) for item in value)
    schemes = {written.partition(":")[0].removesuffix("s") for written in found}
    if not found or len(set(found)) != len(found):
        raise Wrong("an array of backends names each replica's URL once, and at least one")
    if len(schemes) != 1 or not schemes <= {"http", "json+http"}:
        raise Wrong(
            "only URLs can be replicas of one version, and all speak the same: OIP or json+"
        )
    return found


def _backend(value: object) -> str:
    written = text(value)
    scheme, colon, rest = written.partition(":")
    if colon and scheme in _URLS:
        _check_url(written.removeprefix("json+"), plain=scheme.startswith("json+"))
    elif colon and scheme in _FILES:
        if not rest:
            example = {"sklearn": "model.pkl", "onnx": "model.onnx", "mlflow": "model_folder"}
            what = "folder" if scheme == "mlflow" else "file"
            raise Wrong(f'"{scheme}:" names no {what}; write "{scheme}:{example[scheme]}"')
    elif colon and scheme in _CODE:
        if not _CALLABLE.match(rest):
            raise Wrong(f'{show(written)} names no callable; write "{scheme}:<module>:<callable>"')
    elif colon and scheme in LATER_BACKENDS:
        raise Wrong(
            f"{not_built(show(scheme + ':'))}; today it can be sklearn:, onnx:, mlflow:, python: or a URL"
        )
    elif colon:
        hint = closest(scheme, [*_KNOWN, *LATER_BACKENDS])
        raise Wrong(f'{show(written)} is no backend; "{scheme}:" is unknown.{hint}')
    else:
        raise Wrong(
            f'{show(written)} does not say what it is; write "sklearn:{written}" for a file of '
            "scikit-learn, or the URL of a model"
        )
    return written


def _check_url(written: str, plain: bool) -> None:
    try:
        url = urlsplit(written)
        host, port = url.hostname, url.port
    except ValueError:
        raise Wrong(f"{show(written)} is no URL; write http://host:port/v2/models/<name>") from None
    if not host or port == 0 or not written.isascii() or " " in written:
        raise Wrong(f"{show(written)} is no URL; write http://host:port/v2/models/<name>")
    if url.username is not None or url.password is not None:
        raise Wrong("the URL has a password in it; secrets do not belong in this file")
    if url.query or url.fragment:
        raise Wrong(f"{show(written)} has a ? or # in it; a model's URL has none")
    if plain:
        return  # any address will do: it is asked as it stands
    path = url.path.rstrip("/")
    if path.endswith(("/infer", "/ready")):
        raise Wrong(f"{show(written)} must end with the model's name; leave the last part out")
    if not path or "/models/" not in path:
        raise Wrong(
            f"{show(written)} names no model; write {url.scheme}://{url.netloc}/v2/models/<name>"
        )
