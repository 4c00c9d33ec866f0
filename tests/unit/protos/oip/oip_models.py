"""Owns models and requests for the tests of the protocol's codecs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_packs.tensors import TensorSpec, datatype_of, raw_from_elements
from protos.oip.model import OipModel
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

MODEL = OipModel(
    name="press",
    version="2.0.0",
    platform="onnxruntime_onnx",
    inputs=(TensorSpec("x", "FP32", (-1, 4)),),
    outputs=(TensorSpec("logits", "FP32", (-1, 2)), TensorSpec("sure", "FP32", (-1,))),
    max_batch=8,
    properties={"pack": "press-edge@2.0.0", "digest": "sha256:00", "task": "classification"},
)


def taking(*inputs: TensorSpec) -> OipModel:
    """A model with these inputs, which are its outputs, too."""
    return OipModel("other", "1.0.0", "onnxruntime_onnx", inputs, inputs, max_batch=8, properties={})


def raw_bytes(array: NDArray[Any]) -> bytes:
    """An array as the protocol's raw bytes."""
    return raw_from_elements(array.ravel().tolist()) if array.dtype.hasobject else array.tobytes()


def raw_request(*wanted: str, **tensors: NDArray[Any]) -> pb.ModelInferRequest:
    """A request as tritonclient sends it: raw bytes beside names, datatypes and shapes."""
    request = pb.ModelInferRequest(model_name=MODEL.name, id="7")
    for name, array in tensors.items():
        request.inputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        request.raw_input_contents.append(raw_bytes(array))
    for name in wanted:
        request.outputs.add(name=name)
    return request


def rows(n: int = 1) -> NDArray[np.float32]:
    """Rows that fit `MODEL`."""
    return np.arange(4 * n, dtype=np.float32).reshape(n, 4)
