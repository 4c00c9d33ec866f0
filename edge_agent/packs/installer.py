"""Owns bringing wanted packs to their trial: the loop between what the hub wants and what the slots say.

The steps, as docs/packs.md numbers them, each undone by nothing but being left:

    1. fetch    what is missing, resumably, after a look at the free space
    2. verify   a trusted signature, every digest, and exactly the wanted pack
    3. compare  with the binding and with the pack that runs
    4. probe    in a process of its own
    5. flip     the slot to trial, fsynced; if meanwhile something else is wanted, nothing happens

What runs goes on meanwhile, and after a failure; swapping and committing is `keeper.py`. Each step asks whether the
pack is still wanted: the newest desire wins. When there is nothing to do, packs that nobody may need leave the disk.
"""

import errno
import logging
import shutil
import threading
from collections.abc import Callable, Sequence

from edge_agent.binding_config import BindingConfig
from edge_agent.core.pack_slots import (
    TRANSIENT,
    FailureReason,
    Move,
    PackId,
    PackRefusedError,
    Slots,
    needed,
    next_move,
    reason_of,
    refuse,
    start_trial,
    target,
    withdraw,
)
from edge_agent.errors import AgentError, HubError
from edge_agent.packs.binding_check import check_binding, check_successor
from edge_agent.packs.device_slots import DeviceSlots, Progress, failure_of
from edge_agent.packs.models import Models
from edge_agent.packs.probing import Probe
from edge_agent.ports import BindingName, Clock, PackSource, PackTrust
from model_packs.errors import PackError
from model_packs.manifest import PackManifest, PackRef
from model_packs.store import PackStore
from protos.link.backoff import Backoff
from protos.messages.fleet import FailureAction, InstallPhase, PackFailure

LOOK_EVERY_S = 1.0
RETRY_CAP_S = 60.0

logger = logging.getLogger(__name__)


class NoLongerWantedError(Exception):
    """While a pack was on its way, something else was wanted, or the agent began to stop."""


