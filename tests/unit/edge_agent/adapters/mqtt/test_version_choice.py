"""Which MQTT version is spoken, and what is remembered."""

import pytest

from edge_agent.adapters.mqtt.version_choice import V5, V311, VersionChoice
from edge_agent.broker_settings import ProtocolChoice


def test_auto_tries_5_first_and_keeps_it() -> None:
    """Once a broker has answered in 5, later silence is not taken for "too old"."""
    choice = VersionChoice(ProtocolChoice.AUTO)
    assert (choice.version, choice.is_trial) == (V5, True)
    choice.accepted()
    assert not choice.is_trial
    assert not choice.unanswered()
    assert choice.version is V5


def test_auto_falls_back_at_once_and_keeps_3_1_1() -> None:
    """After one unanswered attempt at 5 the next one is 3.1.1, without a wait; its answer is remembered."""
    choice = VersionChoice(ProtocolChoice.AUTO)
    assert choice.unanswered()
    assert choice.version is V311
    choice.accepted()
    choice.unreached()
    assert choice.version is V311


def test_auto_begins_again_when_neither_was_answered() -> None:
    """Silence in both versions says nothing about the broker; the next round waits."""
    choice = VersionChoice(ProtocolChoice.AUTO)
    choice.unanswered()
    assert not choice.unanswered()
    assert choice.version is V5


def test_a_broker_that_was_not_reached_teaches_nothing() -> None:
    """A fallback that meets a closed port goes back to 5."""
    choice = VersionChoice(ProtocolChoice.AUTO)
    choice.unanswered()
    choice.unreached()
    assert choice.version is V5


@pytest.mark.parametrize(("said", "version"), [(ProtocolChoice.V5, V5), (ProtocolChoice.V311, V311)])
def test_a_chosen_version_stays(said: ProtocolChoice, version: object) -> None:
    """What the config asks for is never changed."""
    choice = VersionChoice(said)
    assert not choice.unanswered()
    choice.unreached()
    assert choice.version is version
