"""What the hub may order of a binding, and what holds then."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.decision import Policy
from edge_agent.core.policy import PackTerms, PolicySlot, in_force, needs_backing, take
from protos.messages.fleet import DesiredPolicy, PolicyMode

SERVE, TIGHTEN, HUB_ONLY = PolicyMode.SERVE, PolicyMode.TIGHTEN, PolicyMode.HUB_ONLY
PACK = PackTerms("sha256:" + "1" * 64, 0.8)
OTHER = PackTerms("sha256:" + "2" * 64, 0.7)
OWN = Policy(0.8, audit_rate=0.05)
EMPTY = PolicySlot()


def order(version: int, mode: PolicyMode, threshold: float | None = None, **more: object) -> DesiredPolicy:
    """An order of the hub."""
    return DesiredPolicy(version, mode, threshold, **more)  # type: ignore[arg-type]  # each test names its own


def obeyed(*orders: DesiredPolicy, pack: PackTerms = PACK, distrust: str = "") -> PolicySlot:
    """The slot after these orders."""
    slot = EMPTY
    for one in orders:
        slot = take(slot, one, pack, distrust)
    return slot


def test_without_an_order_the_pack_decides() -> None:
    """With what the device's files add."""
    assert in_force(EMPTY, OWN, PACK) == (OWN, None)
    assert EMPTY.version == 0


def test_to_tighten_and_to_keep_nothing_need_no_certificate() -> None:
    """They hold at once, whoever vouches for nothing."""
    tight, _ = in_force(obeyed(order(1, TIGHTEN, 0.9), distrust="nobody"), OWN, PACK)
    assert (tight.threshold, tight.version, tight.audit_rate) == (0.9, 1, 0.05)
    alone, base = in_force(obeyed(order(1, HUB_ONLY, audit_rate=0.2), distrust="nobody"), OWN, PACK)
    assert (alone.is_hub_only, alone.reported_threshold, alone.audit_rate, base) == (True, None, 0.2, None)


@pytest.mark.parametrize(
    ("wanted", "pack", "why"),
    [
        (order(1, TIGHTEN, 0.7), PACK, "does not tighten"),
        (order(1, TIGHTEN), PACK, "needs a threshold"),
        (order(1, TIGHTEN, 0.99), replace(PACK, threshold=None), "does not tighten"),
        (order(1, SERVE, 0.7), PACK, "nobody"),
        (order(1, SERVE, 0.99), replace(PACK, threshold=None), "nobody"),
        (order(1, TIGHTEN, 1.5), PACK, "no confidence"),
        (order(1, TIGHTEN, float("nan")), PACK, "no confidence"),
        (order(1, SERVE, audit_rate=2.0), PACK, "no probability"),
        (order(1, HUB_ONLY, pack_digest=OTHER.digest), PACK, "it is for pack"),
    ],
)
def test_an_order_that_does_not_hold_changes_nothing_and_is_told(
    wanted: DesiredPolicy, pack: PackTerms, why: str
) -> None:
    """Its version counts as seen."""
    slot = obeyed(wanted, pack=pack, distrust="nobody vouches")
    assert slot.active is None
    assert slot.refused is not None
    assert why in slot.refused.detail
    assert slot.version == 1


def test_a_refused_order_leaves_the_one_before_in_force() -> None:
    """A tightened device stays tight; the next good order clears the refusal."""
    tight = obeyed(order(1, TIGHTEN, 0.9))
    refused = take(tight, order(2, SERVE, 0.5), PACK, "nobody")
    assert in_force(refused, OWN, PACK)[0].threshold == 0.9
    assert take(refused, order(2, HUB_ONLY), PACK, "") is refused
    assert take(refused, order(3, SERVE), PACK, "").refused is None


def test_a_lower_threshold_that_somebody_vouches_for() -> None:
    """It serves, its order's certificate speaks for it, and tightening rests on it."""
    lower = order(1, SERVE, 0.6, certificate=b"{}")
    slot = obeyed(lower)
    policy, base = in_force(slot, OWN, PACK)
    assert (policy.threshold, base) == (0.6, replace(lower, pack_digest=PACK.digest))
    tight = take(slot, order(2, TIGHTEN, 0.7), PACK, "")
    assert in_force(tight, OWN, PACK)[0].threshold == 0.7
    back = take(tight, order(3, SERVE), PACK, "")
    assert in_force(back, OWN, PACK)[0].threshold == 0.8


