"""An ONNX file: columns become its inputs, its outputs become columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import onnx_labels
from .frames import column
from .model import LoadError, Model, Output, install
from .onnx_outputs import answer_maker
from .tensors import BadRequest, Call, Declared, near

Array = Any
CPU = "CPUExecutionProvider"
# ONNX's types of tensors as numpy's; what is not here is not taken.
KINDS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def load_onnx(
    path: str, name: str, version: Mapping[str, Any], declared: Declared, output: Output | None
) -> Model:
    """Load an ONNX model; ``name`` is the file's in messages. Raises :class:`LoadError`."""
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise LoadError(
            f"onnxruntime cannot be imported in this Python ({error}); set `python` of the version "
            f"to an environment that has it, or run {install('onnxruntime')}"
        ) from None
    file = _file(path, name)
    with open(file, "rb") as source:  # noqa: PTH123
        labels = onnx_labels.read(source.read())
    if labels.external and not os.path.isdir(path):  # noqa: PTH112
        raise LoadError(
            f"{name} keeps its weights in files beside it: put it and them into a folder of their "
            "own, and name that folder: it is then copied and fingerprinted as a whole"
        )
    session = _session(runtime, file, name, version)
    serving = _Serving(session, name, declared)
    answer = answer_maker(session.get_outputs(), labels.classes, name, output)
    wanted = [one.name for one in session.get_outputs() if one.name in answer.needs]

    def ask(call: Call) -> Mapping[str, Any]:
        rows = [session.run(wanted, feed) for feed in serving.feeds(call)]
        found = rows[0] if len(rows) == 1 else [_joined(parts) for parts in zip(*rows)]
        return answer.make(dict(zip(wanted, found)))

    return Model(serving.declared, output.types if output else {}, ask, answer.datatypes)


def _file(path: str, name: str) -> str:
    if not os.path.isdir(path):  # noqa: PTH112
        return path
    found = sorted(one for one in os.listdir(path) if one.endswith(".onnx"))  # noqa: PTH208
    if len(found) != 1:
        raise LoadError(
            f"the folder {name} holds {len(found)} files that end in .onnx; it must be one, with "
            "its weights beside it"
        )
    return os.path.join(path, found[0])  # noqa: PTH118


def _session(runtime: Any, file: str, name: str, version: Mapping[str, Any]) -> Any:
    wanted = list(version.get("providers") or (CPU,))
    known = list(runtime.get_available_providers())
    for one in wanted:
        if one not in known:
            raise LoadError(
                f"onnxruntime {runtime.__version__} here has no provider {one!r}."
                f"{near(one, known)} It has {', '.join(known)}: change `providers`, or install the "
                "package of onnxruntime that brings it"
            )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(file, options, providers=wanted)
    except Exception as error:  # of classes that onnxruntime does not name in public
        raise LoadError(
            f"{name} cannot be loaded by onnxruntime {runtime.__version__}: {_line(error)}"
        ) from error
    lost = [one for one in wanted if one not in session.get_providers()]
    if lost:
        raise LoadError(
            f"the provider {lost[0]} could not be started (onnxruntime would answer with "
            f"{', '.join(session.get_providers())} instead, and say nothing): its libraries are "
            "not here, or name another in `providers`"
        )
    return session


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _joined(parts: tuple[Any, ...]) -> Any:
    if isinstance(parts[0], list):
        return [one for part in parts for one in part]
    return np.concatenate(parts)


