"""Owns a BentoML service on one ONNX file. It takes JSON only: numbers, or the bytes of the tensor as base64."""

import base64
import os

import bentoml
import numpy as np

from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session

ARGUMENTS_VARIABLE = "BENCH_SERVER_ARGUMENTS"


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000}, logging={"access": {"enabled": False}})
class OnnxService:
    """One ONNX file; `bentoml serve` imports this, so the arguments come by the environment."""

    def __init__(self) -> None:
        self._arguments = Arguments.read(os.environ[ARGUMENTS_VARIABLE].split("\n"))
        self._session = open_session(self._arguments.graph, self._arguments.threads)

    @bentoml.api
    def predict(
        self, values: list[float] | None = None, b64: str | None = None, shape: list[int] | None = None
    ) -> dict[str, list[float]]:
        """Answer one input."""
        inputs = np.array(values, np.float32) if b64 is None else np.frombuffer(base64.b64decode(b64), np.float32)
        batch = inputs.reshape(1, *(shape or inputs.shape))
        answer = self._session.run([self._arguments.output], {self._arguments.input: batch})[0]
        return {"values": answer[0].tolist()}
