"""Owns the people of a hub under test: added straight to its database, with a password that is quick to compare."""

import time

from cloud_hub.adapters.passwords.argon2id import Argon2Hasher
from cloud_hub.adapters.sql.store import SqlStore
from cloud_hub.commands.opened_store import with_store
from cloud_hub.config import HubConfig
from cloud_hub.core.people import Person, Role

PASSWORD = "correct horse battery"  # noqa: S105 - of people that only tests know


def quick_hasher() -> Argon2Hasher:
    """Hashes at the least cost that argon2 allows; what it made is as quick to compare."""
    return Argon2Hasher(time_cost=1, memory_kib=8, lanes=1)


def add_person(config: HubConfig, name: str, role: Role) -> str:
    """Let somebody log in with ``PASSWORD``; returns an API token. Call it outside of an event loop."""

    async def work(store: SqlStore) -> str:
        now_ns = time.time_ns()
        await store.add_person(Person(name, role, now_ns), await quick_hasher().hash(PASSWORD), actor="test")
        return await store.open_api_token(name, actor="test", now_ns=now_ns)

    return with_store(config, work)
