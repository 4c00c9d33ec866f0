"""Owns one inference between the protocol's codecs and the serving core, the same for gRPC and REST.

Which model answers, its codecs, how urgent a request is and until when it counts, and what the answer's parameters say.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from numpy.typing import NDArray

from cloud_hub.serving.interface import Caller, InferenceServing, Inferred, ModelDescription
from model_packs.outputs import Classification
from protos.messages.inference import Tier
from protos.oip.grpc_codec import GrpcCodec
from protos.oip.model import OipModel
from protos.oip.parameters import priority_of, timeout_s
from protos.oip.quick_forms import Pieces
from protos.oip.rest_codec import RestCodec
from protos.oip.signature import Parameter, Signature

NO_PARAMETERS: Final[Mapping[str, Parameter]] = {}

_MAX_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the protocol shows it, with the codecs of its requests."""

    description: ModelDescription
    model: OipModel
    grpc: GrpcCodec
    rest: RestCodec
    pieces: Pieces


class Inference:
    """Answers the protocol's inferences.

    Args:
        serving: Runs the models.
    """

    def __init__(self, serving: InferenceServing) -> None:
        self._serving = serving
        self._served: dict[ModelDescription, Served] = {}

    async def find(self, name: str, version: str, key: str) -> Served:
        """Find the model for a request, loading it where it is not loaded.

        Args:
            name: What the caller calls it.
            version: A version; empty for the default.
            key: Chooses among the targets of a weighted route.

        Returns:
            The model.

        Raises:
            HubError: As for `InferenceServing.find`.
        """
        description = self._serving.resolve(name, version, key) or await self._serving.find(name, version, key)
        return self._served.get(description) or self._keep(description)

    async def run(
        self,
        served: Served,
        inputs: dict[str, NDArray[Any]],
        parameters: Mapping[str, Parameter],
        *,
        caller: Caller,
        remaining_s: float | None = None,
    ) -> Inferred:
        """Answer a request.

        Args:
            served: The model.
            inputs: One array per declared input, checked.
            parameters: Of the request.
            caller: Who asks.
            remaining_s: Until the caller gives up; None: it waits.

        Returns:
            The answer, scored where the request holds one window.

        Raises:
            TensorError: A parameter is none.
            HubError: As for `InferenceServing.infer`.
        """
        priority = 0
        if parameters:
            priority, limit_s = priority_of(parameters), timeout_s(parameters)
            if limit_s is not None:
                remaining_s = limit_s if remaining_s is None else min(limit_s, remaining_s)
        return await self._serving.infer(
            served.description,
            inputs,
            caller=caller,
            deadline_s=None if remaining_s is None else asyncio.get_running_loop().time() + remaining_s,
            priority=priority,
            is_scored=all(len(array) == 1 for array in inputs.values()),
        )

    def _keep(self, description: ModelDescription) -> Served:
        if len(self._served) >= _MAX_KEPT:
            self._served.clear()
        signature = Signature(shown(description))
        served = Served(description, signature.model, GrpcCodec(signature), RestCodec(signature), Pieces(signature))
        self._served[description] = served
        return served


def shown(description: ModelDescription) -> OipModel:
    """Show a served model as the protocol does.

    Args:
        description: The model.

    Returns:
        Its name and version are the served ones; those of a route or an ensemble may be other than its pack's.
    """
    model = OipModel.of_pack(description.manifest, digest=description.digest, name=description.name)
    return replace(model, version=description.version)


def answer_parameters(inferred: Inferred) -> dict[str, Parameter]:
    """Say what the hub makes of one window: the tier, and its label and confidence where the pack's task has them.

    Args:
        inferred: The answer.

    Returns:
        The parameters of the response.
    """
    parameters: dict[str, Parameter] = {"tier": Tier.HUB.value}
    if inferred.scored:
        said = inferred.scored[0]
        parameters["confidence"] = said.confidence
        if isinstance(said.output, Classification):
            parameters["label"] = said.output.label
        if said.unscorable is not None:
            parameters["reason"] = said.unscorable
    return parameters
