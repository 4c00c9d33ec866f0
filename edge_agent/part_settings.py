"""Owns what follows from both configuration files together for single parts of the agent; `app.py` hands it to them."""

from edge_agent.adapters.sqlite.store import StoreSettings
from edge_agent.binding_config import BindingConfig
from edge_agent.config import Config
from edge_agent.core.budget import BucketSpec
from edge_agent.core.rate_limit import RateLimit
from edge_agent.reporting.health import FLEET, HUB, broker_peer

# A 3.1.1 broker may leave 1000 messages unacknowledged (the mosquitto.conf that we ship), whatever we would like.
_LEAST_CAPACITY = 2048
_WINDOWS_HELD = 4


def store_settings(config: Config) -> StoreSettings:
    """The bounds of the store that the files ask for."""
    outbox = config.agent.outbox
    return StoreSettings(
        outbox.limits(),
        outbox.escalation_max_age_s,
        outbox.dead_letter_max_bytes,
        retain_after_ack_s=outbox.retain_after_ack_s,
        max_file_bytes=outbox.file_max_bytes(sum(one.dedupe_keys for one in config.bindings.binding)),
        reserve_bytes=outbox.reserve_bytes,
        budget=config.agent.budget.settings(),
        commit_interval_s=outbox.commit_interval_s,
    )


def peers(config: Config) -> dict[str, str]:
    """Whom the agent speaks to: what it calls each, and where it is."""
    found = {broker_peer(name): broker.url for name, broker in config.bindings.mqtt.items()}
    if config.agent.hub is not None:
        found |= dict.fromkeys((HUB, FLEET), str(config.agent.hub.services))
    return found


def unscorable_limit(binding: BindingConfig) -> RateLimit:
    """How often the hub is asked about inputs that the model has no score for."""
    a_minute = binding.escalation.unscorable_per_minute
    return RateLimit(BucketSpec(max(1.0, a_minute), a_minute / 60.0))


def intake_capacity(config: Config) -> int:
    """How many messages may wait for the pipeline: more than all brokers may leave unacknowledged."""
    windows = sum(broker.receive_maximum for broker in config.bindings.mqtt.values())
    return max(_LEAST_CAPACITY, _WINDOWS_HELD * windows)
