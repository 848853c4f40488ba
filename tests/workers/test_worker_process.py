"""The worker as a process: what models do to it, and what must hold all the same."""

from __future__ import annotations

import ast
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redpoll.host import logs
from tests.workers.rig import PROGRAM, Client, Worker, column, output

Start = Callable[..., Worker]
ID = "01a21047-9b7d-7000-9153-e0f0fbbeaa2e"


def test_it_needs_nothing_but_the_standard_library_and_numpy() -> None:
    """It runs in the model's own Python, which may be as old as 3.9 and has no redpoll."""
    allowed = {*sys.stdlib_module_names, "numpy"}
    late = {"pandas", "sklearn", "joblib", "onnxruntime", "mlflow"}  # inside functions only
    for path in PROGRAM.parent.glob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            assert roots <= (allowed if node in tree.body else allowed | late), (path, names)


def test_names_beside_the_worker_are_not_on_the_models_path(python_worker: Start) -> None:
    """A model that has a module called ``server`` gets its own."""
    worker = python_worker(
        """
        import sys
        def load():
            return lambda c: {"y": [str("redpoll/backends" in " ".join(sys.path))] * len(c["x"])}
        """
    )
    assert output(worker.infer([column("x", [1.0])])[1], "y")["data"] == ["False"]


def test_the_folder_is_the_working_folder_and_on_the_path(python_worker: Start) -> None:
    """Side files are opened by their plain names, neighbouring modules imported."""
    worker = python_worker(
        """
        import os
        def load():
            import neighbour
            text = open("labels.txt").read()
            return lambda c: {"y": [text, neighbour.WORD, os.environ["OMP_NUM_THREADS"]]}
        """,
        wait=False,
    )
    folder = Path(worker.path).parent
    (folder / "labels.txt").write_text("yes")
    (folder / "neighbour.py").write_text("WORD = 'no'")
    worker.wait_ready()
    status, answer = worker.infer([column("x", [1.0, 2.0, 3.0])])
    assert (status, output(answer, "y")["data"]) == (200, ["yes", "no", "1"])


def test_id_and_chosen_outputs_are_respected(python_worker: Start) -> None:
    """``id`` is echoed, ``outputs`` selects, an unknown output is a client's mistake."""
    worker = python_worker(
        """
        def load():
            return lambda c: {"a": c["x"], "b": c["x"] * 2}
        """
    )
    _, answer = worker.infer([column("x", [1.0])], id="q-1", outputs=[{"name": "b"}])
    assert answer["id"] == "q-1"
    assert [tensor["name"] for tensor in answer["outputs"]] == ["b"]
    status, answer = worker.infer([column("x", [1.0])], outputs=[{"name": "c"}])
    assert (status, answer["code"]) == (400, "RP-107")
    client = worker.client()
    assert client.ask("GET", "/v2/models/m")[1]["versions"] == ["v1"]
    assert client.ask("GET", "/v2/models/m/versions/v1/ready")[0] == 200
    assert client.ask("GET", "/v2/models/other")[1]["code"] == "RP-102"
    assert client.ask("GET", "/nothing")[1]["code"] == "RP-104"
    assert client.ask("GET", "/v2/models/m/infer")[1]["code"] == "RP-105"
    assert client.ask("POST", "/v2/models/m/versions/v1/infer", {})[1]["code"] == "RP-101"


def test_no_rows_are_answered_without_asking_the_model(python_worker: Start) -> None:
    """200 with no rows, in the outputs that are declared."""
    worker = python_worker(
        "def load():\n    return lambda c: 1 / 0",
        inputs={"x": "float"},
        output={"name": "y", "type": "float"},
    )
    status, answer = worker.infer([column("x", [])])
    assert (status, output(answer, "y")["shape"]) == (200, [0])


FAILS = """
    import sys
    def load():
        def predict(columns):
            kind = columns["x"][0]
            if kind == "key":
                return {}["a key with 4711 and s3cret-word in it: " + columns["note"][0]]
            if kind == "exit":
                sys.exit(3)
            if kind == "deep":
                return predict(columns)
            if kind == "list":
                return [1]
            if kind == "missing":
                return {"other": [1]}
            return {"y": [1.0]}
        return predict
"""


