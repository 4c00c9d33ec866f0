"""Owns the declarations behind the tables of a binding: how messages are read, cut into windows, answered, told.

A binding as a whole, and what its tables must agree on, is `binding_config.py`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from edge_agent.core.grid import MAX_RATE_HZ, rate_fraction
from edge_agent.core.missing import Missing
from edge_agent.core.payload import StartFormat
from edge_agent.value_rules import Problems, between, distinct, topic_problems
from model_packs.process.settings import setting
from protos.topics import TopicTemplate

_MAX_PAYLOAD_BYTES = 64 << 20
_MAX_LATENESS_S = 3600.0
_IMAGE_KEYS = frozenset({"codec", "key", "max_bytes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadConfig:
    """How a message is read."""

    codec: Literal["json_vectors", "image"] = setting(
        "json_vectors",
        doc='"json_vectors": one JSON object with a start time and an array of samples. "image": one JPEG or PNG file, '
        "of the pack's size; of the keys here it has codec, key and max_bytes only, and no [binding.window].",
    )
    rate_hz: float | None = setting(
        None,
        doc='Samples a second; needed for "json_vectors". Sample i was taken at the start time plus i / rate_hz.',
        example=50.0,
        is_shown=True,
    )
    samples: str = setting("samples", doc="Field of the samples: an array, each item an array of all channels.")
    start: str = setting("t0", doc="Field of the first sample's time.")
    start_format: StartFormat = setting(
        StartFormat.ISO8601,
        doc='How that time is written: "iso8601" (with Z or an offset), "unix_s" or "unix_ms".',
    )
    channels: tuple[str, ...] = setting(
        (),
        doc="Names of the channels in the order of the messages; checked against the pack's. Empty: not checked.",
        example=("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"),
    )
    key: tuple[str, ...] = setting(
        (),
        doc="Fields that together never repeat on a topic: a repeated message is recognised by them. Empty: by the "
        "start time. For images: captures of the topic that together never repeat; empty: by topic and content.",
        example=("seq",),
    )
    range: tuple[float, ...] = setting(
        (),
        doc="Lowest and highest value that a sensor can give. A sample with another value is counted and left out.",
        example=(-1000.0, 1000.0),
    )
    missing: Missing = setting(
        Missing.REJECT,
        doc='null in a sample, and samples that never came: "reject" (refuse the message, skip the window), "hold" '
        '(repeat the last value) or "linear" (draw a line).',
    )
    max_bytes: int = setting(1 << 20, doc="Largest message, in bytes; checked before it is decoded.")
    max_skew_s: float = setting(
        300.0,
        doc="How far a message's time may be ahead of this device's clock, in seconds. Where that clock is not "
        "synchronised: how far it may leap ahead before a second message has to agree.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from distinct("key", self.key)
        yield from between("max_bytes", self.max_bytes, 1, _MAX_PAYLOAD_BYTES)
        yield from self._vector_problems() if self.codec == "json_vectors" else self._image_problems()

    def _image_problems(self) -> Iterator[tuple[str, str]]:
        for one in fields(self):
            if one.name not in _IMAGE_KEYS and getattr(self, one.name) != one.default:
                yield one.name, 'means nothing for codec "image": drop it'

    def _vector_problems(self) -> Iterator[tuple[str, str]]:
        if self.rate_hz is None:
            yield "rate_hz", 'missing; codec "json_vectors" needs the samples a second'
        elif rate_fraction(self.rate_hz) is None:
            yield "rate_hz", f"expected more than 0, at most {MAX_RATE_HZ}, with few digits"
        if self.start == self.samples:
            yield "start", "the same field as samples: name the field that holds the first sample's time"
        yield from distinct("channels", self.channels)
        is_range = len(self.range) == 2 and all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]  # noqa: PLR2004 - low and high
        if self.range and not is_range:
            yield "range", "expected two numbers: the lowest and the highest value"
        if not self.max_skew_s > 0:
            yield "max_skew_s", "expected more than 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """How samples become model inputs."""

    size_s: float = setting(doc="Length of a window in seconds; size_s times rate_hz is the pack's.", example=1.0)
    hop_s: float = setting(doc="From one window's start to the next one's, in seconds; at most size_s.", example=0.5)
    lateness_s: float = setting(
        1.0,
        doc="An incomplete window waits for late samples until the newest one is this far past its end, in seconds. A "
        "full one never waits. Sensors send what a broker's restart held up after newer samples: for none of it to be "
        "late, set this to the longest such outage.",
    )
    idle_s: float = setting(10.0, doc="Silence on a partition after which its open windows close, in seconds.")
    min_fill: float = setting(
        0.9, doc='Least share of real values in a window that "hold" or "linear" may fill up; below it is skipped.'
    )
    max_partitions: int = setting(
        500, doc="Partitions kept in memory; the one that was silent longest gives way to a new one."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if self.hop_s > self.size_s:
            yield "hop_s", f"larger than size_s ({self.size_s}): samples between the windows would never be used"
        if not 0 <= self.lateness_s <= _MAX_LATENESS_S:
            yield "lateness_s", f"expected 0 to {_MAX_LATENESS_S:.0f}"
        if not 0 < self.idle_s < math.inf:
            yield "idle_s", "expected more than 0"
        if not 0 <= self.min_fill <= 1:
            yield "min_fill", "expected 0 to 1"
        if self.max_partitions < 1:
            yield "max_partitions", "expected at least 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultConfig:
    """Where answers go."""

    topic: str = setting(
        doc="Topic of the answers. It may use the partition's captures (for images: all captures), {device} and "
        "{binding}.",
        example="demo/{person}/inference/motion",
    )
    qos: int = setting(1, doc="0 or 1. At 1 an answer is kept until the broker has acknowledged it.")
    expiry_s: int | None = setting(
        None, doc="An answer older than this is not delivered any more, in seconds. Absent: never.", example=600
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from topic_problems("topic", self.topic, None)
        yield from between("qos", self.qos, 0, 1)
        if self.expiry_s is not None and self.expiry_s < 1:
            yield "expiry_s", "expected at least 1"

    @property
    def template(self) -> TopicTemplate:
        """The topic, parsed."""
        return TopicTemplate(self.topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationConfig:
    """Which answers go to the hub beside those that the pack's certificate does not keep. It can only ask for more."""

    audit_rate: float = setting(
        0.05,
        doc="Share of the answers that the device is sure of and that the hub checks all the same, drawn at random "
        "before they are made: the test of the certificate in the field. 0 draws none, and nothing is known of them.",
    )
    always_escalate: tuple[str, ...] = setting(
        (), doc="Labels that the hub is always asked about, however sure the device is.", example=("fall",)
    )
    class_thresholds: Mapping[str, float] = setting(
        dict, doc="By label, a confidence that is asked for where it is more than the certificate's threshold."
    )
    ood_limit: float | None = setting(
        None,
        doc="Largest distance of an input from those that the pack saw first here (docs/decisions.md); the hub is "
        "asked about stranger ones. Absent: distances are watched for changes only.",
        example=3.0,
    )
    unscorable_per_minute: float = setting(
        6.0,
        doc="Questions a minute and partition about inputs that the model has no score for: a broken sensor must not "
        "use up the budget. The others are answered without the hub, and counted.",
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        if not 0 <= self.audit_rate <= 1:
            yield "audit_rate", "expected 0 to 1"
        yield from distinct("always_escalate", self.always_escalate)
        for label, threshold in self.class_thresholds.items():
            if not 0 <= threshold <= 1:
                yield f"class_thresholds.{label}", "expected 0 to 1"
        if self.ood_limit is not None and not 0 < self.ood_limit < math.inf:
            yield "ood_limit", "expected more than 0"
        if not 0 < self.unscorable_per_minute < math.inf:
            yield "unscorable_per_minute", "expected more than 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """When answers become an alarm, and where it goes."""

    topic: str = setting(doc="Topic of the alarms, made as that of the answers.", example="demo/{person}/alarm/motion")
    labels: tuple[str, ...] = setting(
        doc="Answers with one of these labels raise it, all others clear it.", example=("fall",)
    )
    debounce: int = setting(
        1, doc="So many answers of a partition in a row raise it, and so many without one of the labels clear it."
    )

    def validate(self) -> Problems:
        """Check what types cannot say."""
        yield from topic_problems("topic", self.topic, None)
        if not self.labels:
            yield "labels", "no label: no answer would raise it"
        yield from distinct("labels", self.labels)
        if self.debounce < 1:
            yield "debounce", "expected at least 1"
