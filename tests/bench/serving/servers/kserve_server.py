"""Owns a KServe model server on one ONNX file; its log of every call is switched off."""

import logging

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session


class OnnxModel(Model):
    """One ONNX file."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(arguments.name)
        self._arguments = arguments
        self._session = open_session(arguments.graph, arguments.threads)
        self.ready = True

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None, **_: object) -> InferResponse:
        """Answer one request."""
        del headers
        values = payload.inputs[0].as_numpy()
        answer = self._session.run([self._arguments.output], {self._arguments.input: values})[0]
        output = InferOutput(self._arguments.output, list(answer.shape), "FP32")
        output.set_data_from_numpy(answer, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


def main() -> None:
    """Serve."""
    arguments = Arguments.read()
    server = ModelServer(
        http_port=arguments.http_port, grpc_port=arguments.grpc_port, workers=1, enable_latency_logging=False
    )
    for name in ("kserve", "kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([OnnxModel(arguments)])


if __name__ == "__main__":
    main()
