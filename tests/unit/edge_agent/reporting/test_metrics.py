"""Metrics tell what was handed to the store, under names that follow its rules."""

import re
from dataclasses import replace

from edge_agent.adapters.sqlite.policy_totals import PolicyTotals
from edge_agent.adapters.sqlite.reading import ClassUse
from edge_agent.core.accounting import DEVICE
from edge_agent.core.decision import Policy
from edge_agent.ports import BindingName
from edge_agent.reporting.metrics import Metrics
from model_packs.process.metrics import Registry
from protos.messages.escalation import ItemClass
from tests.unit.edge_agent.inference.pipeline_parts import Bench, message


class Outbox:
    """A store as the metrics see it."""

    is_durable = True

    def outbox(self) -> tuple[ClassUse, ...]:
        """Two classes, one of unknown age."""
        return (ClassUse(ItemClass.PREDICTION, 2, 2000, 1.5), ClassUse(ItemClass.ESCALATION, 1, 900, None))


def totals() -> tuple[PolicyTotals, ...]:
    """Two policies of one binding."""
    first = PolicyTotals(BindingName("press"), "sha256:1", 0, "a@1", 90, 50, 20, 20, 4, 6, 5, 1, 0.8, 0.1, 1)
    first = replace(first, answered=9, corrected=4, sampled=3, sampled_wrong=1, unanswered=2)
    return (first, replace(first, version=1, suppressed=1))


def exposed() -> str:
    """The page after one pass: an answer, a repeat, a broken record."""
    registry = Registry()
    metrics = Metrics(registry)
    metrics.watch_store(Outbox())
    metrics.watch_policies(totals)
    metrics.peer("mqtt:plant", True)
    metrics.inferred("press", 0.001)
    own, press = BindingName(DEVICE), BindingName("press")
    metrics.committed(
        0.004, {(own, "feedback_received"): 3, (own, "feedback_delivered"): 2, (press, "windows_closed"): 1}
    )
    metrics.committed(0.004, {(own, "feedback_dead_lettered{malformed}"): 1, (own, "verdicts_applied"): 1})
    metrics.loop_failed("pipeline")
    bench = Bench(policy=Policy(threshold=None))
    for payload in (message(1), message(1), b"{}"):
        bench.send(1, payload)
    bench.run()
    for unit in bench.units:
        metrics.passed(unit, 0.002)
    return registry.expose().decode()


def value(page: str, series: str) -> float:
    """One sample of the page."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, flags=re.MULTILINE)
    assert found is not None, f"{series} is not on the page"
    return float(found[1])


def test_each_thing_is_counted_once() -> None:
    """Records by outcome, predictions by status, escalations by reason."""
    page = exposed()
    for outcome in ("journaled", "duplicate", "dead_lettered"):
        assert value(page, f'edge_mqtt_messages_total{{binding="press",outcome="{outcome}"}}') == 1
    assert value(page, 'edge_predictions_total{binding="press",status="provisional"}') == 1
    assert value(page, 'edge_escalations_total{binding="press",reason="low_confidence"}') == 1
    assert value(page, 'edge_inference_duration_seconds_count{binding="press"}') == 1


def test_feedback_and_verdicts_are_counted_by_their_fate() -> None:
    """What was received is the sum of them; reasons are the audit's."""
    page = exposed()
    assert value(page, 'edge_feedback_total{outcome="delivered"}') == 2
    assert value(page, 'edge_feedback_total{outcome="dead_lettered"}') == 1
    assert value(page, 'edge_verdicts_total{outcome="applied"}') == 1
    assert 'outcome="received"' not in page


def test_what_nobody_answered_has_its_own_figures() -> None:
    """How much it is, and what the lottery's sample says of it, over all policies of a binding."""
    page = exposed()
    assert value(page, 'edge_unanswered_windows{binding="press",why="budget"}') == 21
    assert value(page, 'edge_unanswered_windows{binding="press",why="ended"}') == 4
    assert value(page, 'edge_unanswered_judged_windows{binding="press",said="disagreed"}') == 2
    assert value(page, 'edge_unanswered_judged_windows{binding="press",said="agreed"}') == 4
    assert value(page, 'edge_escalations_answered{binding="press",said="corrected"}') == 8
    assert value(page, 'edge_escalations_answered{binding="press",said="confirmed"}') == 10


def test_unknown_is_shown_as_unknown() -> None:
    """An age that nobody can know is NaN; an empty class is 0."""
    page = exposed()
    assert value(page, 'edge_outbox_bytes{class="prediction"}') == 2000
    assert value(page, 'edge_outbox_items{class="escalation"}') == 1
    assert value(page, 'edge_outbox_oldest_age_seconds{class="prediction"}') == 1.5
    assert value(page, 'edge_outbox_oldest_age_seconds{class="alarm"}') == 0
    unknown = value(page, 'edge_outbox_oldest_age_seconds{class="escalation"}')
    assert unknown != unknown  # noqa: PLR0124 - NaN
    assert value(page, 'edge_link_up{peer="mqtt:plant"}') == 1


def test_names_follow_prometheus_rules() -> None:
    """The agent's prefix, base units without abbreviations, `_total` on counters and only there, a help text each."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposed(), flags=re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", exposed(), flags=re.MULTILINE))
    own = {name: kind for name, kind in kinds.items() if not name.startswith("process_")}
    assert len(own) > 10
    for name, kind in own.items():
        assert re.fullmatch(r"edge_[a-z]+(_[a-z]+)*", name), name
        assert not re.search(r"_(ms|s|sec|msec|kb|mb|bytes_total|count|sum|bucket)$", name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert helps[name].endswith("."), name
