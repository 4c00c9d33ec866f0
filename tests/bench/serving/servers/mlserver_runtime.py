"""Owns a runtime for MLServer: its own ONNX runtime is not on PyPI. What is served is in `model-settings.json`."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from tests.bench.serving.servers.arguments import Arguments
from tests.bench.serving.servers.session import open_session


class OnnxModel(MLModel):
    """One ONNX file."""

    async def load(self) -> bool:
        """Open the session that `parameters.extra` declares."""
        self._arguments = Arguments.read(self.settings.parameters.extra["arguments"])
        self._session = open_session(self._arguments.graph, self._arguments.threads)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request, or one batch that MLServer has formed."""
        values = NumpyCodec.decode_input(payload.inputs[0])
        answer = self._session.run([self._arguments.output], {self._arguments.input: values})[0]
        outputs = [NumpyCodec.encode_output(self._arguments.output, answer)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
