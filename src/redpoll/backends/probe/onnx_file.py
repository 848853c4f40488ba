"""What an ONNX file says of itself: its inputs as columns, its classes."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from .said import NoColumns, columns_of

TYPES = {
    "string": "category",
    "bool": "bool",
    "float": "float",
    "double": "float",
    "float16": "float",
}
FEW = 1000  # of classes that are declared
WORDS = 12  # of an encoder's that are told
NODE_INPUT = 1


def look(path: str) -> dict[str, Any]:
    """The description of a file, or of a folder with one in it and its weights beside it."""
    runtime = importlib.import_module("onnxruntime")
    file = path
    if os.path.isdir(path):  # noqa: PTH112
        inside = sorted(name for name in os.listdir(path) if name.endswith(".onnx"))  # noqa: PTH208
        file = os.path.join(path, inside[0])  # noqa: PTH118
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    with open(file, "rb") as source:  # noqa: PTH123
        raw = source.read()
    labels = _labels()
    classes = labels.read(raw).classes
    producer = session.get_modelmeta().producer_name
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names, count, kinds = _columns(inputs)
    has_label = any(one.type in ("tensor(int64)", "tensor(string)") for one in outputs)
    known = classes if has_label and 2 <= len(classes) <= FEW else None
    return {
        "class": f"ONNX model of {producer or 'unknown origin'}",
        "parts": [],
        "predicts": True,
        "names": names,
        "count": count,
        "columns": _with_words(columns_of(kinds), names, labels, raw),
        "classes": known,
        "probability": known is not None and len(outputs) > 1,
    }


def _columns(inputs: Any) -> tuple[list[str], int | None, list[str]]:
    """Names, number and types of the columns. A matrix of unknown width tells no number."""
    shapes = [list(one.shape) for one in inputs]
    kinds = [_type(one.type) for one in inputs]
    if len(inputs) == 1 and len(shapes[0]) == 2 and shapes[0][1] != 1:
        width = shapes[0][1]
        known = width if isinstance(width, int) else None
        return [], known, kinds * (known or 0)
    for one, shape in zip(inputs, shapes):
        if len(shape) > 2 or (len(shape) == 2 and shape[1] != 1):
            said = ", ".join(str(size) if isinstance(size, int) else "n" for size in shape)
            raise NoColumns(
                f"its input {one.name!r} is a tensor [{said}], which no row of columns is",
                "write the version into redpoll.toml by hand, with no `inputs`, and send tensors to "
                "POST /v2/models/NAME/infer (docs/workers.md, An ONNX file)",
            )
    return [one.name for one in inputs], len(inputs), kinds


def _with_words(
    columns: list[dict[str, Any]], names: list[str], labels: Any, raw: bytes
) -> list[dict[str, Any]]:
    """Give the texts of its encoders to the text columns: a made-up word may be refused.

    An encoder that reads an input itself belongs to it; else they are in the order of the columns,
    where there are as many of them.
    """
    encoders = [one for one in _encoders(labels, raw) if one[1]]
    texts = [at for at, column in enumerate(columns) if column["type"] == "category"]
    for at, (given, words) in enumerate(encoders):
        place = names.index(given) if given in names else None
        if place is None and len(encoders) == len(texts):
            place = texts[at]
        if place in texts:
            middle = words[len(words) // 2]
            columns[place]["values"] = [middle, *[w for w in words if w != middle]][:WORDS]
    return columns


def _encoders(labels: Any, raw: bytes) -> list[tuple[str, list[str]]]:
    """The first input of each encoder of texts, and the texts that it knows (``onnx.proto``)."""
    found = []
    try:
        for _, graph in labels._fields(memoryview(raw), labels.MODEL_GRAPH):
            for _, node in labels._fields(graph, labels.GRAPH_NODE):
                given = [bytes(value).decode() for _, value in labels._fields(node, NODE_INPUT)]
                words = _words(labels, node)
                if given and words:
                    found.append((given[0], words))
    except Exception:  # a file that is read otherwise than we think: no words, no harm
        return []
    return found


def _words(labels: Any, node: Any) -> list[str]:
    for _, attribute in labels._fields(node, labels.NODE_ATTRIBUTE):
        name = [bytes(v) for _, v in labels._fields(attribute, labels.ATTRIBUTE_NAME)]
        if name and name[0] in (b"cats_strings", b"keys_strings"):
            texts = labels._fields(attribute, labels.ATTRIBUTE_STRINGS)
            return [bytes(value).decode("utf-8", "replace") for _, value in texts]
    return []


def _type(said: str) -> str:
    inner = said.partition("(")[2].rstrip(")")
    return TYPES.get(inner, "int")


def _labels() -> Any:
    """The worker's reader of class names; it needs nothing else of the worker."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    file = os.path.join(here, "worker", "onnx_labels.py")  # noqa: PTH118
    spec = importlib.util.spec_from_file_location("redpoll_onnx_labels", file)
    if spec is None or spec.loader is None:
        raise ImportError(file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
