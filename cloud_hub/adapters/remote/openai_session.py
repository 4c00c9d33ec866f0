"""Owns a session that asks any OpenAI-compatible server (vLLM, llama.cpp, TGI) for text.

A pack takes one input, BYTES [-1]: a text a window. It gives two outputs: BYTES [-1], the answer, and FP32 [-1], how
sure the model was of it (`chat_server.py` says how that is told). The windows of a batch are asked one after another.
Where the server is comes from the configuration; which model is meant, from the pack (`remote_model.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud_hub.adapters.remote.chat_server import ChatServer
from cloud_hub.adapters.remote.remote_model import RemoteModel, read_remote_model, server_for
from cloud_hub.model_servers import ModelServerConfig
from model_packs.engines.graph_file import name_of, read_file
from model_packs.engines.options import EngineOptions
from model_packs.engines.session import REMOTE, SessionFacts, check_inputs
from model_packs.errors import EngineError, TensorError
from model_packs.manifest import PackManifest, Variant
from model_packs.tensors import BYTES, DYNAMIC

ENGINE: Final = "openai"


class OpenAiSession:
    """A `Session` on a server of language models.

    Args:
        manifest: The pack.
        variant: The variant; its file names the model.
        file: Where that file lies.
        options: What the program decided.
        servers: The configured model servers, by name.
        root: Folder that the configuration's paths are relative to.
    """

    def __init__(
        self,
        manifest: PackManifest,
        variant: Variant,
        file: Path,
        options: EngineOptions,
        *,
        servers: Mapping[str, ModelServerConfig],
        root: Path,
    ) -> None:
        self._manifest = manifest
        self._variant = variant
        self._file = file
        self._options = options
        self._servers = servers
        self._root = root
        self._model = RemoteModel("")
        self._server: ChatServer | None = None
        self._facts: SessionFacts | None = None

    @property
    def facts(self) -> SessionFacts:
        """Which server it asks; see `Session.facts`."""
        if self._facts is None:
            raise self._closed()
        return self._facts

    def open(self) -> None:
        """Ask the server whether it has the model; see `Session.open`.

        Raises:
            MissingEngineError: No server is configured for this pack.
            EngineError: The pack takes or gives no text, or the server does not answer or has no such model.
        """
        if self._facts is not None:
            return
        data = read_file(self._manifest, self._variant, self._file)
        model = read_remote_model(self._manifest, self._variant, data)
        name, config = server_for(self._servers, ENGINE, self._manifest)
        self._check_tensors()
        server = ChatServer(name, config, self._root)
        try:
            server.open()
            has_model = server.has_model(model.model)
        except EngineError as error:
            raise self._named(error) from error
        if not has_model:
            raise EngineError(
                f"{self._name()}: {config.address} has no model {model.model!r}",
                "load the model on the server, or correct the model in the pack",
            )
        self._model, self._server = model, server
        self._facts = SessionFacts(
            engine=ENGINE,
            engine_version=f"{model.model} at {config.address}",
            provider=REMOTE,
            variant=self._variant.id,
            precision=self._variant.precision,
            graph_digest=self._variant.graph_digest,
            threads=1,
            passed_over=self._options.passed_over,
        )

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
            raise self._closed()
        check_inputs(self._manifest, inputs)
        texts = self._texts(inputs[self._manifest.inputs[0].name])
        try:
            answers = [server.complete(self._model, text) for text in texts]
        except EngineError as error:
            raise self._named(error) from error
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
                f"{self._name()}: a pack on {ENGINE} takes one {BYTES} [-1] and gives {BYTES} [-1] and FP32 [-1]",
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

    def _named(self, error: EngineError) -> EngineError:
        return type(error)(f"{self._name()}: {error.reason}", error.mend)

    def _name(self) -> str:
        return name_of(self._manifest, self._variant)

    def _closed(self) -> EngineError:
        return EngineError(f"{self._name()}: the session is not open", "call open() first")
