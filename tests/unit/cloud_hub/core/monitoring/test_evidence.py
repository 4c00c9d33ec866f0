"""What audits say against a certificate: void is rarely wrong however often one looks, change is seen after years."""

import math
from itertools import accumulate, repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.core.monitoring.evidence import (
    N_ALTERNATIVES,
    UNBEGUN,
    Cusum,
    advanced,
    audits_to_refute,
    has_changed,
    is_refuted,
    log_e_value,
)

TARGET = 0.05
TARGETS = st.floats(0.001, 0.6)


@given(TARGETS, st.integers(0, 12))
def test_the_e_process_is_a_fair_bet_at_the_target(target: float, n: int) -> None:
    """Its expectation is 1 after any number of audits when the risk is just the target: E[sum over counts] = 1."""
    expected = math.fsum(
        math.comb(n, losses) * target**losses * (1 - target) ** (n - losses) * math.exp(log_e_value(n, losses, target))
        for losses in range(n + 1)
    )
    assert expected == pytest.approx(1.0, rel=1e-9)


@given(TARGETS, st.floats(0.0, 1.0), st.integers(1, 12))
def test_below_the_target_the_bet_loses(target: float, share: float, n: int) -> None:
    """A risk that keeps the promise makes the e-process shrink on average."""
    risk = target * share
    expected = math.fsum(
        math.comb(n, losses) * risk**losses * (1 - risk) ** (n - losses) * math.exp(log_e_value(n, losses, target))
        for losses in range(n + 1)
    )
    assert expected <= 1.0 + 1e-9


def test_void_is_called_seldom_although_one_looks_after_each_audit() -> None:
    """At a risk of exactly the target, at most delta of the streams ever reach 1 / delta (with two standard errors)."""
    random, streams, delta = np.random.default_rng(7), 300, 0.1
    called = 0
    for _ in range(streams):
        losses = list(accumulate((random.random(300) < TARGET).tolist()))
        called += any(is_refuted(n, k, TARGET, delta) for n, k in enumerate(losses, start=1))
    assert called / streams <= delta + 2 * math.sqrt(delta * (1 - delta) / streams)


def test_a_broken_promise_is_refuted() -> None:
    """A third of losses where a twentieth is allowed is no accident."""
    assert not is_refuted(0, 0, TARGET, 0.05)
    assert not is_refuted(40, 2, TARGET, 0.05)
    assert is_refuted(12, 4, TARGET, 0.05)


def test_how_many_audits_a_refutation_takes_follows_from_the_risk() -> None:
    """The worse it is, the fewer; at the target or below, no number does."""
    bad, worse = audits_to_refute(TARGET, 0.05, 0.2), audits_to_refute(TARGET, 0.05, 0.6)
    assert bad is not None
    assert worse is not None
    assert worse < bad < 60
    assert log_e_value(bad * 5, bad, TARGET) >= -math.log(0.05)
    assert audits_to_refute(TARGET, 0.05, TARGET) is None
    assert audits_to_refute(TARGET, 0.05, TARGET + 1e-6) is None
    assert audits_to_refute(TARGET, 0.9999, 1.0) == 1


def test_change_is_seen_although_the_past_was_long_and_good() -> None:
    """The e-process must first make up for years of good audits; the e-CUSUM forgets them."""
    cusum = UNBEGUN
    for _ in range(2000):
        cusum = advanced(cusum, 1, 0, TARGET)
    assert not has_changed(cusum, 1000)
    for _ in range(8):
        cusum = advanced(cusum, 1, 1, TARGET)
    assert has_changed(cusum, 1000)
    assert not is_refuted(2008, 8, TARGET, 0.05)


def test_false_alarms_of_change_are_as_far_apart_as_stated() -> None:
    """At a risk of exactly the target it takes the run length on average, or more; cut short, that shows the more."""
    random, run_length, cut = np.random.default_rng(11), 50.0, 400
    taken: list[int] = []
    for _ in range(150):
        cusum, at = UNBEGUN, cut
        for step, is_loss in enumerate((random.random(cut) < TARGET).tolist(), start=1):
            cusum = advanced(cusum, 1, int(is_loss), TARGET)
            if has_changed(cusum, run_length):
                at = step
                break
        taken.append(at)
    assert np.mean(taken) >= run_length


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_recursion_is_the_best_start_of_every_alternative(batches: list[tuple[int, int]]) -> None:
    """M_t = max over starts j of the product from j on, for each alternative alone."""
    steps = [(n + losses, losses) for n, losses in batches]
    cusum = UNBEGUN
    for n, losses in steps:
        cusum = advanced(cusum, n, losses, TARGET)
    each = [np.array(advanced(UNBEGUN, n, losses, TARGET).logs) for n, losses in steps]
    best = np.max([np.sum(each[start:], axis=0) for start in range(len(each))], axis=0)
    assert np.allclose(cusum.logs, best)
    assert len(cusum.logs) == N_ALTERNATIVES


def test_nothing_seen_is_no_change() -> None:
    """An e-CUSUM that has not begun tells nothing, whatever the run length."""
    assert not has_changed(UNBEGUN, 0.5)


def test_evidence_beyond_all_measure_stays_a_number() -> None:
    """A stream that fails for ever does not overflow."""
    cusum = Cusum()
    for _ in range(5):
        cusum = advanced(cusum, 1000, 1000, TARGET)
    assert all(map(math.isfinite, cusum.logs))
    assert has_changed(cusum, 1e6)


@pytest.mark.parametrize(("n", "losses", "target"), [(1, 2, 0.1), (1, -1, 0.1), (1, 0, 0.0), (1, 0, 1.0)])
def test_what_is_no_count_and_no_target_is_refused(n: int, losses: int, target: float) -> None:
    """A bug of the caller is not turned into evidence."""
    with pytest.raises(ValueError, match="lie"):
        log_e_value(n, losses, target)
    with pytest.raises(ValueError, match="lie"):
        advanced(UNBEGUN, n, losses, target)


def test_repeats_of_nothing_change_nothing() -> None:
    """A batch without windows moves no e-CUSUM above where it was."""
    cusum = advanced(UNBEGUN, 10, 5, TARGET)
    for _ in repeat(None, 3):
        assert advanced(cusum, 0, 0, TARGET).logs == tuple(max(0.0, log) for log in cusum.logs)
