"""Owns what must be true of a history: while it goes on, and when it has come to rest.

Everything here is read from the databases and from what was seen outside, never from the programs' own memory.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from edge_agent.core.accounting import DEVICE, equations
from edge_agent.ports import BindingName
from protos.messages.escalation import Verdict
from protos.messages.inference import Tier
from tests.simulation.history import Fault, History
from tests.simulation.hub_database import Stored

_MAY_END: dict[str, tuple[set[Fault], ...]] = {
    "answered": (set(),),
    "answered_late": ({Fault.LONG_PAUSES}, {Fault.POWER_CUTS}),
    # A clock that is set an hour on makes questions old, too; and a full outbox keeps nothing for a restored hub.
    "expired": ({Fault.LONG_PAUSES}, {Fault.POWER_CUTS}, {Fault.TIGHT_OUTBOX, Fault.HUB_RESTORES}),
    "evicted": ({Fault.TIGHT_OUTBOX},),
    "purged": ({Fault.BY_HAND},),
}
"""How a question may have ended, and the kinds of trouble that it takes for that, any one set of them.

The hub rejects none but those about a window that was measured anew under the same id.
"""

_LETS_GO = {Fault.TIGHT_OUTBOX, Fault.LONG_PAUSES, Fault.BY_HAND, Fault.POWER_CUTS}
"""With these, rows may go before they are delivered: by the bound, by their age, by hand."""


def problems_at_rest(history: History) -> list[str]:
    """Look at everything when nothing waits any more.

    Args:
        history: It has run.

    Returns:
        What is wrong, in words; empty when nothing is missing, nothing is there twice and all books agree.
    """
    stored = history.hub.database.stored()
    return [
        *problems(history, stored),
        *_missing(history),
        *_badly_ended(history),
        *_not_at_the_hub(history, stored),
        *_unpublished(history),
        *_other_answers(history, stored),
        *_judgements(history, stored),
    ]


def problems(history: History, stored: Stored | None = None) -> list[str]:
    """Look at what holds at any moment.

    Args:
        history: At any step.
        stored: What the hub holds; read now if not given.

    Returns:
        What is wrong, in words.
    """
    held = history.hub.database.stored() if stored is None else stored
    return [*history.witness.moves, *_unbalanced(history), *_over_bound(history), *_twice(held), *_revisions(held)]


def _unbalanced(history: History) -> Iterator[str]:
    """The equations of conservation."""
    figures = {(str(binding), name): value for (binding, name), value in history.device.store.figures().items()}
    for one in equations(figures):
        if not one.holds:
            yield f"equation {one.name} of {one.binding or 'the device'} does not hold: {one.left} = {one.terms}"


def _over_bound(history: History) -> Iterator[str]:
    """Bytes in use are what is there, and never more than the bound."""
    rows = _all(history, "SELECT class, bytes, length(payload) + length(topic) FROM outbox")
    counted = Counter[int]()
    for item_class, size_bytes, least_bytes in rows:
        counted[item_class] += size_bytes
        if size_bytes < least_bytes:
            yield f"a row of class {item_class} counts {size_bytes} bytes and has {least_bytes}"
    kept = {item_class: used for item_class, used in _all(history, "SELECT class, bytes FROM usage") if used}
    if kept != dict(counted):
        yield f"the outbox says that it uses {kept} bytes, its rows are {dict(counted)}"
    if counted.total() > history.limits.max_bytes:
        yield f"the outbox uses {counted.total()} bytes of {history.limits.max_bytes}"


def _twice(stored: Stored) -> Iterator[str]:
    """Each question, each place in an outbox, and each answer of the full model is at the hub once."""
    for what, found in (
        ("question", Counter(stored.questions)),
        ("place", Counter(stored.places)),
        ("answer of the full model", Counter(said.prediction_id for said in stored.log if said.tier is Tier.HUB)),
    ):
        for one, times in found.items():
            if times > 1:
                yield f"{what} {one} is at the hub {times} times"


def _revisions(stored: Stored) -> Iterator[str]:
    """Answers to one prediction have growing revisions, and a lower tier never follows a higher one."""
    for prediction_id, said in _by_prediction(stored).items():
        for earlier, later in pairwise(said):
            if later.revision <= earlier.revision or later.tier.rank < earlier.tier.rank:
                order = f"{later.revision} ({later.tier}) follows {earlier.revision} ({earlier.tier})"
                yield f"{prediction_id}: revision {order}"


def _missing(history: History) -> Iterator[str]:
    """What was acknowledged is known: its answer, and its question if the policy asked one."""
    answers = {name for (name,) in _all(history, "SELECT id FROM prediction")}
    asked = {name for (name,) in _all(history, "SELECT prediction_id FROM escalation")}
    for name, record in history.witness.promised.items():
        if name not in answers:
            yield f"{name} was acknowledged, and its answer is not there"
        if record.is_escalated and name not in asked:
            yield f"{name} was acknowledged, and its question is not there"


def _badly_ended(history: History) -> Iterator[str]:
    """Every question has ended as the faults of this history allow: without them, answered."""
    for name, state in _all(history, "SELECT prediction_id, state FROM escalation"):
        is_refused_rightly = state == "rejected" and history.witness.is_measured_anew
        if not is_refused_rightly and not any(needed <= history.faults for needed in _MAY_END.get(state, ())):
            yield f"the question of {name} has ended as {state}"


def _not_at_the_hub(history: History, stored: Stored) -> Iterator[str]:
    """What the device still holds as acknowledged by the hub is there; without a bound and long waits that is all."""
    at_hub = set(stored.questions)
    held = {name for (name,) in _all(history, "SELECT prediction_id FROM outbox WHERE state = 'acked'")}
    for name in sorted(held - at_hub):
        if Fault.LONG_PAUSES not in history.faults:  # in which the hub forgets
            yield f"the device holds {name} as acknowledged, and the hub does not have it"
    if history.faults & {*_LETS_GO, Fault.AGENT_RESTORES}:
        return
    asked = {name for (name,) in _all(history, "SELECT prediction_id FROM escalation")}
    for name in sorted(asked - held):
        yield f"the device let go of {name}, which a restored hub would ask for"


def _unpublished(history: History) -> Iterator[str]:
    """Revisions come to the broker in their order, unaltered, and the newest is there."""
    newest: dict[str, dict[str, Any]] = {}
    first = dict[tuple[str, str], int]()
    for place, payload in enumerate(history.witness.published):
        event = json.loads(payload)
        first.setdefault((event["id"], payload.decode()), place)
    for (name, text), _ in sorted(first.items(), key=lambda pair: pair[1]):
        event = json.loads(text)
        before = newest.get(name)
        is_older = before is not None and event["revision"] < before["revision"]
        if is_older and Fault.AGENT_RESTORES not in history.faults:
            yield f"{name}: revision {event['revision']} was published first after {newest[name]['revision']}"
        newest[name] = event
    if history.faults & _LETS_GO:
        return
    for name, text in _all(history, "SELECT id, event FROM prediction"):
        if newest.get(name) != json.loads(text):
            yield f"{name}: the newest event was not published: {text}, but {newest.get(name)}"


def _other_answers(history: History, stored: Stored) -> Iterator[str]:
    """Device and hub agree on the newest answer to every prediction that the device knows."""
    said = _by_prediction(stored)
    for name, text in _all(history, "SELECT id, event FROM prediction"):
        event = json.loads(text)
        if name not in said:
            if event["tier"] != Tier.EDGE and not history.faults & {Fault.HUB_RESTORES, Fault.LONG_PAUSES}:
                yield f"{name} was revised, and the hub has no answer to it"
            continue
        last = said[name][-1]
        shown = (event["revision"], event["tier"], None if event["output"] is None else event["output"]["label"])
        wanted = (last.revision, last.tier.value, None if last.output is None else last.output.told)
        is_behind = Fault.HUB_RESTORES in history.faults and event["revision"] >= last.revision
        is_another = Fault.AGENT_RESTORES in history.faults  # the window was measured anew
        if shown != wanted and not is_behind and not is_another:
            yield f"{name}: the device shows {shown}, the hub's newest answer is {wanted}"


def _judgements(history: History, stored: Stored) -> Iterator[str]:
    """What people at the device said is at the hub as often as the device counts it delivered."""
    delivered = history.device.store.figures().get((BindingName(DEVICE), "feedback_delivered"), 0)
    if history.faults & {Fault.AGENT_RESTORES, Fault.HUB_RESTORES}:
        return
    if delivered != len(stored.judgements):
        yield f"{delivered} judgements were delivered, the hub has {len(stored.judgements)}"


def _by_prediction(stored: Stored) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for said in sorted(stored.log, key=lambda said: said.revision):
        found.setdefault(said.prediction_id, []).append(said)
    return found


def _all(history: History, sql: str) -> list[tuple[Any, ...]]:
    return history.device.disk.connection.execute(sql).fetchall()