class _Serving:
    """What a session is fed from the columns of a call."""

    def __init__(self, session: Any, name: str, declared: Declared) -> None:
        self.inputs = {one.name: one for one in session.get_inputs()}
        self.name = name
        for one in self.inputs.values():
            if one.type not in KINDS:
                raise LoadError(
                    f"{name}: its input {one.name!r} is a {one.type}; tensors are taken"
                )
        first = next(iter(self.inputs.values()), None)
        if first is None:
            raise LoadError(f"{name} takes no input")
        sizes = {one.shape[0] for one in self.inputs.values() if one.shape}
        fixed = {size for size in sizes if isinstance(size, int)}
        if fixed - {1} or (fixed and len(sizes) > 1):
            raise LoadError(
                f"{name} takes {' and '.join(map(str, sorted(fixed)))} rows at once and no other "
                "number: export it with a dynamic first axis"
            )
        self.one_by_one = bool(fixed)
        self.whole = self._is_matrix(first, declared)
        self.declared = declared
        if declared.inputs and self.whole is None:
            self._check_names(declared)

    def _is_matrix(self, first: Any, declared: Declared) -> str | None:
        """The input's name, where one matrix takes all the columns that are declared."""
        if len(self.inputs) > 1 or len(first.shape) != 2:
            return None
        width = first.shape[1]
        if not declared.inputs:
            return str(first.name)
        if isinstance(width, int) and width != len(declared.inputs):
            raise LoadError(
                f"{self.name} takes a matrix of {width} columns, but `inputs` declares "
                f"{len(declared.inputs)}: declare them all, in the order of fitting"
            )
        return str(first.name)

    def _check_names(self, declared: Declared) -> None:
        for name in self.inputs:
            if name not in declared.inputs:
                raise LoadError(
                    f"{self.name} has an input {name!r} that `inputs` does not declare."
                    f"{near(name, declared.inputs)}"
                )

    def feeds(self, call: Call) -> list[dict[str, Array]]:
        """What the session is run with: once, or a row at a time where it takes no more."""
        feed = self._feed(call)
        if not self.one_by_one or call.rows == 1:
            return [feed]
        return [
            {name: array[at : at + 1] for name, array in feed.items()} for at in range(call.rows)
        ]

    def _feed(self, call: Call) -> dict[str, Array]:
        if self.whole is not None:
            wanted = self.inputs[self.whole]
            return {self.whole: _fitted(wanted, self._matrix(call), self.whole)}
        feed = {}
        for name, wanted in self.inputs.items():
            array = call.columns.get(name)
            if array is None and len(self.inputs) == len(call.columns) == 1:
                array = next(iter(call.columns.values()))  # one tensor, whatever it is called
            if array is None:
                raise BadRequest(f"input {name!r} is missing.{near(name, call.columns)}")
            feed[name] = _fitted(wanted, array, name)
        return feed

    def _matrix(self, call: Call) -> Array:
        if call.matrix is not None:
            return call.matrix
        if self.declared.inputs:
            columns = [column(call, name) for name in self.declared.inputs]
            return np.column_stack(columns) if len(columns) > 1 else columns[0].reshape(-1, 1)
        if len(call.columns) != 1:
            raise BadRequest(
                f"the model takes one matrix, {self.whole!r}, not {len(call.columns)} tensors; "
                "declare its `inputs` to send them one by one"
            )
        return next(iter(call.columns.values()))


def _fitted(wanted: Any, array: Array, name: str) -> Array:
    """An array of the type and rank that an input wants. Raises :class:`BadRequest`."""
    array = _cast(KINDS[wanted.type], array, name, wanted.type)
    shape = wanted.shape
    if array.ndim == 1 and len(shape) == 2 and (shape[1] == 1 or not isinstance(shape[1], int)):
        array = array.reshape(-1, 1)
    odd = [a for a, b in zip(array.shape[1:], shape[1:]) if isinstance(b, int) and a != b]
    if array.ndim != len(shape) or odd:
        sizes = ", ".join(str(size) if isinstance(size, int) else "?" for size in shape[1:])
        raise BadRequest(
            f"input {name!r} has shape {list(array.shape)}; the model takes [n, {sizes}]"
            if sizes
            else f"input {name!r} has shape {list(array.shape)}; the model takes [n]"
        )
    return array


def _cast(kind: Any, array: Array, name: str, called: str) -> Array:
    """The same values in the model's type; a number that does not fit is refused, never wrapped."""
    if array.dtype == kind and kind is not np.object_:
        return array
    want = np.dtype(kind)
    if want.kind == "O":
        if array.dtype.kind not in "OUS":
            raise BadRequest(f"input {name!r} holds {array.dtype}; the model takes BYTES")
        for at, value in enumerate(array.reshape(-1)):
            if not isinstance(value, str):
                why = "null, and an ONNX model has no missing text" if value is None else "no UTF-8"
                raise BadRequest(f"input {name!r}, index {at}: {why}")
        return array
    if array.dtype.kind not in "fiub":
        raise BadRequest(f"input {name!r} holds texts; the model takes a {called}")
    if want.kind == "f":
        return array.astype(want)
    if want.kind == "b":
        if array.dtype.kind == "b":
            return array
        raise BadRequest(f"input {name!r} holds {array.dtype}; the model takes BOOL")
    limits = np.iinfo(want)
    flat = array.reshape(-1)
    with np.errstate(invalid="ignore"):
        odd = ~((flat >= limits.min) & (flat <= limits.max) & (flat == np.floor(flat)))
    if odd.any():
        at = int(np.flatnonzero(odd)[0])
        value = flat[at]
        why = "null, and a whole number cannot be missing" if value != value else f"{value}"
        raise BadRequest(f"input {name!r}, index {at}: {why}; the model takes a {called}")
    return array.astype(want)
