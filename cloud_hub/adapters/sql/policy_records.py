"""Owns the statements on how policies fare: promises of packs, a record for each policy version, and its tallies.

What changes a record is `core.monitoring.record`; when it is changed is `monitoring.py`.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud_hub.adapters.sql.device_keys import (
    AnyRow,
    AnySelect,
    belongs_to,
    by_site,
    columns,
    key_of,
    place,
    placed,
)
from cloud_hub.adapters.sql.schema import DEVICE_COLUMNS, pack_promise, policy_record, risk_tally
from cloud_hub.core.devices import DeviceKey
from cloud_hub.core.monitoring.evidence import Cusum
from cloud_hub.core.monitoring.promises import promise_document, read_promise
from cloud_hub.core.monitoring.rates import RateWatch
from cloud_hub.core.monitoring.record import PolicyKey, PolicyRecord, Stratum, TallyKey, Totals
from cloud_hub.core.monitoring.watch import Alarm, Measure, Promise, Tally

_PLACE = (*DEVICE_COLUMNS, "binding", "pack_digest", "policy_version")
_RECORD = select(policy_record).where(placed(policy_record, *_PLACE))
_TALLIES = select(risk_tally).where(placed(risk_tally, *_PLACE))
_NO_RECORD = delete(policy_record).where(placed(policy_record, *_PLACE))
_NO_TALLIES = delete(risk_tally).where(placed(risk_tally, *_PLACE))
_ADD_RECORD = insert(policy_record)
_ADD_TALLIES = insert(risk_tally)
_PROMISES = select(pack_promise).where(pack_promise.c.pack_digest.in_(bindparam("digests", expanding=True)))


async def keep_promise(connection: AsyncConnection, pack_digest: str, promise: Promise) -> None:
    """Note what the certificate of a pack says; a digest never says two things."""
    at = pack_promise.c.pack_digest == pack_digest
    await connection.execute(delete(pack_promise).where(at))
    text = json.dumps(promise_document(promise))
    await connection.execute(insert(pack_promise).values(pack_digest=pack_digest, promise=text))


async def promises_of_packs(connection: AsyncConnection, digests: Collection[str]) -> dict[str, Promise]:
    """What the certificates of packs say, by digest, as far as the hub knows."""
    rows = await connection.execute(_PROMISES, {"digests": list(digests)})
    return {row.pack_digest: read_promise(json.loads(row.promise)) for row in rows}


async def without_tallies(connection: AsyncConnection, devices: Iterable[DeviceKey]) -> dict[PolicyKey, PolicyRecord]:
    """The records of devices, all versions, as far as heartbeats change them: their tallies are not read."""
    found: dict[PolicyKey, PolicyRecord] = {}
    for condition in by_site(policy_record, devices):
        rows = await connection.execute(select(policy_record).where(condition))
        found |= {_key(row): read_record(row, ()) for row in rows}
    return found


async def save_without_tallies(
    connection: AsyncConnection, records: Sequence[PolicyRecord], known: Collection[PolicyKey]
) -> None:
    """Write records and leave their tallies as they are; `known` have a row already."""
    new = [_row(one) for one in records if one.key not in known]
    changed = [_row(one) for one in records if one.key in known]
    if new:
        await connection.execute(insert(policy_record), new)
    if changed:
        names = _place(records[0].key)
        at = [policy_record.c[name] == bindparam(f"at_{name}") for name in names]
        fields: dict[str, BindParameter[Any]] = {name: bindparam(name) for name in changed[0] if name not in names}
        rows = [{f"at_{name}" if name in names else name: value for name, value in row.items()} for row in changed]
        await connection.execute(update(policy_record).where(*at).values(fields), rows)


async def find(connection: AsyncConnection, key: PolicyKey) -> PolicyRecord | None:
    """The record of one policy version; None when the hub has not heard of it."""
    at = place(_place(key))
    row = (await connection.execute(_RECORD, at)).first()
    if row is None:
        return None
    tallies = (await connection.execute(_TALLIES, at)).all()
    return read_record(row, tallies)


async def newest_version(connection: AsyncConnection, device: DeviceKey, binding: str) -> int:
    """The newest policy version that a device ever reported for a binding, or decided by; 0: none."""
    query = select(func.max(policy_record.c.policy_version))
    found = await connection.execute(query.where(belongs_to(policy_record, device), policy_record.c.binding == binding))
    return found.scalar_one() or 0


async def save(connection: AsyncConnection, record: PolicyRecord) -> None:
    """Replace a record and its tallies."""
    at = place(_place(record.key))
    await connection.execute(_NO_TALLIES, at)
    await connection.execute(_NO_RECORD, at)
    await connection.execute(_ADD_RECORD, _row(record))
    tallies = [_tally_row(record.key, at_tally, tally) for at_tally, tally in record.tallies.items()]
    if tallies:
        await connection.execute(_ADD_TALLIES, tallies)


def select_records(device: DeviceKey | None) -> AnySelect:
    """Records of one device or of all, the newest version of a binding first."""
    query = select(policy_record).order_by(
        policy_record.c.site_id, policy_record.c.device_id, policy_record.c.binding, policy_record.c.since_ns.desc()
    )
    return query if device is None else query.where(belongs_to(policy_record, device))


def select_tallies(device: DeviceKey | None) -> AnySelect:
    """Tallies of one device or of all."""
    query = select(risk_tally)
    return query if device is None else query.where(belongs_to(risk_tally, device))


def read_records(rows: Iterable[AnyRow], tallies: Iterable[AnyRow]) -> tuple[PolicyRecord, ...]:
    """What the rows of `select_records` and `select_tallies` say together."""
    of_record: dict[PolicyKey, list[AnyRow]] = {}
    for row in tallies:
        of_record.setdefault(_key(row), []).append(row)
    return tuple(read_record(row, of_record.get(_key(row), ())) for row in rows)


def read_record(row: AnyRow, tallies: Iterable[AnyRow]) -> PolicyRecord:
    """What a row says, with its tallies."""
    rates = json.loads(row.rates)
    return PolicyRecord(
        key=_key(row),
        pack=row.pack,
        since_ns=row.since_ns,
        threshold=row.threshold,
        promise=None if row.promise is None else read_promise(json.loads(row.promise)),
        audit_rate=row.audit_rate,
        totals=Totals(**json.loads(row.totals)),
        rates=RateWatch(rates["windows"], rates["escalated"], _cusum(rates["up"]), _cusum(rates["down"])),
        tallies={
            TallyKey(Measure(one.measure), Stratum(one.stratum), one.risk_group): Tally(
                one.n, one.losses, _cusum(json.loads(one.cusum)), one.refuted_at_ns, one.changed_at_ns
            )
            for one in tallies
        },
        alarms={Alarm(name): at_ns for name, at_ns in json.loads(row.alarms).items()},
        reported_at_ns=row.reported_at_ns,
    )


def _row(record: PolicyRecord) -> dict[str, Any]:
    rates = record.rates
    return {
        **_place(record.key),
        "pack": record.pack,
        "since_ns": record.since_ns,
        "threshold": record.threshold,
        "audit_rate": record.audit_rate,
        "promise": None if record.promise is None else json.dumps(promise_document(record.promise)),
        "totals": json.dumps(asdict(record.totals)),
        "rates": json.dumps(
            {
                "windows": rates.windows,
                "escalated": rates.escalated,
                "up": list(rates.up.logs),
                "down": list(rates.down.logs),
            }
        ),
        "alarms": json.dumps({alarm.value: at_ns for alarm, at_ns in record.alarms.items()}),
        "reported_at_ns": record.reported_at_ns,
    }


def _tally_row(key: PolicyKey, at: TallyKey, tally: Tally) -> dict[str, Any]:
    return {
        **_place(key),
        "measure": at.measure.value,
        "stratum": at.stratum.value,
        "risk_group": at.group,
        "n": tally.n,
        "losses": tally.losses,
        "cusum": json.dumps(list(tally.cusum.logs)),
        "refuted_at_ns": tally.refuted_at_ns,
        "changed_at_ns": tally.changed_at_ns,
    }


def _cusum(logs: Sequence[float]) -> Cusum:
    return Cusum(tuple(logs))


def _key(row: AnyRow) -> PolicyKey:
    return PolicyKey(key_of(row), row.binding, row.pack_digest, row.policy_version)


def _place(key: PolicyKey) -> dict[str, str | int]:
    return {
        **columns(key.device),
        "binding": key.binding,
        "pack_digest": key.pack_digest,
        "policy_version": key.version,
    }
