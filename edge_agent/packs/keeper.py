"""Owns keeping the live models at what the slots say, and judging trials: the loop behind every change of pack.

    0. A policy of the hub that is not in force yet: let the binding decide by it from the next pass on.
    1. A slot that names another pack than the one that runs: open it, swap it in between two passes, close the old one.
    2. A pack on trial that fails three questions, or cannot be opened: roll back, whether the disk can keep it or not.
    3. A pack on trial for `bake_s` that has answered a few live questions: commit; without questions the trial goes on.

Who moves slots towards what the hub wants is `installer.py`; a person does it through `commands/packs.py`, in the same
file: this loop looks twice a second.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from edge_agent.binding_config import BindingConfig
from edge_agent.core.pack_slots import (
    MAX_ENGINE_FAILURES,
    MIN_TRIAL_ANSWERS,
    FailureReason,
    PackId,
    PackRefusedError,
    Slot,
    commit,
    roll_back,
    wait,
)
from edge_agent.errors import AgentError, HubError, PackUnusableError
from edge_agent.inference.answering import Model
from edge_agent.packs.device_slots import DeviceSlots, failure_of
from edge_agent.packs.models import Models
from edge_agent.ports import BindingName, Clock
from protos.messages.fleet import FailureAction, SlotState
from protos.messages.inference import ModelUse

LOOK_EVERY_S = 0.5

Swap = Callable[[BindingName, Model], Model]
"""Lets a binding answer with another model from its next pass on; returns the one before, which nothing uses now."""

logger = logging.getLogger(__name__)


class Keeper:
    """The loop's body, and what it counts.

    Args:
        bindings: All of them.
        slots: What they should run.
        models: What is open.
        clock: Times the bake.
        bake_s: How long a trial lasts.
        swap: Puts a model in place.
    """

    def __init__(
        self,
        bindings: Sequence[BindingConfig],
        slots: DeviceSlots,
        models: Models,
        clock: Clock,
        *,
        bake_s: float,
        swap: Swap,
    ) -> None:
        self._bindings = tuple(bindings)
        self._slots = slots
        self._models = models
        self._clock = clock
        self._bake_s = bake_s
        self._swap = swap
        self._bell = threading.Event()
        self._lock = threading.Lock()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._baking: dict[BindingName, tuple[PackId, float]] = {}

    def wake(self) -> None:
        """Look now."""
        self._bell.set()

    def answered(self, binding: str, use: ModelUse, count: int) -> None:
        """Count questions that were answered with a score; called by the pipeline."""
        with self._lock:
            self._answers[binding, use.digest] += count

    def engine_failed(self, binding: str, use: ModelUse) -> None:
        """Count a question that the engine failed on, or had no score for; called by the pipeline."""
        with self._lock:
            self._failures[binding, use.digest] += 1
            is_enough = self._failures[binding, use.digest] == MAX_ENGINE_FAILURES
        if is_enough:
            self.wake()

    def run_once(self) -> None:
        """Wait for half a second or a call, then look at every slot.

        Raises:
            ExceptionGroup: What kept bindings from following their slots, after each of them had its turn.
        """
        self._bell.wait(LOOK_EVERY_S)
        self._bell.clear()
        self._slots.write_pending()
        self._models.policies.write_pending()
        troubles: list[Exception] = []
        for binding in self._bindings:
            try:
                while self._move(binding):
                    pass
            except (AgentError, OSError) as error:
                troubles.append(error)
        if troubles:
            raise ExceptionGroup("not every binding could follow its slot", troubles)

    def _move(self, binding: BindingConfig) -> bool:
        """One step of one slot; whether there may be another."""
        slot = self._slots.read().of(binding.id)
        wanted = slot.active or self._models.factories[binding.id]
        if wanted != self._models.opened[binding.id].pack:
            return self._follow(binding, slot, wanted)
        self._order(binding)
        if slot.state is SlotState.TRIAL:
            return self._judge(binding, slot, wanted)
        self._baking.pop(binding.id, None)
        return False

    def _order(self, binding: BindingConfig) -> None:
        """Let the binding decide as the hub's policy for it says now."""
        ordered = self._models.ordered(binding.id)
        if ordered is self._models.opened[binding.id]:
            return
        self._swap(binding.id, ordered.model)
        self._models.replace(binding.id, ordered)
        policy = ordered.model.policy
        logger.info(
            "policy_applied",
            extra={"binding": binding.name, "version": policy.version, "threshold": policy.reported_threshold},
        )

    def _follow(self, binding: BindingConfig, slot: Slot, wanted: PackId) -> bool:
        try:
            opened = self._models.open_pack(binding, slot)
        except (PackUnusableError, HubError) as error:
            if not slot.has_way_back:
                raise  # the factory pack itself: the loop tells it and tries again, what runs goes on
            self._roll_back(binding, slot, wanted, error)
            return True
        with self._lock:
            self._failures.pop((binding.id, wanted.digest), None)
            self._answers.pop((binding.id, wanted.digest), None)
        before = self._swap(binding.id, opened.model)
        self._models.replace(binding.id, opened)
        self._slots.set_waiting(binding.id, is_waiting=False)
        before.session.close()
        logger.info(
            "pack_swapped",
            extra={"binding": binding.name, "pack": opened.model.use.pack, "before": before.use.pack},
        )
        return True

    def _judge(self, binding: BindingConfig, slot: Slot, pack: PackId) -> bool:
        now_s = self._clock.monotonic_s()
        known, began_s = self._baking.setdefault(binding.id, (pack, now_s))
        if known != pack:
            self._baking[binding.id] = (pack, began_s := now_s)
        with self._lock:
            failures = self._failures[binding.id, pack.digest]
            answers = self._answers[binding.id, pack.digest]
        if failures >= MAX_ENGINE_FAILURES:
            message = f"{failures} questions got no answer with a score while pack {pack.pack} was on trial"
            mend = "run `model-pack verify` on the pack where it was built"
            error = PackRefusedError(FailureReason.ENGINE_FAILURES, pack.pack, message, mend)
            self._roll_back(binding, slot, pack, error)
            return True
        if now_s - began_s < self._bake_s:
            return False
        if answers < MIN_TRIAL_ANSWERS:
            self._slots.set_waiting(binding.id, is_waiting=True)
            self._slots.change(binding.id, lambda now: wait(now) if now == slot else now)
            return False
        self._slots.change(binding.id, lambda now: commit(now) if now == slot else now)
        logger.info("pack_committed", extra={"binding": binding.name, "pack": pack.pack})
        return True

    def _roll_back(self, binding: BindingConfig, slot: Slot, bad: PackId, error: AgentError) -> None:
        failure = failure_of(bad, FailureAction.ROLLED_BACK, error, self._clock.wall_ns())
        logger.warning(
            "pack_rolled_back",
            extra={"binding": binding.name, "pack": bad.pack, "reason": failure.reason, "detail": failure.detail},
        )
        self._slots.insist(binding.id, lambda now: roll_back(now, failure) if now == slot else now)
