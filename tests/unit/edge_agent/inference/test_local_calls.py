"""Local calls: what callers are answered, what is stored, what the books say, and who waits for the hub."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.adapters.sqlite.store import Store, StoreSettings
from edge_agent.core.accounting import equations
from edge_agent.core.audit_lottery import KEY_BYTES
from edge_agent.core.budget import BucketSpec, Pool
from edge_agent.core.decision import Barrier, Policy
from edge_agent.core.durability import DEFAULT_TERMS
from edge_agent.core.local_call import CallAnswer, CalledRow
from edge_agent.core.rate_limit import RateLimit
from edge_agent.errors import CallError
from edge_agent.inference.allotting import Allotment
from edge_agent.inference.answering import Model
from edge_agent.inference.call_names import CallNames
from edge_agent.inference.call_tally import CallTally
from edge_agent.inference.local_calls import Address, CallParts, LocalCalls
from edge_agent.inference.rationing import Ration
from edge_agent.inference.revisions import Inbox, LoopInbox, Revisions
from edge_agent.inference.turns import Turns
from edge_agent.ports import Unit
from model_packs.errors import EngineError, TensorError
from model_packs.outputs import Classification
from protos.messages.escalation import ItemClass, Verdict
from protos.messages.inference import ModelUse, Tier
from protos.status import Status
from tests.simulators.waiting import wait_until
from tests.unit.edge_agent.adapters.sqlite.builders import TestClock, limits
from tests.unit.edge_agent.inference.pipeline_parts import BINDING, SteadySession
from tests.unit.edge_agent.packs.manifests import MANIFEST

DEADLINE_S = 30.0
USE = ModelUse("tiny-edge@1.0.0", MANIFEST.digest)
SURE, UNSURE = Policy(threshold=0.5), Policy(threshold=None)
WINDOW = {"window": np.ones((1, 5, 2), np.float32)}


class Desk:
    """A binding that is called, on a real store."""

    def __init__(self, folder: Path, policy: Policy = SURE, **parts: Any) -> None:  # noqa: ANN401 - of `LocalCalls`
        self.clock = TestClock()
        self.session = parts.pop("session", SteadySession())
        self.ration = parts.pop("ration", Ration(None))
        self.look = parts.pop("look", lambda *_: None)
        self.revisions = Revisions()
        self.units: list[Unit] = []
        self.scored: Counter[str] = Counter()
        self.engine_failures: list[ModelUse] = []
        self.store = Store(
            folder,
            self.clock,
            StoreSettings(limits(), escalation_max_age_s=3600.0, dead_letter_max_bytes=1 << 18),
            agent_version="1",
            acknowledge=lambda _: None,
            on_publishable=lambda: None,
            on_commit=lambda took_s, counts: None,  # noqa: ARG005 - nobody looks
            on_revised=self.revisions.told,
        )
        self.store.open()
        self.tally = CallTally(
            self.store,
            on_unit=self.units.append,
            on_answered=lambda _binding, _latency_ms: None,
            on_scored=lambda _, use, count: self.scored.update({use.pack: count}),
            look=self.look,
        )
        self.turns = Turns()
        shared = CallParts(
            device="press-07",
            clock=self.clock,
            store=self.store,
            turns=self.turns,
            names=CallNames(),
            tally=self.tally,
            revisions=self.revisions,
            look=self.look,
            on_engine_failure=lambda _, use: self.engine_failures.append(use),
        )
        allotment = Allotment(self.ration, RateLimit(BucketSpec(100.0, 1.0)), b"k" * KEY_BYTES, self.clock)
        self.calls = LocalCalls(
            BINDING, Model(MANIFEST, self.session, policy, None, USE), shared, allotment, terms=DEFAULT_TERMS, **parts
        )

    def call(self, rows: int = 1, **asked: Any) -> CallAnswer:  # noqa: ANN401 - as `LocalCalls.call`
        """Ask about so many windows."""
        return self.calls.call({"window": np.ones((rows, 5, 2), np.float32)}, **asked)

    def counts(self) -> dict[str, int]:
        """Every counter that is not 0, after everything was written."""
        self.tally.flush()
        self.store.sweep()
        return {name: value for (binding, name), value in self.store.figures().items() if binding == BINDING and value}

    def require_balance(self) -> None:
        """Every equation holds."""
        self.counts()
        figures = {(str(binding), name): value for (binding, name), value in self.store.figures().items()}
        assert all(one.holds for one in equations(figures))

    def answer(self, answer: CallAnswer, row: int = 0, tier: Tier = Tier.HUB) -> None:
        """The hub's verdict about one row arrives."""
        (item,) = [
            one
            for one in self.store.book.next_items(10, frozenset())
            if one.body.prediction_id == answer.rows[row].prediction_id
        ]
        self.store.book.answered(
            Verdict(
                verdict_seq=1,
                prediction_id=item.body.prediction_id,
                input_digest=item.body.input_digest,
                revision=1,
                tier=tier,
                output=Classification("moving", {"idle": 0.1, "moving": 0.9, "broken": 0.0}),
                confidence=0.9,
                models=(ModelUse("tiny-hub@1.0.0", "sha256:3"),),
                decided_at_ns=self.clock.wall,
                infer_ms=1.0,
            )
        ).result(DEADLINE_S)


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Any]:
    """Makes desks, and closes them."""
    made: list[Desk] = []

    def make(*arguments: Any, **parts: Any) -> Desk:  # noqa: ANN401 - as `Desk`
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Desk(folder, *arguments, **parts))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_a_kept_answer_is_returned_counted_and_not_stored(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """Its caller holds it: there is no prediction in the store, but the counters and the policy's totals know of it."""
    desk = desks(SURE)
    for _ in range(3):
        answer = desk.call()
    (row,) = answer.rows
    assert (row.status, row.label, row.reason, row.tier) == ("final", "idle", None, "edge")
    assert row.confidence > 0.99
    assert len(row.prediction_id) == 26
    assert answer.outputs["logits"].shape == (1, 3)
    assert desk.counts() == {
        "windows_closed": 3,
        "windows_inferred": 3,
        "predictions_decided": 3,
        "predictions_returned": 3,
        "decisions_made": 3,
        "decisions_kept": 3,
    }
    (total,) = desk.store.policy_totals()
    assert (total.decided, total.kept, total.escalated, total.threshold) == (3, 3, 0, 0.5)
    assert desk.store.news.last() == 0
    assert desk.scored == {"tiny-edge@1.0.0": 3}
    desk.require_balance()


def test_an_escalated_answer_is_one_unit_of_the_store(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """Prediction and question are stored together, without a message: nobody but its caller was to be told."""
    desk = desks(UNSURE)
    answer = desk.call()
    (row,) = answer.rows
    assert (row.status, row.reason) == ("provisional", "low_confidence")
    counts = desk.counts()
    assert {name: counts[name] for name in ("predictions_returned", "escalations_created", "windows_inferred")} == {
        "predictions_returned": 1,
        "escalations_created": 1,
        "windows_inferred": 1,
    }
    (item,) = desk.store.book.next_items(10, frozenset())
    assert item.body.prediction_id == row.prediction_id
    assert item.body.inputs[0].to_array().tolist() == np.ones((1, 5, 2)).tolist()
    event = desk.store.news.newest(row.prediction_id)
    assert (event["status"], event["escalation"]["reason"]) == ("provisional", "low_confidence")
    desk.require_balance()


def test_a_verdict_changes_what_watchers_see_and_publishes_nothing(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The revision of a binding without a broker is in the store, and no message waits for anybody."""
    desk = desks(UNSURE)
    answer = desk.call()
    desk.counts()
    desk.answer(answer)
    event = desk.store.news.newest(answer.rows[0].prediction_id)
    assert (event["status"], event["output"]["label"]) == ("revised", "moving")
    assert not [use for use in desk.store.outbox() if use.item_class is ItemClass.PREDICTION and use.items]
    desk.require_balance()


def test_with_a_topic_the_broker_is_told_of_what_the_hub_is_asked(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """Such an answer and its revision are messages, as for MQTT; a kept one is not."""
    desk = desks(UNSURE, address=Address("site", "plant/inference", 1))
    answer = desk.call()
    desk.counts()
    (first,) = desk.store.publishable("site", 10, frozenset())
    assert first.topic == "plant/inference"
    desk.answer(answer)
    assert len(desk.store.publishable("site", 10, frozenset())) == 2
    desk.require_balance()


def test_behind_a_barrier_nothing_is_asked_nor_stored(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """What may not leave the device is answered as final, with why it was doubted."""
    desk = desks(Policy(threshold=None, barrier=Barrier.EGRESS_NEVER, audit_rate=1.0))
    (row,) = desk.call().rows
    assert (row.status, row.reason) == ("final", "low_confidence")
    counts = desk.counts()
    assert counts["decisions_doubted{low_confidence}"] == 1
    assert not [name for name in counts if name.startswith(("escalations", "audits"))]
    desk.require_balance()


def test_each_row_of_a_batch_is_decided_by_itself(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """Of three rows, the one whose answer is doubted goes to the hub, alone."""
    desk = desks(Policy(threshold=0.5), session=_Doubtful())
    rows = desk.call(3).rows
    assert [row.status for row in rows] == ["final", "provisional", "final"]
    assert len({row.prediction_id for row in rows}) == 3
    counts = desk.counts()
    assert (counts["predictions_decided"], counts["escalations_created"], counts["decisions_kept"]) == (3, 1, 2)
    desk.require_balance()


def test_a_drawn_answer_is_final_and_audited(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The lottery sends a kept answer to the hub; its caller has a final one."""
    desk = desks(Policy(threshold=0.5, audit_rate=1.0))
    (row,) = desk.call().rows
    assert (row.status, row.reason) == ("final", "audit")
    assert desk.counts()["audits_created"] == 1
    desk.require_balance()


def test_without_budget_nobody_is_asked(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The answer is final, counted as suppressed, and nothing of it is stored."""
    ration = Ration(_NothingToLend())
    assert ration.available(Pool.MAIN) == 0
    desk = desks(UNSURE, ration=ration)
    (row,) = desk.call().rows
    assert (row.status, row.reason) == ("final", "low_confidence")
    assert desk.counts()["escalations_suppressed_budget{calls}"] == 1
    desk.require_balance()


def test_who_waits_is_answered_by_the_hub(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The verdict comes while the call waits: its answer is revised, with the hub's label and confidence."""
    desk = desks(UNSURE)
    inbox = Inbox(DEADLINE_S, desk.clock.monotonic_s)
    found: list[CallAnswer] = []
    thread = threading.Thread(target=lambda: found.append(desk.call(inbox=inbox)))
    thread.start()
    items = wait_until(lambda: desk.store.book.next_items(10, frozenset()), DEADLINE_S, "the hub is asked")
    asked = CallAnswer(USE, "1.0.0", {}, (_row(items[0].body.prediction_id),))
    desk.answer(asked)
    thread.join(DEADLINE_S)
    ((row,),) = [one.rows for one in found]
    assert (row.status, row.tier, row.label, row.confidence) == ("revised", "hub", "moving", 0.9)
    desk.require_balance()


def test_who_waits_in_vain_is_answered_as_things_stand(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """At the end of its time, or when it gives up, an answer stays provisional; a final one waits for nothing."""
    desk = desks(UNSURE)
    assert desk.call(inbox=Inbox(0.0, desk.clock.monotonic_s)).rows[0].status == "provisional"
    inbox = Inbox(DEADLINE_S, desk.clock.monotonic_s)
    inbox.give_up()
    assert desk.call(inbox=inbox).rows[0].status == "provisional"
    kept = desks(SURE)
    assert kept.call(inbox=Inbox(DEADLINE_S, kept.clock.monotonic_s)).rows[0].status == "final"


def test_who_waits_on_a_loop_is_answered_by_the_hub(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """A coroutine hears of the verdict as a thread does; what a leaver was to hear of is forgotten with its inbox."""
    desk = desks(UNSURE)
    asked: list[CallAnswer] = []

    async def ask() -> CallAnswer:
        inbox = LoopInbox(DEADLINE_S)
        asked.append(desk.calls.call_in_turn(WINDOW, inbox=inbox))
        answers = asyncio.create_task(desk.calls.revised(asked[0], inbox))
        await asyncio.to_thread(lambda: (desk.counts(), desk.answer(asked[0])))
        answered: CallAnswer = await answers
        return answered

    answer = asyncio.run(ask())
    assert [(row.status, row.label) for row in answer.rows] == [("revised", "moving")]
    desk.require_balance()

    async def leave() -> str:
        left = desk.calls.call_in_turn(WINDOW, inbox=LoopInbox(DEADLINE_S))
        assert isinstance(left, CallAnswer)
        return left.rows[0].prediction_id

    assert not desk.revisions.is_awaited(asyncio.run(leave()))


def test_who_waits_on_a_loop_in_vain_is_answered_as_things_stand(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """At the end of its time, or when everybody has to be answered, also for who began to wait only then."""
    desk = desks(UNSURE)

    async def ask(wait_s: float, *, is_closed: bool = False) -> str:
        inbox = LoopInbox(wait_s)
        answer = desk.calls.call_in_turn(WINDOW, inbox=inbox)
        if is_closed:
            desk.revisions.close()
        return str((await desk.calls.revised(answer, inbox)).rows[0].status)

    assert asyncio.run(ask(0.0)) == "provisional"
    assert asyncio.run(ask(DEADLINE_S, is_closed=True)) == "provisional"


def test_a_call_is_answered_at_once_when_its_runs_are_short_and_a_turn_is_free(desks: Any) -> None:  # noqa: ANN401
    """Nobody knows before the first run; where both turns are taken, or a run was long, a thread has to wait."""
    desk = desks(SURE, session=_Timed())
    assert desk.calls.call_now(WINDOW) is None
    desk.call()
    answer = desk.calls.call_now(WINDOW)
    assert answer is not None
    assert answer.rows[0].status == "final"
    with desk.turns.nobody_runs():
        assert desk.calls.call_now(WINDOW) is None
    assert desk.calls.call_now({"window": np.ones((7, 5, 2), np.float32)}) is None
    desk.session.on_run = lambda: desk.clock.pass_s(0.002)
    desk.call()
    assert desk.calls.call_now(WINDOW) is None
    desk.session.on_run = lambda: None
    desk.call()
    assert desk.calls.call_now(WINDOW) is not None


def test_another_version_is_not_found(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """A caller who asks for a version gets that one or none."""
    desk = desks(SURE)
    assert desk.call(version="1.0.0").version == "1.0.0"
    with pytest.raises(CallError, match=r"runs version 1\.0\.0, not 2\.0\.0") as caught:
        desk.call(version="2.0.0")
    assert caught.value.status is Status.NOT_FOUND


def test_an_engine_that_fails_ends_its_call_alone(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The caller is told, the slot's keeper, too, and the next call is answered."""
    desk = desks(SURE)
    desk.session.poison = 7.0
    with pytest.raises(CallError, match="the engine failed on pack tiny-edge") as caught:
        desk.calls.call({"window": np.full((1, 5, 2), 7.0, np.float32)})
    assert caught.value.status is Status.INTERNAL
    assert desk.engine_failures == [USE]
    assert desk.call().rows[0].status == "final"
    (figures,) = desk.tally.figures().values()
    assert (figures.calls, figures.failed) == (1, 1)


def test_a_callers_mistake_is_no_failure_of_the_engine(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """Inputs that the session refuses are the caller's fault; the turn is given back."""
    desk = desks(SURE, session=_Strict())
    for _ in range(3):
        with pytest.raises(TensorError):
            desk.calls.call({"window": np.ones((1, 5, 2), np.float64)})
    assert not desk.engine_failures
    assert desk.call().rows[0].status == "final"


def test_two_run_at_once_and_a_third_waits(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """The third call has its turn when one of the two has run; a caller who left by then is not answered."""
    session = _Slow()
    desk = desks(SURE, session=session)
    threads = [threading.Thread(target=desk.call) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: session.inside == 2, DEADLINE_S, "two are running")
    left: list[Exception] = []

    def late() -> None:
        try:
            desk.call(is_wanted=lambda: False)
        except CallError as error:
            left.append(error)

    third = threading.Thread(target=late)
    third.start()
    assert session.most == 2
    session.may_end.set()
    for thread in (*threads, third):
        thread.join(DEADLINE_S)
    (error,) = left
    assert isinstance(error, CallError)
    assert error.status is Status.CANCELLED
    assert session.most == 2


def test_a_swap_waits_for_those_who_run_and_answers_with_the_right_version(desks: Any) -> None:  # noqa: ANN401
    """What began under one pack is answered by it, and has ended when the swap has; the next call is the other's."""
    session = _Slow()
    desk = desks(SURE, session=session)
    found: list[CallAnswer] = []
    thread = threading.Thread(target=lambda: found.append(desk.call()))
    thread.start()
    wait_until(lambda: session.inside == 1, DEADLINE_S, "one is running")
    newer = replace(MANIFEST, ref=replace(MANIFEST.ref, version="2.0.0"))
    other = Model(newer, SteadySession(), SURE, None, ModelUse("tiny-edge@2.0.0", newer.digest))
    swapped: list[tuple[ModelUse, int]] = []
    swap = threading.Thread(target=lambda: swapped.append((desk.calls.swap(other).use, session.inside)))
    swap.start()
    wait_until(lambda: desk.turns._free.empty() or not swap.is_alive(), DEADLINE_S, "the swap waits for the one")
    session.may_end.set()
    thread.join(DEADLINE_S)
    swap.join(DEADLINE_S)
    assert [one.version for one in found] == ["1.0.0"]
    assert swapped == [(USE, 0)]
    assert desk.call().version == "2.0.0"


def test_an_unusual_input_is_asked_about_where_the_policy_says_so(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """With a limit on strangeness each input is measured before it is answered; without one some are, behind it."""
    strict = desks(replace(SURE, ood_limit=2.0), look=lambda *_: 3.0)
    assert strict.call().rows[0].reason == "out_of_distribution"
    seen: list[int] = []
    easy = desks(SURE, look=lambda *_: seen.append(1))
    easy.call()
    assert not seen
    easy.tally.stop()
    easy.tally.run_once()
    assert seen == [1]


def _row(prediction_id: str) -> CalledRow:
    return CalledRow(prediction_id, "provisional", 0.5, "idle", "low_confidence", "edge")


class _NothingToLend:
    """A ledger without a call left."""

    def lease(self, pool: Pool, wanted: int, spent: int) -> Any:  # noqa: ANN401 - never called
        """Nobody asks: a lease comes with `run_once`."""
        raise AssertionError(f"a call never waits for a lease of {wanted} from {pool}, after {spent}")


class _Doubtful(SteadySession):
    """A model that is not sure of the second row."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Flat logits there."""
        outputs = super().run(inputs)
        outputs["logits"][1] = 0.0
        return outputs


class _Strict(SteadySession):
    """A session that checks its inputs as real ones do."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """FP32 only."""
        if inputs["window"].dtype != np.float32:
            raise TensorError("tensor 'window' must be FP32")
        return super().run(inputs)


class _Timed(SteadySession):
    """A session whose runs let time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.on_run: Callable[[], None] = lambda: None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Take as long as the test says."""
        self.on_run()
        return super().run(inputs)


class _Slow(SteadySession):
    """A model whose runs last until the test lets them end."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.may_end = threading.Event()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Wait, then answer."""
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        if not self.may_end.wait(DEADLINE_S):
            raise EngineError("nobody let it end", "let it")
        with self.lock:
            self.inside -= 1
        return super().run(inputs)


class _SlowBudget(Ration):
    """A budget that takes as long as the test says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.on_worthy: Callable[[], None] = lambda: None

    def worthy(self, gains: Sequence[float], now_s: float) -> list[bool]:
        """All of them, in time."""
        self.on_worthy()
        return super().worthy(gains, now_s)


def test_what_follows_a_run_counts_as_the_run_does(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """A loop that answers a call stands still until each of its rows is decided and stored."""
    budget = _SlowBudget()
    desk = desks(UNSURE, ration=budget)
    desk.call()
    assert desk.calls.call_now(WINDOW) is not None
    budget.on_worthy = lambda: desk.clock.pass_s(0.002)
    desk.call()
    assert desk.calls.call_now(WINDOW) is None


def test_who_has_not_waited_is_answered(desks: Any) -> None:  # noqa: ANN401 - the fixture
    """A REST caller that sends no more after its request looks as if it had hung up; it still reads the answer."""
    assert desks(SURE).call(is_wanted=lambda: False).rows[0].status == "final"