def test_an_exception_is_500_and_its_traceback_is_found_by_the_prediction(
    python_worker: Start,
) -> None:
    """The client gets one line; stderr has the rest, from the model's first frame on, masked."""
    worker = python_worker(FAILS, redact=["note"])
    inputs = [column("x", ["key"], "BYTES"), column("note", ["s3cret-word"], "BYTES")]
    status, answer = worker.infer(inputs, headers={"redpoll-prediction-id": ID})
    assert (status, answer["code"]) == (500, "RP-200")
    assert answer["error"].startswith("KeyError: ")
    found = logs.of_prediction(worker.log, ID)
    assert "Traceback" in found
    assert "model_code.py" in found
    assert "run.py" not in found
    assert "KeyError" in found.splitlines()[-1]
    assert "s3cret-word" not in answer["error"] + worker.stderr()
    assert "«note»" in answer["error"]
    assert logs.of_prediction(worker.log, ID.replace("a", "b")) == ""


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("exit", "RP-200", "SystemExit: 3"),
        ("deep", "RP-200", "RecursionError"),
        ("list", "RP-201", "list"),
        ("missing", "RP-201", "'y'"),
    ],
)
def test_whatever_the_model_does_the_worker_goes_on(
    python_worker: Start, kind: str, code: str, words: str
) -> None:
    """``sys.exit`` in a model ends no worker; a wrong return value is said so."""
    worker = python_worker(FAILS, output={"name": "y", "type": "float"})
    status, answer = worker.infer([column("x", [kind], "BYTES")])
    assert (status, answer["code"]) == (500, code)
    assert words in answer["error"]
    assert worker.infer([column("x", ["fine"], "BYTES")])[0] == 200


def test_what_the_model_prints_goes_to_stderr(python_worker: Start) -> None:
    """Megabytes of it too, also from C; the protocol is not disturbed."""
    worker = python_worker(
        """
        import os
        print("said while loading")
        def load():
            def predict(columns):
                print("x" * 3_000_000)
                os.write(1, b"from below\\n")
                return {"y": columns["x"]}
            return predict
        """
    )
    assert worker.infer([column("x", [1.0])])[0] == 200
    end = time.monotonic() + 10
    while "from below" not in worker.stderr() or len(worker.stderr()) < 3_000_000:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert "said while loading" in worker.stderr()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.stdout is not None
    assert worker.process.stdout.read() == b""


def test_while_it_loads_it_is_alive_but_not_ready(python_worker: Start) -> None:
    """And says 503 to who asks for a prediction."""
    worker = python_worker(
        """
        import pathlib, time
        def load():
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
            return lambda c: {"y": c["x"]}
        """,
        wait=False,
    )
    client = worker.client()
    assert client.ask("GET", "/v2/health/live") == (200, {"live": True})
    assert client.ask("GET", "/v2/health/ready")[0] == 503
    status, answer = worker.infer([column("x", [1.0])])
    assert (status, answer["code"]) == (503, "RP-114")
    (Path(worker.path).parent / "go").touch()
    worker.wait_ready()
    assert worker.infer([column("x", [1.0])])[0] == 200
    assert client.ask("GET", "/v2/health/ready")[0] == 200


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def load():\n    return 5", "must return a function"),
        ("def laod():\n    return print", "Did you mean 'laod'?"),
        ("import not_there", "No module named 'not_there'"),
        ("def load():\n    raise OSError('no disk')", "OSError: no disk"),
        ("def load(:", "SyntaxError"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_its_worker_with_the_reason(
    python_worker: Start, source: str, words: str
) -> None:
    """Exit status 3, and on stderr why."""
    worker = python_worker(source, wait=False)
    assert worker.process.wait(20) == 3
    assert words in worker.stderr()


SLOW = """
    import threading, time
    def load():
        def predict(columns):
            open("called", "a").write("x")
            time.sleep(float(columns["x"][0]))
            return {"y": columns["x"], "thread": [threading.current_thread().name]}
        return predict
"""


def test_health_is_answered_during_a_long_call_and_calls_queue(python_worker: Start) -> None:
    """One call at a time, in the main thread; others wait; health does not."""
    worker = python_worker(SLOW)
    first, second, health = worker.client(), worker.client(), worker.client()
    first.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.6])]})
    time.sleep(0.1)
    second.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.0])]})
    begun = time.monotonic()
    for _ in range(3):
        assert health.ask("GET", "/v2/health/ready")[0] == 200
    assert time.monotonic() - begun < 0.3
    for client in (first, second):
        status, answer = client.receive()
        assert status == 200
        assert output(answer, "thread")["data"] == ["MainThread"]
    assert health.ask("GET", "/v2/health/ready")[0] == 200
    assert first.ask("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.0])]})[0] == 200


def test_the_model_is_not_asked_for_a_client_that_left(python_worker: Start) -> None:
    """Under overload time-outs would else be worked off one by one, for nobody."""
    worker = python_worker(SLOW)
    first, gone = worker.client(), worker.client()
    first.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.3])]})
    time.sleep(0.1)
    gone.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.0])]})
    gone.close()
    assert first.receive()[0] == 200
    assert first.ask("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.0])]})[0] == 200
    assert (Path(worker.path).parent / "called").read_text() == "xx"


def test_sigterm_lets_the_call_finish(python_worker: Start) -> None:
    """What has arrived is answered; then it ends with status 0."""
    worker = python_worker(SLOW)
    client, idle = worker.client(), worker.client()
    client.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [0.4])]})
    time.sleep(0.1)
    worker.process.send_signal(signal.SIGTERM)
    assert client.receive()[0] == 200
    assert worker.process.wait(10) == 0
    with pytest.raises(ConnectionError):
        idle.ask("GET", "/v2/health/live")


