"""Owns telling the database what the certificates of published packs promise: audits are tested against it at once."""

from cloud_hub.core.monitoring.promises import promise_of
from cloud_hub.ports import PackFacts, PackShelf, PolicyBook


async def note_promises(shelf: PackShelf, book: PolicyBook) -> None:
    """Note what every readable pack of the shelf promises; one without a certificate promises nothing.

    Args:
        shelf: The published packs.
        book: Where promises are kept.

    Raises:
        StorageError: The pack store or the database cannot be used.
    """
    promises = {
        pack.digest: promise
        for pack in await shelf.packs()
        if isinstance(pack, PackFacts) and (promise := promise_of(pack.certificate)) is not None
    }
    await book.keep_promises(promises)
