"""What a pack promises, in words; who runs it; what a binding may change to."""

from dataclasses import replace

from cloud_hub.core.console.fleet_view import statuses
from cloud_hub.core.console.pack_view import Offer, PackUse, choices, conditions, holders, promise, uses
from model_packs.certificate.document import Certificate
from model_packs.certificate.tally import Tally
from model_packs.digests import Digest
from model_packs.manifest import PackRef
from tests.unit.cloud_hub.core.console.fleets import MOMENT, V1, V2, binding, device, slot
from tests.unit.cloud_hub.core.console.test_drawing import MANIFEST

CERTIFICATE = Certificate(
    risk="error",
    reference="labels",
    target=0.05,
    delta=0.05,
    method="m",
    threshold=0.929,
    coverage=0.867,
    sampling_unit="window",
    n_units=353,
    n_kept=306,
    k_errors=8,
    p_value=0.03,
    n_tune=1,
    cluster_unit="recording",
    n_clusters=70,
    design_effect=1.17,
    population="right wrist",
    assumption="windows independent",
    graph_digest=Digest("sha256:" + "0" * 64),
    variant="fp32",
    provider="CPUExecutionProvider",
    precision="fp32",
    dataset_digest=Digest("sha256:" + "0" * 64),
    score="max_probability",
    temperature=1.0,
    issued_at="2026-11-21T00:00:00Z",
    valid_until=None,
)
HUB = replace(MANIFEST, ref=PackRef("band-hub", "1.0.0"), role="hub")
EDGE_2 = replace(MANIFEST, ref=PackRef("band", "2.0.0"))
OTHER = replace(MANIFEST, ref=PackRef("form", "1.0.0"), family="form")


def test_a_promise_says_share_target_and_confidence() -> None:
    """In one sentence, with what it does not say left out."""
    said = promise(CERTIFICATE, MANIFEST)
    assert said == "Of what it keeps, 86.7 % of the windows, at most 5 % is wrong, with 95 % confidence."
    assert promise(replace(CERTIFICATE, coverage=None, risk="excess"), MANIFEST) == (
        "Of what it keeps, at most 5 % is wrong where the hub is right, with 95 % confidence."
    )


def test_without_a_certificate_nothing_is_promised() -> None:
    """What the pack does instead depends on where it runs."""
    assert promise(None, MANIFEST) == "No certificate: it asks the hub about everything."
    assert promise(None, HUB) == "No certificate: it answers whatever it is asked."
    assert promise(replace(CERTIFICATE, threshold=None), MANIFEST).startswith("No threshold passed")


def test_thresholds_by_group_are_not_taken_for_one() -> None:
    """A certificate with a threshold for each class has none for all, and the sentence says what follows."""
    kept = Tally("walk", 0.05, 0.9, 1.0, 100, 100, 0, 0.006, None, None)
    grouped = replace(CERTIFICATE, threshold=None, groups=(kept,), group_by="predicted_class")
    said = promise(grouped, MANIFEST)
    assert said == "Thresholds by predicted_class and none for all: it asks the hub about everything."
    assert promise(replace(grouped, group_by=None), MANIFEST).startswith("Thresholds by group")


def test_conditions_are_told_beside_the_promise() -> None:
    """Population, assumption and what weakens the number."""
    told = dict(conditions(CERTIFICATE))
    assert told["Keeps from"] == "confidence 0.93"
    assert told["Holds for"] == "right wrist"
    assert told["Design effect"].startswith("1.17 by recording")
    assert told["Valid until"] == "no end stated"
    bare = dict(
        conditions(replace(CERTIFICATE, threshold=None, design_effect=None, valid_until="2027-01-01T00:00:00Z"))
    )
    assert (bare["Keeps from"], bare["Valid until"], "Design effect" in bare) == (
        "nothing",
        "2027-01-01T00:00:00Z",
        False,
    )


def test_a_device_counts_once_for_a_pack() -> None:
    """Two bindings of one device are one device; removed ones are none."""
    two = device("a", desired=V2, bindings=(binding(), binding("second")))
    known = uses([two, device("b"), replace(device("c"), is_removed=True)])
    assert known == {V1: PackUse(2, 2), V2: PackUse(0, 1)}


def test_what_a_device_came_with_is_what_it_should_run() -> None:
    """Until something else is asked for; then that."""
    assert uses([device("a")]) == {V1: PackUse(1, 1)}
    assert uses([device("a", desired=V2)]) == {V1: PackUse(1, 0), V2: PackUse(0, 1)}


def test_the_pack_that_runs_is_no_choice_unless_another_was_asked_for() -> None:
    """Choosing it again takes a desire back; without one there is nothing to change."""
    offers = [Offer(MANIFEST, None, 7), Offer(EDGE_2, None, 9)]
    settled, waiting = (choices(offers, statuses(one, MOMENT)[0], {}) for one in (device(), device(desired=V2)))
    assert [(one.size_bytes, one.is_settled) for one in settled] == [(9, False), (7, True)]
    assert not any(one.is_settled for one in waiting)


def test_holders_are_bindings_that_run_it_or_should() -> None:
    """Both sides of the twin, and how they compare."""
    waiting, running, gone = device("a", desired=V2), device("b"), replace(device("c", desired=V2), is_removed=True)
    assert [(one.device.device_id, one.state.word) for one in holders([waiting, running, gone], V2, MOMENT)] == [
        ("a", "pack waits")
    ]
    assert [one.device.device_id for one in holders([waiting, running], V1, MOMENT)] == ["a", "b"]


def test_a_binding_may_change_within_its_family() -> None:
    """Edge packs, the newest first, with what runs, what is wanted and what has failed here."""
    packs = [Offer(MANIFEST, None, 7), Offer(EDGE_2, CERTIFICATE, 9), Offer(HUB, None, 1), Offer(OTHER, None, 1)]
    (status,) = statuses(device(desired=V2), MOMENT)
    told = choices(packs, status, {V2: "bad_digest: other bytes"})
    assert [(str(one.ref), one.is_running, one.is_desired, one.problem) for one in told] == [
        (V2, False, True, "bad_digest: other bytes"),
        (V1, True, False, ""),
    ]


def test_an_unknown_family_leaves_every_edge_pack_to_choose() -> None:
    """What runs is not published here, or not known."""
    (status,) = statuses(device(bindings=(binding(),), slots=(slot(),)), MOMENT)
    packs = [Offer(OTHER, None, 1), Offer(HUB, None, 1)]
    assert [str(one.ref) for one in choices(packs, replace(status, reported_pack="strange@1.0.0"), {})] == [
        "form@1.0.0"
    ]
    assert len(choices(packs, replace(status, reported_pack=None), {})) == 1