def test_sigquit_shows_where_a_stuck_model_is(python_worker: Start) -> None:
    """Even one that never lets go of the interpreter."""
    worker = python_worker(
        """
        import re
        def load():
            def predict(columns):
                stuck_here(columns)
            return predict
        def stuck_here(columns):
            re.match("(a+)+b", "a" * 60)
        """
    )
    client = worker.client()
    client.send("POST", "/v2/models/m/infer", {"inputs": [column("x", [1.0])]})
    time.sleep(0.3)
    worker.process.send_signal(signal.SIGQUIT)
    end = time.monotonic() + 10
    while "in stuck_here" not in worker.stderr():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_model_that_forks_leaves_one_server(python_worker: Start) -> None:
    """A child that returns from ``predict`` ends; one that lives on holds no client's connection."""
    worker = python_worker(
        """
        import os, time
        def load():
            def predict(columns):
                child = os.fork()
                if child == 0 and columns["x"][0] == 2.0:
                    time.sleep(30)
                return {"y": [float(os.getpid())], "child": [float(child)]}
            return predict
        """
    )
    for kind in (1.0, 2.0):
        client = worker.client()
        status, answer = client.ask("POST", "/v2/models/m/infer", {"inputs": [column("x", [kind])]})
        assert status == 200
        assert output(answer, "y")["data"] == [float(worker.process.pid)]
    child = int(output(answer, "child")["data"][0])
    try:
        worker.process.kill()
        with pytest.raises(ConnectionError):
            client.ask("GET", "/v2/health/live")
    finally:
        os.kill(child, signal.SIGKILL)


def test_it_ends_when_the_lifeline_ends(python_worker: Start) -> None:
    """The supervisor died: so must the worker, whatever it does."""
    ours, theirs = socket.socketpair()
    worker = python_worker(
        SLOW, arguments=("--lifeline", str(theirs.fileno())), pass_fds=(theirs.fileno(),)
    )
    theirs.close()
    assert worker.process.poll() is None
    ours.close()
    assert worker.process.wait(10) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
)
def test_bytes_that_are_no_request_end_their_connection_only(
    python_worker: Start, raw: bytes
) -> None:
    """With an error first; the worker serves on."""
    worker = python_worker(SLOW)
    client = worker.client()
    client.sock.sendall(raw)
    status, answer = client.receive()
    assert status in (400, 413, 501)
    assert answer["code"] in ("RP-100", "RP-106")
    assert client.sock.recv(10) == b""
    assert worker.infer([column("x", [0.0])])[0] == 200


def test_a_large_answer_reaches_a_slow_reader_whole(python_worker: Start) -> None:
    """And meanwhile others are served; a request may come in pieces."""
    worker = python_worker(
        "def load():\n    return lambda c: {'y': ['x' * 4_000_000] * len(c['x'])}"
    )
    slow: Client = worker.client()
    body = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}'
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for part in (head[:10], head[10:] + body[:20], body[20:]):
        slow.sock.sendall(part)
        time.sleep(0.02)
    time.sleep(0.1)
    assert worker.client().ask("GET", "/v2/health/live")[0] == 200
    status, answer = slow.receive()
    assert (status, len(output(answer, "y")["data"][0])) == (200, 4_000_000)
    assert slow.ask("GET", "/v2/health/live")[0] == 200
