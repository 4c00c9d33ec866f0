"""What a certificate says, in sentences for a person.

Owns the words for one tested statement, for the statements of groups, and for what the confidence is about. Which of
them a certificate says is `document`'s business, and so is everything that a program reads.
"""

from collections.abc import Sequence

from model_packs.certificate.evidence import Clusters
from model_packs.certificate.risks import Risk
from model_packs.certificate.tally import Tally


def kept(tally: Tally, risk: Risk, reference: str, sampling_unit: str, n_clusters: int | None, *, target: float) -> str:
    """What is kept, and how often it is wrong.

    Args:
        tally: The statement about all cases.
        risk: What counts as wrong.
        reference: Where the outcomes come from.
        sampling_unit: What is drawn independently, in one word.
        n_clusters: Calibration clusters, where they are the unit.
        target: The error share to stay below.

    Returns:
        The sentence; two where no threshold qualifies and more cases would do.
    """
    is_by_cluster = isinstance(tally.evidence, Clusters)
    cases = (
        f"cases from {n_clusters} calibration {sampling_unit}s" if is_by_cluster else f"calibration {sampling_unit}s"
    )
    counts = f"{tally.k_errors} wrong of {tally.n_kept} kept among {tally.n_units} {cases}"
    if tally.threshold is None or tally.coverage is None:
        more = (
            ""
            if tally.more_needed is None
            else f" About {tally.more_needed} more judged {sampling_unit}s like these would do."
        )
        return f"No threshold qualifies for {risk} below {target:.1%} at delta {tally.delta:g} ({counts}).{more}"
    things = "cases" if is_by_cluster else f"{sampling_unit}s"
    return (
        f"Keeping {things} scored {tally.threshold:.4f} or more ({tally.coverage:.1%} of them), the share of {risk} "
        f"against {reference} among the kept is at most {target:.1%}, with confidence {_confidence(tally.delta)} "
        f"({counts}, p {tally.p_value:.3g})."
    )


def kept_by_group(
    groups: Sequence[Tally], group_by: str | None, risk: Risk, reference: str, *, target: float, delta: float
) -> str:
    """The same for each group.

    Args:
        groups: The groups' statements.
        group_by: What the groups are, in one word.
        risk: What counts as wrong.
        reference: Where the outcomes come from.
        target: The error share that each stays below.
        delta: Of all of them at once.

    Returns:
        The sentence.
    """
    rows = "; ".join(f"{group.group}: {_kept_of(group)}" for group in groups)
    return (
        f"Keeping by {group_by or 'group'} what is {rows}: the share of {risk} against {reference} among the kept of "
        f"each is at most {target:.1%}, with confidence {_confidence(delta)} in all."
    )


def cut(tested: Sequence[Tally], sampling_unit: str) -> str:
    """What of each cluster the statements are about.

    Args:
        tested: The statements.
        sampling_unit: What is drawn independently, in one word.

    Returns:
        The sentence; nothing where rows are the unit.
    """
    sizes = sorted({one.evidence.largest for one in tested if isinstance(one.evidence, Clusters)})
    if not sizes:
        return ""
    first = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} (by group)"
    return f"Of each {sampling_unit} the first {first} cases count; later ones were not looked at."


def promise(tested: Sequence[Tally]) -> str:
    """What the confidence is about, where certificates that are issued were forecast.

    Args:
        tested: The statements.

    Returns:
        The sentence; nothing where delta is promised of the draws.
    """
    said = [one.issuing for one in tested if one.issuing is not None]
    if not said:
        return ""
    if all(one.chance == 0.0 for one in said):
        return "Tuning cases forecast that none would be issued."
    lowest, highest = min(one.chance for one in said), max(one.chance for one in said)
    chance = f"{highest:.0%}" if lowest == highest else f"{lowest:.0%} to {highest:.0%} (by group)"
    return f"The confidence is of certificates that are issued, if the forecast chance of {chance} to be so is right."


def dependence(
    design_effect: float | None, cluster_unit: str | None, sampling_unit: str, *, is_by_cluster: bool
) -> str:
    """How far the assumption is from what was measured.

    Args:
        design_effect: Measured; None when it was not.
        cluster_unit: What clusters are, in one word.
        sampling_unit: What is drawn independently, in one word.
        is_by_cluster: Whether that is the cluster.

    Returns:
        The sentence.
    """
    if design_effect is None:
        return "The design effect was not measured."
    measured = f"Measured design effect by {cluster_unit or 'cluster'}: {design_effect:.2f}"
    if is_by_cluster:
        return f"{measured}; the {sampling_unit}, not the case, is the unit, so it is told as sensitivity only."
    return f"{measured}; above 1, the {sampling_unit}s carry less than their number says."


def _confidence(delta: float) -> str:
    return f"{100.0 * (1.0 - delta):.10g}%"


def _kept_of(group: Tally) -> str:
    """What a group keeps, in words."""
    if group.threshold is None or group.coverage is None:
        return "nothing (no threshold qualifies)"
    counts = f"{group.k_errors} wrong of {group.n_kept}"
    return f"scored {group.threshold:.4f} or more ({group.coverage:.1%} of {group.n_units}, {counts})"
