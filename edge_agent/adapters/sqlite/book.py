"""Owns the store as the escalation link sees it: what to send, and what becomes of what the hub says.

Implements `EscalationBook`. Every method that changes state returns after the commit. What a power cut may take back,
since it would only be sent once more, does not wait for the disk.
"""

import logging
import threading
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from edge_agent.adapters.sqlite.age import Stamp
from edge_agent.adapters.sqlite.fates import Fates
from edge_agent.adapters.sqlite.outbox import HUB, RowState
from edge_agent.adapters.sqlite.reading import Read, Reader
from edge_agent.adapters.sqlite.transaction import Transaction
from edge_agent.adapters.sqlite.writer import Writer
from edge_agent.core.durability import Durability
from edge_agent.core.escalation import Move
from edge_agent.core.outbox import Turns
from edge_agent.errors import StoreError
from edge_agent.ports import Clock, ItemKey, RowId
from protos.codec.escalation import escalation_from_bytes
from protos.messages.escalation import (
    Ack,
    Hello,
    HubIncarnation,
    Item,
    ItemClass,
    PredictionId,
    Reject,
    StoreId,
    Verdict,
    Welcome,
)
from protos.status import TABLE, Retry, Status

STORE_ID = "store_id"
HUB_INCARNATION = "hub_incarnation"
VERDICT_CURSOR = "verdict_cursor"

_HUB_CLASSES = (ItemClass.ESCALATION, ItemClass.AUDIT)
_MIN_HOLD_S = 1.0
_UNTIL_FIXED_HOLD_S = 30.0
_MAX_MESSAGE_CHARS = 500  # a peer wrote it

logger = logging.getLogger(__name__)


def new_store_id() -> str:
    """A fresh identity for what the outbox numbers."""
    return str(uuid.uuid4())


