"""Owns a session that asks any OpenAI-compatible server (vLLM, llama.cpp, TGI) for text.

A pack takes one input, BYTES [-1]: a text a window. It gives two outputs: BYTES [-1], the answer, and FP32 [-1], how
sure the model was of it (`chat_server.py` says how that is told). The windows of a batch are asked one after another.
Where the server is comes from the configuration; which model is meant, from the pack (`remote_model.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_hub.adapters.remote.chat_server import ChatServer
from cloud_hub.adapters.remote.remote_model import RemoteModel
from cloud_hub.adapters.remote.remote_variant import RemoteVariant
from model_packs.engines.session import SessionFacts, check_inputs
from model_packs.errors import EngineError, TensorError
from model_packs.tensors import BYTES, DYNAMIC

ENGINE: Final = "openai"


class OpenAiSession:
    """A `Session` on a server of language models.

    Args:
        remote: The variant.
    """

    def __init__(self, remote: RemoteVariant) -> None:
        self._remote = remote
        self._manifest = remote.manifest
        self._model = RemoteModel("")
        self._server: ChatServer | None = None
        self._facts: SessionFacts | None = None

    @property
    def facts(self) -> SessionFacts:
        """Which server it asks; see `Session.facts`."""
        if self._facts is None:
            raise self._remote.not_open()
        return self._facts

    def open(self) -> None:
        """Ask the server whether it has the model; see `Session.open`.

        Raises:
            MissingEngineError: No server is configured for this pack.
            EngineError: The pack takes or gives no text, or the server does not answer or has no such model.
        """
        if self._facts is not None:
            return
        model = self._remote.model()
        name, config = self._remote.server()
        self._check_tensors()
        server = ChatServer(name, config, self._remote.root)
        try:
            server.open()
            has_model = server.has_model(model.model)
        except EngineError as error:
            raise self._remote.named(error) from error
        if not has_model:
            raise EngineError(
                f"{self._remote.name}: {config.address} has no model {model.model!r}",
                "load the model on the server, or correct the model in the pack",
            )
        self._model, self._server = model, server
        self._facts = self._remote.facts(f"{model.model} at {config.address}")

    def warm_up(self) -> None:
        """Ask for nothing: a server keeps its models warm itself, and may be paid by the call."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Ask once for each text; see `Session.run`.

        Raises:
            TensorError: The inputs are not the declared ones, or a text is not UTF-8.
            RunTimeoutError: A text had no answer within the server's deadline.
            EngineError: The session is not open, the server refuses, or its answer is none.
        """
        server = self._server
        if server is None:
            raise self._remote.not_open()
        check_inputs(self._manifest, inputs)
        texts = self._texts(inputs[self._manifest.inputs[0].name])
        try:
            answers = [server.complete(self._model, text) for text in texts]
        except EngineError as error:
            raise self._remote.named(error) from error
        said = np.empty(len(answers), dtype=np.object_)
        said[:] = [answer.text.encode() for answer in answers]
        sure = np.array([answer.confidence for answer in answers], dtype=np.float32)
        text, confidence = (spec.name for spec in self._manifest.outputs)
        return {text: said, confidence: sure}

    def close(self) -> None:
        """Forget the server; a second call does nothing."""
        self._server = None
        self._facts = None

    def _check_tensors(self) -> None:
        form = [[(spec.datatype, spec.shape) for spec in self._manifest.inputs]]
        form.append([(spec.datatype, spec.shape) for spec in self._manifest.outputs])
        if form != [[(BYTES, (DYNAMIC,))], [(BYTES, (DYNAMIC,)), ("FP32", (DYNAMIC,))]]:
            raise EngineError(
                f"{self._remote.name}: a pack on {ENGINE} takes one {BYTES} [-1] and gives {BYTES} [-1] and FP32 [-1]",
                "correct inputs and outputs in pack.toml, then build again",
            )

    def _texts(self, elements: NDArray[Any]) -> list[str]:
        texts = []
        for row, element in enumerate(elements.tolist()):
            try:
                texts.append(element if isinstance(element, str) else element.decode())
            except UnicodeDecodeError as error:
                name = self._manifest.inputs[0].name
                raise TensorError(f"{self._manifest.ref}: row {row} of input {name!r} is no UTF-8 text") from error
        return texts
