"""The messages of the Open Inference Protocol over gRPC, made from tables rather than generated.

Names, numbers and types are those of the published ``open_inference_grpc.proto`` (package
``inference``). They live in a pool of their own: another library may bring the same ones.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
}
_NAMED = "name = string, version = string"
# Fields in the order of their numbers, from 1; `*` repeats, `%` is a map from text.
_TABLES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live = bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready = bool",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "ready = bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name = string, version = string, extensions = *string",
    "ModelMetadataRequest": _NAMED,
    "TensorMetadata": "name = string, datatype = string, shape = *int64",
    "ModelMetadataResponse": "name = string, versions = *string, platform = string, "
    "inputs = *TensorMetadata, outputs = *TensorMetadata",
    "InferParameter": "bool_param = ?bool, int64_param = ?int64, string_param = ?string, "
    "double_param = ?double, uint64_param = ?uint64",
    "InferTensorContents": "bool_contents = *bool, int_contents = *int32, int64_contents = *int64, "
    "uint_contents = *uint32, uint64_contents = *uint64, fp32_contents = *float, "
    "fp64_contents = *double, bytes_contents = *bytes",
    "InferTensor": "name = string, datatype = string, shape = *int64, parameters = %InferParameter, "
    "contents = InferTensorContents",
    "InferRequestedOutputTensor": "name = string, parameters = %InferParameter",
    "ModelInferRequest": "model_name = string, model_version = string, id = string, "
    "parameters = %InferParameter, inputs = *InferTensor, "
    "outputs = *InferRequestedOutputTensor, raw_input_contents = *bytes",
    "ModelInferResponse": "model_name = string, model_version = string, id = string, "
    "parameters = %InferParameter, outputs = *InferTensor, raw_output_contents = *bytes",
}
SERVICE = "inference.GRPCInferenceService"
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="redpoll_inference.proto", package="inference", syntax="proto3"
    )
    for name, table in _TABLES.items():
        message = file.message_type.add(name=name)
        for number, line in enumerate(filter(None, table.split(", ")), 1):
            field, _, kind = line.partition(" = ")
            _add(message, field, number, kind)
    return file


def _add(message: Any, name: str, number: int, written: str) -> None:
    mark, kind = (written[0], written[1:]) if written[0] in "*%?" else ("", written)
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if mark in ("*", "%"):
        field.label = _FIELD.LABEL_REPEATED
    if mark == "?":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if mark == "%":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, kind)
        kind = f"{message.name}.ParametersEntry"
    if kind in _KINDS:
        field.type = _KINDS[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".inference.{kind}"


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def message(name: str) -> Any:
    """The class of a message: ``message("ModelInferRequest")``."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))
