"""Owns a small Open Inference Protocol server: one linear model behind a real gRPC port, with faults on demand."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from model_packs.tensors import Tensor, TensorSpec
from protos.oip.methods import METHODS, SERVICE
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

NAME, VERSION, MODEL = "somebodys-server", "3.1", "linear"


class OipModelServer:
    """A server of one model: logits = flatten(window) · weights.

    Args:
        weights: FP32 [values of a window, labels].
        inputs: What its metadata says it takes; none: it describes no tensors.
        outputs: What its metadata says it gives.
    """

    def __init__(
        self, weights: NDArray[np.float32], inputs: Sequence[TensorSpec] = (), outputs: Sequence[TensorSpec] = ()
    ) -> None:
        self.weights = weights
        self.inputs = inputs
        self.outputs = outputs
        self.asked: list[pb.ModelInferRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.spoil: Callable[[pb.ModelInferResponse], None] = lambda _: None
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()

    @contextmanager
    def running(self, credentials: grpc.ServerCredentials | None = None) -> Iterator[int]:
        """Serve on a free port of 127.0.0.1; gives the port."""
        server = grpc.server(ThreadPoolExecutor(4))
        behaviours: dict[str, Callable[..., Any]] = {
            "ServerMetadata": self._greet,
            "ModelMetadata": self._describe,
            "ModelInfer": self._infer,
        }
        known = {method.name: method for method in METHODS}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                behaviour, known[name].request.FromString, known[name].response.SerializeToString
            )
            for name, behaviour in behaviours.items()
        }
        server.add_registered_method_handlers(SERVICE, handlers)
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        try:
            yield port
        finally:
            self.may_answer.set()
            server.stop(None).wait()

    def _greet(self, _request: pb.ServerMetadataRequest, _context: object) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name=NAME, version=VERSION)

    def _describe(self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext) -> pb.ModelMetadataResponse:
        if request.name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}")
        tensors = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=MODEL,
            versions=["1"],
            inputs=[tensors(name=one.name, datatype=one.datatype, shape=one.shape) for one in self.inputs],
            outputs=[tensors(name=one.name, datatype=one.datatype, shape=one.shape) for one in self.outputs],
        )

    def _infer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        self.asked.append(request)
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        assert self.may_answer.wait(60), "the test never let the server answer"
        if self.refusal is not None:
            context.abort(*self.refusal)
        head = request.inputs[0]
        window: Any = Tensor(head.name, head.datatype, tuple(head.shape), request.raw_input_contents[0]).to_array()
        logits = Tensor.from_array("logits", window.reshape(len(window), -1) @ self.weights)
        answer = pb.ModelInferResponse(
            model_name=MODEL,
            outputs=[pb.ModelInferResponse.InferOutputTensor(name="logits", datatype="FP32", shape=logits.shape)],
            raw_output_contents=[logits.data],
        )
        self.spoil(answer)
        return answer
