"""Broker URLs and the numbers of a connection."""

from dataclasses import replace

import pytest

from edge_agent.broker_settings import BrokerSettings, Endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("mqtt://plant.lan", Endpoint("plant.lan", 1883, is_tls=False)),
        ("mqtts://plant.lan/", Endpoint("plant.lan", 8883, is_tls=True)),
        ("mqtt://10.0.0.7:1884", Endpoint("10.0.0.7", 1884, is_tls=False)),
        ("mqtt://[::1]:1883", Endpoint("::1", 1883, is_tls=False)),
    ],
)
def test_a_url_is_read(url: str, endpoint: Endpoint) -> None:
    """Scheme, host and port, with the usual ports by default."""
    assert Endpoint.parse(url) == endpoint


@pytest.mark.parametrize(
    "url", ["plant.lan:1883", "http://plant.lan", "mqtt://", "mqtt://me:secret@plant", "mqtt://a/b", "mqtt://a:port"]
)
def test_another_url_is_refused_by_name(url: str) -> None:
    """The message holds the URL."""
    with pytest.raises(ValueError, match="broker url") as failure:
        Endpoint.parse(url)
    assert url in str(failure.value)


GOOD = BrokerSettings(name="plant", url="mqtt://a", client_id="edge-a", status_topic="s")


@pytest.mark.parametrize("value", [0, 65_536])
def test_a_receive_maximum_out_of_range_is_refused(value: int) -> None:
    """The message names the broker's table and the key."""
    with pytest.raises(ValueError, match=r"mqtt\.plant: receive_maximum"):
        replace(GOOD, receive_maximum=value)


def test_a_publish_window_of_nothing_is_refused() -> None:
    """Nothing could ever be published."""
    with pytest.raises(ValueError, match=r"mqtt\.plant: publish_window"):
        replace(GOOD, publish_window=0)


@pytest.mark.parametrize(("status", "feedback"), [("edge/p/status", "edge/p/feedback"), ("status", "feedback")])
def test_feedback_comes_in_beside_the_status(status: str, feedback: str) -> None:
    """One topic tells where the other is."""
    assert replace(GOOD, status_topic=status).feedback_topic == feedback


def test_a_client_id_is_needed() -> None:
    """Without one there is no persistent session."""
    with pytest.raises(ValueError, match="client_id"):
        BrokerSettings(name="plant", url="mqtt://a", client_id="", status_topic="s")
