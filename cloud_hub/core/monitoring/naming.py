"""Owns the names of the five ways in which a model and its field part, told apart by which alarms stand.

Confidence does not see most of them: a model that is wrong may be surer than before. So the names are made from what
audits, people and rates say together. Which alarm stands is `watch`; what is done about it is `response`.

    the hub itself fails | kept answers fail | escalations | name
    ---------------------+-------------------+-------------+-------------------------------------------------------
    yes                  | any               | any         | hub fails too: its answers cannot be used as the truth
    no                   | yes               | fewer       | silent failure, surer: wrong, and asks less than before
    no                   | yes               | as before,  | silent failure: what it keeps is wrong, whatever it
                         |                   | or more     | asks besides
    no                   | no                | more        | escalation storm: safe, and dear
    no                   | no                | as before,  | benign: inputs or rates moved, the promise holds so far
                         |                   | or fewer    |
"""

from dataclasses import dataclass
from enum import StrEnum


class Drift(StrEnum):
    """What has become of a policy in the field."""

    SILENT_FAILURE = "silent_failure"
    SILENT_FAILURE_SURER = "silent_failure_surer"
    HUB_FAILS_TOO = "hub_fails_too"
    ESCALATION_STORM = "escalation_storm"
    BENIGN = "benign"


@dataclass(frozen=True, slots=True)
class Signs:
    """Which alarms stand.

    Attributes:
        kept_fails: The audits say that kept answers break the promise, or have changed for the worse.
        hub_fails: People contradict the hub too often, or the hub is itself unsure too often.
        escalates_more: The escalation rate rose out of its band.
        escalates_less: It fell out of its band.
        inputs_moved: An input statistic on the device has changed.
    """

    kept_fails: bool = False
    hub_fails: bool = False
    escalates_more: bool = False
    escalates_less: bool = False
    inputs_moved: bool = False


def name_of(signs: Signs) -> Drift | None:
    """Name what happened.

    Args:
        signs: Which alarms stand.

    Returns:
        The name by the table above; None when no alarm stands.
    """
    if signs.hub_fails:
        return Drift.HUB_FAILS_TOO
    if signs.kept_fails:
        surer = signs.escalates_less and not signs.escalates_more
        return Drift.SILENT_FAILURE_SURER if surer else Drift.SILENT_FAILURE
    if signs.escalates_more:
        return Drift.ESCALATION_STORM
    return Drift.BENIGN if signs.escalates_less or signs.inputs_moved else None
