"""Files and commands of what ``serving`` compares: redpoll, MLServer, LitServe; each on one core."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks._load import cores, free_port, pinned
from benchmarks._proxies import ROOT, Missing, running
from redpoll.demo.server import DemoServer

COLUMNS = 4
FIT = """\
import sys, joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
x, y = load_iris(return_X_y=True)
joblib.dump(LogisticRegression(max_iter=500).fit(x, y), sys.argv[1])
"""
TRIVIAL = '''\
"""The sum of four numbers."""


def load():
    def predict(columns):
        return {"y": [sum(row) for row in zip(*columns.values())]}
    return predict
'''
REDPOLL = """\
data_dir = "data"
[server]
data = "127.0.0.1:0"
control = "127.0.0.1:0"
[models.trivial]
live = "v1"
inputs = {a = "float", b = "float", c = "float", d = "float"}
tensor = {name = "x", columns = ["a", "b", "c", "d"]}
[models.trivial.versions]
v1 = "python:trivial:load"
[models.logistic]
live = "v1"
inputs = {a = "float", b = "float", c = "float", d = "float"}
tensor = {name = "x", columns = ["a", "b", "c", "d"]}
[models.logistic.versions]
v1 = "sklearn:logistic.pkl"
"""
MLSERVER_TRIVIAL = '''\
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Trivial(MLModel):
    """As MLServer's own documentation writes a model."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("y", found.sum(axis=1))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
'''
LITSERVE = """\
import sys
import litserve


class Trivial(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request["inputs"][0]["data"]

    def predict(self, values):
        return sum(values)

    def encode_response(self, value):
        return {"outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [value]}]}


if __name__ == "__main__":
    server = litserve.LitServer(Trivial(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False,
               log_level="error", access_log=False)
"""


class Served(NamedTuple):
    """Where a peer listens, the process whose children all are its, and the address of its model."""

    port: int
    pid: int
    path: str


def python(name: str) -> Path:
    """The Python of a peer's environment. :class:`Missing` where it was not built."""
    if not (ROOT / ".peers" / name / ".done").exists():
        raise Missing(f"the peer {name} is missing: build it with `make peers` (scripts/peers)")
    return ROOT / ".peers" / name / "bin" / "python"


@contextlib.contextmanager
def mlserver(folder: Path, model: str, workers: int) -> Iterator[Served]:
    """MLServer with one model; ``workers``: ``parallel_workers``, 0 is in its own process, 1 the default."""
    port = free_port()
    folder.mkdir()
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
        "parallel_workers": workers, "debug": False,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    if model == "trivial":
        (folder / "trivial.py").write_text(MLSERVER_TRIVIAL)
        told = {"name": model, "implementation": "trivial.Trivial"}
    else:
        fit(python("mlserver"), folder / "logistic.joblib")
        told = {"name": model, "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./logistic.joblib", "version": "1"}}  # fmt: skip
    (folder / "model-settings.json").write_text(json.dumps(told))
    command = [str(python("mlserver")), "-m", "mlserver.cli.main", "start", "."]
    env = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    with running(command, folder, port, cores()[0], env) as pid:
        yield Served(port, pid, f"/v2/models/{model}/infer")


@contextlib.contextmanager
def litserve(folder: Path) -> Iterator[Served]:
    """LitServe with the trivial model."""
    port = free_port()
    folder.mkdir()
    (folder / "served.py").write_text(LITSERVE)
    command = [str(python("litserve")), "served.py", str(port)]
    with running(command, folder, port, cores()[0]) as pid:
        yield Served(port, pid, "/predict")


@contextlib.contextmanager
def redpoll(folder: Path) -> Iterator[tuple[int, int]]:
    """Port and supervisor of `redpoll serve`, both models in workers, capture and metrics on."""
    folder.mkdir()
    (folder / "trivial.py").write_text(TRIVIAL)
    fit(Path(sys.executable), folder / "logistic.pkl")
    (folder / "redpoll.toml").write_text(REDPOLL)
    with pinned(cores()[0]):
        server = DemoServer(folder / "redpoll.toml")
    try:
        server.wait_ready()
        said = json.loads((server.data_dir / "run" / "server.json").read_bytes())
        yield int(said["data"].rpartition(":")[2]), said["pid"]
    finally:
        server.stop()


def fit(interpreter: Path, path: Path) -> None:
    """A LogisticRegression on four columns, by the scikit-learn that will load it."""
    done = subprocess.run(
        [str(interpreter), "-c", FIT, str(path)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"no model could be fitted: {done.stderr[-800:]}")


def wait_answers(served: Served, body: bytes, seconds: float = 90.0) -> bytes:
    """One good answer, so that the model is loaded."""
    import http.client

    end = time.monotonic() + seconds
    said = ""
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        try:
            connection.request("POST", served.path, body, {"content-type": "application/json"})
            reply = connection.getresponse()
            raw = reply.read()
            if reply.status == 200:
                return raw
            said = f"{reply.status} {raw[:300]!r}"
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.2)
    raise RuntimeError(f"{served.path} at {served.port} does not answer: {said}")
