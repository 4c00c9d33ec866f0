"""What is known of peers becomes problems with a mend, each told once."""

from edge_agent.reporting.health import FLEET, HUB, Health


def health() -> tuple[Health, list[tuple[str, bool]]]:
    """With one broker and a hub, and what the metrics were told."""
    told: list[tuple[str, bool]] = []
    peers = {"mqtt:plant": "mqtt://plant:1883", HUB: "hub:8443", FLEET: "hub:8443"}
    return Health(peers, lambda name, is_up: told.append((name, is_up))), told


def test_before_the_first_connection_every_peer_is_a_problem() -> None:
    """Unknown is shown as unknown: nobody is taken for connected."""
    known, told = health()
    assert known.problems() == (
        "mqtt:plant: not connected to mqtt://plant:1883 yet",
        "hub: not connected to hub:8443 yet",
    )
    assert told == [("mqtt:plant", False), (HUB, False), (FLEET, False)]


def test_a_peer_that_is_up_is_no_problem() -> None:
    """When all are up there is nothing to say."""
    known, told = health()
    known.broker_changed("plant", True, "")
    known.link_up("hub:8443")
    known.fleet_changed(True, "")
    assert known.problems() == ()
    assert told[-3:] == [("mqtt:plant", True), (HUB, True), (FLEET, True)]


def test_up_with_a_reason_is_a_problem() -> None:
    """A refused subscription degrades a connected broker."""
    known, _ = health()
    known.broker_changed("plant", True, "the broker refused the subscription to plant/+/raw: check its ACL")
    assert any("ACL" in problem for problem in known.problems())
    assert known.peers()[0].is_up


def test_the_two_streams_of_one_hub_are_told_once() -> None:
    """A hub that is away is one problem; a fleet session alone is told under its own name."""
    known, _ = health()
    known.broker_changed("plant", True, "")
    known.link_down("hub:8443", "nothing listens at hub hub:8443: start the hub")
    known.fleet_changed(False, "nothing listens at hub hub:8443: start the hub")
    assert known.problems() == ("hub: nothing listens at hub hub:8443: start the hub",)
    known.link_up("hub:8443")
    assert known.problems() == ("hub-fleet: nothing listens at hub hub:8443: start the hub",)


def test_feedback_that_cannot_be_delivered_is_a_problem_until_it_is() -> None:
    """No connection is held for it, so it is no peer; while the hub is away, that is told once."""
    known, _ = health()
    known.broker_changed("plant", True, "")
    known.fleet_changed(True, "")
    known.feedback_changed("the hub does not take feedback")
    assert [problem for problem in known.problems() if "feedback" in problem] == []
    known.link_up("hub:8443")
    assert known.problems() == ("hub-feedback: the hub does not take feedback",)
    known.feedback_changed("")
    assert known.problems() == ()


def test_a_repeated_report_is_not_told_again() -> None:
    """A failing dial reports every attempt; the metrics and the log hear of changes."""
    known, told = health()
    known.link_down("hub:8443", "away")
    count = len(told)
    known.link_down("hub:8443", "away")
    assert len(told) == count
