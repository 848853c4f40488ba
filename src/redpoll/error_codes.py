"""Every error code: HTTP status, name, and what ``redpoll explain CODE`` says.

RP-0xx configuration and catalog, RP-1xx requests, RP-2xx backends, RP-3xx journal,
RP-4xx rollouts and control, RP-5xx access, RP-6xx the program itself.
"""

from __future__ import annotations

CATALOG: dict[str, tuple[int, str, str]] = {
    "RP-001": (400, "configuration", "The configuration has errors. All of them are listed, each with its file, line and, where one is near, the name that was probably meant. Nothing of the file was applied."),
    "RP-002": (409, "version_changed", "A version is one immutable way to answer, and the file gives another meaning to a name that is taken: another backend, other bytes of its model or side files, or a change that a running rollout does not allow. Add it as a new version, and set `live` to that."),
    "RP-003": (400, "artifact", "A file of a version could not be read, or not be copied into `<data_dir>/artifacts`."),
    "RP-004": (500, "catalog", "The catalog (`<data_dir>/catalog.sqlite`) could not be read or written, or comes from a newer redpoll."),
    "RP-100": (400, "malformed_http", "The bytes on the connection are no HTTP request that redpoll understands. The connection is closed after the answer."),
    "RP-101": (400, "malformed_body", "The body is not valid JSON or not the shape that the endpoint takes."),
    "RP-102": (404, "unknown_model", "No model of that name is in the catalog."),
    "RP-103": (404, "unknown_version", "The model has no version of that name."),
    "RP-104": (404, "unknown_path", "Nothing is served at that address."),
    "RP-105": (405, "method", "The address exists, but not for that method."),
    "RP-106": (413, "too_large", "Headers or body are larger than the configured bound (`server.limits`)."),
    "RP-107": (400, "tensor", "A tensor has a wrong datatype, shape or value."),
    "RP-108": (503, "overload", "A bound was reached (`limits`): the request was refused at once rather than made to wait. Retry after the seconds in `Retry-After`."),
    "RP-109": (504, "deadline", "No answer came within the deadline (`timeout_ms` of the version, or `redpoll-deadline-ms` of the request)."),
    "RP-110": (503, "draining", "The server is shutting down and takes no new requests."),
    "RP-111": (415, "encoding", "The body has a content encoding or type that redpoll does not read."),
    "RP-112": (400, "unit_missing", "The model routes by unit, the request carries none, and `unit_missing = \"reject\"`."),
    "RP-113": (503, "no_live_version", "The model has no live version."),
    "RP-114": (503, "version_not_running", "The named version exists, but does not run now."),
    "RP-115": (408, "slow_client", "The request did not arrive whole within the configured wait."),
    "RP-200": (502, "backend_failed", "The backend answered with a failure, crashed, or could not be reached."),
    "RP-201": (502, "backend_invalid", "The backend's answer could not be read, or lacks a declared output."),
    "RP-300": (503, "journal", "The journal could not be written. With `on_journal_failure = \"refuse\"` no request is served that could not be recorded."),
    "RP-301": (0, "locked", "Another redpoll server runs on this data folder."),
    "RP-302": (400, "query", "The SQL could not be run over the log."),
    "RP-400": (404, "unknown_rollout", "No rollout of that id."),
    "RP-401": (409, "stale", "The page or command was based on an older route generation: something changed since. Nothing was done."),
    "RP-402": (409, "not_possible", "The rollout or model is not in a state in which this can be done."),
    "RP-403": (400, "reason", "A change wants a reason of at least three characters; it is kept with the decision."),
    "RP-404": (503, "controller", "The control process does not answer."),
    "RP-500": (401, "token_missing", "Tokens are configured; the request carries none, or none that is known."),
    "RP-501": (403, "scope", "The token does not have the scope that this needs."),
    "RP-502": (403, "origin", "`Host` or `Origin` is not one that this server answers to."),
    "RP-600": (500, "internal", "redpoll made a mistake. The server log has the details under the request id; please report it."),
    "RP-601": (0, "unreachable", "Nothing answers at the server's address, or what answers is not redpoll. Start it with `redpoll serve`, or name another address (`--server`, `REDPOLL_SERVER` for commands; `--url`, `REDPOLL_URL` for predictions and outcomes)."),
    "RP-602": (0, "time_limit", "The client stopped waiting: no answer, or no decision, came within the time that it was given. What was asked may still have happened."),
    "RP-603": (0, "no_server", "This command needs a running server, and none runs on the data folder. Start one with `redpoll serve`."),
    "RP-604": (0, "demo", "The demo could not be run, or did not show what it must: the good version promoted, the bad one rolled back. Its data folder is kept; its path was printed."),
}