class Installer:
    """The loop's body.

    Args:
        bindings: All of them.
        slots: What they run, and what the hub wants.
        models: What is open, to compare with.
        clock: Times retries and failures.
        source: Brings packs here.
        trust: Says whether they may run.
        probe: Tries them.
        store: Where packs are; opened when it is needed.
        keep_free_bytes: What a fetch leaves free on the disk.
    """

    def __init__(
        self,
        bindings: Sequence[BindingConfig],
        slots: DeviceSlots,
        models: Models,
        clock: Clock,
        *,
        source: PackSource,
        trust: PackTrust,
        probe: Probe,
        store: PackStore,
        keep_free_bytes: int,
    ) -> None:
        self._bindings = tuple(bindings)
        self._slots = slots
        self._models = models
        self._source = source
        self._trust = trust
        self._probe = probe
        self._store = store
        self._clock = clock
        self._keep_free_bytes = keep_free_bytes
        self._bell = threading.Event()
        self._is_closing = threading.Event()
        self._retries = {one.id: _Retry() for one in bindings}
        self._unwritten: dict[BindingName, tuple[int, PackFailure]] = {}
        self._tidied: Slots | None = None

    def wake(self) -> None:
        """Look now."""
        self._bell.set()

    def stop(self) -> None:
        """End a transfer that runs, so that the agent can stop; it is resumed after the next start."""
        self._is_closing.set()
        self._bell.set()

    def run_once(self) -> None:
        """Wait for a second or a call, then take every binding one step towards what the hub wants.

        Raises:
            ExceptionGroup: What kept bindings from their step, after each of them had its turn.
        """
        self._bell.wait(LOOK_EVERY_S)
        self._bell.clear()
        if self._is_closing.is_set():
            return
        slots = self._slots.read()
        moves = {one.id: next_move(slots, one.id, self._models.factories[one.id]) for one in self._bindings}
        troubles: list[Exception] = []
        for binding in self._bindings:
            try:
                self._step(binding, moves[binding.id], slots)
            except (AgentError, OSError) as error:
                troubles.append(error)
        if troubles:
            raise ExceptionGroup("not every binding could go towards what the hub wants", troubles)
        if not any(moves.values()):
            self._tidy(slots)

    def _step(self, binding: BindingConfig, move: Move | None, slots: Slots) -> None:
        match move:
            case Move.WITHDRAW:
                self._withdraw(binding)
            case Move.TRY:
                self._try(binding, slots)
            case _:
                self._rest(binding.id)

    def _withdraw(self, binding: BindingConfig) -> None:
        def change(slots: Slots) -> Slots:
            is_so = self._next(slots, binding) is Move.WITHDRAW
            return slots.having(binding.id, withdraw(slots.of(binding.id))) if is_so else slots

        self._slots.change_all(change)
        logger.info("trial_withdrawn", extra={"binding": binding.name})

    def _try(self, binding: BindingConfig, slots: Slots) -> None:
        wanted, retry = slots.wanted(binding.id), self._retries[binding.id]
        if wanted is None or not retry.is_due(wanted, self._clock.monotonic_s()):
            return
        version, refusal = self._unwritten.pop(binding.id, (0, None))
        if refusal is not None and (version, refusal.digest) == (slots.desired.version, wanted.digest):
            self._refuse(binding, wanted, refusal)
            return
        try:
            self._prepare(binding, wanted)
            self._flip(binding, wanted)
        except NoLongerWantedError:
            self._rest(binding.id)
        except (PackRefusedError, HubError) as error:
            self._failed(binding, wanted, error)
        except OSError as error:
            self._failed(binding, wanted, _of_disk(wanted, error))
        else:
            self._rest(binding.id)

    def _prepare(self, binding: BindingConfig, wanted: PackId) -> None:
        """Steps 1 to 4."""
        try:
            pack = self._trust.verified(wanted)  # here from an earlier time, or fetched before a restart
        except PackRefusedError:
            self._fetch(binding, wanted)
            self._enter(binding, InstallPhase.VERIFYING)
            pack = self._trust.verified(wanted)
        compare(binding, pack.manifest, self._models.opened[binding.id].model.manifest)
        self._require_wanted(binding, wanted)
        self._enter(binding, InstallPhase.PROBING)
        self._probe.run(wanted)

    def _fetch(self, binding: BindingConfig, wanted: PackId) -> None:
        self._enter(binding, InstallPhase.DOWNLOADING)
        try:
            ref = PackRef.parse(wanted.pack)
        except ValueError as error:
            mend = "desire a pack by name@version"
            raise PackRefusedError(FailureReason.NOT_FOUND, wanted.pack, str(error), mend) from error
        try:
            self._store.open()
        except PackError as error:
            raise PackRefusedError(reason_of(error), wanted.pack, str(error), error.mend) from error
        plan = self._source.plan(ref)
        if plan.digest != wanted.digest:
            message = f"pack {wanted.pack} is {plan.digest[:19]}… at its source, not the wanted {wanted.digest[:19]}…"
            raise PackRefusedError(FailureReason.WRONG_PACK, wanted.pack, message, "desire the pack as it is published")
        lacking_bytes = plan.total_bytes - plan.done_bytes + self._keep_free_bytes - self._free_bytes()
        if lacking_bytes > 0:
            message = f"pack {wanted.pack} needs {lacking_bytes} bytes more than are free at {self._store.root}"
            raise PackRefusedError(
                FailureReason.NO_SPACE, wanted.pack, message, "free some space, or lower packs.keep_free_bytes"
            )
        self._source.fetch(plan, self._watching(binding, wanted, plan.total_bytes))

    def _watching(self, binding: BindingConfig, wanted: PackId, total_bytes: int) -> Callable[[int], None]:
        looked_s = self._clock.monotonic_s()

        def on_bytes(done_bytes: int) -> None:
            nonlocal looked_s
            self._enter(binding, InstallPhase.DOWNLOADING, done_bytes, total_bytes)
            now_s = self._clock.monotonic_s()
            if now_s - looked_s >= LOOK_EVERY_S or self._is_closing.is_set():
                looked_s = now_s
                self._require_wanted(binding, wanted)

        return on_bytes

    def _flip(self, binding: BindingConfig, wanted: PackId) -> None:
        """Step 5."""
        factory = self._models.factories[binding.id]

        def change(slots: Slots) -> Slots:
            if not self._is_wanted(slots, binding, wanted):
                return slots
            trial = start_trial(slots.of(binding.id), target(wanted, factory), self._clock.wall_ns())
            return slots.having(binding.id, trial)

        self._slots.change_all(change)
        logger.info("pack_on_trial", extra={"binding": binding.name, "pack": wanted.pack})

    def _failed(self, binding: BindingConfig, wanted: PackId, error: AgentError) -> None:
        failure = failure_of(wanted, FailureAction.REFUSED, error, self._clock.wall_ns())
        facts = {"binding": binding.name, "pack": wanted.pack, "reason": failure.reason, "detail": failure.detail}
        if failure.reason in TRANSIENT:
            wait_s = self._retries[binding.id].put_off(wanted, self._clock.monotonic_s())
            logger.warning("pack_delayed", extra={**facts, "again_in_s": round(wait_s, 1)})
            self._slots.set_progress(binding.id, Progress(trouble=failure))
            return
        logger.warning("pack_refused", extra={**facts, "mend": error.mend})
        self._refuse(binding, wanted, failure)

    def _refuse(self, binding: BindingConfig, wanted: PackId, failure: PackFailure) -> None:
        """Keep a refusal; when the disk refuses that, the pack is not examined again, only this is tried again."""
        seen = self._slots.read().desired.version

        def change(slots: Slots) -> Slots:
            is_so = self._is_wanted(slots, binding, wanted)
            return slots.having(binding.id, refuse(slots.of(binding.id), failure)) if is_so else slots

        try:
            self._slots.change_all(change)
        except OSError as error:
            wait_s = self._retries[binding.id].put_off(wanted, self._clock.monotonic_s())
            facts = {"binding": binding.name, "pack": wanted.pack, "again_in_s": round(wait_s, 1)}
            logger.warning("refusal_not_kept", extra={**facts, "error": str(error)})
            self._unwritten[binding.id] = (seen, failure)
            self._slots.set_progress(binding.id, Progress(trouble=failure))
        else:
            self._rest(binding.id)

    def _enter(self, binding: BindingConfig, phase: InstallPhase, done_bytes: int = 0, total_bytes: int = 0) -> None:
        self._slots.set_progress(binding.id, Progress(phase, done_bytes, total_bytes))

    def _rest(self, binding: BindingName) -> None:
        self._slots.set_progress(binding, Progress())

    def _require_wanted(self, binding: BindingConfig, wanted: PackId) -> None:
        if self._is_closing.is_set() or not self._is_wanted(self._slots.read(), binding, wanted):
            raise NoLongerWantedError

    def _is_wanted(self, slots: Slots, binding: BindingConfig, wanted: PackId) -> bool:
        return slots.wanted(binding.id) == wanted and self._next(slots, binding) is Move.TRY

    def _next(self, slots: Slots, binding: BindingConfig) -> Move | None:
        return next_move(slots, binding.id, self._models.factories[binding.id])

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._store.root).free

    def _tidy(self, slots: Slots) -> None:
        """Remove what nobody may need, once after each change."""
        if slots == self._tidied:
            return
        factories = self._models.factories
        kept = needed(slots, {str(name): pack for name, pack in factories.items()})
        names = {pack.pack for pack in factories.values()}  # whatever their digest: nothing may stand in for them
        try:
            if self._slots.change_all(lambda now: now) != slots:  # as the disk has them: nothing goes for a guess
                return
            self._store.open()
            for stored in self._store.list():
                if PackId(str(stored.ref), stored.digest) not in kept and str(stored.ref) not in names:
                    self._store.remove(stored.ref)
                    logger.info("pack_removed", extra={"pack": str(stored.ref)})
            freed_bytes = self._store.collect()
        except (PackError, OSError) as error:
            logger.warning("packs_not_tidied", extra={"folder": str(self._store.root), "error": str(error)})
        else:
            logger.debug("packs_tidied", extra={"freed_bytes": freed_bytes})
        self._tidied = slots