def test_a_lower_threshold_is_for_the_pack_that_it_was_certified_on() -> None:
    """Another pack decides as it says itself, and the order waits for its own pack."""
    slot = obeyed(order(1, SERVE, 0.6))
    own = replace(OWN, threshold=OTHER.threshold)
    assert in_force(slot, own, OTHER) == (own, None)
    assert in_force(slot, OWN, PACK)[0].threshold == 0.6


def test_a_tightened_threshold_never_keeps_more_under_another_pack() -> None:
    """The higher of the two holds."""
    slot = obeyed(order(1, TIGHTEN, 0.85))
    stricter = PackTerms(OTHER.digest, 0.95)
    assert in_force(slot, replace(OWN, threshold=0.95), stricter)[0].threshold == 0.95
    assert in_force(slot, replace(OWN, threshold=None), replace(OTHER, threshold=None))[0].threshold is None


@pytest.mark.parametrize(
    ("wanted", "is_needed"),
    [
        (order(1, SERVE, 0.7), True),
        (order(1, SERVE, 0.8), False),
        (order(1, SERVE, 0.9, certificate=b"{}"), True),
        (order(1, SERVE), False),
        (order(1, TIGHTEN, 0.1), False),
    ],
)
def test_who_would_keep_more_or_claims_a_certificate_needs_somebody_who_vouches(
    wanted: DesiredPolicy,
    is_needed: bool,  # noqa: FBT001 - a table
) -> None:
    """With a pack that keeps nothing, any threshold keeps more."""
    assert needs_backing(wanted, PACK) is is_needed
    assert needs_backing(order(1, SERVE, 1.0), replace(PACK, threshold=None))


def test_a_higher_threshold_with_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    """Else answers would name a certificate that was never checked."""
    slot = obeyed(order(1, SERVE, 0.9, certificate=b"no certificate"), distrust="nobody vouches")
    assert (slot.active, slot.refused is None) == (None, False)


def test_a_threshold_to_serve_is_for_the_pack_that_runs_also_a_higher_one() -> None:
    """Under a stricter pack it would keep more than the pack, and nobody vouched for that."""
    slot = obeyed(order(1, SERVE, 0.9), distrust="nobody vouches")
    assert in_force(slot, OWN, PACK)[0].threshold == 0.9
    own = replace(OWN, threshold=0.95)
    assert in_force(slot, own, PackTerms(OTHER.digest, 0.95)) == (own, None)


ORDERS = st.lists(
    st.builds(
        DesiredPolicy,
        version=st.integers(1, 8),
        mode=st.sampled_from(list(PolicyMode)),
        threshold=st.one_of(st.none(), st.floats(0, 1)),
    ),
    max_size=10,
)


@given(ORDERS)
def test_without_anybody_who_vouches_no_order_ever_keeps_more_than_the_pack(orders: list[DesiredPolicy]) -> None:
    """Whatever a hub says, in whatever order; and versions only grow."""
    slot, seen = EMPTY, 0
    for one in orders:
        slot = take(slot, one, PACK, "nobody")
        assert slot.version >= seen
        seen = slot.version
        policy, base = in_force(slot, OWN, PACK)
        assert policy.is_hub_only or (policy.threshold is not None and policy.threshold >= 0.8)
        assert base is None or base.threshold is None or base.threshold >= 0.8


def test_groups_keep_their_thresholds_until_a_certificate_speaks_for_a_common_one() -> None:
    """To tighten raises the floor of all, as does a threshold without a certificate; one with it replaces them."""
    own = replace(OWN, group_thresholds={"walk": 0.8, "run": 0.9})
    tight, _ = in_force(obeyed(order(1, TIGHTEN, 0.85)), own, PACK)
    assert (tight.threshold, tight.group_thresholds) == (0.85, own.group_thresholds)
    served, _ = in_force(obeyed(order(1, SERVE, 0.85)), own, PACK)
    assert (served.threshold, served.group_thresholds) == (0.85, own.group_thresholds)
    again, _ = in_force(obeyed(order(1, SERVE, 0.6, certificate=b"{}")), own, PACK)
    assert (again.threshold, again.group_thresholds) == (0.6, {})
