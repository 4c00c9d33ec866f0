"""Owns a LitServe server on one ONNX file. It takes JSON only: numbers, or the bytes of the tensor as base64."""

import base64

import litserve
import numpy as np
from numpy.typing import NDArray

from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session


class OnnxApi(litserve.LitAPI):
    """One ONNX file."""

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(max_batch_size=arguments.batch, batch_timeout=0.001)
        self._arguments = arguments
        self._batches = arguments.batch > 1

    def setup(self, device: str) -> None:
        """Open the session in the worker process."""
        del device
        self._session = open_session(self._arguments.graph, self._arguments.threads)

    def decode_request(self, request: dict[str, object]) -> NDArray[np.float32]:
        """One input: float32 without the batch."""
        if "b64" in request:
            values = np.frombuffer(base64.b64decode(str(request["b64"])), np.float32)
            return values.reshape(request["shape"])
        return np.array(request["values"], np.float32)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer one input, or a stack of them."""
        values = x if self._batches else x[None]
        answer: NDArray[np.float32] = self._session.run([self._arguments.output], {self._arguments.input: values})[0]
        return answer if self._batches else answer[0]

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, object]:
        """One answer."""
        return {"values": output.tolist()}


def main() -> None:
    """Serve."""
    arguments = Arguments.read()
    server = litserve.LitServer(OnnxApi(arguments), accelerator="cpu", workers_per_device=1)
    server.run(
        port=arguments.http_port,
        host="127.0.0.1",
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
