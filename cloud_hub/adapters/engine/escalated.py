"""Owns finding the full model that a device escalates to, by the name that its edge pack gives: name@version."""

from typing import Final

from cloud_hub.errors import PackUnavailableError
from cloud_hub.serving.errors import ModelUnknownError, ModelUnloadedError, ServingFullError
from cloud_hub.serving.interface import InferenceServing, ModelDescription
from model_packs.manifest import PackRef

_PUBLISH: Final = "publish it on the hub with `cloud-hub packs publish LAYOUT`"


class EscalatedModels:
    """The models that devices escalate to; fills `cloud_hub.ports.FullModels`.

    Args:
        serving: The serving core.
    """

    def __init__(self, serving: InferenceServing) -> None:
        self._serving = serving

    def is_loaded(self, pack: str) -> bool:
        """Tell whether `find` would wait for nothing.

        Args:
            pack: What `find` has found before.

        Returns:
            False where it would load the model, or refuse.
        """
        ref = PackRef.parse(pack)
        return self._serving.resolve(ref.name, ref.version) is not None

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
            ref = PackRef.parse(pack)
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
