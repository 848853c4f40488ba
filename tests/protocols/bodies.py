"""Bodies with binary tensors, written from what the extension says and nothing of ours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

NUMPY = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def texts(*elements: bytes) -> bytes:
    """Elements of BYTES, each behind its length."""
    return b"".join(len(one).to_bytes(4, "little") + one for one in elements)


def tensor(name: str, datatype: str, shape: list[int], raw: bytes) -> tuple[dict[str, Any], bytes]:
    """A tensor's description and its bytes."""
    parameters = {"binary_data_size": len(raw)}
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}, raw


def body(
    *tensors: tuple[dict[str, Any], bytes], of: str = "inputs", **more: Any
) -> tuple[bytes, int]:
    """A body, and the length of its JSON."""
    head = json.dumps({of: [one for one, _ in tensors], **more}).encode()
    return head + b"".join(raw for _, raw in tensors), len(head)


def floats(name: str, *values: float, datatype: str = "FP32") -> tuple[dict[str, Any], bytes]:
    """A column of floats."""
    return tensor(name, datatype, [len(values)], np.array(values, NUMPY[datatype]).tobytes())