class Book:
    """The escalation book on edge.db.

    Args:
        writer: Commits changes.
        reader: Reads what is committed.
        fates: The moves.
        clock: For ages and hold-backs.
        agent_version: Said in `Hello`.
        turns: Whose turn it is, among the classes.
    """

    def __init__(
        self, writer: Writer, reader: Reader, fates: Fates, clock: Clock, agent_version: str, *, turns: Turns
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._fates = fates
        self._clock = clock
        self._agent_version = agent_version
        self._turns = turns
        self._unstored: int | None = None  # the verdict that is being stored, or could not be
        self._changed = threading.Condition()
        self._has_news = True
        self._held_until_s: dict[tuple[ItemClass, int], float] = {}

    def hello(self) -> Hello:
        """What to say first on a new stream."""
        with self._reader.transaction() as read:
            highest = dict(read("SELECT class, last FROM sequence"))
            incarnation = _meta(read("SELECT value FROM meta WHERE name = ?", HUB_INCARNATION))
            return Hello(
                store_id=StoreId(_meta(read("SELECT value FROM meta WHERE name = ?", STORE_ID))),
                highest=tuple((c, highest[c]) for c in _HUB_CLASSES if c in highest),
                verdict_cursor=int(_meta(read("SELECT value FROM meta WHERE name = ?", VERDICT_CURSOR)) or 0),
                hub_incarnation=HubIncarnation(incarnation) if incarnation else None,
                agent_version=self._agent_version,
            )

    def welcomed(self, welcome: Welcome) -> bool:
        """Remember the hub; what was sent and not acked, or acked to an earlier incarnation, is queued again."""
        known = self._writer.call(lambda tx: self._welcomed(tx, welcome))
        with self._changed:
            self._held_until_s.clear()
        self.wake()
        return known

    def next_items(self, limit: int, in_flight: frozenset[ItemKey]) -> list[Item]:
        """Committed items that wait for the hub, without those in flight: classes in turn, the newest of each first."""
        now, now_s = Stamp.now(self._clock), self._clock.monotonic_s()
        with self._changed:
            held_until_s = {key: until_s for key, until_s in self._held_until_s.items() if until_s > now_s}
            self._held_until_s = dict(held_until_s)
        with self._reader.transaction() as read:
            low_water = {c: _low_water(read, c) for c in _HUB_CLASSES}
            skipped = in_flight | held_until_s.keys()
            waiting = {one: _waiting(read, one, skipped, limit) for one in _HUB_CLASSES}
            turns = self._turns.order({one: [size for *_, size in rows] for one, rows in waiting.items()}, limit)
            queues = {one: iter(rows) for one, rows in waiting.items()}
            items: list[Item] = []
            for item_class in turns:
                row, seq, _ = next(queues[item_class])
                found = read("SELECT payload, wall_ns, monotonic_s, boot_id, synced FROM outbox WHERE row = ?", row)
                payload, wall_ns, monotonic_s, boot_id, synced = found[0]
                age_s = Stamp(wall_ns, monotonic_s, boot_id, bool(synced)).age_s(now)
                age_ms = None if age_s is None else round(age_s * 1000)
                items.append(Item(item_class, seq, low_water[item_class], age_ms, escalation_from_bytes(payload)))
        return items

    def wait_for_items(self, timeout_s: float) -> bool:
        """Block until something new was committed, or the time is over."""
        with self._changed:
            woken = self._changed.wait_for(lambda: self._has_news, timeout_s)
            self._has_news = False
            return woken

    def wake(self) -> None:
        """Something new was committed."""
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

    def release(self, items: Iterable[tuple[ItemClass, int]]) -> None:
        """Send these at the next chance, whatever the hub asked for."""
        with self._changed:
            for key in items:
                self._held_until_s.pop(key, None)
        self.wake()

    def sent(self, items: Sequence[ItemKey]) -> None:
        """These items were handed to the stream."""
        self._writer.call(lambda tx: self._move_all(tx, items, Move.SEND), Durability.PROCESS)

    def acked(self, ack: Ack) -> None:
        """These items are durable at the hub."""
        self._writer.call(lambda tx: self._acked(tx, ack), Durability.PROCESS)

    def rejected(self, reject: Reject) -> None:
        """Final statuses end the item; the others leave it queued for a while, or for a stream under a new store id."""
        retry = TABLE[reject.status].retry
        if retry is Retry.LARGER_STEP:
            self._writer.call(_renew_store_id)
            logger.warning("store_id_renewed", extra={"hub_holds_another": reject.seq, "why": reject.message})
            return
        if retry is Retry.NEVER:
            self._writer.call(lambda tx: self._rejected(tx, reject))
            return
        least_s = _UNTIL_FIXED_HOLD_S if retry is Retry.NOT_UNTIL_FIXED else _MIN_HOLD_S
        until_s = self._clock.monotonic_s() + max(least_s, reject.retry_after_ms / 1000)
        with self._changed:
            self._held_until_s[reject.item_class, reject.seq] = until_s
        self._writer.call(lambda tx: self._move_all(tx, [(reject.item_class, reject.seq)], Move.REQUEUE))

    def answered(self, verdict: Verdict) -> Future[None]:
        """Store the verdict, its revision's message and the cursor together; a repeated one changes nothing.

        Verdicts that are handed in before the first is stored share its commit. After one that cannot be stored, no
        other one is before the next `welcomed`: the cursor would pass over it.
        """
        return self._writer.post(lambda tx: self._answered(tx, verdict), is_in_order=True)

    def _welcomed(self, tx: Transaction, welcome: Welcome) -> bool:
        self._unstored = None
        highest = dict(tx.connection.execute("SELECT class, last FROM sequence").fetchall())
        if any(last > highest.get(item_class, 0) for item_class, last in welcome.applied):
            # An older copy of this file was put back: its next numbers would be taken for repeats.
            _renew_store_id(tx)
            logger.warning("store_id_renewed", extra={"hub_applied": dict(welcome.applied), "held": highest})
            return False
        known = tx.meta(HUB_INCARNATION)
        if known != welcome.hub_incarnation:
            tx.set_meta(HUB_INCARNATION, welcome.hub_incarnation)
            if known is not None:
                tx.set_meta(VERDICT_CURSOR, "0")  # its verdict log began again; what we hold is recognised by revision
                self._fates.tell_again(tx)
                return False  # this stream's verdicts are counted from the cursor of another log
        found = tx.connection.execute(
            "SELECT class, seq FROM outbox WHERE destination = ? AND state = ?", (HUB, RowState.SENT)
        ).fetchall()
        for item_class, seq in found:
            self._fates.move_item(tx, ItemClass(item_class), seq, Move.REQUEUE)
        return True

    def _move_all(self, tx: Transaction, items: Sequence[ItemKey], move: Move) -> None:
        for item_class, seq in items:
            self._fates.move_item(tx, item_class, seq, move)

    def _acked(self, tx: Transaction, ack: Ack) -> None:
        (highest,) = tx.connection.execute(
            "SELECT last FROM sequence WHERE class = ?", (ack.item_class,)
        ).fetchone() or (0,)
        for first, last in ack.ranges:  # a peer's numbers: what they cover is looked up, never written out
            if first <= highest:
                covered = tx.connection.execute(
                    "SELECT seq FROM outbox WHERE class = ? AND seq BETWEEN ? AND ? AND state != 'acked'",
                    (ack.item_class, first, min(last, highest)),
                ).fetchall()
                self._move_all(tx, [(ack.item_class, seq) for (seq,) in covered], Move.ACK)

    def _rejected(self, tx: Transaction, reject: Reject) -> None:
        found = tx.connection.execute(
            "SELECT prediction_id FROM escalation WHERE class = ? AND seq = ?", (reject.item_class, reject.seq)
        ).fetchone()
        if found is not None:
            self._fates.end(tx, PredictionId(found[0]), Move.REJECT)
            tx.connection.execute(
                "INSERT INTO rejection VALUES (?,?,?) ON CONFLICT DO NOTHING",  # the first one ended it
                (found[0], reject.status.name, reject.message[:_MAX_MESSAGE_CHARS]),
            )

    def _answered(self, tx: Transaction, verdict: Verdict) -> None:
        if self._unstored not in {None, verdict.verdict_seq}:
            raise StoreError(f"verdict {self._unstored} could not be stored", "see the log", Status.ABORTED)
        cursor = int(tx.meta(VERDICT_CURSOR) or 0)
        if verdict.verdict_seq <= cursor:
            return
        self._unstored = verdict.verdict_seq
        self._fates.answered(tx, verdict)
        tx.set_meta(VERDICT_CURSOR, str(verdict.verdict_seq))
        self._unstored = None


def _waiting(
    read: Read, item_class: ItemClass, skipped: frozenset[ItemKey], limit: int
) -> list[tuple[RowId, int, int]]:
    """Row, number and size of the newest items of a class that may be sent now."""
    left_out = sum(one is item_class for one, _ in skipped)
    found = read(
        "SELECT row, seq, bytes FROM outbox WHERE class = ? AND state != 'acked' AND destination = ? AND state = ? "
        "ORDER BY seq DESC LIMIT ?",
        item_class,
        HUB,
        RowState.QUEUED,
        limit + left_out,
    )
    return [(RowId(row), seq, size) for row, seq, size in found if (item_class, seq) not in skipped][:limit]


def _renew_store_id(tx: Transaction) -> None:
    """What is numbered from here on is another outbox's; the hub knows again by its prediction what it has already."""
    tx.set_meta(STORE_ID, new_store_id())


def _low_water(read: Read, item_class: ItemClass) -> int:
    # As the partial index `outbox_waiting` says it: what the hub has is not read over.
    found = read("SELECT seq FROM outbox WHERE class = ? AND state != 'acked' ORDER BY seq LIMIT 1", item_class)
    return int(found[0][0]) if found else 0


def _meta(found: list[tuple[str]]) -> str:
    return found[0][0] if found else ""
