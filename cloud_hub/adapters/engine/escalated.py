"""Owns finding the full model that a device escalates to, by the name that its edge pack gives: name@version."""

from functools import lru_cache
from typing import Final

from cloud_hub.errors import PackUnavailableError
from cloud_hub.serving.errors import ModelUnknownError, ModelUnloadedError, ServingFullError
from cloud_hub.serving.interface import InferenceServing, ModelDescription
from model_packs.manifest import PackRef

_parsed = lru_cache(maxsize=256)(PackRef.parse)  # devices ask for the same few packs all the time
_PUBLISH: Final = "publish it on the hub with `cloud-hub packs publish LAYOUT`"


class EscalatedModels:
    """The models that devices escalate to; fills `cloud_hub.ports.FullModels`.

    Args:
        serving: The serving core.
    """

    def __init__(self, serving: InferenceServing) -> None:
        self._serving = serving

    def loaded(self, pack: str) -> ModelDescription | None:
        """Find a pack's model by look-ups only.

        Args:
            pack: name@version, as a device says it.

        Returns:
            What to give to `InferenceServing.infer`; None where `find` would load the model, or refuse.
        """
        try:
            ref = _parsed(pack)
        except ValueError:
            return None
        return self._serving.resolve(ref.name, ref.version)

    async def find(self, pack: str) -> ModelDescription:
        """Find a pack's model, loading it where it is not loaded.

        Args:
            pack: name@version, as a device says it.

        Returns:
            What to give to `InferenceServing.infer`.

        Raises:
            PackUnavailableError: There is none, or it cannot be loaded now.
        """
        try:
            ref = _parsed(pack)
        except ValueError as error:
            raise PackUnavailableError(pack, str(error), "name the hub pack as name@version") from error
        found = self._serving.resolve(ref.name, ref.version)
        if found is not None:
            return found
        try:
            return await self._serving.find(ref.name, ref.version)
        except ModelUnknownError as error:
            raise PackUnavailableError(pack, "it is not published here as a hub pack", _PUBLISH) from error
        except (ModelUnloadedError, ServingFullError) as error:
            raise PackUnavailableError(pack, "it is not loaded", str(error)) from error
