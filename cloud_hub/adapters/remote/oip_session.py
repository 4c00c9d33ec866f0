"""Owns a session that asks any Open Inference Protocol v2 server (Triton, KServe, MLServer, another hub) over gRPC.

What the server says is checked like any peer's bytes. Where it is comes from the configuration (`oip_server.py`); which
model is meant, from the pack (`remote_model.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from cloud_hub.adapters.remote.oip_server import OipServer
from cloud_hub.adapters.remote.remote_model import RemoteModel
from cloud_hub.adapters.remote.remote_variant import RemoteVariant
from model_packs.engines.graph_file import check_io
from model_packs.engines.session import SessionFacts, check_inputs, zero_inputs
from model_packs.errors import EngineError, TensorError
from model_packs.manifest import PackManifest
from model_packs.tensors import Tensor, TensorSpec
from protos.tandem.oip.v2 import grpc_service_pb2 as pb

ENGINE: Final = "oip"


class OipSession:
    """A `Session` on another server's model.

    Args:
        remote: The variant.
    """

    def __init__(self, remote: RemoteVariant) -> None:
        self._remote = remote
        self._manifest = remote.manifest
        self._model = RemoteModel("")
        self._server: OipServer | None = None
        self._facts: SessionFacts | None = None

    @property
    def facts(self) -> SessionFacts:
        """Which server it asks; see `Session.facts`."""
        if self._facts is None:
            raise self._remote.not_open()
        return self._facts

    def open(self) -> None:
        """Ask the server for its model and compare it with the manifest; see `Session.open`.

        Raises:
            MissingEngineError: No server is configured for this pack.
            EngineError: The server does not answer, has no such model, or a different one.
        """
        if self._facts is not None:
            return
        self._model = self._remote.model()
        server = OipServer(*self._remote.server(), self._remote.root)
        try:
            server.open()
            self._compare(server)
            said = self._ask(server, "ServerMetadata", pb.ServerMetadataRequest())
        except EngineError:
            server.close()
            raise
        self._server = server
        self._facts = self._remote.facts(f"{said.name} {said.version} at {server.address}".strip())

    def warm_up(self) -> None:
        """Ask for one window and the largest batch; see `Session.warm_up`."""
        for n_windows in sorted({1, self._manifest.max_batch}):
            self.run(zero_inputs(self._manifest, n_windows))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask once; see `Session.run`.

        Raises:
            TensorError: The inputs are not the declared ones.
            RunTimeoutError: No answer came within the server's deadline.
            EngineError: The session is not open, the server refuses, or its answer is not the declared one.
        """
        server = self._server
        if server is None:
            raise self._remote.not_open()
        check_inputs(self._manifest, inputs)
        tensors = [Tensor.from_array(spec.name, inputs[spec.name]) for spec in self._manifest.inputs]
        answer = self._ask(server, "ModelInfer", self._request(tensors))
        try:
            return _read(self._manifest, answer, tensors[0].shape[0])
        except TensorError as error:
            raise EngineError(
                f"{self._remote.name}: {server.address} answered wrongly: {error}",
                "compare the pack's outputs with the model that the server has loaded",
            ) from error

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        server, self._server, self._facts = self._server, None, None
        if server is not None:
            server.close()

    def _compare(self, server: OipServer) -> None:
        """Some servers describe no tensors; then the first run, at warm-up, is the comparison."""
        request = pb.ModelMetadataRequest(name=self._model.model, version=self._model.version)
        said = self._ask(server, "ModelMetadata", request)
        inputs, outputs = (
            [TensorSpec(one.name, one.datatype, tuple(one.shape)) for one in tensors]
            for tensors in (said.inputs, said.outputs)
        )
        if inputs or outputs:
            check_io(self._manifest, self._remote.variant, inputs, outputs)

    def _request(self, tensors: list[Tensor]) -> pb.ModelInferRequest:
        return pb.ModelInferRequest(
            model_name=self._model.model,
            model_version=self._model.version,
            inputs=[
                pb.ModelInferRequest.InferInputTensor(name=one.name, datatype=one.datatype, shape=one.shape)
                for one in tensors
            ],
            outputs=[
                pb.ModelInferRequest.InferRequestedOutputTensor(name=spec.name) for spec in self._manifest.outputs
            ],
            raw_input_contents=[one.data for one in tensors],
        )

    def _ask(self, server: OipServer, method: str, request: Any) -> Any:  # noqa: ANN401 - generated messages
        try:
            return server.ask(method, request)
        except EngineError as error:
            raise self._remote.named(error) from error


def _read(manifest: PackManifest, answer: pb.ModelInferResponse, n_windows: int) -> dict[str, NDArray[Any]]:
    """The declared outputs of an untrusted answer; raises TensorError."""
    if len(answer.raw_output_contents) != len(answer.outputs):
        found = f"{len(answer.outputs)} outputs with {len(answer.raw_output_contents)} raw_output_contents"
        raise TensorError(f"{found}; a raw request is answered raw")
    contents = {head.name: (head, data) for head, data in zip(answer.outputs, answer.raw_output_contents, strict=True)}
    arrays: dict[str, NDArray[Any]] = {}
    for spec in manifest.outputs:
        if spec.name not in contents:
            raise TensorError(f"output {spec.name!r} is missing")
        head, data = contents[spec.name]
        if wrong := spec.mismatch(head.datatype, tuple(head.shape)):
            raise TensorError(wrong)
        if head.shape[0] != n_windows:
            raise TensorError(f"output {spec.name!r} has {head.shape[0]} rows for {n_windows} windows")
        arrays[spec.name] = Tensor(head.name, head.datatype, tuple(head.shape), data).to_array()
    return arrays
