"""Owns the doctor's look at who can log in to the console."""

import asyncio
from collections.abc import Iterator

from cloud_hub.adapters.sql import database
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.config import HubConfig
from cloud_hub.core.people import Person, Role
from cloud_hub.errors import StorageError
from cloud_hub.examination.findings import Finding, ok, warning
from cloud_hub.ports import Clock


def examine_people(config: HubConfig, clock: Clock) -> Iterator[Finding]:
    """See whether anybody can log in; must not be called inside an event loop.

    Args:
        config: Names the database.
        clock: Wall clock.

    Yields:
        What was found; nothing while the database cannot be read (`examine_database` says so).
    """
    try:
        people = asyncio.run(_people(config, clock))
    except StorageError:
        return
    name = "people"
    operators = [person.name for person in people if person.role is Role.OPERATOR]
    mend = "let somebody in: cloud-hub people add NAME --role operator"
    if not people:
        yield warning(name, "nobody can log in to the console", mend)
    elif not operators:
        yield warning(name, "nobody who can log in may change anything", mend)
    else:
        yield ok(name, f"{len(people)} can log in, {len(operators)} of them as operator")


async def _people(config: HubConfig, clock: Clock) -> tuple[Person, ...]:
    store = SqlStore(database.make_engine(config.database), clock)
    try:
        await store.open()
        return await store.people()
    finally:
        await store.close()
