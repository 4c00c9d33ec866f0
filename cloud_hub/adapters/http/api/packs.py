"""Owns the API's operations on published packs. Publishing is for who has the hub's shell."""

from collections.abc import Sequence
from http import HTTPStatus

from cloud_hub.adapters.http.api import documents
from cloud_hub.adapters.http.api.operations import Call, Operation, Result
from cloud_hub.adapters.http.views import WebParts
from cloud_hub.errors import PackNotFoundError
from cloud_hub.ports import PackFacts
from model_packs.manifest import PackRef


class PackOperations:
    """What the API offers about packs.

    Args:
        parts: What it is made of.
    """

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts

    def table(self) -> Sequence[Operation]:
        """List them."""
        return (
            Operation("GET", "/packs", "listPacks", "The published packs.", self._packs, "PublishedPacks"),
            Operation(
                "GET",
                "/packs/{name}/{version}",
                "getPack",
                "One published pack with its card and certificate.",
                self._pack,
                "PublishedPack",
                refusals={HTTPStatus.NOT_FOUND: "No such pack, or it is damaged."},
            ),
        )

    async def _packs(self, _call: Call) -> Result:
        return documents.packs(await self._parts.shelf.packs())

    async def _pack(self, call: Call) -> Result:
        text = f"{call.path['name']}@{call.path['version']}"
        try:
            ref = PackRef.parse(text)
        except ValueError as error:
            raise PackNotFoundError(text) from error
        facts = await self._parts.shelf.pack(ref)
        if not isinstance(facts, PackFacts):
            raise PackNotFoundError(text)
        return documents.pack(facts)