def compare(binding: BindingConfig, new: PackManifest, present: PackManifest) -> None:
    """Step 3: a pack must fit its binding, and nobody may notice the change but by better answers.

    Args:
        binding: What it is to answer.
        new: The pack that is to run.
        present: The pack that runs.

    Raises:
        PackRefusedError: io_mismatch; every difference is in the message.
    """
    problems = check_binding(binding, new) or check_successor(present, new)
    if problems:
        message = f"pack {new.ref} does not fit binding {binding.name!r}: {'; '.join(problems)}"
        mend = "desire a pack with the same inputs, outputs and labels"
        raise PackRefusedError(FailureReason.IO_MISMATCH, str(new.ref), message, mend)


def _of_disk(wanted: PackId, error: OSError) -> PackRefusedError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = FailureReason.NO_SPACE if is_full else FailureReason.DOWNLOAD_FAILED
    message = f"pack {wanted.pack}: the disk refuses: {error}"
    return PackRefusedError(reason, wanted.pack, message, "free some space, or check the device's disk")


class _Retry:
    """When a binding's wanted pack is tried again after the world was in its way."""

    def __init__(self) -> None:
        self._backoff = Backoff(initial_s=1.0, cap_s=RETRY_CAP_S)
        self._pack: PackId | None = None
        self._due_s = 0.0

    def is_due(self, pack: PackId, now_s: float) -> bool:
        return pack != self._pack or now_s >= self._due_s

    def put_off(self, pack: PackId, now_s: float) -> float:
        if pack != self._pack:
            self._backoff.reset()
        wait_s = self._backoff.next_s()
        self._pack, self._due_s = pack, now_s + wait_s
        return wait_s
